"""The section `telemetry`: what cannot work is refused with its key and a remedy, and nothing is opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from station.config import ConfigError, load_config
from tests.drivers.sorters.test_mqtt import Authority
from tests.station.telemetry.conftest import TOPIC, Bench
from tests.waiting import wait_for

SECTION: dict[str, Any] = {"host": "broker", "topic": "plant/station-4"}


def load(folder: Path, telemetry: dict[str, Any], name: str = "test", **more: Any) -> Any:
    document = {
        "station": {"name": name},
        "recipe": "tiny",
        "paths": {
            "recipes": "recipes", "engines": "engines", "journal": "var/journal.db", "images": "var/images",
            "cache": "var/cache",
        },
        "camera": {"kind": "folder", "path": "frames", "mode": "cell"},
        "sorter": {"kind": "serial", "port": "cell"},
        "telemetry": SECTION | telemetry,
    }  # fmt: skip
    (folder / "station.yaml").write_text(json.dumps(document | more))
    return load_config(folder / "station.yaml")


@pytest.mark.parametrize(
    ("telemetry", "said"),
    [
        ({"topic": "plant/#"}, "telemetry.topic: is 'plant/#', with #"),
        ({"topic": "plant/+"}, "telemetry.topic"),
        ({"topic": ""}, "telemetry.topic"),
        ({"topic": "plant//a"}, "an empty level"),
        ({"topic": "plant/a\u0007"}, "a control character"),
        ({"topic": "$SYS/a"}, "telemetry.topic"),
        ({"receipts": "required"}, "telemetry.consumers: is missing"),
        ({"consumers": ["historian"]}, "telemetry.consumers: is set without receipts"),
        ({"receipts": "required", "consumers": ["a", "a"]}, "names one twice"),
        ({"receipts": "required", "consumers": ["a/b"]}, "telemetry.consumers"),
        ({"home_assistant": "home/#"}, "telemetry.home_assistant"),
        ({"sparkplug": {"group": "a/b", "node": "4"}}, "telemetry.sparkplug.group: is 'a/b', with #, + or /"),
        ({"sparkplug": {"group": "a#", "node": "4"}}, "telemetry.sparkplug.group"),
        ({"sparkplug": {"group": "STATE", "node": "4"}}, "the states of hosts"),
        ({"sparkplug": {"group": "a", "node": "+"}}, "telemetry.sparkplug.node: is '+', with #, + or /"),
        ({"sparkplug": {"group": "a", "node": " "}}, "telemetry.sparkplug.node"),
        ({"sparkplug": {"group": "a"}}, "telemetry.sparkplug.node"),
        ({"sparkplug": {"group": "a", "node": "4", "device": "a/b"}}, "telemetry.sparkplug.device"),
        ({"sparkplug": {"group": "a", "node": "4", "primary_host": "a\u0007"}}, "a control character"),
        ({"sparkplug": {"group": "a", "node": "4", "host": "b"}}, "telemetry.sparkplug.host"),
        (
            {
                "receipts": "required",
                "consumers": ["sparkplug"],
                "sparkplug": {"group": "a", "node": "4"},
            },
            "telemetry.consumers: names sparkplug, which is taken",
        ),
        ({"cert_file": "a.pem", "key_file": "b.pem"}, "telemetry.cert_file: is set without `tls`"),
    ],
)
def test_what_cannot_work_is_refused_with_its_key(
    tmp_path: Path, telemetry: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, telemetry)
    assert said in str(error.value)


@pytest.mark.parametrize("name", ["a#b", "a+b", "a/b", " ", "a\tb"])
def test_a_stations_name_that_no_topic_can_hold_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"station.name: "):
        load(tmp_path, {}, name=name)


def test_telemetry_and_the_sorter_have_topics_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is the topic of the sorter"):
        load(tmp_path, {}, sorter={"kind": "mqtt"} | SECTION)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho leaves its socket
@pytest.mark.parametrize(("days", "said"), [(-1, "certificate has expired"), (30, "")])
def test_a_broker_whose_certificate_has_expired_gets_nothing(
    bench: Bench, tmp_path: Path, days: int, said: str
) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.certificate("broker", days)
    bench.broker.kill()
    bench.broker.lines = [f"certfile {certificate}", f"keyfile {key}", "allow_anonymous true"]
    bench.broker.start()
    sender = bench.sender(host="localhost", tls=True, ca_file=authority.file)
    bench.parts(3)
    if said:
        wait_for(lambda: f"has no valid certificate ({said})" in sender.status().problem)
        assert not sender.status().connected
    else:
        wait_for(lambda: sender.status().connected)


def test_home_assistant_is_told_which_sensors_there_are_and_again_when_it_starts(bench: Bench) -> None:
    listener = bench.subscriber("home-assistant")
    listener._client.subscribe("homeassistant/#", qos=1)
    sender = bench.sender(home_assistant="homeassistant")
    where = "homeassistant/device/inspection_station_4/config"
    wait_for(lambda: len(listener.of(where)) == 1)
    (announced,) = listener.of(where)
    assert announced["cmps"]["accepted"]["state_topic"] == f"{TOPIC}/gauges"
    assert announced["availability"][0]["topic"] == f"{TOPIC}/station"
    assert len({one["unique_id"] for one in announced["cmps"].values()}) == len(announced["cmps"])
    listener._client.publish("homeassistant/status", "online", qos=1).wait_for_publish(10)
    wait_for(lambda: len(listener.of(where)) == 2)
    listener._client.publish("homeassistant/status", "x" * 100_000, qos=1).wait_for_publish(10)
    bench.parts(1)
    wait_for(lambda: sender.status().connected and listener.numbers() == [1])
