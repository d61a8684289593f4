"""What a person sees of a run: the live view, the plain line, the summary with its confusion table."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from drivers.cameras.interface import CameraHealth
from drivers.sorters.interface import Outcome, Receipt, SorterHealth
from simulation.truth import PartTruth, Region
from station.cli.live import dashboard, plain_line, save_picture
from station.cli.summary import confusion, summary
from station.decision import Verdict
from station.line_values import LineStatus
from station.recipe import load_recipe
from station.statistics import Settled, Statistics
from station.supervision import State

RECIPE = load_recipe(Path(__file__).parents[2] / "recipes" / "servo-motor-housing.yaml")
CLASSES = tuple(entry.name for entry in RECIPE.classes)


def truth(*labels: str) -> PartTruth:
    return PartTruth(1, 690, Region(0, 0, 690, 3584), 0.0, labels[0], labels, ())


def settled(part_id: int, found: str, *labels: str) -> Settled:
    if found == "fault":
        verdict = Verdict(Outcome.FAULT, 255, "fault", 0.0, None, 6, "no frame")
    else:
        index = CLASSES.index(found)
        outcome = Outcome.REJECT if index else Outcome.ACCEPT
        verdict = Verdict(outcome, index, found, 0.9, 3, RECIPE.classes[index].bin, f"patch 3: {found}")
    return Settled(part_id, verdict, 20.0 + part_id, truth(*labels))


PARTS = (
    settled(1, "defect-free", "defect-free"),
    settled(2, "pits", "pits"),
    settled(3, "defect-free", "scratches"),
    settled(4, "imprinted", "defect-free"),
    settled(5, "scratches", "pits", "scratches"),
    settled(6, "fault", "pits"),
    settled(7, "roll-marks", "pits"),
)


def status(**changes: object) -> LineStatus:
    statistics = Statistics()
    for part in PARTS:
        statistics.trigger()
        statistics.verdict(part)
        statistics.receipt(Receipt(part.part_id, True, part.verdict.bin, 0), part.verdict_ms + 1)
    values: dict[str, object] = {
        "state": State.READY,
        "reason": "",
        "statistics": statistics.snapshot(),
        "camera": CameraHealth(True, "Emulation 0815-0000", 7, 0, 0, 0),
        "sorter": SorterHealth(True, "serial /dev/pts/3", 9, 9, 0, 0, 0, 0),
        "queues": (),
        "failure": "",
    }
    return LineStatus(**(values | changes))  # type: ignore[arg-type]


def text_of(renderable: object) -> str:
    console = Console(file=io.StringIO(), width=110, force_terminal=False)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_confusion_table_names_escapes_and_overkill() -> None:
    found = confusion(PARTS, CLASSES)
    assert found.parts == 7
    assert found.escapes == (3,)
    assert found.overkill == (4,)
    assert found.faulted == 1
    assert found.rows["pits"] == {
        "defect-free": 0,
        "imprinted": 0,
        "pits": 1,
        "roll-marks": 1,
        "scratches": 1,
        "fault": 1,
    }


def test_any_kind_that_is_on_a_part_of_several_kinds_is_right() -> None:
    found = confusion(PARTS, CLASSES)
    assert (found.right, found.right_by_another) == (3, 1)


def test_the_summary_says_whether_the_counts_balance() -> None:
    text = text_of(summary(status(), RECIPE, "100 MB", ("7 parts in there",)))
    assert "every trigger has one verdict" in text
    assert "escapes (defective, accepted): 1 (part 3)" in text
    assert "overkill (good, rejected): 1 (part 4)" in text
    assert "7 parts in there" in text


def test_a_halted_line_says_why_in_the_summary() -> None:
    assert "halted: the disk is full" in text_of(summary(status(failure="the disk is full"), RECIPE, "", ()))


def test_the_live_view_shows_parts_yield_pareto_latency_and_devices() -> None:
    text = text_of(dashboard(status(), "station test", 200))
    for shown in ("ready", "7 of 200", "28.6%", "scratches", "p99", "Emulation 0815-0000", "part 7: reject"):
        assert shown in text, shown


def test_frames_that_nobody_asked_for_are_shown() -> None:
    strays = status(camera=CameraHealth(True, "Basler raL6144", 7, 0, 0, 0, discarded=3))
    assert "3 thrown away" in text_of(dashboard(strays, "station test", 200))
    assert "3 thrown away" in text_of(summary(strays, RECIPE, "", ()))
    assert "thrown away" not in text_of(summary(status(), RECIPE, "", ()))


def test_without_a_terminal_one_line_says_the_same() -> None:
    lost = SorterHealth(False, "serial /dev/ttyUSB0", 0, 0, 0, 0, 0, 0, "no such device")
    line = plain_line(status(sorter=lost), 200)
    assert "7/200 parts, 2 accepted, 4 rejected, 1 faulted" in line
    assert "the cell does not answer on serial /dev/ttyUSB0 no such device" in line


def test_the_live_view_can_be_kept_as_a_picture(tmp_path: Path) -> None:
    save_picture(tmp_path / "view.svg", status(), "station test", None)
    assert "<svg" in (tmp_path / "view.svg").read_text()
