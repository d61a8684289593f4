"""Tables of comparisons: one row per kind of fake, with its seeds taken together."""

from __future__ import annotations

import math
from collections.abc import Callable

from retraining.errors import MetricsError
from retraining.metrics.figures import KID_BELOW, Comparison, require_same_extractor
from retraining.metrics.intervals import Interval, t_interval

_DASH = "–"
_SHOWN: tuple[tuple[str, str, str], ...] = (
    ("KID", "kid", "{:.3g}"),
    ("FID", "fid", "{:.1f}"),
    ("FID at the floor's size", "fid_at_floor", "{:.1f}"),
    ("precision", "precision", "{:.2f}"),
    ("recall", "recall", "{:.2f}"),
    ("density", "density", "{:.2f}"),
    ("coverage", "coverage", "{:.2f}"),
    ("nearest real", "nearest_real", "{:.2f}"),
    ("copies", "copies", "{:.1%}"),
    ("repeats", "repeats", "{:.1%}"),
    ("spread", "spread", "{:.2f}"),
    ("LPIPS", "lpips", "{:.3f}"),
    ("IS", "inception_score", "{:.2f}"),
)
_FLOOR = {
    "kid": "floor_kid",
    "fid_at_floor": "floor_fid",
    "precision": "floor_precision",
    "recall": "floor_recall",
    "coverage": "floor_coverage",
    "lpips": "lpips_real",
}


def over_seeds(figures: list[Comparison], figure: str) -> Interval:
    """A figure's mean over seeds with its 95 % t interval; raises :class:`MetricsError`.

    The figures must be of one kind of fake and one extractor, and the seeds those of the *runs* that drew the
    fakes: seeds of the comparison alone say nothing about the generator.
    """
    require_same_extractor(figures)
    names = {f.name for f in figures}
    if len(names) > 1:
        raise MetricsError(f"{', '.join(sorted(names))} are several kinds of fakes; give the seeds of one")
    values = [getattr(f, figure) for f in figures]
    if any(v is None for v in values):
        raise MetricsError(f"{figures[0].extractor} does not measure {figure}")
    return t_interval(values)


def table(*figures: Comparison, markdown: bool = True) -> str:
    """Rows by name, the real pictures' own halves last; figures of one name are seeds and become intervals.

    Raises :class:`MetricsError` when they come from two extractors.
    """
    extractor = require_same_extractor(figures)
    groups: dict[str, list[Comparison]] = {}
    for f in figures:
        groups.setdefault(f.name, []).append(f)
    lead = "FID" if all(f.headline == "fid" for f in figures) else "KID"
    shown = sorted(_SHOWN, key=lambda item: item[0] != lead)
    head = ["", "real : fake", *(title for title, _, _ in shown), "remarks"]
    rows = [
        [name, _counts(group), *(_cell(group, key, form) for _, key, form in shown), _remarks(group)]
        for name, group in groups.items()
    ]
    first = figures[0]
    floor = [_floor_cell(first, key, form) for _, key, form in shown]
    rows.append(["real, half against half", f"{first.half} : {first.half}", *floor, "the floor"])
    note = f"Extractor: {extractor}. {lead} leads"
    if lead == "KID":
        note += f": some set has fewer than {KID_BELOW} pictures, where FID is mostly bias"
    note += "."
    lay = _markdown if markdown else _plain
    return lay([head, *rows]) + "\n\n" + note


def _counts(group: list[Comparison]) -> str:
    text = f"{group[0].n_real} : {group[0].n_fake}"
    return text if len(group) == 1 else f"{text}, {len(group)} seeds"


def _cell(group: list[Comparison], key: str, form: str) -> str:
    if getattr(group[0], key) is None:
        return _DASH
    if len(group) > 1:
        return _interval(over_seeds(group, key), form.format)
    value = form.format(getattr(group[0], key))
    if key == "kid":
        return f"{value} ± {form.format(group[0].kid_std)}"
    if key in ("precision", "recall", "coverage", "copies", "repeats"):
        return _interval(group[0].interval(key), form.format)
    return value


def _floor_cell(figures: Comparison, key: str, form: str) -> str:
    value = getattr(figures, _FLOOR[key]) if key in _FLOOR else None
    return _DASH if value is None else form.format(value)


def _interval(found: Interval, form: Callable[[float], str]) -> str:
    if not math.isfinite(found.low):
        return form(found.value)
    return f"{form(found.value)} [{form(found.low)}, {form(found.high)}]"


def _remarks(group: list[Comparison]) -> str:
    words = []
    if any(f.memorised for f in group):
        words.append("COPIES real pictures")
    if any(f.collapsed for f in group):
        words.append("COLLAPSED")
    return ", ".join(words)


def _markdown(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def _plain(rows: list[list[str]]) -> str:
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
