"""What a person sees of a run: the live view, the plain line, the summary with its confusion table."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from drivers.cameras.interface import CameraHealth
from drivers.sorters.interface import Outcome, Receipt, SorterHealth
from simulation.truth import Box, PartTruth
from station.cli.live import dashboard, plain_line, save_picture
from station.cli.summary import summary
from station.decision import Verdict
from station.engines.interface import EngineInfo
from station.line_values import LineStatus
from station.observers import ObserverStatus
from station.observers.truth import Confusion, GroundTruth
from station.queues import QueueStatus
from station.recipe import load_recipe
from station.statistics import Settled, Statistics
from station.supervision import State

RECIPE = load_recipe(Path(__file__).parents[2] / "recipes" / "servo-motor-housing.yaml")
CLASSES = tuple(entry.name for entry in RECIPE.classes)


PICTURES = ObserverStatus(
    "pictures", QueueStatus("pictures", 8, 0, 8, 2), 5, 1, 0.0, "no space left", "4 saved"
)


def truth(*labels: str) -> PartTruth:
    return PartTruth(1, 690, Box(0, 0, 690, 3584), 0.0, labels[0], labels, ())


def settled(part_id: int, found: str, *labels: str) -> tuple[Settled, PartTruth]:
    if found == "fault":
        verdict = Verdict(Outcome.FAULT, 255, "fault", 0.0, None, 6, "no frame")
    else:
        index = CLASSES.index(found)
        outcome = Outcome.REJECT if index else Outcome.ACCEPT
        verdict = Verdict(outcome, index, found, 0.9, 3, RECIPE.classes[index].bin, f"patch 3: {found}")
    return Settled(part_id, verdict, 20.0 + part_id), truth(*labels)


PARTS = (
    settled(1, "defect-free", "defect-free"),
    settled(2, "pits", "pits"),
    settled(3, "defect-free", "scratches"),
    settled(4, "imprinted", "defect-free"),
    settled(5, "scratches", "pits", "scratches"),
    settled(6, "fault", "pits"),
    settled(7, "roll-marks", "pits"),
)


def confusion() -> Confusion:
    known = GroundTruth(lambda part: None)
    for part, of in PARTS:
        known.count(part.part_id, part.verdict, of, list(CLASSES))
    return known.confusion()


def status(**changes: object) -> LineStatus:
    statistics = Statistics()
    for part, _ in PARTS:
        statistics.trigger()
        statistics.verdict(part)
        statistics.receipt(Receipt(part.part_id, True, part.verdict.bin, 0), part.verdict_ms + 1)
    values: dict[str, object] = {
        "state": State.READY,
        "reason": "",
        "recipe": RECIPE.name,
        "recipe_digest": RECIPE.digest,
        "engine": EngineInfo("housing", "ab" * 32, "openvino", "int8", "cpu", CLASSES, 256, 1, 0),
        "statistics": statistics.snapshot(),
        "camera": CameraHealth(True, "Emulation 0815-0000", 7, 0, 0, 0),
        "sorter": SorterHealth(True, "serial /dev/pts/3", 9, 9, 0, 0, 0, 0),
        "queues": (QueueStatus("frames", 4, 1, 3, 0),),
        "observers": (PICTURES,),
        "failure": "",
    }
    return LineStatus(**(values | changes))  # type: ignore[arg-type]


def text_of(renderable: object) -> str:
    console = Console(file=io.StringIO(), width=110, force_terminal=False)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_confusion_table_names_escapes_and_overkill() -> None:
    found = confusion()
    assert found.outcomes.parts == 7
    assert (found.outcomes.escapes, found.escaped) == (1, (3,))
    assert (found.outcomes.overkill, found.overkilled) == (1, (4,))
    assert (found.outcomes.faults, found.outcomes.good_faults) == (1, 0)
    assert found.rows["pits"] == {
        "defect-free": 0,
        "imprinted": 0,
        "pits": 1,
        "roll-marks": 1,
        "scratches": 1,
        "fault": 1,
    }


def test_any_kind_that_is_on_a_part_of_several_kinds_is_right() -> None:
    found = confusion()
    assert (found.outcomes.right, found.right_by_another) == (3, 1)


def test_the_summary_says_whether_the_counts_balance() -> None:
    text = text_of(summary(status(), "100 MB", confusion(), ("7 parts in there",)))
    assert "every trigger has one verdict" in text
    assert "escapes (defective, accepted): 1 (part 3)" in text
    assert "overkill (good, not accepted): 1 (part 4)" in text
    assert "7 parts in there" in text


def test_a_halted_line_says_why_in_the_summary() -> None:
    assert "halted: the disk is full" in text_of(summary(status(failure="the disk is full"), ""))


def test_the_live_view_shows_parts_yield_pareto_latency_and_devices() -> None:
    text = text_of(dashboard(status(), "station test", 200))
    for shown in ("ready", "7 of 200", "28.6%", "scratches", "p99", "Emulation 0815-0000", "part 7: reject"):
        assert shown in text, shown


def test_frames_that_nobody_asked_for_are_shown() -> None:
    strays = status(camera=CameraHealth(True, "Basler raL6144", 7, 0, 0, 0, discarded=3))
    assert "3 discarded" in text_of(dashboard(strays, "station test", 200))
    assert "3 discarded" in text_of(summary(strays, ""))
    assert "discarded" not in text_of(summary(status(), ""))


def test_what_an_observer_shed_and_where_it_failed_is_shown_everywhere() -> None:
    for shown in (
        text_of(dashboard(status(), "station test", 200)),
        text_of(summary(status(), "")),
        plain_line(status(), 200),
    ):
        assert "2 dropped, 1 failed: no space left" in shown


def test_the_queues_of_the_line_are_shown() -> None:
    assert "frames 1 of 4" in text_of(dashboard(status(), "station test", 200))
    assert "longest queues: frames 3 of 4" in text_of(summary(status(), ""))


def test_without_a_terminal_one_line_says_the_same() -> None:
    lost = SorterHealth(False, "serial /dev/ttyUSB0", 0, 0, 0, 0, 0, 0, "no such device")
    line = plain_line(status(sorter=lost), 200)
    assert "7/200 parts, 2 accepted, 4 rejected, 1 faulted" in line
    assert "the cell does not answer on serial /dev/ttyUSB0 no such device" in line


def test_the_live_view_can_be_kept_as_a_picture(tmp_path: Path) -> None:
    save_picture(tmp_path / "view.svg", status(), "station test", None)
    assert "<svg" in (tmp_path / "view.svg").read_text()
