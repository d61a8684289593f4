"""What the classifiers share: the fully connected head, the weights' start, and the L2 penalty."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def fully_connected_head(features: int, classes: int, dropout: float) -> nn.Sequential:
    """Four fully connected layers (256, 128, 64, classes): ``(N, features, ...)`` -> logits ``(N, classes)``.

    Source: Mustafaev et al., section IV.D. The paper's layer count implies two dropouts among them and
    does not give their rate.
    """
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(features, 256),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(256, 128),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Linear(64, classes),
    )


def he_initialise(network: nn.Module) -> None:
    """Draw every convolution and linear weight from He's normal distribution; biases become zero.

    With a single batch normalisation at the very front, PyTorch's narrower default lets the signal
    shrink from layer to layer and the first hundreds of steps learn nothing. The filters of the first
    convolution start with a mean of zero: how bright a part is differs far more than what is on it, and
    would fill the range that the batch normalisation leaves.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    first = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    with torch.no_grad():
        first.weight -= first.weight.mean(dim=(1, 2, 3), keepdim=True)


def l2_penalty(network: nn.Module) -> Tensor:
    """Sum of the squared weights of all convolutions, biases left out (scalar); the caller weighs it.

    Source: Mustafaev et al., section IV.D, "L2 regularization ... for all convolutional layers"; Keras
    adds ``factor * sum(w ** 2)`` to the loss.
    """
    squares = [m.weight.square().sum() for m in network.modules() if isinstance(m, nn.Conv2d)]
    return torch.stack(squares).sum()


def count_parameters(network: nn.Module) -> int:
    """Parameters as Keras counts them: batch normalisation's running mean and variance included."""
    trained = sum(p.numel() for p in network.parameters())
    running = sum(b.numel() for b in network.buffers() if b.is_floating_point())
    return trained + running
