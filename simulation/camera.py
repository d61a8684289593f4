"""A line-scan camera that is not there: pictures from a pool folder, at a camera's pace, with its faults.

It stands behind :class:`drivers.cameras.interface.Camera` and keeps the plant's order of things. With a
``place`` it shows the part that lies there when it exposes. Without one every exposure, delivered or lost,
uses up one picture of the pool, as if every part passed the camera once. Clock and sleep are passed in, so
that a night of faults is a few lines of test. Its trigger wire is a method, :meth:`SimulatedCamera.wire`,
which anybody may call at any time, as anything may raise an edge on a real one.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from drivers.cameras import FAMILIES
from drivers.cameras.counters import Counters
from drivers.cameras.interface import (
    Camera,
    CameraConfigError,
    CameraError,
    CameraHealth,
    CameraLostError,
    CameraTimeoutError,
    EndOfFramesError,
    Frame,
)
from drivers.cameras.picture_files import (
    NO_PIXELS,
    PICTURE_SUFFIXES,
    ImageFileError,
    by_lamps,
    pictures_in,
    read_image,
    shown,
)
from drivers.cameras.settings import CameraSettings, Mode
from drivers.settings import Count, FilePath, Milliseconds, Share
from simulation.camera_faults import CameraFaults
from simulation.place import EMPTY, LitLamps, Place, Seen
from simulation.spoilt_frames import GRADED, SPOILT_FRAMES
from simulation.switchboard import Switchboard

WIRE_POLL_S = 0.001
"""How often a grab looks for an edge."""
POOL_SUFFIXES = PICTURE_SUFFIXES | {".npy"}
NAME = "simulated line-scan camera"


class SimulatedSettings(CameraSettings):
    """Frames from the simulation's pool, with faults on request."""

    kind: Literal["simulated"] = "simulated"
    """the camera family"""
    pool: FilePath | None = None
    """the folder of rendered frames; without it, `simulation.pool.folder` is used"""
    place: FilePath | None = None
    """the file in which the simulated cell writes which part lies before the camera: part *n* looks like
    picture *n* of the pool, an empty place is black; without it, that of `simulation.cell` is used, or each
    exposure shows the next picture"""
    lamps: FilePath | None = None
    """the file in which the simulated light controller writes which outputs are lit; the pool then has one
    picture per part and output; without it, that of `simulation.lights` is used, or the light is always on"""
    rate_hz: Annotated[float, Field(ge=0.0, le=1000.0)] = 0.0
    """the most frames per second; free-running, exactly this rate; 0 means as fast as they are grabbed"""
    exposure_ms: Annotated[float, Field(ge=0.0, le=600_000.0)] = 0.0
    """the time from trigger to the last line of the frame, ms"""
    repeat: bool = True
    """whether the camera starts again after the last frame of the pool"""
    buffer_count: Annotated[int, Field(ge=1, le=256)] = 5
    """frames that can wait in the camera; further exposures are lost, as with a real camera"""
    preload_mb: Annotated[float, Field(ge=0.0, le=1_000_000.0)] = 0.0
    """decoded frames kept in memory, MB; the others are read when they are grabbed"""
    lose: Share = 0.0
    """the share of frames that are lost"""
    incomplete: Share = 0.0
    """the share of frames that arrive incomplete"""
    late: Share = 0.0
    """the share of frames that arrive late"""
    late_ms: Milliseconds = 200.0
    """the delay of a late frame, ms"""
    disconnect: Share = 0.0
    """the share of frames before which the camera disconnects"""
    seed: Count = 1
    """the seed of the faults"""
    switches: FilePath | None = None
    """the file with the faults that are on now (`simulation/switchboard.py`), for fault campaigns"""
    log: FilePath | None = None
    """the file for one line per exposure: what was really before the camera, and which fault was on"""

    @property
    def is_simulated(self) -> bool:
        """Always."""
        return True

    @property
    def faults(self) -> CameraFaults:
        """The faults that are asked for, by share."""
        return CameraFaults(
            drop_share=self.lose,
            incomplete_share=self.incomplete,
            late_share=self.late,
            late_s=self.late_ms / 1000,
            lose_share=self.disconnect,
            seed=self.seed,
        )


