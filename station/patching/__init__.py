"""A frame becomes patches: the product is found, brought to the recipe's size and cut."""

from station.patching.cutting import cut, cut_region
from station.patching.finding import find_product, measure_product
from station.patching.geometry import (
    BoxMm,
    Patches,
    PatchingError,
    Reason,
    Region,
    Surface,
    cut_surface,
    patch_boxes,
)
from station.patching.lit import cut_part

__all__ = [
    "BoxMm",
    "Patches",
    "PatchingError",
    "Reason",
    "Region",
    "Surface",
    "cut",
    "cut_part",
    "cut_region",
    "cut_surface",
    "find_product",
    "measure_product",
    "patch_boxes",
]
