"""Why a frame of a GenICam camera may not be the one that was asked for, whatever library delivered it."""

from __future__ import annotations

from drivers.cameras.genicam.block_ids import BlockIds
from drivers.cameras.genicam.clock import CameraClock
from drivers.cameras.genicam.settings import GenicamSettings, TriggerKind


def doubt_of(
    settings: GenicamSettings, clock: CameraClock | None, ids: BlockIds, block_id: int, timestamp: int
) -> str:
    """What is wrong with the frame's time or number; empty when nothing is.

    ``timestamp``: when the exposure began, in ticks of the camera; 0 where nobody knows.
    """
    if clock is not None and clock.began_before(timestamp):
        stray = (
            f": a stray edge on {settings.trigger_line}" if settings.trigger is TriggerKind.HARDWARE else ""
        )
        return f"exposed before the camera was armed{stray}"
    if not ids.usable(block_id):
        return "the camera does not number its frames, so that a lost one would not be noticed"
    return ""


def why_no_frame(settings: GenicamSettings) -> str:
    """What to look at when no frame came in time."""
    match settings.trigger:
        case TriggerKind.SOFTWARE:
            return "was it triggered?"
        case TriggerKind.HARDWARE:
            return f"no trigger came on {settings.trigger_line}, or its exposure takes longer"
        case _:
            return "the camera runs free: check exposure time, line rate and throughput"
