"""What can happen to a plant, by name: each kind of fault is one function that makes it happen once.

A function begins the fault, lets it last, and returns when the counterpart is as it was (the cable in, the
camera there, the process started anew by whoever keeps it alive). From that moment the recovery is measured.
What is random comes from the generator alone, so that an injection can be repeated.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from drivers.sorters.serial.frames import ETX, STX, Decoder, Message, TriggerBody, crc32, encode
from simulation.campaign.plant import Plant
from simulation.campaign.wire import TO_CELL, TO_STATION, Spoil

Inject = Callable[[Plant, random.Random], None]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault."""

    name: str
    family: str
    """Where it strikes: wire, cell, camera, engine, disk, station, machine, orders."""
    says: str
    inject: Inject
    quick: bool = False
    """Cheap enough for the tests."""
    times: int = 0
    """Injections, where they are not as many as those of the other kinds."""


KINDS: dict[str, Kind] = {}

SELDOM, RARELY = 10, 5
"""Injections of a kind that resembles another one; of one that ends the station and takes ten seconds."""


def kind(
    name: str, family: str, says: str, *, quick: bool = False, times: int = 0
) -> Callable[[Inject], Inject]:
    """Enter a function into :data:`KINDS`."""

    def enter(inject: Inject) -> Inject:
        assert name not in KINDS, f"two kinds are called {name}"
        KINDS[name] = Kind(name, family, says, inject, quick, times)
        return inject

    return enter


# ---------------------------------------------------------------------- the wire


def _spoils(name: str, says: str, direction: str, how: Spoil, *, quick: bool = False) -> None:
    """A kind that does something to every frame of a direction for a while."""

    def inject(plant: Plant, rng: random.Random) -> None:
        plant.wire.spoil(direction, how)
        time.sleep(rng.uniform(0.1, 0.6))
        plant.wire.spoil(direction, None)

    KINDS[name] = Kind(name, "wire", says, inject, quick)


def _both(name: str, says: str, how: Spoil, *, quick: bool = False) -> None:
    _spoils(f"{name}-to-station", f"{says}, from the cell to the station", TO_STATION, how, quick=quick)
    _spoils(f"{name}-to-cell", f"{says}, from the station to the cell", TO_CELL, how)


def _lost(frame: bytes, rng: random.Random) -> list[tuple[float, bytes]]:
    return []


def _garbled(frame: bytes, rng: random.Random) -> list[tuple[float, bytes]]:
    spoilt = bytearray(frame)
    for _ in range(rng.randint(1, 4)):
        spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
    return [(0, bytes(spoilt))]


def _noise(frame: bytes, rng: random.Random) -> list[tuple[float, bytes]]:
    return [(0, rng.randbytes(rng.randint(20, 200))), (0, frame)]


def _cut_short(frame: bytes, rng: random.Random) -> list[tuple[float, bytes]]:
    return [(0, frame[: rng.randrange(len(frame))])]


def _doubled(frame: bytes, rng: random.Random) -> list[tuple[float, bytes]]:
    return [(0, frame), (rng.uniform(0, 0.05), frame)]


def _disordered(frame: bytes, rng: random.Random) -> list[tuple[float, bytes]]:
    return [(rng.uniform(0, 0.12), frame)]


def _slow(frame: bytes, rng: random.Random) -> list[tuple[float, bytes]]:
    return [(0.25, frame)]


def _wrong_speed(frame: bytes, rng: random.Random) -> list[tuple[float, bytes]]:
    """Another baud rate at the other end: as many bytes, and none of them right."""
    return [(0, rng.randbytes(len(frame)))]


def _oversized(frame: bytes, rng: random.Random) -> list[tuple[float, bytes]]:
    """Intact frames whose texts are longer than the protocol allows, and one that never ends."""
    text = bytes(rng.choice(b"[/]x\x1b\x00 ") for _ in range(rng.randint(65, 96)))
    content = bytes((1, rng.choice((1, 2, 0x10, 0x30)), 0, 7, 0, 0, 0, 0, 0, 1, len(text))) + text
    content += crc32(content).to_bytes(4, "big")
    body = b"".join(
        bytes((0x10, byte ^ 0x20)) if byte in (0x02, 0x03, 0x10) else bytes((byte,)) for byte in content
    )
    endless = bytes((STX,)) + rng.randbytes(300).replace(bytes((ETX,)), b"x")
    return [(0, bytes((STX,)) + body + bytes((ETX,))), (0, endless), (0, frame)]


