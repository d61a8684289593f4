"""Novelty by an engine's second network, beside the line: written down, kept, and never a verdict."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from drivers.sorters.interface import Trigger
from station.cli import app
from station.decision import decide
from station.engines import open_engine
from station.engines.interface import Engine, EngineError, EngineInfo, Scores
from station.journal.audit import audit
from station.journal.reading import JournalReader
from station.observers import ObserverError, Observers
from station.observers.beside import Beside
from station.observers.pretrained_novelty import job_of
from station.part import InspectedPart, PartInHand
from station.patching import cut
from station.prepared import Prepared
from station.rare.pretrained import PretrainedNovelty
from station.spare.engine import ProcessLostError, SpareEngine, open_second_network
from station.spare.patience import Limits
from tests.conftest import tiny_surface
from tests.waiting import PATIENCE_S, wait_for

if TYPE_CHECKING:
    from station.journal import Journal
    from station.recipe import Recipe
    from tests.station.conftest import Plant
    from tests.station.rare.conftest import Bench


class Network(Engine):
    """Says the same of each part's patches in turn."""

    def __init__(self, *novelty: float) -> None:
        self.info = EngineInfo("scripted", "f" * 64, "scripted", "fp32", "none", ("good",), 32, 1, 0)
        self._novelty = novelty
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked = self.closed = 0

    def scores(self, patches: NDArray[np.uint8], timeout_s: float | None = None) -> Scores:
        assert self.may_answer.wait(PATIENCE_S)
        found = [self._novelty[(self.asked + n) % len(self._novelty)] for n in range(len(patches))]
        self.asked += len(patches)
        return Scores(np.ones((len(patches), 1), np.float32), None, np.array(found, np.float32))

    def close(self) -> None:
        self.closed += 1


def observer(bench: Bench, *novelty: float, share: float = 1.0) -> PretrainedNovelty:
    return PretrainedNovelty(bench.journal, lambda prepared: Network(*novelty), share)


def said(journal: Journal) -> list[dict[str, object]]:
    with JournalReader(journal.path) as reader:
        return [event.values for event in reader.station_events(("novelty",))]


def test_an_accepted_part_that_is_far_by_the_second_network_is_kept(bench: Bench) -> None:
    log, beside, part = bench.log(), observer(bench, 0.4, 2.5), bench.part()
    log.observe(part)
    beside.observe(part)
    log.close()
    assert bench.kept() == {part.part_id: ["far from training"]}
    (entry,) = bench.store.entries()
    assert entry.item.whys[0].text == "patch 1: novelty 2.5 of the second network (threshold 1)"
    assert (entry.item.outcome, entry.item.class_name) == ("accept", "good"), "the verdict stays"
    (event,) = said(bench.journal)
    assert (event["novelty"], event["patch"], event["verdict"]) == (2.5, 1, "good")
    assert beside.note == "1 looked at in spare time, 1 far from training"
    assert audit(bench.journal.path).passed


def test_the_usual_part_is_looked_at_and_leaves_nothing(bench: Bench) -> None:
    log, beside, part = bench.log(), observer(bench, 0.4, 1.0), bench.part()
    log.observe(part)
    beside.observe(part)
    log.close()
    assert not bench.folder.exists()
    assert said(bench.journal) == []
    assert beside.note == "1 looked at in spare time, 0 far from training"


def test_what_a_class_rejected_is_not_looked_at(bench: Bench) -> None:
    beside = observer(bench, 2.5)
    assert not beside.wants(bench.part("pits"))
    assert beside.wants(bench.part("good"))


def test_own_features_and_the_second_network_are_both_heard(bench: Bench) -> None:
    log, beside, part = bench.log(), observer(bench, 0.4, 2.5), bench.part(novelty=(1.5, 0.2))
    log.observe(part)
    beside.observe(part)
    log.close()
    (entry,) = bench.store.entries()
    (why,) = entry.item.whys
    assert why.text == (
        "patch 0: novelty 1.5 (threshold 1); patch 1: novelty 2.5 of the second network (threshold 1)"
    )


def test_parts_are_compared_by_the_patch_that_is_far_and_not_by_the_one_that_decided(bench: Bench) -> None:
    log, beside = bench.log(), observer(bench, 0.4, 2.5)
    usual, kind = np.eye(4, dtype=np.float32)[:2]
    other_kind = np.eye(4, dtype=np.float32)[2]
    parts = [
        bench.part(p=0.6, features=np.stack([usual, usual])),
        bench.part(features=np.stack([usual, kind])),
        bench.part(features=np.stack([usual, other_kind])),
        bench.part(features=np.stack([usual, kind])),
    ]
    for number, part in enumerate(parts):
        log.observe(part)
        if number:
            beside.observe(part)
    log.close()
    assert sorted(bench.kept()) == [part.part_id for part in parts[:3]], "the last one repeats the second"


