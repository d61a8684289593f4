"""Crop-and-paste data sets: real pictures in, a folder of synthetic ones with their manifest out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retraining.data.contact_sheet import contact_sheet
from retraining.data.manifest import Dataset, Picture, file_digest, save_dataset
from retraining.data.outlines import class_mask
from retraining.data.pixels import PictureSet, picture_pixels
from retraining.data.rendered_parts import marked_pixels, read_mask
from retraining.data.synthetic import write_png, write_synthetic
from retraining.errors import BadFilesError, DatasetError
from retraining.surfaces import SOUND, Surfaces
from retraining.synthesis.pasting import (
    Pixels,
    paste_from_pictures,
    paste_from_surfaces,
    paste_whole_parts,
)

Reporter = Callable[[str, int], None]
"""Called with a class and how many of its pictures are made."""


def masked_surfaces(dataset: Dataset, channels: int) -> Surfaces:
    """The whole surfaces of a set with masks; raises :class:`DatasetError` when they differ in size."""
    pictures = [p for p in dataset.pictures if p.window is None]
    if not pictures:
        raise DatasetError(f"{dataset.root} holds only patches; name the data set of whole surfaces")
    pixels = [picture_pixels(dataset, p, channels) for p in pictures]
    if len({p.shape for p in pixels}) > 1:
        raise DatasetError(f"the surfaces below {dataset.root} differ in size; use surfaces of one size")
    masks = np.stack([read_mask(dataset, p.path) for p in pictures])
    return Surfaces(np.stack(pixels), masks, dataset.classes, tuple(p.name for p in pictures))


def marked_surfaces(dataset: Dataset, channels: int) -> Surfaces:
    """The whole surfaces of a set with the class of each pixel by its marks.

    Raises :class:`DatasetError` that names every defective part without a mark, or for surfaces of several
    sizes.
    """
    sound = dataset.classes[SOUND]
    unmarked = [p.path for p in dataset.pictures if p.label != sound and not p.marks]
    if unmarked:
        raise BadFilesError(tuple(f"{path} has no mark; mark its defect" for path in unmarked))
    pixels = [picture_pixels(dataset, p, channels) for p in dataset.pictures]
    if len({p.shape for p in pixels}) > 1:
        raise DatasetError(f"the surfaces below {dataset.root} differ in size; use surfaces of one size")
    masks = [
        class_mask(picture.marks, dataset.classes, *own.shape[:2])
        for picture, own in zip(dataset.pictures, pixels, strict=True)
    ]
    return Surfaces(
        np.stack(pixels), np.stack(masks), dataset.classes, tuple(p.name for p in dataset.pictures)
    )


def paste_parts(
    real: Surfaces,
    folder: Path,
    *,
    count: int,
    seed: int,
    only: Sequence[str] = (),
    report: Reporter = lambda name, done: None,
) -> Dataset:
    """``count`` whole parts of each class, or of ``only`` some, with exact marks of the pasted defects.

    Written with their manifest and ``contact-sheet.png``, for ``retrain product --synthetic``. Raises
    :class:`DatasetError`.
    """
    wanted = _wanted(_possible(real, None), only)
    settings = json.dumps([real.names, real.classes, count, seed, "parts"])
    source = f"synthetic:crop-paste-{hashlib.sha256(settings.encode()).hexdigest()[:12]}"
    made = {
        name: paste_whole_parts(
            real, count, real.classes.index(name), seed,
            report=lambda done, name=name: report(name, done),  # type: ignore[misc]
        )
        for name in wanted
    }  # fmt: skip
    return write_parts(folder, made, real.classes, source)


def write_parts(
    folder: Path,
    made: Mapping[str, Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8]]]],
    classes: tuple[str, ...],
    source: str,
) -> Dataset:
    """Whole synthetic parts of each class with exact marks, their manifest and ``contact-sheet.png``.

    ``made``: by class, surfaces ``(H, W, C)`` and masks ``(H, W)``, above 0 where the defect is.
    """
    pictures = []
    for name, parts in made.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, (pixels, mask) in enumerate(parts):
            path = f"{name}/{number:05d}.png"
            write_png(folder / path, pixels)
            marks = (marked_pixels(name, mask > 0),)
            pictures.append(
                Picture(path, file_digest(folder / path), name, path, source, "synthetic", marks=marks)
            )
    dataset = Dataset(folder, classes, tuple(pictures))
    save_dataset(dataset, folder)
    contact_sheet(dataset.select(classes=list(made)), folder / "contact-sheet.png")
    return dataset


def paste_set(
    real: Surfaces | PictureSet,
    folder: Path,
    *,
    count: int,
    seed: int,
    patch_px: int = 64,
    clean: str | None = None,
    only: Sequence[str] = (),
    report: Reporter = lambda name, done: None,
) -> Dataset:
    """``count`` pictures of each class, written with their manifest and ``contact-sheet.png``.

    Of surfaces patches of ``patch_px`` are made, of pictures such of their own size. ``clean`` is the class
    of pictures without defects, onto which the others go; None mixes pictures of a class with each other.
    Of ``only`` some classes, else of all that there are. Raises :class:`DatasetError`.
    """
    wanted = _wanted(_possible(real, clean), only)
    made = {
        name: _of_class(real, name, count, patch_px, seed, clean, lambda done, name=name: report(name, done))  # type: ignore[misc]
        for name in wanted
    }
    settings = json.dumps([real.names, real.classes, count, seed, patch_px, clean])
    maker = f"crop-paste-{hashlib.sha256(settings.encode()).hexdigest()[:12]}"
    dataset = write_synthetic(folder, made, maker, real.classes)
    contact_sheet(dataset.select(classes=wanted), folder / "contact-sheet.png")
    return dataset


def _wanted(possible: Sequence[str], only: Sequence[str]) -> list[str]:
    if set(only) - set(possible):
        raise DatasetError(f"pictures can be made of {', '.join(possible)}, not of {', '.join(only)}")
    return [name for name in possible if not only or name in only]


def _possible(real: Surfaces | PictureSet, clean: str | None) -> list[str]:
    """The classes that have something to be pasted."""
    if isinstance(real, Surfaces):
        shown = {int(k) for mask in real.masks for k in np.unique(mask)} - {SOUND}
        return [real.classes[k] for k in sorted(shown)]
    counts = real.count()
    if clean is not None and not counts.get(clean):
        raise DatasetError(f"there is no picture of {clean!r} to paste onto; the classes are {real.classes}")
    return [name for name, number in counts.items() if number and name != clean]


def _of_class(
    real: Surfaces | PictureSet,
    name: str,
    count: int,
    patch_px: int,
    seed: int,
    clean: str | None,
    report: Callable[[int], None],
) -> Pixels:
    label = real.classes.index(name)
    if isinstance(real, Surfaces):
        return paste_from_surfaces(real, count, label, patch_px, seed, report=report)
    below = None if clean is None else real.of_class(real.classes.index(clean)).pixels
    return paste_from_pictures(real.of_class(label).pixels, below, count, seed, report=report)