_both("frames-lost", "every frame is lost for a while", _lost, quick=True)
_both("bits-flipped", "one to four bits of every frame flip", _garbled, quick=True)
_both("noise", "bursts of random bytes stand between the frames", _noise)
_both("frames-cut", "every frame is cut short", _cut_short)
_both("frames-doubled", "every frame arrives twice", _doubled)
_both("frames-disordered", "frames overtake each other", _disordered)
_both("line-slow", "every frame takes 250 ms", _slow)
_both("wrong-speed", "the other end has another baud rate", _wrong_speed)
_spoils(
    "texts-oversized",
    "frames with texts that are too long, and frames without an end",
    TO_STATION,
    _oversized,
)


@kind("cable-pulled", "wire", "the plug is pulled out of the station; the device comes back anew", quick=True)
def _cable_pulled(plant: Plant, rng: random.Random) -> None:
    plant.wire.pull()
    time.sleep(rng.uniform(0.1, 0.6))
    plant.wire.plug()


@kind("cable-loose", "wire", "the plug has a loose contact: five times out and in")
def _cable_loose(plant: Plant, rng: random.Random) -> None:
    for _ in range(5):
        plant.wire.pull()
        time.sleep(rng.uniform(0.02, 0.1))
        plant.wire.plug()
        time.sleep(rng.uniform(0.02, 0.1))


def _last_trigger(plant: Plant) -> Message | None:
    found = Decoder().feed(plant.wire.last_trigger)
    return found[0] if found else None


@kind(
    "trigger-again",
    "wire",
    "the last TRIGGER comes again and again, long after its part was sorted",
    quick=True,
)
def _trigger_again(plant: Plant, rng: random.Random) -> None:
    old = plant.wire.last_trigger
    for _ in range(30):
        plant.wire.forge(old)
        time.sleep(rng.uniform(0.0, 0.03))


@kind("trigger-conflict", "wire", "the number of a TRIGGER comes again with another part of ten digits")
def _trigger_conflict(plant: Plant, rng: random.Random) -> None:
    for _ in range(10):
        last = _last_trigger(plant)
        if last is not None:
            other = TriggerBody(4_294_967_295 - rng.randrange(1000), "x" * 32)
            plant.wire.forge(encode(Message(last.sender, last.receiver, last.sequence, other, last.version)))
        time.sleep(rng.uniform(0.0, 0.06))


@kind("result-acked-again", "wire", "acknowledgements are repeated, also of parts that are long done")
def _result_acked_again(plant: Plant, rng: random.Random) -> None:
    plant.wire.spoil(
        TO_STATION, lambda frame, chance: [(0, frame), (0.01, frame), (0.4, frame), (0.9, frame)]
    )
    time.sleep(rng.uniform(0.2, 0.6))
    plant.wire.spoil(TO_STATION, None)


# ---------------------------------------------------------------------- switches of the cell and the camera


@contextmanager
def _switched(plant: Plant, **faults: float) -> Iterator[None]:
    plant.switches.set({name.replace("_", "-"): value for name, value in faults.items()})
    try:
        yield
    finally:
        plant.switches.set({})


def _switch(
    name: str,
    family: str,
    says: str,
    switch: str = "",
    value: float = 1.0,
    least_s: float = 0.15,
    most_s: float = 0.6,
    *,
    quick: bool = False,
) -> None:
    """A kind that is a switch of the switchboard, on for a while."""

    def inject(plant: Plant, rng: random.Random) -> None:
        with _switched(plant, **{switch or name: value}):
            time.sleep(rng.uniform(least_s, most_s))

    KINDS[name] = Kind(name, family, says, inject, quick)


