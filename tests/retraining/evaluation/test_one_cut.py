"""The workshop looks at the very patches that the line cuts, whatever the overlap."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from retraining.classifiers.hard_patches import hard_windows
from retraining.classifiers.validation import part_validator
from retraining.data.rendered_parts import station_windows
from retraining.evaluation.scored_parts import patch_labels, surface_parts
from retraining.surfaces import Surfaces
from station.patching import cut
from station.recipe import PatchGrid, Recipe


class Looking(nn.Module):
    """A network that keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[np.ndarray] = []
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        self.shown.append((x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
        return self.bias.expand(len(x), 3)


@given(st.sampled_from([(size, size - side) for size in (64, 96, 128) for side in (32, 64) if side <= size]))
@settings(deadline=None)
def test_every_caller_sees_the_patches_of_the_line(
    toy_surfaces: Surfaces, toy_recipe: Recipe, grid: tuple[int, int]
) -> None:
    size, overlap = grid
    patch = PatchGrid(size=size, overlap_px=overlap)
    assume(patch.fills(256))
    recipe = toy_recipe.model_copy(update={"patch": patch})
    some = toy_surfaces.select([0, 1])
    line = [cut(surface[..., 0], recipe).pixels for surface in some.pixels]
    seen: list[np.ndarray] = []

    def score(patches: np.ndarray) -> np.ndarray:
        seen.append(patches)
        return np.tile(np.array([0.9, 0.05, 0.05], np.float32), (len(patches), 1))

    surface_parts(some, recipe, score)
    hard_windows(some, recipe, score)
    network = Looking()
    part_validator(some, recipe)(network)
    validated = np.concatenate(network.shown)
    assert np.array_equal(np.concatenate(seen), np.concatenate([*line, *line]))
    assert np.array_equal(validated, np.concatenate(line))
    windows = station_windows(recipe)
    assert len(windows) == len(line[0]) == len(patch_labels(some.masks[1], recipe))
    for number, (top, left, height, width) in enumerate(windows):
        assert np.array_equal(some.pixels[0, top : top + height, left : left + width], line[0][number])


@pytest.mark.parametrize("overlap", [0, 64])
def test_a_recipe_with_an_overlap_has_as_many_labels_as_the_line_has_patches(
    toy_surfaces: Surfaces, toy_recipe: Recipe, overlap: int
) -> None:
    recipe = toy_recipe.model_copy(update={"patch": PatchGrid(size=128, overlap_px=overlap)})
    assert len(patch_labels(toy_surfaces.masks[1], recipe)) == recipe.patch_count == {0: 4, 64: 9}[overlap]
