"""What the journal is made of: events, their hash chain, and the records they add up to.

No I/O here. A record grows by events - ``opened`` with the trigger, ``verdict``, ``receipt``, or
``withdrawn`` when the verdict may not be sent any more, ``recovered`` when a station that ended too
early left it unfinished - and events of different records
interleave with each other and with those of the station (:data:`STATION_EVENTS`). Events are only ever
appended, and each is chained to the one before::

    digest = SHA-256( digest before | "seq,record_id,kind,at,length of payload," | payload | scores )

so that an edit, a deletion, an insertion or a swap shows. The one row per record in the table ``parts`` is
nothing but :func:`apply`, folded over the record's events: it can always be made again, and the audit
compares it with what the events say. How values are packed into a payload: ``station.journal.packing``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from station.journal.record import COLUMNS, RECEIPT_COLUMNS, STAGES, VERDICT_COLUMNS, PartRecord

__all__ = ["COLUMNS", "STAGES", "PartRecord"]

Row = dict[str, Any]
"""What is known of one record, by column name; ``setup`` and ``engine`` as numbers."""

OPENED, VERDICT, RECEIPT, RECOVERED = "opened", "verdict", "receipt", "recovered"
"""The events of a record."""
WITHDRAWN = "withdrawn"
"""The verdict was on the disk too late and was not sent: the record is a fault."""
CARRIED = "carried"
"""A record that was still in hand when its segment was closed goes on in the next one."""
RECORD_EVENTS = (OPENED, VERDICT, WITHDRAWN, RECEIPT, RECOVERED, CARRIED)

SEGMENT, SEALED, REMOVED = "segment", "sealed", "removed"
"""The first event of a file, the last one, and what the policy took away."""
LOSS = "loss"
"""A person has acknowledged that events written earlier are lost."""
SETUP, ENGINE, TEXT = "setup", "engine", "text"
"""What is written once in each file and then only named."""

STATION_EVENTS = (
    "start", "stop", "halt", "resume", "changeover", "configuration", "marks", "review", "picture",
    "degraded", "canary", "opinion", "novelty",
    "store", "shadow", "drift", "frames",
)  # fmt: skip
"""Events of the station itself, or said later of a record; they change no record."""

SHOWN_EVENTS = (*STATION_EVENTS, LOSS)
"""What a person wants to see of the station; an index leads to them."""

KNOWN = frozenset((*RECORD_EVENTS, SEGMENT, SEALED, REMOVED, LOSS, SETUP, ENGINE, TEXT, *STATION_EVENTS))

ACCEPT, REJECT, FAULT = "accept", "reject", "fault"
"""The outcomes as the journal writes them; the same words as ``drivers.sorters.interface.Outcome``."""

OUTCOMES = (ACCEPT, REJECT, FAULT, "open")
"""How a record may stand; ``open`` is no outcome but the lack of one."""

CELL_MODE = "cell"

JUDGEMENT = ("outcome", "class_name", "class_index", "confidence", "patch", "bin", "reason", "labels")
"""What a withdrawal says anew; the evidence of the verdict stays as it was measured."""

_CLOSES = frozenset((*VERDICT_COLUMNS, *RECEIPT_COLUMNS, "engine"))


class ChainError(ValueError):
    """An event does not fit the record or the chain it belongs to."""


@dataclass(frozen=True, slots=True)
class Event:
    """One link of the chain, as it stands in the table ``events``."""

    seq: int
    """1, 2, 3 …, without a gap, through all segments."""
    record_id: int
    """The record the event speaks of; 0 for the station."""
    kind: str
    at: str
    """UTC, ISO 8601, when the event was written."""
    payload: str
    """JSON in ASCII; see ``station.journal.packing``."""
    scores: bytes | None
    """A verdict's scores, packed."""
    digest: bytes
    """SHA-256 over everything above and the digest before."""


def genesis(journal_id: str) -> bytes:
    """What stands before the first event, so that one journal's events do not fit into another's."""
    return hashlib.sha256(f"station journal {journal_id}".encode()).digest()


def digest_of(
    before: bytes, seq: int, record_id: int, kind: str, at: str, payload: str, scores: bytes | None
) -> bytes:
    """The digest of an event. Raises :class:`ChainError` for values of the wrong type."""
    try:
        text = f"{seq},{record_id},{kind},{at},{len(payload)},{payload}"
        return hashlib.sha256(before + text.encode("ascii") + (scores or b"")).digest()
    except (AttributeError, TypeError, ValueError):
        raise ChainError("a column of the event holds a value of the wrong type") from None


