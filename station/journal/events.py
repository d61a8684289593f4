"""What the journal's records are made of: events, their hash chain, and the record they add up to.

No I/O here. A record grows by events - ``opened`` with the trigger, ``verdict``, ``receipt``, or
``recovered`` when a station that ended too early left it unfinished - and events of different records
interleave. Events are only ever appended, and each is chained to the one before::

    digest = SHA-256( JSON array [digest before, seq, record_id, kind, at, payload] )

so that an edit, a deletion, an insertion or a swap shows. The one row a record in the table ``parts`` is
nothing but :func:`apply`, folded over the record's events: it can always be made again, and the audit
compares it with what the events say.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = dict[str, Any]
"""One row of ``parts``, by column name."""

OPENED, VERDICT, RECEIPT, RECOVERED = "opened", "verdict", "receipt", "recovered"

STATION_EVENTS = (
    "start",
    "stop",
    "halt",
    "resume",
    "changeover",
    "configuration",
    "review",
    "picture",
)
"""Events of the station itself, or said later of a record; they change no record."""

ACCEPT, REJECT, FAULT = "accept", "reject", "fault"
"""The outcomes as the journal writes them; the same words as ``drivers.sorters.interface.Outcome``."""

OUTCOMES = (ACCEPT, REJECT, FAULT, "open")
"""How a record may stand; ``open`` is no outcome but the lack of one."""

CELL_MODE = "cell"

STAGES = ("frame", "cut", "scored", "decided", "written", "told", "acknowledged")
"""The stages of a part in order; column ``<stage>_ms`` holds milliseconds after the trigger."""

_OPENED_KEYS = (
    "part_id",
    "station",
    "mode",
    "is_simulated",
    "opened_at",
    "recipe",
    "recipe_version",
    "recipe_digest",
    "requested_recipe",
    "good_bin",
    "fault_bin",
    "classes",
    "software_version",
    "config_digest",
    "camera_model",
    "camera_serial",
    "exposure_us",
    "lot",
    "serial_number",
    "shift",
    "operator",
)
_VERDICT_KEYS = (
    "frame_id",
    "lost_before",
    "frame_complete",
    "region_x",
    "region_y",
    "region_width",
    "region_height",
    "region_lean_x",
    "region_lean_y",
    "engine_digest",
    "backend",
    "precision",
    "outcome",
    "class_name",
    "class_index",
    "confidence",
    "patch",
    "bin",
    "reason",
    "frame_ms",
    "cut_ms",
    "scored_ms",
    "decided_ms",
    "scores",
)
_RECEIPT_KEYS = ("acknowledged", "ack_bin", "ack_problem", "written_ms", "told_ms", "acknowledged_ms")
_KEYS: dict[str, frozenset[str]] = {
    OPENED: frozenset(_OPENED_KEYS),
    VERDICT: frozenset(_VERDICT_KEYS),
    RECEIPT: frozenset(_RECEIPT_KEYS),
    RECOVERED: frozenset((*_VERDICT_KEYS, *_RECEIPT_KEYS)),
}


class ChainError(ValueError):
    """An event does not fit the record or the chain it belongs to."""


@dataclass(frozen=True, slots=True)
class Event:
    """One link of the chain, as it stands in the table ``events``."""

    seq: int
    """1, 2, 3 …, without a gap."""
    record_id: int
    kind: str
    at: str
    """UTC, ISO 8601, when the event was written."""
    payload: str
    """Canonical JSON: the values that the event adds to its record."""
    digest: str
    """SHA-256, hex, over everything above and the digest before."""


@dataclass(frozen=True, slots=True)
class PartRecord:
    """One trigger, from its request to its acknowledged bin. None is what never came to be known."""

    record_id: int
    part_id: int
    station: str
    mode: str
    """``cell`` or ``free-running``."""
    is_simulated: bool
    opened_at: str
    """When the trigger came: UTC, ISO 8601 with microseconds and ``Z``."""
    recipe: str
    recipe_version: int
    recipe_digest: str
    requested_recipe: str
    """What the cell asked for; empty where it does not say."""
    good_bin: int | None
    """The bin of good parts in this recipe."""
    fault_bin: int
    classes: str | None = None
    """The names of the recipe's classes, the columns of the scores, joined by commas."""
    software_version: str | None = None
    config_digest: str | None = None
    """SHA-256 of the configuration's file."""
    camera_model: str | None = None
    camera_serial: str | None = None
    exposure_us: float | None = None
    lot: str | None = None
    serial_number: str | None = None
    shift: str | None = None
    operator: str | None = None
    frame_id: int | None = None
    lost_before: int | None = None
    """Frames that the camera lost just before this one."""
    frame_complete: bool | None = None
    region_x: int | None = None
    """The product in the frame, px."""
    region_y: int | None = None
    region_width: int | None = None
    region_height: int | None = None
    region_lean_x: int | None = None
    """How far a tilted product leans, px; see ``station.patching.Region``."""
    region_lean_y: int | None = None
    engine_digest: str | None = None
    backend: str | None = None
    precision: str | None = None
    outcome: str | None = None
    """``accept``, ``reject`` or ``fault``; None while the part is in hand or in doubt."""
    class_name: str | None = None
    class_index: int | None = None
    confidence: float | None = None
    patch: int | None = None
    bin: int | None = None
    reason: str | None = None
    frame_ms: float | None = None
    """Milliseconds after the trigger, this one and the six below."""
    cut_ms: float | None = None
    scored_ms: float | None = None
    decided_ms: float | None = None
    written_ms: float | None = None
    """The verdict was durable in the journal; only then may it be told."""
    told_ms: float | None = None
    acknowledged_ms: float | None = None
    acknowledged: bool | None = None
    """Whether the cell confirmed the bin; None while its answer is still to come."""
    ack_bin: int | None = None
    """Where the cell says the part went."""
    ack_problem: str | None = None
    recovered: bool = False
    """Closed at the start of the station after it had ended too early."""
    verdict_seq: int | None = None
    """The event that holds the verdict and the scores."""
    scores: NDArray[np.float32] | None = None
    """(patches, classes), probabilities as the engine gave them."""

    @property
    def region(self) -> tuple[int, int, int, int] | None:
        """The product in the frame: x, y, width, height in px."""
        sides = (self.region_x, self.region_y, self.region_width, self.region_height)
        return None if None in sides else sides  # type: ignore[return-value]

    @property
    def stages_ms(self) -> dict[str, float]:
        """The stages that the part reached, in order, milliseconds after the trigger."""
        times = {stage: getattr(self, f"{stage}_ms") for stage in STAGES}
        return {stage: ms for stage, ms in times.items() if ms is not None}

    def __str__(self) -> str:
        head = f"record {self.record_id}, part {self.part_id}, {self.opened_at}"
        if self.outcome is None:
            return f"{head}: no verdict"
        told = f"{self.outcome} to bin {self.bin} ({self.reason})"
        return f"{head}: {told}; {self.ack_problem}" if self.ack_problem else f"{head}: {told}"


