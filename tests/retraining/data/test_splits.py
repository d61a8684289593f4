"""Splits by group."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retraining.data.dataset import Dataset, Picture
from retraining.data.splits import folds, split_by_count, split_by_share, torn_groups
from retraining.errors import DatasetError


def _dataset(sizes: dict[str, list[int]]) -> Dataset:
    """Groups of the given sizes for each class; no files behind them."""
    pictures = []
    for label, own in sizes.items():
        for group, size in enumerate(own):
            pictures += [
                Picture(f"{label}/{group}-{n}.png", "0", label, f"{label}-{group}", "folder", "person")
                for n in range(size)
            ]
    return Dataset(Path("nowhere"), tuple(sizes), tuple(pictures))


SIZES = st.fixed_dictionaries(
    {name: st.lists(st.integers(1, 6), min_size=6, max_size=40) for name in ("good", "pit", "line")}
)
SHARES = st.sampled_from(
    [
        {"train": 0.7, "test": 0.3},
        {"train": 0.8, "validation": 0.2},
        {"train": 0.6, "validation": 0.2, "test": 0.2},
    ]
)


@given(sizes=SIZES, shares=SHARES, seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_no_group_is_cut_and_every_class_gets_its_share(sizes, shares, seed: int) -> None:
    done = split_by_share(_dataset(sizes), shares, seed)
    assert torn_groups(done) == []
    assert len(done) == sum(map(sum, sizes.values()))
    for split, share in shares.items():
        for name, own in sizes.items():
            assert abs(done.count(split)[name] - share * sum(own)) <= max(own) + 1


@given(sizes=SIZES, seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_counts_are_exact_and_no_group_is_cut(sizes, seed: int) -> None:
    singles = {name: [*own, *[1] * 20] for name, own in sizes.items()}
    done = split_by_count(_dataset(singles), {"train": 9, "test": 4}, seed)
    assert torn_groups(done) == []
    assert done.count("train") == dict.fromkeys(singles, 9)
    assert done.count("test") == dict.fromkeys(singles, 4)
    assert len(done) == 3 * 13


@given(sizes=SIZES, seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_folds_hold_out_every_picture_once_with_its_group(sizes, seed: int) -> None:
    dataset = _dataset(sizes)
    labels = [dataset.classes.index(p.label) for p in dataset.pictures]
    groups = [p.group for p in dataset.pictures]
    held = folds(labels, groups, 5, seed)
    assert set(held) == set(range(5))
    by_group: dict[str, set[int]] = {}
    for group, fold in zip(groups, held, strict=True):
        by_group.setdefault(group, set()).add(int(fold))
    assert all(len(own) == 1 for own in by_group.values())


def test_the_same_seed_gives_the_same_split_and_another_one_another() -> None:
    dataset = _dataset({"a": [1] * 50, "b": [2] * 20})
    shares = {"train": 0.7, "test": 0.3}
    first, again, other = (split_by_share(dataset, shares, seed) for seed in (3, 3, 4))
    assert first.pictures == again.pictures
    assert first.pictures != other.pictures


def test_large_groups_go_to_both_sides() -> None:
    done = split_by_share(_dataset({"a": [6] * 20 + [1] * 120}), {"train": 0.5, "test": 0.5}, 1)
    sizes = Counter(p.group for p in done.pictures)
    large = Counter(p.split for p in done.pictures if sizes[p.group] == 6)
    assert large == {"train": 60, "test": 60}


def test_two_hundred_of_a_class_come_out_even_where_there_are_just_two_hundred() -> None:
    done = split_by_count(
        _dataset({"rp": [2] * 8 + [1] * 184, "cr": [3] * 400}), {"train": 138, "test": 60}, 1
    )
    assert done.count("train") == {"rp": 138, "cr": 138}
    all_of_it = split_by_count(_dataset({"rp": [2] * 8 + [1] * 184}), {"train": 140, "test": 60}, 1)
    assert all_of_it.count() == {"rp": 200}


def test_a_class_that_is_drawn_from_many_is_not_drawn_from_its_large_groups_first() -> None:
    done = split_by_count(_dataset({"rp": [2, 2, 1], "rs": [5] * 10 + [1] * 200}), {"train": 3, "test": 2}, 1)
    large = [p for p in done.pictures if p.label == "rs" and p.path.endswith("-1.png")]
    assert done.count() == {"rp": 5, "rs": 5}
    assert not large


def test_a_split_that_cannot_be_made_says_why() -> None:
    dataset = _dataset({"a": [1] * 5, "b": [4]})
    with pytest.raises(DatasetError, match="b in"):
        split_by_share(dataset, {"train": 0.5, "test": 0.5}, 1)
    with pytest.raises(DatasetError, match="a lacks 1"):
        split_by_count(_dataset({"a": [1] * 5}), {"train": 6}, 1)
    with pytest.raises(DatasetError, match="sum to 1"):
        split_by_share(dataset, {"train": 0.5, "test": 0.6}, 1)
    with pytest.raises(DatasetError, match="not training"):
        split_by_share(dataset, {"training": 1.0}, 1)
    with pytest.raises(DatasetError, match="too few for 3 folds"):
        folds(np.array([0, 0, 0, 1]), ["p", "q", "r", "s"], 3, 1)
