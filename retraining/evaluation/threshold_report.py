"""The trade-off of escapes against overkill as people read it: table, CSV, curve."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from drivers.sorters.interface import Outcome
from retraining.evaluation.proportions import ends, shown
from retraining.evaluation.scored_parts import ScoredPart
from retraining.evaluation.temperature import Temperature, reliability
from retraining.evaluation.thresholds import NEUTRAL, OperatingPoint, verdicts
from retraining.surfaces import SOUND
from station.decision import tempered
from station.outcomes import Outcomes
from station.recipe import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def points_table(points: Sequence[OperatingPoint], chosen: OperatingPoint, recipe: Recipe) -> str:
    """The curve in Markdown, a line per point, with 95 % intervals (Wilson)."""
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
    points: Sequence[OperatingPoint],
    common: Sequence[OperatingPoint],
    chosen: OperatingPoint,
    recipe: Recipe,
    path: Path,
) -> None:
    """One CSV row per point: levels, counts, rates and the ends of their 95 % intervals.

    First the curve, one of its points chosen, then the levels common to all classes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    counts = tuple(field.name for field in fields(Outcomes))
    rates = [f"{rate}{end}" for rate in ("escape_rate", "overkill_rate") for end in ("", "_low", "_high")]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["point", *(f"level {c.name}" for c in recipe.classes[1:]), *counts, *rates])
        named = [("chosen" if point == chosen else "curve", point) for point in points]
        for name, point in [*named, *(("common level", point) for point in common)]:
            row: list[object] = [name, *point.levels, *(getattr(point, c) for c in counts)]
            for rate, count, of in (
                (point.escape_rate, point.escapes, point.defective),
                (point.overkill_rate, point.overkill, point.good),
            ):
                row += [round(v, 5) for v in (rate, *ends(count, of))]
            writer.writerow(row)


def draw_trade_off(
    points: Sequence[OperatingPoint],
    common: Sequence[OperatingPoint],
    chosen: OperatingPoint,
    target: float,
    picture: Path,
    patches: tuple[NDArray[np.float32], NDArray[np.int64]],
    temperature: float,
) -> None:
    """Three panels: overkill against escapes; both against a level common to all classes; reliability."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.4), layout="constrained")
    panels = figure.subplots(1, 3)
    _draw_curve(panels[0], points, chosen, target)
    _draw_common(panels[1], common)
    _draw_reliability(panels[2], *patches, temperature)
    for panel in panels:
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)


def _draw_curve(panel: Axes, points: Sequence[OperatingPoint], chosen: OperatingPoint, target: float) -> None:
    """The trade-off with 95 % intervals as whiskers."""
    x, y = [100 * p.escape_rate for p in points], [100 * p.overkill_rate for p in points]
    across = np.array([[100 * v for v in ends(p.escapes, p.defective)] for p in points]).T
    up = np.array([[100 * v for v in ends(p.overkill, p.good)] for p in points]).T
    panel.errorbar(x, y, xerr=np.abs(across - x), yerr=np.abs(up - y), fmt="o-", lw=1, elinewidth=0.4, ms=4)
    for point in points:
        place = (100 * point.escape_rate, 100 * point.overkill_rate)
        if _is_neutral(point):
            panel.plot(*place, "s", color="tab:gray", ms=9, label="Algorithm 1", zorder=5)
        if point == chosen:
            panel.plot(*place, "*", color="tab:red", ms=14, label="chosen", zorder=6)
    panel.axvline(100 * target, color="tab:red", lw=0.8, ls="--", label="target")
    panel.set_xlabel("escapes, % of defective parts")
    panel.set_ylabel("overkill, % of good parts")


def _draw_common(panel: Axes, common: Sequence[OperatingPoint]) -> None:
    """Escapes and overkill against one level for all classes, sensitive to lenient."""
    odds = [float(np.log(p.levels[0] / (1 - p.levels[0]))) for p in common]
    for name, colour, shares in (
        ("escapes of defective", "tab:red", [(p.escapes, p.defective) for p in common]),
        ("overkill of good", "tab:orange", [(p.overkill, p.good) for p in common]),
    ):
        limits = [[100 * v for v in ends(c, of)] for c, of in shares]
        panel.plot(odds, [100 * c / of for c, of in shares], color=colour, label=name)
        panel.fill_between(
            odds, [e[0] for e in limits], [e[1] for e in limits], color=colour, alpha=0.12, lw=0
        )
    panel.axvline(0.0, color="tab:gray", lw=0.8, label="Algorithm 1")
    ticks = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
    panel.set_xticks([float(np.log(t / (1 - t))) for t in ticks], [f"{t:g}" for t in ticks])
    panel.set_xlabel("the same level for every class")
    panel.set_ylabel("% of parts")


def _draw_reliability(
    panel: Axes, scores: NDArray[np.float32], labels: NDArray[np.int64], temperature: float
) -> None:
    """How far patches earn their confidence (Guo et al., figure 1), before and after."""
    panel.plot([0, 1], [0, 1], color="tab:gray", lw=0.8)
    for name, given in (
        ("as the engine says", np.asarray(scores, np.float64)),
        (f"T = {temperature:g}", tempered(scores, temperature)),
    ):
        bins = reliability(given, labels)
        areas = [20 * (1 + np.log10(count)) ** 2 for _, _, count in bins]
        panel.scatter(
            [sure for sure, _, _ in bins], [right for _, right, _ in bins], areas, alpha=0.6, label=name
        )
    panel.set_xlabel("confidence of a patch (larger: more patches)")
    panel.set_ylabel("share of patches right")


def _is_neutral(point: OperatingPoint) -> bool:
    return all(level == NEUTRAL for level in point.levels)


def _level(level: float) -> str:
    if level == NEUTRAL:
        return "Algorithm 1"
    return f"threshold {level:g}" if level < NEUTRAL else f"release {level:g}"
