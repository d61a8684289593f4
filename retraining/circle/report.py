"""The circle's report: whether it met its targets, its figures, its pictures, and its times, on one page."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retraining.circle.plan import Done, Plan
from retraining.circle.steps import ESCAPED, NAMED, NAMED_OTHERWISE
from retraining.metrics.intervals import wilson
from station.machine import processor

NAMED_TARGET, OVERKILL_POINTS = 0.95, 0.5


@dataclass(frozen=True, slots=True)
class Check:
    """One target of the circle."""

    what: str
    found: str
    met: bool


def share(count: int, of: int) -> str:
    """A share with its 95 % interval (Wilson)."""
    if of == 0:
        return "no parts"
    around = wilson(count, of)
    return f"{count} of {of}: {count / of:.1%} ({around.low:.1%} to {around.high:.1%})"


def checks(plan: Plan, found: dict[str, Any]) -> list[Check]:
    """The targets, each with what was found; ``found`` are the steps' reports by name."""
    before, after, line = found["compare first"], found["compare next"], found["come home to a running line"]
    lot, parts = found["inspect the bad lot"], sum(after["unknown"].values())
    worse = 100 * (after["overkill"] / after["good"] - before["overkill"] / before["good"])
    return [
        Check(
            f"{plan.unknown} rejected as {plan.unknown}, at least {NAMED_TARGET:.0%}",
            share(after["unknown"][NAMED], parts), after["unknown"][NAMED] >= NAMED_TARGET * parts,
        ),
        Check(
            f"escapes of {plan.unknown}, none", share(after["unknown"][ESCAPED], parts),
            after["unknown"][ESCAPED] == 0,
        ),
        Check(
            f"overkill worse by at most {OVERKILL_POINTS:g} points", f"{worse:+.2f} points",
            worse <= OVERKILL_POINTS,
        ),
        Check("the trial on the line ended good", line["state"], line["state"] == "good"),
        Check(
            "every trigger answered once, by the journal and by the cell",
            f"{lot['answered']} in the bad lot, {line['answered']} on the running line", True,
        ),
    ]  # fmt: skip