def chained(
    before: bytes, seq: int, record_id: int, kind: str, at: str, payload: str, scores: bytes | None = None
) -> Event:
    """The next event of a chain that ends in the digest ``before``."""
    digest = digest_of(before, seq, record_id, kind, at, payload, scores)
    return Event(seq, record_id, kind, at, payload, scores, digest)


def apply(row: Row | None, kind: str, seq: int, record_id: int, values: Mapping[str, Any]) -> Row:
    """What is known of a record after an event; ``row`` is left as it is and is None before the first one.

    Raises :class:`ChainError` when the event may not follow: a record is opened once, gets one verdict, which
    may be withdrawn once and then is a fault, then one receipt, and nothing after.
    """
    if kind in (OPENED, CARRIED):
        if row is not None:
            raise ChainError("the record is opened a second time")
        opened = {**_NOTHING, "record_id": record_id, "recovered": False, **values}
        if opened["outcome"] is not None:
            opened["verdict_seq"] = seq  # carried with its verdict and scores
        return opened
    if kind not in (VERDICT, WITHDRAWN, RECEIPT, RECOVERED):
        raise ChainError(f"is an event that this station does not know (kind {kind!r})")
    if row is None:
        raise ChainError(f"a {kind} for a record that was never opened")
    if row["acknowledged"] is not None:
        raise ChainError(f"a {kind} for a record that is closed")
    if kind == WITHDRAWN:
        if row["outcome"] not in (ACCEPT, REJECT):
            raise ChainError("a withdrawn for a record that is neither an accept nor a reject")
        if values.keys() != set(JUDGEMENT) or values["outcome"] != FAULT:
            raise ChainError("a withdrawn that does not make the record a fault, and nothing else")
        return {**row, **values}
    decides = values.get("outcome") is not None
    if decides is not (row["outcome"] is None) or (decides and kind == RECEIPT):
        second = "a second verdict" if decides else f"a {kind} before the verdict"
        raise ChainError(f"{second} for the record")
    if kind != VERDICT and values.get("acknowledged") not in (True, False):
        raise ChainError(f"a {kind} that does not say whether the part was acknowledged")
    after = {**row, **values}
    if decides:
        after["verdict_seq"] = seq
    if kind == RECOVERED:
        if not values.keys() <= _CLOSES:
            raise ChainError("a recovered that changes what opened the record")
        after["recovered"] = True
    return after


_NOTHING: Row = dict.fromkeys((*COLUMNS, "setup", "engine"))


def problems_of_verdict(row: Mapping[str, Any], *, has_scores: bool) -> list[str]:
    """What keeps a verdict from being lawful: an accept needs its evidence, nothing else the good bin.

    ``row``: the record with the columns of its setup and engine.
    """
    outcome, problems = row["outcome"], []
    if outcome not in (ACCEPT, REJECT, FAULT):
        return [f"the outcome {outcome!r} is none of accept, reject, fault"]
    if outcome != ACCEPT:
        if row["bin"] == row["good_bin"] and row["good_bin"] is not None:
            problems.append(f"a {outcome} is sent to bin {row['bin']}, the bin of good parts")
        return problems
    if row["frame_id"] is None or not row["frame_complete"]:
        problems.append("an accept without a complete frame")
    elif row["mode"] == CELL_MODE and row["lost_before"] != 0:
        problems.append("an accept on a frame that may be another part's (exposures were lost before it)")
    if row["region_x"] is None:
        problems.append("an accept without a product region")
    if not has_scores:
        problems.append("an accept without scores")
    if not row["engine_digest"]:
        problems.append("an accept without a verified engine (no digest)")
    if row["bin"] != row["good_bin"] and row["good_bin"] is not None:
        problems.append(f"an accept is sent to bin {row['bin']}, good parts go to bin {row['good_bin']}")
    return problems


def utc_text(moment: datetime) -> str:
    """A moment as the journal writes it; texts sort as the moments do."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def utc_ago(nanoseconds: int) -> str:
    """The moment this long ago, as text."""
    return utc_text(datetime.now(UTC) - timedelta(microseconds=max(0, nanoseconds) // 1000))
