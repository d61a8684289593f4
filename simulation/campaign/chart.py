"""Lines over time as a small SVG picture, for a page of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, LEFT, TOP, GAP = 720, 110, 90, 18, 34
INK = ("#1f5fa8", "#b3541e", "#3c7a3c", "#6b4c9a")


def line_charts(
    title: str, hours: Sequence[float], panels: Mapping[str, Mapping[str, Sequence[float]]]
) -> str:
    """One panel per quantity, one line per process; every panel's axis begins at 0."""
    height = TOP + len(panels) * (HEIGHT + GAP) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="12" font-weight="bold">{escape(title)}</text>',
    ]
    longest = max(hours[-1], 1e-9) if hours else 1.0
    for number, (quantity, lines) in enumerate(panels.items()):
        top = TOP + number * (HEIGHT + GAP) + 8
        most = max((value for line in lines.values() for value in line), default=1.0) * 1.1 or 1.0
        right, bottom = WIDTH - 20, top + HEIGHT
        parts.append(
            f'<path d="M{LEFT} {top}V{bottom}H{right}" fill="none" stroke="#888"/>'
            f'<text x="{LEFT - 6}" y="{bottom}" text-anchor="end">0</text>'
            f'<text x="{LEFT - 6}" y="{top + 9}" text-anchor="end">{most:.4g}</text>'
            f'<text x="{LEFT - 6}" y="{top + 24}" text-anchor="end" fill="#444">{escape(quantity)}</text>'
            f'<text x="{right}" y="{bottom + 13}" text-anchor="end">{longest:.2f} h</text>'
        )
        for nth, (name, line) in enumerate(lines.items()):
            ink = INK[nth % len(INK)]
            points = " ".join(
                f"{LEFT + (right - LEFT) * hour / longest:.1f},{bottom - HEIGHT * value / most:.1f}"
                for hour, value in zip(hours, line, strict=True)
            )
            parts.append(f'<polyline points="{points}" fill="none" stroke="{ink}" stroke-width="1.3"/>')
            place = LEFT + 8 + nth * 110
            parts.append(f'<text x="{place}" y="{bottom + 13}" fill="{ink}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
