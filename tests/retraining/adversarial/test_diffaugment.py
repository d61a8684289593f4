"""What the critic sees: changed, but not out of recognition, and open to gradients."""

import pytest
import torch

from retraining.adversarial.diffaugment import CHANCES, STRENGTHS, diffaugment

MILD, PAPER = STRENGTHS["mild"], STRENGTHS["paper"]


def test_the_middle_of_all_chances_changes_nothing_but_the_hole() -> None:
    pictures = torch.rand(2, 3, 32, 32) * 2 - 1
    changed = diffaugment(pictures, torch.full((2, CHANCES), 0.5), MILD)
    same = torch.isclose(changed, pictures, atol=1e-6)
    assert (~same).any(1).sum((1, 2)).tolist() == [64, 64], "an 8 x 8 hole in each picture of 32 px"


@pytest.mark.parametrize("which", range(CHANCES))
def test_every_chance_changes_something(which: int) -> None:
    pictures = torch.rand(1, 3, 32, 32) * 2 - 1
    chances = torch.full((1, CHANCES), 0.5)
    chances[0, which] = 0.9
    assert not torch.equal(
        diffaugment(pictures, chances, PAPER), diffaugment(pictures, torch.full((1, CHANCES), 0.5), PAPER)
    )


def test_each_picture_is_changed_by_its_own_chances_alone() -> None:
    pictures, chances = torch.rand(3, 1, 32, 32), torch.rand(3, CHANCES)
    together = diffaugment(pictures, chances, MILD)
    for row in range(3):
        torch.testing.assert_close(
            together[row : row + 1], diffaugment(pictures[row : row + 1], chances[row : row + 1], MILD)
        )


def test_a_pictures_pixels_outside_the_hole_receive_gradients() -> None:
    pictures = (torch.rand(4, 1, 32, 32)).requires_grad_(True)
    diffaugment(pictures, torch.rand(4, CHANCES), MILD).sum().backward()
    assert pictures.grad is not None
    assert (pictures.grad != 0).float().mean() > 0.8


def test_a_wrong_number_of_chances_is_refused() -> None:
    with pytest.raises(ValueError, match="chances each"):
        diffaugment(torch.rand(2, 1, 32, 32), torch.rand(2, 5), MILD)


def test_the_papers_strengths_are_a_hole_of_half_the_side_and_grey_that_moves_in() -> None:
    white = torch.ones(1, 1, 32, 32)
    middle = torch.full((1, CHANCES), 0.5)
    assert (diffaugment(white, middle, PAPER) == 0).sum() == 16 * 16
    moved = middle.clone()
    moved[0, 2] = 0.0  # as far as it goes, so that rows of grey come in
    rows = (diffaugment(white, moved, PAPER)[0, 0, :, 0] == 0).nonzero().flatten().tolist()
    assert rows == [0, 1, 2, 3], "an eighth of 32 px"
    brighter = middle.clone()
    brighter[0, 0] = 1.0
    assert float(diffaugment(white, brighter, PAPER).max()) == 1.5


def test_saturation_changes_the_differences_between_channels_and_not_their_mean() -> None:
    pictures = torch.rand(1, 3, 32, 32)
    chances = torch.full((1, CHANCES), 0.5)
    chances[0, 6] = 0.0
    grey = diffaugment(pictures, chances, PAPER)
    torch.testing.assert_close(grey[:, 0], grey[:, 1])
    torch.testing.assert_close(
        grey.mean(1), diffaugment(pictures, torch.full((1, CHANCES), 0.5), PAPER).mean(1)
    )
