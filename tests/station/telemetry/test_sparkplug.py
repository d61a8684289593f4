"""A node of Sparkplug B on a real broker: births, data, deaths, rebirths, and the primary host."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from station.engines.interface import EngineInfo
from station.faults import Code
from station.journal.cursors import cursors
from station.line_values import LineStatus
from station.statistics import Statistics
from station.supervision import State
from station.telemetry.lag import delivered
from station.telemetry.messages import engines_home
from station.telemetry.sparkplug import SparkplugSender
from station.telemetry.sparkplug_metrics import line_metrics, node_metrics
from station.telemetry.sparkplug_payload import Datatype, Metric, Payload, decode, encode
from station.telemetry.sparkplug_session import NodeSession
from station.telemetry.sparkplug_settings import Sparkplug
from tests.station.telemetry.conftest import Bench
from tests.station.telemetry.sparkplug_readers import Tahu, start
from tests.station.test_run_views import status
from tests.waiting import PATIENCE_S, wait_for

ROOT = Path(__file__).resolve().parents[3]
NODE = "spBv1.0/plant/{}/station 4"
DEVICE = NODE + "/line"
STATE = "spBv1.0/STATE/scada"


@dataclass
class Arrived:
    verb: str
    payload: Payload
    raw: bytes
    qos: int
    retained: bool

    @property
    def values(self) -> dict[str, Any]:
        return {one.name: one.value for one in self.payload.metrics}

    @property
    def is_record(self) -> bool:
        return self.verb == "DDATA" and "Record/number" in self.values

    @property
    def is_historical(self) -> bool:
        return any(one.is_historical for one in self.payload.metrics)


@dataclass
class Host:
    """A host application that keeps what it receives and decodes it."""

    port: int
    arrived: list[Arrived] = field(default_factory=list)

    def __post_init__(self) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        subscribed = threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, "host", protocol=MQTTProtocolVersion.MQTTv5)
        self.client.reconnect_delay_set(0.05, 0.2)
        self.client.on_connect = lambda *_: self.client.subscribe("spBv1.0/plant/#", qos=1)
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.on_message = self._take
        self.client.connect("127.0.0.1", self.port, 5)
        self.client.loop_start()
        assert subscribed.wait(PATIENCE_S)

    def _take(self, client: object, data: object, message: Any) -> None:
        verb = message.topic.split("/")[2]
        if verb not in ("NCMD", "DCMD"):
            made = Arrived(verb, decode(message.payload), message.payload, message.qos, message.retain)
            self.arrived.append(made)

    def verbs(self) -> list[str]:
        return [one.verb for one in self.arrived if one.verb != "NDATA"]

    def last(self, verb: str) -> Arrived:
        return [one for one in self.arrived if one.verb == verb][-1]

    def count(self, verb: str) -> int:
        return self.verbs().count(verb)

    def records(self, *, historical: bool | None = None) -> list[int]:
        return [
            one.values["Record/number"]
            for one in self.arrived
            if one.is_record and historical in (None, one.is_historical)
        ]

    def publish(self, topic: str, payload: bytes | str, *, retain: bool = False, qos: int = 0) -> None:
        self.client.publish(topic, payload, qos=qos, retain=retain).wait_for_publish(10)

    def asks_for_rebirth(self, value: object = True, name: str = "Node Control/Rebirth") -> None:
        command = Metric(name, Datatype.BOOLEAN, value)  # type: ignore[arg-type]
        self.publish(NODE.format("NCMD"), encode(Payload(1, (command,))))

    def is_online(self, online: bool, at: int) -> None:
        self.publish(STATE, json.dumps({"online": online, "timestamp": at}), retain=True, qos=1)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@dataclass
class Plant:
    """A station as a node, with a line that says what the test sets."""

    bench: Bench
    host: Host
    line: LineStatus = field(default_factory=status)
    engines: dict[str, Any] | None = None
    """What the status says of engines that came home."""
    senders: list[SparkplugSender] = field(default_factory=list)

    def node(
        self, *, watched: bool = True, primary_host: str | None = None, **values: object
    ) -> SparkplugSender:
        settings = self.bench.settings(gauges_s=0.2, **values)
        own = Sparkplug(group="plant", node="station 4", primary_host=primary_host)
        journal = self.bench.journal
        made = SparkplugSender(
            settings, own, "station 4", journal.path, lambda: journal.head.seq, is_simulated=True
        )
        if watched:
            made.watch(lambda: self.line, lambda: self.engines)
        self.senders.append(made)
        return made


@pytest.fixture
def plant(bench: Bench) -> Iterator[Plant]:
    host = Host(bench.broker.port)
    made = Plant(bench, host)
    yield made
    for sender in made.senders:
        sender.close()
    host.close()


def numbers_follow(arrived: list[Arrived]) -> bool:
    """Whether every message has the number that follows the one before, and births of nodes have 0."""
    expected = 0
    for one in arrived:
        if one.verb == "NDEATH":
            continue
        expected = 0 if one.verb == "NBIRTH" else (expected + 1) % 256
        if one.payload.seq != expected:
            return False
    return True


def test_a_session_is_born_sends_its_records_in_order_and_dies(plant: Plant) -> None:
    node, host = plant.node(), plant.host
    wait_for(lambda: host.count("DBIRTH") == 1)
    plant.bench.parts(260)
    wait_for(lambda: host.records() == list(range(1, 261)))
    wait_for(lambda: node.status().waiting == 0)
    node.close()
    wait_for(lambda: host.count("NDEATH") == 1)
    verbs = host.verbs()
    assert verbs[:2] == ["NBIRTH", "DBIRTH"]
    assert verbs[-2:] == ["DDEATH", "NDEATH"]
    assert set(verbs[2:-2]) == {"DDATA"}
    assert numbers_follow(host.arrived)
    assert host.records(historical=True) == []
    for one in host.arrived:
        assert not one.retained
        assert one.qos == (1 if one.verb == "NDEATH" else 0)
        assert one.payload.timestamp is not None
        assert abs(one.payload.timestamp - time.time() * 1000) < 60_000
        if one.verb != "NDEATH":
            assert all(metric.timestamp is not None for metric in one.payload.metrics)


def test_births_name_everything_that_data_ever_names_with_datatype_and_value(plant: Plant) -> None:
    node, host = plant.node(), plant.host
    wait_for(lambda: host.count("DBIRTH") == 1)
    plant.bench.parts(5)
    wait_for(lambda: len(host.records()) == 5)
    wait_for(lambda: node.status().waiting == 0)
    born = {one.name: one for one in host.last("DBIRTH").payload.metrics}
    assert born["Record/outcome"].value is None
    assert all(one.datatype is not None for one in born.values())
    for one in host.arrived:
        if one.verb == "DDATA":
            assert all(metric.datatype is born[metric.name].datatype for metric in one.payload.metrics)
    values = host.last("DBIRTH").values
    assert (values["Line/State"], values["Parts/Accepted"]) == ("ready", plant.line.statistics.accepted)
    assert values["Line/Yield"] == plant.line.statistics.yield_fraction
    assert {name for name in values if name.startswith("Rejected/")} == {
        f"Rejected/{name}" for name in plant.line.statistics.classes
    }
    assert "Record/operator" not in born
    node_born = host.last("NBIRTH")
    assert [one.name for one in node_born.payload.metrics if one.datatype is Datatype.BOOLEAN] == [
        "Node Control/Rebirth",
        "Station/Simulated",
    ]
    assert node_born.values["Node Control/Rebirth"] is False
    assert node_born.values["Station/Journal"] == plant.bench.journal_id
    node_data = {name for one in host.arrived if one.verb == "NDATA" for name in one.values}
    assert node_data <= set(node_born.values)


def test_a_lost_connection_is_a_death_with_the_number_of_its_birth_and_the_next_has_the_next(
    plant: Plant,
) -> None:
    node, host = plant.node(), plant.host
    for number in range(3):
        wait_for(lambda number=number: host.count("NBIRTH") == number + 1)
        assert host.last("NBIRTH").values["bdSeq"] == number
        client = node._client
        assert client is not None
        client.socket().shutdown(2)  # type: ignore[union-attr]
        wait_for(lambda number=number: host.count("NDEATH") == number + 1)
        assert [one.name for one in host.last("NDEATH").payload.metrics] == ["bdSeq"]
        assert host.last("NDEATH").values["bdSeq"] == number
        assert host.last("NDEATH").payload.seq is None


def test_the_number_of_births_and_deaths_begins_again_after_255() -> None:
    session = NodeSession(Sparkplug(group="plant", node="4"))
    found = []
    for at in range(258):
        will = session.connects(at)
        assert (will.topic, will.retain) == ("spBv1.0/plant/NDEATH/4", False)
        found.append(decode(will.payload).metrics[0].value)
        (_, birth) = session.birth((), at)
        assert decode(birth).metrics[0].value == found[-1]
    assert found == [*range(256), 0, 1]


def test_records_of_an_outage_come_from_the_journal_marked_as_history(plant: Plant) -> None:
    node, host = plant.node(replay_s=0.0), plant.host
    wait_for(lambda: host.count("DBIRTH") == 1)
    plant.bench.parts(3)
    wait_for(lambda: len(host.records()) == 3)
    wait_for(lambda: node.status().waiting == 0)
    plant.bench.broker.kill()
    wait_for(lambda: not node.status().connected)
    plant.bench.parts(20)
    plant.bench.broker.start()
    wait_for(lambda: set(host.records(historical=True)) >= set(range(4, 24)))
    plant.bench.parts(1)
    wait_for(lambda: host.records(historical=False) == [1, 2, 3, 24])
    late = [one for one in host.arrived if one.is_record and one.is_historical]
    assert all(metric.is_historical for one in late for metric in one.payload.metrics)
    assert [one.values["Record/number"] for one in late] == sorted(host.records(historical=True))
    assert host.last("DBIRTH").values["Record/number"] == 23


def test_a_station_that_starts_again_goes_on_where_it_was(plant: Plant) -> None:
    host, first = plant.host, plant.node(replay_s=0.0)
    wait_for(lambda: host.count("DBIRTH") == 1)
    plant.bench.parts(5)
    wait_for(lambda: len(host.records()) == 5)
    first.close()
    plant.bench.parts(5)
    plant.node(replay_s=0.0)
    wait_for(lambda: host.records() == list(range(1, 11)))
    assert host.records(historical=True) == list(range(6, 11))
    assert [one.name for one in cursors(plant.bench.journal.path)] == ["telemetry-records-sparkplug"]
    own = Sparkplug(group="plant", node="station 4")
    rows = delivered(plant.bench.journal.path, plant.bench.settings(sparkplug=own))
    held = [
        (one.stream, one.consumer) for one in rows if 5 <= one.held <= 10
    ]  # it writes it down now and then
    assert held == [("records", "sparkplug")]


def test_a_host_that_asks_gets_the_births_again_with_the_same_bdseq(plant: Plant) -> None:
    node, host = plant.node(), plant.host
    wait_for(lambda: host.count("DBIRTH") == 1)
    plant.bench.parts(2)
    wait_for(lambda: len(host.records()) == 2)
    host.asks_for_rebirth()
    host.asks_for_rebirth()
    wait_for(lambda: host.count("DBIRTH") == 2)
    births = [one for one in host.arrived if one.verb == "NBIRTH"]
    assert [one.values["bdSeq"] for one in births] == [0, 0]
    assert numbers_follow(host.arrived)
    assert host.last("DBIRTH").values["Record/number"] == 2
    plant.bench.parts(1)
    wait_for(lambda: host.records() == [1, 2, 3])
    assert node.status().births == 2


def test_what_strangers_send_as_a_command_changes_nothing(plant: Plant) -> None:
    node, host = plant.node(), plant.host
    wait_for(lambda: host.count("DBIRTH") == 1)
    host.asks_for_rebirth(False)
    host.asks_for_rebirth(True, "Node Control/Reboot")
    host.publish(NODE.format("NCMD"), b"\xff" * 40)
    host.publish(NODE.format("NCMD"), b"x" * 100_000)
    wait_for(lambda: node.status().ignored == 1)
    assert "a message on spBv1.0/plant/NCMD/station 4 is ignored: it " in node.status().problem
    time.sleep(1.2)  # longer than births are kept apart
    assert (host.count("NBIRTH"), node.status().connected) == (1, True)


def test_nothing_is_sent_while_the_primary_host_is_away(plant: Plant) -> None:
    node, host = plant.node(primary_host="scada", replay_s=0.0), plant.host
    wait_for(lambda: "scada is not online" in node.status().problem)
    plant.bench.parts(4)
    time.sleep(0.5)
    assert host.arrived == []
    host.is_online(True, 1000)
    wait_for(lambda: host.records() == [1, 2, 3, 4])
    assert host.verbs()[:2] == ["NBIRTH", "DBIRTH"]
    host.is_online(False, 999)  # the last will of a session before this one
    wait_for(lambda: "older than the host's word before" in node.status().problem)
    plant.bench.parts(1)
    wait_for(lambda: len(host.records()) == 5)
    assert host.count("NDEATH") == 0
    host.is_online(False, 1000)
    wait_for(lambda: host.count("NDEATH") == 1)
    wait_for(lambda: node.status().connected)
    plant.bench.parts(3)
    time.sleep(0.5)
    assert host.verbs()[-1] == "NDEATH"
    host.is_online(True, 2000)
    wait_for(lambda: host.records()[-3:] == [6, 7, 8])
    assert host.last("NBIRTH").values["bdSeq"] == 1
    assert set(host.records(historical=True)) >= {1, 2, 3, 4, 6, 7, 8}


def test_what_was_sent_just_before_the_host_went_comes_again_however_often_the_connection_was_lost_since(
    plant: Plant,
) -> None:
    node, host = plant.node(primary_host="scada", replay_s=1.0), plant.host
    host.is_online(True, 1)
    wait_for(lambda: host.count("DBIRTH") == 1)
    plant.bench.parts(3)
    wait_for(lambda: host.records() == [1, 2, 3])
    host.is_online(False, 2)
    wait_for(lambda: "scada is not online" in node.status().problem)
    time.sleep(1.2)  # longer than replay_s
    client = node._client
    assert client is not None
    client.socket().shutdown(2)  # type: ignore[union-attr]
    wait_for(lambda: host.count("NDEATH") == 2)
    host.is_online(True, 3)
    wait_for(lambda: host.records(historical=True) == [1, 2, 3])


@pytest.mark.parametrize(
    "words",
    ["ONLINE", "{}", "[]", '{"online":1,"timestamp":5}', '{"online":true}', '{"online":true,"timestamp":-1}'],
)
def test_a_state_that_is_none_does_not_count(plant: Plant, words: str) -> None:
    node = plant.node(primary_host="scada")
    wait_for(lambda: node.status().connected)
    plant.host.publish(STATE, words, retain=True, qos=1)
    wait_for(lambda: f"a message on {STATE} is ignored" in node.status().problem)
    assert not node.status().born


def test_a_line_that_dies_is_a_death_of_the_device_alone(plant: Plant) -> None:
    node, host = plant.node(), plant.host
    wait_for(lambda: host.count("DBIRTH") == 1)
    plant.line = replace(plant.line, died=True)
    wait_for(lambda: host.count("DDEATH") == 1)
    assert node.status().born
    plant.line = replace(plant.line, died=False)
    wait_for(lambda: host.count("DBIRTH") == 2)
    assert (host.count("NBIRTH"), numbers_follow(host.arrived)) == (1, True)


def test_only_what_has_changed_is_sent_and_a_new_state_at_once(plant: Plant) -> None:
    host = plant.host
    plant.node()
    wait_for(lambda: host.count("DBIRTH") == 1)
    time.sleep(0.8)
    assert "DDATA" not in host.verbs()
    plant.line = replace(
        plant.line, state=State.HALTED, reason="F102 the camera is lost", codes=frozenset({Code.CAMERA_LOST})
    )
    wait_for(lambda: host.count("DDATA") == 1)
    assert host.last("DDATA").values == {
        "Line/State": "halted",
        "Line/Reason": "F102 the camera is lost",
        "Line/Fault Codes": "F102",
    }


def test_how_far_a_trial_is_is_in_the_births_and_sent_when_it_changes(plant: Plant) -> None:
    plant.node()
    wait_for(lambda: plant.host.verbs() == ["NBIRTH", "DBIRTH"])
    born = plant.host.last("DBIRTH").values
    assert (born["Engine/Installed"], born["Engine/Trial Parts"]) == ("factory", None)
    plant.engines = {
        "active": "a" * 64, "state": "trial", "candidate": None,
        "trial": {"parts": 7, "of": 300}, "problems": {},
    }  # fmt: skip
    wait_for(
        lambda: any("Engine/Trial Parts" in one.values for one in plant.host.arrived if one.verb == "DDATA")
    )
    said = next(one for one in plant.host.arrived if one.verb == "DDATA").values
    assert (said["Engine/Trust"], said["Engine/Trial Parts"], said["Engine/Trial Wanted"]) == (
        "trial",
        7,
        300,
    )


def test_a_class_that_is_new_is_born_before_it_is_counted(plant: Plant) -> None:
    host = plant.host
    plant.line = replace(plant.line, statistics=Statistics().snapshot())
    plant.node()
    wait_for(lambda: host.count("DBIRTH") == 1)
    assert not any(name.startswith("Rejected/") for name in host.last("DBIRTH").values)
    plant.line = status()
    wait_for(lambda: host.count("DBIRTH") == 2)
    assert any(name.startswith("Rejected/") for name in host.last("DBIRTH").values)
    assert host.count("NBIRTH") == 1


def test_without_a_line_the_node_is_there_and_records_wait(plant: Plant) -> None:
    node = plant.node(watched=False)
    plant.bench.parts(2)
    wait_for(lambda: node.status().born and node.status().waiting == 2)
    assert plant.host.verbs() == ["NBIRTH"]


def test_eclipse_tahu_reads_a_whole_session(plant: Plant) -> None:
    tahu = Tahu()
    plant.line = replace(
        plant.line, engine=EngineInfo("h", "ab", "openvino", "int8", "cpu", ("good",), 256, 1, 0)
    )
    node, host = plant.node(), plant.host
    plant.bench.parts(20)
    wait_for(lambda: len(host.records()) == 20)
    node.close()
    wait_for(lambda: host.count("NDEATH") == 1)
    read = [tahu.read(one.raw) for one in host.arrived]
    tahu.close()
    for one, found in zip(host.arrived, read, strict=True):
        assert found.get("seq") == (None if one.payload.seq is None else str(one.payload.seq))
        assert [metric["name"] for metric in found.get("metrics", [])] == list(one.values)
    births = next(found for one, found in zip(host.arrived, read, strict=True) if one.verb == "DBIRTH")
    by_name = {one["name"]: one for one in births["metrics"]}
    assert by_name["Line/State"]["value"] == "ready"
    assert by_name["Record/frame_ms"]["properties"]["engUnit"]["value"] == "ms"


def test_a_host_of_eclipse_tahu_on_the_same_broker_reads_the_session_and_asks_for_rebirth(
    plant: Plant,
) -> None:
    with start("sparkplug_host.js", str(plant.bench.broker.port), "plant", "station 4") as tahu:
        assert tahu.stdout is not None
        assert tahu.stdout.readline() == "subscribed\n"
        plant.node()
        plant.bench.parts(1)
        said = [tahu.stdout.readline().split() for _ in range(4)]
        tahu.communicate(timeout=20)
    assert [words[0] for words in said] == ["NBIRTH", "DBIRTH", "NBIRTH", "DBIRTH"]
    assert [words[1] for words in said] == ["0", "1", "0", "1"]


def test_every_test_that_the_table_of_assertions_names_is_there() -> None:
    text = (ROOT / "docs" / "sparkplug.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", text))
    files = (ROOT / "tests" / "station" / "telemetry").glob("test_*.py")
    written = set(re.findall(r"^def (test_\w+)\(", "\n".join(one.read_text() for one in files), re.MULTILINE))
    assert len(named) > 10
    assert named <= written


def test_the_documents_name_every_metric_of_station_and_line() -> None:
    text = (ROOT / "docs" / "sparkplug.md").read_text(encoding="utf-8")
    node = node_metrics("4", "ab", is_simulated=False, waiting=0)
    for one in (*node, *line_metrics(status(), engines_home(None))):
        group, name = one.name.split("/")
        words = {"Rejected": "`Rejected/CLASS`", "Faulted": "`Faulted/CODE`"}.get(group)
        for word in [words] if words else [f"{group}/", name.removeprefix("Verdict ")]:
            assert word in text
