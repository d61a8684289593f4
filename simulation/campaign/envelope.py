"""The operating envelope: one quantity after the other is made worse; what becomes of the parts is counted.

All else stays as it is: six parts per second, three in flight, the plant's own light and disk. For each step
a plant runs some seconds; parts are counted whose trigger came in them.

* **stable**: every good part is accepted, none refused or late, and the cell's pace is kept;
* **degrades**: some good parts are faulted, refused or judged defective, or the pace is not kept;
* **fails**: most good parts are not accepted.

A defective part that is accepted is counted beside it: the station fails *closed* only where there is none.
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulation.campaign.plant import Plant, Setup
from simulation.campaign.run import running

SECONDS = 5.0
SETTLES_S = 1.0
BASE: dict[str, Any] = {"rate_hz": 6.0, "in_flight": 3}
STABLE_SHARE, FAILS_SHARE, PACE_SHARE = 1.0, 0.5, 0.95


@dataclass(frozen=True, slots=True)
class Step:
    """One value of one quantity."""

    value: str
    cell: Mapping[str, Any] = field(default_factory=dict)
    switches: Mapping[str, float] = field(default_factory=dict)
    watchers: int = 0
    """Programs that ask the control socket for the status, twenty times per second each."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One quantity that is made worse."""

    name: str
    steps: Sequence[Step]
    setup: Setup = field(default_factory=Setup)


@dataclass(frozen=True, slots=True)
class Reading:
    """What became of the parts of one step."""

    quantity: str
    value: str
    state: str
    parts_per_s: float
    accepted: float
    """The share of good parts that were accepted."""
    escapes: int
    faulted: int
    refused: int
    p50_ms: float
    p99_ms: float
    why: str
    """The most frequent reason of a part that was not judged."""


def _steps(name: str, values: Sequence[float], unit: str, **cell: Any) -> list[Step]:
    return [Step(f"{value:g} {unit}", cell={name: value, **cell}) for value in values]


def _switched(name: str, values: Sequence[float], unit: str) -> list[Step]:
    return [Step(f"{value:g} {unit}", switches={name: value}) for value in values]


def axes() -> list[Axis]:
    """All quantities, each from harmless to hopeless."""
    frames = [("1010 x 3648", 160), ("2690 x 3648", 1000), ("4690 x 3648", 2000)]
    return [
        Axis(
            "pace asked for", _steps("rate_hz", (2, 5.8, 10, 15, 25, 0), "parts/s (0: as fast as possible)")
        ),
        Axis("parts in flight", _steps("in_flight", (1, 2, 3, 4, 8, 16), "parts", rate_hz=0.0)),
        *(
            Axis("frame size", [Step(f"{size} px", cell={"rate_hz": 0.0})], Setup(margin=margin))
            for size, margin in frames
        ),
        *(
            Axis("observers", [Step(name, cell={"rate_hz": 0.0})], setup)
            for name, setup in (
                ("none", Setup(images="save: none")),
                ("pictures of rejects", Setup()),
                ("pictures of rejects, log of rare parts", Setup(keeps_rare=True)),
            )
        ),
        Axis("light", _switched("camera-light-by", (1.0, 0.8, 0.6, 0.4, 0.2, 0.1, 1.3, 1.6, 2.0), "x")),
        Axis("blur", _switched("camera-blur-px", (0.5, 1.0, 1.5, 2.0, 3.0, 5.0), "px (sigma)")),
        Axis("noise", _switched("camera-noise-levels", (1, 2, 4, 8, 16), "grey levels (sigma)")),
        Axis(
            "disk: a sync takes longer by", _switched("disk-sync-s", (0.005, 0.02, 0.05, 0.2, 0.5, 2.5), "s")
        ),
        Axis("cell: time until a message is sent", _late_cell((10, 50, 150, 400, 1000))),
        Axis("cell: time it waits for a verdict", _steps("verdict_ms", (1000, 300, 150, 80, 40), "ms")),
        Axis("status clients", [Step(f"{n} clients", watchers=n) for n in (0, 1, 4, 16, 64)]),
    ]


def _late_cell(values: Sequence[float]) -> list[Step]:
    return [Step(f"{value:g} ms", switches={"cell-late": 1.0, "cell-late-ms": value}) for value in values]


def measure(
    folder: Path, chosen: Sequence[Axis], *, seconds: float = SECONDS, tell: Callable[[Reading], None]
) -> list[Reading]:
    """Run every step of every axis. Raises ``PlantError``."""
    readings: list[Reading] = []
    for number, group in enumerate(_by_setup(chosen)):
        plant = Plant(folder / f"plant-{number}", group[0].setup)
        plant.make()
        with running(plant) as stop:
            for axis in group:
                for step in axis.steps:
                    reading = _read(plant, axis.name, step, seconds)
                    readings.append(reading)
                    tell(reading)
            stop()
    order = [axis.name for axis in chosen]
    return sorted(readings, key=lambda reading: order.index(reading.quantity))


