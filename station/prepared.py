"""The recipe, engine and calibration that decide a part, prepared together and taken together."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from drivers.settings import accepted_risks
from station.challenge import Challenge
from station.engines.canary import Canary
from station.engines.interface import Engine
from station.engines.store import Installed
from station.patching import PatchingError, Reason
from station.recipe import Recipe, split_size


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What each part takes when it is triggered, and keeps to its end, whatever is prepared meanwhile."""

    recipe: Recipe
    engine: Engine
    calibration: None = None
    """No camera is calibrated today."""
    width_px: int | None = None
    """The width of all parts from now on, as the operator has set it; None where each trigger says it."""
    canary: Canary | None = None
    """The engine's golden parts, judged again while it runs; a station that is assembled has them."""
    challenge: Challenge | None = None
    """What the engine has to show before it may accept; a station that is assembled has it."""
    installed: Installed | None = None
    """Where the engine lies; a station that is assembled knows it."""
    written: Recipe | None = None
    """The recipe as it is written, where ``recipe`` has an engine's own numbers."""

    def folder_of_engine(self, engines: Path) -> Path:
        """Where the engine lies; ``engines``: the folder of plain engine folders."""
        return engines / self.engine.info.name if self.installed is None else self.installed.folder

    @property
    def recipe_as_written(self) -> Recipe:
        """The recipe, without the numbers of the engine that judges now."""
        return self.written or self.recipe

    @property
    def announced_as(self) -> str:
        """The name that the cell receives: ``recipe``, or ``recipe@1065`` where the operator has set it."""
        return self.recipe.name if self.width_px is None else f"{self.recipe.name}@{self.width_px}"

    def width_of(self, requested: str) -> int:
        """The width, px, of a part whose trigger named ``requested``; empty where there is no trigger.

        The trigger names it as in ``recipe@1065``, the operator has set it, or the recipe has only one.
        Raises :class:`PatchingError` where nobody has said it, or two contradict each other.
        """
        name, announced = split_size(requested)
        widths = self.recipe.product.widths_px
        known = ", ".join(map(str, widths))
        if "@" in name:
            raise PatchingError(
                Reason.SIZE_UNKNOWN,
                f"{requested!r} names no width; write it as in {self.recipe.name}@{widths[0]}",
            )
        if announced is not None and self.width_px not in (None, announced):
            raise PatchingError(
                Reason.WRONG_SIZE, f"the cell announced {announced} px, {self.width_px} px are prepared here"
            )
        width = announced if announced is not None else self.width_px
        if width is None and len(widths) == 1:
            width = widths[0]
        if width is None:
            raise PatchingError(
                Reason.SIZE_UNKNOWN,
                f"the recipe has the widths {known}, and nobody has said which one this part has; name it in "
                f"the trigger or with `station prepare`, as in {self.recipe.name}@{widths[0]}",
            )
        if width not in widths:
            raise PatchingError(Reason.WRONG_SIZE, f"{width} px were announced; the recipe has {known}")
        return width

    @property
    def doubt(self) -> str:
        """Why this engine may accept nothing any more; empty while it may."""
        return self.canary.problem if self.canary is not None else ""

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
            "installed": None if self.installed is None else self.installed.digest,
            "backend": engine.backend,
            "precision": engine.precision,
            "calibration_digest": self.calibration_digest,
            "width_px": None if self.width_px is None else str(self.width_px),
            "accepted_risks": "; ".join(accepted_risks(self.recipe)) or None,
        }


class Preparation:
    """What is prepared now, and the earlier engines that parts in hand still need. Thread-safe."""

    def __init__(self, prepared: Prepared) -> None:
        self._lock = threading.Lock()
        self._now = prepared
        self._parts: Counter[int] = Counter()
        """Parts in hand by their engine's identity."""
        self._replaced: list[Engine] = []

    @property
    def now(self) -> Prepared:
        """What the next part will take."""
        return self._now

    def change(self, prepared: Prepared) -> None:
        """Use it from the next part on; the earlier engine is closed after its last part."""
        with self._lock:
            engines = (*self._replaced, self._now.engine)
            self._replaced = [engine for engine in engines if engine is not prepared.engine]
            self._now = prepared

    def take(self) -> Prepared:
        """What decides a part that is triggered now; it is given back with the part's verdict."""
        with self._lock:
            self._parts[id(self._now.engine)] += 1
            return self._now

    def give_back(self, prepared: Prepared) -> None:
        """The part has its verdict."""
        with self._lock:
            self._parts[id(prepared.engine)] -= 1

    def close_unused(self) -> None:
        """Close the replaced engines that no part in hand needs; called by the thread that uses engines."""
        if not self._replaced:
            return
        with self._lock:
            unused = [engine for engine in self._replaced if not self._parts[id(engine)]]
            self._replaced = [engine for engine in self._replaced if self._parts[id(engine)]]
            for engine in unused:
                del self._parts[id(engine)]
        for engine in unused:
            engine.close()
