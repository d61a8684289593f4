"""SyNDGAN: a defect where a mask says, by an encoder that the mask modulates and StyleGAN2's decoder.

Source: Cho, Jeon, Park (SyNDGAN, IEEE Access), section III.B; the paper gives one convolution, seven residual
blocks with a spatial feature transform each, and a pretrained StyleGAN2. What it leaves unsaid follows its
references: the blocks are StyleGAN2's critic (as in IDInvert), the transform is that of Wang et al. 2018, the
decoder that of Projected GAN (Sauer et al. 2021). With 3 channels and one w of 512 the encoder has 30,452,560
parameters at 1024 px, 23,054,144 at 256 and 22,861,184 at 128; the decoder has 24,615,586 at 256 px.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, leaky_relu

from models.adversarial_layers import initialise_for_leaky
from models.generators.stylegan2 import StyleGAN2Generator, filters
from models.translators.painting import check_painting, overlaid, painted, palette

_SLOPE = 0.2
_TRANSFORM_SLOPE = 0.1
_TRANSFORM = 32
_BLOCKS = 7
_OPEN = 2.0
"""Added before a transform's sigmoid, so that it starts near 0.88; at 0 each block would halve its map."""


class SynGenerator(nn.Module):
    """Encoder and decoder; pictures ``(N, C, S, S)``, -1..1, and masks ``(N, S, S)`` int64 -> pictures alike.

    ``classes`` counts the classes of defects, without 0. The pictures lie around -1..1. ``per_layer``: the
    encoder gives one w per layer of the decoder (W+) instead of one for all. ``widest`` caps the filters of
    every layer. The decoder adds noise from torch's generator.
    """

    colours: Tensor

    def __init__(
        self,
        size: int = 128,
        channels: int = 1,
        classes: int = 1,
        *,
        per_layer: bool = False,
        widest: int = 512,
        latent: int = 64,
        style: int = 128,
    ) -> None:
        super().__init__()
        check_painting(channels, classes)
        self.latent = latent
        self.decoder = StyleGAN2Generator(
            size, channels, latent, widest=widest, style=style, mapping_layers=2, lights=True
        )
        self.encoder = MaskEncoder(
            size, channels, style, styles=self.decoder.styles if per_layer else 1, widest=widest
        )
        self.register_buffer("colours", palette(classes), persistent=False)

    def forward(self, pictures: Tensor, masks: Tensor) -> Tensor:
        """``(N, C, S, S)``: the pictures, with defects where their masks say."""
        return self.decode(self.encode(pictures, masks))

    def encode(self, pictures: Tensor, masks: Tensor) -> Tensor:
        """W ``(N, 1 or styles, style)`` of pictures with their masks laid over."""
        planes = painted(masks, self.colours)
        found: Tensor = self.encoder(overlaid(pictures, masks, planes), planes)
        return found

    def decode(self, w: Tensor) -> Tensor:
        """The pictures of w ``(N, 1 or styles, style)``."""
        return self.decoder.synthesise(w.expand(-1, self.decoder.styles, -1))


class MaskEncoder(nn.Module):
    """Pictures ``(N, C, S, S)`` and colour planes ``(N, 3, S, S)`` -> ``(N, styles, style)``.

    ``S`` is a power of two, 32 to 1024; the blocks halve the map to 4 x 4, seven of them at most.
    """

    def __init__(
        self,
        size: int = 128,
        channels: int = 3,
        style: int = 512,
        *,
        styles: int = 1,
        base: int = 16384,
        widest: int = 512,
    ) -> None:
        super().__init__()
        if not 32 <= size <= 1024 or size.bit_count() != 1:
            raise ValueError(f"an encoder takes pictures of 32, 64, ... 1024 px, not {size}")
        blocks = min(_BLOCKS, int(math.log2(size)) - 2)
        widths = [filters(size >> step, base, widest) for step in range(blocks + 1)]
        self.styles = styles
        self.first = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(_Block(before, after) for before, after in itertools.pairwise(widths))
        self.last = nn.Linear(widths[-1] * (size >> blocks) ** 2, styles * style)
        initialise_for_leaky(self, _SLOPE)

    def forward(self, pictures: Tensor, planes: Tensor) -> Tensor:
        """``(N, styles, style)``."""
        x = leaky_relu(self.first(pictures), _SLOPE)
        for block in self.blocks:
            x = block(x, planes)
        w: Tensor = self.last(x.flatten(1))
        return w.view(len(w), self.styles, -1)


class _Block(nn.Module):
    """Two 3 x 3 convolutions, the second one halving, beside a halving 1 x 1, transformed by the mask."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.same = nn.Conv2d(inputs, inputs, 3, padding=1)
        self.halving = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        self.beside = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.transform = FeatureTransform(outputs)

    def forward(self, x: Tensor, planes: Tensor) -> Tensor:
        y = leaky_relu(self.halving(leaky_relu(self.same(x), _SLOPE)), _SLOPE)
        y = (y + self.beside(avg_pool2d(x, 2))) / math.sqrt(2)
        transformed: Tensor = self.transform(y, planes)
        return transformed


class FeatureTransform(nn.Module):
    """A map scaled by 0..1 and shifted, place by place, as colour planes say; ``(N, W, H, H)`` alike.

    Source: Wang et al. 2018, section 3.2; the sigmoid is SyNDGAN's (section III.B.3).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Sequential(*_two(width))
        self.shift = nn.Sequential(*_two(width))

    def forward(self, x: Tensor, planes: Tensor) -> Tensor:
        """The planes ``(N, 3, S, S)`` are averaged to the map's size first."""
        seen = avg_pool2d(planes, planes.shape[-1] // x.shape[-1])
        y: Tensor = torch.sigmoid(self.scale(seen) + _OPEN) * x + self.shift(seen)
        return y


def _two(width: int) -> list[nn.Module]:
    return [
        nn.Conv2d(3, _TRANSFORM, 3, padding=1),
        nn.LeakyReLU(_TRANSFORM_SLOPE),
        nn.Conv2d(_TRANSFORM, width, 3, padding=1),
    ]
