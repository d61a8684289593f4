"""The trade-off of escapes against overkill as people read it: table, CSV, curve."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivers.sorters.interface import Outcome
from retraining.proportions import ends, shown
from retraining.scored_parts import ScoredPart
from retraining.surfaces import SOUND
from retraining.temperature import Temperature, reliability, tempered
from retraining.thresholds import NEUTRAL, OperatingPoint, verdicts
from station.recipe import Recipe


def points_table(points: Sequence[OperatingPoint], chosen: OperatingPoint, recipe: Recipe) -> str:
    """The curve in Markdown, a line a point, with 95 % intervals (Wilson)."""
    names = [c.name for c in recipe.classes[1:]]
    lines = [
        "| | " + " | ".join(names) + " | escapes of defective | overkill of good | right class |",
        "|---" * (len(names) + 4) + "|",
    ]
    for point in points:
        mark = "**chosen**" if point == chosen else "Algorithm 1" if _is_neutral(point) else ""
        levels = " | ".join(_level(level) for level in point.levels)
        lines.append(
            f"| {mark} | {levels} | {shown(point.escapes, point.defective)} "
            f"| {shown(point.overkill, point.good)} | {shown(point.right, point.parts)} |"
        )
    return "\n".join(lines)


def classes_table(parts: Sequence[ScoredPart], before: Recipe, after: Recipe) -> str:
    """Escapes by class before and after, in Markdown."""
    lines = ["| class | escapes now | escapes with the new numbers |", "|---|---|---|"]
    accepted = [[v.outcome == Outcome.ACCEPT for v in verdicts(parts, recipe)] for recipe in (before, after)]
    for index, entry in enumerate(before.classes):
        own = [n for n, part in enumerate(parts) if index in part.labels]
        if index == SOUND or not own:
            continue
        counts = [sum(found[n] for n in own) for found in accepted]
        lines.append(f"| {entry.name} | {shown(counts[0], len(own))} | {shown(counts[1], len(own))} |")
    return "\n".join(lines)


def temperature_line(found: Temperature) -> str:
    """What the temperature does, in a sentence."""
    return (
        f"Temperature {found.value:g} from {found.patches} patches of known class: negative log-likelihood "
        f"{found.nll_before:.4f} -> {found.nll_after:.4f}, expected calibration error "
        f"{found.ece_before:.4f} -> {found.ece_after:.4f}"
    )


def write_points(
    points: Sequence[OperatingPoint], chosen: OperatingPoint, recipe: Recipe, path: Path
) -> None:
    """One CSV row a point: levels, counts, rates and the ends of their 95 % intervals."""
    path.parent.mkdir(parents=True, exist_ok=True)
    counts = ("parts", "good", "defective", "right", "escapes", "overkill", "faults")
    rates = [f"{rate}{end}" for rate in ("escape_rate", "overkill_rate") for end in ("", "_low", "_high")]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["chosen", *(f"level {c.name}" for c in recipe.classes[1:]), *counts, *rates])
        for point in points:
            row: list[object] = [int(point == chosen), *point.levels, *(getattr(point, c) for c in counts)]
            for rate, count, of in (
                (point.escape_rate, point.escapes, point.defective),
                (point.overkill_rate, point.overkill, point.good),
            ):
                row += [round(v, 5) for v in (rate, *ends(count, of))]
            writer.writerow(row)


def draw_trade_off(
    points: Sequence[OperatingPoint],
    chosen: OperatingPoint,
    target: float,
    picture: Path,
    patches: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None,
    temperature: float = 1.0,
) -> None:
    """Overkill against escapes with 95 % intervals; beside it how far ``patches`` earn their confidence."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11 if patches else 6, 4.4), layout="constrained")
    panels = figure.subplots(1, 2 if patches else 1, squeeze=False)[0]
    panel = panels[0]
    x, y = [100 * p.escape_rate for p in points], [100 * p.overkill_rate for p in points]
    whiskers = [
        np.abs(np.array([[100 * v for v in ends(*share)] for share in shares]).T - middle)
        for shares, middle in (
            ([(p.escapes, p.defective) for p in points], x),
            ([(p.overkill, p.good) for p in points], y),
        )
    ]
    panel.errorbar(x, y, xerr=whiskers[0], yerr=whiskers[1], fmt="o-", lw=1, elinewidth=0.4, ms=4)
    for point in points:
        place = (100 * point.escape_rate, 100 * point.overkill_rate)
        if _is_neutral(point):
            panel.plot(*place, "s", color="tab:gray", ms=9, label="Algorithm 1", zorder=5)
        if point == chosen:
            panel.plot(*place, "*", color="tab:red", ms=14, label="chosen", zorder=6)
    panel.axvline(100 * target, color="tab:red", lw=0.8, ls="--", label="target")
    panel.set_xlabel("escapes, % of defective parts")
    panel.set_ylabel("overkill, % of good parts")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)
    if patches is not None:
        _draw_reliability(panels[1], *patches, temperature)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)


def _draw_reliability(
    panel: object, scores: NDArray[np.float32], labels: NDArray[np.int64], temperature: float
) -> None:
    """The reliability diagram of Guo et al., before and after."""
    from matplotlib.axes import Axes

    assert isinstance(panel, Axes)
    panel.plot([0, 1], [0, 1], color="tab:gray", lw=0.8)
    for name, given in (
        ("as the engine says", scores),
        (f"T = {temperature:g}", tempered(scores, temperature)),
    ):
        bins = reliability(given, labels)
        panel.plot([sure for sure, _, _ in bins], [right for _, right, _ in bins], "o-", ms=4, label=name)
    panel.set_xlabel("confidence of a patch")
    panel.set_ylabel("share of patches right")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)


def _is_neutral(point: OperatingPoint) -> bool:
    return all(level == NEUTRAL for level in point.levels)


def _level(level: float) -> str:
    if level == NEUTRAL:
        return "Algorithm 1"
    return f"threshold {level:g}" if level < NEUTRAL else f"release {level:g}"
