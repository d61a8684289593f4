"""Losses at points where their value is known, and the penalty on critics whose slope is known."""

import math

import pytest
import torch
from torch import Tensor, nn

from retraining.adversarial.losses import (
    LOSSES,
    bce_critic,
    bce_generator,
    gradient_penalty,
    least_squares_critic,
    least_squares_generator,
    path_lengths,
    r1_penalty,
    wasserstein_critic,
    wasserstein_generator,
)


def test_binary_cross_entropy_of_an_undecided_critic_is_two_bits() -> None:
    undecided = torch.zeros(4)
    assert float(bce_critic(undecided, undecided)) == pytest.approx(2 * math.log(2))
    assert float(bce_generator(undecided)) == pytest.approx(math.log(2))


def test_the_generators_binary_cross_entropy_does_not_saturate() -> None:
    found_out = torch.full((1,), -20.0, requires_grad=True)
    bce_generator(found_out).backward()
    assert found_out.grad is not None
    assert float(found_out.grad) == pytest.approx(-1.0, abs=1e-6)


def test_least_squares_are_nought_where_real_scores_1_and_generated_0() -> None:
    assert float(least_squares_critic(torch.ones(3), torch.zeros(3))) == 0
    assert float(least_squares_critic(torch.zeros(3), torch.ones(3))) == 1
    assert float(least_squares_generator(torch.ones(3))) == 0


def test_the_wasserstein_losses_pull_the_scores_apart_and_together() -> None:
    real, fake = torch.tensor([3.0, 5.0]), torch.tensor([1.0, 1.0])
    assert float(wasserstein_critic(real, fake)) == -3
    assert float(wasserstein_generator(fake)) == -1


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_is_finite_for_extreme_scores_and_lower_for_better_ones(name: str) -> None:
    loss = LOSSES[name]
    low, high = torch.full((2,), -1e4), torch.full((2,), 1e4)
    assert all(torch.isfinite(loss.critic(a, b)) for a in (low, high) for b in (low, high))
    near, far = torch.full((2,), 0.4), torch.full((2,), -0.4)
    assert loss.critic(near, far) < loss.critic(far, near)
    assert loss.generator(near) < loss.generator(far)


@pytest.mark.parametrize(("slope", "expected"), [(1.0, 0.0), (3.0, 4.0), (0.0, 1.0)])
def test_the_penalty_is_the_squared_distance_of_the_slope_from_1(slope: float, expected: float) -> None:
    direction = torch.zeros(1, 4, 4)
    direction[0, 1, 2] = slope

    def critic(pictures: Tensor) -> Tensor:
        return (pictures * direction).flatten(1).sum(1)

    real, fake = torch.rand(5, 1, 4, 4), torch.rand(5, 1, 4, 4)
    found = gradient_penalty(critic, real, fake, torch.rand(5, 1))
    assert float(found) == pytest.approx(expected, abs=1e-4)


def test_the_penalty_is_taken_between_each_real_picture_and_its_generated_one() -> None:
    seen: list[Tensor] = []

    def critic(pictures: Tensor) -> Tensor:
        seen.append(pictures.detach())
        return pictures.flatten(1).sum(1)

    real, fake = torch.ones(3, 1, 2, 2), torch.zeros(3, 1, 2, 2)
    gradient_penalty(critic, real, fake, torch.tensor([0.0, 0.25, 1.0]))
    assert [float(p.mean()) for p in seen[0]] == [0.0, 0.25, 1.0]


def test_the_penaltys_gradient_is_that_of_finite_differences() -> None:
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    real, fake, mix = (torch.rand(s, dtype=torch.float64) for s in ((3, 1, 2, 2), (3, 1, 2, 2), (3,)))

    def penalty() -> Tensor:
        return gradient_penalty(lambda x: critic(x).flatten(), real, fake, mix)

    penalty().backward()
    weight = critic[1].weight
    analytic = float(weight.grad[2, 1])
    with torch.no_grad():
        weight[2, 1] += 1e-3
    above = float(penalty().detach())
    with torch.no_grad():
        weight[2, 1] -= 2e-3
    below = float(penalty().detach())
    assert analytic == pytest.approx((above - below) / 2e-3, rel=2e-3)


def test_r1_is_the_squared_slope_at_real_pictures() -> None:
    torch.manual_seed(0)
    real = torch.rand(3, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    steep = torch.rand(16, dtype=torch.float64, requires_grad=True)
    scores = (real.flatten(1) ** 2) @ steep
    penalty = r1_penalty(scores, real)
    expected = (2 * real.detach().flatten(1) * steep.detach()).square().sum(1).mean()
    torch.testing.assert_close(penalty, expected.to(penalty.dtype))
    penalty.backward()
    step = 1e-6
    more = steep.detach() + step * torch.eye(16, dtype=torch.float64)[3]
    moved = (2 * real.detach().flatten(1) * more).square().sum(1).mean()
    assert abs(float((moved - expected) / step) - float(steep.grad[3])) < 1e-3


def test_path_lengths_are_those_of_a_linear_map() -> None:
    torch.manual_seed(0)
    w = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    turn = torch.randn(15, 16, dtype=torch.float64)
    pictures = (w.flatten(1) @ turn).view(2, 1, 4, 4)
    noise = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    slopes = (noise.flatten(1) @ turn.T / 4).view(2, 3, 5)
    expected = slopes.square().sum(2).mean(1).sqrt()
    found = path_lengths(pictures, w, noise)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
