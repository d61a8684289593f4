"""The simple fully convolutional network on which the latent mapping GAN's samples are tried.

Source: Song et al. (latent mapping GAN), section 4.4.1 and Table 3, "a simple fully convolutional network
(FCN) [35]". The reference [35] (Smith and Smith, conditional GANs for time series) uses the network of Wang,
Yan and Oates, "Time Series Classification from Scratch with Deep Neural Networks", 2017: three convolutions
of 128, 256 and 128 filters with kernels 8, 5 and 3, each with batch normalisation and ReLU, then global
average pooling and one linear layer. Here each kernel is a square. Strides 2, 2 and 1 are ours (the original
has none): they cost no parameter and make a picture sixteen times cheaper. So is the dropout before the last
layer.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.classifiers.layers import Patch, he_initialise, height_and_width

_SMALLEST_PX = 32


class SimpleFCN(nn.Module):
    """Three convolutions and an average.

    ``(N, channels, H, W)`` float 0..1 -> logits ``(N, classes)``; H and W from 32 px on, not part of the
    weights. With one channel and five classes it has 1,124,485 trained parameters.
    """

    def __init__(self, classes: int = 5, channels: int = 1, patch: Patch = 256, dropout: float = 0.5) -> None:
        super().__init__()
        height_and_width(patch, _SMALLEST_PX)
        self.features = nn.Sequential(
            nn.Conv2d(channels, 128, 8, stride=2, padding=3),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 256, 5, stride=2, padding=2),
            nn.BatchNorm2d(256),
            nn.ReLU(),
            nn.Conv2d(256, 128, 3, padding=1),
            nn.BatchNorm2d(128),
            nn.ReLU(),
        )
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(128, classes))
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(N, classes)`` of patches ``(N, channels, H, W)``, float 0..1."""
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits
