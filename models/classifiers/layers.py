"""What the classifiers share: the sides they take, the head, the weights' start and count."""

from __future__ import annotations

import torch
from torch import Tensor, nn

Patch = int | tuple[int, int]
"""What a network takes, px: the side of a square, or (height, width)."""


def height_and_width(patch: Patch, least: int, step: int = 1) -> tuple[int, int]:
    """Both sides, px; raises ``ValueError`` unless each is a multiple of ``step`` and at least ``least``."""
    sides = (patch, patch) if isinstance(patch, int) else patch
    if any(side < least or side % step for side in sides):
        multiple = f"a multiple of {step} px and " if step > 1 else ""
        raise ValueError(f"the sides of a patch must be {multiple}at least {least} px, got {patch}")
    return sides


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
    convolution start with a mean of zero: parts differ much more in brightness than in their surface, and
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


def convolution_weights(network: nn.Module) -> list[Tensor]:
    """The weights of all convolutions, without biases: what the paper regularises.

    Source: Mustafaev et al., section IV.D, "L2 regularization ... for all convolutional layers".
    """
    return [m.weight for m in network.modules() if isinstance(m, nn.Conv2d)]


def count_parameters(network: nn.Module) -> int:
    """Parameters as Keras counts them: batch normalisation's running mean and variance included."""
    return sum(value.numel() for value in network.state_dict().values() if value.is_floating_point())
