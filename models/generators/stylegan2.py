"""StyleGAN2's generator: a mapping network, and a synthesis whose filters w scales picture by picture.

Written from Karras et al. 2020 (StyleGAN2), sections 2 and 4, and Karras et al. 2019 (StyleGAN), section 2
and appendix C. Saiz et al. 2021 draw defects by it and give no setting. At 256 px, 3 channels and config F it
has 30,034,338 parameters; a small one, for 64 or 128 grey pixels, 4,364,110 and 5,741,905.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu, linear

from models.adversarial_layers import check_channels, check_latent, doublings

_SLOPE = 0.2
_GAIN = math.sqrt(2)
"""Keeps the variance of a signal behind a leaky rectifier near that before it."""
_MAPPING_RATE = 0.01
_TAPS = (1.0, 3.0, 3.0, 1.0)
"""The filter of all changes of size (StyleGAN2, appendix B)."""


class StyleGAN2Generator(nn.Module):
    """Mapping and synthesis, ``(N, latent)`` -> ``(N, channels, size, size)``.

    The pictures lie around -1..1 and may go beyond it: the last layer is linear, as in the paper. ``base``
    and ``widest`` give the filters at a resolution ``r``: ``min(base / r, widest)``. Every layer adds noise
    of its own, drawn from torch's generator, scaled by one learnt number. ``lights``: the channels are
    pictures under several lights, any number of them.
    """

    def __init__(
        self,
        size: int = 64,
        channels: int = 1,
        latent: int = 512,
        *,
        base: int = 32768,
        widest: int = 512,
        style: int = 512,
        mapping_layers: int = 8,
        lights: bool = False,
    ) -> None:
        super().__init__()
        if not lights:
            check_channels(channels)
        check_latent(latent)
        steps = doublings(size)
        inputs = [latent, *[style] * (mapping_layers - 1)]
        self.mapping = nn.ModuleList(EqualLinear(count, style, rate=_MAPPING_RATE) for count in inputs)
        widths = [filters(4 << step, base, widest) for step in range(steps + 1)]
        self.constant = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        self.first = StyledConv(widths[0], widths[0], style)
        self.first_colour = ToColour(widths[0], channels, style)
        self.doubled = nn.ModuleList()
        self.same = nn.ModuleList()
        self.colours = nn.ModuleList()
        for before, after in itertools.pairwise(widths):
            self.doubled.append(StyledConv(before, after, style, doubled=True))
            self.same.append(StyledConv(after, after, style))
            self.colours.append(ToColour(after, channels, style))

    @property
    def styles(self) -> int:
        """How many w the synthesis takes: one per convolution, and one for the last colours."""
        return 2 + 2 * len(self.doubled)

    def forward(self, latent: Tensor) -> Tensor:
        """Pictures of latent vectors ``(N, latent)``, one w for all layers."""
        return self.synthesise(self.map(latent).unsqueeze(1).expand(-1, self.styles, -1))

    def map(self, latent: Tensor) -> Tensor:
        """W ``(N, style)`` of latent vectors, which are normalised first."""
        mapped = latent * torch.rsqrt(latent.square().mean(1, keepdim=True) + 1e-8)
        for layer in self.mapping:
            mapped = rectified(layer(mapped))
        return mapped

    def mix(self, latent: Tensor, other: Tensor, chances: Tensor, share: float) -> Tensor:
        """One w per layer, ``(N, styles, style)``: for a ``share`` of pictures ``other``'s from a random
        layer on.

        ``latent`` and ``other`` are ``(N, latent)``, ``chances`` ``(N, 2)`` in 0..1. Source: Karras et al.
        2019, section 3.1 (style mixing).
        """
        first = 1 + (chances[:, 0] * (self.styles - 1)).long()
        first = torch.where(chances[:, 1] < share, first, self.styles)
        layers = torch.arange(self.styles, device=latent.device)
        taken = (layers[None] >= first[:, None]).unsqueeze(2)
        return torch.where(taken, self.map(other).unsqueeze(1), self.map(latent).unsqueeze(1))

    def synthesise(self, w: Tensor) -> Tensor:
        """Pictures of one w per layer, ``(N, styles, style)``: two latents' w in turn mix their styles."""
        x = self.first(self.constant.expand(len(w), -1, -1, -1), w[:, 0])
        picture: Tensor = self.first_colour(x, w[:, 1])
        layers = zip(self.doubled, self.same, self.colours, strict=True)
        for number, (doubled, same, colour) in enumerate(layers):
            at = 1 + 2 * number
            x = same(doubled(x, w[:, at]), w[:, at + 1])
            picture = enlarge(picture) + colour(x, w[:, at + 2])
        return picture


SMALL_BASE = 64
"""Of the small networks, per px of the side: 64 filters at full size, doubled with each halving ..."""
SMALL_WIDEST = 256
"""... up to this."""


