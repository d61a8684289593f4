"""The geometry of regions, surfaces and patches: the only place that cuts a surface."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from drivers.errors import InspectionError
from station.faults import Code
from station.recipe import PatchGrid


class Reason(StrEnum):
    """Why a frame cannot be cut into patches."""

    BAD_FRAME = "bad frame"
    """Not a picture of the kind that the recipe expects."""
    NO_PRODUCT = "no product"
    TRUNCATED = "truncated"
    """The product is cut by the frame's border, interrupted, or shorter than the recipe says."""
    TWO_PRODUCTS = "two products"
    WRONG_SIZE = "wrong size"
    SIZE_UNKNOWN = "size not announced"
    """Nobody has said which of the recipe's widths lies in place."""
    TURN_INCOMPLETE = "turn incomplete"
    """The end of the picture does not show its beginning again: less than one turn, or another speed."""
    STALE = "stale lines"
    """Lines that the sensor has not seen anew."""
    NO_TEXTURE = "no texture"
    """A picture without the noise and the texture of metal."""
    EDGE = "edge"
    """Along an edge lies something that is neither product nor background."""
    TILTED = "tilted"
    SATURATED = "saturated"
    BLACK = "black"
    FRAMES_MISSING = "frames missing"
    """Not one frame for each lamp."""
    MOVED = "moved"
    """The product does not lie at the same place in all frames."""


class PatchingError(InspectionError):
    """A frame cannot be inspected; ``reason`` is the code, the message says what was seen and what to do."""

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason, self.message = reason, message
        super().__init__(f"{reason}: {message}")

    @property
    def code(self) -> Code:
        """The reason in the list of all faults, where it has the same name."""
        return Code[self.reason.name]


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of the frame, px; of a tilted product the rectangle of its mean edges."""

    x: int
    y: int
    width: int
    height: int
    lean_x: int = 0
    """How many px the last row lies right of the first row."""
    lean_y: int = 0
    """How many px the last column lies below the first column."""

    def point(self, across: float, down: float) -> tuple[float, float]:
        """The frame's (x, y) of a point of the region given by fractions 0..1 of its width and height."""
        x = self.x + across * self.width + (down - 0.5) * self.lean_x
        y = self.y + down * self.height + (across - 0.5) * self.lean_y
        return x, y

    def fractions(self, x: float, y: float) -> tuple[float, float]:
        """The inverse of :meth:`point`: fractions (across, down) of a point of the frame."""
        right, down = x - self.x + self.lean_x / 2, y - self.y + self.lean_y / 2
        determinant = self.width * self.height - self.lean_x * self.lean_y
        return (
            (right * self.height - down * self.lean_x) / determinant,
            (down * self.width - right * self.lean_y) / determinant,
        )

    def bounds(self) -> Region:
        """The smallest upright rectangle that holds the region."""
        corners = [self.point(across, down) for across in (0.0, 1.0) for down in (0.0, 1.0)]
        return _bounds(corners)


@dataclass(frozen=True, slots=True)
class BoxMm:
    """A rectangle on the product, mm from the first column and the first row of its surface."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """The product's surface at the recipe's size: uint8 ``(H, W, C)``, C-contiguous, and its place."""

    pixels: NDArray[np.uint8]
    region: Region


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """The patches of one part, row by row, left to right: uint8 ``(N, patch, patch, C)``, C-contiguous."""

    pixels: NDArray[np.uint8]
    surface: Surface
    grid: PatchGrid
    columns: int
    """Patches in a row."""
    mm_per_px: tuple[float, float]
    """The size of a frame pixel across and down, mm."""

    def surface_box(self, index: int) -> Region:
        """The patch's rectangle in the surface, px. Raises IndexError."""
        if not 0 <= index < len(self.pixels):
            raise IndexError(f"patch {index} of {len(self.pixels)}")
        return _box(*divmod(index, self.columns), self.grid)

    def frame_box(self, index: int) -> Region:
        """The smallest upright rectangle of whole frame pixels that holds the patch. Raises IndexError."""
        left, top, right, bottom = self._fractions(index)
        region = self.surface.region
        return _bounds([region.point(x, y) for x in (left, right) for y in (top, bottom)])

    def box_mm(self, index: int) -> BoxMm:
        """The patch on the product, mm. Raises IndexError."""
        left, top, right, bottom = self._fractions(index)
        region = self.surface.region
        width, height = region.width * self.mm_per_px[0], region.height * self.mm_per_px[1]
        return BoxMm(left * width, top * height, (right - left) * width, (bottom - top) * height)

    def frame_point(self, index: int, x: float, y: float) -> tuple[float, float]:
        """The frame's (x, y) of a point given in px of a patch. Raises IndexError."""
        box = self.surface_box(index)
        height, width = self.surface.pixels.shape[:2]
        return self.surface.region.point((box.x + x) / width, (box.y + y) / height)

    def surface_point(self, x: float, y: float) -> tuple[float, float]:
        """The surface's (x, y) of a point of the frame; outside the surface where it is off the product."""
        height, width = self.surface.pixels.shape[:2]
        across, down = self.surface.region.fractions(x, y)
        return across * width, down * height

    def _fractions(self, index: int) -> tuple[float, float, float, float]:
        box = self.surface_box(index)
        height, width = self.surface.pixels.shape[:2]
        return box.x / width, box.y / height, (box.x + box.width) / width, (box.y + box.height) / height


def _bounds(corners: list[tuple[float, float]]) -> Region:
    """The smallest rectangle of whole pixels that holds the corners."""
    # A hair's breadth of floating-point error must not add a pixel.
    left, top = (floor(min(corner[axis] for corner in corners) + 1e-9) for axis in (0, 1))
    right, bottom = (ceil(max(corner[axis] for corner in corners) - 1e-9) for axis in (0, 1))
    return Region(left, top, right - left, bottom - top)


def cut_surface(
    surface: NDArray[np.uint8], patch: PatchGrid, into: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """The patches of a surface ``(H, W, C)``, row by row, left to right.

    Returns ``(N, patch, patch, C)``, C-contiguous. The one function that cuts: a line, a report and an
    engine's proof see the same patches. ``into``: an array of this shape, which is filled and returned
    instead of a new one. Raises ``ValueError`` for a surface that they do not fill exactly.
    """
    height, width, channels = surface.shape
    if not (patch.fills(height) and patch.fills(width)):
        overlap = f" with {patch.overlap_px} px overlap" if patch.overlap_px else ""
        raise ValueError(
            f"a surface of {height} x {width} px is not filled by patches of {patch.size} px{overlap}"
        )
    rows, columns = patch.counts(height, width)
    down, across, value = surface.strides
    view = np.lib.stride_tricks.as_strided(
        surface,
        (rows, columns, patch.size, patch.size, channels),
        (down * patch.stride, across * patch.stride, down, across, value),
        writeable=False,
    )
    if into is None:
        into = np.empty((rows * columns, patch.size, patch.size, channels), dtype=np.uint8)
    np.copyto(into.reshape(view.shape), view)
    return into


def patch_boxes(height: int, width: int, patch: PatchGrid) -> list[Region]:
    """Where :func:`cut_surface` cuts a surface of ``height`` x ``width`` px, in its order."""
    rows, columns = patch.counts(height, width)
    return [_box(row, column, patch) for row in range(rows) for column in range(columns)]


def _box(row: int, column: int, patch: PatchGrid) -> Region:
    return Region(column * patch.stride, row * patch.stride, patch.size, patch.size)
