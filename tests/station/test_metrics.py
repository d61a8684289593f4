"""What Prometheus reads of a station: bounded, exact at the deadline, and never in the line's way."""

from __future__ import annotations

import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from drivers.sorters.interface import Outcome, Receipt
from station.config import ConfigError, Metrics, load_config
from station.decision import Verdict, fault
from station.faults import Code
from station.metrics.series import MOST, OTHER, SERIES, Seen, bounded, families, markdown
from station.metrics.server import MetricsServer, look_at
from station.recipe import load_recipe
from station.statistics import Settled, Statistics
from station.supervision import State
from tests.station.conftest import Plant
from tests.station.test_control import a_station
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def read(port: int, path: str = "/metrics", timeout_s: float = 10) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=timeout_s) as answer:
        return str(answer.read().decode())


def values(text: str) -> dict[str, float]:
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def port(plant: Plant) -> Iterator[int]:
    station, port = a_station(plant), free_port()
    with MetricsServer(lambda: look_at(station), Metrics(port=port)):
        station.line.start()
        yield port
        station.line.stop()


def test_a_scrape_says_what_the_station_did(plant: Plant, port: int) -> None:
    plant.sorter.ask(1, 2, 3)
    wait_for(lambda: len(plant.sorter.told) >= 3)
    found = values(read(port))
    assert found["station_triggers_total"] == 3
    assert found["station_verdicts_total accept"] == 3
    assert found["station_ready"] == 1
    assert found["station_state ready"] + found["station_state single execution"] == 1
    assert found["station_verdict_seconds_bucket +Inf"] == 3
    assert found["station_deadline_seconds"] == 20
    stages = [found[f"station_stage_seconds_sum {stage}"] for stage in ("frame", "cut", "scored", "decided")]
    assert stages == sorted(stages)
    assert 0 < stages[-1] <= found["station_verdict_seconds_sum"]
    assert found["station_stage_seconds_bucket +Inf cut"] == 3
    assert found["station_queue_capacity frames"] > 0
    assert found["station_faults_total F101"] == 0
    assert found["station_condition F603"] == 0
    assert found["process_resident_memory_bytes"] > 0


def test_a_halted_station_shows_state_and_code(plant: Plant, port: int) -> None:
    plant.lines[-1].halt("tool change")
    found = values(read(port))
    assert (found["station_ready"], found["station_state halted"]) == (0, 1)
    assert sum(found[f"station_state {state}"] for state in State) == 1
    assert found["station_condition F603"] == 1


def test_no_label_bears_a_part_and_every_label_is_bounded(plant: Plant, port: int) -> None:
    plant.sorter.ask(918_273_645)
    wait_for(lambda: plant.sorter.told)
    text = read(port)
    assert "918273645" not in text
    labels = {one.name: set(one.labels) for one in SERIES}
    assert {"part", "part_id", "record", "reason"}.isdisjoint(set().union(*labels.values()))


def test_values_beyond_the_bound_are_added_up() -> None:
    many = {f"class {n}": float(n) for n in range(1000)}
    kept = bounded(many)
    assert len(kept) == MOST
    assert sum(kept.values()) == sum(many.values())
    assert kept[OTHER] == sum(range(MOST - 1, 1000))
    assert list(bounded({"x" * 500: 1.0})) == ["x" * 64]


def test_what_a_camera_says_of_itself_is_bounded_and_numbers_only(plant: Plant) -> None:
    line = plant.line()
    details = {"model": "acA", "packets": "12", "nonsense": "nan", "hot": "inf"}
    details |= {f"counter {n}": "1" for n in range(1000)}
    status = line.status()
    seen = Seen("press", replace(status, camera=replace(status.camera, details=details)))
    (family,) = (one for one in families(seen) if one.name == "station_camera_detail")
    names = {sample.labels["name"] for sample in family.samples}
    assert "packets" in names
    assert {"model", "nonsense", "hot"}.isdisjoint(names)
    assert len(names) == MOST


def test_the_histogram_is_exact_at_the_deadline() -> None:
    """A part in time is in the bucket that ends at the deadline, and one that is late by a hair is not."""
    recipe = load_recipe(ROOT / "recipes" / "servo-motor-housing.yaml")
    statistics = Statistics(deadline_s=0.8)
    accept = Verdict(Outcome.ACCEPT, 0, "good", 1.0, 0, 1, "")
    for part_id, ms in enumerate((1.0, 799.999, 800.0, 800.001, 9000.0), start=1):
        statistics.trigger()
        statistics.verdict(
            Settled(part_id, accept if ms <= 800 else fault(Code.TOO_LATE.of("x"), recipe), ms)
        )
        statistics.receipt(Receipt(part_id, acknowledged=True, bin=1, at_ns=0), ms)
    found = statistics.snapshot()
    for times in (found.verdict_times, found.acknowledged_times):
        at = dict(zip(times.edges_s, times.cumulative, strict=False))
        assert at[0.8] == 3
        assert times.cumulative[-1] == 5
        assert times.sum_s == pytest.approx(11.401)


def test_a_scrape_that_hangs_costs_no_part_and_all_callers_share_it(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("station.metrics.server.SCRAPE_S", 0.5)
    station, port, go_on, looks = a_station(plant), free_port(), threading.Event(), []

    def look() -> Seen:
        looks.append(1)
        go_on.wait(20)  # a disk that does not answer
        return look_at(station)

    with MetricsServer(look, Metrics(port=port)):
        station.line.start()
        for _ in range(2):
            with pytest.raises(urllib.error.HTTPError, match="503"):
                read(port)
        assert len(looks) == 1, "one scrape at a time"
        plant.sorter.ask(1, 2)
        until = time.monotonic() + 10
        while len(plant.sorter.told) < 2:
            assert time.monotonic() < until
            time.sleep(0.005)
        go_on.set()
        until = time.monotonic() + 10
        text = ""
        while "station_triggers_total 2.0" not in text:
            assert time.monotonic() < until
            text = read(port)
        station.line.stop()


@pytest.mark.parametrize("path", ["/", "/status", "/metrics/../status", "/halt"])
def test_nothing_but_the_metrics_is_served(port: int, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        read(port, path)


def test_a_station_without_the_section_listens_nowhere(plant: Plant) -> None:
    before = {thread.name for thread in threading.enumerate()}
    with MetricsServer(lambda: look_at(a_station(plant)), None):
        assert {thread.name for thread in threading.enumerate()} == before


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ("{port: 0}", "metrics.port"),
        ("{}", "metrics.port"),
        ("{port: 9464, address: localhost}", "metrics.address: is no IP address: 'localhost': write one"),
        ("{port: 9464, adress: 127.0.0.1}", "adress"),
    ],
)
def test_a_wrong_section_is_named(tmp_path: Path, section: str, says: str) -> None:
    file = tmp_path / "station.yaml"
    file.write_text((ROOT / "config" / "demo.yaml").read_text() + f"\nmetrics: {section}\n")
    with pytest.raises(ConfigError, match=re.escape(says)):
        load_config(file)


def test_the_documents_table_is_what_the_command_prints() -> None:
    table = (ROOT / "docs" / "metrics.md").read_text().partition("## Every series\n\n")[2]
    assert table == markdown(), "write the output of `station metrics --markdown` there"


def test_every_series_has_its_unit_in_its_name() -> None:
    for one in SERIES:
        assert one.name.endswith("_total") == (one.kind == "counter")
        assert one.meaning
        assert one.name.startswith("station_")
