"""Well-known networks through `timm`, under timm's own names, for comparison with the papers' networks.

With the head of one linear layer they are the networks that everybody means by the name. The SMHSI paper put
its own four fully connected layers on them, three channels in: so built (``smhsi-...``), MobileNetV2 and
EfficientNetV2-S come to the 2.63 M and 20.70 M of its Table 10. ResNet-50 comes to 24.13 M (paper: 24.15 M;
the convolutions of Keras carry 26,560 biases, which the batch normalisation behind them cancels) and
Inception-V3 to 22.39 M (paper: 22.37 M; Keras leaves out the 17,216 scales of its batch normalisations).

The stems are the ordinary ones, also for pictures of 64 px: a ResNet-18 then ends in a 2 x 2 map before its
pooling. The PE-GAN paper, which trains such networks on 64 px, names no other stem.

Weights never come over the network: a fresh network is drawn at random, and :meth:`Backbone.adopt` takes
those of a file that the caller has read. Inputs are 0..1 as for every classifier here; the shift and scale
that published weights expect are the first thing that is done to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from models.classifiers.layers import Patch, fully_connected_head, height_and_width
from models.torchvision_schemas import define_missing_operators

SMALLEST_PX: Mapping[str, int] = MappingProxyType(
    {
        "resnet18": 32,
        "resnet50": 32,
        "mobilenetv2_100": 32,
        "efficientnet_b0": 32,
        "tf_efficientnetv2_s": 32,
        "tf_efficientnet_lite0": 32,
        "tf_efficientnet_lite1": 32,
        "tf_efficientnet_lite2": 32,
        "inception_v3": 75,
    }
)
"""timm's name -> the smallest side at which every layer still has something to see."""


class Backbone(nn.Module):
    """One of timm's networks (:data:`SMALLEST_PX`) with a fresh head.

    ``(N, channels, H, W)`` float 0..1 -> logits ``(N, classes)``; three channels are BGR. The sides are any
    from the network's smallest on, and are not part of the weights.
    """

    _mean: Tensor
    _std: Tensor

    def __init__(
        self,
        name: str,
        classes: int = 5,
        channels: int = 1,
        patch: Patch = 256,
        dropout: float = 0.5,
        *,
        smhsi_head: bool = False,
    ) -> None:
        super().__init__()
        if name not in SMALLEST_PX:
            raise ValueError(f"no backbone is called {name!r}; choose one of {', '.join(SMALLEST_PX)}")
        height_and_width(patch, SMALLEST_PX[name])
        define_missing_operators()
        import timm

        self.name = name
        network: Any = timm.create_model(name, pretrained=False, num_classes=0, in_chans=channels)
        published = network.pretrained_cfg
        self.network: nn.Module = network
        if smhsi_head:
            self.classifier = fully_connected_head(network.num_features, classes, dropout)
        else:
            self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(network.num_features, classes))
        mean, std = (torch.tensor(published[key]).flip(0) for key in ("mean", "std"))
        if channels == 1:
            mean, std = mean.mean(0, keepdim=True), std.mean(0, keepdim=True)
        self.register_buffer("_mean", mean.view(1, -1, 1, 1), persistent=False)
        self.register_buffer("_std", std.view(1, -1, 1, 1), persistent=False)
        self._stem = f"{published['first_conv']}.weight"
        self._head = str(published["classifier"])

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(N, classes)`` of patches ``(N, channels, H, W)``, float 0..1."""
        logits: Tensor = self.classifier(self.network((x - self._mean) / self._std))
        return logits

    def adopt(self, weights: Mapping[str, Tensor]) -> None:
        """Take timm's (or torchvision's) published weights of this network; the head stays fresh.

        Their first convolution is for RGB: it is turned round for BGR, or summed for grey. Raises
        ``ValueError`` for weights of another network.
        """
        own = self.network.state_dict()
        fitted = {k: v for k, v in own.items() if k.endswith("num_batches_tracked")}
        for name, value in weights.items():
            if name.split(".")[0] in (self._head, "AuxLogits"):
                continue
            if name == self._stem and value.dim() == 4 and value.shape[1] == 3:
                grey = own[name].shape[1] == 1
                value = value.sum(1, keepdim=True) if grey else value.flip(1)
            fitted[name] = value
        odd = sorted(
            name
            for name in {*own, *fitted}
            if name not in own or name not in fitted or own[name].shape != fitted[name].shape
        )
        if odd:
            raise ValueError(
                f"the weights are of another network: {odd[0]} and {len(odd) - 1} more do not fit"
            )
        self.network.load_state_dict(fitted)
