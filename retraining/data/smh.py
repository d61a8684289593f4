"""The paper's three versions of its data, from rendered housings: SMHSD-O-TA, -P-TA and -P-GAN as recipes.

Tables 4 and 5 of the SMHSI paper fit together only in one way: the 130 test images are among the 479 original
ones, and among the "total images" of O-TA (440 = 320 + 80 + 40). 160 sound parts of 16 patches are left to
train on, which are the 2,560 sound patches of P-TA and P-GAN. So 349 parts are rendered for training and
validation, once, and all versions share them; the test parts have seeds of their own.

One thing is done otherwise: by its table the paper grows its data and then splits them, so that copies of one
part may lie on both sides. Here parts are split first, and each side grows to the size that the table gives
it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from retraining.data.growth import grow
from retraining.data.manifest import Dataset, Picture
from retraining.data.pixels import PictureSet, join, load_pixels
from retraining.data.rendered_parts import PARTS_A_SEED, PartOrder, render_parts, station_patches
from retraining.data.splits import split_by_share
from retraining.errors import DatasetError
from retraining.surfaces import SOUND
from retraining.surfaces.rendered import GOLDEN_SEEDS, TRAINING_SEEDS
from simulation.rendering.parts import RenderedPart
from simulation.truth import CLASS_NAMES
from station.recipe import Recipe

Counts = Mapping[str, int]
_SOUND = CLASS_NAMES[SOUND]


def _counts(*numbers: int) -> Counts:
    return MappingProxyType(dict(zip(CLASS_NAMES, numbers, strict=True)))


ORIGINAL_PARTS = _counts(200, 34, 173, 37, 35)
"""Table 4, original images of SMHSD-O-TA, those of the test among them."""
TEST_PARTS = _counts(40, 17, 36, 19, 18)
"""Table 5."""
ORIGINAL_PATCHES = _counts(2560, 49, 240, 61, 48)
"""Table 4, original images of SMHSD-P-TA and SMHSD-P-GAN."""
DEFECTS_A_PART: Mapping[str, tuple[int, int]] = MappingProxyType(
    dict(zip(CLASS_NAMES, ((0, 0), (3, 4), (1, 3), (1, 1), (2, 4)), strict=True))
)
"""So many that the parts give the patches of Table 4: 49 from 17 imprinted ones are 2.9 each, 240 from 137
with pits 1.8, 61 from 18 with roll marks 3.4 (one run of marks crosses several patches), 48 from 17 scratched
ones 2.8."""
TRAINING_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class SmhRecipe:
    """What one version consists of."""

    patches: bool
    """Patches of the station, or whole surfaces at half their height."""
    training: Counts
    """Table 4, training set."""
    validation: Counts
    """Table 4, validation set."""
    synthetic: bool
    """Grown by a generator's pictures, or by traditional augmentation."""


VERSIONS: Mapping[str, SmhRecipe] = MappingProxyType(
    {
        "O-TA": SmhRecipe(False, _counts(*[320] * 5), _counts(*[80] * 5), synthetic=False),
        "P-TA": SmhRecipe(True, _counts(2048, *[200] * 4), _counts(512, *[50] * 4), synthetic=False),
        "P-GAN": SmhRecipe(True, _counts(2048, *[800] * 4), _counts(512, *[200] * 4), synthetic=True),
    }
)


@dataclass(frozen=True, slots=True)
class SmhVersion:
    """One version, ready to train on."""

    training: PictureSet
    """As many of each class as Table 4 says, times the share."""
    validation: PictureSet
    originals: PictureSet
    """Training pictures before they grew: what a generator may learn from."""
    original_validation: PictureSet
    """Validation pictures before they grew: of P-GAN, those without synthetic ones."""


def render_originals(
    recipe: Recipe,
    folder: Path,
    *,
    share: float = 1.0,
    seed: int = 60,
    processes: int = 2,
    report: Callable[[int], None] = lambda done: None,
) -> Dataset:
    """The 349 whole parts of training and validation, split by part, rendered into ``folder`` where they
    lack.

    ``share`` takes as much of each class; at least four parts, so that both sides have some.
    """
    orders = original_orders(seed, share=share)
    parts = render_parts(orders, recipe, folder, processes=processes, report=report)
    shares = {"train": TRAINING_SHARE, "validation": 1 - TRAINING_SHARE}
    return split_by_share(parts, shares, seed)


def original_orders(seed: int = 60, *, share: float = 1.0) -> list[PartOrder]:
    """The parts of Table 4 that Table 5 leaves to train on, classes in turn."""
    first = TRAINING_SEEDS + seed * PARTS_A_SEED
    orders: list[PartOrder] = []
    for k, name in enumerate(CLASS_NAMES):
        count = scaled(ORIGINAL_PARTS[name] - TEST_PARTS[name], share, least=4)
        orders += [PartOrder(first + 1000 * k + n, name, DEFECTS_A_PART[name]) for n in range(count)]
    return orders


def original_patches(parts: Dataset, recipe: Recipe, *, share: float = 1.0, seed: int = 60) -> Dataset:
    """The patches of P-TA and P-GAN before they grow: Table 4's original counts, of the parts' own splits.

    Sound patches come from sound parts, all of them; of the defective patches as many as the table has are
    drawn. Where a side has fewer than its share of four fifths, the note says so.
    """
    everything = station_patches(parts, recipe)
    labels = {p.path: p.label for p in parts.pictures}
    rng = np.random.default_rng([seed, 3])
    kept: list[Picture] = []
    notes: list[str] = []
    for name in CLASS_NAMES:
        wanted = scaled(ORIGINAL_PATCHES[name], share, least=2)
        for split, part_of in (("train", TRAINING_SHARE), ("validation", 1 - TRAINING_SHARE)):
            count = max(1, round(wanted * part_of))
            own = [p for p in everything.pictures if p.label == name == labels[p.path] and p.split == split]
            chosen = sorted(rng.permutation(len(own))[:count])
            kept += [own[i] for i in chosen]
            if len(own) < count:
                notes.append(f"{split}: {len(own)} patches of {name} in place of {count}")
    return everything.with_pictures(kept, *notes)


