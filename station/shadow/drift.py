"""How far the parts of a shift have moved from what the engine was trained on. No I/O.

Each measure is a number in units of its own alarm: above 1 the parts have *drifted*.

=============  =========================================================  ====================================
measure        what is compared                                           the alarm
=============  =========================================================  ====================================
brightness     mean grey level of the surfaces, with the good parts of    1.5 of their spreads
               engine.yaml, or else with the golden parts
focus          sharpness of the surfaces, with the same                   the same
novelty        share of parts far from training that no class rejected,   more than chance allows beside the
               with that of the good parts its threshold was chosen by    share of engine.yaml
confidence     mean confidence of accepted parts, with those of           half of their spread
               engine.yaml, or else with the first ones judged here
classes        shares of the classes, with the first parts                more than chance allows, and 5 %
=============  =========================================================  ====================================

Brightness and focus are properties of the picture: where one of them has moved, the *camera* is the cause
(lamp, lens, dirt, exposure), and what moves beside it follows from it. Where only the others have moved, the
*product* has.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from station.engines.manifest import UsualParts

BRIGHTNESS, FOCUS, NOVELTY, CONFIDENCE, CLASSES = "brightness", "focus", "novelty", "confidence", "classes"
MEASURES = (BRIGHTNESS, FOCUS, NOVELTY, CONFIDENCE, CLASSES)
OF_THE_CAMERA = (BRIGHTNESS, FOCUS)
LEAST = 100
"""Parts below which nothing is said."""

_SPREADS = 1.5
"""By which the mean of many parts may lie beside that of the parts that the engine knows."""
_LEAST_SPREAD = {BRIGHTNESS: 0.06, FOCUS: 0.1}
"""As a share of the mean: a few golden parts may be more alike than any two shifts."""
_CHANCE = 3.0
"""Standard deviations that chance may take."""
_BAND, _BANDS_EVERY = 32, 4
"""Rows of a band, and which bands of a surface are measured: a quarter of it is enough."""


@dataclass(frozen=True, slots=True)
class Look:
    """How one surface looks."""

    brightness: float
    """Mean grey level, 0 to 255."""
    focus: float
    """Mean absolute difference of neighbours across, as a share of the brightness."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What counts of one part."""

    look: Look
    class_name: str
    accepted: bool
    confidence: float
    far: bool | None
    """Whether it is far from training and no class rejected it; None where the engine cannot say."""


@dataclass(frozen=True, slots=True)
class Training:
    """What the engine says of the parts it knows."""

    looks: tuple[Look, ...]
    """Of its golden parts."""
    far: float | None = None
    """The share of unseen good parts that are far; None where the engine cannot say."""
    far_of: int = 1
    """The number of these parts."""
    usual: UsualParts | None = None
    """How good parts look and end; None where engine.yaml does not say it."""


@dataclass
class Window:
    """The parts of one shift, added up."""

    parts: int = 0
    brightness: float = 0.0
    focus: float = 0.0
    """Sums."""
    classes: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    confidence: float = 0.0
    confidence_squared: float = 0.0
    """Sums over the accepted parts."""
    asked: int = 0
    far: int = 0
    """Parts of which the engine can say whether they are far, and that are."""

    def add(self, part: Seen) -> None:
        """One more part."""
        self.parts += 1
        self.brightness += part.look.brightness
        self.focus += part.look.focus
        self.classes[part.class_name] += 1
        if part.accepted:
            self.accepted += 1
            self.confidence += part.confidence
            self.confidence_squared += part.confidence**2
        if part.far is not None:
            self.asked += 1
            self.far += part.far


@dataclass(frozen=True, slots=True)
class Usual:
    """The first parts that an engine judged here, with which later ones are compared."""

    parts: int
    classes: Mapping[str, float]
    """Class -> share."""
    confidence: float
    spread: float
    """Mean and standard deviation of the confidence of accepted parts."""

    @classmethod
    def of(cls, window: Window) -> Usual:
        """What a window says."""
        shares = {name: count / window.parts for name, count in sorted(window.classes.items())}
        mean, spread = _mean_and_spread(window)
        return cls(window.parts, shares, mean, spread)


