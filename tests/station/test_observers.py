"""Observers beside the line: slow, raising, hanging or dead, they touch neither verdict nor pace nor stop."""

from __future__ import annotations

import hashlib
import importlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import station.observers
from drivers.cameras.interface import Frame
from drivers.sorters.interface import Outcome, Trigger
from simulation.truth import Box, PartTruth, TruthBook, fingerprint
from station.config import StationConfig, load_config
from station.decision import Verdict
from station.engines.interface import Engine, Scores
from station.journal import Journal
from station.journal.reading import JournalReader
from station.observers import Observer, ObserverError, Observers, ObserverSetup, make_observers
from station.observers.truth import GroundTruth
from station.part import InspectedPart, PartInHand
from station.patching.geometry import Patches, Region, Surface, cut_surface
from station.prepared import Prepared
from station.recipe import load_recipe
from station.simulated_plant import Plant
from tests.waiting import PATIENCE_S, wait_for

ROOT = Path(__file__).parents[2]
RECIPE = load_recipe(ROOT / "recipes" / "servo-motor-housing.yaml")
GOOD, BAD = RECIPE.classes[0].name, RECIPE.classes[1].name


class NoEngine(Engine):
    def scores(self, patches: NDArray[np.uint8], timeout_s: float | None = None) -> Scores:
        raise NotImplementedError

    def close(self) -> None:
        pass


PREPARED = Prepared(RECIPE, NoEngine())


def inspected(part_id: int, outcome: Outcome = Outcome.ACCEPT, frame: Frame | None = None) -> InspectedPart:
    index = {Outcome.ACCEPT: 0, Outcome.REJECT: 1, Outcome.FAULT: 255}[outcome]
    name = "fault" if index == 255 else RECIPE.classes[index].name
    part = PartInHand(Trigger(part_id, "", 0), PREPARED, part_id, 0, frames=() if frame is None else (frame,))
    return InspectedPart(part, Verdict(outcome, index, name, 0.9, 0, 1, "why"), time.monotonic_ns())


def frame_of(source: str) -> Frame:
    return Frame(np.zeros((2, 2), np.uint8), 1, 0, True, 0, source=source)


class Noting(Observer):
    """Notes the parts it saw; waits for leave to go on."""

    name = "noting"

    def __init__(self) -> None:
        self.saw: list[InspectedPart] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.closed = 0

    def observe(self, part: InspectedPart) -> None:
        self.go_on.wait(30)
        self.saw.append(part)

    def close(self) -> None:
        self.closed += 1


def wait_until_busy(observers: Observers) -> None:
    wait_for(lambda: observers.status()[0].busy_s)


class Raising(Observer):
    name = "raising"

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def observe(self, part: InspectedPart) -> None:
        raise self.error


@pytest.fixture
def hanging() -> Iterator[Noting]:
    observer = Noting()
    observer.go_on.clear()
    yield observer
    observer.go_on.set()


def test_every_observer_sees_every_part_and_is_closed_once_at_the_end() -> None:
    first, second = Noting(), Noting()
    with Observers([first, second]) as observers:
        for part in range(5):
            observers.offer(inspected(part))
        observers.close()
    for observer in (first, second):
        assert [part.part_id for part in observer.saw] == [0, 1, 2, 3, 4]
        assert observer.closed == 1


def test_an_observer_that_hangs_holds_up_nobody_and_the_end_is_bounded(hanging: Noting) -> None:
    other = Noting()
    observers = Observers([hanging, other])
    observers.offer(inspected(0))
    wait_until_busy(observers)
    begun = time.monotonic()
    for part in range(1, 100):
        observers.offer(inspected(part))
    assert time.monotonic() - begun < 1.0
    first, second = observers.status()
    assert (first.queue.length, first.queue.shed) == (8, 91)
    assert first.busy_s > 0
    assert "91 dropped" in first.problem
    observers.close(timeout_s=0.2)
    assert time.monotonic() - begun < 3.0
    assert len(other.saw) + second.queue.shed >= 99


