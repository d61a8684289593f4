"""SyNDGAN, its rival and its critics: counts, what a mask hides, lights, gradients and the exported graph."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from models.classifiers.backbones import Backbone
from models.critics.projected import FrozenFeatures, ProjectedCritic, feature_distance
from models.translators.masked_unet import MaskedUNet
from models.translators.painting import COLOURS, overlaid, painted, palette
from models.translators.syndgan import MaskEncoder, SynGenerator

SIDE = 32


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def features(channels: int) -> FrozenFeatures:
    return FrozenFeatures(Backbone("tf_efficientnet_lite1", 2, 3 if channels == 3 else 1, 128), channels, 128)


def build(name: str, channels: int = 1) -> nn.Module:
    if name == "masked-unet":
        return MaskedUNet(SIDE, channels, 2, widest=16)
    return SynGenerator(SIDE, channels, 2, per_layer=name == "syndgan-w-plus", widest=16)


every_network = pytest.mark.parametrize("name", ["syndgan", "syndgan-w-plus", "masked-unet"])


def pictures(channels: int = 1) -> tuple[Tensor, Tensor]:
    """Two pictures and their masks: nothing, and a bar of class 2."""
    masks = torch.zeros(2, SIDE, SIDE, dtype=torch.int64)
    masks[1, 10:16] = 2
    return torch.rand(2, channels, SIDE, SIDE) * 2 - 1, masks


def test_the_parameters_are_those_of_the_paper_and_its_references() -> None:
    with torch.device("meta"):
        assert count(MaskEncoder(1024, 3)) == 30_452_560
        assert count(MaskEncoder(256, 3)) == 23_054_144
        assert count(MaskEncoder(128, 3)) == 22_861_184
        assert count(SynGenerator(256, 3, 3).decoder) == 24_615_586
    seen = features(3)
    critic = ProjectedCritic(seen.widths)
    assert count(seen) == 3_723_520
    assert count(critic.mixing) + count(critic.fusing) == 376_768
    assert count(critic.critics) == 10_328_192


def test_every_class_has_a_colour_of_its_own_and_planes_say_where() -> None:
    assert len(set(COLOURS)) == len(COLOURS) == 26
    assert COLOURS[:3] == (0xFF0000, 0x00FF00, 0x0000FF)
    _, masks = pictures()
    planes = painted(masks, palette(2))
    assert not planes[0].any()
    assert planes[1, :, 12, 5].tolist() == [0.0, 1.0, 0.0], "blue, green, red"


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_mask_hides_what_lies_below_it_and_nothing_else(channels: int) -> None:
    seen, masks = pictures(channels)
    hidden = overlaid(seen, masks, painted(masks, palette(2)))
    assert torch.equal(hidden[0], seen[0])
    assert torch.equal(hidden[1][:, masks[1] == 0], seen[1][:, masks[1] == 0])
    under = hidden[1][:, masks[1] > 0]
    assert torch.equal(under, under[:, :1].expand_as(under))


@every_network
@pytest.mark.parametrize("channels", [1, 4])
def test_pictures_keep_their_shape_and_hidden_pixels_change_nothing(name: str, channels: int) -> None:
    network = build(name, channels).eval()
    seen, masks = pictures(channels)
    other = torch.where(masks[:, None] > 0, -seen, seen)
    with torch.inference_mode():
        made, same = (network(given, masks) for given in (seen, other))
        bare = network(seen, torch.zeros_like(masks))
        another = network(seen, masks.clamp(max=1))
    assert made.shape == seen.shape
    torch.testing.assert_close(made, same)
    torch.testing.assert_close(made[0], bare[0])
    assert not torch.allclose(made[1], bare[1], atol=1e-4)
    assert not torch.allclose(made[1], another[1], atol=1e-5), "another class, another defect"


def test_one_w_serves_all_layers_or_each_has_its_own() -> None:
    seen, masks = pictures()
    for name, count_of in (("syndgan", 1), ("syndgan-w-plus", 8)):
        network = build(name)
        assert isinstance(network, SynGenerator)
        assert network.encode(seen, masks).shape == (2, count_of, 128)
        assert network.decoder.styles == 8


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_critics_judge_places_and_pass_the_slope_to_pixels_through_frozen_features(channels: int) -> None:
    seen = features(channels)
    critic = ProjectedCritic(seen.widths, widest=16)
    given = pictures(channels)[0].requires_grad_(True)
    maps = seen(given)
    assert [x.shape[3] for x in maps] == [32, 16, 8, 4]
    assert tuple(x.shape[1] for x in maps) == seen.widths
    scores = critic(maps)
    assert [s.shape for s in scores] == [(2, 1)] * 4
    torch.stack([s.mean() for s in scores]).sum().backward()
    assert given.grad is not None
    assert (given.grad.abs().sum((2, 3)) > 0).all(), "every light is judged"
    frozen = [*seen.parameters(), *critic.mixing.parameters(), *critic.fusing.parameters()]
    assert all(p.grad is None for p in frozen)
    assert all(p.grad is not None for p in critic.critics.parameters())
    assert not seen.train().training


def test_pictures_that_look_alike_are_near_in_features() -> None:
    seen = features(1)
    given = pictures()[0]
    with torch.inference_mode():
        same, near, far = (seen(x) for x in (given, given + 0.01 * torch.randn_like(given), -given))
        assert feature_distance(same, same).max() == 0
        assert (feature_distance(same, near) < feature_distance(same, far)).all()


@every_network
def test_every_parameter_that_draws_receives_a_gradient(name: str) -> None:
    network = build(name)
    seen, masks = pictures()
    network(seen, masks).square().mean().backward()
    for path, value in network.named_parameters():
        if not path.startswith("decoder.mapping"):  # only the first stage uses it
            assert value.grad is not None, path
            assert value.grad.abs().sum() > 0, path


@every_network
def test_a_network_learns_to_give_back_what_a_mask_hides(name: str) -> None:
    network = build(name)
    seen, masks = pictures()
    seen = torch.where(masks[:, None] == 2, 0.9, 0.1 * seen)
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    history = []
    for _ in range(25):
        loss = (network(seen, masks) - seen).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append(loss.item())
    assert history[-1] < 0.5 * history[0]


class _Encoder(nn.Module):
    def __init__(self, network: SynGenerator) -> None:
        super().__init__()
        self.network = network

    def forward(self, seen: Tensor, masks: Tensor) -> Tensor:
        return self.network.encode(seen, masks)


@pytest.mark.parametrize("name", ["syndgan", "masked-unet"])
def test_an_exported_network_gives_the_same(name: str, tmp_path: Path) -> None:
    network = build(name).eval()
    whole = _Encoder(network) if isinstance(network, SynGenerator) else network
    given = pictures()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # as in retraining.shipping.export
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # sides and channels are fixed in a graph
        warnings.filterwarnings("ignore", "ONNX export mode is set")  # statistics are each picture's own
        torch.onnx.export(
            whole,
            given,
            str(tmp_path / "m.onnx"),
            input_names=["seen", "masks"],
            dynamo=False,
            opset_version=17,
        )
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"seen": given[0].numpy(), "masks": given[1].numpy()})
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(found), whole(*given), atol=1e-4, rtol=1e-4)


def test_odd_sizes_lights_and_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="32, 64, 128, 256 px"):
        MaskedUNet(48)
    with pytest.raises(ValueError, match="1024 px, not 2048"):
        MaskEncoder(2048)
    with pytest.raises(ValueError, match="1 to 8 channels, not 9"):
        SynGenerator(32, 9)
    with pytest.raises(ValueError, match="1 to 26 classes"):
        MaskedUNet(32, 1, 0)
    with pytest.raises(ValueError, match="128 px or more, not 64"):
        FrozenFeatures(Backbone("tf_efficientnet_lite1", 2, 1, 64), 1, 64)
