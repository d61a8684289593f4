"""Crop and paste with Poisson blending, without learning: a generator must make better pictures than this.

A real defect is cut out, turned and scaled, and its contrast is changed. Then it is pasted onto a real
surface without a defect so that gradients are copied and not grey levels (Perez, Gangnet, Blake: Poisson
image editing, SIGGRAPH 2003; ``cv2.seamlessClone``). There are three functions, for three kinds of knowledge
about the defects:

- :func:`paste_from_surfaces`: whole surfaces with a class per pixel (rendered parts, photographs with masks);
  :func:`paste_whole_parts` makes whole parts of them instead of patches;
- :func:`paste`: patches with one mask each, and patches without a defect;
- :func:`paste_from_pictures`: pictures of one class without masks. If there are pictures without a defect,
  the middle of a picture is pasted onto them in a random shape. If not, as for textures (NEU-CLS-64: the
  whole picture is the defect), two pictures of the class are mixed in random shapes. The border of such a
  shape may cut a small defect; where masks exist, use them.

``cv2.seamlessClone`` does more than blending, and this is undone here: it takes only three channels; it
removes 3 px from the border of the mask, and a scratch is thinner than that; it clears the mask at the border
of the picture; it centres the box of the *remaining* mask, so that boxes of odd size shift by a pixel. The
n-th picture depends on (seed, n) alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from retraining.errors import DatasetError
from retraining.surfaces import SOUND, Surfaces, resize_mask
from retraining.surfaces.crops import CropRules, Defect, find_defects
from station.patching.area import resize_picture

Pixels = NDArray[np.uint8]
Mask = NDArray[np.uint8]
Report = Callable[[int], None]
_WORN = 3
"""px that ``cv2.seamlessClone`` erodes off a mask."""
_TRIES = 500
_KEPT = 2 / 3
"""Of the change that a defect makes by NORMAL_CLONE, what MIXED_CLONE must keep to be used."""
_DIRECTED = 1.5
"""Ratio of the squared differences across and down from which on pictures have a direction."""


@dataclass(frozen=True, slots=True)
class PasteRules:
    """Ranges of what happens to a defect on its way."""

    scale: tuple[float, float] = (0.8, 1.25)
    """Size is multiplied by this; area-averaged, so that thin scratches fade as in the camera."""
    contrast: tuple[float, float] = (0.8, 1.25)
    """Distance from the cut-out's mean grey level is multiplied by this."""
    quarter_turns: bool | None = None
    """Turn by 90 degrees as well; None: where the pictures have no direction (:func:`has_direction`)."""
    mixed_share: float = 0.5
    """Share of pastes in which the stronger gradient of both wins (MIXED_CLONE), so that the sound surface's
    texture stays visible; in the others (NORMAL_CLONE) the cut-out's own texture comes along. A defect with a
    mask that would fade by more than a third among stronger gradients is pasted normally."""
    collar_px: int = 4
    """Surroundings of a mask that are carried over with it."""
    rim_px: int = 16
    """Blending covers this margin outside the patch, so that defects may cross its border without a seam."""


@dataclass(frozen=True, slots=True)
class _Cutout:
    """A piece of a surface with a defect on it."""

    pixels: Pixels
    """``(h, w, C)``."""
    mask: Mask
    """``(h, w)``, 1 on the defect."""
    anchor: tuple[int, int]
    """Row and column of a pixel of the defect: the one that is put somewhere on the patch."""
    extent: float
    """px; longest side of the whole defect, of which the piece may show a part."""
    area: float
    """px of the whole defect."""


def paste_from_surfaces(
    surfaces: Surfaces,
    count: int,
    label: int,
    patch_px: int,
    seed: int,
    *,
    rules: PasteRules | None = None,
    report: Report = lambda done: None,
) -> Pixels:
    """``(count, P, P, C)``: defects of class ``label`` on sound places of the same set of surfaces.

    As much of a defect shows as a crop must show to be trained on
    (:class:`retraining.surfaces.crops.CropRules`). Raises :class:`DatasetError` where no surface shows the
    class or none has a sound place.
    """
    rules = _settled(rules, surfaces.pixels)
    if patch_px > min(surfaces.masks.shape[1:]):
        raise DatasetError(f"patches of {patch_px} px do not fit on surfaces {surfaces.masks.shape[1:]}")
    cut_out = _cutter(surfaces, label, patch_px, rules)

    def sound_place(rng: np.random.Generator) -> Pixels:
        return _sound_place(surfaces, patch_px, rules.rim_px, rng)

    shape = (count, patch_px, patch_px, int(surfaces.pixels.shape[3]))
    return _paste_many(cut_out, sound_place, shape, [seed, label], rules, report)


