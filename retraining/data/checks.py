"""What is wrong with a data set, in sentences: changed files, leaks between splits, shortcuts."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from retraining.data.duplicates import REACH, find_duplicates
from retraining.data.groups import is_declared
from retraining.data.manifest import Dataset, Picture, Window, changed, misplaced
from retraining.data.pixels import picture_pixels
from retraining.data.splits import torn_groups
from retraining.errors import BadFilesError, DatasetError
from retraining.surfaces.reading import Reporter, silent

_TELLING = 0.2
"""A class gives itself away when a trait is this much more (or less) frequent in it than in the others."""


def faults(dataset: Dataset, *, reach: int = REACH, report: Reporter = silent) -> list[str]:
    """Faults for which figures of this set are not to be believed; an empty list is a clean bill.

    Pictures of two declared groups may look alike; only the same pixels on both sides are a fault.
    """
    try:
        broken = misplaced(dataset) or changed(dataset, report)
        if broken:
            return broken
        pairs = find_duplicates(dataset, reach=reach, report=report)
    except BadFilesError as error:
        return list(error.faults)
    except DatasetError as error:
        return [str(error)]
    pictures = dataset.pictures
    found = [f"the group {group} lies in more than one split" for group in torn_groups(dataset)]
    found += _told_apart(pictures)
    declared = is_declared(dataset)
    for pair in pairs:
        one, other = pictures[pair.first], pictures[pair.second]
        meant = pair.kind != "exact" and declared(one.group) and declared(other.group)
        if one.split and other.split and one.split != other.split and not meant:
            found.append(
                f"{one.name} in {one.split} and {other.name} in {other.split} are {_KINDS[pair.kind]}"
            )
    for split in sorted({p.split for p in pictures if p.split}):
        missing = [name for name, count in dataset.count(split).items() if not count]
        if missing:
            found.append(f"the split {split} has no picture of {', '.join(missing)}")
    return found


def _told_apart(pictures: Sequence[Picture]) -> list[str]:
    """Files with windows in several splits, and one file (or window) with several labels."""
    splits: dict[str, set[str]] = defaultdict(set)
    labels: dict[tuple[str, Window | None], dict[str, str]] = defaultdict(dict)
    for picture in pictures:
        splits[picture.path].add(picture.split)
        labels[picture.digest, picture.window].setdefault(picture.label, picture.name)
    return [
        *(
            f"{path} lies in {' and '.join(sorted(own))}"
            for path, own in splits.items()
            if len(own - {""}) > 1
        ),
        *(
            "the same picture has several labels: "
            + ", ".join(f"{name} ({label})" for label, name in own.items())
            for own in labels.values()
            if len(own) > 1
        ),
    ]


_KINDS = {
    "exact": "the same picture",
    "near": "nearly the same picture",
    "mirrored": "the same picture mirrored or turned",
    "overlapping": "crops that overlap",
}


def shortcuts(dataset: Dataset) -> list[str]:
    """Notes on traits of files by which a network could recognise classes without looking at the surface.

    File format and size: a class that is stored differently is recognised by its compression.
    """
    notes = _alike(dataset.classes)
    for what, traits in (("file format", _formats(dataset)), ("size", _sizes(dataset))):
        by_class: dict[str, Counter[str]] = defaultdict(Counter)
        for picture, trait in zip(dataset.pictures, traits, strict=True):
            by_class[picture.label][trait] += 1
        whole = sum(by_class.values(), Counter[str]())
        for name, own in by_class.items():
            others = whole - own
            for trait in sorted(own):
                share = own[trait] / own.total()
                elsewhere = others[trait] / others.total() if others else share
                if share - elsewhere > _TELLING:
                    notes.append(
                        f"{own[trait]} of {own.total()} pictures of {name} have the {what} {trait}, of the "
                        f"other classes {others[trait]} of {others.total()}: a network may learn that instead"
                    )
    return notes


def _alike(classes: tuple[str, ...]) -> list[str]:
    """A note on class names that a person takes for one: they differ by case, blanks or Unicode form only."""
    by_look: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        seen = "".join(c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf")
        by_look[" ".join(seen.casefold().split())].append(name)
    return [
        f"the classes {', '.join(map(ascii, names))} differ only by case, blanks or Unicode form; "
        "if they are one class, join them by --rename"
        for names in by_look.values()
        if len(names) > 1
    ]


def _formats(dataset: Dataset) -> list[str]:
    return [PurePosixPath(p.path).suffix.lower().lstrip(".").replace("jpeg", "jpg") for p in dataset.pictures]


def _sizes(dataset: Dataset) -> list[str]:
    """Heights and widths of whole pictures; windows are resized on purpose and count as one size."""
    sizes: dict[str, str] = {}
    for picture in dataset.pictures:
        if picture.window is None and picture.path not in sizes:
            height, width, _ = picture_pixels(dataset, picture, 1).shape
            sizes[picture.path] = f"{height} x {width}"
    return ["window" if p.window is not None else sizes[p.path] for p in dataset.pictures]
