"""One part's record, and the one list of columns that everything else is made from.

The fields of :class:`PartRecord` are that list: their order is the order of every export, their types are
the types of SQL and Parquet, and each says which event brings it. Events, tables, views and exports are
made from here; a new column is one line in this file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

KEY, SETUP, OPENED, ENGINE, VERDICT, RECEIPT, MADE = (
    "key", "setup", "opened", "engine", "verdict", "receipt", "made",
)  # fmt: skip
"""What brings a column: ``setup`` and ``engine`` are written once and named by number after that."""

STAGES = ("frame", "cut", "scored", "decided", "written", "told", "acknowledged")
"""The stages of a part in order; column ``<stage>_ms`` holds milliseconds after the trigger."""


def _by(source: str) -> Any:
    return field(default=None, metadata={"by": source})


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRecord:
    """One trigger, from its request to its acknowledged bin. None where a value never became known."""

    record_id: int = _by(KEY)
    part_id: int = _by(OPENED)
    serial_number: str | None = _by(OPENED)
    """The part's own number, where the cell or a reader gave one."""
    opened_at: str = _by(OPENED)
    """When the trigger came: UTC, ISO 8601 with microseconds and ``Z``."""
    station: str = _by(SETUP)
    mode: str = _by(SETUP)
    """``cell`` or ``free-running``."""
    is_simulated: bool = _by(SETUP)
    lot: str | None = _by(SETUP)
    shift: str | None = _by(SETUP)
    operator: str | None = _by(SETUP)
    recipe: str = _by(SETUP)
    recipe_version: int = _by(SETUP)
    recipe_digest: str = _by(SETUP)
    """SHA-256 of the recipe's file; the text stands in the table ``texts``."""
    requested_recipe: str = _by(OPENED)
    """What the cell asked for; empty where it does not say."""
    good_bin: int | None = _by(SETUP)
    """The bin of good parts in this recipe."""
    fault_bin: int = _by(SETUP)
    classes: str | None = _by(SETUP)
    """The names of the recipe's classes, the columns of the scores, joined by commas."""
    software_version: str | None = _by(SETUP)
    config_digest: str | None = _by(SETUP)
    """SHA-256 of the configuration's file; the text stands in the table ``texts``."""
    camera_model: str | None = _by(SETUP)
    camera_serial: str | None = _by(SETUP)
    exposure_us: float | None = _by(OPENED)
    """The exposure of a frame or line, microseconds."""
    frame_id: int | None = _by(VERDICT)
    lost_before: int | None = _by(VERDICT)
    """Frames that the camera lost just before this one."""
    frame_complete: bool | None = _by(VERDICT)
    region_x: int | None = _by(VERDICT)
    """The product in the frame, px."""
    region_y: int | None = _by(VERDICT)
    region_width: int | None = _by(VERDICT)
    region_height: int | None = _by(VERDICT)
    region_lean_x: int | None = _by(VERDICT)
    """How far a tilted product leans, px; see ``station.patching.Region``."""
    region_lean_y: int | None = _by(VERDICT)
    engine_digest: str | None = _by(ENGINE)
    backend: str | None = _by(ENGINE)
    precision: str | None = _by(ENGINE)
    outcome: str | None = _by(VERDICT)
    """``accept``, ``reject`` or ``fault``; None while the part is in hand or in doubt."""
    class_name: str | None = _by(VERDICT)
    class_index: int | None = _by(VERDICT)
    confidence: float | None = _by(VERDICT)
    patch: int | None = _by(VERDICT)
    bin: int | None = _by(VERDICT)
    reason: str | None = _by(VERDICT)
    labels: str | None = _by(VERDICT)
    """The defective patches as ``patch:class``, joined by commas; empty where there is none."""
    frame_ms: float | None = _by(VERDICT)
    """Milliseconds after the trigger, this one and the six below."""
    cut_ms: float | None = _by(VERDICT)
    scored_ms: float | None = _by(VERDICT)
    decided_ms: float | None = _by(VERDICT)
    written_ms: float | None = _by(RECEIPT)
    """The verdict was durable in the journal; only then may it be sent."""
    told_ms: float | None = _by(RECEIPT)
    acknowledged_ms: float | None = _by(RECEIPT)
    acknowledged: bool | None = _by(RECEIPT)
    """Whether the cell confirmed the bin; None while its answer is still to come."""
    ack_bin: int | None = _by(RECEIPT)
    """Where the cell says the part went."""
    ack_problem: str | None = _by(RECEIPT)
    recovered: bool = _by(MADE)
    """Closed at a start of the station, after a crash or a power cut."""
    verdict_seq: int | None = _by(MADE)
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

    @property
    def patch_labels(self) -> dict[int, int]:
        """Patch -> class index of the patches that the decision called defective."""
        pairs = (one.split(":") for one in (self.labels or "").split(",") if one)
        return {int(patch): int(index) for patch, index in pairs}

    def __str__(self) -> str:
        head = f"record {self.record_id}, part {self.part_id}, {self.opened_at}"
        if self.outcome is None:
            return f"{head}: no verdict"
        told = f"{self.outcome} to bin {self.bin} ({self.reason})"
        return f"{head}: {told}; {self.ack_problem}" if self.ack_problem else f"{head}: {told}"


_BY = {name: one.metadata["by"] for name, one in PartRecord.__dataclass_fields__.items() if one.metadata}

COLUMNS = tuple(_BY)
"""Every column of a record but the scores, in order."""

SETUP_COLUMNS, OPENED_COLUMNS, ENGINE_COLUMNS, VERDICT_COLUMNS, RECEIPT_COLUMNS = (
    tuple(name for name, by in _BY.items() if by == source)
    for source in (SETUP, OPENED, ENGINE, VERDICT, RECEIPT)
)

PART_COLUMNS = (
    "record_id",
    "setup",
    *OPENED_COLUMNS,
    "engine",
    *VERDICT_COLUMNS,
    *RECEIPT_COLUMNS,
    "recovered",
    "verdict_seq",
)
"""The columns of the table ``parts``: what changes from part to part, and the numbers of the rest."""


def _kind(hint: Any) -> tuple[type, bool]:
    kinds = get_args(hint) or (hint,)
    return next(one for one in kinds if one is not type(None)), type(None) in kinds


KINDS: dict[str, tuple[type, bool]] = {
    name: _kind(hint) for name, hint in get_type_hints(PartRecord).items() if name in _BY
}
"""Column -> its Python type, and whether it may be None."""

FLAGS = tuple(name for name, (kind, _) in KINDS.items() if kind is bool)
"""Columns that SQLite holds as 0 and 1."""


def sql_column(name: str) -> str:
    """The column as CREATE TABLE declares it; only what opens a record may be required."""
    kind, optional = KINDS[name]
    sql = {int: "INTEGER", bool: "INTEGER", float: "REAL", str: "TEXT"}[kind]
    return f"{name} {sql}" if optional else f"{name} {sql} NOT NULL"
