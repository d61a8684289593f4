"""A frame becomes patches: the product is found, brought to the recipe's size and cut."""

from station.patching.cutting import cut, cut_region
from station.patching.finding import find_product
from station.patching.geometry import Patches, PatchingError, Reason, Region, Surface

__all__ = ["Patches", "PatchingError", "Reason", "Region", "Surface", "cut", "cut_region", "find_product"]
