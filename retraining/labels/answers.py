"""The log of answers: JSON lines that are only ever appended, so that nothing a person said is lost.

A batch is what a person did at once: one picture, or many that were selected. Undo and redo are entries, too.
What a person says of a picture is the last batch about it that is not undone.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from drivers.regular_files import open_regular
from retraining.errors import DatasetError

LOG = "labels.jsonl"
UNSURE, NO_PRODUCT = "not sure", "not a product"
"""Answers that are no class: such a picture is not trained on."""
_LONGEST_LINE = 4_000_000

Name = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f,;]+$")]
"""A person's name, one line."""


@dataclass(frozen=True, slots=True)
class Box:
    """A defect on a picture, px from its upper left corner."""

    label: str
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What one person says of one picture."""

    path: str
    """Relative to the folder of the pictures, POSIX."""
    digest: str
    """SHA-256 of the file that the person saw."""
    label: str
    """A class, :data:`UNSURE`, :data:`NO_PRODUCT`, or empty: the answer is taken back."""
    boxes: tuple[Box, ...] = ()


class Entry(BaseModel):
    """One line of the log."""

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Literal["answer", "undo", "redo"]
    by: Name
    at: str
    answers: Annotated[list[Answer], Field(max_length=10_000)] = []


class AnswerLog:
    """The answers beside one set of pictures."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG

    def entries(self) -> list[Entry]:
        """Every entry, oldest first.

        Raises :class:`DatasetError` that names each line that cannot be read; a last line that was cut off by
        a crash was never acknowledged, and is passed over.
        """
        try:
            with open_regular(self.path) as file:
                content = file.read()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DatasetError(f"{self.path} cannot be read ({error.strerror}); check the path") from None
        lines = content.split(b"\n")
        found, faults = [], []
        for number, line in enumerate(lines, start=1):
            if not line:
                continue
            try:
                found.append(Entry.model_validate_json(line, strict=False))
            except ValidationError as error:
                if number == len(lines):  # no line end: the crash came first
                    continue
                faults.append(f"line {number}: {error.errors(include_url=False)[0]['msg']}")
        if faults:
            named = "; ".join(faults[:5])
            raise DatasetError(f"{self.path}: {named}; take these lines out, and label their pictures again")
        return found

    def append(self, by: str, answers: Sequence[Answer]) -> None:
        """Write one batch of a person; on the disk when this returns. Raises :class:`DatasetError`."""
        self._append(by, "answer", answers)

    def undo(self, by: str) -> bool:
        """Take back the person's last batch; False where there is none."""
        done, _ = _stacks(self.entries(), by)
        if done:
            self._append(by, "undo", [])
        return bool(done)

    def redo(self, by: str) -> bool:
        """Take back the last undo; False where there is none, or the person answered since."""
        _, undone = _stacks(self.entries(), by)
        if undone:
            self._append(by, "redo", [])
        return bool(undone)

    def people(self) -> list[str]:
        """Everybody who answered, by name."""
        return sorted({entry.by for entry in self.entries()})

    def of(self, by: str) -> dict[str, Answer]:
        """What a person says now: digest -> answer."""
        done, _ = _stacks(self.entries(), by)
        found: dict[str, Answer] = {}
        for batch in done:
            for answer in batch:
                found[answer.digest] = answer
        return {digest: answer for digest, answer in found.items() if answer.label}

    def _append(self, by: str, kind: str, answers: Iterable[Answer]) -> None:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            entry = Entry.model_validate(
                {"kind": kind, "by": by, "at": at, "answers": [asdict(one) for one in answers]}, strict=False
            )
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise DatasetError(
                f"{'.'.join(map(str, first['loc']))}: {first['msg']}; give a plain name"
            ) from None
        line = entry.model_dump_json().encode() + b"\n"
        if len(line) > _LONGEST_LINE:
            raise DatasetError("too many answers at once; select fewer pictures")
        try:
            with self.path.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if file.tell() and not _ends_with_a_line(self.path):
                    line = b"\n" + line  # what a crash cut off stays a line of its own
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DatasetError(f"{self.path} cannot be written ({error.strerror}); free the disk") from None


def _ends_with_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _stacks(entries: Iterable[Entry], by: str) -> tuple[list[list[Answer]], list[list[Answer]]]:
    """A person's batches that count, and those that are undone, the last one last."""
    done: list[list[Answer]] = []
    undone: list[list[Answer]] = []
    for entry in entries:
        if entry.by != by:
            continue
        if entry.kind == "answer":
            done.append(entry.answers)
            undone.clear()
        elif entry.kind == "undo" and done:
            undone.append(done.pop())
        elif entry.kind == "redo" and undone:
            done.append(undone.pop())
    return done, undone


def cut_off_line(path: Path) -> str:
    """The words of a last line that a crash cut off; empty where there is none."""
    if not path.is_file():
        return ""
    last = path.read_bytes().split(b"\n")[-1]
    try:
        json.loads(last or b"{}")
    except ValueError:
        return last[:80].decode("utf-8", "replace")
    return ""