_FLAGS = ("is_simulated", "frame_complete", "acknowledged", "recovered")
"""Columns that SQLite holds as 0 and 1."""

COLUMNS = tuple(name for name in PartRecord.__dataclass_fields__ if name != "scores")
"""The columns of ``parts``, in order."""


def canonical(values: Mapping[str, Any]) -> str:
    """The one JSON text of a payload: sorted keys, no blanks, ASCII, no NaN."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def genesis(journal_id: str) -> str:
    """What stands before the first event, so that one journal's events do not fit into another's."""
    return hashlib.sha256(f"station journal {journal_id}".encode()).hexdigest()


def digest_of(before: str, seq: int, record_id: int, kind: str, at: str, payload: str) -> str:
    """The digest of an event, hex. Raises :class:`ChainError` for values of the wrong type."""
    body = [before, seq, record_id, kind, at, payload]
    if [type(value) for value in body] != [str, int, int, str, str, str]:
        raise ChainError("a column of the event holds a value of the wrong type")
    return hashlib.sha256(json.dumps(body, separators=(",", ":")).encode()).hexdigest()


def chained(before: str, seq: int, record_id: int, kind: str, at: str, values: Mapping[str, Any]) -> Event:
    """The next event of a chain that ends in the digest ``before``."""
    payload = canonical(values)
    return Event(seq, record_id, kind, at, payload, digest_of(before, seq, record_id, kind, at, payload))


def apply(row: Row | None, event: Event) -> Row:
    """The record's row after ``event``; ``row`` is left as it is and is None before the first event.

    Raises :class:`ChainError` when the event may not follow: a record is opened once, gets one verdict,
    then one receipt, and nothing after.
    """
    try:
        values = json.loads(event.payload)
    except json.JSONDecodeError as error:
        raise ChainError(f"its payload is not JSON ({error})") from None
    allowed = _KEYS.get(event.kind)
    if allowed is None or not isinstance(values, dict) or not values.keys() <= allowed:
        raise ChainError(f"is no event that this station knows (kind {event.kind!r})")
    if event.kind == OPENED:
        if row is not None:
            raise ChainError("the record is opened a second time")
        return {**dict.fromkeys(COLUMNS), "record_id": event.record_id, "recovered": False, **values}
    if row is None:
        raise ChainError(f"a {event.kind} for a record that was never opened")
    if row["acknowledged"] is not None:
        raise ChainError(f"a {event.kind} for a record that is closed")
    decides = "outcome" in values
    if decides is not (row["outcome"] is None) or (decides and event.kind == RECEIPT):
        second = "a second verdict" if decides else f"a {event.kind} before the verdict"
        raise ChainError(f"{second} for the record")
    if event.kind != VERDICT and values.get("acknowledged") not in (True, False):
        raise ChainError(f"a {event.kind} that does not say whether the part was acknowledged")
    after = {**row, **{name: value for name, value in values.items() if name != "scores"}}
    if decides:
        after["verdict_seq"] = event.seq
    if event.kind == RECOVERED:
        after["recovered"] = True
    return after


def problems_of_verdict(row: Mapping[str, Any], *, has_scores: bool) -> list[str]:
    """What keeps a verdict from being lawful: an accept needs its evidence, nothing else the good bin."""
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


def scores_to_json(scores: NDArray[Any]) -> list[Any]:
    """Nested lists of decimal numbers that give back the same float32; NaN and infinities as words."""

    def decimal(value: Any) -> Any:
        if isinstance(value, list):
            return [decimal(inner) for inner in value]
        # Nine significant digits tell any two float32 apart.
        return float(f"{value:.9g}") if isfinite(value) else str(value)

    nested: list[Any] = decimal(np.atleast_1d(scores).astype(np.float32).tolist())
    return nested


def scores_from_json(values: list[Any] | None) -> NDArray[np.float32] | None:
    """The array that :func:`scores_to_json` was given."""
    if values is None:
        return None

    def numbers(value: Any) -> Any:
        return [numbers(inner) for inner in value] if isinstance(value, list) else float(value)

    return np.array(numbers(values), dtype=np.float32)


def usable_scores(values: Any) -> bool:
    """Whether scores as :func:`scores_to_json` writes them are a full table of finite numbers."""
    if not isinstance(values, list) or not values or not all(isinstance(row, list) and row for row in values):
        return False
    return all(isinstance(value, int | float) for row in values for value in row)


def record_of(row: Mapping[str, Any], scores: list[Any] | None = None) -> PartRecord:
    """The record of a row of ``parts``; ``scores`` as they stand in the verdict's event."""
    flags = {name: None if row[name] is None else bool(row[name]) for name in _FLAGS}
    return PartRecord(**{**row, **flags}, scores=scores_from_json(scores))


def utc_text(moment: datetime) -> str:
    """A moment as the journal writes it; texts sort as the moments do."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def utc_ago(nanoseconds: int) -> str:
    """The moment this long ago, as text."""
    return utc_text(datetime.now(UTC) - timedelta(microseconds=max(0, nanoseconds) // 1000))