_switch("cell-silent", "cell", "the cell sends neither triggers nor acknowledgements")
_switch("cell-late", "cell", "triggers and acknowledgements are sent 200 ms late")
_switch("cell-duplicate", "cell", "triggers and acknowledgements are sent twice")
_switch("cell-wrong-part-id", "cell", "acknowledgements name another part")
_switch("cell-wrong-bin", "cell", "the gate sticks at the reject bin")
_switch("cell-other-recipe", "cell", "the cell asks for a recipe that is not prepared", quick=True)
_switch(
    "cell-hasty", "cell", "parts are taken from the camera 20 ms after TRIGGER-ACK", "cell-take-away-ms", 20.0
)


@kind("cell-crowds", "cell", "a burst: twelve parts are triggered one after the other, as fast as it goes")
def _cell_crowds(plant: Plant, rng: random.Random) -> None:
    with _switched(plant, cell_in_flight=12):
        time.sleep(rng.uniform(0.2, 0.8))


@kind(
    "cell-swaps-while-stopped", "cell", "parts are taken away early while the station stands still for 0.4 s"
)
def _cell_swaps_while_stopped(plant: Plant, rng: random.Random) -> None:
    with _switched(plant, cell_take_away_ms=170.0):
        time.sleep(rng.uniform(0.05, 0.3))
        plant.signal_station(signal.SIGSTOP)
        time.sleep(0.42)
        plant.signal_station(signal.SIGCONT)
        time.sleep(0.3)


@kind("cell-stopped", "cell", "the cell's process stands still (SIGSTOP) for up to 1.5 s")
def _cell_stopped(plant: Plant, rng: random.Random) -> None:
    assert plant.cell is not None
    plant.cell.process.send_signal(signal.SIGSTOP)
    time.sleep(rng.uniform(0.1, 1.5))
    plant.cell.process.send_signal(signal.SIGCONT)


@kind("cell-killed", "cell", "the cell is killed and started anew, with a new session", quick=True)
def _cell_killed(plant: Plant, rng: random.Random) -> None:
    plant.kill_cell()
    time.sleep(rng.uniform(0.0, 0.3))
    plant.start_cell()


@kind("cell-of-version-1", "cell", "the cell is started anew and speaks version 1 only, for half a second")
def _cell_of_version_1(plant: Plant, rng: random.Random) -> None:
    plant.kill_cell(signal.SIGTERM)
    plant.start_cell(protocol_version=1)
    time.sleep(rng.uniform(0.3, 0.6))
    plant.kill_cell(signal.SIGTERM)
    plant.start_cell()


_switch("camera-black", "camera", "frames are black", quick=True)
_switch("camera-white", "camera", "frames are white")
_switch("camera-saturated", "camera", "the light is six times too bright")
_switch("camera-dark", "camera", "the light is off but for a glimmer")
_switch("camera-dimmed", "camera", "the light has lost a fifth to two thirds")
_switch("camera-truncated", "camera", "the turn stops early, the frame says that it is complete", quick=True)
_switch("camera-frozen-lines", "camera", "one line is repeated for a part of the turn")
_switch("camera-repeated-block", "camera", "a block of lines is delivered twice")
_switch("camera-flat-grey", "camera", "the product has no texture")
_switch(
    "camera-half-product",
    "camera",
    "a side of the product is black, so that a narrower one seems to stand there",
)
_switch("camera-pushed-out", "camera", "the product stands partly outside the view")
_switch("camera-wrong-size", "camera", "frames are half as high")
_switch("camera-blurred", "camera", "the focus is lost")
_switch("camera-noisy", "camera", "noise of 5 to 25 grey levels")
_switch("camera-hot-pixels", "camera", "200 hot pixels")
_switch("camera-incomplete", "camera", "half of the lines are missing, and the camera says so")
_switch("camera-lost-frame", "camera", "frames are lost in transfer", quick=True)
_switch("camera-blind", "camera", "triggers do not reach the sensor: no exposure, no frame")
_switch("camera-late", "camera", "frames come 300 ms late", value=0.3)
_switch("camera-very-late", "camera", "frames come after the time that a frame may take", "camera-late", 0.7)
_switch("camera-twice", "camera", "frames are delivered twice")
_switch(
    "camera-hangs-briefly", "camera", "a grab does not return for half a second", "camera-hang", 1.0, 0.3, 0.7
)