def _by_setup(chosen: Sequence[Axis]) -> list[list[Axis]]:
    groups: dict[Setup, list[Axis]] = {}
    for axis in chosen:
        groups.setdefault(axis.setup, []).append(axis)
    return list(groups.values())


def _read(plant: Plant, quantity: str, step: Step, seconds: float) -> Reading:
    cell = BASE | dict(step.cell)
    plant.switches.set({})
    plant.kill_cell()
    plant.start_cell(**cell)
    plant.wire.good_after(time.monotonic_ns(), 20)
    plant.switches.set(step.switches)
    with _asking(plant, step.watchers):
        time.sleep(SETTLES_S)
        began = time.monotonic_ns()
        time.sleep(seconds)
        ended = time.monotonic_ns()
        parts = _parts_between(plant, began, ended)
    plant.switches.set({})
    return judge(quantity, step.value, parts, plant.truths, seconds, float(cell["rate_hz"]))


def _parts_between(plant: Plant, began: int, ended: int) -> list[dict[str, Any]]:
    """The cell's lines about the parts that were triggered in this time, when it has sorted them all."""
    assert plant.cell is not None
    until = time.monotonic() + 3.5
    while True:
        parts = plant.cell.parts()
        later = [part["part_id"] for part in parts if part["triggered_ns"] >= ended]
        known = {part["part_id"] for part in parts}
        is_whole = bool(later) and all(number in known for number in range(min(known), min(later)))
        if is_whole or time.monotonic() > until:
            return [part for part in parts if began <= part["triggered_ns"] < ended]
        time.sleep(0.1)


def judge(
    quantity: str,
    value: str,
    parts: Sequence[Mapping[str, Any]],
    truths: Sequence[str],
    seconds: float,
    rate_hz: float,
) -> Reading:
    """What the cell's own lines about the parts of one step say."""
    good = [part for part in parts if truths[(part["part_id"] - 1) % len(truths)] == "defect-free"]
    accepted = sum(part["outcome"] == "accept" for part in good)
    escapes = sum(part["outcome"] == "accept" for part in parts) - accepted
    unjudged = [part for part in parts if part["outcome"] not in ("accept", "reject")]
    times = sorted(part["latency_ms"] for part in parts if part["outcome"] is not None)
    reasons = Counter(_plain(part["reason"] or part["why"]) for part in unjudged)
    share = accepted / len(good) if good else 0.0
    pace = len(parts) / seconds
    refused = sum(part["refusals"] for part in parts)
    keeps_pace = not rate_hz or pace >= PACE_SHARE * rate_hz
    if share >= STABLE_SHARE and keeps_pace and not refused and not unjudged:
        state = "stable"
    elif share >= FAILS_SHARE:
        state = "degrades"
    else:
        state = "fails"
    last = len(times) - 1
    return Reading(
        quantity,
        value,
        state,
        round(pace, 1),
        round(share, 3),
        escapes,
        len(unjudged),
        refused,
        round(times[last // 2], 0) if times else 0.0,
        round(times[int(0.99 * last)], 0) if times else 0.0,
        reasons.most_common(1)[0][0] if reasons else ("the pace is not kept" if not keeps_pace else ""),
    )


def _plain(reason: str) -> str:
    """A reason without its numbers, so that the same ones are counted together."""
    return "".join("#" if sign.isdigit() else sign for sign in reason).replace("##", "#").replace("##", "#")


@contextmanager
def _asking(plant: Plant, clients: int) -> Iterator[None]:
    done = threading.Event()
    address = plant.journal.with_suffix(".sock")

    def ask() -> None:
        while not done.wait(0.05):
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
                client.settimeout(1.0)
                client.connect(str(address))
                client.sendall(b"GET /status HTTP/1.1\r\nHost: station\r\nConnection: close\r\n\r\n")
                while client.recv(65536):
                    pass

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


def table(readings: Sequence[Reading]) -> list[str]:
    """Markdown, one row per step."""
    lines = [
        "| quantity | value | state | parts/s | good parts accepted | escapes | not judged | refused "
        "| p50 / p99, ms | what shows |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    before = ""
    for one in readings:
        name = one.quantity if one.quantity != before else ""
        before = one.quantity
        times = f"{one.p50_ms:.0f} / {one.p99_ms:.0f}"
        counts = f"{one.accepted:.0%} | {one.escapes} | {one.faulted} | {one.refused} | {times}"
        lines.append(f"| {name} | {one.value} | {one.state} | {one.parts_per_s:g} | {counts} | {one.why} |")
    return lines


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for the plants of one measurement."""
    return tempfile.TemporaryDirectory(prefix="envelope-")
