"""A recipe proposed from a data set: what can be seen in its pictures, and what a person must still say."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from statistics import median

import numpy as np
from numpy.typing import NDArray

from drivers.cameras.picture_files import in_channels
from retraining.data.manifest import Dataset, Picture
from retraining.errors import DatasetError
from retraining.surfaces.photographs import read_photograph
from retraining.surfaces.reading import LOSSY, Reporter, for_each, read_picture, silent, stage
from station.patching import PatchingError, measure_product
from station.patching.learning import (
    WIDEST,
    GoodPart,
    LightFound,
    light_limits,
    look_at_light,
    texture_limits,
)
from station.patching.learning import look_at as look_at_texture
from station.recipe import CLASS_NAME, SMALLEST_FOR_TEXTURE, Product, ProductLimits, Recipe, Texture

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
_TILT_DEG = 1.5
_MOST_NAMED = 10
MARGIN = 0.5
"""Limits are at half of the least that the pictures show, and at twice the most."""
FEWEST_FOR_TEXTURE = 10
_LEARN = "learn them by `station limits`"
_LEAST_TEXTURE = 0.1
"""Grey levels: a limit below this says nothing."""
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
    """As the station's search finds it on dark; of the whole picture where it does not stand on dark."""
    problem: str = ""
    """Why the station's search finds no product on dark; "" where it does, or was not asked."""


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
        pixels = read_picture(dataset.path_of(picture), 3, dataset.sixteen_bit_white)
        return look_at(picture.path, pixels, background)

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
    missed = [f"{one.name} ({one.problem})" for one in seen if on_dark and one.problem]
    if len(missed) == len(seen):
        raise DatasetError(
            f"the station finds a product in none of the pictures: {_named(missed)}; photograph the product "
            "alone on a dark background, or say --background none"
        )
    if missed:
        remarks.append(f"the station finds no product in {len(missed)} pictures: {_named(missed)}")
    sizes = [
        (one.name, *((one.product_width, one.product_height) if on_dark else (one.width, one.height)))
        for one in seen
        if not (on_dark and one.problem)
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


def look_at(name: str, pixels: NDArray[np.uint8], background: str = "auto") -> Seen:
    """What one picture shows, uint8 ``(H, W, 3)``; the station's search measures what stands on dark."""
    height, width = pixels.shape[:2]
    sampled = pixels[:: max(1, height // 512), :: max(1, width // 512)].astype(np.int16)
    coloured = float(np.ptp(sampled, axis=2).mean()) > 3.0
    grey = pixels[..., 1]
    columns = np.percentile(grey, 75, axis=0)
    ring = max(2, round(_RING * width))
    beside = float(np.median(np.concatenate([columns[:ring], columns[-ring:]])))
    inside = float(np.percentile(columns, 90))
    bright = int(np.count_nonzero(columns > beside + 0.2 * (inside - beside)))
    on_dark = beside < 40 and inside - beside > 24 and bright < width - 2
    edge = np.concatenate([grey[:, :ring], grey[:, -ring:]], axis=1)
    even = float(np.percentile(edge, 95) - np.percentile(edge, 5)) < _EVEN
    middle = float(np.median(grey[height // 4 : height - height // 4, width // 4 : width - width // 4]))
    on_light = even and beside > _LIGHT and beside - middle > _DARKER
    product, problem = (width, height), ""
    if background == "dark" or (on_dark and background == "auto"):
        # The sizes of the recipe do not exist yet; the search takes what is bright for a first idea of them.
        rough = Product.model_construct(
            background="dark", widths_px=(max(1, bright),), height_px=height, max_tilt_deg=_TILT_DEG,
            limits=WIDEST,
        )  # fmt: skip
        try:
            region = measure_product(in_channels(pixels, 1)[..., 0], rough)[0]
            product = (region.width, region.height)
        except PatchingError as error:
            problem = str(error)
    return Seen(name, width, height, coloured, on_dark, on_light, *product, problem)


def learn_limits(
    dataset: Dataset, draft: Recipe, report: Reporter = silent
) -> tuple[ProductLimits | None, Texture | None, str]:
    """Limits of light and texture by the pictures that a draft cuts, and why there is none of the texture.

    Both leave a margin of :data:`MARGIN` to what the pictures show. Limits of the texture need
    :data:`FEWEST_FOR_TEXTURE` pictures as the camera gave them, because a lossy format smooths lines.
    """
    wide = draft.model_copy(
        update={"product": draft.product.model_copy(update={"limits": WIDEST, "texture": None})}
    )

    def look(picture: Picture) -> tuple[LightFound, GoodPart] | None:
        pixels = read_photograph(dataset.path_of(picture), wide)
        try:
            return look_at_light(pixels, wide), look_at_texture(picture.path, pixels, wide)
        except PatchingError:
            return None  # the command names it, with the reason

    seen = for_each(look, dataset.pictures, stage(report, "limits learnt", len(dataset)))
    found = [one for one in seen if one is not None]
    if not found:
        return None, None, "no picture could be cut"
    light = light_limits([one for one, _ in found], MARGIN)
    narrow, low = SMALLEST_FOR_TEXTURE
    if min(draft.product.widths_px) < narrow or draft.product.height_px < low:
        return light, None, f"that needs a product of {narrow} x {low} px or more"
    textures = [part.found for _, part in found if part.found is not None]
    lossy = [p.path for p in dataset.pictures if PurePosixPath(p.path).suffix.lower() in LOSSY]
    if lossy:
        return (
            light,
            None,
            f"{len(lossy)} pictures are in a lossy format, which smooths lines; {_LEARN}",
        )
    if len(textures) < FEWEST_FOR_TEXTURE:
        measured = (
            f", and {len(textures)} of {len(found)} could be measured" if len(textures) < len(found) else ""
        )
        return (
            light,
            None,
            f"it needs {FEWEST_FOR_TEXTURE} pictures{measured}; {_LEARN}",
        )
    if MARGIN * min(min(one.change, one.grain, one.texture) for one in textures) < _LEAST_TEXTURE:
        return light, None, "the pictures are too smooth: a frozen line would look the same"
    return light, texture_limits([part for _, part in found], MARGIN), ""


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


def recipe_text(
    name: str,
    proposal: Proposal,
    parts: int,
    mm_per_px: float | None,
    *,
    sixteen_bit_white: int | None = None,
    limits: ProductLimits | None = None,
    texture: Texture | None = None,
    no_texture: str = "",
) -> str:
    """The recipe as YAML, with what it rests on as comments.

    ``no_texture``: why there are no limits of the texture.
    """
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
    white = "" if sixteen_bit_white is None else f"  sixteen_bit_white: {sixteen_bit_white}\n"
    learnt = _limits_text(limits, texture, no_texture, dark=proposal.background == "dark")
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
{white}{learnt}
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


def _limits_text(
    limits: ProductLimits | None, texture: Texture | None, no_texture: str, *, dark: bool
) -> str:
    lines = []
    if limits is not None:
        lines.append("  limits:   # half of the least, twice the most that the pictures show")
        keys = ("min_level", "max_saturated", "max_saturated_patch", "max_black", "max_black_patch")
        lines += [
            f"    {key}: {getattr(limits, key):g}" for key in (*(("min_contrast",) if dark else ()), *keys)
        ]
    if texture is not None:
        lines.append("  texture:   # half of the least that the pictures show")
        lines += [f"    {key}: {value:g}" for key, value in texture.model_dump().items()]
    elif no_texture:
        lines.append(f"  # No limits of the texture: {no_texture}.")
    return "".join(f"{line}\n" for line in lines)


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


def _named(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
