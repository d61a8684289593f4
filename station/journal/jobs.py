"""What callers hand to the journal's writer: events that are written together or not at all, and counts."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from station.journal.errors import JournalError
from station.journal.events import Row
from station.journal.ledger import Ledger, Text
from station.journal.values import CameraUsed, PartDetails, PartMarks, Values

if TYPE_CHECKING:
    from drivers.sorters.interface import Receipt, Trigger
    from station.decision import Verdict


@dataclass(frozen=True, slots=True)
class Counts:
    """Records by how they ended; ``triggers == accepted + rejected + faulted + open`` always."""

    triggers: int
    accepted: int
    rejected: int
    faulted: int
    open: int
    """Without a verdict: in hand, or in doubt after a crash until :meth:`Journal.recover`."""


@dataclass(frozen=True, slots=True)
class FinishedPart:
    """A part from trigger to receipt, for :meth:`Journal.write_finished`."""

    trigger: Trigger
    verdict: Verdict
    details: PartDetails
    receipt: Receipt
    written_ns: int | None = None
    told_ns: int | None = None
    camera: CameraUsed | None = None
    marks: PartMarks | None = None
    picture: Mapping[str, Any] | None = None
    """What the event ``picture`` says of it; None where no picture was kept."""


@dataclass(slots=True)
class Entry:
    """One event to be written."""

    kind: str
    record_id: int
    """0 stands for the next free one."""
    values: Values
    scores: bytes | None = None
    texts: tuple[Text, ...] = ()


@dataclass(slots=True, eq=False)
class Job:
    """Events of one caller, written together or not at all."""

    entries: list[Entry]
    received_ns: int | None = None
    done: bool = False
    rows: list[Row] = field(default_factory=list)
    """What the records look like after the events."""
    error: JournalError | None = None


def chain_job(job: Job, ledger: Ledger) -> str:
    """Append the job's events to the ledger; why not, with nothing appended, when one is unlawful."""
    own = ledger.fork()
    record_id, rows = 0, []
    try:
        for entry in job.entries:
            record_id = entry.record_id
            for text in entry.texts:
                own.name_text(text)
            record_id = own.append(entry.kind, record_id, entry.values, entry.scores, job.received_ns)
            if record_id in own.rows:
                rows.append(own.rows[record_id])
    except (ValueError, TypeError) as error:
        return f"record {record_id}: {error}"
    own.keep()
    job.rows = rows
    return ""


def text_of(what: str, text: str) -> Text:
    """A document with its digest."""
    return Text(hashlib.sha256(text.encode()).hexdigest(), what, text)


def counted_by_outcome(outcomes: Counter[str | None]) -> Counts:
    """Records by how they ended; the key None is open."""
    accepted, rejected, faulted = (outcomes[name] for name in ("accept", "reject", "fault"))
    return Counts(sum(outcomes.values()), accepted, rejected, faulted, outcomes[None])