def test_the_journal_and_the_log_show_what_the_second_network_says(bench: Bench) -> None:
    log, beside, part = bench.log(), observer(bench, 0.4, 2.5), bench.part()
    log.observe(part)
    beside.observe(part)
    log.close()
    record, folder = str(part.part.record_id), ["--folder", str(bench.folder)]
    journal = ["journal", "show", record, "--journal", str(bench.journal.path)]
    events = ["journal", "events", "--kind", "novelty", "--journal", str(bench.journal.path)]
    for words in (journal, events, ["rare", "list", *folder], ["rare", "show", record, *folder]):
        shown = CliRunner().invoke(app, words)
        assert shown.exit_code == 0, shown.output
        assert ("novelty" if words[0] == "journal" else "far from training") in shown.output
        assert "2.5" in shown.output or words[1] == "list"


@pytest.mark.parametrize("novelty", [float("nan"), float("inf")])
def test_what_is_no_number_is_a_failure_and_says_nothing(bench: Bench, novelty: float) -> None:
    beside = observer(bench, 2.5, novelty)
    with pytest.raises(ObserverError, match="gave no number for patch 1"):
        beside.observe(bench.part())
    assert said(bench.journal) == []


def test_a_share_of_the_parts_is_drawn_by_the_records_number(bench: Bench) -> None:
    beside, parts = observer(bench, 0.4, share=0.3), [bench.part() for _ in range(200)]
    wanted = [part.part_id for part in parts if beside.wants(part)]
    assert wanted == [part.part_id for part in parts if observer(bench, 0.4, share=0.3).wants(part)]
    assert 30 < len(wanted) < 90


def test_a_changeover_opens_the_network_of_the_other_engine_and_gives_the_first_back(bench: Bench) -> None:
    opened: dict[str, Network | None] = {"a": Network(0.1), "b": None, "c": Network(3.0)}
    beside = PretrainedNovelty(
        bench.journal, lambda prepared: opened[prepared.engine.info.digest[0]], share=1.0
    )
    beside.observe(bench.part(engine="a"))
    beside.observe(bench.part(engine="b"))
    assert beside.note == "engine scripted has no second network"
    beside.observe(bench.part(engine="c"))
    beside.close()
    assert [one.closed for one in opened.values() if one] == [1, 1]
    assert [event["novelty"] for event in said(bench.journal)] == [3.0]


def test_a_network_that_is_refused_degrades_the_station_until_a_changeover_and_costs_no_part(
    bench: Bench,
) -> None:
    def open_network(prepared: Prepared) -> Engine:
        if prepared.engine.info.digest[0] == "a":
            raise EngineError("novelty.onnx does not reproduce the golden parts")
        return Network(0.1)

    reported: list[dict[str, object]] = []
    with Observers([PretrainedNovelty(bench.journal, open_network, 1.0)], reported.append) as observers:
        observers.offer(bench.part())
        wait_for(lambda: bool(reported))
        assert reported[0]["what"] == "parts far from training"
        assert "does not reproduce" in str(reported[0]["reason"])
        time.sleep(0.5)
        assert "does not reproduce" in observers.status()[0].losing, "it is said until there is another"
        observers.offer(bench.part(engine="b"))
        wait_for(lambda: not observers.status()[0].losing)
        wait_for(lambda: len(reported) == 2)
    assert reported[1]["is_over"]


def test_parts_for_which_there_is_no_time_are_no_loss(bench: Bench) -> None:
    reported: list[dict[str, object]] = []
    slow, parts = Network(0.1), [bench.part() for _ in range(12)]
    slow.may_answer.clear()
    with Observers([PretrainedNovelty(bench.journal, lambda _: slow, 1.0)], reported.append) as observers:
        for part in parts:
            observers.offer(part)
        slow.may_answer.set()
        wait_for(lambda: observers.status()[0].observed >= 2)
        (status,) = observers.status()
        assert status.queue.shed > 0
        assert (status.losing, status.problem) == ("", "")
    assert reported == []
    assert (slow.asked % 2, bool(slow.closed)) == (0, True), "a stop lets it end with the parts that wait"


