"""The settings that all camera families share."""

from __future__ import annotations

from enum import StrEnum

from drivers.settings import Seconds, Section


class Mode(StrEnum):
    """What makes a part."""

    CELL = "cell"
    """A trigger of the cell; one frame answers it."""
    FREE_RUNNING = "free-running"
    """Every frame of the camera."""


class CameraSettings(Section):
    """A camera."""

    mode: Mode = Mode.CELL
    """`cell` (each trigger of the cell is a part) or `free-running` (each frame is a part)"""
    reopen_backoff_s: Seconds = 2.0
    """the longest pause between two attempts to open a lost camera again, s"""

    @property
    def exposed_by_wire(self) -> bool:
        """Whether another device starts the exposures, by edges on the camera's input."""
        return False

    @property
    def is_simulated(self) -> bool:
        """Whether no part stands before the camera, which every record then says."""
        return False
