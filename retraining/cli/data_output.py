"""What the commands below ``retrain data`` write and show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from retraining.cli.options import progress_bars

if TYPE_CHECKING:
    from rich.progress import TaskID

    from retraining.data.manifest import Dataset
    from retraining.surfaces.reading import Reporter

SHORT = 300
"""Characters of a note that are shown; the manifest has all of it."""


def write_set(dataset: Dataset, out: Path) -> None:
    """Manifest and contact sheet into ``out``, counts and notes on the screen."""
    from retraining.data.contact_sheet import contact_sheet
    from retraining.data.manifest import save_dataset

    manifest = save_dataset(dataset, out)
    sheet = contact_sheet(dataset, out / "contact-sheet.png")
    print_set(dataset, SHORT)
    print(f"{manifest}\n{sheet}")


def print_set(dataset: Dataset, length: int | None) -> None:
    """Counts, labellers and notes on the screen; notes up to ``length`` characters, or whole."""
    from rich.console import Console
    from rich.table import Table

    from station.cli.text import one_line, told

    splits = sorted({p.split for p in dataset.pictures}, key=("train", "validation", "test", "").index)
    table = Table("class", *(split or "no split" for split in splits), "groups")
    for column in table.columns[1:]:
        column.justify = "right"
    for name in dataset.classes:
        groups = len({p.group for p in dataset.pictures if p.label == name})
        table.add_row(told(name), *(str(dataset.count(split)[name]) for split in splits), str(groups))
    Console().print(table)
    labellers = sorted({p.labelled_by for p in dataset.pictures})
    print(f"{len(dataset)} pictures, labelled by {', '.join(labellers)}")
    marks = [mark for picture in dataset.pictures for mark in picture.marks]
    if marks:
        pictures = sum(bool(picture.marks) for picture in dataset.pictures)
        print(
            f"{len(marks)} marks on {pictures} pictures, {sum(mark.is_box for mark in marks)} of them boxes"
        )
    for note in dataset.notes:
        line = one_line(note)
        print(f"note: {line if length is None or len(line) <= length else line[:length] + ' ...'}")
    if length is not None and any(len(note) > length for note in dataset.notes):
        print("`retrain data show --notes` shows them at full length.")


@contextmanager
def stage_bars() -> Iterator[Reporter]:
    """One progress bar for each stage of reading pictures and of comparing them."""
    with progress_bars() as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, status="")
            bars.update(tasks[stage], completed=done)

        yield report
