"""Faults around the station: of the wire, the cell and the camera."""

from __future__ import annotations

import random
import signal
import time

from drivers.sorters.messages import Message, TriggerBody
from drivers.sorters.serial.frames import ETX, STX, Decoder, crc32, encode
from simulation.campaign.kind import KINDS, Kind, kind, switch, switched
from simulation.campaign.plant import Plant
from simulation.campaign.wire import TO_CELL, TO_STATION, Spoil

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


# ---------------------------------------------------------------------- cell and camera

switch("cell-silent", "cell", "the cell sends neither triggers nor acknowledgements")
switch("cell-late", "cell", "triggers and acknowledgements are sent 200 ms late")
switch("cell-duplicate", "cell", "triggers and acknowledgements are sent twice")
switch("cell-wrong-part-id", "cell", "acknowledgements name another part")
switch("cell-wrong-bin", "cell", "the gate sticks at the reject bin")
switch("cell-other-recipe", "cell", "the cell asks for a recipe that is not prepared", quick=True)
switch(
    "cell-hasty", "cell", "parts are taken from the camera 20 ms after TRIGGER-ACK", "cell-take-away-ms", 20.0
)


@kind("cell-crowds", "cell", "a burst: twelve parts are triggered one after the other, as fast as it goes")
def _cell_crowds(plant: Plant, rng: random.Random) -> None:
    with switched(plant, cell_in_flight=12):
        time.sleep(rng.uniform(0.2, 0.8))


@kind(
    "cell-swaps-while-stopped", "cell", "parts are taken away early while the station stands still for 0.4 s"
)
def _cell_swaps_while_stopped(plant: Plant, rng: random.Random) -> None:
    with switched(plant, cell_take_away_ms=170.0):
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


switch("camera-black", "camera", "frames are black", quick=True)
switch("camera-white", "camera", "frames are white")
switch("camera-saturated", "camera", "the light is six times too bright")
switch("camera-dark", "camera", "the light is off but for a glimmer")
switch("camera-dimmed", "camera", "the light has lost a fifth to two thirds")
switch("camera-truncated", "camera", "the turn stops early, the frame says that it is complete", quick=True)
switch("camera-frozen-lines", "camera", "one line is repeated for a part of the turn")
switch("camera-repeated-block", "camera", "a block of lines is delivered twice")
switch("camera-flat-grey", "camera", "the product has no texture")
switch(
    "camera-half-product",
    "camera",
    "a side of the product is black, so that a narrower one seems to stand there",
)
switch("camera-pushed-out", "camera", "the product stands partly outside the view")
switch("camera-wrong-size", "camera", "frames are half as high")
switch("camera-robot", "camera", "the robot that has set the part down still stands in the view")
switch("camera-standing", "camera", "the jig does not turn: every line shows the same place of the part")
switch("camera-blurred", "camera", "the focus is lost")
switch("camera-noisy", "camera", "noise of 5 to 25 grey levels")
switch("camera-hot-pixels", "camera", "200 hot pixels")
switch("camera-incomplete", "camera", "half of the lines are missing, and the camera says so")
switch("camera-lost-frame", "camera", "frames are lost in transfer", quick=True)
switch("camera-blind", "camera", "triggers do not reach the sensor: no exposure, no frame")
switch("camera-late", "camera", "frames come 300 ms late", value=0.3)
switch("camera-very-late", "camera", "frames come after the time that a frame may take", "camera-late", 0.7)
switch("camera-twice", "camera", "frames are delivered twice")
switch(
    "camera-hangs-briefly", "camera", "a grab does not return for half a second", "camera-hang", 1.0, 0.3, 0.7
)


@kind("camera-gone", "camera", "the camera is unplugged and can be opened again after 0.1 to 1 s", quick=True)
def _camera_gone(plant: Plant, rng: random.Random) -> None:
    away_s = rng.uniform(0.1, 1.0)
    with switched(plant, camera_gone=away_s):
        time.sleep(0.15)
    time.sleep(away_s)


@kind("camera-hangs", "camera", "a grab never returns; the station must notice and end")
def _camera_hangs(plant: Plant, rng: random.Random) -> None:
    with switched(plant, camera_hang=1):
        plant.station_ends(20)
