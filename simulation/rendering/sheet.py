"""Draw patches of every class as the network sees them, from obvious to marginal, to judge the renderer.

``python -m simulation.rendering.sheet docs/images/simulated-surfaces.png`` writes it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from drivers.cameras.picture_files import write_image
from simulation.rendering.defects import LEVELS
from simulation.rendering.parts import RenderedPart, render_part
from simulation.rendering.visibility import NETWORK_HEIGHT, NETWORK_WIDTH, to_network_scale
from simulation.truth import CLASS_NAMES, PRODUCT_HEIGHT

_WIDTHS = (570, 935, 1065, 1575)


def contact_sheet(path: Path, *, seed: int = 20, side: int = 192) -> None:
    """Write a PNG of ``side``-px patches at the network's scale (1:1): one row per class, one column per
    level.
    """
    rows = []
    for number, name in enumerate(CLASS_NAMES):
        tiles = []
        for column, level in enumerate(LEVELS):
            width = _WIDTHS[(column + number) % len(_WIDTHS)]
            first = seed + 10 * number + column
            good = name == CLASS_NAMES[0]
            part = render_part(first, width=width) if good else render_part(
                first, width=width, kind=name, level=level
            )  # fmt: skip
            text = f"{name}, {width} px" if good else f"{level}, {part.truth.defects[0].visibility:.1f}"
            tiles.append(_tile(part, side, text if column else f"{name} {'' if good else text}"))
        rows.append(np.hstack(tiles))
    write_image(path, np.vstack(rows), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def _tile(part: RenderedPart, side: int, text: str) -> NDArray[np.uint8]:
    """The patch around the first defect (or the middle) with its caption, uint8 (side + 24, side + 4)."""
    surface = to_network_scale(part.surface.astype(np.float32), part.truth.width)
    x, y = NETWORK_WIDTH // 2, NETWORK_HEIGHT // 2
    if part.truth.defects:
        rows, cols = np.nonzero(part.mask)
        nearest = int(np.argmin(np.hypot(rows - rows.mean(), cols - cols.mean())))
        x = int(cols[nearest] * NETWORK_WIDTH / part.truth.width)
        y = int(rows[nearest] * NETWORK_HEIGHT / PRODUCT_HEIGHT)
    left, top = (
        np.clip(x - side // 2, 0, NETWORK_WIDTH - side),
        np.clip(y - side // 2, 0, NETWORK_HEIGHT - side),
    )
    patch = np.clip(surface[top : top + side, left : left + side], 0, 255).astype(np.uint8)
    tile = np.full((side + 24, side + 4), 255, np.uint8)
    tile[22 : 22 + side, 2 : 2 + side] = patch
    cv2.putText(tile, text.strip(), (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.38, 0, 1, cv2.LINE_AA)
    return tile


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m simulation.rendering.sheet", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "picture", type=Path, nargs="?", default=Path("simulated-surfaces.png"), help="PNG to write"
    )
    contact_sheet(parser.parse_args().picture)
