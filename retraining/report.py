"""Evaluation results as people read them: Markdown tables and the curve of detection."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from drivers.sorters.interface import Outcome
from retraining.evaluation import PartResult, figures
from station.engines.manifest import Figures

VISIBILITY_EDGES = (0.0, 4.0, 5.0, 6.0, 7.5, 9.0, 12.0, 16.0, 1000.0)
"""Signal over texture at the network's scale, see simulation/visibility.py."""
CONTRAST_EDGES = (0.0, 6.0, 9.0, 12.0, 16.0, 22.0, 30.0, 256.0)
"""Grey levels in the frame: mean absolute difference inside the mask."""
SIZE_EDGES = (0.0, 20.0, 40.0, 80.0, 160.0, 320.0, 10_000.0)
"""px in the frame, longest side."""


def figures_table(rows: Mapping[str, Figures]) -> str:
    """One line an engine."""
    lines = [
        "| engine | parts | part accuracy | escapes of defective | overkill of good | faults |",
        "|---|---|---|---|---|---|",
    ]
    for engine, f in rows.items():
        lines.append(
            f"| {engine} | {f.parts} | {f.accuracy:.2%} "
            f"| {f.escapes} of {f.defective} ({f.escape_rate:.2%}) "
            f"| {f.overkill} of {f.good} ({f.overkill_rate:.2%}) | {f.faults} |"
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
    """Detection against contrast, size and visibility, one line an engine, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    for axis, (quantity, edges, label) in zip(
        panels,
        (
            ("contrast", CONTRAST_EDGES, "contrast in the frame, grey levels"),
            ("size_px", SIZE_EDGES, "longest side in the frame, px"),
            ("visibility", VISIBILITY_EDGES, "visibility (signal / texture)"),
        ),
        strict=True,
    ):
        for name in dict.fromkeys(r.engine for r in results):
            points = [
                (
                    np.median([getattr(r, quantity) for r in own]),
                    np.mean([r.outcome == Outcome.REJECT for r in own]),
                )
                for _, _, own in _binned(results, name, quantity, edges)
            ]
            axis.plot(*zip(*points, strict=True), "o-", label=name)
        axis.set_xscale("log")
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    panels[0].set_ylabel("defective parts rejected")
    panels[0].set_ylim(-0.02, 1.04)
    panels[0].legend()
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
