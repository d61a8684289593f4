"""The fault campaign: every kind so many times at random moments, under load, and what came of it.

A folder holds one campaign. Each injection is a line of ``injections.jsonl``; a campaign that was broken off
goes on behind the last one. What is random comes from the seed, the kind's name and the injection's number.
"""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drivers.sorters.serial.frames import Decoder
from simulation.campaign.checker import Violation, blind_accepts, check, clean_outcomes, read_evidence
from simulation.campaign.kinds import Kind
from simulation.campaign.plant import DEADLINE_MS, GOOD_BIN, Plant, PlantError, Setup

PATIENCE_S = 40.0
"""So long a plant may take to work again; longer is a failure of its own."""
START_S = 300.0


@dataclass(frozen=True, slots=True)
class Injection:
    """One fault that was made to happen, and how the plant came back."""

    kind: str
    number: int
    first_part: int
    """The first part that can have met the fault."""
    lasted_s: float
    recovery_s: float | None
    """From the counterpart's return until a good part that was triggered later lay in the good bin."""
    ends: list[int]
    """Exit codes of the station meanwhile; it was started again each time."""
    failure: str = ""
    """What the injection itself found wrong."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """All that a campaign has found."""

    seed: int
    injections: Sequence[Injection]
    violations: Sequence[tuple[str, Violation]]
    """With the kind that was going on."""
    counts: dict[str, dict[str, int]]
    """Kind -> outcome -> parts."""
    known_escapes: int
    """Defective pictures of the pool that the engine accepts when nothing is wrong."""
    pictures: int
    exit_code: int
    """Of the station's last, clean stop."""
    blind_accepts: int
    """Defective parts that a failed engine got accepted until a golden part showed it."""


Tell = Callable[[Injection], None]


def run_campaign(
    folder: Path,
    kinds: Sequence[Kind],
    *,
    times: int,
    seed: int,
    setup: Setup | None = None,
    tell: Tell = lambda injection: None,
    rendered: Callable[[int, int], None] = lambda done, total: None,
) -> Campaign:
    """Inject, recover, check. Raises :class:`PlantError` when the plant does not come to work at all."""
    plant = Plant(folder, setup)
    plant.make(rendered)
    log = folder / "injections.jsonl"
    done = [Injection(**line) for line in _read(log)]
    with running(plant) as stop:
        clean = clean_outcomes_of(plant)
        for kind in kinds:
            for number in range(min(times, kind.times or times)):
                if any((one.kind, one.number) == (kind.name, number) for one in done):
                    continue
                injection = _inject(plant, kind, number, seed)
                done.append(injection)
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(injection)) + "\n")
                tell(injection)
        exit_code = stop()
    return _judged(plant, done, clean, seed, exit_code)


@contextmanager
def running(plant: Plant) -> Iterator[Callable[[], int]]:
    """The plant at work, all good parts coming through."""
    try:
        plant.start()
        if plant.wire.good_after(time.monotonic_ns(), START_S) is None:
            raise PlantError(f"no part was accepted within {START_S:g} s; see {plant.folder / 'station.log'}")
        yield plant.stop
    finally:
        plant.close()


def clean_outcomes_of(plant: Plant) -> list[str]:
    """What the station says about each picture of the pool while nothing is wrong; known once per folder."""
    known = plant.folder / "clean.json"
    if known.exists():
        found: list[str] = json.loads(known.read_text(encoding="utf-8"))
        return found
    assert plant.cell is not None
    pictures, until = len(plant.truths), time.monotonic() + START_S
    while True:
        parts = plant.cell.parts()
        if len(parts) >= 2 * pictures:
            with contextlib.suppress(ValueError):
                found = clean_outcomes(parts, pictures)
                break
        if time.monotonic() > until:
            raise PlantError(
                f"without faults the parts have no steady outcomes; see {plant.folder / 'station.log'}"
            )
        time.sleep(0.1)
    known.write_text(json.dumps(found), encoding="utf-8")
    return found


def _inject(plant: Plant, kind: Kind, number: int, seed: int) -> Injection:
    chance = random.Random(f"{seed} {kind.name} {number}")
    time.sleep(chance.uniform(0.0, 0.25))
    ends = len(plant.ends)
    first_part = max(1, plant.wire.last_part - 3)
    began = time.monotonic()
    failure = ""
    try:
        kind.inject(plant, chance)
    except (AssertionError, OSError) as error:
        failure = str(error) or repr(error)
    finally:
        plant.switches.set({})
    ended_ns, ended = time.monotonic_ns(), time.monotonic()
    good_ns = plant.wire.good_after(ended_ns, PATIENCE_S)
    if good_ns is None:
        failure = failure or f"no good part for {PATIENCE_S:g} s; see {_standstill(plant, kind, number)}"
        plant.kill_station()  # so that the next kind finds a plant that works
        plant.wire.good_after(time.monotonic_ns(), PATIENCE_S)
    return Injection(
        kind.name,
        number,
        first_part,
        round(ended - began, 3),
        None if good_ns is None else round((good_ns - ended_ns) / 1e9, 3),
        [code for _, code in plant.ends[ends:]],
        failure,
    )


def _standstill(plant: Plant, kind: Kind, number: int) -> Path:
    """Write down what can be seen of a plant that does not come back; returns the file."""
    path = plant.folder / f"standstill-{kind.name}-{number}.txt"
    lines = [
        f"{ns} {direction} {Decoder().feed(piece) or piece!r}"
        for ns, direction, piece in list(plant.wire.traffic)  # it goes on meanwhile
    ]
    alive = [
        str(process and process.poll()) for process in (plant.station, plant.cell and plant.cell.process)
    ]
    code, status = plant.order("status")
    path.write_text(
        "\n".join([f"station, cell: {alive}", f"status {code}: {status}", *lines]), encoding="utf-8"
    )
    return path


def _judged(
    plant: Plant, injections: Sequence[Injection], clean: Sequence[str], seed: int, exit_code: int
) -> Campaign:
    """Everything checked against everything, after the clean stop."""
    evidence = read_evidence(plant.folder, plant.journal, clean, deadline_ms=DEADLINE_MS, good_bin=GOOD_BIN)
    blind = plant.noted("blind")
    found = check(evidence, all_settled=True, lost_records=plant.noted("lost"), blind=blind)
    ordered = sorted(injections, key=lambda one: one.first_part)
    counts: dict[str, Counter[str]] = {}
    for record in evidence.records:
        kind = _kind_of(record.part_id, ordered)
        counts.setdefault(kind, Counter())[record.outcome or "open"] += 1
    truths = plant.truths
    escapes = sum(
        said == "accept" and truth != "defect-free" for said, truth in zip(clean, truths, strict=True)
    )
    return Campaign(
        seed,
        injections,
        [(_kind_of(one.part_id, ordered), one) for one in found],
        {name: dict(count) for name, count in counts.items()},
        escapes,
        len(truths),
        exit_code,
        blind_accepts(evidence, blind),
    )


def _kind_of(part_id: int, ordered: Sequence[Injection]) -> str:
    """The kind that went on when a part was made."""
    name = "no fault"
    for one in ordered:
        if one.first_part > part_id:
            break
        name = one.kind
    return name


def _read(log: Path) -> list[dict[str, Any]]:
    if not log.exists():
        return []
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
