"""The parts of a product: whole pictures, cut by the recipe as the station cuts them, with a class per pixel.

A picture's class is that of its part. Where on the part the defect is, a mask says; a recipe that makes one
patch of a part needs none. Labels of whole pictures do not say which of sixteen patches is defective: a
network that learned from them would call sound metal a defect, so such data are refused, with the remedy.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivers.cameras.picture_files import pictures_in
from retraining.data.joining import join_datasets
from retraining.data.manifest import SPLITS, SYNTHETIC, TRUSTED, Dataset, Picture
from retraining.data.outlines import class_mask
from retraining.data.splits import split_by_share, torn_groups
from retraining.errors import BadFilesError, DatasetError, RefusedPictureError
from retraining.surfaces import SOUND, Surfaces
from retraining.surfaces.class_masks import ClassMasks
from retraining.surfaces.pairing import pair
from retraining.surfaces.photographs import cut_frame, kept_surface, read_photograph
from retraining.surfaces.reading import Reporter, for_each, read_mask, read_mask_of, silent, stage
from retraining.surfaces.training_set import resize_mask
from station.patching.cutting import straightened
from station.recipe import Recipe

SHARES = {"train": 0.6, "validation": 0.15, "test": 0.25}
"""Of the groups of a data set that is not split."""
FEWEST_PARTS = 6
"""Of each class: with fewer there is nothing to train on, to choose thresholds with and to test by."""
FEWEST_GROUPS = 3
"""Of each class: one for each split."""
MOST_REFUSED = 0.05
"""Of the pictures: a recipe that refuses more of them does not fit them."""


@dataclass(frozen=True, slots=True)
class Parts:
    """``P`` parts of one product as the station sees them."""

    surfaces: Surfaces
    pictures: tuple[Picture, ...]
    """Of each part, with its split."""
    refused: tuple[str, ...] = ()
    """Why the station would refuse each picture that was left out."""

    def of(self, split: str) -> Surfaces:
        """The surfaces of one split, copied."""
        return self.surfaces.select([i for i, picture in enumerate(self.pictures) if picture.split == split])

    def real(self, split: str) -> Surfaces:
        """The surfaces of one split without synthetic parts, copied."""
        return self.surfaces.select(
            [i for i, p in enumerate(self.pictures) if p.split == split and p.labelled_by != SYNTHETIC]
        )

    def count(self, split: str | None = None) -> dict[str, int]:
        """Parts by class, of one split or of all."""
        chosen = [p.label for p in self.pictures if split is None or p.split == split]
        return {name: chosen.count(name) for name in self.surfaces.classes}

    @property
    def marks_digest(self) -> str:
        """SHA-256 of the class of every pixel: other masks are other data."""
        return hashlib.sha256(np.asarray(self.surfaces.masks).tobytes()).hexdigest()

    def groups_of(self, split: str) -> tuple[str, ...]:
        """The group of each part of one split."""
        return tuple(p.group for p in self.pictures if p.split == split)

    def groups(self, split: str) -> int:
        """Groups of one split: parts of one group look alike, and count as one in what can be claimed."""
        return len(set(self.groups_of(split)))


def split_parts(dataset: Dataset, seed: int) -> Dataset:
    """The data set in train, validation and test, by group; its own split is kept where it has all three.

    A set that has only train and test gives a fifth of the training groups to validation. Raises
    :class:`DatasetError` that names every class with too few parts or groups, or with none in a split.
    """
    have = {p.split for p in dataset.pictures if p.split}
    if torn := torn_groups(dataset):
        raise DatasetError(
            f"{len(torn)} groups lie in more than one split, such as {torn[0]}: the test would know its "
            "pictures; split the set again by `retrain data split`"
        )
    if have == set(SPLITS) and all(p.split for p in dataset.pictures):
        return _require_everywhere(dataset)
    if have == {"train", "test"} and all(p.split for p in dataset.pictures):
        _require_enough(dataset.select(split="train"), groups=2)
        learned = split_by_share(dataset.select(split="train"), {"train": 0.8, "validation": 0.2}, seed)
        return _require_everywhere(
            dataset.with_pictures((*learned.pictures, *dataset.select(split="test").pictures))
        )
    if have:
        raise DatasetError(
            f"the data set has pictures of the splits {', '.join(sorted(have))} and perhaps some of none; "
            "give all of them to train, validation and test by `retrain data split`, or none"
        )
    _require_enough(dataset, groups=FEWEST_GROUPS)
    return split_by_share(dataset, SHARES, seed)


def with_synthetic(real: Dataset, synthetic: Dataset) -> Dataset:
    """A split data set with synthetic parts among those that are trained on; nothing else ever sees them.

    Raises :class:`DatasetError` for windows, for pictures that are not synthetic, and for other classes.
    """
    if not synthetic.pictures:
        raise DatasetError(
            "the set of --synthetic is empty: make one by `retrain paste --whole`, or leave it out"
        )
    faults = []
    for wrong, what in (
        ([p.name for p in synthetic.pictures if p.labelled_by != SYNTHETIC], "are not synthetic"),
        ([p.name for p in synthetic.pictures if p.window is not None], "are windows; whole parts are needed"),
        ([p.name for p in synthetic.pictures if p.label not in real.classes], "have a class of no real part"),
    ):
        if wrong:
            faults.append(f"{len(wrong)} pictures of --synthetic {what}, such as {wrong[0]}")
    if faults:
        raise DatasetError(f"{'; '.join(faults)}: make such parts by `retrain paste --whole`")
    trained = synthetic.with_pictures(replace(p, split="train") for p in synthetic.pictures)
    joined = join_datasets({"the data set": real, "--synthetic": trained}, real.classes[SOUND])
    return replace(joined, classes=real.classes)


def _require_everywhere(dataset: Dataset) -> Dataset:
    counts = {split: dataset.select(split=split).count() for split in SPLITS}
    lacking = [
        f"{name} in {split}" for split in SPLITS for name in dataset.classes if not counts[split][name]
    ]
    if lacking:
        raise DatasetError(
            f"the data set's own split has no part of {', '.join(lacking)}: a class is trained on the first, "
            "gets its threshold on validation, and is tested on parts that neither has seen; split the set "
            "again by `retrain data split`"
        )
    return dataset


def _require_enough(dataset: Dataset, groups: int) -> None:
    short = []
    for name, count in dataset.count().items():
        own = len({p.group for p in dataset.pictures if p.label == name})
        if count < FEWEST_PARTS or own < groups:
            short.append(f"{name} has {count} parts in {own} groups")
    if short:
        raise DatasetError(
            f"{'; '.join(short)}: not enough to train on, to choose thresholds with and to test by. A class "
            f"needs {FEWEST_PARTS} parts or more in {groups} groups or more; label more parts of it, "
            "leave it out of recipe and data, or start with good parts alone by --good-only. Where "
            "pictures share a group only because they look alike, say which ones belong "
            "together by `retrain data ... --group-by`"
        )


def usable(dataset: Dataset, recipe: Recipe, *, good_only: bool = False) -> Dataset:
    """The pictures that persons or the renderer labelled, with the recipe's classes in its order.

    ``good_only``: of the recipe's classes, only the good one must have pictures.

    Raises :class:`DatasetError` with every reason why the set does not fit the recipe.
    """
    names = tuple(entry.name for entry in recipe.classes)
    own = dataset.select(labelled_by=TRUSTED)
    counts = own.count()
    faults = []
    strange = [f"{name!r} ({counts[name]} pictures)" for name in own.classes if name not in names]
    if strange:
        faults.append(
            f"the data have the classes {', '.join(strange)}, which recipe {recipe.name} does not have "
            f"({', '.join(names)}); rename them by `retrain data ... --rename`, or add them to the recipe"
        )
    lacking = [name for name in (names[:1] if good_only else names) if not counts.get(name)]
    if lacking:
        faults.append(
            f"no picture of {', '.join(lacking)} was labelled by a person; add pictures, or take the class "
            f"out of recipe {recipe.name}"
            + ("" if names[SOUND] in lacking else ", or start with good parts alone by --good-only")
        )
    if not good_only and recipe.decision.unknown == "reject":
        faults.append(
            f"recipe {recipe.name}, line {recipe.line_of('decision.unknown')}: `unknown: reject` cannot be "
            "tested before the engine knows what is far from training; train with `unknown: report`, read in "
            "the card how many good parts are far from it, and write `reject` into the recipe that is made"
        )
    windows = sum(p.window is not None for p in own.pictures)
    if windows:
        faults.append(
            f"{windows} entries are windows of pictures; an engine is tested on whole parts: make the set "
            "without --side, or train on ready patches by `retrain patches`"
        )
    labels: dict[str, dict[str, str]] = defaultdict(dict)
    for picture in own.pictures:
        labels[picture.digest].setdefault(picture.label, picture.path)
    for both in labels.values():
        if len(both) > 1:
            named = " and ".join(f"{path} is {label}" for label, path in both.items())
            faults.append(f"{named}, but they are the same picture; keep the right one")
    if faults:
        raise DatasetError(faults[0]) if len(faults) == 1 else BadFilesError(tuple(faults))
    return Dataset(own.root, names, own.pictures, own.notes, own.sixteen_bit_white)


def read_parts(
    dataset: Dataset,
    recipe: Recipe,
    masks: Path | None = None,
    report: Reporter = silent,
    *,
    whole: bool = False,
    class_of: ClassMasks | None = None,
    leave_out_refused: bool = False,
) -> Parts:
    """The parts of a data set that is :func:`usable` and split, cut by the recipe.

    ``whole``: nothing but the class of each part is needed, so defective ones need no mask.
    ``leave_out_refused``: pictures that the station would not cut are left out, up to
    :data:`MOST_REFUSED` of all; on the line, their parts are faults.

    ``masks`` is a folder of masks named like their pictures, bright on the defect; or ``class_of`` says what
    their values or colours mean, and the class of a part must be the one of which its mask has the most. A
    data set with marks of its own (:attr:`Picture.marks`) has no masks; the class of a part must be among its
    marks. Raises :class:`DatasetError` that names every picture that the station would not cut, every
    defective part that is not marked or not on the product, and every part whose mask or marks show another
    class.
    """
    strange = [name for name in (class_of.names if class_of else ()) if name not in dataset.classes]
    if strange:
        raise DatasetError(
            f"--class-of names {', '.join(strange)}, but recipe {recipe.name} has the classes "
            f"{', '.join(dataset.classes)}; use its names, or add the class to the recipe"
        )
    read_file = read_mask if class_of is None else partial(class_of.read, classes=dataset.classes)
    found = {} if whole else _masks_of(dataset, recipe, masks)
    size = recipe.surface

    refused: dict[str, str] = {}

    def read(picture: Picture) -> tuple[Picture, NDArray[np.uint8], NDArray[np.uint8]] | None:
        try:
            return picture, *read_it(picture)
        except RefusedPictureError as error:
            refused[picture.path] = str(error)
            if leave_out_refused:
                return None
            raise

    def read_it(picture: Picture) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        label = dataset.classes.index(picture.label)
        path = dataset.path_of(picture)
        if picture.is_cut:
            surface = kept_surface(path, recipe)
            height, width = surface.pixels.shape[:2]
        else:
            frame = read_photograph(path, recipe)
            surface = cut_frame(frame, path, recipe).surface
            height, width = frame.shape[:2]
        if picture.path in found:
            marked = read_mask_of(path, found[picture.path], dataset.sixteen_bit_white, read_file)
            if class_of is None:
                marked = marked * np.uint8(max(label, 1))  # a mark on a good part must not vanish
        elif picture.marks and not whole:
            try:
                marked = class_mask(picture.marks, dataset.classes, height, width)
            except DatasetError as error:
                raise DatasetError(f"{picture.path}: {error}") from None
        else:
            return surface.pixels, np.full((size.height, size.width), label, np.uint8)
        mask = resize_mask(straightened(marked, surface.region), size.height, size.width)
        most = int(np.bincount(mask[mask != SOUND]).argmax()) if mask.any() else SOUND
        agrees = label in mask if picture.marks and most != SOUND and label != SOUND else most == label
        if not agrees:
            what = "a defect" if label == SOUND else "nothing on the product"
            if most != SOUND and label != SOUND:
                what = f"{dataset.classes[most]} most of all"
            raise DatasetError(
                f"{picture.path} is labelled {picture.label}, but its mask marks {what}; correct one of the "
                "two"
            )
        return surface.pixels, mask

    try:
        made = for_each(read, dataset.pictures, stage(report, "parts cut", len(dataset)))
    except DatasetError as error:
        if not refused:
            raise
        raise DatasetError(
            f"{error}\nThe station would refuse {len(refused)} of {len(dataset)} pictures: change the "
            "recipe's limits, or leave such pictures out by --leave-out-refused"
        ) from None
    if len(refused) > MOST_REFUSED * len(dataset):
        raise DatasetError(
            f"the station would refuse {len(refused)} of {len(dataset)} pictures, more than "
            f"{MOST_REFUSED:.0%}, such as {min(refused.values())}: the recipe does not fit them; change its "
            "limits"
        )
    kept, pixels, marks = zip(*filter(None, made), strict=True)
    if refused and not whole:
        _require_everywhere(dataset.with_pictures(kept))
    names = tuple(picture.path for picture in kept)
    surfaces = Surfaces(np.stack(pixels), np.stack(marks), dataset.classes, names)
    why = tuple(refused[path] for path in sorted(refused))
    return Parts(surfaces, kept, why)


def _masks_of(dataset: Dataset, recipe: Recipe, masks: Path | None) -> dict[str, Path]:
    """The mask of each picture that has one. Raises :class:`DatasetError`."""
    sound = dataset.classes[SOUND]
    defective = [p.path for p in dataset.pictures if p.label != sound]
    marked = {p.path for p in dataset.pictures if p.marks}
    if masks is not None and marked:
        raise DatasetError(
            f"{len(marked)} pictures of the data set have marks of their own, which would contradict the "
            f"masks; leave out --masks {masks}, or make the set by `retrain data from-masks`"
        )
    if masks is None:
        unmarked = [path for path in defective if path not in marked]
        if recipe.patch_count == 1 or not unmarked:
            return {}
        if marked:
            faults = [f"{path} has no mark; mark its defect" for path in unmarked]
            raise DatasetError(faults[0]) if len(faults) == 1 else BadFilesError(tuple(faults))
        raise DatasetError(
            f"recipe {recipe.name} cuts {recipe.patch_count} patches of each part, and the labels of "
            f"{len(defective)} defective pictures do not say which of them are defective; name the "
            "folder of their masks by --masks, make the set of their boxes or outlines by `retrain data "
            "from-coco --whole` (or from-yolo, from-labelme, from-voc), or use a recipe that makes one patch "
            "of a part"
        )
    if not masks.is_dir():
        raise DatasetError(f"{masks} is not a folder; name the folder of the masks")
    files = [path.relative_to(masks).as_posix() for path in pictures_in(masks, recursive=True)]
    pairs = pair((p.path for p in dataset.pictures), files, masks=True)
    faults = [f"{path} has no mask in {masks}; add it" for path in defective if path not in pairs.of]
    faults += [
        f"{file} fits {' and '.join(fitting)}; lay the masks out in the folders of their pictures"
        for file, fitting in pairs.unclear.items()
    ]
    if faults:
        raise DatasetError(faults[0]) if len(faults) == 1 else BadFilesError(tuple(faults))
    return {picture: masks / file for picture, file in pairs.of.items()}
