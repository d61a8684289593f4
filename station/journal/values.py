"""From the values that travel - trigger, verdict, details, receipt - to what an event holds of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from station.faults import Code
from station.journal.events import FAULT, Row, utc_ago

if TYPE_CHECKING:
    from drivers.sorters.interface import Receipt, Trigger
    from station.decision import Verdict
    from station.patching import Region
    from station.recipe import Recipe

Values = dict[str, Any]
"""What an event adds to its record, by column name."""

IN_DOUBT = Code.IN_DOUBT.of(
    "in doubt after a restart: the station ended before the verdict; find the part, inspect it again"
)
NEVER_SENT = "the station ended before a verdict was sent"
NO_RECEIPT = "the station ended before the acknowledgement was written; the part may be in its bin or not"


@dataclass(frozen=True, slots=True)
class PartMarks:
    """What the cell or a person reports about a part; empty where nothing was reported."""

    lot: str = ""
    serial_number: str = ""
    shift: str = ""
    operator: str = ""


@dataclass(frozen=True, slots=True)
class CameraUsed:
    """The camera that takes a part's frame; empty or None where it is unknown."""

    model: str = ""
    serial: str = ""
    exposure_us: float | None = None
    """Microseconds."""


@dataclass(frozen=True, slots=True)
class Exposed:
    """One exposure of a part, as :class:`PartDetails` has it of the part; None where it is unknown."""

    frame_id: int | None = None
    lost_before: int | None = None
    complete: bool | None = None


@dataclass(frozen=True, slots=True)
class PartDetails:
    """What is known of a part at its verdict; None where a fault came too early."""

    stages_ns: Mapping[str, int] = field(default_factory=dict)
    """Stage -> ``time.monotonic_ns()``: trigger, frame, cut, scored, decided."""
    frame_id: int | None = None
    """Of the last frame, where a part has several."""
    lost_before: int | None = None
    """Before all frames of the part together."""
    frame_complete: bool | None = None
    """Whether each frame of the part is complete."""
    exposures: tuple[Exposed, ...] = ()
    """Of a part that is lit by several lamps: each one, in the lamps' order."""
    region: Region | None = None
    """The product in the frame, px."""
    scores: NDArray[np.float32] | None = None
    """(patches, classes), probabilities."""
    engine_digest: str | None = None
    backend: str | None = None
    precision: str | None = None


def opened(
    trigger: Trigger,
    recipe: Recipe,
    *,
    station: str,
    mode: str,
    is_simulated: bool,
    config_digest: str | None = None,
    camera: CameraUsed | None = None,
    marks: PartMarks | None = None,
) -> Values:
    """A trigger came."""
    camera, marks = camera or CameraUsed(), marks or PartMarks()
    return {
        "part_id": int(trigger.part_id),
        "serial_number": _text(marks.serial_number) or None,
        "opened_at": utc_ago(time.monotonic_ns() - trigger.received_ns),
        "station": station,
        "mode": str(mode),
        "is_simulated": bool(is_simulated),
        "lot": _text(marks.lot) or None,
        "shift": _text(marks.shift) or None,
        "operator": _text(marks.operator) or None,
        "recipe": recipe.name,
        "recipe_version": recipe.version,
        "recipe_digest": recipe.digest,
        "requested_recipe": _text(trigger.recipe),
        "good_bin": recipe.classes[0].bin,
        "fault_bin": recipe.fault_bin,
        "classes": ",".join(entry.name for entry in recipe.classes),
        "software_version": software_version(),
        "config_digest": config_digest,
        "camera_model": _text(camera.model) or None,
        "camera_serial": _text(camera.serial) or None,
        "exposure_us": None if camera.exposure_us is None else float(camera.exposure_us),
    }


@cache
def software_version() -> str:
    """The version of the station's software that is installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("inspection-station")
    except PackageNotFoundError:
        return "not installed"


def decided(verdict: Verdict, details: PartDetails, received_ns: int | None) -> Values:
    """The part has its verdict; ``received_ns`` is the trigger's monotonic time."""
    region = details.region
    labels, scored = enumerate(verdict.labels), bool(verdict.labels)
    values: Values = {
        "outcome": str(verdict.outcome),
        "class_name": _text(verdict.class_name),
        "class_index": int(verdict.class_index),
        "confidence": float(verdict.confidence),
        "patch": _whole(verdict.patch),
        "bin": int(verdict.bin),
        "reason": _text(verdict.reason),
        "frame_id": _whole(details.frame_id),
        "lost_before": _whole(details.lost_before),
        "frame_complete": None if details.frame_complete is None else bool(details.frame_complete),
        "engine_digest": details.engine_digest,
        "backend": details.backend,
        "precision": details.precision,
        "labels": ",".join(f"{patch}:{label}" for patch, label in labels if label) if scored else None,
    }
    for side in ("x", "y", "width", "height", "lean_x", "lean_y"):
        values[f"region_{side}"] = None if region is None else int(getattr(region, side))
    for stage in ("frame", "cut", "scored", "decided"):
        values[f"{stage}_ms"] = _ms(details.stages_ns.get(stage), received_ns)
    return values


def exposed(exposures: Sequence[Exposed]) -> Values:
    """What the event ``frames`` says of a part that is lit by several lamps, in the lamps' order."""
    return {
        "frame_ids": [_whole(one.frame_id) for one in exposures],
        "lost_before": [_whole(one.lost_before) for one in exposures],
        "complete": [None if one.complete is None else bool(one.complete) for one in exposures],
    }


def withdrawn(fault: Verdict) -> Values:
    """What the record says instead of the verdict that was withdrawn."""
    return {
        "outcome": str(fault.outcome),
        "class_name": _text(fault.class_name),
        "class_index": int(fault.class_index),
        "confidence": float(fault.confidence),
        "patch": None,
        "bin": int(fault.bin),
        "reason": _text(fault.reason),
        "labels": None,
    }


def received(
    receipt: Receipt, *, received_ns: int | None, written_ns: int | None, told_ns: int | None
) -> Values:
    """The end of a ``send``. Without acknowledgement there is a bin only where the cell named another one."""
    return {
        "acknowledged": bool(receipt.acknowledged),
        "ack_bin": int(receipt.bin) if receipt.acknowledged or receipt.bin else None,
        "ack_problem": _text(receipt.problem),
        "written_ms": _ms(written_ns, received_ns),
        "told_ms": _ms(told_ns, received_ns),
        "acknowledged_ms": _ms(receipt.at_ns, received_ns) if receipt.acknowledged else None,
    }


def recovered(row: Row) -> Values:
    """What closes a record that the last run left unfinished: a fault where there was no verdict."""
    if row["outcome"] is not None:
        return {"acknowledged": False, "ack_problem": NO_RECEIPT}
    return {
        "acknowledged": False,
        "ack_problem": NEVER_SENT,
        "outcome": FAULT,
        "class_name": "fault",
        "class_index": 255,
        "confidence": 0.0,
        "bin": row["fault_bin"],
        "reason": IN_DOUBT,
    }


def _ms(at_ns: int | None, received_ns: int | None) -> float | None:
    if at_ns is None or received_ns is None:
        return None
    return round((at_ns - received_ns) / 1e6, 3)


def _whole(value: int | None) -> int | None:
    return None if value is None else int(value)


def _text(value: str) -> str:
    """Text that any UTF-8 reader takes: messages of foreign code may hold half characters."""
    return str(value).encode("utf-8", "replace").decode("utf-8")