@kind("camera-gone", "camera", "the camera is unplugged and can be opened again after 0.1 to 1 s", quick=True)
def _camera_gone(plant: Plant, rng: random.Random) -> None:
    away_s = rng.uniform(0.1, 1.0)
    with _switched(plant, camera_gone=away_s):
        time.sleep(0.15)
    time.sleep(away_s)


@kind("camera-hangs", "camera", "a grab never returns; the station must notice and end")
def _camera_hangs(plant: Plant, rng: random.Random) -> None:
    with _switched(plant, camera_hang=1):
        plant.station_ends(20)


# ---------------------------------------------------------------------- the engine


def _person_activates(plant: Plant) -> None:
    """What the documents tell a person to do where the station trusts its engine no more."""
    if b"not trusted any more" in _ask(plant, "/status", b""):
        _ask(plant, "/activate", b'{"engine": "servo-motor-housing"}', timeout_s=60)


def _fails_for_a_moment(name: str, says: str, switch: str, least_s: float, most_s: float) -> None:
    """A failure of the engine, which may strike a golden part that is judged meanwhile."""

    def inject(plant: Plant, rng: random.Random) -> None:
        with _switched(plant, **{switch: 1}):
            time.sleep(rng.uniform(least_s, most_s))
        time.sleep(0.1)
        _person_activates(plant)

    KINDS[name] = Kind(name, "engine", says, inject)


_fails_for_a_moment("engine-throws", "one to three inferences fail", "engine-throws", 0.02, 0.2)


@kind("engine-broken", "engine", "every inference fails, until the station ends")
def _engine_broken(plant: Plant, rng: random.Random) -> None:
    with _switched(plant, engine_throws=1):
        plant.station_ends(20)


_fails_for_a_moment("engine-nan", "scores are no numbers for a moment", "engine-nan", 0.02, 0.15)
_fails_for_a_moment("engine-slow", "inferences do not end for 0.3 to 1 s", "engine-hangs", 0.3, 1.0)


@kind("engine-turns-blind", "engine", "the engine says good to everything, until a golden part shows it")
def _engine_turns_blind(plant: Plant, rng: random.Random) -> None:
    first = plant.wire.last_part - 3
    until = time.monotonic() + 4 * plant.setup.canary_s
    with _switched(plant, engine_says_good=1):
        while b"not trusted any more" not in _ask(plant, "/status", b""):
            assert time.monotonic() < until, "no golden part showed that the engine says good to everything"
            time.sleep(0.05)
        plant.note("blind", first, plant.wire.last_part)
    _person_activates(plant)


@kind("engine-hangs", "engine", "an inference never ends; the station must notice and end")
def _engine_hangs(plant: Plant, rng: random.Random) -> None:
    with _switched(plant, engine_hangs=1):
        plant.station_ends(20)


@kind(
    "engine-damaged",
    "engine",
    "under load another recipe is prepared whose engine has a changed byte: refused",
)
def _engine_damaged(plant: Plant, rng: random.Random) -> None:
    engines, recipes = plant.folder / "engines", plant.folder / "recipes"
    damaged = engines / "damaged"
    if not damaged.exists():
        shutil.copytree(engines / "servo-motor-housing", damaged)
        recipe = (recipes / "servo-motor-housing.yaml").read_text(encoding="utf-8")
        recipe = recipe.replace("name: servo-motor-housing", "name: damaged", 1)
        recipe = recipe.replace("engine: servo-motor-housing", "engine: damaged", 1)
        (recipes / "damaged.yaml").write_text(recipe, encoding="utf-8")
    shutil.copy(engines / "servo-motor-housing" / "model.int8.onnx", damaged / "model.int8.onnx")
    with (damaged / "model.int8.onnx").open("r+b") as model:
        model.seek(rng.randrange(model.seek(0, os.SEEK_END)))
        byte = model.read(1) or b"\0"
        model.seek(-len(byte), os.SEEK_CUR)
        model.write(bytes((byte[0] ^ 1,)))
    code, said = plant.order("prepare", "damaged")
    if code == 0:
        raise AssertionError(f"an engine with a changed byte was prepared: {said}")


