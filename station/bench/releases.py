"""Two checkouts of this software beside each other: does a change make the station slower?

Each round runs ``station bench`` in a fresh process of either checkout, and the order changes from round to
round, so that a machine that grows warm or busy does so for both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from drivers.errors import InspectionError


class ReleaseError(InspectionError):
    """The other checkout cannot be measured; the message says why."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """One path (back end and precision) in both checkouts; medians over the rounds."""

    name: str
    here: float
    """Parts per second of this checkout."""
    there: float
    """Parts per second of the other one."""
    ratio: float
    """Median over the rounds of here / there; below 1 this checkout is slower."""


def compare_releases(
    other: Path,
    *,
    rounds: int,
    seconds: float,
    first: Path | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Ratio]:
    """Measure ``first`` (this checkout when None) and ``other`` in turn. Raises :class:`ReleaseError`."""
    here = first or Path(__file__).resolve().parents[2]
    if not (other / "station" / "cli" / "__main__.py").is_file():
        raise ReleaseError(
            f"{other} is not a checkout of this software, nor the file of a run: name the folder that "
            "contains station/, or a file that `station bench --json` has written"
        )
    paces: dict[Path, dict[str, list[float]]] = {here: {}, other: {}}
    for number in range(rounds):
        order = (here, other) if number % 2 == 0 else (other, here)
        for checkout in order:
            progress(f"round {number + 1} of {rounds}: {'this checkout' if checkout == here else other}")
            for name, pace in _measured(checkout, seconds).items():
                paces[checkout].setdefault(name, []).append(pace)
    common = [name for name in paces[here] if name in paces[other]]
    if not common:
        raise ReleaseError(f"no back end was measured in both this checkout and {other}")
    return [
        Ratio(
            name,
            median(paces[here][name]),
            median(paces[other][name]),
            median(mine / its for mine, its in zip(paces[here][name], paces[other][name], strict=False)),
        )
        for name in common
    ]


def _measured(checkout: Path, seconds: float) -> dict[str, float]:
    """Parts per second by path, from one ``station bench`` in the checkout."""
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "bench.json"
        command = [
            sys.executable, "-m", "station.cli", "bench", "--no-rivals",
            "--rounds", "1", "--seconds", str(seconds), "--json", str(figures),
        ]  # fmt: skip
        # An older checkout may not keep OpenVINO from sending; this is the package's own switch.
        surroundings = os.environ | {"PYTHONPATH": str(checkout), "CI": "true"}
        done = subprocess.run(command, cwd=checkout, env=surroundings, capture_output=True, text=True)
        if done.returncode != 0 or not figures.is_file():
            last = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise ReleaseError(f"`station bench` failed in {checkout}: {' '.join(last)}")
        paths = json.loads(figures.read_text(encoding="utf-8"))["paths"]
    return {path["name"]: float(path["parts_per_s"]) for path in paths}
