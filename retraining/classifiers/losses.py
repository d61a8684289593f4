"""What classifiers minimise; each loss is a plain function of logits and labels.

Sources: Lin et al., "Focal Loss for Dense Object Detection", 2017; Cui et al., "Class-Balanced Loss Based on
Effective Number of Samples", 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits ``(N, classes)`` float and labels ``(N,)`` int64 -> scalar."""

LOSSES = ("cross-entropy", "class-balanced", "focal", "class-balanced-focal")


def cross_entropy(
    logits: Tensor, labels: Tensor, *, smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Mean of ``-w_y log p_y``, a share ``smoothing`` of the target spread over all classes.

    ``weights`` ``(classes,)`` weigh each picture by its class; the mean is over pictures, so that weights of
    mean one leave the loss's scale as it is.
    """
    each = functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    return each.mean() if weights is None else (weights[labels] * each).mean()


def focal(logits: Tensor, labels: Tensor, *, gamma: float = 2.0, weights: Tensor | None = None) -> Tensor:
    """Mean of ``-w_y (1 - p_y)^gamma log p_y`` (Lin et al., eq. 4; with weights eq. 5).

    Over softmax probabilities, one class of several; ``gamma`` 0 is cross-entropy.
    """
    log_p = functional.log_softmax(logits, 1).gather(1, labels[:, None])[:, 0]
    doubt = (-torch.expm1(log_p)).clamp_min(1e-6)  # 1 - p, without cancellation near p = 1
    each = -(doubt**gamma) * log_p
    return each.mean() if weights is None else (weights[labels] * each).mean()


def distillation(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """How far logits are from a teacher's, both ``(N, classes)``, softened by ``temperature``.

    ``T^2 KL(teacher || student)``, whose gradients keep their size whatever the temperature (Hinton et al.,
    "Distilling the Knowledge in a Neural Network", 2015, section 2.1).
    """
    own, theirs = (functional.log_softmax(each / temperature, 1) for each in (logits, taught))
    return temperature**2 * functional.kl_div(own, theirs, reduction="batchmean", log_target=True)


def effective_number(count: int, beta: float) -> float:
    """What ``count`` pictures are worth: ``(1 - beta^n) / (1 - beta)`` (Cui et al., Proposition 1)."""
    return float(count) if beta == 1.0 else (1.0 - beta**count) / (1.0 - beta)


def class_balanced_weights(counts: Sequence[int], beta: float) -> Tensor:
    """``(classes,)``: weights inverse to the effective numbers, of mean one (Cui et al., section 4).

    ``beta`` 0 weighs all classes alike, 1 inversely to their counts. Raises ``ValueError`` for an
    empty class.
    """
    if not counts or min(counts) < 1:
        raise ValueError(f"every class needs a picture, but the counts are {list(counts)}")
    weights = torch.tensor([1.0 / effective_number(n, beta) for n in counts], dtype=torch.float64)
    return (weights / weights.mean()).float()


def make_loss(
    name: str, *, smoothing: float, gamma: float, beta: float, counts: Sequence[int], device: torch.device
) -> Loss:
    """The loss called ``name`` (:data:`LOSSES`); ``counts`` are the training pictures of each class.

    ``smoothing`` is for the cross-entropies, ``gamma`` for the focal losses, ``beta`` and ``counts`` for the
    class-balanced ones. Raises ``ValueError``.
    """
    if name not in LOSSES:
        raise ValueError(f"no loss is called {name!r}; choose one of {', '.join(LOSSES)}")
    weights = class_balanced_weights(counts, beta).to(device) if "class-balanced" in name else None
    if "focal" in name:
        return partial(focal, gamma=gamma, weights=weights)
    return partial(cross_entropy, smoothing=smoothing, weights=weights)
