"""The settings that all sorter protocols share."""

from __future__ import annotations

import contextlib
import socket
from typing import ClassVar, Self

from pydantic import model_validator

from drivers.settings import Milliseconds, Section, mistake


class SorterSettings(Section):
    """The connection to the robot or PLC."""

    uses_camera_lines: ClassVar[bool] = False
    """Whether it speaks by the output lines of the camera, and hears nothing."""
    sorts_triggered_parts_only: ClassVar[bool] = False
    """Whether a result needs the cell's own trigger, so that a free-running station could sort nothing."""
    heartbeat_ms: Milliseconds = 250.0
    """the longest time between two heartbeats, ms"""
    link_timeout_ms: Milliseconds = 1000.0
    """the time without a message from the cell after which the link is down, ms"""

    @model_validator(mode="after")
    def _link_outlives_a_heartbeat(self) -> Self:
        if self.link_timeout_ms < 2 * self.heartbeat_ms:
            raise mistake(
                "link_timeout_ms",
                f"is {self.link_timeout_ms:g}, less than two heartbeats of {self.heartbeat_ms:g}",
                "write at least twice heartbeat_ms, better four times",
            )
        return self


def is_address(text: str) -> bool:
    """Whether a text is an address as a number."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, text)
            return True
    return False
