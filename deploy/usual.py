"""How good parts look and end, by the engine that judges them: what a station measures drift from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy.scoring import onnx_novelty, onnx_scorer
from drivers.sorters.interface import Outcome
from station.decision import decide
from station.engines.manifest import Spread, UsualParts
from station.patching import cut_surface
from station.recipe import Recipe
from station.shadow.drift import look_of

MOST = 200
"""Parts that are looked at: their means are then known better than any alarm needs."""


def usual_parts(
    surfaces: Iterable[NDArray[np.uint8]], recipe: Recipe, model: Path, *, novelty: bool = False
) -> UsualParts | None:
    """How good surfaces ``(H, W, C)``, none of them trained on, look, and how their verdicts end.

    ``model``: the ONNX file; ``novelty``: whether the recipe's decision needs what it says of far parts. Only
    accepted parts count; None where there is none.
    """
    score, far = onnx_scorer(model), onnx_novelty(model) if novelty else None
    rows = []
    for _, surface in zip(range(MOST), surfaces, strict=False):
        patches = cut_surface(surface, recipe.patch)
        verdict = decide(score(patches), recipe, None if far is None else far(patches))
        if verdict.outcome is Outcome.ACCEPT:
            look = look_of(surface)
            rows.append((look.brightness, look.focus, float(verdict.confidence)))
    if not rows:
        return None
    values = np.array(rows)
    brightness, focus, confidence = (
        Spread(mean=round(float(mean), 5), spread=round(float(spread), 5))
        for mean, spread in zip(values.mean(axis=0), values.std(axis=0), strict=True)
    )
    return UsualParts(parts=len(rows), brightness=brightness, focus=focus, confidence=confidence)
