"""An experiment's report: HTML for people, Markdown for docs/results.md. Shows whatever there is."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from retraining.experiments.gathering import NOT_RUN, Filled, Gathered
from retraining.experiments.page import PAGE
from retraining.experiments.plots import curves_chart, table_chart

MOST_SHEETS = 60
_DIRECTION = {"higher": "higher is better", "lower": "lower is better", "neither": ""}


@dataclass(frozen=True, slots=True)
class _Shown:
    filled: Filled
    direction: str
    best: frozenset[tuple[str, str]]
    svg: str


def command(gathered: Gathered) -> str:
    """What a person types to make these figures again."""
    return f"retrain experiment {gathered.plan.name} --size {gathered.size}"


def html_report(gathered: Gathered) -> str:
    """One self-contained page."""
    from jinja2 import Environment, StrictUndefined

    tables = [
        _Shown(filled, _DIRECTION[filled.table.better], _best(filled), table_chart(filled))
        for filled in gathered.tables
    ]
    sheets = [
        (base64.b64encode(path.read_bytes()).decode("ascii"), caption)
        for path, caption in gathered.sheets[:MOST_SHEETS]
        if path.is_file()
    ]
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(PAGE)
    return page.render(
        g=gathered,
        tables=tables,
        plots=[curves_chart(name, curves) for name, curves in gathered.curves],
        sheets=sheets,
        failed=sum(task.state == "failed" for task in gathered.tasks),
        seconds=sum(task.seconds for task in gathered.tasks),
        command=command(gathered),
        not_run=NOT_RUN,
        surroundings=[_around(found) for found in gathered.surroundings],
    )


def markdown_report(gathered: Gathered, charts: Mapping[str, str] = MappingProxyType({})) -> str:
    """The tables, the paper's figures in brackets, for docs/results.md; ``charts`` are files by table."""
    plan = gathered.plan
    parts = [
        f"### {plan.title}",
        f"`{command(gathered)}` ({gathered.done} of {len(gathered.tasks)} tasks done). {plan.question} "
        f"Target: {plan.target}",
    ]
    for filled in gathered.tables:
        table = filled.table
        unit = f", {table.unit}" if table.unit else ""
        lines = [
            f"**{table.title}**{unit}"
            + (f" ({direction})" if (direction := _DIRECTION[table.better]) else ""),
            "",
            "| | " + " | ".join(column.label for column in table.columns) + " |",
            "|---" * (len(table.columns) + 1) + "|",
        ]
        for row in table.rows:
            cells = []
            for column in table.columns:
                paper = filled.paper(row.name, column.name)
                ours = filled.text(row.name, column.name)
                cells.append(ours if paper == "–" else f"{ours} (paper {paper})")
            lines.append(f"| {row.label} | " + " | ".join(cells) + " |")
        if table.note:
            lines += ["", table.note]
        for sentence in filled.verdicts():
            lines += ["", sentence]
        if table.name in charts:
            lines += ["", f"![{table.title}]({charts[table.name]})"]
        parts.append("\n".join(lines))
    if gathered.notes:
        parts.append("\n".join(f"- {note}" for note in gathered.notes))
    if gathered.reduced:
        changed = "; ".join(f"{key} {here} (full: {there})" for key, here, there in gathered.reduced)
        parts.append(f"Reduced: {changed}.")
    return "\n\n".join(parts) + "\n"


def write_reports(gathered: Gathered, folder: Path) -> tuple[Path, Path]:
    """``report-SIZE.html`` and ``report-SIZE.md`` in the experiment's folder; returns their paths.

    Beside them the charts of the tables, ``TABLE-SIZE.svg``: the page holds them itself, Markdown cannot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    charts = {}
    for filled in gathered.tables:
        if svg := table_chart(filled):
            charts[filled.table.name] = f"{filled.table.name}-{gathered.size}.svg"
            (folder / charts[filled.table.name]).write_text(svg, encoding="utf-8")
    page, tables = (folder / f"report-{gathered.size}.{kind}" for kind in ("html", "md"))
    page.write_text(html_report(gathered), encoding="utf-8")
    tables.write_text(markdown_report(gathered, charts), encoding="utf-8")
    return page, tables


def _around(found: dict[str, Any]) -> dict[str, str]:
    """Machine, versions and git state, a line each."""
    machine, git = found["machine"], found["git"]
    commit = f"{git['commit']}{' with changes' if git['dirty'] else ''}" if git else "no checkout"
    flags = [flag for flag in machine.get("cpu_flags", ()) if flag.startswith(("amx", "avx512_bf16"))]
    processor = f"{machine['cores']} cores of {machine.get('processor', 'an unknown processor')}"
    return {
        "machine": ", ".join(filter(None, (processor, " ".join(flags), machine.get("gpu", "no GPU")))),
        "system": machine["system"],
        "git": commit,
        "versions": ", ".join(f"{name} {version}" for name, version in found["versions"].items()),
    }


def _best(filled: Filled) -> frozenset[tuple[str, str]]:
    """The best figure of each column that has at least two."""
    if filled.table.better == "neither":
        return frozenset()
    sign = 1.0 if filled.table.better == "higher" else -1.0
    found = set()
    for column in filled.table.columns:
        own = [(sign * f.value, place) for place, f in filled.figures.items() if place[1] == column.name]
        if len(own) > 1:
            top = max(own)[0]
            found |= {place for value, place in own if value == top}
    return frozenset(found)
