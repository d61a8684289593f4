"""What the rows found, as one Markdown page: a unit that was not done says so, and a toy names no winner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from retraining.gpu.plan import Unit

TITLES = {
    "engine": "The shipped network",
    "pairs": "SDG-GAN against DCGAN, by kind of defect",
    "translators": "PE-GAN, its network with free targets, StarGAN",
    "stylegan2": "StyleGAN2, small",
    "grid": "Mapping layers against latent numbers (LMAN, Table 4)",
}


def page(wanted: Iterable[Unit], found: Mapping[str, Mapping[str, Any]], *, toy: bool) -> str:
    """A table per row; ``toy``: its figures say that something runs, and nothing about which is better."""
    lines = ["# Where a GPU is at hand", ""]
    if toy:
        lines += ["Toy size: every figure below is **too short** to compare anything.", ""]
    rows: dict[str, list[Unit]] = {}
    for unit in wanted:
        rows.setdefault(unit.row, []).append(unit)
    for row, units in rows.items():
        lines += [f"## {TITLES[row]}", ""]
        lines += _table(units, found)
        lines += [""]
    return "\n".join(lines)


def _table(units: list[Unit], found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    columns = list(
        dict.fromkeys(name for unit in units for name in found.get(unit.name, {}).get("figures", {}))
    )
    head = ["unit", *columns, "seconds", "device"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for unit in units:
        one = found.get(unit.name)
        name = unit.name.partition("/")[2]
        if one is None:
            cells = ["not run", *[""] * (len(columns) - 1)] if columns else []
            lines.append("| " + " | ".join([name, *cells, "" if columns else "not run", ""]) + " |")
        elif "failed" in one:
            said = f"failed: {one['failed']}"
            cells = [said, *[""] * (len(columns) - 1)] if columns else []
            lines.append("| " + " | ".join([name, *cells, "" if columns else said, ""]) + " |")
        else:
            cells = [_shown(one["figures"].get(column, "")) for column in columns]
            lines.append("| " + " | ".join([name, *cells, f"{one['seconds']:.0f}", one["device"]]) + " |")
    return lines


def _shown(value: Any) -> str:
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 100
        else f"{value:.0f}"
        if isinstance(value, float)
        else str(value)
    )
