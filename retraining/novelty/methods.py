"""Three distances from what a classifier was trained on, each fitted on training patches of known classes.

- ``mahalanobis``: the distance to the nearest class, in units of the spread within the classes (Lee et al.,
  "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks", eq. 1-2).
  The covariance is shrunk (Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance
  matrices", 2004) and kept as its largest axes and one variance for all others, so that the distance costs
  two thin products.
- ``nearest``: the distance to the nearest of a few training patches, chosen so that they cover all of them
  (Roth et al., "Towards Total Recall in Industrial Anomaly Detection", section 3.2), on the same axes.
- ``energy``: exp of the negative log-sum-exp of the logits (Liu et al., "Energy-based Out-of-distribution
  Detection", eq. 4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploy.novelty import LOGITS, Distance, Step, Values
from retraining.errors import TrainingError
from station.engines.manifest import FEATURES

AXES = 32
"""Axes of the features that are kept one by one."""
CORE_SET = 384
"""Training patches of ``nearest``."""
_CHOSEN_FROM = 6000


@dataclass(frozen=True, slots=True)
class _Axes:
    """The spread of features within the classes: some axes one by one, and one variance for the rest."""

    mean: NDArray[np.float64]
    """``(F,)``."""
    basis: NDArray[np.float64]
    """``(F, K)``, orthonormal; the differences between the classes' means lie within it."""
    whitening: NDArray[np.float64]
    """``(K, K)``: coordinates on the basis times this have the unit covariance."""
    rest: float
    """The variance on every other axis."""

    def coordinates(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Whitened coordinates ``(N, K)``."""
        return (features - self.mean) @ self.basis @ self.whitening


def mahalanobis(values: Values, labels: NDArray[np.int64]) -> Distance:
    """The distance to the nearest class; ``labels`` (N,) are the classes of the training patches."""
    features = np.asarray(values[FEATURES], np.float64)
    axes = _axes(features, labels)
    centres = np.stack(
        [axes.coordinates(features[labels == k].mean(axis=0, keepdims=True))[0] for k in np.unique(labels)]
    )
    return _to_the_nearest("mahalanobis", axes, centres)


def nearest(values: Values, labels: NDArray[np.int64]) -> Distance:
    """The distance to the nearest patch of a core set of all training patches."""
    features = np.asarray(values[FEATURES], np.float64)
    axes = _axes(features, labels)
    coordinates = axes.coordinates(features)
    return _to_the_nearest("nearest", axes, coordinates[core_set(coordinates, CORE_SET)])


def energy(values: Values, labels: NDArray[np.int64]) -> Distance:
    """How little the logits speak for any class; nothing is fitted.

    The sum in plain steps: OpenVINO (2026.4) reduces over all axes where ``ReduceLogSumExp`` names one.
    """
    steps = (
        Step("ReduceMax", (LOGITS,), "highest", {"axes": [1], "keepdims": 1}),
        Step("Sub", (LOGITS, "highest"), "below"),
        Step("Exp", ("below",), "shares"),
        Step("ReduceSum", ("shares", "classes"), "total", {"keepdims": 1}),
        Step("Log", ("total",), "spread"),
        Step("Add", ("highest", "spread"), "sum"),
        Step("Neg", ("sum",), "energy"),
        Step("Exp", ("energy",), "each"),
        Step("Squeeze", ("each", "classes"), "distance"),
    )
    return Distance("energy", LOGITS, steps, {"classes": np.array([1], np.int64)})


METHODS: dict[str, Callable[[Values, NDArray[np.int64]], Distance]] = {
    "mahalanobis": mahalanobis,
    "nearest": nearest,
    "energy": energy,
}


def core_set(points: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """The numbers of ``count`` points ``(N, K)`` that cover all: each the furthest from those before."""
    rng = np.random.default_rng(0)
    among = np.arange(len(points))
    if len(points) > _CHOSEN_FROM:
        among = np.sort(rng.choice(len(points), _CHOSEN_FROM, replace=False))
    pool = points[among]
    chosen = [int(np.argmin(((pool - pool.mean(axis=0)) ** 2).sum(axis=1)))]
    away = ((pool - pool[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < min(count, len(pool)):
        chosen.append(int(np.argmax(away)))
        away = np.minimum(away, ((pool - pool[chosen[-1]]) ** 2).sum(axis=1))
    return np.sort(among[chosen])


def _to_the_nearest(method: str, axes: _Axes, points: NDArray[np.float64]) -> Distance:
    """sqrt(the least squared distance to ``points`` on the axes + the squared rest / its variance)."""
    steps = (
        Step("Sub", (FEATURES, "mean"), "centred"),
        Step("MatMul", ("centred", "basis"), "along"),
        Step("Gemm", ("along", "basis"), "explained", {"transB": 1}),
        Step("Sub", ("centred", "explained"), "beside"),
        Step("ReduceSumSquare", ("beside",), "rest", {"axes": [1], "keepdims": 1}),
        Step("Mul", ("rest", "per_variance"), "rest_whitened"),
        Step("MatMul", ("along", "whitening"), "whitened"),
        Step("Unsqueeze", ("whitened", "middle"), "each"),
        Step("Sub", ("each", "points"), "off"),
        Step("ReduceSumSquare", ("off",), "squares", {"axes": [2], "keepdims": 0}),
        Step("ReduceMin", ("squares",), "least", {"axes": [1], "keepdims": 1}),
        Step("Add", ("least", "rest_whitened"), "squared"),
        Step("Sqrt", ("squared",), "root"),
        Step("Squeeze", ("root", "middle"), "distance"),
    )
    constants = {
        "mean": axes.mean.astype(np.float32),
        "basis": axes.basis.astype(np.float32),
        "whitening": axes.whitening.astype(np.float32),
        "per_variance": np.float32(1.0 / axes.rest),
        "points": points[None].astype(np.float32),
        "middle": np.array([1], np.int64),
    }
    return Distance(method, FEATURES, steps, constants)  # type: ignore[arg-type]


def _axes(features: NDArray[np.float64], labels: NDArray[np.int64], count: int = AXES) -> _Axes:
    """The shrunk covariance within the classes. Raises :class:`TrainingError` without enough patches."""
    if len(features) != len(labels) or len(features) < 32:
        raise TrainingError(
            f"{len(features)} training patches are too few to measure novelty; give 32 or more"
        )
    mean = features.mean(axis=0)
    classes = np.unique(labels)
    means = np.stack([features[labels == k].mean(axis=0) for k in classes])
    within = features - means[np.searchsorted(classes, labels)]
    number, width = within.shape
    covariance = within.T @ within / number
    shrinkage = _ledoit_wolf(within, covariance)
    common = float(np.trace(covariance)) / width
    spread, vectors = np.linalg.eigh(covariance)
    count = min(count, width)
    parts = [vectors[:, ::-1][:, :count]]
    if len(classes) > 1:
        parts.append((means[1:] - means[0]).T)
    basis, triangle = np.linalg.qr(np.concatenate(parts, axis=1))
    basis = basis[:, np.abs(np.diag(triangle)) > 1e-9 * np.abs(np.diag(triangle)).max()]
    inside = (1 - shrinkage) * basis.T @ covariance @ basis + shrinkage * common * np.eye(basis.shape[1])
    left = width - basis.shape[1]
    total = (1 - shrinkage) * float(spread.sum()) + shrinkage * common * width
    rest = max((total - float(np.trace(inside))) / left, 1e-9 * common) if left else 1.0
    whitening = np.linalg.cholesky(np.linalg.inv(inside))
    return _Axes(mean, basis, whitening, max(rest, 1e-12))


def _ledoit_wolf(centred: NDArray[np.float64], covariance: NDArray[np.float64]) -> float:
    """The weight of the common variance, 0 to 1: section 3.3 of the paper, lemmas 3.2 to 3.5."""
    number, width = centred.shape
    common = np.trace(covariance) / width
    away = float(((covariance - common * np.eye(width)) ** 2).sum())
    fourth = float(((centred**2).sum(axis=1) ** 2).sum())
    noise = max((fourth / number - float((covariance**2).sum())) / number, 0.0)
    return min(noise / away, 1.0) if away > 0 else 1.0
