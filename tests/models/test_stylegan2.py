"""StyleGAN2 as the paper has it: counts, filters, demodulation, deviation, and that the pair learns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, softplus

from models.critics.stylegan2 import StyleGAN2Critic, deviation
from models.generators.stylegan2 import ModulatedConv, StyleGAN2Generator, enlarge, smooth

TINY = {"base": 256, "widest": 16}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def trainable(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("size", "channels", "options", "generator", "critic"),
    [
        (256, 3, {}, 30_034_338, 28_864_129),
        (256, 3, {"base": 16384}, 24_767_458, 24_001_089),
        (128, 3, {"base": 16384}, 24_525_213, 23_882_369),
        (128, 1, {"base": 8192, "widest": 256}, 5_741_905, 5_973_185),
        (64, 1, {"base": 4096, "widest": 256}, 4_364_110, 4_727_489),
    ],
)
def test_the_parameters_are_those_of_the_paper(
    size: int, channels: int, options: dict[str, int], generator: int, critic: int
) -> None:
    small = "widest" in options
    own = {"style": 256, "mapping_layers": 2} if small else {}
    with torch.device("meta"):
        latent = 256 if small else 512
        assert trainable(StyleGAN2Generator(size, channels, latent, **options, **own)) == generator
        assert trainable(StyleGAN2Critic(size, channels, **options)) == critic


@pytest.mark.parametrize("doubled", [False, True])
def test_demodulation_is_what_scaling_each_pictures_filters_would_be(doubled: bool) -> None:
    torch.manual_seed(0)
    layer = ModulatedConv(5, 7, 4, kernel=3, demodulated=True, doubled=doubled)
    x, w = torch.randn(3, 5, 8, 8), torch.randn(3, 4)
    made = layer(x, w)
    for row in range(3):
        filters = layer.weight / (5 * 9) ** 0.5 * layer.style(w)[row][None, :, None, None]
        filters = filters / (filters.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if doubled:
            wide = nn.functional.conv_transpose2d(x[row : row + 1], filters.transpose(0, 1), stride=2)
            expected = smooth(wide, (1, 1), 4.0)
        else:
            expected = conv2d(x[row : row + 1], filters, padding=1)
        torch.testing.assert_close(made[row : row + 1], expected, atol=1e-5, rtol=1e-5)


def test_filters_keep_the_level_of_a_surface() -> None:
    level = torch.full((1, 2, 12, 12), 0.7)
    torch.testing.assert_close(smooth(level, (0, 0)), torch.full((1, 2, 9, 9), 0.7))
    torch.testing.assert_close(enlarge(level)[:, :, 2:-2, 2:-2], torch.full((1, 2, 20, 20), 0.7))


def test_the_deviation_is_zero_for_a_picture_repeated_and_not_for_different_ones() -> None:
    x = torch.randn(1, 3, 4, 4).expand(4, -1, -1, -1)
    assert float(deviation(x).max()) < 2e-4
    assert float(deviation(torch.randn(4, 3, 4, 4)).min()) > 0.1
    assert deviation(torch.randn(6, 3, 4, 4)).shape == (6, 1, 4, 4)


@pytest.mark.parametrize(("size", "channels"), [(32, 1), (64, 3)])
def test_pictures_and_scores_have_their_shapes(size: int, channels: int) -> None:
    torch.manual_seed(0)
    generator = StyleGAN2Generator(size, channels, 8, style=16, mapping_layers=2, **TINY)
    made = generator(torch.randn(2, 8))
    assert made.shape == (2, channels, size, size)
    assert StyleGAN2Critic(size, channels, **TINY)(made).shape == (2,)


def test_two_latents_mix_by_layer() -> None:
    torch.manual_seed(0)
    generator = StyleGAN2Generator(32, 1, 8, style=16, mapping_layers=2, **TINY)
    one, other = generator.map(torch.randn(2, 8)).unsqueeze(1).expand(-1, generator.styles, -1)
    mixed = torch.where(torch.arange(generator.styles)[:, None] < 3, one, other)
    whole, blend = generator.synthesise(torch.stack([one, mixed]))
    assert not torch.allclose(whole, blend)


def test_the_mapping_moves_at_a_hundredth_of_the_rate() -> None:
    torch.manual_seed(0)
    generator = StyleGAN2Generator(32, 1, 8, style=16, mapping_layers=2, **TINY)
    optimiser = torch.optim.Adam(generator.parameters(), 2e-3, (0.0, 0.99))
    before = [layer.weight.detach() * layer._scale for layer in generator.mapping]
    generator(torch.randn(4, 8)).square().mean().backward()
    optimiser.step()
    for layer, old in zip(generator.mapping, before, strict=True):
        assert 0 < (layer.weight.detach() * layer._scale - old).abs().max() < 2e-5


def test_every_parameter_receives_a_gradient() -> None:
    torch.manual_seed(0)
    generator = StyleGAN2Generator(32, 1, 8, style=16, mapping_layers=2, **TINY)
    critic = StyleGAN2Critic(32, 1, **TINY)
    softplus(-critic(generator(torch.randn(4, 8)))).mean().backward()
    for network in (generator, critic):
        for name, value in network.named_parameters():
            assert value.grad is not None, name
            assert value.grad.abs().sum() > 0, name


def test_the_pair_learns_the_brightness_of_a_toy() -> None:
    torch.manual_seed(0)
    generator = StyleGAN2Generator(32, 1, 8, style=16, mapping_layers=2, **TINY)
    critic = StyleGAN2Critic(32, 1, **TINY)
    moves = [torch.optim.Adam(network.parameters(), 1e-2, (0.0, 0.99)) for network in (generator, critic)]

    def brightness() -> float:
        with torch.no_grad():
            return float(generator(torch.randn(16, 8, generator=torch.Generator().manual_seed(1))).mean())

    def update(which: int, loss: Tensor) -> None:
        moves[which].zero_grad()
        loss.backward()
        moves[which].step()

    first = abs(brightness() + 0.8)
    for _ in range(16):
        real = (-0.8 + 0.05 * torch.randn(4, 1, 32, 32)).requires_grad_(True)
        scores = critic(real)
        (slope,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
        fake = generator(torch.randn(4, 8))
        lost = softplus(-scores).mean() + softplus(critic(fake.detach())).mean()
        update(1, lost + 0.5 * slope.square().sum((1, 2, 3)).mean())
        update(0, softplus(-critic(fake)).mean())
    assert abs(brightness() + 0.8) < 0.7 * first
