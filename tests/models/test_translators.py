"""Translators: counts of the papers, shapes, what the target domain does, and that they learn."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from models.translators import TRANSLATORS
from models.translators.cycle_gan import CycleCritic, CycleGenerator
from models.translators.layers import with_domain

every_translator = pytest.mark.parametrize("name", sorted(TRANSLATORS))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def trainable(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_pe_gan_and_its_rivals_have_the_parameters_of_the_papers() -> None:
    pe, star = TRANSLATORS["pe-gan"], TRANSLATORS["star-gan"]
    assert trainable(pe.generator(128, 3, 10)) == 2_310_272
    assert trainable(pe.generator(128, 1, 10)) == 2_304_000
    assert trainable(pe.critic(128, 3, 10)) == 4_441_920
    assert trainable(pe.critic(64, 3, 10)) == 4_380_480
    assert trainable(star.generator(128, 3, 10)) == 8_446_208
    assert trainable(star.critic(128, 3, 10)) == 44_803_008
    assert trainable(star.critic(64, 3, 10)) == 11_196_352
    assert trainable(CycleGenerator(128, 3)) == 7_837_699
    assert trainable(CycleCritic(128, 3)) == 2_764_737


@every_translator
@pytest.mark.parametrize(("size", "channels", "domains"), [(32, 1, 2), (64, 3, 10)])
def test_pictures_keep_their_shape_and_critics_judge_and_name_them(
    name: str, size: int, channels: int, domains: int
) -> None:
    torch.manual_seed(0)
    translator = TRANSLATORS[name]
    pictures = torch.rand(2, channels, size, size) * 2 - 1
    made = translator.generator(size, channels, domains)(pictures, torch.tensor([0, domains - 1]))
    assert made.shape == pictures.shape
    assert made.abs().max() <= 1
    scores, logits = translator.critic(size, channels, domains)(pictures)
    assert (scores.shape, logits.shape) == ((2,), (2, domains))


def test_pe_gans_maps_have_the_tabled_shapes() -> None:
    maps: list[tuple[int, ...]] = []
    network = TRANSLATORS["pe-gan"].generator(128, 3, 10)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(lambda m, i, out: maps.append((out.shape[2], out.shape[1])))
    with torch.inference_mode():
        network(torch.rand(1, 3, 128, 128), torch.tensor([4]))
    expected = [(128, 32), (64, 64), (32, 128), *[(32, 128)] * 12, (64, 64), (128, 32), (128, 3)]
    assert maps == expected


def test_the_target_domain_is_a_plane_of_ones_behind_the_picture() -> None:
    pictures = torch.rand(2, 1, 4, 4)
    seen = with_domain(pictures, torch.tensor([2, 0]), 3)
    assert torch.equal(seen[:, :1], pictures)
    assert seen[0, 1:].mean((1, 2)).tolist() == [0, 0, 1]
    assert seen[1, 1:].mean((1, 2)).tolist() == [1, 0, 0]


@every_translator
def test_another_target_makes_another_picture(name: str) -> None:
    torch.manual_seed(0)
    generator = TRANSLATORS[name].generator(32, 1, 3)
    picture = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        made = [generator(picture, torch.tensor([k])) for k in range(3)]
    assert not torch.allclose(made[0], made[1], atol=1e-4)
    assert not torch.allclose(made[1], made[2], atol=1e-4)


@every_translator
def test_a_translator_learns_to_keep_a_picture_and_a_critic_to_name_its_domain(name: str) -> None:
    torch.manual_seed(0)
    translator = TRANSLATORS[name]
    generator, critic = translator.generator(32, 1, 2), translator.critic(32, 1, 2)
    plain = torch.full((2, 1, 32, 32), 0.3) + 0.05 * torch.randn(2, 1, 32, 32)
    barred = plain.clone()
    barred[:, :, 12:18] = 0.9
    pictures, domains = torch.cat([plain, barred]), torch.tensor([0, 0, 1, 1])
    optimiser = torch.optim.Adam([*generator.parameters(), *critic.parameters()], 5e-4, (0.9, 0.99))
    history = []
    for _ in range(8):
        kept = (generator(pictures, domains) - pictures).abs().mean()
        named = cross_entropy(critic(pictures)[1], domains)
        optimiser.zero_grad()
        (kept + named).backward()
        optimiser.step()
        history.append((kept.item(), named.item()))
    assert history[-1][0] < 0.8 * history[0][0]
    assert history[-1][1] < 0.8 * history[0][1]


def test_cycle_gan_gives_a_picture_and_a_score_of_each_place() -> None:
    pictures = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        assert CycleGenerator(64, 1)(pictures).shape == pictures.shape
        assert CycleCritic(64, 1)(pictures).shape == (1, 1, 6, 6)


def test_cycle_gan_learns_to_darken() -> None:
    torch.manual_seed(0)
    network = CycleGenerator(32, 1)
    bright = torch.full((1, 1, 32, 32), 0.6) + 0.1 * torch.randn(1, 1, 32, 32)
    optimiser = torch.optim.Adam(network.parameters(), 2e-4)
    history = []
    for _ in range(5):
        loss = (network(bright) - (bright - 0.5)).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append(loss.item())
    assert history[-1] < 0.8 * history[0]


def test_odd_sizes_and_a_single_domain_are_refused() -> None:
    for translator in TRANSLATORS.values():
        for build in (translator.generator, translator.critic):
            with pytest.raises(ValueError, match="32, 64, 128, 256 px"):
                build(48, 1, 3)
            with pytest.raises(ValueError, match="2 domains or more"):
                build(32, 1, 1)
