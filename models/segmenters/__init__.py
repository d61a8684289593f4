"""Segmenters: a probability for every pixel, found by name in :data:`SEGMENTERS`.

Source: Saiz et al. 2021, sections 2.3.3 and 2.4, whose networks are DeepLabV3+ (Chen et al. 2018) and PAN (Li
et al. 2018); U-Net (Ronneberger et al. 2015) is the plain rival. They are segmentation-models-pytorch's, with
a ResNet-18, ResNet-50 or MobileNetV2 as encoder: its Xception, the paper's encoder, cannot be dilated.
Weights start at random; nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from models.adversarial_layers import check_channels
from models.torchvision_schemas import define_missing_operators

ENCODERS = ("resnet18", "resnet50", "mobilenet_v2")
STEP_PX = 32
"""The sides of pictures are multiples of this."""
SEGMENTERS: Mapping[str, str] = MappingProxyType(
    {"deeplabv3plus": "DeepLabV3Plus", "pan": "PAN", "unet": "Unet"}
)
"""Names -> segmentation-models-pytorch's classes."""
SMALLEST_PX: Mapping[str, int] = MappingProxyType({"deeplabv3plus": 32, "pan": 128, "unet": 32})
"""The smallest side of a picture: PAN halves a map at a sixteenth of it three times more."""


class Segmenter(nn.Module):
    """One of :data:`SEGMENTERS`.

    ``(N, channels, H, W)`` float 0..1, sides multiples of 32 and at least
    :data:`SMALLEST_PX` -> logits ``(N, classes, H, W)``: one for each
    class of defect, independent of one another. Raises ``ValueError`` for an unknown network or encoder.
    """

    def __init__(
        self, name: str = "deeplabv3plus", encoder: str = "resnet18", channels: int = 1, classes: int = 1
    ) -> None:
        super().__init__()
        if name not in SEGMENTERS or encoder not in ENCODERS:
            raise ValueError(
                f"a segmenter is one of {', '.join(SEGMENTERS)} with one of {', '.join(ENCODERS)}, "
                f"not {name!r} with {encoder!r}"
            )
        check_channels(channels)
        if classes < 1:
            raise ValueError(f"a segmenter has 1 class of defect or more, not {classes}")
        define_missing_operators()
        import segmentation_models_pytorch as smp

        build: Any = getattr(smp, SEGMENTERS[name])
        self._smallest = SMALLEST_PX[name]
        self.network: nn.Module = build(encoder, encoder_weights=None, in_channels=channels, classes=classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits ``(N, classes, H, W)``."""
        height, width = pictures.shape[2:]
        if height % STEP_PX or width % STEP_PX or min(height, width) < self._smallest:
            raise ValueError(
                f"the sides must be multiples of {STEP_PX} px and at least {self._smallest} px, not "
                f"{height} x {width}"
            )
        logits: Tensor = self.network(pictures)
        return logits
