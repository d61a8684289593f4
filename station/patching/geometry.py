"""The geometry of regions, surfaces and patches: the only place that cuts a surface."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from drivers.errors import InspectionError
from station.recipe import PatchGrid, Recipe


class Reason(StrEnum):
    """Why a frame cannot be cut into patches."""

    BAD_FRAME = "bad frame"
    """Not a picture of the kind that the recipe expects."""
    NO_PRODUCT = "no product"
    TRUNCATED = "truncated"
    """The product is cut by the frame's border, interrupted, or shorter than the recipe says."""
    TWO_PRODUCTS = "two products"
    WRONG_SIZE = "wrong size"
    TILTED = "tilted"
    SATURATED = "saturated"
    BLACK = "black"


class PatchingError(InspectionError):
    """A frame cannot be inspected; ``reason`` is the code, the message says what was seen and what to do."""

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason = reason
        super().__init__(f"{reason}: {message}")


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
        row, column = divmod(index, self.columns)
        size, stride = self.grid.size, self.grid.stride
        return Region(column * stride, row * stride, size, size)

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


def cut_surface(surface: NDArray[np.uint8], patch_px: int) -> NDArray[np.uint8]:
    """A surface ``(H, W, C)`` as adjoining patches ``(N, patch, patch, C)``, left to right, then down."""
    height, width, channels = surface.shape
    if height % patch_px or width % patch_px:
        raise ValueError(f"a surface of {height} x {width} px is not filled by patches of {patch_px} px")
    grid = surface.reshape(height // patch_px, patch_px, width // patch_px, patch_px, channels)
    return np.ascontiguousarray(grid.swapaxes(1, 2).reshape(-1, patch_px, patch_px, channels))


def grid_patches(surface: NDArray[np.uint8], recipe: Recipe) -> NDArray[np.uint8]:
    """The recipe's patches of a surface ``(H, W, C)``, row by row: ``(N, patch, patch, C)``."""
    rows, columns = recipe.grid
    side, stride = recipe.patch.size, recipe.patch.stride
    corners = [(row * stride, column * stride) for row in range(rows) for column in range(columns)]
    return np.stack([surface[y : y + side, x : x + side] for y, x in corners])
