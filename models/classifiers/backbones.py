"""Well-known networks through `timm`, under timm's own names, for comparison with the papers' networks.

The parameter counts of the SMHSI paper's Table 10 for these are those of its Keras versions with its own
head; ours are timm's. The stems are the ordinary ones, also for pictures of 64 px: a ResNet-18 then ends in a
2 x 2 map before its pooling, which is how the PE-GAN paper's figures come about too (it names no other stem).

Weights never come over the network: a fresh network is drawn at random, and :func:`adopt` takes those of a
file that the caller has read. Inputs are 0..1 as for every classifier here; the shift and scale that the
published weights expect are the first layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from models.torchvision_schemas import define_missing_operators

SMALLEST_PX: Mapping[str, int] = MappingProxyType(
    {
        "resnet18": 32,
        "resnet50": 32,
        "mobilenetv2_100": 32,
        "efficientnet_b0": 32,
        "tf_efficientnetv2_s": 32,
        "inception_v3": 75,
    }
)
"""timm's name -> the smallest side at which every layer still has something to see."""


class Backbone(nn.Module):
    """One of timm's networks (:data:`SMALLEST_PX`) with a fresh last layer.

    ``(N, channels, patch, patch)`` float 0..1 -> logits ``(N, classes)``; three channels are BGR. ``patch``
    is any side from the network's smallest on, and is not part of the weights.
    """

    _mean: Tensor
    _std: Tensor

    def __init__(
        self, name: str, classes: int = 5, channels: int = 1, patch: int = 256, dropout: float = 0.5
    ) -> None:
        super().__init__()
        if name not in SMALLEST_PX:
            raise ValueError(f"no backbone {name!r}; choose one of {', '.join(SMALLEST_PX)}")
        if patch < SMALLEST_PX[name]:
            raise ValueError(f"{name} needs patches of at least {SMALLEST_PX[name]} px, got {patch}")
        define_missing_operators()
        import timm

        network = timm.create_model(
            name, pretrained=False, num_classes=classes, in_chans=channels, drop_rate=dropout
        )
        expected = network.default_cfg
        self.network: nn.Module = network
        mean, std = (torch.tensor(expected[key]).flip(0) for key in ("mean", "std"))
        if channels == 1:
            mean, std = mean.mean(0, keepdim=True), std.mean(0, keepdim=True)
        self.register_buffer("_mean", mean.view(1, -1, 1, 1), persistent=False)
        self.register_buffer("_std", std.view(1, -1, 1, 1), persistent=False)
        self._stem: str = f"{expected['first_conv']}.weight"
        self._head: str = expected["classifier"]

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(N, classes)`` of patches ``(N, channels, patch, patch)``, float 0..1."""
        logits: Tensor = self.network((x - self._mean) / self._std)
        return logits

    def adopt(self, weights: Mapping[str, Tensor]) -> None:
        """Take timm's published weights of this network; the last layer stays fresh.

        Their first convolution is for RGB: it is turned round for BGR, or summed for grey. Raises
        ``ValueError`` for weights of another network.
        """
        own = self.network.state_dict()
        fitted = {name: value for name, value in weights.items() if name.split(".")[0] != "AuxLogits"}
        stem = fitted.get(self._stem)
        if stem is not None and stem.dim() == 4 and stem.shape[1] == 3:
            grey = own[self._stem].shape[1] == 1
            fitted[self._stem] = stem.sum(1, keepdim=True) if grey else stem.flip(1)
        for name in (f"{self._head}.weight", f"{self._head}.bias"):
            fitted[name] = own[name]
        odd = sorted(
            name for name in {*own, *fitted}
            if name not in own or name not in fitted or own[name].shape != fitted[name].shape
        )  # fmt: skip
        if odd:
            raise ValueError(
                f"these are not the weights of this network: {odd[0]} (and {len(odd) - 1} more) do not fit"
            )
        self.network.load_state_dict(fitted)
