"""Faults of cameras that the station reaches by their real libraries, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time

from simulation.campaign.cameras import GigeOnCable
from simulation.campaign.kind import kind, switch, switched
from simulation.campaign.plant import Plant

ARAVIS, HARVESTERS = ("aravis",), ("harvesters",)
REAL = ARAVIS + HARVESTERS


def _camera(plant: Plant) -> subprocess.Popen[str]:
    assert plant.camera is not None, "the camera has no process of its own; use --camera"
    return plant.camera.camera.process


def _off(plant: Plant, for_s: float) -> None:
    assert plant.camera is not None, "the camera has no process of its own; use --camera"
    plant.camera.camera.kill()
    time.sleep(for_s)
    plant.camera.camera.start()


@kind("camera-restarts", "genicam", "the camera is switched off and on", quick=True, cameras=REAL)
def _camera_restarts(plant: Plant, rng: random.Random) -> None:
    _off(plant, rng.uniform(0.0, 0.5))


@kind("camera-away", "genicam", "the camera is without power for two to four seconds", cameras=REAL)
def _camera_away(plant: Plant, rng: random.Random) -> None:
    _off(plant, rng.uniform(2.0, 4.0))


@kind("camera-stands-still", "genicam", "the camera answers nothing for up to 1.5 s", cameras=REAL)
def _camera_stands_still(plant: Plant, rng: random.Random) -> None:
    _camera(plant).send_signal(signal.SIGSTOP)
    time.sleep(rng.uniform(0.1, 1.5))
    _camera(plant).send_signal(signal.SIGCONT)


@kind(
    "library-crashes",
    "genicam",
    "the camera's library ends its process, and the camera may believe that it is still held",
    quick=True,
    cameras=REAL,
)
def _library_crashes(plant: Plant, rng: random.Random) -> None:
    process = plant.camera_process()
    if process is not None:
        os.kill(process, signal.SIGKILL)


@kind("library-hangs", "genicam", "the camera's library does not return for up to 3 s", cameras=REAL)
def _library_hangs(plant: Plant, rng: random.Random) -> None:
    process = plant.camera_process()
    if process is None:
        return
    os.kill(process, signal.SIGSTOP)
    time.sleep(rng.uniform(0.2, 3.0))
    with contextlib.suppress(ProcessLookupError):  # it was ended meanwhile
        os.kill(process, signal.SIGCONT)


# ---------------------------------------------------------------------- GigE Vision


def _cut(plant: Plant, for_s: float) -> None:
    assert isinstance(plant.camera, GigeOnCable), "the camera is on no cable; use --camera aravis"
    plant.camera.cut()
    time.sleep(for_s)
    plant.camera.mend()


@kind("gige-cable-cut", "genicam", "the camera's cable is cut for two seconds", cameras=ARAVIS)
def _gige_cable_cut(plant: Plant, rng: random.Random) -> None:
    _cut(plant, 2.0)


@kind("gige-cable-cut-long", "genicam", "the camera's cable is cut for seven seconds", cameras=ARAVIS)
def _gige_cable_cut_long(plant: Plant, rng: random.Random) -> None:
    _cut(plant, 7.0)


@kind("gige-packets-lost", "genicam", "one packet in a thousand is lost on the way", cameras=ARAVIS)
def _gige_packets_lost(plant: Plant, rng: random.Random) -> None:
    with switched(plant, packets_lost=0.001):
        time.sleep(rng.uniform(0.5, 1.5))


@kind(
    "gige-packets-lost-in-all",
    "genicam",
    "every frame loses a tenth of its packets",
    quick=True,
    cameras=ARAVIS,
)
def _gige_packets_lost_in_all(plant: Plant, rng: random.Random) -> None:
    with switched(plant, packets_lost=0.1):
        time.sleep(rng.uniform(0.2, 0.8))


# ---------------------------------------------------------------------- a GenTL producer


def _of_producer(name: str, says: str, least_s: float, most_s: float, *, quick: bool = False) -> None:
    """A kind that is a switch of ``simulation/genicam/gentl.c`` or of its camera."""
    switch(name, "genicam", says, "", 1.0, least_s, most_s, quick=quick, cameras=HARVESTERS)


_of_producer("gentl-short", "half of the lines of each frame is missing, and the producer says so", 0.2, 0.8)
_of_producer("gentl-silent", "the producer delivers no frames, and the camera answers", 0.2, 1.0)
_of_producer("gentl-hang", "a call of the producer does not return for up to three seconds", 0.2, 3.0)
_of_producer("gentl-crash", "each call of the producer for a frame ends its process", 0.1, 1.0, quick=True)
