"""Validation during training: whole parts through the station's decision, not patches by themselves.

One false alarm among sixteen patches rejects a good part, so a network that is right on 99 % of the patches
is wrong on every sixth part; only the part's verdict is worth watching.
"""

from __future__ import annotations

from torch import nn

from retraining.classifiers.loop import Validation, Validator, probabilities
from retraining.surfaces import SOUND, Surfaces
from station.decision import decide
from station.outcomes import Judgement, count_outcomes
from station.patching import cut_surface
from station.recipe import PatchGrid, Recipe


def recipe_at(recipe: Recipe, patch_px: int) -> Recipe:
    """The recipe with patches of another size, for the smaller patches of a first stage.

    They overlap as little as they can and still fill the surface; a stride of one pixel always does.
    """
    if patch_px == recipe.patch.size:
        return recipe
    sides = (recipe.surface.height, recipe.surface.width)
    grids = (PatchGrid(size=patch_px, overlap_px=overlap) for overlap in range(patch_px))
    patch = next(grid for grid in grids if all(grid.fills(side) for side in sides))
    return recipe.model_copy(update={"patch": patch})


def part_validator(surfaces: Surfaces, recipe: Recipe) -> Validator:
    """A validation on parts with one class each.

    The score is the share of parts whose verdict is right, less a little for certainty that is lacking, so
    that of two networks without an error the surer one is kept.
    """
    truth = [surfaces.part_class(index) for index in range(len(surfaces))]

    def validate(network: nn.Module) -> Validation:
        judgements, doubt = [], 0.0
        for index, label in enumerate(truth):
            scores = probabilities(network, cut_surface(surfaces.pixels[index], recipe.patch))
            verdict = decide(scores, recipe)
            judgements.append(Judgement(label != SOUND, verdict.outcome, verdict.class_index == label))
            doubt += 1.0 - verdict.confidence
        of = count_outcomes(judgements)
        summary = f"parts right {of.right}/{of.parts}, escapes {of.escapes}, overkill {of.overkill}"
        return Validation(of.accuracy - 0.1 * doubt / of.parts, summary)

    return validate