def test_the_cell_never_hears_of_it_and_the_records_stay(plant: Plant) -> None:
    beside = PretrainedNovelty(plant.journal, lambda prepared: Network(5.0), 1.0)
    with Observers([beside]) as observers:
        line = plant.line(observers)
        plant.sorter.ask(*range(1, 6))
        line.start(parts=5)
        assert line.wait(PATIENCE_S)
        line.stop()
    assert {str(outcome) for outcome in plant.outcomes().values()} == {"accept"}
    assert len(plant.sorter.told) == 5
    assert {record.outcome for record in plant.records().values()} == {"accept"}
    assert said(plant.journal)


AT_ONCE = Limits(gives_way=False)


def test_the_engines_own_folder_is_opened_and_proven_in_a_process_of_its_own_and_again_when_that_is_lost(
    bench: Bench, tiny_engine_with_second_network: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    folder = tiny_engine_with_second_network
    engine = open_engine(folder, "onnxruntime-cpu", "fp32", cache=tmp_path / "cache")
    prepared = Prepared(tiny_recipe, engine)
    opened: list[SpareEngine] = []

    def opens(one: Prepared) -> Engine | None:
        network = open_second_network(job_of(folder.parent, one), limits=AT_ONCE)
        opened.extend([network] if network is not None else [])
        return network

    def part(number: int, kind: str) -> InspectedPart:
        trigger = Trigger(number, "", time.monotonic_ns())
        patches = cut(tiny_surface(kind, 40 + number), tiny_recipe)
        scores = engine.scores(patches.pixels)
        record = bench.part().part.record_id
        in_hand = PartInHand(trigger, prepared, record, 0, patches=patches).scored(scores)
        return InspectedPart(in_hand, decide(scores.probabilities, tiny_recipe), 0)

    beside = PretrainedNovelty(bench.journal, opens, 1.0)
    beside._second = Beside(first_pause_s=0.2)
    for number, kind in enumerate(("good", "bright")):
        beside.observe(part(number, kind))
    assert beside.note == "2 looked at in spare time, 1 far from training"
    os.kill(opened[0].process_id, signal.SIGKILL)
    with pytest.raises(ObserverError, match=r"ended by SIGKILL .* started again after 0\.2 s"):
        beside.observe(part(2, "good"))
    with pytest.raises(ObserverError, match="ended by SIGKILL"):
        beside.probe()
    time.sleep(0.2)
    beside.observe(part(3, "bright"))
    beside.probe()
    assert beside.note == "3 looked at in spare time, 2 far from training"
    beside.close()
    assert len(opened) == 2

    (folder / "engine.yaml").write_text((folder / "engine.yaml").read_text().replace("Grey", "Other"))
    (folder / "novelty.onnx").write_bytes(b"changed")
    with pytest.raises(EngineError, match=r"pretrained_novelty\.file"):
        opens(prepared)
    engine.close()


def test_a_folder_that_is_not_that_of_the_engine_which_judges_or_has_no_second_network_says_so(
    tiny_engine: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    engine = open_engine(tiny_engine, "onnxruntime-cpu", "fp32", cache=tmp_path / "cache")
    job = job_of(tiny_engine.parent, Prepared(tiny_recipe, engine))
    assert job.open() is None
    with pytest.raises(EngineError, match="not that of the engine which judges"):
        replace(job, judges="0" * 64).open()
    engine.close()


def test_a_process_that_is_lost_again_and_again_is_started_after_ever_longer_pauses(bench: Bench) -> None:
    tried: list[float] = []

    def lost(prepared: Prepared) -> Engine:
        tried.append(time.monotonic())
        raise ProcessLostError("the process ended")

    beside, part = PretrainedNovelty(bench.journal, lost, 1.0), bench.part()
    beside._second = Beside(first_pause_s=0.1)
    said = set()
    while len(tried) < 3:
        with pytest.raises(ObserverError) as refused:
            beside.observe(part)
        said.add(str(refused.value).removeprefix("the process ended; it is started again "))
        time.sleep(0.01)
    first, second = (later - earlier for earlier, later in pairwise(tried))
    assert first >= 0.1
    assert second >= 0.2
    assert {"after 0.1 s, for the next part", "after 0.2 s, for the next part"} <= said


def test_at_the_end_of_a_run_a_process_that_does_not_answer_is_not_waited_for_as_long_as_pictures(
    bench: Bench,
) -> None:
    stuck = Network(0.1)
    stuck.may_answer.clear()
    observers = Observers([PretrainedNovelty(bench.journal, lambda _: stuck, 1.0)])
    observers.offer(bench.part())
    wait_for(lambda: observers.status()[0].busy_s)
    begun = time.monotonic()
    observers.close()
    observers.close()
    assert time.monotonic() - begun < 8.0
    stuck.may_answer.set()
