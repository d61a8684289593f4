"""What every GenICam camera does alike, whatever library drives it: a family adds the calls of its library.

A frame belongs to its trigger by number: frame *n* since ``arm`` answers trigger *n*. A frame beyond the last
trigger, or one that was exposed before its own trigger, is delivered as incomplete.
"""

from __future__ import annotations

import math
import threading
import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from drivers.cameras.counters import Counters
from drivers.cameras.genicam.block_ids import BlockIds, BlockOrderError
from drivers.cameras.genicam.blocks import Assembly, Block, joined
from drivers.cameras.genicam.clock import CameraClock
from drivers.cameras.genicam.doubts import doubt_of, why_no_frame
from drivers.cameras.genicam.features import LINE_RATE_ROUNDED, Nodes, apply, describe, temperature_c
from drivers.cameras.genicam.nodes import NodeMap
from drivers.cameras.genicam.settings import GenicamSettings, TriggerKind
from drivers.cameras.interface import (
    Camera,
    CameraConfigError,
    CameraError,
    CameraHealth,
    CameraLostError,
    CameraTimeoutError,
    Frame,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Picture:
    """What a library delivered for one exposure."""

    block_id: int
    """The camera's own number of it."""
    timestamp: int
    """When the exposure began, in ticks of the camera; 0 where nobody knows."""
    pixels: NDArray[np.uint8]
    problem: str
    """Why it is not the picture that was asked for; empty when it is."""
    arrived_ns: int


@dataclass(frozen=True, slots=True)
class _Fired:
    """A software trigger."""

    by_ns: int
    """The host's time by which its exposure had surely begun."""
    ticks: int | None
    """The camera's time before it; None for a camera without a clock."""


class GenicamCamera(Camera):
    """A GenICam camera in this process; the methods at the end are those of a library."""

    def __init__(self, settings: GenicamSettings, label: str) -> None:
        self._settings = settings
        self._label = label
        """The camera's name in messages: the one looked for, then the one found."""
        self._counters = Counters(label, simulated=settings.is_simulated)
        self._nodes: Nodes | None = None
        """Its features; None while it is not open."""
        self._outputs: dict[str, str] = {}
        """Output line -> the user output that it follows, since the camera was opened."""
        self._selecting = threading.Lock()
        """Held while a selector and what it selects are written: a camera has one for all threads."""
        self._clock: CameraClock | None = None
        self._size: tuple[int, int] = (0, 0)
        self._ids = BlockIds(gige=False)
        self._assembly = Assembly(settings.blocks)
        self._ended: list[tuple[int, list[Block]]] = []
        """Frames that were not grabbed yet, with their blocks."""
        self._next_frame_id = 0
        self._armed = False
        self._status_of: Nodes | None = None
        """The features of a camera that says when it takes a software trigger."""
        self._triggers = 0
        """Software triggers since ``arm``."""
        self._fired: dict[int, _Fired] = {}
        """Those whose frames have not come yet, by their number."""

    @property
    def triggered_by_wire(self) -> bool:
        """With ``trigger: hardware``."""
        return self._settings.trigger is TriggerKind.HARDWARE

    # ------------------------------------------------------------------ opening

    def open(self) -> None:
        """Find the one camera that the settings name, take it and apply them.

        Raises :class:`CameraLostError` when it is not there or held by somebody else, which a later attempt
        may find mended, and :class:`CameraConfigError` for what only a person can mend.
        """
        self._release()
        self._load()
        try:
            self._nodes = Nodes(self._take(), self._label)
            self._configure(self._nodes)
        except CameraError as error:
            # A feature that a camera lacks and one of a camera that has just gone look alike.
            gone = isinstance(error, CameraConfigError) and self._nodes is not None and self._why_gone()
            self._release()
            if gone:
                raise self._lost("went away while it was set up") from None
            self._counters.gone(str(error))
            raise
        except self._errors() as error:
            self._release()
            raise self._lost(f"went away while it was set up ({first_line(error)})") from None

    def _configure(self, nodes: Nodes) -> None:
        settings = self._asked()
        self._before_settings(nodes)
        with self._selecting:
            apply(settings, nodes)
        waits = settings.trigger_selector.removesuffix("Start") + "TriggerWait"
        if (
            settings.trigger is TriggerKind.SOFTWARE
            and waits in nodes.choices("AcquisitionStatusSelector")
            and nodes.find("AcquisitionStatus") is not None
        ):
            nodes.set("trigger", waits, "AcquisitionStatusSelector")
            self._status_of = nodes
        self._clock = CameraClock(nodes) if settings.trigger is not TriggerKind.OFF else None
        self._size = int(nodes.read("Width") or 0), int(nodes.read("Height") or 0)
        details = self._after_settings(nodes) | describe(settings, nodes)
        if self._clock is not None:
            details["frames_dated"] = "yes" if self._clock.there else "no"
        self._counters.opened(self._label, details)
        self._observe(nodes)

    # ------------------------------------------------------------------ acquiring

    def arm(self) -> None:
        """Start acquisition with empty buffers, every frame in order."""
        self._require_open()
        if self._armed:
            self.disarm()
        self._ids = self._block_ids()
        self._assembly, self._next_frame_id = Assembly(self._settings.blocks), 0
        self._ended.clear()
        self._triggers = 0
        self._fired.clear()
        if self._clock is not None:
            self._ask("being asked for its time", self._clock.note)
        self._ask("starting", self._start)
        self._armed = True

    def trigger(self, timeout_s: float) -> None:
        """Expose one frame when the camera is ready for it: some ignore a trigger that comes too early."""
        self.wait_ready(timeout_s)
        if self._settings.trigger is not TriggerKind.SOFTWARE:
            return
        ticks = self._ask("being asked for its time", self._clock.now) if self._clock is not None else None
        self._ask("being triggered", self._fire)
        # The camera has taken the command; whatever held this process up since counts against the part.
        by_ns = time.monotonic_ns() + round((self._settings.trigger_delay_us or 0.0) * 1000)
        self._fired[self._triggers] = _Fired(by_ns, ticks)
        self._triggers += 1

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the camera says that it takes a software trigger, where it can say so."""
        self._require_armed()
        if self._settings.trigger is not TriggerKind.SOFTWARE:
            return
        if not self._ask("being asked whether it is ready", lambda: self._is_ready(timeout_s)):
            self.probe()
            raise CameraTimeoutError(
                f"{self._label} was not ready for a trigger within {timeout_s:g} s; the last exposure is "
                "still under way, or its frames were not grabbed"
            )

    def grab(self, timeout_s: float) -> Frame:
        """The next frame; a failed, short or foreign one is delivered as incomplete."""
        self._require_armed()
        until = time.monotonic() + timeout_s
        while not self._ended:
            left_s = max(0.0, until - time.monotonic())
            picture = self._ask("grabbing", lambda left_s=left_s: self._next(left_s))  # type: ignore[misc]
            if picture is not None:
                self._ended += self._assembly.add(self._block(picture))
                continue
            self._ended += self._assembly.end()  # the rest of its blocks did not come
            if not self._ended:
                self.probe()
                raise CameraTimeoutError(
                    f"{self._label}: no frame within {timeout_s:g} s; {why_no_frame(self._settings)}"
                )
        return self._counters.frame(self._frame(*self._ended.pop(0)))

    def set_line_rate(self, lines_per_s: float) -> float:
        """Set and read back; a rate that is off by more than :data:`LINE_RATE_ROUNDED` is refused."""
        self._require_open()
        nodes = self._nodes
        assert nodes is not None
        if self._settings.line_trigger:
            raise CameraConfigError(
                f"the lines of {self._label} come from `line_trigger: {self._settings.line_trigger}`; remove "
                "`product.surface_speed_mm_s` from the recipe, or `line_trigger`"
            )
        names = ("AcquisitionLineRate", "AcquisitionLineRateAbs")

        def told() -> float:
            nodes.set_if_there("1", "AcquisitionLineRateEnable")
            setting = "the line rate, surface_speed_mm_s / mm_per_px_y,"
            nodes.set(setting, lines_per_s, *names, rounded=math.inf)  # refused below, with its own remedy
            return float(nodes.read(*names) or 0.0)

        took = self._ask("being told its line rate", told)
        if abs(took - lines_per_s) > LINE_RATE_ROUNDED * lines_per_s:
            raise CameraConfigError(
                f"{self._label} takes {took:g} lines/s instead of {lines_per_s:g} (surface_speed_mm_s / "
                "mm_per_px_y); shorten the exposure, or correct the recipe's surface_speed_mm_s"
            )
        return took

    def waiting(self) -> int:
        """Frames in the library's output queue."""
        self._require_open()
        return self._ask("being asked for its frames", self._queued) if self._armed else 0

    def set_output(self, line: str, on: bool) -> None:
        """Let the line follow a user output of the camera, and set that (SFNC, *Digital I/O Control*)."""
        nodes = self._nodes
        if nodes is None:
            raise CameraLostError(f"{self._label} is not open; it is opened again by itself")
        try:
            with self._selecting:
                output = self._outputs.get(line)
                if output is None:
                    output = f"UserOutput{len(self._outputs) + 1}"
                    nodes.set(f"line {line}", line, "LineSelector")
                    if nodes.read("LineMode") != "Output":
                        nodes.set(f"line {line} as an output", "Output", "LineMode")
                    nodes.set(f"line {line} by {output}", output, "LineSource")
                    self._outputs[line] = output
                nodes.set(f"line {line}", output, "UserOutputSelector")
                nodes.set(f"line {line}", on, "UserOutputValue")
        except self._errors() as error:  # whether the camera is lost is found by the thread that grabs
            raise CameraLostError(f"{self._label}: line {line}: {first_line(error)}") from None

    def probe(self) -> None:
        """Ask library and camera; raises :class:`CameraLostError` when one of them does not answer."""
        self._require_open()
        if why := self._why_gone():
            raise self._lost(why)
        nodes = self._nodes
        if nodes is not None:
            self._ask("answering", lambda: self._observe(nodes))

    def disarm(self) -> None:
        """Stop acquisition; frames in the buffers and the exposure under way are discarded."""
        if not self._armed:
            return
        self._counters.discarded(self.waiting())
        self._armed = False
        nodes = self._nodes
        if self._clock is not None and nodes is not None:
            # AcquisitionStop lets an exposure under way finish on some models; not every model can abort.
            self._ask("aborting", lambda: nodes.execute_if_there("AcquisitionAbort"))
        self._ask("stopping", self._stop)

    def health(self) -> CameraHealth:
        """Counters, settings as the camera rounded them, and its temperature at the last ``probe``."""
        return self._counters.health()

    def close(self) -> None:
        """Release the camera; never raises."""
        self._release()
        self._counters.gone()

    # ------------------------------------------------------------------ helpers, in the order of use

    def _block(self, picture: Picture) -> Block:
        """The picture at its place; with one block per frame, a block is a frame."""
        try:
            number, _ = self._ids.place(picture.block_id)
        except BlockOrderError as error:
            raise self._lost(f"was restarted: {error}") from None
        problem = picture.problem or doubt_of(
            self._settings, self._clock, self._ids, picture.block_id, picture.timestamp
        )
        if self._settings.trigger is TriggerKind.SOFTWARE and not problem:
            frame_id = number // self._settings.blocks
            problem = self._foreign(frame_id, self._fired.get(frame_id), picture.timestamp)
        return Block(number, picture.pixels, problem, picture.arrived_ns)

    def _frame(self, frame_id: int, blocks: list[Block]) -> Frame:
        problem, pixels = joined(blocks, self._settings.blocks)
        fired = self._fired.get(frame_id)
        self._fired = {number: one for number, one in self._fired.items() if number > frame_id}
        lost_before = max(0, frame_id - self._next_frame_id)
        self._next_frame_id = frame_id + 1
        return Frame(
            pixels=pixels,
            frame_id=frame_id,
            lost_before=lost_before,
            complete=not problem,
            arrived_ns=blocks[-1].arrived_ns,
            problem=problem,
            source=self._source(frame_id),
            exposed_by_ns=fired.by_ns if fired is not None else None,
        )

    def _foreign(self, frame_id: int, fired: _Fired | None, timestamp: int) -> str:
        """Why a frame does not answer the software trigger of its number; empty when it does."""
        if fired is None:
            return f"frame {frame_id} came without a trigger: {self._triggers} were sent since the start"
        if fired.ticks is not None and 0 < timestamp < fired.ticks:
            return "exposed before its trigger: the camera made a frame that nobody asked for"
        return ""

    def _observe(self, nodes: Nodes) -> None:
        self._counters.observed(temperature_c(nodes), self._statistics(nodes))

    def _ask(self, what: str, call: Callable[[], T]) -> T:
        """Call the library; what it raises means that the camera cannot be used any more."""
        try:
            return call()
        except self._errors() as error:
            raise self._lost(f"failed while {what} ({first_line(error)})") from None

    def _lost(self, what: str) -> CameraLostError:
        message = f"{self._label} {what}; check power, cable and network, then it reconnects by itself"
        self._armed = False
        self._counters.gone(message)
        return CameraLostError(message)

    def _require_open(self) -> None:
        if self._nodes is None or not self._counters.connected:
            raise CameraLostError(
                f"{self._label} is not open: {self._counters.health().last_error or 'open() it'}"
            )

    def _require_armed(self) -> None:
        self._require_open()
        if not self._armed:
            raise CameraError(f"{self._label} is not armed: arm() it first")

    def _release(self) -> None:
        """Everything back, in any state; an open device does not work again after a loss."""
        self._nodes, self._clock, self._status_of, self._armed = None, None, None, False
        self._outputs = {}
        self._let_go()

    # ------------------------------------------------------------------ what a library does

    @abstractmethod
    def _load(self) -> None:
        """Import the library. Raises :class:`CameraConfigError`, which says how to install it."""

    @abstractmethod
    def _take(self) -> NodeMap:
        """Find the camera, name it in ``_label``, take control of it; its features.

        Raises :class:`CameraLostError` and :class:`CameraConfigError`.
        """

    def _asked(self) -> GenicamSettings:
        """The settings to apply."""
        return self._settings

    def _before_settings(self, nodes: Nodes) -> None:
        """What the library needs before the settings are applied."""
        return

    @abstractmethod
    def _after_settings(self, nodes: Nodes) -> dict[str, str]:
        """What it needs after that, such as buffers; returns ``model``, ``serial`` and further details."""

    @abstractmethod
    def _block_ids(self) -> BlockIds:
        """How this camera numbers its frames."""

    @abstractmethod
    def _start(self) -> None:
        """Start acquisition, every frame in order."""

    def _is_ready(self, timeout_s: float) -> bool:
        """Wait until the camera takes a software trigger.

        One that cannot say so takes it when the frame of the trigger before has come.
        """
        until = time.monotonic() + timeout_s
        while not self._says_ready():
            if time.monotonic() > until:
                return False
            time.sleep(0.001)
        return True

    def _says_ready(self) -> bool:
        if self._status_of is not None:
            return bool(self._status_of.integer_now("AcquisitionStatus"))
        return len(self._fired) * self._settings.blocks <= self._queued()

    @abstractmethod
    def _fire(self) -> None:
        """A software trigger."""

    @abstractmethod
    def _next(self, timeout_s: float) -> Picture | None:
        """The next picture with a copy of its pixels; None when none came in time."""

    @abstractmethod
    def _queued(self) -> int:
        """Pictures that wait in the library."""

    @abstractmethod
    def _stop(self) -> None:
        """Stop acquisition, and discard what waits."""

    @abstractmethod
    def _why_gone(self) -> str:
        """Why the camera cannot be used any more, asked of the camera itself; empty when it can."""

    def _source(self, frame_id: int) -> str:
        return self._label

    @abstractmethod
    def _statistics(self, nodes: Nodes) -> dict[str, int]:
        """The counters of its transport, by their names."""

    @abstractmethod
    def _errors(self) -> tuple[type[Exception], ...]:
        """What the library raises when the camera cannot be used any more."""

    @abstractmethod
    def _let_go(self) -> None:
        """Give the camera back, in any state. Never raises."""


def first_line(error: Exception) -> str:
    """The part of a library's message that people can use."""
    return (str(error).splitlines() or [type(error).__name__])[0].split(" : ")[0]
