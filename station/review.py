"""A person's word about an inspected part, as an event of the journal's chain; the record itself stays."""

from __future__ import annotations

from drivers.errors import InspectionError
from station.journal import Journal, PartRecord
from station.journal.reading import JournalReader
from station.journal.selection import Selection


class ReviewError(InspectionError):
    """A part cannot be reviewed as asked; the message says why and what can be written instead."""


def review(
    journal: Journal, *, class_name: str, by: str, record: int | None = None, part: int | None = None
) -> PartRecord:
    """Write down that a person takes a part for ``class_name``, and return the part's record.

    ``record``: the record's number; or ``part``: the part id, whose latest record is taken. Raises
    :class:`ReviewError` and ``JournalError``; nothing is written then.
    """
    if (record is None) == (part is None):
        raise ReviewError("name either the record's number or the part id")
    with JournalReader(journal.path) as reader:
        if record is not None:
            found = reader.record(record)
        else:
            latest = Selection(part_id=part, newest_first=True, limit=1)
            found = next(reader.records(latest, scores=False), None)
    if found is None:
        what = f"record {record}" if record is not None else f"part {part}"
        raise ReviewError(f"the journal has no {what}: `station journal list` shows what it has")
    known = (found.classes or "").split(",")
    if class_name not in known:
        raise ReviewError(
            f"record {found.record_id} cannot be {class_name!r}: recipe {found.recipe} has the classes "
            f"{', '.join(known)}"
        )
    values = {"class_name": class_name, "by": by, "verdict": found.class_name}
    journal.write_event("review", values, record_id=found.record_id)
    return found
