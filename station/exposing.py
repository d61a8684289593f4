"""From the cell's trigger to the frame that surely shows its part, or to the reason why there is none.

What is not known about an exposure counts against the part: docs/decisions/0012.
"""

from __future__ import annotations

from drivers.cameras.interface import Frame
from drivers.sorters.interface import Sorter, Trigger
from station.acquisition import Acquisition, NoFrameError
from station.faults import Code
from station.recipe import Recipe


class Triggers:
    """The cell's triggers in their order, of which the next one is looked at before its turn."""

    def __init__(self, sorter: Sorter) -> None:
        self._sorter = sorter
        self._ahead: Trigger | None = None
        """It came before the part before it had its frame; it is the next to be taken."""

    def next(self, timeout_s: float) -> Trigger | None:
        """The next part's trigger; None when there is none within ``timeout_s``."""
        trigger, self._ahead = self._ahead or self._sorter.wait_trigger(timeout_s), None
        return trigger

    def came_by(self, at_ns: int) -> bool:
        """Whether the next part's trigger had come at ``at_ns``, ``time.monotonic_ns()``."""
        self._ahead = self._ahead or self._sorter.wait_trigger(0)
        return self._ahead is not None and self._ahead.received_ns <= at_ns


class Exposing:
    """Takes the frame of a part, in the thread that owns the camera."""

    def __init__(self, acquisition: Acquisition, triggers: Triggers, in_place_s: float) -> None:
        """``in_place_s``: for this time after TRIGGER-ACK a part is surely in place."""
        self._acquisition = acquisition
        self._triggers = triggers
        self._in_place_s = in_place_s

    def prepare(self, recipe: Recipe) -> None:
        """Make the camera ready to expose at once, the part being in place. Raises :class:`NoFrameError`."""
        self._acquisition.run_at(recipe.product.line_rate_hz)
        self._acquisition.prepare()

    def frame(self, acknowledged_ns: int) -> Frame:
        """Expose, and the whole frame that surely shows the part. Raises :class:`NoFrameError`.

        ``acknowledged_ns``: just before the cell heard that the part may be exposed.
        """
        frame = self._acquisition.expose()
        self._require_this_part(frame, acknowledged_ns)
        if not frame.complete:
            raise NoFrameError(Code.INCOMPLETE, f"incomplete frame: {frame.problem}", frame=frame)
        return frame

    def _require_this_part(self, frame: Frame, acknowledged_ns: int) -> None:
        """Refuse a frame that may show another part. Raises :class:`NoFrameError`.

        What is not known counts against the part: a process that was held up cannot say when it was exposed.
        """
        if self._triggers.came_by(frame.arrived_ns):
            either = "the cell triggered the next part before this one's frame was there: it may show either"
            raise NoFrameError(Code.NEXT_IN_PLACE, either, frame=frame)
        late_ms = (frame.begun_by_ns - acknowledged_ns) / 1e6
        in_place_ms = self._in_place_s * 1000
        if late_ms > in_place_ms:
            late = (
                f"the exposure may have begun {late_ms:.0f} ms after TRIGGER-ACK; the part is surely in "
                f"place for {in_place_ms:g} ms (limits.in_place_ms)"
            )
            raise NoFrameError(Code.LATE_EXPOSURE, late, frame=frame)