@kind("engine-blind-at-start", "engine", "the engine says good to everything at a start: refused")
def _engine_blind_at_start(plant: Plant, rng: random.Random) -> None:
    plant.hold.set()
    try:
        plant.kill_station()
        with _switched(plant, engine_says_good=1):
            assert not plant.starts(30), "a station whose engine says good to everything has started"
    finally:
        plant.hold.clear()


@kind("engine-blind-prepared", "engine", "the engine says good to everything when it is prepared: refused")
def _engine_blind_prepared(plant: Plant, rng: random.Random) -> None:
    _ask(plant, "/halt", b'{"reason": "campaign"}')
    until = time.monotonic() + 5
    while b'"in_hand":0' not in _ask(plant, "/status", b"").replace(b" ", b"") and time.monotonic() < until:
        time.sleep(0.05)
    with _switched(plant, engine_says_good=1):
        answer = _ask(plant, "/prepare", b'{"recipe": "servo-motor-housing"}', timeout_s=60)
    _person_activates(plant)  # a golden part of the engine in use may have been judged meanwhile
    _ask(plant, "/resume", b"{}")
    if answer.startswith(b"HTTP/1.1 200"):
        raise AssertionError("an engine that says good to everything was prepared")


# ---------------------------------------------------------------------- the disk


_switch("disk-slow", "disk", "a sync of the journal takes 0.5 s", "disk-sync-s", 0.5, 0.3, 0.8, quick=True)
_switch(
    "disk-very-slow", "disk", "a sync takes 2.5 s, longer than the deadline", "disk-sync-s", 2.5, 0.2, 0.5
)


@kind("disk-error", "disk", "writes of the journal fail (EIO), until the station ends")
def _disk_error(plant: Plant, rng: random.Random) -> None:
    with _switched(plant, disk_eio=1):
        plant.station_ends(20)


@kind("disk-full", "disk", "the journal's disk is full (ENOSPC), until the station ends")
def _disk_full(plant: Plant, rng: random.Random) -> None:
    with _switched(plant, disk_full=1):
        plant.station_ends(20)


