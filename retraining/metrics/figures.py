"""One comparison of synthetic with real pictures: :func:`compare`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from retraining.errors import MetricsError
from retraining.metrics.distances import fid, inception_score, kid
from retraining.metrics.features import Extractor, Pixels, check_pixels, digests, mirrors
from retraining.metrics.intervals import Interval, wilson
from retraining.metrics.neighbours import (
    TINY,
    Manifolds,
    distances,
    manifolds,
    nearest_real,
    repeats,
)

MINIMUM = 12
"""Pictures a side: half of them must still have five neighbours."""
KID_BELOW = 2048
"""Below this many pictures a side FID is mostly bias (and its covariance singular): KID leads."""
NEIGHBOURS_AT_MOST = 5000
"""Pictures a side that neighbours are looked for among; memory grows with the square."""
FLOOR_SPLITS = 3
"""Random cuts of the real set into halves, averaged."""
COPIES_ALLOWED = 0.05
"""Share of copies or repeats that is bad when it is certainly exceeded; real pictures have 0.01 of them."""

Features = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What one comparison found; every distance is in units of its extractor."""

    name: str
    """What the fakes are: "DCGAN", "crop and paste" ..."""
    extractor: str
    n_real: int
    n_fake: int
    seed: int
    fid: float
    kid: float
    kid_std: float
    """Over random subsets; no error of the mean."""
    precision: float
    recall: float
    density: float
    coverage: float
    """These four as in :class:`retraining.metrics.neighbours.Manifolds`."""
    nearest_real: float
    """Median distance of a fake to the nearest real picture, over that of real ones among themselves."""
    copies: float
    """Share of fakes nearer to a real picture than the 1st percentile of real ones to each other."""
    repeats: float
    """Share of fakes as near to another fake (of as many as there are real pictures)."""
    spread: float
    """Mean distance between two fakes over that between two real ones."""
    inception_score: float | None
    """None where the extractor knows no classes."""
    lpips: float | None
    """Mean perceptual distance of two fakes: diversity. None where there are no LPIPS heads."""
    lpips_real: float | None
    """The same of two real pictures."""
    half: int
    """Pictures in half of the real set; the figures below compare sets of this size."""
    floor_fid: float
    floor_kid: float
    floor_precision: float
    floor_recall: float
    floor_coverage: float
    """Half of the real pictures against the other half: better than this is luck."""
    fid_at_floor: float
    """As many fakes as half of the real set against one half of it: the FID that the floor may be held to."""

    @property
    def headline(self) -> str:
        """``kid``, or ``fid`` where both sides have enough pictures for it."""
        return "kid" if min(self.n_real, self.n_fake) < KID_BELOW else "fid"

    @property
    def memorised(self) -> bool:
        """Whether certainly more than 5 % of the fakes are copies of real pictures."""
        return self.interval("copies").low > COPIES_ALLOWED

    @property
    def collapsed(self) -> bool:
        """Whether fakes differ by less than half of what real ones do, or certainly over 5 % are repeats."""
        return self.spread < 0.5 or self.interval("repeats").low > COPIES_ALLOWED

    def interval(self, figure: str) -> Interval:
        """The 95 % Wilson interval of ``precision``, ``recall``, ``coverage``, ``copies`` or ``repeats``."""
        fakes, reals = min(self.n_fake, NEIGHBOURS_AT_MOST), min(self.n_real, NEIGHBOURS_AT_MOST)
        counts = {
            "precision": fakes,
            "copies": fakes,
            "recall": reals,
            "coverage": reals,
            "repeats": min(fakes, reals),
        }
        if figure not in counts:
            raise MetricsError(f"{figure} is not a share; the shares are {', '.join(counts)}")
        n = counts[figure]
        return wilson(round(getattr(self, figure) * n), n)


