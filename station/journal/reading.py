"""Reading a journal beside the station that writes it: never blocks it, never changes a byte.

Records come in batches, each its own short read, so that a long export does not keep the station from
reusing its write-ahead log; every record is as it was when its batch was read.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from station.journal.events import COLUMNS, OUTCOMES, PartRecord, record_of, utc_text
from station.journal.schema import Head, connect_readonly, explain, read_head

BATCH = 500
"""Records read at a time."""

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records, and in which order; the default is all of them, oldest first."""

    since: datetime | None = None
    """Triggers from this moment on; with a time zone."""
    until: datetime | None = None
    """Triggers before this moment."""
    outcomes: tuple[str, ...] = ()
    """``accept``, ``reject``, ``fault`` or ``open`` (no verdict yet); none named = all."""
    class_names: tuple[str, ...] = ()
    part_id: int | None = None
    newest_first: bool = False
    limit: int | None = None


class JournalReader:
    """A journal opened for reading. Raises :class:`JournalError` for what is no journal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = connect_readonly(path)

    def records(self, selection: Selection | None = None, *, scores: bool = True) -> Iterator[PartRecord]:
        """The records selected; ``scores=False`` leaves the tables of scores on the disk."""
        selection = selection or Selection()
        left = selection.limit
        after: int | None = None
        while left is None or left > 0:
            size = BATCH if left is None else min(BATCH, left)
            batch = self._batch(selection, after, size, scores)
            yield from batch
            if len(batch) < size:
                return
            after = batch[-1].record_id
            left = None if left is None else left - len(batch)

    def record(self, record_id: int) -> PartRecord | None:
        """One record with its scores; None when there is none of this number."""
        found = self._query(_select(True) + " WHERE parts.record_id = ?", (record_id,))
        return _record(found[0]) if found else None

    def counts(self) -> dict[str, int]:
        """Records by outcome: triggers, accept, reject, fault, open."""
        found = dict(self._query("SELECT coalesce(outcome, 'open'), count(*) FROM parts GROUP BY 1", ()))
        return {"triggers": sum(found.values()), **{outcome: found.get(outcome, 0) for outcome in OUTCOMES}}

    def head(self) -> Head:
        """Which journal this is and its last event."""
        try:
            return read_head(self._connection)
        except sqlite3.Error as error:
            raise explain(error, self.path) from error

    def close(self) -> None:
        """Give the file back."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _batch(self, selection: Selection, after: int | None, size: int, scores: bool) -> list[PartRecord]:
        wheres, values = _conditions(selection)
        if after is not None:
            wheres.append(f"parts.record_id {'<' if selection.newest_first else '>'} ?")
            values.append(after)
        where = f" WHERE {' AND '.join(wheres)}" if wheres else ""
        order = f" ORDER BY parts.record_id {'DESC' if selection.newest_first else 'ASC'} LIMIT ?"
        return [_record(found) for found in self._query(_select(scores) + where + order, (*values, size))]

    def _query(self, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise explain(error, self.path) from error


def parse_moment(text: str, now: datetime | None = None) -> datetime:
    """A moment as people write it: ``2031-03-01``, ``2031-03-01T06:00`` (local time), or ``8h`` ago.

    Raises ValueError with the forms that are understood.
    """
    now = now or datetime.now(UTC)
    if ago := _AGO.fullmatch(text.strip()):
        return now - timedelta(seconds=float(ago[1]) * _SECONDS[ago[2]])
    try:
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except ValueError:
        raise ValueError(
            f"{text!r} is no moment: write 2031-03-01, 2031-03-01T06:00 or with Z, or 30m, 8h, 2d for ago"
        ) from None


def _conditions(selection: Selection) -> tuple[list[str], list[Any]]:
    wheres: list[str] = []
    values: list[Any] = []
    if selection.since is not None:
        wheres.append("parts.opened_at >= ?")
        values.append(utc_text(selection.since))
    if selection.until is not None:
        wheres.append("parts.opened_at < ?")
        values.append(utc_text(selection.until))
    if selection.outcomes:
        marks = ", ".join("?" * len(selection.outcomes))
        wheres.append(f"coalesce(parts.outcome, 'open') IN ({marks})")
        values += selection.outcomes
    if selection.class_names:
        wheres.append(f"parts.class_name IN ({', '.join('?' * len(selection.class_names))})")
        values += selection.class_names
    if selection.part_id is not None:
        wheres.append("parts.part_id = ?")
        values.append(selection.part_id)
    return wheres, values


def _select(scores: bool) -> str:
    columns = ", ".join(f"parts.{name}" for name in COLUMNS)
    if not scores:
        return f"SELECT {columns}, NULL FROM parts"
    return f"SELECT {columns}, events.payload FROM parts LEFT JOIN events ON events.seq = parts.verdict_seq"


def _record(found: tuple[Any, ...]) -> PartRecord:
    *columns, payload = found
    scores = json.loads(payload).get("scores") if payload else None
    return record_of(dict(zip(COLUMNS, columns, strict=True)), scores)
