"""How far a patch is from good ones, in the features of a network that was trained on everyday pictures.

In the manner of PatchCore (Roth et al., "Towards Total Recall in Industrial Anomaly Detection", 2022): the
features of two depths, averaged over their neighbourhood and joined, are compared with a core set of those
of good parts. Here the features are whitened first, so that a direction in which good parts hardly differ
counts as much as one in which they differ widely, and the core set are the centres of clusters. The patch's
distance is the mean of its furthest places after a last average: a defect covers several.

Features and head are two modules, because the head is fitted on the features that a station will compute:
those in INT8 have a head of their own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.classifiers.backbones import Backbone

DEPTHS = (2, 4)
"""Blocks of an EfficientNet-Lite whose outputs are joined: strides 8 and 16."""


class GoodFeatures(nn.Module):
    """Features of places: uint8 ``(N, patch, patch, C)`` -> ``(N, F, H/16, W/16)``, a place for every 16 px.

    ``shrink``: patches are averaged to 1 / ``shrink`` of their side first.
    """

    _mean: Tensor
    _std: Tensor

    def __init__(self, backbone: Backbone, shrink: int = 1) -> None:
        super().__init__()
        network: Any = backbone.network
        self.shrink = shrink
        self.register_buffer("_mean", backbone._mean.clone(), persistent=False)
        self.register_buffer("_std", backbone._std.clone(), persistent=False)
        self.stem = nn.Sequential(network.conv_stem, network.bn1)
        self.blocks = nn.ModuleList(network.blocks[: DEPTHS[-1] + 1])

    def forward(self, patches: Tensor) -> Tensor:
        """``(N, F, H/16, W/16)``."""
        x = patches.permute(0, 3, 1, 2).to(torch.float32) / 255.0
        if self.shrink > 1:
            x = functional.avg_pool2d(x, self.shrink)
        x = self.stem((x - self._mean) / self._std)
        found = []
        for depth, block in enumerate(self.blocks):
            x = block(x)
            if depth in DEPTHS:
                stride = 1 if depth == DEPTHS[-1] else 2
                found.append(functional.avg_pool2d(x, 5, stride, 2, count_include_pad=False))
        return torch.cat(found, dim=1)


class GoodHead(nn.Module):
    """How far the features of places are from those of good parts, and a network's two outputs of it.

    ``(N, F, H, W)`` -> ``probabilities (N, 1)``, all ones, and ``novelty (N,)``, the distance in units of
    ``threshold``. ``mean (F,)`` and ``whitening (F, D)`` bring features to where their distance counts,
    ``core (K, D)`` are the centres there.
    """

    mean: Tensor
    whitening: Tensor
    centres: Tensor
    lengths: Tensor

    def __init__(
        self, mean: Tensor, whitening: Tensor, core: Tensor, threshold: float = 1.0, furthest: int = 1
    ) -> None:
        """``furthest``: places of a patch whose mean is its distance."""
        super().__init__()
        self.furthest = furthest
        self.register_buffer("mean", mean.view(1, -1, 1, 1))
        # As a convolution of 1 x 1: every run time has a fast one, and the map keeps its shape.
        self.register_buffer("whitening", whitening.T.contiguous()[:, :, None, None])
        self.register_buffer("centres", core[:, :, None, None])
        self.register_buffer("lengths", (core**2).sum(1).view(1, -1, 1, 1))
        self.threshold = threshold

    def distances(self, maps: Tensor) -> Tensor:
        """``(N,)``, from 0 on."""
        x = functional.conv2d(maps - self.mean, self.whitening)
        products = functional.conv2d(x, self.centres)
        squares = (x**2).sum(1, keepdim=True) + (self.lengths - 2 * products).amin(1, keepdim=True)
        places = functional.avg_pool2d(squares.clamp(min=0.0).sqrt(), 3, 1, 1, count_include_pad=False)
        if self.furthest == 1:
            return places.amax((1, 2, 3))
        return places.flatten(1).topk(self.furthest).values.mean(1)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """``probabilities (N, 1)`` and ``novelty (N,)``."""
        novelty = self.distances(maps) / self.threshold
        return torch.softmax(novelty[:, None], dim=1), novelty
