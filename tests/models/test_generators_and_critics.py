"""Checks that every generator and every critic passes."""

from pathlib import Path

import pytest
import torch
from torch import nn

from models.critics import CRITICS
from models.generators import GENERATORS

LARGE = {"stylegan2"}
"""Too large to be run by every check; the same code at another size is ``stylegan2-small``, and
test_stylegan2.py counts its parameters."""
every_generator = pytest.mark.parametrize("name", sorted(set(GENERATORS) - LARGE))
every_critic = pytest.mark.parametrize("name", sorted(set(CRITICS) - LARGE))


def trainable(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_sdg_gan_has_the_parameters_of_the_papers_tables() -> None:
    assert trainable(GENERATORS["sdg-gan"](256, 1, 256)) == 10_029_057
    assert trainable(CRITICS["sdg-gan"](256, 1)) == 6_993_409


def test_sdg_gans_maps_have_the_tabled_shapes() -> None:
    maps: list[tuple[int, ...]] = []

    def shapes_of(network: nn.Module, kinds: tuple[type[nn.Module], ...], x: torch.Tensor) -> list[object]:
        maps.clear()
        for module in network.modules():
            if isinstance(module, kinds):
                module.register_forward_hook(lambda m, i, out: maps.append((*out.shape[2:], out.shape[1])))
        with torch.inference_mode():
            network(x)
        return list(maps)

    generator = GENERATORS["sdg-gan"](256, 1, 256)
    assert shapes_of(generator, (nn.ConvTranspose2d, nn.Conv2d), torch.randn(2, 256)) == [
        (8, 8, 512), (16, 16, 256), (32, 32, 128), (64, 64, 128), (128, 128, 64), (128, 128, 64),
        (128, 128, 64), (256, 256, 32), (256, 256, 1),
    ]  # fmt: skip
    critic = CRITICS["sdg-gan"](256, 1)
    assert shapes_of(critic, (nn.AvgPool2d,), torch.rand(1, 1, 256, 256)) == [
        (128, 128, 32), (64, 64, 64), (32, 32, 128), (16, 16, 256), (8, 8, 512), (4, 4, 1024),
    ]  # fmt: skip


def test_dcgan_has_five_layers_each_at_64_px() -> None:
    for network in (GENERATORS["dcgan"](64, 1, 100), CRITICS["dcgan"](64, 1)):
        assert sum(isinstance(m, nn.Conv2d | nn.ConvTranspose2d) for m in network.modules()) == 5


@pytest.mark.parametrize("name", ["vanilla", "vanilla-critic"])
def test_the_vanilla_gan_has_five_layers_each(name: str) -> None:
    network = CRITICS["vanilla"](64, 1) if "critic" in name else GENERATORS["vanilla"](64, 1, 100)
    assert sum(isinstance(m, nn.Linear) for m in network.modules()) == 5


@pytest.mark.parametrize("layers", [0, 2, 4, 8])
def test_a_mapping_network_has_the_layers_asked_for(layers: int) -> None:
    network = GENERATORS["latent-mapping"](32, 1, 2, mapping_layers=layers)
    assert len(network.mapping) == layers
    assert network(torch.randn(2, 2)).shape == (2, 1, 32, 32)
    first = network.synthesis.layers[1]
    assert first.in_channels == (100 if layers else 2), "w keeps 100 numbers however small z is"


def test_sdg_gans_generator_and_critic_start_alike() -> None:
    for network in (GENERATORS["sdg-gan"](64, 1, 256), CRITICS["sdg-gan"](64, 1)):
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                inward, outward = nn.init._calculate_fan_in_and_fan_out(module.weight)
                limit = (6 / (inward + outward)) ** 0.5
                assert 0.9 * limit < module.weight.abs().max() <= limit, "Glorot's uniform distribution"


@every_generator
@pytest.mark.parametrize(
    ("size", "channels", "latent"), [(32, 1, 2), (32, 3, 100), (64, 1, 256), (128, 3, 5)]
)
def test_pictures_have_the_size_asked_for_and_lie_in_minus_1_to_1(
    name: str, size: int, channels: int, latent: int
) -> None:
    torch.manual_seed(0)
    pictures = GENERATORS[name](size, channels, latent)(torch.randn(2, latent))
    assert pictures.shape == (2, channels, size, size)
    assert pictures.abs().max() <= 1 or name == "stylegan2-small", "its last layer is linear"
    assert pictures.std(0).max() > 1e-3, "a fresh generator draws different pictures"


@every_critic
@pytest.mark.parametrize(("size", "channels"), [(32, 1), (32, 3), (64, 1), (128, 3)])
def test_a_critic_gives_a_raw_score_a_picture(name: str, size: int, channels: int) -> None:
    scores = CRITICS[name](size, channels)(torch.rand(3, channels, size, size) * 2 - 1)
    assert scores.shape == (3,)


@pytest.mark.parametrize("size", [0, 16, 48, 100, 512])
def test_a_size_that_is_no_power_of_two_between_32_and_256_is_refused(size: int) -> None:
    for make in GENERATORS.values():
        with pytest.raises(ValueError, match="32, 64, 128, 256 px"):
            make(size, 1, 10)
    for make in CRITICS.values():
        with pytest.raises(ValueError, match="32, 64, 128, 256 px"):
            make(size, 1)


def test_pictures_in_two_channels_and_empty_latents_are_refused() -> None:
    for make in GENERATORS.values():
        with pytest.raises(ValueError, match="1 or 3 channels"):
            make(32, 2, 10)
        with pytest.raises(ValueError, match="1 number or more"):
            make(32, 1, 0)
    for make in CRITICS.values():
        with pytest.raises(ValueError, match="1 or 3 channels"):
            make(32, 2)
    with pytest.raises(ValueError, match="0 layers or more"):
        GENERATORS["latent-mapping"](32, 1, 10, mapping_layers=-1)


@every_generator
def test_every_parameter_of_a_generator_receives_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    network = GENERATORS[name](32, 1, 10)
    network(torch.randn(4, 10)).square().mean().backward()
    for parameter, value in network.named_parameters():
        assert value.grad is not None, parameter
        assert torch.isfinite(value.grad).all(), parameter
        assert value.grad.abs().sum() > 0, parameter


@every_critic
def test_every_parameter_of_a_critic_receives_a_gradient_and_so_does_the_picture(name: str) -> None:
    torch.manual_seed(0)
    network = CRITICS[name](32, 1)
    pictures = (torch.rand(4, 1, 32, 32) * 2 - 1).requires_grad_(True)
    network(pictures).square().mean().backward()
    for parameter, value in network.named_parameters():
        assert value.grad is not None, parameter
        assert value.grad.abs().sum() > 0, parameter
    assert pictures.grad is not None
    assert pictures.grad.abs().sum() > 0


@pytest.mark.parametrize("name", sorted(set(CRITICS) - {"dcgan", "stylegan2", "stylegan2-small"}))
def test_a_critic_under_a_penalty_scores_each_picture_by_itself(name: str) -> None:
    network = CRITICS[name](32, 1)
    pictures = torch.rand(4, 1, 32, 32)
    with torch.inference_mode():
        alone = torch.cat([network(picture) for picture in pictures.split(1)])
        torch.testing.assert_close(network(pictures), alone)


def drawn(network: nn.Module, latent: torch.Tensor) -> torch.Tensor:
    """Pictures, the noise within the network being the same each time."""
    torch.manual_seed(7)
    pictures: torch.Tensor = network(latent)
    return pictures


@every_generator
def test_the_same_seed_makes_the_same_generator(name: str) -> None:
    made = []
    for _ in range(2):
        torch.manual_seed(3)
        made.append(GENERATORS[name](32, 1, 10).eval())
    latent = torch.randn(2, 10)
    with torch.inference_mode():
        assert torch.equal(drawn(made[0], latent), drawn(made[1], latent))


@every_generator
def test_a_saved_generator_draws_the_same_when_loaded(name: str, tmp_path: Path) -> None:
    network = GENERATORS[name](32, 1, 10)
    network(torch.randn(8, 10))  # running statistics that are not the initial ones
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    loaded = GENERATORS[name](32, 1, 10)
    loaded.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    latent = torch.randn(2, 10)
    with torch.inference_mode():
        assert torch.equal(drawn(loaded.eval(), latent), drawn(network.eval(), latent))
