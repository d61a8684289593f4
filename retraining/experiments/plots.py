"""Plots for reports: tables as bars or lines, and curves."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from retraining.experiments.gathering import Filled
from retraining.experiments.tasks import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def table_chart(filled: Filled) -> str:
    """A table as SVG: ours as bars or lines, the paper's as hollow marks; "" when nothing is to be drawn."""
    if filled.table.chart == "none" or not filled.figures:
        return ""
    return _lines(filled) if filled.table.chart == "lines" else _bars(filled)


def curves_chart(name: str, curves: tuple[Curve, ...]) -> str:
    """Curves that share a plot, as SVG."""
    figure, axis = _figure(7.0, 3.6)
    for curve in curves:
        axis.plot(curve.x, curve.y, label=curve.label, linewidth=1.2)
    axis.set_xlabel(curves[0].x_label)
    axis.set_ylabel(curves[0].y_label)
    axis.set_title(name)
    if len(curves) <= 12:
        axis.legend(fontsize=8)
    return _svg(figure)


def _bars(filled: Filled) -> str:
    table = filled.table
    bars = len(table.rows) * len(table.columns)
    figure, axis = _figure(min(13.0, 4.0 + 0.5 * bars), 4.0)
    width = 0.8 / len(table.columns)
    at = np.arange(len(table.rows))
    for number, column in enumerate(table.columns):
        places = at - 0.4 + width * (number + 0.5)
        found = [filled.figures.get((row.name, column.name)) for row in table.rows]
        heights = [f.value if f else np.nan for f in found]
        below = [f.value - f.low if f else 0.0 for f in found]
        above = [f.high - f.value if f else 0.0 for f in found]
        axis.bar(places, heights, width * 0.9, label=column.label, yerr=(below, above), capsize=2)
        paper = [row.paper[number] if row.paper else None for row in table.rows]
        marks = [(x, y) for x, y in zip(places, paper, strict=True) if y is not None]
        if marks:
            axis.plot(*zip(*marks, strict=True), "D", color="black", fillstyle="none", markersize=5)
    axis.set_xticks(at, [row.label for row in table.rows], rotation=25, ha="right")
    axis.set_ylabel(table.unit or table.title)
    values = [f.value for f in filled.figures.values()]
    values += [v for row in table.rows for v in row.paper if v is not None]
    if table.unit == "%" and min(values) > 50:
        axis.set_ylim(max(0.0, min(values) - 8), 101)
    axis.set_title(f"{table.title} (diamonds: the paper)" if filled.has_paper else table.title)
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return _svg(figure)


def _lines(filled: Filled) -> str:
    table = filled.table
    figure, axis = _figure(7.0, 4.0)
    xs = [float(column.name) for column in table.columns]
    for row in table.rows:
        points = [
            (x, filled.figures[row.name, column.name])
            for x, column in zip(xs, table.columns, strict=True)
            if (row.name, column.name) in filled.figures
        ]
        if points:
            below = [f.value - f.low for _, f in points]
            above = [f.high - f.value for _, f in points]
            axis.errorbar([x for x, _ in points], [f.value for _, f in points], yerr=(below, above),
                          fmt="o-", capsize=2, label=row.label)  # fmt: skip
    if min(xs) > 0 and max(xs) / min(xs) > 10:
        axis.set_xscale("log")
    axis.set_xticks(xs, [column.label for column in table.columns])
    axis.minorticks_off()
    axis.set_ylabel(table.unit or table.title)
    axis.set_title(table.title)
    axis.legend(fontsize=8)
    return _svg(figure)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axis = figure.subplots()
    axis.grid(alpha=0.3)
    return figure, axis


def _svg(figure: Figure) -> str:
    """The figure as an ``<svg>`` element."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = buffer.getvalue()
    return text[text.index("<svg") :]