@dataclass(frozen=True, slots=True)
class _Exposure:
    number: int
    """Counted from 1 since the camera was first opened."""
    frame_id: int
    lost_before: int
    due_s: float
    picture: int | None
    """Which part of the pool is seen, from 0; None is an empty place."""
    by_ns: int
    """``time.monotonic_ns()`` after the look."""
    part_id: int = EMPTY
    """The part that lay there; ``EMPTY`` too where nobody says which one."""
    spoilt: str = ""
    """What makes the frame useless, of ``SPOILT_FRAMES``."""
    lit: tuple[int, ...] = ()
    """The outputs that were lit, where the camera sees lamps."""


@FAMILIES.register(SimulatedSettings)
class SimulatedCamera(Camera):
    """The simulated camera; ``simulation.pool`` and ``station simulate`` fill its folder.

    For tests: other ``faults`` than the settings ask for, and ``wired``, a camera that is exposed by
    :meth:`wire` alone and not by ``trigger``.
    """

    def __init__(
        self,
        settings: SimulatedSettings,
        faults: CameraFaults | None = None,
        *,
        wired: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if settings.pool is None:
            raise CameraConfigError(f"{NAME}: no pool is named; set camera.pool to a folder of frames")
        self._settings = settings
        self._pool = settings.pool
        self._place = Place(settings.place) if settings.place is not None else None
        self._lamps = LitLamps(settings.lamps) if settings.lamps is not None else None
        if self._lamps is not None and self._place is None:
            raise CameraConfigError(f"{NAME}: with `lamps`, name the part's `place`, too")
        self._free_running = settings.mode is Mode.FREE_RUNNING
        if wired and self._free_running:
            raise CameraConfigError(f"{NAME}: wired and free-running exclude each other")
        self._wired = wired
        self._exposure_s = settings.exposure_ms / 1000
        self._faults = faults or settings.faults
        self._switches = Switchboard(settings.switches)
        self._period_s = 1 / settings.rate_hz if settings.rate_hz else 0.0
        self._clock = clock
        self._sleep = sleep
        self._files: list[Path] = []
        self._parts: list[dict[int, Path]] = []
        """The pictures of each part by the output that lit it; 0 where nobody says which."""
        self._preloaded: dict[Path, NDArray[np.uint8]] = {}
        self._buffered: deque[_Exposure] = deque()
        self._exposures = 0
        """All exposures so far; without a place the next one takes this picture, modulo the pool."""
        self._frame_id = 0
        self._lost_before = 0
        self._next_s = 0.0
        """When the sensor can start (triggered) or will end (free running) the next exposure."""
        self._back_s = -math.inf
        self._armed = False
        self._lock = threading.RLock()
        """Held for what :meth:`wire` and the grabbing thread both change."""
        self._counters = Counters(f"{NAME} {self._pool.name}", simulated=True)

    @property
    def triggered_by_wire(self) -> bool:
        """With ``wired``."""
        return self._wired

    def open(self) -> None:
        """List and preload the pool; raises :class:`CameraLostError` while a simulated loss lasts."""
        self._armed = False
        missing_s = self._back_s - self._clock()
        if missing_s > 0:
            raise self._lost(f"is not there for another {missing_s:.1f} s")
        pool = self._pool
        if not pool.is_dir():
            raise CameraConfigError(
                f"{NAME}: {pool} is not a folder; name one, or fill it with `station simulate`"
            )
        self._files = pool_files(pool)
        if not self._files:
            raise CameraConfigError(f"{NAME}: no pictures in {pool}; fill it with `station simulate`")
        self._parts = [{0: path} for path in self._files]
        if self._lamps is not None:
            parts = map(dict, by_lamps(self._files).values())
            self._parts = [part for part in parts if 0 not in part]
        if not self._parts:
            raise CameraConfigError(
                f"{NAME}: the pictures in {pool} do not say which lamp lit them; remove the folder, then it "
                "is rendered again"
            )
        self._preload()
        details = {"pictures": str(len(self._files)), "preloaded": str(len(self._preloaded))}
        self._counters.opened(f"{NAME} {pool.name}", details)

    def arm(self) -> None:
        """Empty buffers; frame ids count from here, the pool goes on."""
        with self._lock:
            self._require_open()
            self._buffered.clear()
            self._frame_id = self._lost_before = 0
            self._next_s = self._clock() + (self._period_s if self._free_running else 0.0)
            self._armed = True

    def trigger(self, timeout_s: float) -> None:
        """Expose when the turn before is over; nothing to do when wired or running free."""
        self.wait_ready(timeout_s)
        if self._free_running or self._wired:
            return
        if self._ended:
            raise self._end()
        now = self._clock()
        self._next_s = now + self._period_s
        self._expose(now + self._exposure_s)

    def wait_ready(self, timeout_s: float) -> None:
        """Wait for the end of the turn before."""
        self._require_armed()
        if self._free_running or self._wired:
            return
        wait_s = self._next_s - self._clock()
        if wait_s > timeout_s:
            self._sleep(timeout_s)
            raise CameraTimeoutError(
                f"{NAME} was not ready for a trigger within {timeout_s:g} s; it makes "
                f"{self._settings.rate_hz:g} frames per second at most"
            )
        if wait_s > 0:
            self._sleep(wait_s)

    def wire(self) -> int:
        """An edge on the trigger input, from any thread: the next picture is exposed.

        Returns the exposure's number, counted from 1 since the camera was first opened, or 0 for an edge that
        the camera ignores, as a real one does: not armed, or the turn before is not over.
        """
        with self._lock:
            now = self._clock()
            if not (self._wired and self._armed) or now < self._next_s or self._ended:
                return 0
            self._next_s = now + self._period_s
            with suppress(CameraLostError):  # whoever grabs gets the error
                self._expose(now + self._exposure_s)
            return self._exposures

    def grab(self, timeout_s: float) -> Frame:
        """The next frame in order."""
        deadline_s = self._clock() + timeout_s
        while True:
            with self._lock:
                self._require_armed()
                now = self._clock()
                if self._free_running:
                    self._run_until(now)
                due_s = self._next_due()
                if self._buffered and due_s <= now:
                    exposure = self._buffered.popleft()
                    break
            if self._wired:
                due_s = min(due_s, now + WIRE_POLL_S)
            if due_s == math.inf and self._free_running:
                raise self._end()
            if due_s > deadline_s:
                self._sleep(max(0.0, deadline_s - now))
                edge = "; no edge came on its wire" if self._wired else ""
                raise CameraTimeoutError(f"{NAME}: no frame within {timeout_s:g} s{edge}")
            self._sleep(due_s - now)
        if exposure.number == self._faults.hang_at:
            self._hang()
        while "camera-hang" in self._switches.on():
            self._sleep(0.02)
        return self._counters.frame(self._frame(exposure))

    def waiting(self) -> int:
        """Exposures that have ended."""
        with self._lock:
            self._require_open()
            return sum(exposure.due_s <= self._clock() for exposure in self._buffered)

    def probe(self) -> None:
        """Whether the camera is there."""
        self._require_open()

    def disarm(self) -> None:
        """Stop; buffered frames and the exposure under way are discarded."""
        with self._lock:
            if self._armed:
                self._counters.discarded(self.waiting())
            self._armed = False
            self._buffered.clear()

    def health(self) -> CameraHealth:
        """Counters; always ``simulated``."""
        return self._counters.health()

    def close(self) -> None:
        """Let go of the pool's memory."""
        self.disarm()
        self._preloaded.clear()
        self._counters.gone()

    # ------------------------------------------------------------------ helpers, in the order of use

    def _preload(self) -> None:
        left = self._settings.preload_mb * 1e6
        self._preloaded.clear()
        for path in self._files:
            if left <= 0:
                return
            try:
                pixels = load_picture(path)
            except ImageFileError:
                continue  # reported when the picture's turn comes
            left -= pixels.nbytes
            if left >= 0:
                self._preloaded[path] = np.array(pixels)

    @property
    def _ended(self) -> bool:
        return not self._settings.repeat and self._exposures >= len(self._files)

    def _run_until(self, now: float) -> None:
        """Free running: every exposure that has ended by now; without a rate, one when one is wanted."""
        if self._period_s == 0:
            if not self._buffered and self._next_s <= now and not self._ended:
                self._expose(now)
                self._next_s = now if self._buffered else now + 0.001  # dropped: never a busy loop
            return
        while self._next_s <= now and not self._ended:
            self._expose(self._next_s)
            self._next_s += self._period_s

    def _next_due(self) -> float:
        """When there is something to grab; infinite when nothing will ever come by itself."""
        if self._buffered:
            return self._buffered[0].due_s
        return self._next_s if self._free_running and not self._ended else math.inf

    def _expose(self, due_s: float) -> None:
        """One picture of the pool is used up; whether it becomes a frame is another matter."""
        self._exposures += 1
        number, faults = self._exposures, self._faults
        if faults.loses(number):
            self._back_s = self._clock() + faults.lost_for_s
            raise self._lost("was unplugged")
        on = self._switches.on()
        if "camera-gone" in on:
            self._back_s = self._clock() + on["camera-gone"]
            raise self._lost("was unplugged")
        if "camera-blind" in on:
            return  # the trigger reached no sensor: no exposure, and no frame is counted as lost
        if faults.delays(number):
            due_s += faults.late_s
        due_s += on.get("camera-late", 0.0)
        full = len(self._buffered) >= self._settings.buffer_count
        if faults.drops(number) or "camera-lost-frame" in on or full:
            self._lost_before += 1
        else:
            if self._buffered:
                due_s = max(due_s, self._buffered[-1].due_s)  # frames do not overtake each other
            seen, picture = self._in_view()
            by_ns = time.monotonic_ns()
            spoilt = next((name for name in SPOILT_FRAMES if name in on), "")
            if seen.part_id != EMPTY and not spoilt:
                spoilt = "camera-robot" if seen.robot else "" if seen.turns else "camera-standing"
            lit = self._lamps.look() if self._lamps is not None else ()
            exposure = _Exposure(
                number, self._frame_id, self._lost_before, due_s, picture, by_ns, seen.part_id, spoilt, lit
            )
            self._note(exposure)
            self._buffered.append(exposure)
            if "camera-twice" in on:  # the transfer delivers the frame again
                self._buffered.append(exposure)
            self._lost_before = 0
        self._frame_id += 1

    def _in_view(self) -> tuple[Seen, int | None]:
        """What is to be seen there, and the picture of the pool that shows the part."""
        if self._place is None:
            return Seen(EMPTY), (self._exposures - 1) % len(self._parts)
        seen = self._place.look()
        return seen, None if seen.part_id == EMPTY else (seen.part_id - 1) % len(self._parts)

    def _note(self, exposure: _Exposure) -> None:
        if self._settings.log is None:
            return
        line = {
            "at_ns": exposure.by_ns,
            "part_id": exposure.part_id,
            "frame_id": exposure.frame_id,
            "spoilt": exposure.spoilt,
        } | ({"lit": exposure.lit} if self._lamps is not None else {})
        with self._settings.log.open("a", encoding="ascii") as log:
            log.write(json.dumps(line) + "\n")

    def _hang(self) -> None:
        left_s = self._faults.hang_for_s
        while left_s > 0:
            self._sleep(min(left_s, 1.0))
            left_s -= 1.0

    def _frame(self, exposure: _Exposure) -> Frame:
        pictures = self._parts[exposure.picture or 0]
        path, problem = next(iter(pictures.values())), ""
        try:
            pixels = self._under(pictures, exposure.lit if self._lamps is not None else (0,))
        except ImageFileError as error:
            pixels, problem = NO_PIXELS, str(error)
        if exposure.picture is None:
            pixels[:] = 0
        for name, strength in self._switches.on().items():
            if name in GRADED and not problem:
                seed = [self._settings.seed, exposure.number]
                pixels = GRADED[name](pixels, np.random.default_rng(seed), strength)
        if exposure.spoilt and not problem:
            seen = SPOILT_FRAMES[exposure.spoilt].spoil
            pixels = seen(pixels, np.random.default_rng([self._settings.seed, exposure.number]))
        cut = self._faults.cuts(exposure.number) or "camera-incomplete" in self._switches.on()
        if cut and not problem:
            pixels[pixels.shape[0] // 2 :] = 0
            problem = f"{pixels.shape[0] // 2} of {pixels.shape[0]} lines arrived (simulated)"
        return Frame(
            pixels=pixels,
            frame_id=exposure.frame_id,
            lost_before=exposure.lost_before,
            complete=not problem,
            arrived_ns=time.monotonic_ns(),
            problem=problem,
            source=shown(path) if exposure.picture is not None else "an empty place",
            exposed_by_ns=None if self._wired else exposure.by_ns,  # nobody says when an edge came
        )

    def _under(self, pictures: dict[int, Path], lit: tuple[int, ...]) -> NDArray[np.uint8]:
        """The picture under all lamps that are lit; black under none. Raises ``ImageFileError``."""
        seen = [pictures[output] for output in lit if output in pictures]
        paths = seen or [next(iter(pictures.values()))]
        light = [self._preloaded[path] if path in self._preloaded else load_picture(path) for path in paths]
        pixels = np.array(light[0]) if seen else np.zeros_like(light[0])
        for more in light[1:]:
            pixels += np.minimum(more, 255 - pixels)
        return pixels

    def _end(self) -> EndOfFramesError:
        return EndOfFramesError(f"{NAME}: all {len(self._files)} pictures of {self._pool} are done")

    def _lost(self, what: str) -> CameraLostError:
        message = f"{NAME} {what} (simulated); it comes back by itself"
        with self._lock:
            self._armed = False
            self._buffered.clear()
        self._counters.gone(message)
        return CameraLostError(message)

    def _require_open(self) -> None:
        if not self._counters.connected:
            raise CameraLostError(
                f"{NAME} is not open: {self._counters.health().last_error or 'open() it first'}"
            )

    def _require_armed(self) -> None:
        self._require_open()
        if not self._armed:
            raise CameraError(f"{NAME} is not armed: arm() it first")


def pool_files(folder: Path) -> list[Path]:
    """The pool's pictures in the order of their names; of ``a.tif`` and ``a.npy`` the quicker ``a.npy``."""
    by_stem: dict[str, Path] = {}
    for path in pictures_in(folder, suffixes=POOL_SUFFIXES):
        if path.stem not in by_stem or path.suffix == ".npy":
            by_stem[path.stem] = path
    return list(by_stem.values())


def load_picture(path: Path) -> NDArray[np.uint8]:
    """A picture of the pool, uint8 ``(H, W)`` or ``(H, W, 3)``; ``.npy`` is mapped, not read."""
    if path.suffix != ".npy":
        return read_image(path)
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ImageFileError(f"{path}: not an array file, or damaged ({error}); write it again") from None
    if mapped.dtype != np.uint8 or not (mapped.ndim == 2 or (mapped.ndim == 3 and mapped.shape[2] == 3)):
        raise ImageFileError(
            f"{path}: {mapped.dtype} of shape {mapped.shape}; needs uint8, (H, W) or (H, W, 3)"
        )
    picture: NDArray[np.uint8] = mapped
    return picture
