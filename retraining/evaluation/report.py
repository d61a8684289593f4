"""Evaluation results as people read them: Markdown tables and the curve of detection."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from drivers.sorters.interface import Outcome
from retraining.evaluation.parts import PartResult, figures
from retraining.evaluation.proportions import ends
from station.outcomes import Outcomes

VISIBILITY_EDGES = (0.0, 4.0, 5.0, 6.0, 7.5, 9.0, 12.0, 16.0, 1000.0)
"""Signal over texture at the network's scale, see simulation/rendering/visibility.py."""
CONTRAST_EDGES = (0.0, 6.0, 9.0, 12.0, 16.0, 22.0, 30.0, 256.0)
"""Grey levels in the frame: mean absolute difference inside the mask."""
SIZE_EDGES = (0.0, 20.0, 40.0, 80.0, 160.0, 320.0, 10_000.0)
"""px in the frame, longest side."""


def figures_table(rows: Mapping[str, Outcomes]) -> str:
    """One line per engine."""
    lines = [
        "| engine | parts | accuracy | escapes of defective | overkill of good | faults | of them good |",
        "|---|---|---|---|---|---|---|",
    ]
    for engine, f in rows.items():
        lines.append(
            f"| {engine} | {f.parts} | {f.accuracy:.2%} "
            f"| {f.escapes} of {f.defective} ({f.escape_rate:.2%}) "
            f"| {f.overkill} of {f.good} ({f.overkill_rate:.2%}) | {f.faults} | {f.good_faults} |"
        )
    return "\n".join(lines)


def confusion_table(results: list[PartResult], engine: str, classes: tuple[str, ...]) -> str:
    """Truth down, verdict across; a part with several kinds counts as the kind found when that is on it."""
    verdicts = (*classes, "fault")
    lines = ["| truth \\ verdict | " + " | ".join(verdicts) + " |", "|---" * (len(verdicts) + 1) + "|"]
    own = [r for r in results if r.engine == engine]
    for truth in classes:
        row = [r for r in own if (r.found if r.right else r.truth) == truth]
        counts = [sum(_verdict_name(r) == v for r in row) for v in verdicts]
        lines.append(f"| {truth} | " + " | ".join(str(c) for c in counts) + " |")
    return "\n".join(lines)


def detection_table(results: list[PartResult], engine: str, quantity: str, edges: tuple[float, ...]) -> str:
    """Defective parts rejected, by ``visibility``, ``contrast`` or ``size_px``."""
    lines = [f"| {quantity} | defective parts | detected | right class |", "|---|---|---|---|"]
    for low, high, own in _binned(results, engine, quantity, edges):
        detected = sum(r.outcome == Outcome.REJECT for r in own)
        right = sum(r.right for r in own)
        span = f"{low:g} to {high:g}" if high < edges[-1] else f"{low:g} and more"
        lines.append(f"| {span} | {len(own)} | {detected / len(own):.1%} | {right / len(own):.1%} |")
    return "\n".join(lines)


def evaluation_report(results: list[PartResult], classes: tuple[str, ...]) -> str:
    """All tables of one evaluation, in Markdown."""
    rows = figures(results)
    parts = [figures_table(rows)]
    for engine in rows:
        parts += [f"**{engine}**, parts by truth and verdict", confusion_table(results, engine, classes)]
    first = next(iter(rows))
    parts.append(
        f"**{first}**, detection against contrast (grey levels), size (px in the frame) and visibility"
    )
    parts.append(detection_table(results, first, "contrast", CONTRAST_EDGES))
    parts.append(detection_table(results, first, "size_px", SIZE_EDGES))
    parts.append(detection_table(results, first, "visibility", VISIBILITY_EDGES))
    return "\n\n".join(parts)


def draw_detection(results: list[PartResult], picture: Path) -> None:
    """Detection against contrast, size and visibility with 95 % intervals, one line per engine, as a PNG.

    Dotted: the share rejected under the right name.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, PercentFormatter, ScalarFormatter

    figure = Figure(figsize=(12, 4), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    engines = list(dict.fromkeys(r.engine for r in results))
    for axis, (quantity, edges, label, ticks) in zip(
        panels,
        (
            ("contrast", CONTRAST_EDGES, "contrast in the frame, grey levels", (6, 10, 20, 40)),
            ("size_px", SIZE_EDGES, "longest side in the frame, px", (20, 50, 100, 200, 500, 1000)),
            ("visibility", VISIBILITY_EDGES, "visibility (signal / texture)", (4, 6, 10, 20)),
        ),
        strict=True,
    ):
        for number, name in enumerate(engines):
            bins = [own for _, _, own in _binned(results, name, quantity, edges)]
            # Lines that would cover each other stand a hair apart.
            at = [1.02**number * float(np.median([getattr(r, quantity) for r in own])) for own in bins]
            rejected = [sum(r.outcome == Outcome.REJECT for r in own) for own in bins]
            share = np.array([count / len(own) for count, own in zip(rejected, bins, strict=True)])
            low, high = np.array([ends(count, len(own)) for count, own in zip(rejected, bins, strict=True)]).T
            colour = f"C{number}"
            axis.errorbar(
                at, share, (np.maximum(share - low, 0), np.maximum(high - share, 0)),
                fmt="o-", color=colour, capsize=3, label=name,
            )  # fmt: skip
            named = [sum(r.right for r in own) / len(own) for own in bins]
            axis.plot(at, named, ":", color=colour, label=f"{name}, right name")
        axis.set_xscale("log")
        axis.set_xticks(ticks)
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    panels[0].yaxis.set_major_formatter(PercentFormatter(1.0))
    panels[0].set_ylabel("defective parts rejected")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, fontsize="small")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)


def _verdict_name(result: PartResult) -> str:
    return "fault" if result.outcome == Outcome.FAULT else result.found


def _binned(
    results: list[PartResult], engine: str, quantity: str, edges: tuple[float, ...]
) -> list[tuple[float, float, list[PartResult]]]:
    defective = [r for r in results if r.engine == engine and r.defective]
    bins = []
    for low, high in pairwise(edges):
        own = [r for r in defective if low <= getattr(r, quantity) < high]
        if own:
            bins.append((low, high, own))
    return bins
