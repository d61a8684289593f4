"""The classifiers' losses against their formulas."""

import math

import pytest
import torch

from retraining.classifiers.losses import (
    LOSSES,
    class_balanced_weights,
    cross_entropy,
    effective_number,
    focal,
    make_loss,
)

CPU = torch.device("cpu")


def some() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, 4, generator=generator), torch.arange(8) % 4


def test_focal_loss_without_focus_is_cross_entropy() -> None:
    logits, labels = some()
    torch.testing.assert_close(focal(logits, labels, gamma=0.0), cross_entropy(logits, labels))


def test_focal_loss_is_equation_4_of_its_paper() -> None:
    logits, labels = some()
    p = torch.softmax(logits, 1)[torch.arange(8), labels]
    torch.testing.assert_close(focal(logits, labels, gamma=2.0), (-((1 - p) ** 2) * p.log()).mean())


def test_focal_loss_has_a_gradient_where_the_network_is_certain() -> None:
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    focal(logits, torch.tensor([0, 0]), gamma=0.5).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_the_effective_number_lies_between_one_and_the_count() -> None:
    assert effective_number(50, 0.0) == 1.0
    assert effective_number(50, 1.0) == 50.0
    assert effective_number(3, 0.5) == pytest.approx(1 + 0.5 + 0.25)


def test_rare_classes_weigh_more_and_the_mean_weight_is_one() -> None:
    weights = class_balanced_weights([1000, 100, 10], 0.999)
    assert weights[0] < weights[1] < weights[2]
    assert float(weights.mean()) == pytest.approx(1.0)
    torch.testing.assert_close(class_balanced_weights([7, 70], 0.0), torch.ones(2))
    torch.testing.assert_close(class_balanced_weights([1, 3], 1.0), torch.tensor([1.5, 0.5]))


@pytest.mark.parametrize("counts", [[], [3, 0]])
def test_a_class_without_pictures_cannot_be_balanced(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="every class needs a picture"):
        class_balanced_weights(counts, 0.99)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_falls_when_the_network_is_right(name: str) -> None:
    loss = make_loss(name, smoothing=0.0, gamma=2.0, beta=0.99, counts=(5, 20, 5, 1), device=CPU)
    _, labels = some()
    right = 4.0 * torch.nn.functional.one_hot(labels, 4).float()
    assert 0 <= float(loss(right, labels)) < float(loss(torch.zeros(8, 4), labels))
    assert math.isfinite(float(loss(-right, labels)))
