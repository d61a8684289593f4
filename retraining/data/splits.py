"""Splits of a data set by group, never by picture; the same seed gives the same split."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from retraining.data.manifest import SPLITS, Dataset
from retraining.errors import DatasetError


def split_by_share(dataset: Dataset, shares: Mapping[str, float], seed: int) -> Dataset:
    """Every picture in one of the named splits; each split gets its share of each class, as groups allow.

    ``shares`` such as ``{"train": 0.7, "test": 0.3}`` sum to 1. A class is off its share by less than its
    largest group where groups hold one class each. Raises :class:`DatasetError`.
    """
    _check_names(shares)
    if min(shares.values()) <= 0.0 or abs(sum(shares.values()) - 1.0) > 1e-6:
        raise DatasetError(f"the shares {dict(shares)} must be positive and sum to 1")
    groups = _groups(dataset)
    counts = dataset.count()
    wanted = {(split, name): share * counts[name] for split, share in shares.items() for name in counts}
    had: Counter[tuple[str, str]] = Counter()
    sides: dict[str, str] = {}
    for group in _largest_first(groups, seed):
        need = {
            split: sum(
                number * (1 - had[split, name] / wanted[split, name])
                for name, number in groups[group].items()
            )
            for split in shares
        }
        side = max(need, key=lambda split: need[split])
        sides[group] = side
        had.update({(side, name): number for name, number in groups[group].items()})
    empty = [f"{n} in {s}" for s in shares for n in counts if counts[n] and not had[s, n]]
    if empty:
        raise DatasetError(f"there are too few groups to give {', '.join(empty)} a picture; add pictures")
    return _with_sides(dataset, sides, f"split by group, {_named(shares)}, seed {seed}")


def split_by_path(dataset: Dataset, test_where: str, validation: float, seed: int) -> Dataset:
    """The pictures whose path matches an expression (:func:`re.search`) in test, the others in train.

    ``validation``: the share of the others that is kept from the training. Raises :class:`DatasetError` where
    the expression parts a group, or leaves nothing on one side.
    """
    try:
        declared = re.compile(test_where)
    except (re.error, RecursionError, OverflowError) as error:
        raise DatasetError(f"--test-where {test_where!r} is no regular expression: {error}") from None
    if not 0.0 <= validation < 1.0:
        raise DatasetError(f"a share of {validation} for validation leaves nothing to train on; use 0 to 0.9")
    sides = [bool(declared.search(picture.path)) for picture in dataset.pictures]
    if all(sides) or not any(sides):
        raise DatasetError(
            f"--test-where {test_where!r} matches {sum(sides)} of {len(sides)} pictures, such as "
            f"{dataset.pictures[0].path}; both sides need some"
        )
    named = (
        replace(picture, split="test" if side else "train")
        for picture, side in zip(dataset.pictures, sides, strict=True)
    )
    split = dataset.with_pictures(named, f"test: the pictures whose path matches {test_where!r}")
    if torn := torn_groups(split):
        raise DatasetError(
            f"--test-where {test_where!r} parts {len(torn)} groups, such as {torn[0]}; declare it along the "
            "groups, or the groups along it by --groups"
        )
    if validation == 0.0:
        return split
    shares = {"train": 1.0 - validation, "validation": validation}
    learned = split_by_share(split.select(split="train"), shares, seed)
    test = split.select(split="test").pictures
    return replace(learned, pictures=(*learned.pictures, *test), classes=dataset.classes)


def split_by_count(dataset: Dataset, counts: Mapping[str, int], seed: int) -> Dataset:
    """Exactly ``counts`` pictures of each class in each split, by whole groups; the others are left out.

    ``counts`` such as ``{"train": 140, "test": 60}``. Groups are drawn at random; in a class where that does
    not come out even, the large ones first. Raises :class:`DatasetError`.
    """
    _check_names(counts)
    if min(counts.values()) < 1:
        raise DatasetError(f"the counts {dict(counts)} must be at least 1")
    groups = _groups(dataset)
    random = _shuffled(sorted(groups), seed)
    tight: set[str] = set()
    while True:
        order = sorted(random, key=lambda g: -groups[g].total() if tight & groups[g].keys() else 0)
        sides, short = _fill(groups, order, counts, dataset.classes)
        if not short:
            kept = dataset.with_pictures(p for p in dataset.pictures if p.group in sides)
            return _with_sides(kept, sides, f"split by group, {_named(counts)} of each class, seed {seed}")
        if short.keys() <= tight:
            named = ", ".join(f"{name} lacks {number}" for name, number in short.items())
            raise DatasetError(
                f"{named}: there are too few pictures, or the groups are too large for these counts; use "
                "smaller counts"
            )
        tight |= short.keys()


def folds(
    labels: NDArray[np.int64] | Sequence[int], groups: Sequence[str], count: int, seed: int
) -> NDArray[np.int64]:
    """``(N,)``: the fold, 0 to ``count`` - 1, in which each picture is held out; groups whole, classes even.

    For :class:`PictureSet` and manifests alike. Raises :class:`DatasetError` where a class has fewer groups
    than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    of = np.asarray(labels, np.int64)
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    if count < 2 or len(of) != len(numbers):
        raise DatasetError(
            f"{count} folds cannot be made of {len(of)} labels and {len(numbers)} groups; use fewer folds"
        )
    for label in np.unique(of):
        own = len(np.unique(numbers[of == label]))
        if own < count:
            raise DatasetError(
                f"class {label} has {own} groups, which are too few for {count} folds; use fewer folds"
            )
    held = np.empty(len(of), np.int64)
    maker = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    for fold, (_, out) in enumerate(maker.split(np.zeros((len(of), 1)), of, numbers)):
        held[out] = fold
    return held