@kind("file-size-limit", "disk", "no file of the station may grow any more (EFBIG), until it ends")
def _file_size_limit(plant: Plant, rng: random.Random) -> None:
    if plant.station is not None:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(plant.station.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    plant.station_ends(20)


def _loses(name: str, says: str, harm: Callable[[Plant], None], *, running: bool) -> None:
    """A kind that destroys a file of the journal; a person acknowledges the loss if the station refuses."""

    def inject(plant: Plant, rng: random.Random) -> None:
        plant.hold.set()
        try:
            if not running:
                plant.kill_station()
            first = plant.wire.last_part - 100
            harm(plant)
            if running:
                ended = plant.station_ends(20)
                assert ended, "the station did not notice within 20 s"
            if not plant.starts(30):
                plant.note("lost", first, plant.wire.last_part + 20)
                who = ("--by", "campaign", "--why", name, "--journal", str(plant.journal))
                code, said = plant.command("journal", "accept-loss", *who)
                assert code == 0, f"the loss could not be acknowledged: {said}"
        finally:
            plant.hold.clear()

    KINDS[name] = Kind(name, "disk", says, inject)


def _cut(path: Path) -> None:
    size = path.stat().st_size
    os.truncate(path, size // 2)


def _wal(plant: Plant) -> Path:
    return plant.segment.with_name(plant.segment.name + "-wal")


_loses("wal-deleted", "the journal's -wal is deleted under load", lambda p: _wal(p).unlink(), running=True)
_loses("wal-cut", "the journal's -wal is cut to half under load", lambda p: _cut(_wal(p)), running=True)
_loses(
    "wal-lost-in-a-crash",
    "the station is killed, and the journal's -wal is gone afterwards",
    lambda p: _wal(p).unlink(),
    running=False,
)


_switch("pictures-full", "disk", "the disk of the pictures is full", "images-full")


@kind("pictures-gone", "disk", "the folder of the pictures is gone, and a file stands in its place")
def _pictures_gone(plant: Plant, rng: random.Random) -> None:
    away = plant.images.with_name("images-away")
    with contextlib.suppress(FileNotFoundError):
        plant.images.rename(away)
    with contextlib.suppress(OSError):
        plant.images.write_text("not a folder")
    time.sleep(rng.uniform(0.2, 0.6))
    with contextlib.suppress(OSError):
        plant.images.unlink()
    if plant.images.is_dir():
        shutil.rmtree(plant.images)
    with contextlib.suppress(FileNotFoundError):
        away.rename(plant.images)


# ---------------------------------------------------------------------- the station's process


@kind("station-stopped", "station", "the station stands still (SIGSTOP) for 0.1 to 3 s")
def _station_stopped(plant: Plant, rng: random.Random) -> None:
    plant.signal_station(signal.SIGSTOP)
    time.sleep(rng.choice((rng.uniform(0.1, 0.5), rng.uniform(0.5, 3.0))))
    plant.signal_station(signal.SIGCONT)


@kind("station-killed", "station", "the station is killed (SIGKILL) under load", quick=True)
def _station_killed(plant: Plant, rng: random.Random) -> None:
    plant.kill_station()


@kind("station-terminated", "station", "the station is asked to stop (SIGTERM) under load")
def _station_terminated(plant: Plant, rng: random.Random) -> None:
    plant.signal_station(signal.SIGTERM)
    plant.station_ends(30)


@kind("station-killed-at-start", "station", "the station is killed, and again while it starts")
def _station_killed_at_start(plant: Plant, rng: random.Random) -> None:
    plant.kill_station()
    time.sleep(rng.uniform(0.1, 3.0))
    plant.kill_station()


@kind("watcher-killed", "station", "the process that watches the station is killed")
def _watcher_killed(plant: Plant, rng: random.Random) -> None:
    watcher = plant.watcher()
    if watcher is not None:
        os.kill(watcher, signal.SIGKILL)


@kind("station-hangs", "station", "the station stands still for ever; the watcher must end it")
def _station_hangs(plant: Plant, rng: random.Random) -> None:
    plant.signal_station(signal.SIGSTOP)
    if not plant.station_ends(20):
        plant.signal_station(signal.SIGCONT)
        raise AssertionError("a station that stands still was not ended within 20 s")


# ---------------------------------------------------------------------- the machine


@kind("processor-busy", "machine", "four processes compute on two cores for 1 to 2 s")
def _processor_busy(plant: Plant, rng: random.Random) -> None:
    hogs = [_hog("while True: pass") for _ in range(4)]
    time.sleep(rng.uniform(1.0, 2.0))
    for hog in hogs:
        hog.kill()
        hog.wait()


FULL_LOAD_S = 30.0
"""So long one injection of full load lasts: twenty of them are ten minutes."""


@kind(
    "full-load",
    "machine",
    "both cores are busy with other work for 30 s, and the station is stopped at random",
)
def _full_load(plant: Plant, rng: random.Random) -> None:
    hogs = [_hog("while True: pass") for _ in range(2)]
    until = time.monotonic() + FULL_LOAD_S
    while time.monotonic() < until:
        time.sleep(rng.uniform(0.1, 1.0))
        plant.signal_station(signal.SIGSTOP)
        time.sleep(rng.choice((rng.uniform(0.02, 0.3), rng.uniform(0.3, 1.5))))
        plant.signal_station(signal.SIGCONT)
    for hog in hogs:
        hog.kill()
        hog.wait()


@kind("memory-pressure", "machine", "a process takes and touches two thirds of the free memory, 4 GB at most")
def _memory_pressure(plant: Plant, rng: random.Random) -> None:
    with open("/proc/meminfo", encoding="ascii") as file:
        free_kb = next(int(line.split()[1]) for line in file if line.startswith("MemAvailable"))
    mb = min(4000, free_kb * 2 // 3 // 1024)
    code = f"import time\nheld = [bytearray(b'x') * 16_000_000 for _ in range({mb} // 16)]\ntime.sleep(60)"
    hog = _hog(code)
    time.sleep(rng.uniform(1.0, 2.0))
    hog.kill()
    hog.wait()


@kind("clock-jumps", "machine", "the wall clock jumps by up to a day, back and forth")
def _clock_jumps(plant: Plant, rng: random.Random) -> None:
    with _switched(plant, clock_jump_s=float(rng.choice((-1, 1)) * rng.randint(1, 86_400))):
        time.sleep(rng.uniform(0.2, 0.6))


def _hog(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code])


# ---------------------------------------------------------------------- orders and files


@kind("halt-and-resume", "orders", "the station is halted and resumed", quick=True)
def _halt_and_resume(plant: Plant, rng: random.Random) -> None:
    _ask(plant, "/halt", b'{"reason": "campaign"}')
    time.sleep(rng.uniform(0.05, 0.3))
    _ask(plant, "/resume", b"{}")


@kind(
    "changeover",
    "orders",
    "the recipe is prepared again under load, its engine loaded and proven beside the parts",
)
def _changeover(plant: Plant, rng: random.Random) -> None:
    _ask(plant, "/prepare", b'{"recipe": "servo-motor-housing"}', timeout_s=60)


@kind(
    "control-crowd",
    "orders",
    "200 connections to the control socket, half of them garbage, none of them closed",
)
def _control_crowd(plant: Plant, rng: random.Random) -> None:
    held = []
    for number in range(200):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(0.2)
        with contextlib.suppress(OSError):
            client.connect(_socket(plant))
            asks = b"GET /status HTTP/1.1\r\nHost: station\r\n\r\n" if number % 2 else rng.randbytes(500)
            client.sendall(asks)
        held.append(client)
    time.sleep(rng.uniform(0.1, 0.4))
    for client in held:
        client.close()


@kind("config-gone", "orders", "configuration and recipe vanish while the station runs, and come back")
def _config_gone(plant: Plant, rng: random.Random) -> None:
    files = [plant.config, plant.folder / "recipes" / "servo-motor-housing.yaml"]
    for file in files:
        file.rename(file.with_suffix(".away"))
    _ask(plant, "/prepare", b'{"recipe": "servo-motor-housing"}', timeout_s=60)
    time.sleep(rng.uniform(0.1, 0.4))
    for file in files:
        file.with_suffix(".away").rename(file)


def _socket(plant: Plant) -> str:
    return os.path.relpath(plant.journal.with_suffix(".sock"))


def _ask(plant: Plant, path: str, body: bytes, timeout_s: float = 5.0) -> bytes:
    """One order over the control socket, or a question (no body); the answer, empty when there is none."""
    request = (
        f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: station\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode() + body
    answer = b""
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
        client.settimeout(timeout_s)
        client.connect(_socket(plant))
        client.sendall(request)
        while piece := client.recv(4096):
            answer += piece
    return answer


for _names, _times in (
    (
        (
            *("noise-to-cell", "frames-cut-to-cell", "frames-disordered-to-cell", "wrong-speed-to-cell"),
            *("line-slow-to-cell", "frames-doubled-to-cell", "cell-late", "cell-duplicate"),
            *("cell-of-version-1", "camera-white", "camera-saturated", "camera-dimmed", "camera-hot-pixels"),
            *("camera-noisy", "camera-wrong-size", "camera-very-late", "engine-damaged", "disk-very-slow"),
        ),
        SELDOM,
    ),
    (
        (
            *("camera-hangs", "engine-hangs", "station-hangs", "engine-blind-at-start", "engine-turns-blind"),
            *("file-size-limit", "station-killed-at-start", "wal-deleted", "wal-cut", "wal-lost-in-a-crash"),
        ),
        RARELY,
    ),
):
    for _name in _names:
        KINDS[_name] = replace(KINDS[_name], times=_times)
