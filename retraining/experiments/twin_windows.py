"""Windows of rendered parts with their clean twins, and what was changed of them outside a mask."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from retraining.experiments.common import Pixels, save_pictures
from retraining.experiments.tasks import Place, TableCell, TaskResult

RING_PX = 8
SIDES = ("train", "test")
LIGHTS = 4
"""Lamps of the rig, a quarter of a turn apart."""


def render(
    place: Place,
    *,
    seed: int,
    lights: int,
    kinds: list[str],
    level: str | None,
    slant_deg: float,
    width: int,
    window: int,
    side: int,
    training_parts: int,
    test_parts: int,
    more_normals: int,
) -> TaskResult:
    """Windows with a defect, their clean twins and masks, and windows without a defect."""
    import torch

    from retraining.evaluation.part_runs import in_processes

    orders = [(part, kind) for part, count in zip(SIDES, (training_parts, test_parts), strict=True)
              for kind in kinds for _ in range(count)]  # fmt: skip
    train = training_parts * len(kinds)
    further = [more_normals // train + (number < more_normals % train) for number in range(train)]
    make = partial(
        _windows_of, orders=orders, further=further, kinds=kinds, seed=seed, lights=lights, level=level,
        slant_deg=slant_deg, width=width, window=window, side=side,
    )  # fmt: skip
    found: dict[str, list[NDArray[np.uint8]]] = {}
    more: list[NDArray[np.uint8]] = []
    for number, (own, others) in in_processes(make, range(len(orders)), torch.get_num_threads()):
        for name, pixels in own.items():
            found.setdefault(f"{orders[number][0]}-{name}", []).append(pixels)
        more += others
        place.report(number + 1, len(orders), "parts rendered")
    for name, pictures in found.items():
        save_pictures(place, np.stack(pictures), f"{name}.npy")
    save_pictures(place, np.stack(more), "more-good.npy")
    return TaskResult()


def outside_cells(row: str, clean: Pixels, made: Pixels, masks: Pixels) -> tuple[TableCell, ...]:
    """Mean absolute change of grey levels in the ring around masks ``(N, S, S)``, and farther out.

    Each picture counts alike; one whose mask leaves no such place does not count.
    """
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * RING_PX + 1, 2 * RING_PX + 1))
    change = np.abs(made.astype(np.float32) - clean).mean(axis=3)
    near = np.stack([cv2.dilate((mask > 0).astype(np.uint8), disc) for mask in masks]) > 0
    cells = []
    for column, places in (("ring", near & (masks == 0)), ("far", ~near)):
        each = [own[here].mean() for own, here in zip(change, places, strict=True) if here.any()]
        if each:
            cells.append(TableCell("outside", row, column, float(np.mean(each))))
    return tuple(cells)


def opposite_lights(clean: Pixels, made: Pixels, masks: Pixels) -> float:
    """How the change inside a mask under one lamp goes with that under the opposite one: a correlation.

    Relief turns bright under one lamp what it darkens under the other; a defect that is drawn without regard
    to the lights does not. The lamps are 90 degrees apart, so the third is opposite the first. Mean over
    pictures ``(N, S, S, 4)`` and both pairs of lamps.
    """
    change = made.astype(np.float64) - clean
    found = []
    for own, mask in zip(change, masks > 0, strict=True):
        for one in (0, 1):
            a, b = own[mask][:, one], own[mask][:, one + 2]
            if len(a) > 2 and a.std() > 0 and b.std() > 0:
                found.append(float(np.corrcoef(a, b)[0, 1]))
    return float(np.mean(found)) if found else 0.0


def _windows_of(
    number: int,
    *,
    orders: list[tuple[str, str]],
    further: list[int],
    kinds: list[str],
    seed: int,
    lights: int,
    level: str | None,
    slant_deg: float,
    width: int,
    window: int,
    side: int,
) -> tuple[dict[str, Pixels], list[Pixels]]:
    """A part's window with its defect, the clean twin, the mask, one without a defect, and some more."""
    from retraining.surfaces import resize_mask
    from simulation.rendering.parts import render_part
    from station.patching.area import resize_picture

    kind = orders[number][1]
    part = render_part(seed * 1_000_003 + number, width=width, kind=kind, level=level)
    if lights == 1:
        defective, clean = part.surface[..., None], part.clean[..., None]
    else:
        slant = np.deg2rad(slant_deg)
        around = np.deg2rad([0.0, 90.0, 180.0, 270.0])
        flat = [np.sin(slant) * np.cos(around), np.sin(slant) * np.sin(around)]
        lamps = np.stack([*flat, np.full(4, np.cos(slant))], axis=1)
        defective, clean = (
            np.moveaxis(part.under(lamps.astype(np.float32), defects=with_them), 0, -1)
            for with_them in (True, False)
        )
    rng = np.random.default_rng([seed, number])
    height = part.mask.shape[0]
    where = np.argwhere(part.mask)
    row, column = where[int(rng.integers(len(where)))]
    top = int(np.clip(row - rng.integers(window // 4, window - window // 4), 0, height - window))
    left = int(np.clip(column - rng.integers(window // 4, window - window // 4), 0, width - window))
    label = kinds.index(kind) + 1
    own = (part.mask[top : top + window, left : left + window] > 0).astype(np.uint8) * np.uint8(label)

    def cut(pixels: Pixels, y: int, x: int) -> Pixels:
        whole = np.ascontiguousarray(pixels[y : y + window, x : x + window])
        return resize_picture(whole, side, side)

    extra = further[number] if orders[number][0] == "train" else 0
    good = []
    for _ in range(1 + extra):
        y = (top + window + int(rng.integers(height - 2 * window + 1))) % (height - window + 1)
        good.append(cut(clean, y, int(rng.integers(width - window + 1))))
    found = {
        "defective": cut(defective, top, left),
        "clean": cut(clean, top, left),
        "mask": resize_mask(own, side, side),
        "good": good[0],
    }
    return found, good[1:]
