"""A camera in a process of its own, for libraries that may hang or crash: ``IsolatedCamera(settings)``.

Whatever the library does, the station's process stays whole. A call that does not return in time, and a
process that ended, make the camera lost; the next ``open`` starts a new process. Pixels pass through memory
that both processes share, everything else through a socket. The child ends with its parent, also when the
parent is killed. Output lines have a socket and a thread of their own: they are set while a frame is grabbed.
"""

from __future__ import annotations

import mmap
import os
import pickle
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from drivers import heartbeat
from drivers.buffers import FRAMES
from drivers.cameras.counters import Counters, added
from drivers.cameras.interface import Camera, CameraError, CameraHealth, CameraLostError, Frame
from drivers.cameras.picture_files import NO_PIXELS
from drivers.cameras.settings import CameraSettings
from drivers.child_process import ChildProcess, live_with_parent

MARGIN_S = 1.0
"""How much later than it was asked to a call may return."""
START_S = 20.0
"""How long the process may take until it answers: an interpreter and a library, on a machine that is busy."""
OPEN_S = 8.0
"""How long opening may take, a search on the network and every setting: less than a thread may be silent."""
SHORT_S = 3.0
"""How long a call without a time of its own may take."""
ENDING_S = 2.0


class IsolatedCamera(Camera):
    """``driver(settings)`` in a child process; every promise of :class:`Camera` holds across it.

    ``driver``: a class or function at the top of a module. ``simulated`` and ``description`` stand in
    ``health`` until the camera was opened.
    """

    def __init__(
        self,
        driver: Callable[[Any], Camera],
        settings: CameraSettings,
        *,
        description: str,
        triggered_by_wire: bool,
        open_s: float = OPEN_S,
    ) -> None:
        self._driver = driver
        self._settings = settings
        self._by_wire = triggered_by_wire
        self._open_s = open_s
        self._description = description
        self._counters = Counters(description, simulated=settings.is_simulated)
        """Of this side: how often it was opened, and what was lost with a child."""
        self._child: _Child | None = None
        self._health: CameraHealth | None = None
        """The child's, at its last answer."""
        self._before = self._counters.health()
        """What earlier children counted."""

    @property
    def triggered_by_wire(self) -> bool:
        """As the settings say."""
        return self._by_wire

    @property
    def process_id(self) -> int | None:
        """The child's, while there is one: for service tools and fault injection."""
        return None if self._child is None else self._child.child.process.pid

    def open(self) -> None:
        """Start a process if there is none, and open the camera there."""
        if self._child is None:
            self._child = _Child(self._driver, self._settings)
            self._call("health", START_S)  # so that opening has its whole time
        self._call("open", self._open_s)
        self._counters.opened(self._description)

    def arm(self) -> None:
        """See :class:`Camera`."""
        self._call("arm", SHORT_S)

    def wait_ready(self, timeout_s: float) -> None:
        """See :class:`Camera`."""
        self._call("wait_ready", timeout_s + MARGIN_S, timeout_s)

    def trigger(self, timeout_s: float) -> None:
        """See :class:`Camera`."""
        self._call("trigger", timeout_s + MARGIN_S, timeout_s)

    def grab(self, timeout_s: float) -> Frame:
        """The next frame; its pixels are copied out of the shared memory, and belong to the caller."""
        frame, shape = self._call("grab", timeout_s + MARGIN_S, timeout_s)
        assert isinstance(frame, Frame)
        assert self._child is not None
        return replace(frame, pixels=self._child.pixels(shape)) if shape else frame

    def set_output(self, line: str, on: bool) -> None:
        """See :class:`Camera`; whether the child is lost is found by the thread that grabs."""
        child = self._child
        try:
            if child is None:
                raise _GoneError("it is not open")
            error = child.set_output(line, on)
        except _GoneError as gone:
            raise CameraLostError(f"{self._description}: line {line}: {gone}") from None
        if error is not None:
            raise error

    def set_line_rate(self, lines_per_s: float) -> float:
        """See :class:`Camera`."""
        return float(self._call("set_line_rate", SHORT_S, lines_per_s))

    def waiting(self) -> int:
        """See :class:`Camera`."""
        return int(self._call("waiting", SHORT_S))

    def probe(self) -> None:
        """See :class:`Camera`."""
        self._call("probe", SHORT_S)

    def disarm(self) -> None:
        """See :class:`Camera`."""
        if self._child is not None:
            self._call("disarm", SHORT_S)

    def health(self) -> CameraHealth:
        """The child's counters at its last answer, on top of those of the children before it."""
        own, child, before = self._counters.health(), self._health, self._before
        if child is None:
            return replace(before, connected=False, last_error=own.last_error, reopened=own.reopened)
        return replace(
            child,
            connected=own.connected and child.connected,
            delivered=before.delivered + child.delivered,
            lost=before.lost + child.lost,
            incomplete=before.incomplete + child.incomplete,
            discarded=before.discarded + child.discarded,
            reopened=own.reopened,
            last_error=own.last_error or child.last_error,
            transport=added(before.transport, child.transport),
        )

    def close(self) -> None:
        """Close the camera and end the process; never raises."""
        if self._child is not None and self._counters.connected:
            with suppress(CameraError):  # the process is ended all the same
                self._call("close", SHORT_S)
        self._end()
        self._counters.gone()

    def _call(self, name: str, within_s: float, *arguments: object) -> Any:
        child = self._child
        if child is None:
            why = self._counters.health().last_error or "open() it"
            raise CameraLostError(f"{self.health().description} is not open: {why}")
        heartbeat.beat(within_s + ENDING_S)  # a call that has an end of its own is no thread that hangs
        try:
            answer, self._health = child.call(name, within_s, *arguments)
        except _GoneError as error:
            self._end()
            message = (
                f"{self.health().description}: {error}; it is started anew. If this happens again, update "
                "the library of the camera's maker, or switch the camera off and on"
            )
            self._counters.gone(message)
            raise CameraLostError(message) from None
        if isinstance(answer, CameraError):
            if name == "open":  # some libraries find a camera that came back only in a new process
                self._end()
            if name == "open" or (isinstance(answer, CameraLostError) and self._counters.connected):
                self._counters.gone(str(answer))
            raise answer
        return answer

    def _end(self) -> None:
        if self._health is not None:
            self._before = replace(self.health(), connected=False, details={})
            self._health = None
        child, self._child = self._child, None
        if child is not None:
            child.end()


