"""What every camera section says, whatever its family."""

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
    """`cell` (a trigger of the cell makes a part) or `free-running` (every frame is a part)"""
    reopen_backoff_s: Seconds = 5.0
    """the longest pause between two tries to reopen a lost camera, s"""

    @property
    def is_simulated(self) -> bool:
        """Whether no part stands before the camera, which every record then says."""
        return False