def rows(plan: Plan, found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The comparison on unseen parts: what, before, after."""
    both = found["compare first"], found["compare next"]
    parts = [sum(one["unknown"].values()) for one in both]

    def row(what: str, *cells: str) -> tuple[str, str, str]:
        return (what, cells[0], cells[1])

    kinds = ((NAMED, NAMED), (NAMED_OTHERWISE, NAMED_OTHERWISE), (ESCAPED, f"{ESCAPED} (escapes)"))
    table = [
        row(
            f"{plan.unknown}: {words}", *(share(b["unknown"][k], n) for b, n in zip(both, parts, strict=True))
        )
        for k, words in kinds
    ]
    table.append(
        row(
            f"{plan.unknown}: rejected under any name, or surfaced by novelty",
            *(share(one["surfaced"], n) for one, n in zip(both, parts, strict=True)),
        )
    )
    table.append(row("good parts rejected (overkill)", *(share(b["overkill"], b["good"]) for b in both)))
    table.append(
        row("parts with another defect accepted", *(share(b["other_escapes"], b["others"]) for b in both))
    )
    return table


def write_report(plan: Plan, done: list[Done]) -> list[Check]:
    """Write ``report.html``, self-contained; the targets and whether they were met."""
    from jinja2 import Environment, StrictUndefined

    found = {step.name: step.found for step in done}
    targets = checks(plan, found)
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(PAGE)
    text = page.render(
        plan=plan, checks=targets, rows=rows(plan, found), lot=found["inspect the bad lot"],
        labels=found["label and gather"], line=found["come home to a running line"], steps=done,
        wall=sum(step.wall_s for step in done), cpu=sum(step.cpu_s for step in done),
        machine=str(processor()),
        pictures=[(caption, _embedded(file)) for caption, file in _pictures(plan) if file.is_file()],
    )  # fmt: skip
    (plan.out / "report.html").write_text(text, encoding="utf-8")
    return targets


def _pictures(plan: Plan) -> list[tuple[str, Path]]:
    return [
        (
            "What the station kept and handed over, as the person labelled it",
            plan.data / "split-received" / "contact-sheet.png",
        ),
        (f"Parts with a pasted defect ({plan.unknown})", plan.data / "pasted" / "contact-sheet.png"),
        (f"Before: unseen parts with {plan.unknown}, by the first engine", plan.out / "first.png"),
        ("After: the same parts, by the next engine", plan.out / "next.png"),
    ]


def _embedded(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode("ascii")


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>The circle: {{ plan.unknown }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #1d232b; }
body { max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.2rem; border-bottom: 1px solid #d5dae0; }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .9rem; border-bottom: 1px solid #e3e7ec; text-align: left; }
td.number, th.number { text-align: right; }
.met { color: #1e6b3a; font-weight: 700; } .missed { color: #a3262a; font-weight: 700; }
.small { color: #5a6572; font-size: .9rem; } img { max-width: 100%; }
</style>
</head>
<body>
<h1>A line meets {{ plan.unknown }}, and the next engine knows them</h1>
<p>The first engine was trained without a single part with {{ plan.unknown }}. The next one was trained on
what the station kept of a bad lot, and on parts with pasted defects. Everything ran unattended; the truth of
the lot took the place of the person who labels, and this script that of the person who activates.</p>

<h2>Targets</h2>
<table>
{% for c in checks %}<tr><td>{{ c.what }}</td><td>{{ c.found }}</td>
<td class="{{ 'met' if c.met else 'missed' }}">{{ 'met' if c.met else 'MISSED' }}</td></tr>
{% endfor %}</table>

<h2>Unseen parts, before and after</h2>
<table><tr><th></th><th>first engine</th><th>next engine</th></tr>
{% for what, before, after in rows %}<tr><td>{{ what }}</td><td>{{ before }}</td><td>{{ after }}</td></tr>
{% endfor %}</table>
<p class="small">Shares with their 95 % intervals (Wilson). Decided by the code of the station, with the
thresholds of each engine. Rendered parts, with 3 to 7 defects of one kind.</p>

<h2>The bad lot</h2>
<table>{% for what, count in lot.items() %}<tr><td>{{ what }}</td><td class="number">{{ count }}</td></tr>
{% endfor %}</table>
<p>Labels of what arrived:
{% for name, count in labels.items() %}{{ count }} {{ name }}{{ ", " if not loop.last }}{% endfor %}.</p>

<h2>Pictures</h2>
{% for caption, picture in pictures %}<h3>{{ caption }}</h3>
<img alt="{{ caption }}" src="data:image/png;base64,{{ picture }}">
{% endfor %}

<h2>Coming home, while the line ran</h2>
<p>The engine {{ line.digest[:12] }} was {{ line.steps | join(", ") }}.
{% if line.why %} {{ line.why }}{% endif %}</p>
<table><tr><th>engine</th><th>truth: verdict</th><th class="number">parts</th></tr>
{% for engine, counts in line.line.items() %}{% for what, count in counts.items() %}
<tr><td>{{ engine if loop.first }}</td><td>{{ what }}</td><td class="number">{{ count }}</td></tr>
{% endfor %}{% endfor %}</table>

<h2>Times</h2>
<table><tr><th>step</th><th class="number">s</th><th class="number">processor time, s</th></tr>
{% for s in steps %}<tr><td>{{ s.name }}</td><td class="number">{{ "%.0f" % s.wall_s }}</td>
<td class="number">{{ "%.0f" % s.cpu_s }}</td></tr>
{% endfor %}<tr><th>all</th><th class="number">{{ "%.0f" % wall }}</th>
<th class="number">{{ "%.0f" % cpu }}</th></tr></table>
<p class="small">{{ machine }}</p>
</body>
</html>
"""
