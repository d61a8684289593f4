"""What a part is judged with: recipe, engine and calibration, prepared together and taken together."""

from __future__ import annotations

from dataclasses import dataclass

from station.engines.interface import Engine
from station.recipe import Recipe


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Taken by each part when it is triggered, and kept by it to its end, whatever is prepared meanwhile."""

    recipe: Recipe
    engine: Engine
    calibration: None = None
    """No camera is calibrated today."""

    @property
    def recipe_digest(self) -> str:
        """SHA-256 of the recipe's file, hexadecimal."""
        return self.recipe.digest

    @property
    def engine_digest(self) -> str:
        """SHA-256 of the model file in use, hexadecimal."""
        return self.engine.info.digest

    @property
    def calibration_digest(self) -> str | None:
        """None: there is no calibration."""
        return None

    def names(self) -> dict[str, str | None]:
        """What is prepared, by name and digest, as the journal and the status name it."""
        engine = self.engine.info
        return {
            "recipe": self.recipe.name,
            "recipe_digest": self.recipe_digest,
            "engine": engine.name,
            "engine_digest": self.engine_digest,
            "backend": engine.backend,
            "precision": engine.precision,
            "calibration_digest": self.calibration_digest,
        }
