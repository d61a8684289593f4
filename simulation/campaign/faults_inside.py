"""Faults of the station itself: its engine, disk and process, its machine, its orders and files."""

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
from collections.abc import Callable
from pathlib import Path

from simulation.campaign.kind import KINDS, Kind, kind, switch, switched
from simulation.campaign.plant import Plant

# ---------------------------------------------------------------------- the engine


def _person_activates(plant: Plant) -> None:
    """What the documents tell a person to do where the station trusts its engine no more."""
    if b"not trusted any more" in _ask(plant, "/status", b""):
        _ask(plant, "/activate", b'{"engine": "servo-motor-housing"}', timeout_s=60)


def _fails_for_a_moment(name: str, says: str, switch: str, least_s: float, most_s: float) -> None:
    """A failure of the engine, which may strike a golden part that is judged meanwhile."""

    def inject(plant: Plant, rng: random.Random) -> None:
        with switched(plant, **{switch: 1}):
            time.sleep(rng.uniform(least_s, most_s))
        time.sleep(0.1)
        _person_activates(plant)

    KINDS[name] = Kind(name, "engine", says, inject)


_fails_for_a_moment("engine-throws", "one to three inferences fail", "engine-throws", 0.02, 0.2)


@kind("engine-broken", "engine", "every inference fails, until the station ends")
def _engine_broken(plant: Plant, rng: random.Random) -> None:
    with switched(plant, engine_throws=1):
        plant.station_ends(20)


_fails_for_a_moment("engine-nan", "scores are no numbers for a moment", "engine-nan", 0.02, 0.15)
_fails_for_a_moment("engine-slow", "inferences do not end for 0.3 to 1 s", "engine-hangs", 0.3, 1.0)


@kind(
    "engine-turns-blind",
    "engine",
    "the engine says good to everything, until a golden part shows it",
    quick=True,
)
def _engine_turns_blind(plant: Plant, rng: random.Random) -> None:
    first = plant.wire.last_part - 3
    until = time.monotonic() + 4 * plant.setup.canary_s
    with switched(plant, engine_says_good=1):
        while b"not trusted any more" not in _ask(plant, "/status", b""):
            assert time.monotonic() < until, "no golden part showed that the engine says good to everything"
            time.sleep(0.05)
        plant.note("blind", first, plant.wire.last_part)
    _person_activates(plant)


@kind("engine-hangs", "engine", "an inference never ends; the station must notice and end")
def _engine_hangs(plant: Plant, rng: random.Random) -> None:
    with switched(plant, engine_hangs=1):
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
        with switched(plant, engine_says_good=1):
            assert not plant.starts(30), "a station whose engine says good to everything has started"
    finally:
        plant.hold.clear()


@kind("engine-blind-prepared", "engine", "the engine says good to everything when it is prepared: refused")
def _engine_blind_prepared(plant: Plant, rng: random.Random) -> None:
    _ask(plant, "/halt", b'{"reason": "campaign"}')
    until = time.monotonic() + 5
    while b'"in_hand":0' not in _ask(plant, "/status", b"").replace(b" ", b"") and time.monotonic() < until:
        time.sleep(0.05)
    with switched(plant, engine_says_good=1):
        answer = _ask(plant, "/prepare", b'{"recipe": "servo-motor-housing"}', timeout_s=60)
    _person_activates(plant)  # a golden part of the engine in use may have been judged meanwhile
    _ask(plant, "/resume", b"{}")
    if answer.startswith(b"HTTP/1.1 200"):
        raise AssertionError("an engine that says good to everything was prepared")


# ---------------------------------------------------------------------- the disk


switch("disk-slow", "disk", "a sync of the journal takes 0.5 s", "disk-sync-s", 0.5, 0.3, 0.8, quick=True)
switch("disk-very-slow", "disk", "a sync takes 2.5 s, longer than the deadline", "disk-sync-s", 2.5, 0.2, 0.5)


@kind("disk-error", "disk", "writes of the journal fail (EIO), until the station ends")
def _disk_error(plant: Plant, rng: random.Random) -> None:
    with switched(plant, disk_eio=1):
        plant.station_ends(20)


@kind("disk-full", "disk", "the journal's disk is full (ENOSPC), until the station ends")
def _disk_full(plant: Plant, rng: random.Random) -> None:
    with switched(plant, disk_full=1):
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


switch("pictures-full", "disk", "the disk of the pictures is full", "images-full")


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
    with switched(plant, clock_jump_s=float(rng.choice((-1, 1)) * rng.randint(1, 86_400))):
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
