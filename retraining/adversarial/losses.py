"""Losses of adversarial pairs, found by name in :data:`LOSSES`, and the gradient penalty.

Every loss is a mean over the batch, so its gradient may be averaged over processes. Scores are a critic's
raw output ``(N,)``, fp32; losses are scalars to be minimised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, autograd
from torch.nn.functional import softplus


def bce_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Binary cross-entropy of "real" and "not real": ``-log D(x) - log(1 - D(G(z)))``, D the score's sigmoid.

    Source: Goodfellow et al. 2014, equation 1; LMAN, equation 2.
    """
    return softplus(-real).mean() + softplus(fake).mean()


def bce_generator(fake: Tensor) -> Tensor:
    """The non-saturating ``-log D(G(z))``. Source: Goodfellow et al. 2014, end of section 3."""
    return softplus(-fake).mean()


def least_squares_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Real pictures should score 1, others 0. Source: Mao et al. 2017 (LSGAN), equation 9."""
    return 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean()


def least_squares_generator(fake: Tensor) -> Tensor:
    """Generated pictures should score 1. Source: Mao et al. 2017 (LSGAN), equation 9."""
    return 0.5 * (fake - 1).square().mean()


def wasserstein_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Minus the estimated Wasserstein distance. Source: SMHSI, equation 9 without its penalty."""
    return fake.mean() - real.mean()


def wasserstein_generator(fake: Tensor) -> Tensor:
    """Minus the mean score of generated pictures. Source: SMHSI, equation 8."""
    return -fake.mean()


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """How far the critic's slope is from 1 between real and generated pictures, squared (scalar).

    ``real`` and ``fake`` are ``(N, C, H, W)``, ``mix`` ``(N,)`` in 0..1 draws the point between each two.
    The result can be differentiated by the critic's parameters, not by ``fake``.

    Source: SMHSI, equation 10; Gulrajani et al. 2017, equation 3.
    """
    between = torch.lerp(fake.detach(), real.detach(), mix.view(-1, 1, 1, 1)).requires_grad_(True)
    (slope,) = autograd.grad(critic(between).sum(), between, create_graph=True)
    steepness = slope.float().flatten(1).square().sum(1).add(1e-12).sqrt()
    return (steepness - 1).square().mean()


def r1_penalty(scores: Tensor, real: Tensor) -> Tensor:
    """The squared slope of the critic at real pictures, mean over the batch (scalar).

    ``real`` ``(N, C, H, W)`` requires a gradient, ``scores`` ``(N,)`` come from it. Source: Mescheder et al.
    2018, equation 9, without its factor gamma / 2.
    """
    (slope,) = autograd.grad(scores.sum(), real, create_graph=True)
    return slope.float().flatten(1).square().sum(1).mean()


def path_lengths(pictures: Tensor, w: Tensor, noise: Tensor) -> Tensor:
    """How far pictures move with w, ``(N,)``: the length of the slope along random pictures ``noise``.

    ``pictures`` and ``noise`` are ``(N, C, H, W)``, ``w`` ``(N, styles, style)``. Source: Karras et al. 2020,
    equation 4.
    """
    along = (pictures * noise).sum() / math.sqrt(pictures.shape[2] * pictures.shape[3])
    (slope,) = autograd.grad(along, w, create_graph=True)
    return slope.float().square().sum(2).mean(1).add(1e-12).sqrt()


@dataclass(frozen=True, slots=True)
class AdversarialLoss:
    """The losses of critic and generator."""

    critic: Callable[[Tensor, Tensor], Tensor]
    """The critic's loss, from the scores of real and of generated pictures."""
    generator: Callable[[Tensor], Tensor]
    """The generator's loss, from the scores of generated pictures."""


LOSSES: Mapping[str, AdversarialLoss] = MappingProxyType(
    {
        "bce": AdversarialLoss(bce_critic, bce_generator),
        "least-squares": AdversarialLoss(least_squares_critic, least_squares_generator),
        "wasserstein": AdversarialLoss(wasserstein_critic, wasserstein_generator),
    }
)