def torn_groups(dataset: Dataset) -> list[str]:
    """The groups that lie in more than one split."""
    splits: dict[str, set[str]] = defaultdict(set)
    for picture in dataset.pictures:
        if picture.split:
            splits[picture.group].add(picture.split)
    return sorted(group for group, own in splits.items() if len(own) > 1)


def _check_names(named: Mapping[str, object]) -> None:
    unknown = set(named) - set(SPLITS)
    if unknown or not named:
        raise DatasetError(
            f"splits are called {', '.join(SPLITS)}, not {', '.join(sorted(unknown)) or 'nothing'}"
        )


def _groups(dataset: Dataset) -> dict[str, Counter[str]]:
    """Pictures by class of each group."""
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for picture in dataset.pictures:
        groups[picture.group][picture.label] += 1
    return groups


def _shuffled(names: list[str], seed: int) -> list[str]:
    return [names[i] for i in np.random.default_rng(seed).permutation(len(names))]


def _largest_first(groups: Mapping[str, Counter[str]], seed: int) -> list[str]:
    return sorted(_shuffled(sorted(groups), seed), key=lambda group: -groups[group].total())


def _fill(
    groups: Mapping[str, Counter[str]], order: list[str], counts: Mapping[str, int], classes: tuple[str, ...]
) -> tuple[dict[str, str], dict[str, int]]:
    """Each group into the split that lacks most and has room for it all; what each class lacks in the end."""
    room = {split: dict.fromkeys(classes, count) for split, count in counts.items()}
    sides: dict[str, str] = {}
    for group in order:
        fitting = [
            split for split in counts if all(room[split][name] >= n for name, n in groups[group].items())
        ]
        if fitting:
            side = max(
                fitting, key=lambda split: sum(room[split][name] / counts[split] for name in groups[group])
            )
            sides[group] = side
            for name, number in groups[group].items():
                room[side][name] -= number
    lacking = {name: sum(room[split][name] for split in counts) for name in classes}
    return sides, {name: number for name, number in lacking.items() if number}


def _with_sides(dataset: Dataset, sides: Mapping[str, str], note: str) -> Dataset:
    return dataset.with_pictures((replace(p, split=sides[p.group]) for p in dataset.pictures), note)


def _named(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{split} {number:g}" for split, number in numbers.items())
