"""How a classifier's weights are moved: Adam or AdamW with the paper's L2 penalty, gradients clipped."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from models.classifiers.layers import convolution_weights

OPTIMISERS = ("adamw", "adam")


def make_optimiser(
    name: str, network: nn.Module, *, learning_rate: float, l2: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015) or AdamW (Loshchilov and Hutter 2019), fused into one pass per step.

    ``l2`` is the factor of a penalty ``l2 * sum(w ** 2)`` over the convolutions (as Keras has it, and with it
    Mustafaev et al.): its gradient ``2 * l2 * w`` is added before Adam's moments. ``weight_decay`` concerns
    all weights: for ``adam`` ``weight_decay * w`` is added likewise, for ``adamw`` the weights shrink apart
    from the moments. Without it both are the same. Raises ``ValueError``.
    """
    if name not in OPTIMISERS:
        raise ValueError(f"no optimiser is called {name!r}; choose one of {', '.join(OPTIMISERS)}")
    if name == "adamw" and weight_decay:
        if l2:
            raise ValueError(
                "the L2 penalty and AdamW's weight decay exclude each other; set one of them to 0"
            )
        return torch.optim.AdamW(
            network.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True
        )
    penalised = convolution_weights(network)
    known = {id(weight) for weight in penalised}
    others = [p for p in network.parameters() if id(p) not in known]
    groups = [
        {"params": penalised, "weight_decay": weight_decay + 2.0 * l2},
        {"params": others, "weight_decay": weight_decay},
    ]
    return torch.optim.Adam(groups, lr=learning_rate, fused=True)


def clip_gradients(parameters: Iterable[nn.Parameter], most: float) -> None:
    """Scale the gradients down to the common norm ``most``; smaller ones are not touched."""
    reached = [p for p in parameters if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in reached if p.grad is not None])
    if float(norm) > most:
        nn.utils.clip_grads_with_norm_(reached, most, norm)
