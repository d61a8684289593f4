"""Figures from nearest neighbours among features: precision, recall, density, coverage, memorisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating]
Distances = NDArray[np.float64]
MANIFOLD_K = 3
"""Neighbours that make a ball round a picture (Kynkaanniemi et al. 2019 use 3)."""
DENSITY_K = 5
"""The same for density and coverage (Naeem et al. 2020 use 5)."""
COPY_PERCENTILE = 1.0
"""A fake nearer to a real picture than this percentile of real ones to their nearest other is a copy."""
_SAME = 1e-5
"""Of the median distance: below, two pictures are the same one but for rounding."""
TINY = 1e-9
"""Stands for a distance of 0 where one divides."""


@dataclass(frozen=True, slots=True)
class Manifolds:
    """Whether fakes lie where real pictures lie, and the other way round."""

    precision: float
    """Share of fakes inside the balls round real pictures: are they realistic?"""
    recall: float
    """Share of real pictures inside the balls round fakes: is every kind drawn?"""
    density: float
    """Balls round real pictures that hold a fake, over ``DENSITY_K``: 1 for fakes as dense as real ones."""
    coverage: float
    """Share of real pictures with a fake in their ball; outliers spoil it less than recall."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """Of every fake the nearest real picture."""

    index: NDArray[np.int64]
    """``(N,)`` into the real pictures."""
    distance: Distances
    """``(N,)`` in units of the features."""
    ratio: Distances
    """``(N,)``: the distance over the median distance of a real picture to its nearest other."""
    copied: NDArray[np.bool_]
    """``(N,)``: nearer than real pictures are to each other but for the nearest percent."""


def distances(a: Features, b: Features) -> Distances:
    """Euclidean ``(N, M)`` between rows ``(N, dims)`` and ``(M, dims)``."""
    origin = np.asarray(a, np.float64).mean(axis=0)
    a, b = np.asarray(a, np.float64) - origin, np.asarray(b, np.float64) - origin
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2 * a @ b.T
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)), np.float64)


def manifolds(real: Features, fake: Features) -> Manifolds:
    """All four figures; recall and coverage grow with the number of fakes, so give as many as real ones.

    Source: Kynkaanniemi et al. 2019, equations 1-2; Naeem et al. 2020, equations 3-4.
    """
    between = distances(real, fake)
    among_real, among_fake = distances(real, real), distances(fake, fake)
    wide = _radii(among_real, DENSITY_K)
    inside = between <= wide[:, None]
    return Manifolds(
        precision=float((between <= _radii(among_real, MANIFOLD_K)[:, None]).any(axis=0).mean()),
        recall=float((between <= _radii(among_fake, MANIFOLD_K)[None, :]).any(axis=1).mean()),
        density=float(inside.sum(axis=0).mean() / DENSITY_K),
        coverage=float(inside.any(axis=1).mean()),
    )


def nearest_real(
    real: Features,
    fake: Features,
    percentile: float = COPY_PERCENTILE,
    mirrored: Sequence[Features] = (),
) -> Nearest:
    """Who looks like whom. Copies among the real pictures themselves do not lower the bar.

    ``mirrored`` holds the features of the real pictures once more, mirrored in some way, in the same order:
    a fake may copy those as well, and they count when real pictures are compared with each other.
    """
    shown = [real, *mirrored]
    between = np.minimum.reduce([distances(fake, r) for r in shown])
    index = between.argmin(axis=1)
    distance = between[np.arange(len(fake)), index]
    among = np.minimum.reduce([distances(real, r) for r in shown])
    bar, usual = _bar(among, percentile)
    return Nearest(index, distance, distance / usual, distance < bar)


def repeats(real: Features, fake: Features, percentile: float = COPY_PERCENTILE) -> NDArray[np.bool_]:
    """``(N, N)``: which fakes are as near to each other as copies are to real pictures."""
    found = distances(fake, fake) < _bar(distances(real, real), percentile)[0]
    np.fill_diagonal(found, False)
    return found


def outlier_factors(real: Features, fake: Features, k: int = DENSITY_K) -> tuple[Distances, Distances]:
    """Simplified local outlier factors: ``(N,)`` of the fakes and ``(M,)`` of the real pictures.

    The mean distance to the k nearest real pictures, divided by the same mean of those pictures; it is about
    1 for a picture like them, where they lie close together and where they do not. A real picture is compared
    with the other ones. Source: Schubert et al. 2014 (after Breunig et al. 2000).
    """
    among, between = distances(real, real), distances(fake, real)
    np.fill_diagonal(among, np.inf)
    reach = np.sort(among, axis=1)[:, :k].mean(axis=1)

    def compared(rows: Distances) -> Distances:
        nearest = np.argsort(rows, axis=1)[:, :k]
        own = np.take_along_axis(rows, nearest, axis=1).mean(axis=1)
        return np.asarray(own / np.maximum(reach[nearest].mean(axis=1), TINY), np.float64)

    return compared(between), compared(among)


def _bar(among: Distances, percentile: float) -> tuple[float, float]:
    """Below which distance a picture is a copy, and the usual distance to the nearest other."""
    same = max(TINY, _SAME * float(np.median(among)))
    usual = _radii(among, 1)
    usual = usual[usual > same]
    if len(usual) == 0:  # one picture, many times over: only that very picture is a copy
        return same, same
    return max(same, float(np.percentile(usual, percentile))), float(np.median(usual))


def _radii(among: Distances, k: int) -> Distances:
    """Distance to the k-th nearest other picture, from a square of distances."""
    among = among.copy()
    np.fill_diagonal(among, np.inf)
    return np.asarray(np.partition(among, k - 1, axis=1)[:, k - 1], np.float64)