def build_version(
    version: str,
    parts: Dataset,
    recipe: Recipe,
    *,
    side: int = 256,
    share: float = 1.0,
    seed: int = 60,
    synthetic: Mapping[str, Dataset] | None = None,
) -> SmhVersion:
    """One of :data:`VERSIONS` from the parts of :func:`render_originals`, times ``share``.

    Patches are brought to ``side`` x ``side``, whole surfaces to twice that height (the paper trains O-TA at
    512 x 256). ``synthetic`` gives P-GAN its pictures by class, made by whatever generator; the sound class
    needs none. Raises :class:`DatasetError` where a class has too few of them.
    """
    if version not in VERSIONS:
        raise DatasetError(f"no version is called {version!r}; use {', '.join(VERSIONS)}")
    wanted = VERSIONS[version]
    if wanted.synthetic != (synthetic is not None):
        raise DatasetError(
            f"{version} is made {'with' if wanted.synthetic else 'without'} synthetic pictures"
        )
    chosen = original_patches(parts, recipe, share=share, seed=seed) if wanted.patches else parts
    size = (side, side) if wanted.patches else (2 * side, side)
    training, validation = (load_pixels(chosen, size, 1, split) for split in ("train", "validation"))
    grown = []
    used: Counts = dict.fromkeys(CLASS_NAMES, 0)
    for own, counts in ((training, wanted.training), (validation, wanted.validation)):
        targets = {name: scaled(count, share, least=1) for name, count in counts.items()}
        if synthetic is None:
            grown.append(grow(own, targets, seed))
            continue
        made, used = _synthetic(own, targets, synthetic, used)
        real = {n: min(targets[n], c) for n, c in own.count().items()} | {_SOUND: targets[_SOUND]}
        grown.append(join(grow(own, real, seed), made))
    return SmhVersion(grown[0], grown[1], training, validation)


def synthetic_needed(originals: Dataset, *, share: float = 1.0) -> dict[str, int]:
    """How many synthetic pictures of each class P-GAN takes beside the originals of
    :func:`original_patches`.
    """
    recipe = VERSIONS["P-GAN"]
    needed = dict.fromkeys(CLASS_NAMES, 0)
    for split, counts in (("train", recipe.training), ("validation", recipe.validation)):
        there = originals.count(split)
        for name in CLASS_NAMES:
            needed[name] += max(0, scaled(counts[name], share, least=1) - there[name])
    return {name: count for name, count in needed.items() if count and name != _SOUND}


def table_5_orders(seed: int = 0, *, share: float = 1.0, single: bool = False) -> list[PartOrder]:
    """The parts of Table 5, with seeds below every training part's, classes in turn.

    They have as many defects as the training parts, or one each where ``single``. ``seed`` 0 to 9,998.
    """
    first = seed * 10_000
    if not 0 <= first < GOLDEN_SEEDS:
        raise DatasetError(f"seed {seed} is outside the range of test seeds; use 0 to 9998")
    orders = []
    for k, name in enumerate(CLASS_NAMES):
        defects = (1, 1) if single else DEFECTS_A_PART[name]
        count = scaled(TEST_PARTS[name], share, least=1)
        orders += [PartOrder(first + 1000 * k + n, name, defects) for n in range(count)]
    return orders


def rendered_tests(orders: list[PartOrder]) -> Iterator[RenderedPart]:
    """The parts themselves, for :func:`retraining.evaluation.evaluate`."""
    return (order.render() for order in orders)


def scaled(count: int, share: float, *, least: int) -> int:
    """``count`` times ``share``, but not below ``least`` nor above ``count``."""
    if not 0.0 < share <= 1.0:
        raise DatasetError(f"the share is {share}; it must be above 0 and at most 1")
    return min(count, max(least, math.ceil(count * share - 1e-9)))


def _synthetic(
    own: PictureSet, targets: Counts, synthetic: Mapping[str, Dataset], used: Counts
) -> tuple[PictureSet, Counts]:
    """The synthetic pictures that ``own`` lacks, after those that were used before, and what is used by
    now.
    """
    height, width, channels = own.pixels.shape[1:]
    made = own.select(np.zeros(len(own), bool))
    taken = dict(used)
    for k, name in enumerate(own.classes):
        missing = targets[name] - own.count()[name]
        if missing <= 0 or name == _SOUND:
            continue
        there = synthetic[name].select(classes=(name,)).pictures if name in synthetic else ()
        some = there[used[name] : used[name] + missing]
        if len(some) < missing:
            raise DatasetError(
                f"{name} lacks {missing - len(some)} of {used[name] + missing} synthetic pictures; draw more "
                "from its generator"
            )
        source = replace(synthetic[name], pictures=some)
        loaded = load_pixels(source, (height, width), channels, labelled_by=("synthetic",))
        labels = np.full(len(loaded), k, np.int64)
        made = join(made, replace(loaded, labels=labels, classes=own.classes))
        taken[name] += missing
    return made, taken
