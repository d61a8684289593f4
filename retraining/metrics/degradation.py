"""What the figures make of pictures that are spoilt on purpose, as in figure 6 of the LMAN paper.

Before an extractor's figures are believed for fakes, they must rise here with every grade.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np

from retraining.errors import MetricsError
from retraining.metrics.features import Extractor, Pixels, check_pixels
from retraining.metrics.figures import Comparison, compare


@dataclass(frozen=True, slots=True)
class Degradation:
    """One way to spoil pictures."""

    apply: Callable[[Pixels, float, np.random.Generator], Pixels]
    unit: str
    grades: tuple[float, ...]


def _blur(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    spoilt = [cv2.GaussianBlur(picture, (0, 0), strength).reshape(picture.shape) for picture in pixels]
    return np.stack(spoilt).astype(np.uint8)


def _noise(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    noise = rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(strength)
    return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)


def _salt_and_pepper(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    struck = rng.random(pixels.shape[:3])[..., None]
    return np.where(
        struck < strength / 2, np.uint8(0), np.where(struck < strength, np.uint8(255), pixels)
    ).astype(np.uint8)


DEGRADATIONS: Mapping[str, Degradation] = MappingProxyType(
    {
        "blur": Degradation(_blur, "standard deviation, px", (0.5, 1.0, 2.0, 4.0)),
        "salt and pepper": Degradation(_salt_and_pepper, "share of the pixels", (0.001, 0.003, 0.01, 0.03)),
        "noise": Degradation(_noise, "standard deviation, grey levels", (4.0, 8.0, 16.0, 32.0)),
    }
)
"""By name; the first two are the paper's."""


@dataclass(frozen=True, slots=True)
class Graded:
    """What was measured at one grade; 0 is other real pictures, unspoilt."""

    kind: str
    grade: float
    figures: Comparison


def degrade(pixels: Pixels, kind: str, grade: float, seed: int = 0) -> Pixels:
    """Pictures ``(N, H, W, C)`` spoilt by one grade; raises :class:`MetricsError` for an unknown kind."""
    check_pixels(pixels)
    if kind not in DEGRADATIONS:
        raise MetricsError(f"no degradation is called {kind!r}; choose one of {', '.join(DEGRADATIONS)}")
    return DEGRADATIONS[kind].apply(pixels, grade, np.random.default_rng(seed))


def grade_extractor(real: Pixels, extractor: Extractor, seed: int = 0) -> list[Graded]:
    """One half of the real pictures against the other half spoilt, every kind and grade."""
    order = np.random.default_rng(seed).permutation(len(real))
    one, other = real[order[: len(real) // 2]], real[order[len(real) // 2 :]]
    unspoilt = compare(one, other, extractor, seed, "unspoilt")
    found = []
    for kind, degradation in DEGRADATIONS.items():
        found.append(Graded(kind, 0.0, unspoilt))
        for grade in degradation.grades:
            spoilt = degrade(other, kind, grade, seed)
            found.append(Graded(kind, grade, compare(one, spoilt, extractor, seed, f"{kind} {grade:g}")))
    return found


def draw_grades(found: list[Graded], picture: Path) -> None:
    """KID and FID over the grades, one panel per kind, as a PNG."""
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys(g.kind for g in found))
    figure = Figure(figsize=(4 * len(kinds), 3.4), layout="constrained")
    for axis, kind in zip(np.atleast_1d(figure.subplots(1, len(kinds))), kinds, strict=True):
        own = [g for g in found if g.kind == kind]
        places = range(len(own))
        axis.plot(places, [g.figures.fid for g in own], "o-", label="FID")
        axis.set_xticks(places, [f"{g.grade:g}" for g in own])
        axis.set_xlabel(f"{kind}: {DEGRADATIONS[kind].unit}")
        axis.set_ylabel("FID")
        right = axis.twinx()
        right.plot(places, [g.figures.kid for g in own], "s--", color="tab:orange", label="KID")
        right.set_ylabel("KID")
        axis.legend(handles=[*axis.lines, *right.lines], fontsize=8)
        axis.grid(alpha=0.3)
    figure.suptitle(f"extractor: {found[0].figures.extractor}", fontsize=9)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)
