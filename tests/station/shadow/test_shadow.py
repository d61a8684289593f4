"""A candidate beside the active engine: written down, counted against a limit, and never sent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from station.config import Shadow as Settings
from station.engines.adapted import recipe_for
from station.engines.interface import Engine, EngineError, EngineInfo, Scores
from station.engines.states import EngineState, Entry, Provenance
from station.engines.store import Installed, Store
from station.journal.audit import audit
from station.journal.reading import JournalReader
from station.observers import ObserverError
from station.observers.shadow import who_shadows
from station.shadow.changes import Change
from station.shadow.observer import Shadow
from station.shadow.side import Side
from station.spare.jobs import JudgingEngine, from_json, to_json
from tests.station.engines.engine_store import installed as put_in_store

if TYPE_CHECKING:
    from station.prepared import Prepared
    from station.recipe import Recipe
    from tests.station.rare.conftest import Bench

CLASSES = ("good", "scratches", "pits")


class Says(Engine):
    """Says what it is told of the first patch of each part."""

    def __init__(self) -> None:
        self.info = EngineInfo("scripted", "9" * 64, "scripted", "int8", "none", CLASSES, 32, 1, 0)
        self.class_name = "good"
        self.closed = 0

    def scores(self, patches: NDArray[np.uint8], timeout_s: float | None = None) -> Scores:
        table = np.full((len(patches), 3), 0.01, np.float32)
        table[:, CLASSES.index(self.class_name)] = 0.98
        return Scores(table)

    def close(self) -> None:
        self.closed += 1


def installed(digit: str = "1") -> Installed:
    entry = Entry(digit * 64, EngineState.SHADOWING, "", "", Provenance("x"), 1)
    return Installed("scripted", Path("nowhere"), entry)


class Plant:
    """A shadow over the bench, and what it may be told."""

    def __init__(self, bench: Bench, **settings: object) -> None:
        self.bench, self.engine = bench, Says()
        self.candidate: Installed | None = installed()
        self.opened = 0

        def opened(prepared: Prepared, one: Installed) -> Side:
            self.opened += 1
            return Side(one.digest, self.engine, prepared.recipe)

        self.shadow = Shadow(
            bench.journal, lambda name: self.candidate, opened, Settings(**settings), look_every_s=0.0
        )

    def part(self, active: str, candidate: str, **more: object) -> int:
        """Both judge a part; the number of its record."""
        self.engine.class_name = candidate
        part = self.bench.part(active, **more)
        self.shadow.observe(part)
        return part.part.record_id

    def events(self) -> list[dict[str, object]]:
        with JournalReader(self.bench.journal.path) as reader:
            return [one.values | {"record": one.record_id} for one in reader.station_events(("shadow",))]


@pytest.fixture
def plant(bench: Bench) -> Plant:
    return Plant(bench)


def test_every_verdict_of_the_candidate_is_in_the_chain_and_no_record_changes(plant: Plant) -> None:
    record = plant.part("pits", "good")
    (event,) = plant.events()
    assert (event["record"], event["outcome"], event["class_name"]) == (record, "accept", "good")
    assert (event["verdict_outcome"], event["verdict"], event["agrees"]) == ("reject", "pits", False)
    assert event["candidate"] == "1" * 64
    with JournalReader(plant.bench.journal.path) as reader:
        found = reader.record(record)
    assert found is not None
    assert (found.outcome, found.class_name) == ("reject", "pits")
    assert audit(plant.bench.journal.path).passed


def test_parts_on_which_the_two_differ_are_kept_for_the_workshop_with_both_verdicts(plant: Plant) -> None:
    log = plant.bench.log()
    plant.engine.class_name = "pits"
    same, other = plant.bench.part("pits"), plant.bench.part("good")
    for part in (same, other):
        log.observe(part)
        plant.shadow.observe(part)
    log.close()
    assert plant.bench.kept() == {other.part_id: ["engines disagree"]}


def test_changes_count_against_the_candidate_until_a_person_says_otherwise(plant: Plant) -> None:
    plant.part("good", "good")
    released, stopped = plant.part("pits", "good"), plant.part("good", "pits")
    renamed = plant.part("pits", "scratches")
    found = plant.part("good", "pits", novelty=(3.0, 0.1))  # the active engine was in doubt itself
    plant.shadow.idle()
    ledger = plant.shadow.ledger
    assert ledger is not None
    assert (ledger.parts, ledger.worse, ledger.better) == (5, 2, 1)
    assert ledger.changes == {Change.RELEASED: 1, Change.STOPPED: 2, Change.RENAMED: 1}
    for record, said in ((released, "good"), (stopped, "pits"), (renamed, "pits"), (found, "good")):
        plant.bench.journal.write_event("review", {"class_name": said, "by": "J. Novak"}, record_id=record)
    plant.shadow.idle()
    assert (ledger.worse, ledger.better) == (2, 2), "the renamed part is a pit, and the far one is good"
    assert "worse on 2 of 5 parts" in plant.shadow.note
    assert "better on 2" in plant.shadow.note


def test_a_candidate_that_is_good_enough_is_written_down_once_with_what_proves_it(bench: Bench) -> None:
    plant = Plant(bench, worse_below=0.2)
    while "may be promoted" not in plant.shadow.note:
        plant.part("good", "good")
        plant.shadow.idle()
        assert len(plant.events()) < 60
    plant.part("good", "good")
    plant.shadow.idle()
    (finding,) = (event for event in plant.events() if not event["record"])
    assert (finding["finding"], finding["worse"], finding["limit"]) == ("good enough", 0, 0.2)
    assert plant.shadow.ready is not None
    assert plant.shadow.ready[0] == "1" * 64
    again = Plant(bench, worse_below=0.2)
    again.part("good", "good")
    again.shadow.close()
    assert again.shadow.ledger is not None
    assert again.shadow.ledger.parts > 17, "a start goes on with what the journal has"
    assert len([event for event in plant.events() if not event["record"]]) == 1


def test_a_candidate_that_is_worse_is_found_out(bench: Bench) -> None:
    plant = Plant(bench, worse_below=0.05)
    for _ in range(6):
        plant.part("pits", "good")
    plant.shadow.close()
    (finding,) = (event for event in plant.events() if not event["record"])
    assert finding["finding"] == "worse"


def test_another_candidate_begins_anew_and_no_candidate_costs_nothing(plant: Plant) -> None:
    plant.part("good", "good")
    plant.candidate = installed("2")
    plant.part("good", "good")
    assert (plant.opened, plant.engine.closed) == (2, 1)
    plant.shadow.idle()
    assert plant.shadow.ledger is not None
    assert (plant.shadow.ledger.candidate, plant.shadow.ledger.parts) == ("2" * 64, 1)
    plant.candidate = None
    plant.part("good", "good")
    assert len(plant.events()) == 2
    assert (plant.shadow.note, plant.engine.closed) == ("", 2)


def test_while_an_engine_is_in_trial_the_one_before_it_shadows_and_is_no_candidate(plant: Plant) -> None:
    plant.candidate = Installed("scripted", Path("nowhere"), None)
    for _ in range(3):
        plant.part("pits", "good")
    plant.shadow.close()
    assert [event["candidate"] for event in plant.events()] == ["factory"] * 3, "and no finding"
    assert plant.shadow.note == "the engine before, factory: differs on 3 of 3 parts (3 released)"
    assert plant.shadow.ready is None


def test_the_store_says_who_shadows(tiny_engine: Path, tmp_path: Path) -> None:
    store = Store(tiny_engine.parent, "tiny")
    assert who_shadows(store) is None
    one = put_in_store(tiny_engine.parent, tiny_engine, tmp_path)
    assert who_shadows(store) is None
    store.change(lambda known: known.proven(one, "a test", by="a test").shadowing(one, "a test", by="a test"))
    assert who_shadows(store) == store.find(one)
    store.change(lambda known: known.activated(one, "a test", by="a test", after_record=0, before="f" * 64))
    assert who_shadows(store) == store.find("factory")
    store.change(lambda known: known.good("a test", by="a test"))
    assert who_shadows(store) is None


def test_a_candidate_is_opened_in_its_process_with_the_recipe_that_it_judges_by(
    tiny_engine: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    digest = put_in_store(tiny_engine.parent, tiny_engine, tmp_path)
    candidate = Store(tiny_engine.parent, "tiny").find(digest)
    job = JudgingEngine.of(
        candidate.folder, "tiny", tiny_recipe, "onnxruntime-cpu", "fp32", tmp_path / "cache", home_as=digest
    )
    assert from_json(to_json(job)) == job
    opened = job.open()
    assert opened.recipe == recipe_for(tiny_recipe, candidate)
    assert opened.engine.info.classes == tuple(one.name for one in opened.recipe.classes)
    opened.engine.close()


def test_a_candidate_that_cannot_be_opened_is_said_and_is_not_tried_for_every_part(bench: Bench) -> None:
    tried = []

    def refuse(prepared: Prepared, one: Installed) -> Side:
        tried.append(one)
        raise EngineError("it does not reproduce its golden parts")

    shadow = Shadow(bench.journal, lambda name: installed(), refuse, Settings(), look_every_s=0.0)
    part = bench.part()
    with pytest.raises(EngineError, match="golden parts"):
        shadow.observe(part)
    with pytest.raises(ObserverError, match="golden parts"):
        shadow.observe(part)
    assert len(tried) == 1


def test_a_share_of_the_parts_is_drawn_by_their_numbers(bench: Bench) -> None:
    plant = Plant(bench, share=0.3)
    parts = [bench.part() for _ in range(60)]
    drawn = [part.part_id for part in parts if plant.shadow.wants(part)]
    assert 8 <= len(drawn) <= 30
    assert drawn == [part.part_id for part in parts if Plant(bench, share=0.3).shadow.wants(part)]
