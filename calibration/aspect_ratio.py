"""From the sizes of the products to the size of the surface that a recipe gives them all.

The SMHSI paper (section IV.B, eq. 5-7) averages heights and widths over the product categories and keeps
their ratio; the six servo-motor housings (3584 px by 385 to 1575 px) give 4.12 : 1, and with patches of
256 px two abreast a surface of 2048 x 512.
"""

from __future__ import annotations

from collections.abc import Sequence

Size = tuple[int, int]
"""Height and width, px."""


def average_aspect_ratio(sizes: Sequence[Size]) -> float:
    """R_avg (H : W), eq. 7: the mean height (eq. 5) over the mean width (eq. 6). Raises ValueError."""
    if not sizes or any(height <= 0 or width <= 0 for height, width in sizes):
        raise ValueError("an aspect ratio needs at least one product, with a height and a width in px")
    height = sum(height for height, _ in sizes) / len(sizes)
    width = sum(width for _, width in sizes) / len(sizes)
    return height / width


def surface_size(sizes: Sequence[Size], patch_px: int, columns: int) -> Size:
    """The height and width, px, of whole patches, ``columns`` abreast, nearest to the products' ratio."""
    if patch_px <= 0 or columns <= 0:
        raise ValueError("a surface needs patches of at least 1 px, at least one abreast")
    rows = max(1, round(average_aspect_ratio(sizes) * columns))
    return rows * patch_px, columns * patch_px