def paste_whole_parts(
    surfaces: Surfaces,
    count: int,
    label: int,
    seed: int,
    *,
    rules: PasteRules | None = None,
    report: Report = lambda done: None,
) -> Iterator[tuple[Pixels, Mask]]:
    """``count`` good parts ``(H, W, C)`` with one defect of class ``label`` each, and its mask ``(H, W)``.

    The defect lies within a square of the surface's smaller side, and no pixel outside it changes. Raises
    :class:`DatasetError` where no surface shows the class, or none is without any defect.
    """
    rules = _settled(rules, surfaces.pixels)
    height, width = surfaces.masks.shape[1:]
    side, rim = min(height, width), rules.rim_px
    cut_out = _cutter(surfaces, label, side, rules)
    good = [index for index in range(len(surfaces)) if not np.any(surfaces.masks[index])]
    if not good:
        raise DatasetError("no part is without a defect, so there is nothing to paste onto; add good parts")
    for number in range(count):
        rng = np.random.default_rng([seed, label, number])
        part = np.array(surfaces.pixels[good[int(rng.integers(len(good)))]])
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        rimmed = _with_channels(cv2.copyMakeBorder(part, rim, rim, rim, rim, cv2.BORDER_REFLECT_101))
        rows, columns = slice(top, top + side + 2 * rim), slice(left, left + side + 2 * rim)
        pasted = _paste_one(cut_out, lambda _, below=rimmed[rows, columns]: below, side, rules, rng)  # type: ignore[misc]
        mask = np.zeros(rimmed.shape[:2], np.uint8)
        rimmed[rows, columns], mask[rows, columns] = pasted
        report(number + 1)
        yield rimmed[rim : rim + height, rim : rim + width], mask[rim : rim + height, rim : rim + width]


def paste(
    pixels: Pixels,
    masks: NDArray[np.uint8] | NDArray[np.bool_],
    clean: Pixels,
    count: int,
    seed: int,
    *,
    rules: PasteRules | None = None,
    report: Report = lambda done: None,
) -> Pixels:
    """``(count, P, P, C)``: the defects of patches ``(N, H, W, C)``, by masks ``(N, H, W)``, on clean ones.

    ``clean`` is ``(M, P, P, C)``. Raises :class:`DatasetError` on shapes that do not fit or empty masks.
    """
    _check_pictures(pixels, clean)
    rules = _settled(rules, clean)
    cut_out = _marked_cutter(pixels, masks)

    def sound_patch(rng: np.random.Generator) -> Pixels:
        return _rimmed(clean[int(rng.integers(len(clean)))], rules.rim_px)

    return _paste_many(cut_out, sound_patch, (count, *clean.shape[1:]), [seed], rules, report)


def paste_marked(
    pixels: Pixels,
    masks: NDArray[np.uint8] | NDArray[np.bool_],
    count: int,
    seed: int,
    *,
    rules: PasteRules | None = None,
    report: Report = lambda done: None,
) -> tuple[Pixels, Mask]:
    """Pictures ``(count, P, P, C)`` with one more defect, and what is marked on them, ``(count, P, P)`` of 0
    and 1.

    The defect of one picture ``(N, P, P, C)``, by masks ``(N, P, P)``, is pasted onto any picture, whose own
    defects stay marked. Raises :class:`DatasetError` on shapes that do not fit or empty masks.
    """
    _check_pictures(pixels, pixels)
    rules = _settled(rules, pixels)
    cut_out = _marked_cutter(pixels, masks)
    side, rim = pixels.shape[1], rules.rim_px
    inner = slice(rim, rim + side)
    made, marked = np.empty((count, *pixels.shape[1:]), np.uint8), np.empty((count, side, side), np.uint8)
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        below = int(rng.integers(len(pixels)))
        picture = _rimmed(pixels[below], rim)
        pasted, mask = _paste_one(cut_out, lambda _, picture=picture: picture, side, rules, rng)  # type: ignore[misc]
        made[number] = pasted[inner, inner]
        marked[number] = (mask[inner, inner] > 0) | (masks[below] > 0)
        report(number + 1)
    return made, marked


