"""From the cell's trigger to the frames that surely show its part, or to the reason why there are none.

A part has one frame, or one per lamp of its recipe: the station lights a lamp, has it confirmed, and exposes.
What is not known about an exposure counts against the part: docs/decisions/0012 and 0033.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from drivers.cameras.interface import Frame
from drivers.cameras.settings import Mode
from drivers.lights.interface import LightConfigError, LightError
from drivers.sorters.interface import Sorter, Trigger
from station.acquisition import Acquisition, NoFrameError
from station.faults import Code
from station.lighting import Lighting
from station.patching.lit import name_of_frame
from station.recipe import Recipe
from station.stereo.rig import Stereo


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
    """Takes the frames of a part, one or one per lamp, in the thread that owns the camera and the lamps."""

    def __init__(
        self,
        acquisition: Acquisition,
        triggers: Triggers,
        lighting: Lighting | None,
        in_place_s: float,
        calling: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        """``in_place_s``: for this time after TRIGGER-ACK a part is surely in place; ``calling``: entered
        around each call into a device that may never return.
        """
        self._acquisition = acquisition
        self._triggers = triggers
        self._lighting = lighting
        self._in_place_s = in_place_s
        self._calling = calling

    def begin(self, recipe: Recipe) -> None:
        """Open the camera, and the lamps in the dark where the recipe lights any.

        Raises ``CameraError``, ``LightError``.
        """
        self._acquisition.begin()
        if self._lighting is not None and recipe.stereo is not None:
            self._lighting.open()

    def require_fits(self, recipe: Recipe, mode: Mode) -> None:
        """Refuse a recipe whose lamps cannot be lit here. Raises ``LightConfigError``."""
        why = (
            "nothing lights lamps here: name the light controller in the configuration (`lights`)"
            if self._lighting is None
            else "the camera is exposed by wire, and the station must light a lamp before each exposure: use "
            "a software trigger"
            if self._acquisition.by_wire
            else "a free-running camera does not wait for lamps: use `mode: cell`"
            if mode is Mode.FREE_RUNNING
            else ""
        )
        if recipe.stereo is not None and why:
            raise LightConfigError(f"recipe {recipe.name} lights a part by {recipe.frames} lamps, and {why}")

    def prepare(self, recipe: Recipe) -> None:
        """Make first lamp and camera ready, the part being in place. Raises :class:`NoFrameError`.

        The camera last: what it has exposed while a lamp was switched is nobody's, and is emptied.
        """
        if recipe.stereo is not None:
            self._light(recipe.stereo, 1)
        self._acquisition.run_at(recipe.product.line_rate_hz)
        with self._calling("camera"):
            self._acquisition.prepare()

    def frames(self, recipe: Recipe, acknowledged_ns: int) -> Iterator[Frame]:
        """Expose, and the whole frame that surely shows the part: one, or one per lamp in the lamps' order.

        ``acknowledged_ns``: just before the cell heard that the part may be exposed. Raises
        :class:`NoFrameError`, which names the lamp; no further frame may be asked for then.
        """
        if recipe.stereo is None:
            yield self._frame(acknowledged_ns)
            return
        for number in range(1, recipe.frames + 1):
            if number > 1:  # the first one is lit since `prepare`
                self._light(recipe.stereo, number)
            with _naming(recipe.stereo, number):
                if number > 1:
                    with self._calling("camera"):
                        self._acquisition.require_none()
                frame = self._frame(acknowledged_ns)
            yield frame

    def rest(self, recipe: Recipe) -> None:
        """The part has its frames, or will get no more: its lamps are off."""
        if recipe.stereo is not None and self._lighting is not None:
            with self._calling("light controller"):
                self._lighting.rest()

    def close(self) -> None:
        """Give camera and lamps back."""
        self._acquisition.close()
        if self._lighting is not None:
            self._lighting.close()

    def _light(self, stereo: Stereo, number: int) -> None:
        """Light one lamp and no other. Raises :class:`NoFrameError`."""
        assert self._lighting is not None, "a recipe whose lamps cannot be lit is refused before"
        try:
            with self._calling("light controller"):
                self._lighting.only(stereo.lamps[number - 1], stereo)
        except LightError as error:
            with _naming(stereo, number):
                raise NoFrameError(Code.LAMP_FAILED, str(error)) from error

    def _frame(self, acknowledged_ns: int) -> Frame:
        with self._calling("camera"):
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


@contextmanager
def _naming(stereo: Stereo, number: int) -> Iterator[None]:
    """Name frame and lamp in what is said of an exposure."""
    try:
        yield
    except NoFrameError as error:
        detail = f"{name_of_frame(stereo, number)}: {error.detail}"
        raise NoFrameError(error.code, detail, error.lost_before, frame=error.frame) from error