def test_of_what_a_slow_observer_cannot_take_good_parts_are_shed_first(hanging: Noting) -> None:
    observers = Observers([hanging])
    observers.offer(inspected(0))
    wait_until_busy(observers)
    for part in range(1, 41):
        observers.offer(inspected(part, Outcome.REJECT if part % 5 == 0 else Outcome.ACCEPT))
    hanging.go_on.set()
    observers.close()
    assert [part.part_id for part in hanging.saw] == [0, 5, 10, 15, 20, 25, 30, 35, 40]
    assert observers.status()[0].queue.shed == 32


@pytest.mark.parametrize(
    "error", [ValueError("no such thing"), OSError("disk full"), SystemExit(3), MemoryError()], ids=repr
)
def test_what_an_observer_raises_is_counted_and_shown_and_the_next_part_is_offered(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    with Observers([Raising(error)]) as observers:
        for part in range(3):
            observers.offer(inspected(part))
    (status,) = observers.status()
    assert (status.failed, status.observed) == (3, 0)
    assert (str(error) or repr(error)) in status.problem
    assert sum("observer raising" in record.message for record in caplog.records) == 1, "said once"


def test_an_observer_that_raises_at_the_end_ends_all_the_same() -> None:
    class Ending(Noting):
        def close(self) -> None:
            raise RuntimeError("not today")

    with Observers([Ending()]) as observers:
        observers.offer(inspected(1))
    assert "not today" in observers.status()[0].problem


def test_an_observer_is_offered_only_the_outcomes_it_asks_for_and_a_frame_only_if_it_needs_one() -> None:
    plain, framed = Noting(), Noting()
    plain.outcomes = frozenset({Outcome.REJECT, Outcome.FAULT})
    framed.needs_frame = True
    with Observers([plain, framed]) as observers:
        assert observers.need_frames
        for number, outcome in enumerate(Outcome):
            observers.offer(inspected(number, outcome, frame_of("picture")))
    assert [part.verdict.outcome for part in plain.saw] == [Outcome.REJECT, Outcome.FAULT]
    assert all(part.part.frame is None for part in plain.saw)
    assert all(part.part.frame is not None for part in framed.saw)
    assert not Observers([Noting()]).need_frames


@dataclass(frozen=True)
class Truth:
    label: str
    labels: tuple[str, ...]


def test_verdicts_are_compared_with_the_ground_truth_beside_the_path() -> None:
    truths = {"good": Truth(GOOD, (GOOD,)), "bad": Truth(BAD, (BAD,))}
    known = GroundTruth(lambda part: truths.get(part.part.frame.source) if part.part.frame else None)
    known.capacity = 10
    parts = [
        inspected(1, Outcome.ACCEPT, frame_of("good")),
        inspected(2, Outcome.REJECT, frame_of("bad")),
        inspected(3, Outcome.ACCEPT, frame_of("bad")),
        inspected(4, Outcome.REJECT, frame_of("good")),
        inspected(5, Outcome.FAULT, frame_of("good")),
        inspected(6, Outcome.ACCEPT, frame_of("unknown")),
        inspected(7, Outcome.FAULT),
    ]
    with Observers([known]) as observers:
        for part in parts:
            observers.offer(part)
    found = known.confusion()
    assert (found.outcomes.parts, found.outcomes.right, found.outcomes.faults) == (5, 2, 1)
    assert (found.escaped, found.overkilled) == ((3,), (4, 5))
    assert found.rows[BAD][GOOD] == 1
    (status,) = observers.status()
    assert status.note == "accuracy 40.00% of 5 parts with known truth, 1 escapes, 2 overkill"


def test_a_truth_that_cannot_be_looked_up_costs_the_comparison_and_nothing_else() -> None:
    def broken(part: InspectedPart) -> Truth | None:
        raise KeyError(part.part_id)

    with Observers([GroundTruth(broken)]) as observers:
        observers.offer(inspected(1, frame=frame_of("x")))
    assert observers.status()[0].failed == 1


def test_where_the_cell_lays_parts_before_the_camera_a_swapped_part_is_an_escape() -> None:
    good = PartTruth(1, 16, Box(0, 0, 16, 32), 0.0, GOOD, (GOOD,), ())
    bad = replace(good, seed=2, label=BAD, labels=(BAD,))
    next_part = frame_of("the next part")
    shown = replace(good, fingerprint=fingerprint(next_part.pixels))
    swapped = inspected(2, Outcome.ACCEPT, next_part)
    assert Plant(TruthBook([shown, bad]), by_part=True).identify(swapped) is bad
    assert Plant(TruthBook([shown, bad])).identify(swapped) is shown, "a played folder shows its own part"
    assert Plant().identify(swapped) is None


@pytest.fixture
def config(tmp_path: Path) -> StationConfig:
    text = (ROOT / "config" / "demo.yaml").read_text().replace("../", f"{tmp_path}/")
    text = re.sub(r"^  rare: .*\n|^rare:\n(  .*\n)*", "", text, flags=re.MULTILINE)  # pictures alone
    (tmp_path / "station.yaml").write_text(text)
    return load_config(tmp_path / "station.yaml")


OBSERVER_FILE = """
from station.observers.interface import Observer

class Toy(Observer):
    name = "toy"

    def __init__(self, config):
        {body}

    def observe(self, part):
        pass

def make_observer(setup):
    return Toy(setup.config)
"""


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.db", station="test") as opened:
        yield opened


def test_a_picture_stands_in_the_chain_with_its_path_and_digest(
    config: StationConfig, journal: Journal
) -> None:
    made = make_observers(ObserverSetup(config, Plant(), journal))
    saver = next(one for one in made if one.name == "pictures")
    trigger = Trigger(7, "", time.monotonic_ns())
    record_id = journal.open_part(trigger, recipe=RECIPE, mode="cell", is_simulated=True)
    surface = Surface(np.full((2048, 512, 1), 100, np.uint8), Region(0, 0, 690, 3584))
    pixels = cut_surface(surface.pixels, RECIPE.patch)
    patches = Patches(pixels, surface, RECIPE.patch, 2, (0.1, 0.1))
    part = inspected(7, Outcome.REJECT)
    cut_part = replace(part.part, record_id=record_id, patches=patches)
    with Observers([saver]) as observers:
        observers.offer(replace(part, part=cut_part))
        observers.close(PATIENCE_S)
    assert not observers.status()[0].problem
    with JournalReader(journal.path) as reader:
        (event,) = [one for one in reader.events() if one.kind == "picture"]
    assert event.record_id == record_id
    content = Path(event.values["path"]).read_bytes()
    assert event.values["sha256"] == hashlib.sha256(content).hexdigest()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One more folder in which observers are found."""
    added = tmp_path / "added"
    added.mkdir()
    monkeypatch.setattr(station.observers, "__path__", [*station.observers.__path__, str(added)])
    importlib.invalidate_caches()
    return added


def test_one_file_more_is_one_observer_more(config: StationConfig, folder: Path, journal: Journal) -> None:
    before = [observer.name for observer in make_observers(ObserverSetup(config, Plant(), journal))]
    (folder / "toy_that_works.py").write_text(OBSERVER_FILE.format(body="pass"))
    importlib.invalidate_caches()
    names = [observer.name for observer in make_observers(ObserverSetup(config, Plant(), journal))]
    assert names == [*before, "toy"]
    assert before == ["drift", "pictures", "shadow"], "nobody knows the truth here"


def test_an_observer_that_raises_in_its_constructor_is_an_error_at_the_start_that_names_it(
    config: StationConfig, folder: Path, journal: Journal
) -> None:
    (folder / "toy_that_fails.py").write_text(OBSERVER_FILE.format(body='raise OSError("no such broker")'))
    importlib.invalidate_caches()
    with pytest.raises(ObserverError, match="observer 'toy_that_fails' cannot start: no such broker"):
        make_observers(ObserverSetup(config, Plant(), journal))
