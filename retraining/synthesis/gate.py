"""Which synthetic pictures may be trained on: the gate.

The gate asks four questions of a fake. Does an independent classifier take it for its class? Is it different
from every real picture? Does it lie where real pictures lie? Is it different from every other fake? Distances
are measured in the space of an extractor, and compared with the distances between real pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from retraining.data.dataset import PictureSet
from retraining.errors import MetricsError
from retraining.metrics.features import Extractor, Pixels, check_pixels, mirrors
from retraining.metrics.figures import MINIMUM
from retraining.metrics.neighbours import nearest_real, outlier_factors, repeats

KEPT = "kept"
REASONS = MappingProxyType(
    {
        "other class": "the classifier takes it for another class",
        "unsure": "the classifier is not sure enough of the class",
        "copy": "nearer to a real picture than real pictures are to each other",
        "outlier": "farther from the real pictures than these are from each other",
        "repeat": "as near to a fake that was kept as a copy is to a real picture",
    }
)
"""Why a fake is refused, in the order in which the gate asks; the first reason counts."""


@dataclass(frozen=True, slots=True)
class GateRules:
    """The limits that a fake must meet."""

    confidence: float = 0.5
    """Least probability of its class by the independent classifier."""
    copy_percentile: float = 1.0
    """Percentile of the distances of real pictures to their nearest other; a fake below it is a copy or a
    repeat."""
    outlier_percentile: float = 95.0
    """Percentile of :func:`retraining.metrics.neighbours.outlier_factors` of the real pictures; a fake above
    it is an outlier. This refuses about 5 % of good fakes; at 99, three times as many blurred ones (1 px)
    pass."""
    mirrored: bool = False
    """Whether mirror images of real pictures count as copies: yes for a generator trained with flips."""

    def __post_init__(self) -> None:
        if not (0 <= self.confidence <= 1 and 0 <= self.copy_percentile < self.outlier_percentile <= 100):
            raise MetricsError(
                f"{self} cannot be met; confidence is from 0 to 1, and the percentiles are "
                "0 <= copy < outlier <= 100"
            )


@dataclass(frozen=True, slots=True)
class GateResult:
    """Which fakes the gate kept, and why it refused the others."""

    kept: NDArray[np.int64]
    """Indices into the fakes, ascending."""
    reasons: tuple[str, ...]
    """``kept`` or one of :data:`REASONS`, for every fake."""
    extractor: str

    def count(self) -> dict[str, int]:
        """How many were kept, and how many were refused for each reason."""
        return {name: self.reasons.count(name) for name in (KEPT, *REASONS)}

    def table(self) -> str:
        """The same as a Markdown table."""
        total = len(self.reasons)
        lines = ["| | fakes | share |", "|---|---|---|"]
        for name, count in self.count().items():
            words = KEPT if name == KEPT else f"{name}: {REASONS[name]}"
            lines.append(f"| {words} | {count} of {total} | {count / total:.1%} |")
        return "\n".join(lines) + f"\n\nExtractor: {self.extractor}."


def gate(
    real: Pixels,
    fake: Pixels,
    extractor: Extractor,
    *,
    scores: NDArray[np.floating] | None = None,
    label: int | None = None,
    rules: GateRules | None = None,
) -> GateResult:
    """Which of the fakes ``(N, H, W, C)`` of one class may be trained on; it needs 12 real pictures at least.

    ``scores`` ``(N, classes)`` are the fakes' probabilities by a classifier that was not trained on them, and
    preferably not on the generator's real pictures either; ``label`` is their class. Without scores no
    classifier is asked. If fakes repeat each other, the first one is kept. Raises :class:`MetricsError`.
    """
    rules = rules or GateRules()
    check_pixels(real)
    check_pixels(fake)
    if len(real) < MINIMUM:
        raise MetricsError(
            f"{len(real)} real picture(s) are too few to know how far apart they are; {MINIMUM} are needed; "
            "collect more, or train on these with augmentation alone"
        )
    a, b = extractor(real), extractor(fake)
    turned = [extractor(pictures) for pictures in mirrors(real)] if rules.mirrored else []
    copied = nearest_real(a, b, rules.copy_percentile, turned).copied
    odd, usual = outlier_factors(a, b)
    outlier = odd > np.percentile(usual, rules.outlier_percentile)
    refused = _by_classifier(len(fake), scores, label, rules.confidence)
    for index, name in enumerate(refused):
        if not name and copied[index]:
            refused[index] = "copy"
        elif not name and outlier[index]:
            refused[index] = "outlier"
    same = repeats(a, b, rules.copy_percentile)
    kept: list[int] = []
    for index, name in enumerate(refused):
        if not name and same[index, kept].any():
            refused[index] = "repeat"
        elif not name:
            kept.append(index)
    return GateResult(np.array(kept, np.int64), tuple(name or KEPT for name in refused), extractor.name)


def gate_classes(
    real: PictureSet,
    fake: PictureSet,
    extractor: Extractor,
    *,
    scores: NDArray[np.floating] | None = None,
    rules: GateRules | None = None,
) -> GateResult:
    """:func:`gate` class by class, each by its own real pictures; indices are those of ``fake``."""
    if real.classes != fake.classes:
        raise MetricsError(
            f"the real pictures have the classes {real.classes}, the fakes {fake.classes}; use the same names"
        )
    reasons = [""] * len(fake)
    for label, name in enumerate(fake.classes):
        rows = np.flatnonzero(fake.labels == label)
        if not len(rows):
            continue
        own = real.of_class(label)
        if not len(own):
            raise MetricsError(
                f"there is no real picture of {name} to compare its fakes with; add some, or leave the "
                "class out"
            )
        asked = None if scores is None else scores[rows]
        found = gate(own.pixels, fake.pixels[rows], extractor, scores=asked, label=label, rules=rules)
        for row, reason in zip(rows, found.reasons, strict=True):
            reasons[row] = reason
    kept = np.array([index for index, reason in enumerate(reasons) if reason == KEPT], np.int64)
    return GateResult(kept, tuple(reasons), extractor.name)


def _by_classifier(
    count: int, scores: NDArray[np.floating] | None, label: int | None, confidence: float
) -> list[str]:
    if scores is None:
        return [""] * count
    if label is None or scores.ndim != 2 or len(scores) != count or not 0 <= label < scores.shape[1]:
        raise MetricsError(f"scores {scores.shape} and label {label} do not belong to {count} fakes")
    refused = np.where(scores[:, label] < confidence, "unsure", "")
    return [str(r) for r in np.where(scores.argmax(axis=1) != label, "other class", refused)]
