"""What proof costs: the first and the following starts of an engine, and its canary while it runs.

``python -m station.bench.proving`` prints seconds per start and milliseconds per step; a part waits for at
most one step. Run it on a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from station.quiet import switch_off


def main() -> None:
    """Open the engine several times with one fresh cache, and judge all golden parts each time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", type=Path, default=Path("engines/servo-motor-housing"))
    parser.add_argument("--recipe", type=Path, default=Path("recipes/servo-motor-housing.yaml"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--starts", type=int, default=4)
    given = parser.parse_args()
    switch_off()
    from station.engines.canary import Canary
    from station.engines.choose import open_chosen
    from station.engines.folder import load_manifest
    from station.engines.interface import EngineOptions
    from station.machine import processor
    from station.recipe import load_recipe

    print(f"{processor()}; {given.threads} threads")
    recipe = load_recipe(given.recipe)
    with tempfile.TemporaryDirectory() as folder:
        options = EngineOptions(threads=given.threads, cache=Path(folder))
        for start in range(given.starts):
            begun = time.perf_counter()
            manifest = load_manifest(given.engine)
            engine, choice = open_chosen(manifest, "auto", "auto", options, recipe)
            canary = Canary(engine, manifest, recipe, period_s=60.0)
            started_s = time.perf_counter() - begun
            steps: list[float] = []
            worked = True
            while worked:
                begun = time.perf_counter()
                worked = canary.step(part_waits=False)
                steps.append((time.perf_counter() - begun) * 1000)
            engine.close()
            median, p99 = np.percentile(steps[:-1], (50, 99))
            print(
                f"start {start + 1} ({'remembered' if start else 'first'}): {started_s:.2f} s with "
                f"{choice.backend} {choice.precision}; all {len(manifest.golden)} golden parts: "
                f"{sum(steps) / 1000:.2f} s in {len(steps) - 1} steps of {median:.1f} ms (p99 {p99:.1f})"
                f"{'; ' + canary.problem if canary.problem else ''}"
            )


if __name__ == "__main__":
    main()