def look_of(surface: NDArray[np.uint8]) -> Look:
    """How a surface ``(H, W)`` or ``(H, W, C)`` looks, by a quarter of its rows."""
    rows = surface.reshape(*surface.shape[:2], -1)
    height = len(rows)
    bands = [rows[at : at + _BAND] for at in range(0, height, _BAND * _BANDS_EVERY)]
    pixels = np.concatenate(bands).astype(np.int16)
    brightness = float(pixels.mean())
    return Look(brightness, float(np.abs(np.diff(pixels, axis=1)).mean()) / max(brightness, 1.0))


def measures(window: Window, training: Training, usual: Usual | None) -> dict[str, float]:
    """Each measure that can be told, in units of its alarm; nothing before :data:`LEAST` parts."""
    if window.parts < LEAST:
        return {}
    found: dict[str, float] = {}
    for name, total in ((BRIGHTNESS, window.brightness), (FOCUS, window.focus)):
        if (known := _known(name, training)) is not None:
            mean, spread = known
            most = _SPREADS * max(spread, _LEAST_SPREAD[name] * mean)
            found[name] = abs(total / window.parts - mean) / most
    if training.far is not None and window.asked >= LEAST:
        found[NOVELTY] = (window.far / window.asked) / _most_far(training, window.asked)
    sure = _sure(training, usual)
    if sure is not None and window.accepted >= LEAST:
        found[CONFIDENCE] = abs(_mean_and_spread(window)[0] - sure[0]) / max(sure[1] / 2, 0.02)
    if usual is not None:
        found[CLASSES] = _classes(window, usual)
    return found


def drifted(found: Mapping[str, float]) -> tuple[str, ...]:
    """The measures above their alarm, the furthest first."""
    above = (name for name, value in found.items() if value > 1)
    return tuple(sorted(above, key=lambda name: -found[name]))


def cause_of(names: Iterable[str]) -> str:
    """``camera`` or ``product``; empty where nothing has drifted."""
    moved = set(names)
    return "" if not moved else "camera" if moved & set(OF_THE_CAMERA) else "product"


def golden_looks(surfaces: Iterable[Sequence[NDArray[np.uint8]] | NDArray[np.uint8]]) -> tuple[Look, ...]:
    """How golden parts look; each as its patches ``(N, patch, patch, C)``."""
    found = []
    for patches in surfaces:
        looks = [look_of(patch) for patch in patches]
        found.append(
            Look(
                sum(look.brightness for look in looks) / len(looks),
                sum(look.focus for look in looks) / len(looks),
            )
        )
    return tuple(found)


def _known(name: str, training: Training) -> tuple[float, float] | None:
    """Mean and spread of brightness or focus over the parts that the engine knows."""
    if training.usual is not None:
        known = training.usual.brightness if name == BRIGHTNESS else training.usual.focus
        return known.mean, known.spread
    if not training.looks:
        return None
    golden = np.array([getattr(look, name) for look in training.looks])
    return float(golden.mean()), float(golden.std())


def _sure(training: Training, usual: Usual | None) -> tuple[float, float] | None:
    """Mean and spread of the confidence of accepted parts."""
    if training.usual is not None:
        return training.usual.confidence.mean, training.usual.confidence.spread
    return None if usual is None else (usual.confidence, usual.spread)


def _most_far(training: Training, parts: int) -> float:
    """The share of far parts that is no news: what training had, and chance on both sides."""
    assert training.far is not None, "asked of an engine that gives novelty"
    share = max(training.far, 1 / training.far_of)
    chance = math.sqrt(share * (1 - min(share, 0.999)) * (1 / parts + 1 / training.far_of))
    return share + _CHANCE * chance


def _classes(window: Window, usual: Usual) -> float:
    """Half the sum of the differences of all shares, beside what chance makes of two such samples."""
    names = set(window.classes) | set(usual.classes)
    moved = chance = 0.0
    for name in names:
        now, then = window.classes[name] / window.parts, usual.classes.get(name, 0.0)
        pooled = (window.classes[name] + then * usual.parts) / (window.parts + usual.parts)
        moved += abs(now - then) / 2
        chance += math.sqrt(pooled * (1 - pooled) * (1 / window.parts + 1 / usual.parts)) / 2
    return moved / (0.05 + _CHANCE * chance)


def _mean_and_spread(window: Window) -> tuple[float, float]:
    if not window.accepted:
        return 0.0, 0.0
    mean = window.confidence / window.accepted
    return mean, math.sqrt(max(window.confidence_squared / window.accepted - mean**2, 0.0))
