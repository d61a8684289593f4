"""A recipe proposed from a data set: what can be seen in its pictures, and what a person must still say."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from retraining.data.manifest import Dataset, Picture
from retraining.errors import DatasetError
from retraining.surfaces.reading import Reporter, for_each, read_picture, silent, stage
from station.recipe import CLASS_NAME

GOOD_NAMES = ("good", "ok", "normal", "sound", "defect-free", "no-defect")
"""Class names that need no `--good`."""
_PATCHES_PX = (128, 256)
_MOST_PATCHES = 24
_SCALE = 0.55
"""The scale that is aimed at: a scratch of 1 px still shows, and the surface has a third of the pixels."""
_RING = 0.03
"""The outermost share of a picture, in which a background shows where there is one."""
_LIGHT, _EVEN, _DARKER = 160, 30, 48
"""A light background, grey levels: at least so bright, so even, and so much brighter than the product."""
_MOST_NAMED = 10
_ODD = 0.25
"""A size that differs by more than this from the median is of another picture."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One picture."""

    name: str
    width: int
    height: int
    """Of the picture, px."""
    coloured: bool
    on_dark: bool
    """Whether a bright product stands on a dark background."""
    on_light: bool
    """Whether a darker product stands on an even, bright background."""
    product_width: int
    product_height: int
    """Of what is bright; of the whole picture where it does not stand on dark."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a recipe is written from."""

    background: str
    widths_px: tuple[int, ...]
    width_tolerance_px: int
    height_px: int
    height_tolerance_px: int
    surface: tuple[int, int]
    """Height and width, px."""
    patch_px: int
    channels: int
    classes: tuple[str, ...]
    """The good one first."""
    remarks: tuple[str, ...]
    """What a person should look at."""


def propose(
    dataset: Dataset, good: str = "", background: str = "auto", report: Reporter = silent
) -> Proposal:
    """A proposal for a data set of whole pictures.

    ``background`` is ``dark``, ``none`` or ``auto``. Raises :class:`DatasetError`: for windows, where the
    good class cannot be told, and where pictures differ so much that they cannot be of one recipe.
    """
    if any(picture.window is not None for picture in dataset.pictures):
        raise DatasetError(
            "the set has windows of pictures; a recipe needs whole ones: make it without --side"
        )
    classes = _good_first(dataset, good)

    def look(picture: Picture) -> Seen:
        return look_at(picture.path, read_picture(dataset.path_of(picture), 3, dataset.sixteen_bit_white))

    seen = for_each(look, dataset.pictures, stage(report, "pictures looked at", len(dataset)))
    remarks = []
    dark = sum(one.on_dark for one in seen)
    light = [one.name for one in seen if one.on_light]
    if background == "auto" and len(light) > len(seen) / 2:
        raise DatasetError(
            f"{len(light)} of {len(seen)} pictures show a product that is darker than a light background, "
            f"such as {light[0]}. The station finds a product on a dark background only: photograph it on "
            "one, or crop in the camera until the product fills the picture. Where the light edge belongs "
            "to the product, say --background none"
        )
    if background == "auto":
        background = "dark" if dark > len(seen) / 2 else "none"
        if min(dark, len(seen) - dark) > 0:
            few = [one.name for one in seen if one.on_dark != (background == "dark")]
            remarks.append(
                f"{len(few)} pictures look as if they had {'no' if background == 'dark' else 'a'} dark "
                f"background: {_named(few)}"
            )
    on_dark = background == "dark"
    sizes = [
        (one.name, *((one.product_width, one.product_height) if on_dark else (one.width, one.height)))
        for one in seen
    ]
    height = round(median(tall for _, _, tall in sizes))
    odd = [f"{name} ({wide} x {tall})" for name, wide, tall in sizes if abs(tall - height) > _ODD * height]
    if odd:
        raise DatasetError(
            f"{len(odd)} pictures show a product of another height than the usual {height} px, which needs a "
            f"recipe of their own: {_named(odd)}; take them out, or "
            "photograph them at the same scale"
        )
    widths, spread = _clusters([wide for _, wide, _ in sizes])
    coloured = sum(one.coloured for one in seen)
    if 0 < coloured < len(seen):
        few = [one.name for one in seen if one.coloured != (coloured > len(seen) / 2)]
        remarks.append(
            f"{coloured} of {len(seen)} pictures are in colour; the recipe takes the commoner kind. "
            f"The others: {_named(few)}"
        )
    surface, patch = grid(round(median(wide for _, wide, _ in sizes)), height)
    return Proposal(
        background=background,
        widths_px=widths,
        width_tolerance_px=_tolerance(spread, widths[0]),
        height_px=height,
        height_tolerance_px=_tolerance(max(abs(tall - height) for _, _, tall in sizes), height),
        surface=surface,
        patch_px=patch,
        channels=3 if coloured > len(seen) / 2 else 1,
        classes=classes,
        remarks=tuple(remarks),
    )