class _GoneError(Exception):
    """The child does not answer; the message says why."""


class _Child:
    """The process, its socket and its memory, as the parent sees them."""

    def __init__(self, driver: Callable[[Any], Camera], settings: CameraSettings) -> None:
        ours, theirs = socket.socketpair()
        our_outputs, their_outputs = socket.socketpair()
        self._memory = os.memfd_create("camera-frames", os.MFD_CLOEXEC)
        self._mapped: mmap.mmap | None = None
        handed_over = (theirs.fileno(), self._memory, their_outputs.fileno())
        try:
            self.child = ChildProcess(__name__, [str(file) for file in handed_over], handed_over)
        finally:
            theirs.close()
            their_outputs.close()
        self._outputs = Connection(our_outputs.detach())
        self._setting = threading.Lock()
        """Held while an output is set."""
        self._asked = 0
        """Outputs that were to be set; an answer bears the number of its question."""
        self._wire = Connection(ours.detach())
        self._wire.send((driver, settings))

    def call(self, name: str, within_s: float, *arguments: object) -> tuple[Any, CameraHealth]:
        """What the child's camera returned or raised, and its health. Raises :class:`_GoneError`."""
        try:
            self._wire.send((name, arguments))
            if not self._wire.poll(within_s):
                self.child.process.kill()
                raise _GoneError(f"`{name}` did not return for {within_s:g} s")
            answer, health = self._wire.recv()
        except (OSError, EOFError, pickle.UnpicklingError):
            raise _GoneError(f"its process {self.child.how_it_ended(ENDING_S)}") from None
        return answer, health

    def set_output(self, line: str, on: bool) -> CameraError | None:
        """What the child's camera raised. Raises :class:`_GoneError`."""
        with self._setting:
            self._asked += 1
            until = time.monotonic() + SHORT_S
            try:
                self._outputs.send((self._asked, line, on))
                while self._outputs.poll(max(0.0, until - time.monotonic())):
                    number, error = self._outputs.recv()
                    if number == self._asked:
                        return error  # type: ignore[no-any-return]
            except (OSError, EOFError, pickle.UnpicklingError):
                raise _GoneError("its process has ended") from None
        raise _GoneError(f"it did not answer for {SHORT_S:g} s")

    def pixels(self, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """A copy of the frame in the shared memory."""
        size = int(np.prod(shape))
        if self._mapped is None or len(self._mapped) < size:
            self._mapped = mmap.mmap(self._memory, os.fstat(self._memory).st_size)
        return FRAMES.copy(np.frombuffer(self._mapped, np.uint8, size).reshape(shape))

    def end(self) -> None:
        """End the process, at the latest by force, and give everything back."""
        self._wire.close()  # the child leaves when it hears nothing more
        self.child.end(ENDING_S, politely_s=ENDING_S)
        with self._setting:  # whoever waits hears that the process has ended
            self._outputs.close()
        if self._mapped is not None:
            self._mapped.close()
        os.close(self._memory)


# ---------------------------------------------------------------------- in the child


def serve(wire: Connection, memory: int, outputs: Connection) -> None:
    """Make the camera that the parent names, and answer its calls until it leaves."""
    driver, settings = wire.recv()
    camera: Camera = driver(settings)
    threading.Thread(target=_serve_outputs, args=(outputs, camera), name="outputs", daemon=True).start()
    mapped: mmap.mmap | None = None
    while True:
        try:
            name, arguments = wire.recv()
        except (EOFError, OSError):
            camera.close()
            return
        answer = _answer(getattr(camera, name), *arguments)
        if isinstance(answer, Frame):
            pixels = answer.pixels
            if mapped is None or len(mapped) < pixels.nbytes:
                mapped = _larger(mapped, memory, max(pixels.nbytes, mmap.PAGESIZE))
            np.frombuffer(mapped, np.uint8, pixels.nbytes)[:] = pixels.reshape(-1)
            answer = replace(answer, pixels=NO_PIXELS), pixels.shape if pixels.nbytes else ()
        wire.send((answer, camera.health()))


def _serve_outputs(wire: Connection, camera: Camera) -> None:
    """Set output lines until the parent leaves, whatever the camera does meanwhile."""
    while True:
        try:
            number, line, on = wire.recv()
            wire.send((number, _answer(camera.set_output, line, on)))
        except (EOFError, OSError):
            return


def _answer(call: Callable[..., Any], *arguments: object) -> Any:
    """What the call returned, or the :class:`CameraError` that it raised."""
    try:
        return call(*arguments)
    except CameraError as error:
        return error
    except Exception as error:  # as the line would take it: lost, and opened again
        return CameraLostError(f"an error that its driver does not know ({error!r}); report it")


def _larger(mapped: mmap.mmap | None, memory: int, size: int) -> mmap.mmap:
    if mapped is not None:
        mapped.close()
    os.ftruncate(memory, size)
    return mmap.mmap(memory, size)


if __name__ == "__main__":
    live_with_parent(int(sys.argv[1]))
    serve(Connection(int(sys.argv[2])), int(sys.argv[3]), Connection(int(sys.argv[4])))
