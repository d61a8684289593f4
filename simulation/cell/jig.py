"""The rotating jig of the paper's cell, with the robot that lays a part on it and takes it away (Mustafaev et
al., section III-A).

The jig starts when the part has been set down and stops when its result has come. Its speed depends on the
part's diameter, so that the surface passes the camera at one speed. The robot is in the camera's view while
it sets down and while it takes away; between the two it stands in its safe area.

Pure: time is passed in, in nanoseconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from simulation.place import EMPTY, Seen

_MS = 1_000_000


class Phase(StrEnum):
    """What goes on at the jig, in this order."""

    EMPTY = "empty"
    LOADING = "the robot sets the part down"
    LEAVING = "the part turns, and the robot leaves the view"
    TURNING = "the part turns, and nothing else is in view"
    UNLOADING = "the part stands, and the robot takes it away"


@dataclass(frozen=True, slots=True)
class JigRules:
    """Times of the robot, and the speed of the surface."""

    load_ms: float
    """The robot comes into the view, sets the part down and opens its gripper."""
    leave_ms: float
    """From then on until it is out of the view."""
    unload_ms: float
    """It comes back, grips the part and carries it out of the view."""
    surface_mm_s: float
    """Speed of every part's surface under the camera."""

    def turns_per_minute(self, diameter_mm: float) -> float:
        """The jig's speed for a part."""
        return 60.0 * self.surface_mm_s / (math.pi * diameter_mm)

    def turn_ms(self, diameter_mm: float) -> float:
        """How long one turn of a part takes."""
        return 1000.0 * math.pi * diameter_mm / self.surface_mm_s


class Jig:
    """One jig before one camera."""

    def __init__(self, rules: JigRules) -> None:
        self.rules = rules
        self.part_id = EMPTY
        self._loading_ns = 0
        self._unloading_ns: int | None = None

    def load(self, part_id: int, now_ns: int) -> None:
        """The robot begins to lay a part on the empty jig."""
        if self.phase(now_ns) is not Phase.EMPTY:
            raise ValueError(f"part {self.part_id} lies on the jig; take it away first")
        self.part_id, self._loading_ns, self._unloading_ns = part_id, now_ns, None

    def unload(self, now_ns: int) -> None:
        """The part's result has come: the jig stops, and the robot takes the part."""
        if self.part_id != EMPTY and self._unloading_ns is None:
            self._unloading_ns = now_ns

    def set_down_ns(self) -> int:
        """When the part lies on the jig and begins to turn."""
        return self._loading_ns + round(self.rules.load_ms * _MS)

    def clear_ns(self) -> int:
        """When the robot is out of the view, so that the part may be triggered."""
        return self.set_down_ns() + round(self.rules.leave_ms * _MS)

    def empty_ns(self) -> int:
        """When the jig is empty again; far away before the result has come."""
        began = self._unloading_ns
        return 1 << 62 if began is None else began + round(self.rules.unload_ms * _MS)

    def phase(self, now_ns: int) -> Phase:
        """What goes on now."""
        if self.part_id == EMPTY or now_ns >= self.empty_ns():
            return Phase.EMPTY
        if self._unloading_ns is not None:
            return Phase.UNLOADING
        if now_ns < self.set_down_ns():
            return Phase.LOADING
        return Phase.LEAVING if now_ns < self.clear_ns() else Phase.TURNING

    def seen(self, now_ns: int) -> Seen:
        """What the camera sees now."""
        match self.phase(now_ns):
            case Phase.EMPTY:
                return Seen(EMPTY)
            case Phase.LOADING | Phase.UNLOADING:
                return Seen(self.part_id, robot=True, turns=False)
            case Phase.LEAVING:
                return Seen(self.part_id, robot=True)
            case _:
                return Seen(self.part_id)

    def next_ns(self, now_ns: int) -> int:
        """When something changes by itself."""
        moments = (self.set_down_ns(), self.clear_ns(), self.empty_ns())
        return min((at for at in moments if at > now_ns), default=1 << 62)