def look_at(name: str, pixels: NDArray[np.uint8]) -> Seen:
    """What one picture shows, uint8 ``(H, W, 3)``."""
    height, width = pixels.shape[:2]
    sampled = pixels[:: max(1, height // 512), :: max(1, width // 512)].astype(np.int16)
    coloured = float(np.ptp(sampled, axis=2).mean()) > 3.0
    grey = pixels[..., 1]
    columns, rows = np.percentile(grey, 75, axis=0), np.percentile(grey, 75, axis=1)
    ring = max(2, round(_RING * width))
    beside = float(np.median(np.concatenate([columns[:ring], columns[-ring:]])))
    inside = float(np.percentile(columns, 90))
    level = beside + 0.2 * (inside - beside)
    left, right = _run(columns > level)
    top, bottom = _run(np.percentile(grey[:, left:right], 75, axis=1) > level) if right > left else (0, 0)
    on_dark = beside < 40 and inside - beside > 24 and right - left < width - 2 and len(rows) > 0
    product = (right - left, bottom - top) if on_dark else (width, height)
    edge = np.concatenate([grey[:, :ring], grey[:, -ring:]], axis=1)
    even = float(np.percentile(edge, 95) - np.percentile(edge, 5)) < _EVEN
    middle = float(np.median(grey[height // 4 : height - height // 4, width // 4 : width - width // 4]))
    on_light = even and beside > _LIGHT and beside - middle > _DARKER
    return Seen(name, width, height, coloured, on_dark, on_light, *product)


def grid(width: int, height: int) -> tuple[tuple[int, int], int]:
    """The surface (height, width) and the patch side, px, for a product of ``width`` x ``height`` px.

    Patches side by side fill the surface; of all grids the one whose patches are most nearly square on the
    product, at a scale near one half, with few patches.
    """

    def cost(option: tuple[int, int, int]) -> float:
        patch, down, across = option
        wide, tall = across * patch / width, down * patch / height
        scale = math.sqrt(wide * tall)
        return 2 * abs(math.log(wide / tall)) + 0.5 * abs(math.log(scale / _SCALE)) + 0.01 * down * across

    options = [
        (patch, down, across)
        for patch in _PATCHES_PX
        for down in range(1, _MOST_PATCHES + 1)
        for across in range(1, _MOST_PATCHES // down + 1)
    ]
    patch, down, across = min(options, key=cost)
    return (down * patch, across * patch), patch


def recipe_text(name: str, proposal: Proposal, parts: int, mm_per_px: float | None) -> str:
    """The recipe as YAML, with what it rests on as comments."""
    scale = mm_per_px if mm_per_px is not None else 0.1
    told = (
        "" if mm_per_px is not None else "   # NOT MEASURED: only boxes in mm depend on it; set it by a scale"
    )
    classes = "\n".join(
        f"  - {{name: {json.dumps(one)}, bin: {number}}}"
        for number, one in enumerate(proposal.classes, start=1)
    )
    height, width = proposal.surface
    down, across = height // proposal.patch_px, width // proposal.patch_px
    tilt = "  max_tilt_deg: 1.5\n" if proposal.background == "dark" else ""
    bins = len(proposal.classes)
    decision = "" if bins > 1 else _ONLY_GOOD
    # One line each, whatever the names of files hold.
    remarks = "".join(f"# Look at this: {' '.join(one.split())}.\n" for one in proposal.remarks)
    return f"""# Proposed by `retrain recipe` from {parts} pictures; look at
# `station inspect --show-patches` before you use it.
{remarks}name: {json.dumps(name)}
version: 1
description: Proposed from {parts} pictures.

product:
  background: {proposal.background}   # {_BACKGROUNDS[proposal.background]}
  widths_px: [{", ".join(map(str, proposal.widths_px))}]   # found in the pictures
  height_px: {proposal.height_px}
  width_tolerance_px: {proposal.width_tolerance_px}   # twice what was found, at least 4
  height_tolerance_px: {proposal.height_tolerance_px}
{tilt}  mm_per_px_x: {scale:g}{told}
  mm_per_px_y: {scale:g}

surface:   # {down} x {across} patches that are nearly square on the product
  height: {height}
  width: {width}
  channels: {proposal.channels}

patch:
  size: {proposal.patch_px}
  overlap_px: 0

engine: {json.dumps(name)}

classes:   # the first one is the good one; set the bins of your sorter
{classes}
{decision}
fault_bin: {bins + 1 if bins > 1 else 3}
"""


_ONLY_GOOD = """
decision:   # no defect is known: what differs from good parts is rejected
  unknown: reject
  unknown_bin: 2
"""
_BACKGROUNDS = {
    "dark": "the product is cut out of a dark background",
    "none": "the whole picture is the product",
}


def _good_first(dataset: Dataset, good: str) -> tuple[str, ...]:
    names = dataset.classes
    if good and good not in names:
        raise DatasetError(f"no class is called {good!r}; --good is one of {', '.join(names)}")
    known = [name for name in names if name.lower().replace("_", "-").replace(" ", "-") in GOOD_NAMES]
    if not good and len(known) != 1:
        raise DatasetError(
            f"of {', '.join(names)}, say by --good which class is the one without a defect: only that one is "
            "accepted"
        )
    unfit = [name for name in names if not re.fullmatch(CLASS_NAME, name)]
    if unfit:
        raise DatasetError(
            f"a recipe cannot hold the class names {', '.join(map(repr, unfit))}: 1 to 32 letters, digits, "
            "spaces, '.', '_' or '-', a letter or digit first. Give other names by --rename OLD=NEW of "
            "`retrain data`"
        )
    first = good or known[0]
    return (first, *(name for name in names if name != first))


def _clusters(widths: Sequence[int]) -> tuple[tuple[int, ...], int]:
    """Widths that belong together within 3 %, and the largest distance of one from its own."""
    groups: list[list[int]] = []
    for width, count in sorted(Counter(widths).items()):
        if groups and width - groups[-1][-1] <= max(2, 0.03 * width):
            groups[-1] += [width] * count
        else:
            groups.append([width] * count)
    centres = [round(median(group)) for group in groups]
    if len(centres) > 64:
        raise DatasetError(
            f"the pictures have {len(centres)} widths; a recipe holds 64. Crop or photograph them alike"
        )
    spread = max(abs(w - c) for group, c in zip(groups, centres, strict=True) for w in group)
    return tuple(centres), spread


def _tolerance(found: int, size: int) -> int:
    """Twice what was found, at least 4 px, and no more than what a recipe takes without a risk."""
    return min(max(4, 2 * found), max(found, 6, int(0.04 * size)), size - 1)


def _run(on: NDArray[np.bool_]) -> tuple[int, int]:
    """The longest run of what is on, gaps of up to 8 closed."""
    places = np.flatnonzero(on)
    if not len(places):
        return 0, 0
    parts = np.split(places, np.flatnonzero(np.diff(places) > 8) + 1)
    longest = max(parts, key=len)
    return int(longest[0]), int(longest[-1]) + 1


def _named(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