def compare(
    real: Pixels,
    fake: Pixels,
    extractor: Extractor,
    seed: int = 0,
    name: str = "fakes",
    *,
    mirrored: bool = False,
) -> Comparison:
    """Every figure of ``fake`` against ``real``, uint8 ``(N, H, W, C)`` of one size, 12 a side at least.

    The same whatever the pictures' order. The seed draws subsets, halves and pairs. ``mirrored``: mirror
    images of real pictures are copies too, as for a generator that was trained with flips; costs the
    features of three more real sets. Raises :class:`MetricsError`.
    """
    if real.shape[1:3] != fake.shape[1:3]:
        raise MetricsError(
            f"real pictures {real.shape[1:3]} and fakes {fake.shape[1:3]} differ in size and therefore in "
            "sharpness; "
            "load both at the size of the training"
        )
    real, fake = _in_order(real, "real"), _in_order(fake, "synthetic")
    a, b = extractor(real), extractor(fake)
    rng = np.random.default_rng(seed)
    whole_kid, kid_std = kid(a, b, seed)
    whole = _manifolds(a, b, rng)
    some = _some(len(a), NEIGHBOURS_AT_MOST, rng)
    near, drawn = a[some], _at_most(b, NEIGHBOURS_AT_MOST, rng)
    turned = [extractor(picture) for picture in mirrors(real[some])] if mirrored else []
    nearest = nearest_real(near, drawn, mirrored=turned)
    equal = _at_most(drawn, len(near), rng)
    floor = _floor(a, b, seed, rng)
    perceptual = extractor.perceptual
    return Comparison(
        name=name,
        extractor=extractor.name,
        n_real=len(real),
        n_fake=len(fake),
        seed=seed,
        fid=fid(a, b),
        kid=whole_kid,
        kid_std=kid_std,
        precision=whole.precision,
        recall=whole.recall,
        density=whole.density,
        coverage=whole.coverage,
        nearest_real=float(np.median(nearest.ratio)),
        copies=float(nearest.copied.mean()),
        repeats=float(repeats(near, equal).any(axis=1).mean()),
        spread=float(distances(equal, equal).mean() / max(distances(near, near).mean(), TINY)),
        inception_score=inception_score(extractor.probabilities(fake)) if extractor.classes else None,
        lpips=perceptual.diversity(fake, seed) if perceptual else None,
        lpips_real=perceptual.diversity(real, seed) if perceptual else None,
        half=len(real) // 2,
        floor_fid=floor.fid,
        floor_kid=floor.kid,
        floor_precision=floor.precision,
        floor_recall=floor.recall,
        floor_coverage=floor.coverage,
        fid_at_floor=floor.fid_of_fakes,
    )


def require_same_extractor(figures: Sequence[Comparison]) -> str:
    """The extractor of all figures; raises :class:`MetricsError` when there are none, or two extractors."""
    names = sorted({f.extractor for f in figures})
    if len(names) != 1:
        raise MetricsError(
            f"figures of {' and '.join(names)} cannot be compared; measure all of them with one extractor"
            if names
            else "there are no figures to show"
        )
    return names[0]


@dataclass(frozen=True, slots=True)
class _Floor:
    fid: float
    kid: float
    precision: float
    recall: float
    coverage: float
    fid_of_fakes: float


def _floor(real: Features, fake: Features, seed: int, rng: np.random.Generator) -> _Floor:
    """Half of the real pictures against the other half, and fakes against a half, over several cuts."""
    half = len(real) // 2
    fids, kids, found, of_fakes = [], [], list[Manifolds](), []
    for split in range(FLOOR_SPLITS):
        order = rng.permutation(len(real))
        one, other = real[order[:half]], real[order[half : 2 * half]]
        fids.append(fid(one, other))
        kids.append(kid(one, other, seed + split)[0])
        found.append(_manifolds(one, other, rng))
        drawn = _at_most(fake, half, rng)
        of_fakes.append(fid(one[: len(drawn)], drawn))
    return _Floor(
        fmean(fids),
        fmean(kids),
        fmean(m.precision for m in found),
        fmean(m.recall for m in found),
        fmean(m.coverage for m in found),
        fmean(of_fakes),
    )


def _manifolds(real: Features, fake: Features, rng: np.random.Generator) -> Manifolds:
    """Precision and density of all fakes; recall and coverage by as many fakes as there are real pictures."""
    real, fake = _at_most(real, NEIGHBOURS_AT_MOST, rng), _at_most(fake, NEIGHBOURS_AT_MOST, rng)
    every, equal = manifolds(real, fake), manifolds(real, _at_most(fake, len(real), rng))
    return Manifolds(every.precision, equal.recall, every.density, equal.coverage)


def _at_most(features: Features, count: int, rng: np.random.Generator) -> Features:
    return features[_some(len(features), count, rng)]


def _some(length: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices, all of them or ``count`` drawn at random, ascending."""
    if length <= count:
        return np.arange(length)
    return np.sort(rng.choice(length, count, replace=False))


def _in_order(pixels: Pixels, what: str) -> Pixels:
    """The pictures by their digests, so that nothing depends on the order they came in."""
    check_pixels(pixels)
    if len(pixels) < MINIMUM:
        remedy = "draw more" if what == "synthetic" else "gather more, or compare several classes at once"
        raise MetricsError(f"{len(pixels)} {what} picture(s) are too few, {MINIMUM} are needed; {remedy}")
    keys = digests(pixels)
    return pixels[sorted(range(len(keys)), key=keys.__getitem__)]