def small_generator(size: int = 64, channels: int = 1, latent: int = 256) -> StyleGAN2Generator:
    """The generator for a modest machine: a quarter of the filters, w of 256, two mapping layers."""
    return StyleGAN2Generator(
        size, channels, latent, base=SMALL_BASE * size, widest=SMALL_WIDEST, style=256, mapping_layers=2
    )


class EqualLinear(nn.Module):
    """Fully connected with equalised learning rate; ``(N, in)`` -> ``(N, out)``.

    Weights are kept with a variance of 1 (and by ``1 / rate`` larger) and scaled when used, so that an
    optimiser like Adam moves all layers alike, and this one at ``rate`` of its rate. Source: Karras et al.
    2018 (progressive growing), section 4.1.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: float = 0.0, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self._scale, self._rate = rate / math.sqrt(inputs), rate

    def forward(self, x: Tensor) -> Tensor:
        """``(N, out)``, without a rectifier."""
        return linear(x, self.weight * self._scale, self.bias * self._rate)


class ModulatedConv(nn.Module):
    """A convolution whose input channels w scales, picture by picture; ``(N, in, H, W)`` and ``(N, style)``.

    Demodulation divides each output channel by the length of its scaled filter, which is what the scaled
    filters themselves would be divided by (StyleGAN2, equations 1 and 3): the input is scaled before and the
    output after one convolution that all pictures share. ``doubled`` enlarges the map twofold.
    """

    def __init__(
        self, inputs: int, outputs: int, style: int, *, kernel: int, demodulated: bool, doubled: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.style = EqualLinear(style, inputs, bias=1.0)
        self._scale = 1 / math.sqrt(inputs * kernel * kernel)
        self._demodulated, self._doubled = demodulated, doubled

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """``(N, out, H, W)``, or twice the sides."""
        weight, scales = self.weight * self._scale, self.style(w)
        x = x * scales[:, :, None, None]
        if self._doubled:
            x = smooth(conv_transpose2d(x, weight.transpose(0, 1), stride=2), (1, 1), 4.0)
        else:
            x = conv2d(x, weight, padding=weight.shape[-1] // 2)
        if self._demodulated:
            lengths = scales.square() @ weight.square().sum((2, 3)).T
            x = x * torch.rsqrt(lengths + 1e-8)[:, :, None, None]
        return x


class StyledConv(nn.Module):
    """A modulated 3 x 3 convolution, noise, a bias and a leaky rectifier."""

    def __init__(self, inputs: int, outputs: int, style: int, *, doubled: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv(inputs, outputs, style, kernel=3, demodulated=True, doubled=doubled)
        self.noise = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """``(N, out, H, W)`` of ``(N, in, H, W)`` and w ``(N, style)``."""
        x = self.conv(x, w)
        x = x + self.noise * torch.randn(len(x), 1, *x.shape[2:], device=x.device, dtype=x.dtype)
        return rectified(x + self.bias[:, None, None])


class ToColour(nn.Module):
    """A map's share of the picture: a modulated 1 x 1 convolution, not demodulated, and a bias."""

    def __init__(self, inputs: int, channels: int, style: int) -> None:
        super().__init__()
        self.conv = ModulatedConv(inputs, channels, style, kernel=1, demodulated=False)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """``(N, channels, H, W)``."""
        y: Tensor = self.conv(x, w) + self.bias[:, None, None]
        return y


def filters(resolution: int, base: int, widest: int) -> int:
    """Filters of the maps of a resolution."""
    return min(base // resolution, widest)


def rectified(x: Tensor) -> Tensor:
    """A leaky rectifier that keeps the signal's variance."""
    return leaky_relu(x, _SLOPE) * _GAIN


def smooth(x: Tensor, padding: tuple[int, int], gain: float = 1.0) -> Tensor:
    """Each channel by the filter 1 3 3 1 both ways, sum ``gain``; ``padding`` before and after, px."""
    channels = x.shape[1]
    before, after = padding
    x = nn.functional.pad(x, (before, after, before, after))
    return conv2d(x, _kernel(x, gain).expand(channels, 1, -1, -1), groups=channels)


def enlarge(x: Tensor) -> Tensor:
    """``(N, C, H, W)`` -> ``(N, C, 2 H, 2 W)``, filtered by 1 3 3 1."""
    channels = x.shape[1]
    kernel = _kernel(x, 4.0).expand(channels, 1, -1, -1)
    return conv_transpose2d(x, kernel, stride=2, padding=1, groups=channels)


def _kernel(like: Tensor, gain: float) -> Tensor:
    taps = torch.tensor(_TAPS, device=like.device, dtype=like.dtype)
    return (taps[:, None] * taps[None]) * (gain / taps.sum().square())
