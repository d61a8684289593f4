"""The soak: an hour at the usual pace; memory, threads, descriptors and temporary files must stay flat."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from simulation.campaign.chart import line_charts
from simulation.campaign.checker import check, read_evidence
from simulation.campaign.plant import DEADLINE_MS, GOOD_BIN, Plant, Setup
from simulation.campaign.run import clean_outcomes_of, running

WARM_UP = 0.1
"""The share of the time that is not judged: caches fill, allocators settle."""
MB_PER_HOUR = 20.0
"""More growth than this, by the fitted line, is a leak; an hour of parts is 20,000."""

POINTS = 120
"""Of each line of the chart, about."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at one process."""

    at_s: float
    process: str
    rss_mb: float
    pss_mb: float
    threads: int
    descriptors: int
    files: int
    """Temporary files of the plant, the same for all processes."""


@dataclass(frozen=True, slots=True)
class Trend:
    """How one quantity of one process went."""

    process: str
    quantity: str
    first: float
    """Median of the first tenth after the warm-up."""
    last: float
    """Median of the last tenth."""
    most: float
    per_hour: float
    """Slope of the fitted line."""
    flat: bool


def run_soak(
    folder: Path,
    seconds: float,
    *,
    rate_hz: float,
    every_s: float = 5.0,
    tell: Callable[[float], None] = lambda now: None,
) -> list[Sample]:
    """Run the plant and look at its processes. Raises ``PlantError``."""
    plant = Plant(folder, Setup(rate_hz=rate_hz))
    plant.make()
    samples: list[Sample] = []
    with running(plant) as stop:
        clean = clean_outcomes_of(plant)
        started = time.monotonic()
        log = folder / "samples.jsonl"
        while (now := time.monotonic() - started) < seconds:
            fresh = _look(plant, now)
            samples += fresh
            with log.open("a", encoding="ascii") as file:
                file.writelines(json.dumps(asdict(one)) + "\n" for one in fresh)
            tell(now)
            time.sleep(every_s)
        code = stop()
    evidence = read_evidence(plant.folder, plant.journal, clean, deadline_ms=DEADLINE_MS, good_bin=GOOD_BIN)
    found = check(evidence, all_settled=True)
    faulted = sum(record.outcome == "fault" for record in evidence.records)
    (folder / "soak.json").write_text(
        json.dumps(
            {
                "parts": len(evidence.records),
                "faulted": faulted,
                "violations": [asdict(one) for one in found],
                "restarts": len(plant.ends),
                "exit_code": code,
            }
        )
    )
    return samples


def trends(samples: Sequence[Sample]) -> list[Trend]:
    """Every quantity of every process, and whether it is flat."""
    found = []
    for process in dict.fromkeys(one.process for one in samples):
        own = [one for one in samples if one.process == process]
        own = own[int(len(own) * WARM_UP) :]
        hours = np.array([one.at_s for one in own]) / 3600
        for quantity in ("rss_mb", "pss_mb", "threads", "descriptors", "files"):
            values = np.array([float(getattr(one, quantity)) for one in own])
            tenth = max(1, len(values) // 10)
            slope = float(np.polyfit(hours, values, 1)[0]) if len(values) > 2 else 0.0
            first, last = float(np.median(values[:tenth])), float(np.median(values[-tenth:]))
            grown = last - first
            if quantity.endswith("_mb"):
                flat = slope < MB_PER_HOUR and grown < max(MB_PER_HOUR, 0.05 * first)
            else:
                flat = grown <= 1
            found.append(Trend(process, quantity, first, last, float(values.max()), slope, flat))
    return found


def table(found: Sequence[Trend]) -> list[str]:
    """Markdown."""
    lines = [
        "| process | quantity | first | last | most | per hour | flat |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.process} | {one.quantity.replace('_mb', ', MB')} | {one.first:.1f} | {one.last:.1f} "
        f"| {one.most:.1f} | {one.per_hour:+.1f} | {'yes' if one.flat else 'NO'} |"
        for one in found
    ]
    return lines


def chart(samples: Sequence[Sample]) -> str:
    """Memory, threads and descriptors over time, as SVG."""
    processes = list(dict.fromkeys(one.process for one in samples))
    times = sorted({one.at_s for one in samples})
    times = times[:: max(1, len(times) // POINTS)]
    by_key = {(one.process, one.at_s): one for one in samples}
    whole = [name for name in processes if all((name, at) in by_key for at in times)]
    panels = {"PSS, MB": "pss_mb", "threads": "threads", "descriptors": "descriptors"}
    return line_charts(
        "A station at its usual pace",
        [at / 3600 for at in times],
        {
            title: {name: [float(getattr(by_key[name, at], quantity)) for at in times] for name in whole}
            for title, quantity in panels.items()
        },
    )


def _look(plant: Plant, at_s: float) -> list[Sample]:
    assert plant.station is not None
    assert plant.cell is not None
    processes = {"station": plant.station.pid, "cell": plant.cell.process.pid}
    if (watcher := plant.watcher()) is not None:
        processes["watcher"] = watcher
    files = sum(1 for path in plant.temporary.rglob("*") if path.is_file())
    found = []
    for name, pid in processes.items():
        with suppress(OSError):
            found.append(_sample(name, pid, at_s, files))
    return found


def _sample(name: str, pid: int, at_s: float, files: int) -> Sample:
    proc = Path(f"/proc/{pid}")
    kb = {}
    for line in (proc / "smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        key, value, *_ = line.split()
        kb[key.rstrip(":")] = int(value)
    return Sample(
        round(at_s, 1),
        name,
        round(kb["Rss"] / 1024, 1),
        round(kb["Pss"] / 1024, 1),
        len(list((proc / "task").iterdir())),
        len(list((proc / "fd").iterdir())),
        files,
    )
