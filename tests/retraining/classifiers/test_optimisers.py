"""Adam, AdamW and the L2 penalty."""

import pytest
import torch
from torch import nn

from retraining.classifiers.optimisers import clip_gradients, make_optimiser


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2))


def stepped(name: str, l2: float, weight_decay: float, *, penalty: float = 0.0) -> list[torch.Tensor]:
    network = small()
    optimiser = make_optimiser(name, network, learning_rate=0.1, l2=l2, weight_decay=weight_decay)
    for step in range(3):
        torch.manual_seed(step)
        loss = network(torch.rand(4, 1, 4, 4)).square().mean()
        loss = loss + penalty * network[0].weight.square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return [p.detach() for p in network.parameters()]


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_the_l2_penalty_acts_as_if_it_stood_in_the_loss(name: str) -> None:
    built_in, written_out = stepped(name, 0.5, 0.0), stepped(name, 0.0, 0.0, penalty=0.5)
    for one, other in zip(built_in, written_out, strict=True):
        torch.testing.assert_close(one, other)


def test_weight_decay_acts_apart_from_the_moments_in_adamw_only() -> None:
    assert not torch.allclose(stepped("adam", 0.0, 0.1)[0], stepped("adamw", 0.0, 0.1)[0])
    torch.testing.assert_close(stepped("adam", 0.0, 0.0), stepped("adamw", 0.0, 0.0))


def test_adamw_with_both_is_refused() -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        make_optimiser("adamw", small(), learning_rate=0.1, l2=0.1, weight_decay=0.1)


def test_only_gradients_that_are_too_large_are_clipped() -> None:
    network = small()
    network(torch.rand(4, 1, 4, 4)).square().sum().backward()
    before = nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
    clip_gradients(network.parameters(), float(before) * 2)
    same = nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
    assert same == before
    clip_gradients(network.parameters(), 0.01)
    after = nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
    assert float(after) == pytest.approx(0.01, rel=1e-3)
