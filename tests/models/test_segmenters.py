"""Segmenters: the counts of the digest, shapes, what is refused, and that each learns a toy."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from models.segmenters import SEGMENTERS, SMALLEST_PX, Segmenter


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("name", "encoder", "count"),
    [
        ("deeplabv3plus", "resnet18", 12_329_297),
        ("deeplabv3plus", "mobilenet_v2", 4_378_513),
        ("pan", "resnet18", 11_367_656),
        ("pan", "mobilenet_v2", 2_416_552),
    ],
)
def test_the_parameters_are_those_of_the_library_with_three_channels(
    name: str, encoder: str, count: int
) -> None:
    network = Segmenter(name, encoder, channels=3, classes=1)
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("name", sorted(SEGMENTERS))
def test_every_segmenter_learns_a_bright_square(name: str) -> None:
    torch.manual_seed(0)
    network = Segmenter(name)
    side, count = SMALLEST_PX[name], 4 if SMALLEST_PX[name] < 64 else 2
    side = max(64, side)
    pictures = torch.rand(count, 1, side, side) * 0.2
    masks = torch.zeros(count, 1, side, side)
    for row in range(count):
        pictures[row, :, 8 * row : 8 * row + 24, 16:40] += 0.6
        masks[row, :, 8 * row : 8 * row + 24, 16:40] = 1
    assert network(pictures).shape == masks.shape
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    history = []
    for _ in range(8):
        loss = binary_cross_entropy_with_logits(network(pictures), masks)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append(loss.item())
    assert history[-1] < 0.7 * history[0]


def test_what_cannot_be_built_or_taken_is_refused() -> None:
    for wrong in ({"name": "unet++"}, {"encoder": "xception"}):
        with pytest.raises(ValueError, match="a segmenter is one of deeplabv3plus, pan, unet"):
            Segmenter(**wrong)
    with pytest.raises(ValueError, match="1 or 3 channels"):
        Segmenter(channels=4)
    with pytest.raises(ValueError, match="multiples of 32 px and at least 32 px, not 40 x 64"):
        Segmenter("unet")(torch.rand(1, 1, 40, 64))
    with pytest.raises(ValueError, match="at least 128 px, not 64 x 64"):
        Segmenter("pan")(torch.rand(1, 1, 64, 64))