def paste_on_each(
    pixels: Pixels,
    masks: NDArray[np.uint8] | NDArray[np.bool_],
    clean: Pixels,
    seed: int,
    *,
    rules: PasteRules | None = None,
) -> tuple[Pixels, Mask]:
    """Each of the clean pictures ``(M, P, P, C)`` with one defect, and its mask ``(M, P, P)`` of 0 and 1.

    The defects are those of patches ``(N, H, W, C)`` by masks ``(N, H, W)``. Raises :class:`DatasetError` on
    shapes that do not fit or empty masks.
    """
    _check_pictures(pixels, clean)
    rules = _settled(rules, clean)
    cut_out = _marked_cutter(pixels, masks)
    side, rim = clean.shape[1], rules.rim_px
    inner = slice(rim, rim + side)
    made, marked = np.empty_like(clean), np.empty(clean.shape[:3], np.uint8)
    for number, below in enumerate(clean):
        rng = np.random.default_rng([seed, number])
        rimmed = _rimmed(below, rim)
        pasted, mask = _paste_one(cut_out, lambda _, rimmed=rimmed: rimmed, side, rules, rng)  # type: ignore[misc]
        made[number], marked[number] = pasted[inner, inner], mask[inner, inner] > 0
    return made, marked


def paste_from_pictures(
    pixels: Pixels,
    clean: Pixels | None,
    count: int,
    seed: int,
    *,
    rules: PasteRules | None = None,
    report: Report = lambda done: None,
) -> Pixels:
    """``(count, S, S, C)`` from pictures ``(N, S, S, C)`` of one class without masks.

    With ``clean`` ``(M, S, S, C)`` the middle of a picture is pasted onto a clean one; without it, parts of
    one picture of the class are pasted onto another. Raises :class:`DatasetError` on shapes that do not fit.
    """
    _check_pictures(pixels, pixels if clean is None else clean)
    rules = _settled(rules, pixels)
    side, rim = pixels.shape[1], rules.rim_px
    made = np.empty((count, *pixels.shape[1:]), np.uint8)
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        donor = int(rng.integers(len(pixels)))
        if clean is not None:
            below = clean[int(rng.integers(len(clean)))]
            blob = _middle_blob(rng, side)
        else:  # another picture than the donor wherever there is one
            below = pixels[(donor + int(rng.integers(1, max(2, len(pixels))))) % len(pixels)]
            blob = _scattered_blobs(rng, side)
        middle = (side // 2, side // 2)
        whole = _Cutout(pixels[donor], np.ones((side, side), np.uint8), middle, side, side * side)
        piece = _changed(whole, rng, rules)
        above, _ = _laid(piece, middle, side)
        mask = cv2.copyMakeBorder(blob, rim, rim, rim, rim, cv2.BORDER_REFLECT_101)
        mixed = bool(rng.random() < rules.mixed_share)
        blended = _blend(_rimmed(above, rim), np.asarray(mask, np.uint8), _rimmed(below, rim), mixed)
        made[number] = blended[rim : rim + side, rim : rim + side]
        report(number + 1)
    return made


def has_direction(pixels: Pixels) -> bool:
    """Whether pictures ``(N, H, W, C)`` look otherwise across than down, as drawn or rolled metal does.

    By the squared differences of neighbouring pixels in the two directions, on a few million pixels at most.
    """
    most = max(1, 4_000_000 // int(np.prod(pixels.shape[1:])))
    some = np.asarray(pixels[:: -(-len(pixels) // most)], np.float32)
    down, across = (float(np.square(np.diff(some, axis=axis)).mean()) for axis in (1, 2))
    return max(down, across) > _DIRECTED * min(down, across)


def _settled(rules: PasteRules | None, pixels: Pixels) -> PasteRules:
    """The rules with quarter turns decided."""
    chosen = rules or PasteRules()
    if chosen.quarter_turns is not None:
        return chosen
    return replace(chosen, quarter_turns=not has_direction(pixels))


def _marked_cutter(
    pixels: Pixels, masks: NDArray[np.uint8] | NDArray[np.bool_]
) -> Callable[[np.random.Generator], _Cutout]:
    """Cuts the defect out of a random picture that has one; raises :class:`DatasetError`."""
    if masks.shape != pixels.shape[:3]:
        raise DatasetError(
            f"masks {masks.shape} do not fit pictures {pixels.shape}; give one mask per picture"
        )
    shown = [n for n in range(len(masks)) if masks[n].any()]
    if not shown:
        raise DatasetError("every mask is empty; there is nothing to paste")

    def cut_out(rng: np.random.Generator) -> _Cutout:
        chosen = shown[int(rng.integers(len(shown)))]
        mask = (masks[chosen] > 0).astype(np.uint8)
        where = np.argwhere(mask)
        row, column = where[int(rng.integers(len(where)))]
        extent = float(np.ptp(where, axis=0).max()) + 1
        return _Cutout(pixels[chosen], mask, (int(row), int(column)), extent, float(len(where)))

    return cut_out


def _check_pictures(pixels: Pixels, clean: Pixels) -> None:
    for what, given in (("pictures", pixels), ("clean pictures", clean)):
        if given.ndim != 4 or not len(given) or given.shape[3] not in (1, 3) or given.dtype != np.uint8:
            raise DatasetError(f"{what} {given.shape} {given.dtype} must be uint8 (N, H, W, 1 or 3), N > 0")
    if pixels.shape[3] != clean.shape[3]:
        raise DatasetError(f"pictures {pixels.shape} and clean ones {clean.shape} differ in channels")
    if clean.shape[1] != clean.shape[2]:
        raise DatasetError(f"clean pictures {clean.shape} are not square; cut or resize them")


def _paste_many(
    cut_out: Callable[[np.random.Generator], _Cutout],
    sound: Callable[[np.random.Generator], Pixels],
    shape: tuple[int, ...],
    seeds: list[int],
    rules: PasteRules,
    report: Report,
) -> Pixels:
    """Cut-outs on sound pieces ``(P + 2 rim, P + 2 rim, C)``, cropped to ``shape`` (count, P, P, C)."""
    side, rim = shape[1], rules.rim_px
    inner = slice(rim, rim + side)
    made = np.empty(shape, np.uint8)
    for number in range(shape[0]):
        rng = np.random.default_rng([*seeds, number])
        made[number] = _paste_one(cut_out, sound, side, rules, rng)[0][inner, inner]
        report(number + 1)
    return made


def _paste_one(
    cut_out: Callable[[np.random.Generator], _Cutout],
    sound: Callable[[np.random.Generator], Pixels],
    side: int,
    rules: PasteRules,
    rng: np.random.Generator,
) -> tuple[Pixels, Mask]:
    """A cut-out on a sound piece ``(P + 2 rim, P + 2 rim, C)``, and its mask there."""
    rim = rules.rim_px
    inner = slice(rim, rim + side)
    for _ in range(_TRIES):
        piece = _changed(cut_out(rng), rng, rules)
        row, column = (rim + int(v) for v in rng.integers(0, side, 2))
        above, mask = _laid(piece, (row, column), side + 2 * rim)
        if _shows_enough(mask[inner, inner], piece):
            break
    else:
        raise DatasetError(
            f"no cut-out shows enough on a patch of {side} px in {_TRIES} tries; are its masks too small?"
        )
    carried = np.asarray(cv2.dilate(mask, _disc(rules.collar_px)), np.uint8)
    mixed, below = bool(rng.random() < rules.mixed_share), sound(rng)
    blended = _blend(above, carried, below, False)
    if mixed:
        thinner = _blend(above, carried, below, True)
        if _change(thinner, below, mask) >= _KEPT * _change(blended, below, mask):
            blended = thinner
    return blended, mask


def _change(made: Pixels, below: Pixels, mask: Mask) -> float:
    """Mean distance of grey levels where the defect is."""
    return float(cv2.absdiff(made, below).reshape(*mask.shape, -1).mean(axis=2)[mask > 0].mean())


def _shows_enough(mask: Mask, piece: _Cutout) -> bool:
    """Whether the part of a defect inside the patch would be trained on as its class."""
    rules = CropRules()
    _, _, width, height = cv2.boundingRect(mask)
    long_enough = max(width, height) >= rules.min_extent * min(piece.extent, mask.shape[0])
    return long_enough or int(mask.sum()) >= rules.min_visible * piece.area


def _cutter(
    surfaces: Surfaces, label: int, side: int, rules: PasteRules
) -> Callable[[np.random.Generator], _Cutout]:
    """Cuts out any defect of a class, as far as it can show on a square of ``side`` px.

    Raises :class:`DatasetError` for a class without a defect on any surface.
    """
    if not 0 < label < len(surfaces.classes):
        raise DatasetError(f"class {label} is not a defect class; use 1 to {len(surfaces.classes) - 1}")
    defects = [
        defect
        for index in range(len(surfaces))
        for defect in find_defects(
            index, np.asarray(surfaces.masks[index]) * (surfaces.masks[index] == label)
        )
    ]
    if not defects:
        raise DatasetError(f"no surface shows {surfaces.classes[label]}, so there is nothing to paste")
    reach = round((side + 2 * rules.rim_px) / rules.scale[0])
    return lambda rng: _cut_defect(surfaces, defects[int(rng.integers(len(defects)))], reach, rng)


def _cut_defect(surfaces: Surfaces, defect: Defect, reach: int, rng: np.random.Generator) -> _Cutout:
    """What lies within ``reach`` px of a random pixel of a defect; other classes count as sound."""
    row, column = (int(v) for v in defect.pixels[int(rng.integers(len(defect.pixels)))])
    top, left = max(0, row - reach), max(0, column - reach)
    rows, columns = slice(top, row + reach), slice(left, column + reach)
    mask = (surfaces.masks[defect.surface, rows, columns] == defect.label).astype(np.uint8)
    pixels = np.asarray(surfaces.pixels[defect.surface, rows, columns])
    return _Cutout(pixels, mask, (row - top, column - left), float(defect.extent), float(defect.area))


def _sound_place(surfaces: Surfaces, patch_px: int, rim: int, rng: np.random.Generator) -> Pixels:
    """A sound piece ``(P + 2 rim, P + 2 rim, C)``; where the surface ends, its rim is mirrored.

    Half of them lie on the station's own grid, as in :class:`retraining.surfaces.crops.RandomCrops`.
    """
    height, width = surfaces.masks.shape[1:]
    for _ in range(10_000):
        index = int(rng.integers(len(surfaces)))
        top, left = int(rng.integers(height - patch_px + 1)), int(rng.integers(width - patch_px + 1))
        if rng.random() < CropRules().aligned_share:
            top, left = top // patch_px * patch_px, left // patch_px * patch_px
        y0, x0 = max(0, top - rim), max(0, left - rim)
        y1, x1 = min(height, top + patch_px + rim), min(width, left + patch_px + rim)
        if np.any(surfaces.masks[index, y0:y1, x0:x1] != SOUND):
            continue
        missing = (
            rim - (top - y0),
            rim - (y1 - top - patch_px),
            rim - (left - x0),
            rim - (x1 - left - patch_px),
        )
        piece = np.asarray(surfaces.pixels[index, y0:y1, x0:x1])
        return _with_channels(cv2.copyMakeBorder(piece, *missing, cv2.BORDER_REFLECT_101))
    raise DatasetError("no sound place found in 10,000 tries; add surfaces without defects")


def _changed(piece: _Cutout, rng: np.random.Generator, rules: PasteRules) -> _Cutout:
    """The piece flipped, turned, scaled and with another contrast."""
    pixels, mask, (row, column) = piece.pixels, piece.mask, piece.anchor
    if rng.random() < 0.5:
        pixels, mask, row = pixels[::-1], mask[::-1], mask.shape[0] - 1 - row
    if rng.random() < 0.5:
        pixels, mask, column = pixels[:, ::-1], mask[:, ::-1], mask.shape[1] - 1 - column
    if rng.random() < 0.5 and rules.quarter_turns:
        pixels, mask, row, column = pixels.swapaxes(0, 1), mask.swapaxes(0, 1), column, row
    scale = float(np.exp(rng.uniform(*np.log(rules.scale))))
    height, width = (max(1, round(v * scale)) for v in mask.shape)
    resized = resize_picture(pixels, height, width)
    contrast = float(rng.uniform(*rules.contrast))
    mean = resized.mean(axis=(0, 1), dtype=np.float64)
    stretched = np.clip((resized - mean) * contrast + mean, 0, 255).astype(np.uint8)
    return _Cutout(
        stretched,
        resize_mask(np.ascontiguousarray(mask), height, width),
        (min(int(row * scale), height - 1), min(int(column * scale), width - 1)),
        piece.extent * scale,
        piece.area * scale * scale,
    )


def _laid(piece: _Cutout, place: tuple[int, int], side: int) -> tuple[Pixels, Mask]:
    """The piece with its anchor at ``place`` of a square of ``side`` px; mirrored where it does not reach."""
    height, width = piece.mask.shape
    rows = _mirrored(np.arange(side) - place[0] + piece.anchor[0], height)
    columns = _mirrored(np.arange(side) - place[1] + piece.anchor[1], width)
    mask = np.zeros((side, side), np.uint8)
    top, left = place[0] - piece.anchor[0], place[1] - piece.anchor[1]
    y0, x0, y1, x1 = max(0, top), max(0, left), min(side, top + height), min(side, left + width)
    mask[y0:y1, x0:x1] = piece.mask[y0 - top : y1 - top, x0 - left : x1 - left]
    return piece.pixels[np.ix_(rows, columns)], mask


def _mirrored(indices: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Indices folded into 0 .. length - 1, as a mirror at either end shows them."""
    folded = indices % (2 * length)
    return np.minimum(folded, 2 * length - 1 - folded)


def _blend(above: Pixels, mask: Mask, below: Pixels, mixed: bool) -> Pixels:
    """``above`` (H, W, C) within ``mask`` (H, W) on ``below``, without a seam; nothing moves by a pixel."""
    shown = np.asarray(cv2.dilate(mask, _disc(_WORN)), np.uint8) * 255
    shown[[0, -1], :] = 0
    shown[:, [0, -1]] = 0
    x, y, width, height = cv2.boundingRect(shown)
    if not width:
        return below
    colours = [cv2.cvtColor(p, cv2.COLOR_GRAY2BGR) if p.shape[2] == 1 else p for p in (above, below)]
    how = cv2.MIXED_CLONE if mixed else cv2.NORMAL_CLONE
    blended = cv2.seamlessClone(
        np.ascontiguousarray(colours[0]),
        np.ascontiguousarray(colours[1]),
        shown,
        (x + width // 2, y + height // 2),
        how,
    )
    return np.asarray(blended, np.uint8)[:, :, : below.shape[2]]


def _middle_blob(rng: np.random.Generator, side: int) -> Mask:
    """1 within a wobbly disc that covers most of the middle of ``(side, side)``."""
    y, x = (np.mgrid[:side, :side] - (side - 1) / 2) / (side / 2)
    bearing, radius = np.arctan2(y, x), np.full((side, side), rng.uniform(0.7, 0.9))
    for waves in (2, 3, 5):
        radius += rng.uniform(-0.16, 0.16) / waves * np.cos(waves * bearing + rng.uniform(0, 2 * np.pi))
    return np.asarray(np.hypot(x, y) < radius, np.uint8)


def _scattered_blobs(rng: np.random.Generator, side: int) -> Mask:
    """1 within soft-edged islands that cover 30 to 70 % of ``(side, side)``."""
    noise = rng.standard_normal((side, side)).astype(np.float32)
    islands = cv2.GaussianBlur(noise, (0, 0), float(side * rng.uniform(0.12, 0.28)))
    return np.asarray(islands > np.quantile(islands, rng.uniform(0.3, 0.7)), np.uint8)


def _rimmed(picture: Pixels, rim: int) -> Pixels:
    """A picture with its own mirror image around it: ``(H + 2 rim, W + 2 rim, C)``."""
    return _with_channels(cv2.copyMakeBorder(picture, rim, rim, rim, rim, cv2.BORDER_REFLECT_101))


def _with_channels(picture: NDArray[np.uint8] | cv2.typing.MatLike) -> Pixels:
    """``(H, W, C)`` again, where OpenCV dropped a single channel."""
    found = np.asarray(picture, np.uint8)
    return found[:, :, None] if found.ndim == 2 else found


def _disc(radius: int) -> Mask:
    """A round structuring element."""
    side = 2 * radius + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)
