"""Two runs of ``station bench`` compared by pairs of rounds: did a change make the station faster?

The runs are hours or days apart, and a virtual machine is not as fast on each day. So each run measures the
processor's limit in every round, beside its paths, and what is compared is a path's share of that limit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from drivers.errors import InspectionError, explain_os_error
from station.bench.releases import Ratio
from station.bench.verdicts import Timing


class RunError(InspectionError):
    """Two runs cannot be compared; the message says why."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What must be the same in both runs."""

    machine: str
    threads: int
    recipe: str


@dataclass(frozen=True, slots=True)
class Rounds:
    """The rounds of one run, as its JSON file has them."""

    paces: Mapping[str, Sequence[float]]
    """Parts per second of each round, by path."""
    limits: Sequence[float]
    """The processor's limit in each round, 10^9 multiply-accumulates per second; empty: not measured."""


def rounds_of(timings: Sequence[Timing], limits: Sequence[float]) -> Rounds:
    """The rounds of the run that has just ended."""
    return Rounds({timing.name: timing.paces for timing in timings}, limits)


def read_run(path: Path, here: Conditions) -> Rounds:
    """The rounds of an earlier run under the same conditions. Raises :class:`RunError`."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        paces = {str(one["name"]): [float(pace) for pace in one["paces"]] for one in document["paths"]}
        limits = [float(limit) for limit in document["limit_gmacs_per_s"]]
        there = Conditions(str(document["machine"]), int(document["threads"]), str(document["recipe"]))
    except OSError as error:
        raise RunError(f"{path} cannot be read: {explain_os_error(error)}") from None
    except (ValueError, TypeError, KeyError):
        raise RunError(
            f"{path} is no file that `station bench --json` of this version has written; run it again"
        ) from None
    for what, mine, its in (
        ("hardware", here.machine, there.machine),
        ("threads", here.threads, there.threads),
        ("products", here.recipe, there.recipe),
    ):
        if mine != its:
            raise RunError(
                f"{path} was measured with other {what} ({its}; here: {mine}), so that a ratio would say "
                "nothing of the software; measure both runs alike"
            )
    figures = [*limits, *(pace for each in paces.values() for pace in each)]
    if not paces or not all(paces.values()) or not all(0 < figure < math.inf for figure in figures):
        raise RunError(f"{path} has a path without parts per second; run `station bench --json` again")
    if limits and {len(limits)} != {len(each) for each in paces.values()}:
        raise RunError(f"{path} has not one limit for each round; run `station bench --json` again")
    return Rounds(paces, limits)


def compare_runs(here: Rounds, there: Rounds) -> list[Ratio]:
    """Paths that both runs measured; the ratio is that of the shares of the limit, round by round.

    Where a run has no limit, parts per second are compared as they are. Raises :class:`RunError`.
    """
    common = [name for name in here.paces if name in there.paces]
    if not common:
        raise RunError(f"no path was measured in both runs; the earlier one has {', '.join(there.paces)}")
    by_limit = bool(here.limits) and bool(there.limits)

    def shares(run: Rounds, name: str) -> list[float]:
        paces = run.paces[name]
        return [p / limit for p, limit in zip(paces, run.limits, strict=True)] if by_limit else list(paces)

    return [
        Ratio(
            name,
            median(here.paces[name]),
            median(there.paces[name]),
            median(mine / its for mine, its in zip(shares(here, name), shares(there, name), strict=False)),
        )
        for name in common
    ]
