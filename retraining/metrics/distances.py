"""Distances between two clouds of features, by torchmetrics: FID and KID, and the Inception Score.

Features are ``(N, dims)``, one row per picture, computed once by the caller; here they are only compared.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.torchvision_schemas import define_missing_operators

Features = NDArray[np.floating]
KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000
"""At most; half of the smaller set where that is less, so that subsets differ."""


class _Ready(nn.Module):
    """What torchmetrics takes for an extractor when the features are there already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def fid(real: Features, fake: Features) -> float:
    """Squared Frechet distance of the two clouds taken as normal distributions.

    In units of the extractor's features, and too large by an amount that shrinks with the number of pictures
    (Chong and Forsyth 2020): compare it only at equal counts. Source: LMAN, equation 5 (PE-GAN, equation 8,
    forgets to square the norm).
    """
    define_missing_operators()
    from torchmetrics.image.fid import FrechetInceptionDistance

    a, b = (torch.from_numpy(f) for f in _in_common_span(real, fake))
    metric = FrechetInceptionDistance(feature=_Ready(a.shape[1])).set_dtype(torch.float64)
    metric.update(a, real=True)
    metric.update(b, real=False)
    return max(0.0, float(metric.compute()))


def kid(real: Features, fake: Features, seed: int) -> tuple[float, float]:
    """Mean and standard deviation of the squared MMD with a cubic kernel over random subsets.

    Without bias at any number of pictures, so that equal distributions give 0 on average and a little less
    than 0 as often as a little more. Source: Binkowski et al. 2018, section 4.
    """
    define_missing_operators()
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(KID_SUBSET_SIZE, max(2, min(len(real), len(fake)) // 2))
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", "Metric `Kernel.?Inception.?Distance` will save all")
        metric = KernelInceptionDistance(feature=_Ready(real.shape[1]), subsets=KID_SUBSETS, subset_size=size)
        metric.update(torch.from_numpy(np.asarray(real, np.float64)), real=True)
        metric.update(torch.from_numpy(np.asarray(fake, np.float64)), real=False)
        torch.manual_seed(seed)
        mean, deviation = metric.compute()
    return float(mean), float(deviation)


def inception_score(probabilities: Features) -> float:
    """1 to the number of classes: how surely, and how variously, a classifier names the pictures.

    ``probabilities`` ``(N, classes)``. Knows nothing of real pictures: two classes drawn at random and
    crudely score as well as two drawn perfectly. Source: LMAN, equation 4.
    """
    p = np.clip(np.asarray(probabilities, np.float64), 1e-12, None)
    divergence = (p * (np.log(p) - np.log(p.mean(axis=0)))).sum(axis=1)
    return float(np.exp(divergence.mean()))


def _in_common_span(a: Features, b: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both sets turned into the span of all rows where that has fewer dimensions; distances stay the same.

    The cost of FID grows with the cube of the dimensions, and 200 pictures span at most 200 of them.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    origin = a.mean(axis=0)
    rows = np.concatenate([a, b]) - origin
    if len(rows) < rows.shape[1]:
        basis = np.linalg.qr(rows.T)[0]
        rows = rows @ basis
    return np.ascontiguousarray(rows[: len(a)]), np.ascontiguousarray(rows[len(a) :])
