"""The selection of records, and the indexes of a segment that find them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from station.journal.events import utc_text
from station.journal.record import PartRecord
from station.journal.schema import SCHEMA_VERSION
from station.journal.segments import Segment

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
    lot: str | None = None
    after_record: int = 0
    """Only records with a higher number."""
    newest_first: bool = False
    limit: int | None = None


def parse_moment(text: str, now: datetime | None = None) -> datetime:
    """A time as people write it: ``2031-03-01``, ``2031-03-01T06:00`` (local time), or ``8h`` ago.

    Raises ValueError with the forms that are understood.
    """
    now = now or datetime.now(UTC)
    try:
        if ago := _AGO.fullmatch(text.strip()):
            moment = now - timedelta(seconds=float(ago[1]) * _SECONDS[ago[2]])
        else:
            moment = datetime.fromisoformat(text.strip()).astimezone(UTC)
        # The journal compares times as text, which needs a year of four digits; no part is older than 1970.
        return max(moment, datetime(1970, 1, 1, tzinfo=UTC))
    except OverflowError:
        raise ValueError(f"{text!r} is outside the years 1 to 9999: name a later time") from None
    except ValueError:
        raise ValueError(
            f"{text!r} is not a time: write 2031-03-01, 2031-03-01T06:00 or with Z (UTC), or 30m, 8h, 2d ago"
        ) from None


def times_of(selection: Selection) -> tuple[list[str], list[Any]]:
    """The conditions of a selection by time, and their values."""
    wheres: list[str] = []
    values: list[Any] = []
    if selection.since is not None:
        wheres.append("opened_at >= ?")
        values.append(utc_text(selection.since))
    if selection.until is not None:
        wheres.append("opened_at < ?")
        values.append(utc_text(selection.until))
    return wheres, values


def is_selected(record: PartRecord, selection: Selection) -> bool:
    """Whether a record that was read is one of those selected."""
    since = selection.since is None or record.opened_at >= utc_text(selection.since)
    until = selection.until is None or record.opened_at < utc_text(selection.until)
    outcome = not selection.outcomes or (record.outcome or "open") in selection.outcomes
    class_name = not selection.class_names or record.class_name in selection.class_names
    part = selection.part_id is None or record.part_id == selection.part_id
    lot = selection.lot is None or record.lot == selection.lot
    after = record.record_id > selection.after_record
    return since and until and outcome and class_name and part and lot and after


def may_hold(segment: Segment, selection: Selection) -> bool:
    """Whether a segment may hold records of a selection by time; the one that is written always may."""
    if not segment.last_record or (selection.lot is not None and segment.schema < SCHEMA_VERSION):
        return False  # an older release wrote no lots
    if segment.last_record <= selection.after_record:
        return False
    if not segment.sealed:
        return True
    since = selection.since is None or segment.last_opened >= utc_text(selection.since)
    return since and (selection.until is None or segment.first_opened < utc_text(selection.until))


def ways_to(selection: Selection) -> list[tuple[str, list[str], list[Any]]]:
    """The indexes that lead to a selection, each with its conditions; together they find each record once."""
    wheres, values = times_of(selection)
    wheres = [f"parts.{where}" for where in wheres]
    if selection.lot is not None:
        wheres.append("setups.lot = ?")
        values.append(selection.lot)
    if selection.part_id is not None:
        wheres.append("parts.part_id = ?")
        values.append(selection.part_id)
    outcomes = dict.fromkeys(selection.outcomes)
    by_outcome = f"coalesce(parts.outcome, 'open') IN ({', '.join('?' * len(outcomes))})"
    classes = dict.fromkeys(selection.class_names)
    if selection.part_id is not None:
        if outcomes:
            wheres, values = [*wheres, by_outcome], [*values, *outcomes]
        if classes:
            wheres = [*wheres, f"parts.class_name IN ({', '.join('?' * len(classes))})"]
            values = [*values, *classes]
        return [("parts_by_part", wheres, values)]
    if classes:
        if outcomes:
            wheres, values = [*wheres, by_outcome], [*values, *outcomes]
        return [("parts_by_class", ["parts.class_name = ?", *wheres], [name, *values]) for name in classes]
    if outcomes:
        return [
            ("parts_by_outcome", ["parts.outcome IS ?", *wheres], [None if one == "open" else one, *values])
            for one in outcomes
        ]
    return [("", wheres, values)]
