"""Which synthetic pictures may be trained on, and how many of them: the gate, and the share by validation.

The gate asks four things of a fake. Does a classifier that had no part in making it call it what it is meant
to be? Is it no copy of a real picture? Does it lie where real pictures lie at all? Is it no repeat of another
fake? Distances are judged by what real pictures keep from each other, in the space of an extractor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from retraining.data.dataset import PictureSet
from retraining.errors import MetricsError
from retraining.metrics.features import Extractor, Pixels, check_pixels, mirrors
from retraining.metrics.figures import MINIMUM
from retraining.metrics.intervals import Interval, t_interval
from retraining.metrics.neighbours import nearest_real, oddity, repeats

KEPT = "kept"
REASONS = MappingProxyType(
    {
        "other class": "the classifier takes it for another class",
        "unsure": "the classifier is not sure enough of the class",
        "copy": "nearer to a real picture than real pictures are to each other",
        "astray": "lonelier among the real pictures than those are",
        "repeat": "as near to a fake that is kept as a copy is to a real picture",
    }
)
"""Why a fake is refused, in the order they are looked for; the first counts."""
PAPER_SHARES = (0.0, 0.13, 0.235, 0.315, 0.38, 0.5)
"""Shares of the StyleGAN2 paper, Table 1, in which 0.38 is the best. Its 0.44 and 0.5 were reached by taking
real pictures away, so the table does not tell a large share from a small real set; ours keeps all of them."""


@dataclass(frozen=True, slots=True)
class GateRules:
    """What a fake must keep to."""

    confidence: float = 0.5
    """Probability of its class, by the independent classifier, at least."""
    copy_percentile: float = 1.0
    """Of the distances of real pictures to their nearest other: below, a fake is a copy or a repeat."""
    astray_percentile: float = 95.0
    """Of the real pictures' oddity (:func:`retraining.metrics.neighbours.oddity`): above, a fake is astray.
    About a twentieth of good fakes is the price; at 99 blur of 1 px passes three times as often."""
    mirrored: bool = False
    """Whether mirror images of real pictures are copies too, as for a generator trained with flips."""

    def __post_init__(self) -> None:
        if not (0 <= self.confidence <= 1 and 0 <= self.copy_percentile < self.astray_percentile <= 100):
            raise MetricsError(f"{self} cannot be kept to; use a share and 0 <= copy < astray <= 100")


@dataclass(frozen=True, slots=True)
class Selection:
    """What the gate let through, and why not the others."""

    kept: NDArray[np.int64]
    """Indices into the fakes, ascending."""
    reasons: tuple[str, ...]
    """``kept`` or one of :data:`REASONS`, for every fake."""
    extractor: str

    def count(self) -> dict[str, int]:
        """How many were kept, and refused for each reason."""
        return {name: self.reasons.count(name) for name in (KEPT, *REASONS)}

    def table(self) -> str:
        """The same for people, in Markdown."""
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
) -> Selection:
    """Which of the fakes ``(N, H, W, C)`` of one class stand beside its real pictures, 12 at least.

    ``scores`` ``(N, classes)`` are the fakes' probabilities by a classifier that was not trained on them,
    best by one trained on other real pictures than the generator; ``label`` is the class they are meant to
    be. Without scores no classifier is asked. Of fakes that repeat each other the first is kept. Raises
    :class:`MetricsError`.
    """
    rules = rules or GateRules()
    check_pixels(real)
    check_pixels(fake)
    if len(real) < MINIMUM:
        raise MetricsError(
            f"{len(real)} real picture(s) do not show how far apart real ones are, {MINIMUM} are needed; "
            "gather more, or train on these with augmentation alone"
        )
    a, b = extractor(real), extractor(fake)
    turned = [extractor(pictures) for pictures in mirrors(real)] if rules.mirrored else []
    copied = nearest_real(a, b, rules.copy_percentile, turned).copied
    odd, usual = oddity(a, b)
    astray = odd > np.percentile(usual, rules.astray_percentile)
    refused = _by_classifier(len(fake), scores, label, rules.confidence)
    for index, name in enumerate(refused):
        if not name and copied[index]:
            refused[index] = "copy"
        elif not name and astray[index]:
            refused[index] = "astray"
    same = repeats(a, b, rules.copy_percentile)
    kept: list[int] = []
    for index, name in enumerate(refused):
        if not name and same[index, kept].any():
            refused[index] = "repeat"
        elif not name:
            kept.append(index)
    return Selection(np.array(kept, np.int64), tuple(name or KEPT for name in refused), extractor.name)


def gate_classes(
    real: PictureSet,
    fake: PictureSet,
    extractor: Extractor,
    *,
    scores: NDArray[np.floating] | None = None,
    rules: GateRules | None = None,
) -> Selection:
    """:func:`gate` class by class, each by its own real pictures; indices are those of ``fake``."""
    if real.classes != fake.classes:
        raise MetricsError(f"real pictures are of {real.classes}, fakes of {fake.classes}; name them alike")
    reasons = [""] * len(fake)
    for label, name in enumerate(fake.classes):
        rows = np.flatnonzero(fake.labels == label)
        if not len(rows):
            continue
        own = real.of_class(label)
        if not len(own):
            raise MetricsError(f"there is no real picture of {name} to hold its fakes against")
        asked = None if scores is None else scores[rows]
        found = gate(own.pixels, fake.pixels[rows], extractor, scores=asked, label=label, rules=rules)
        for row, reason in zip(rows, found.reasons, strict=True):
            reasons[row] = reason
    kept = np.array([index for index, reason in enumerate(reasons) if reason == KEPT], np.int64)
    return Selection(kept, tuple(reasons), extractor.name)


def _by_classifier(
    count: int, scores: NDArray[np.floating] | None, label: int | None, confidence: float
) -> list[str]:
    if scores is None:
        return [""] * count
    if label is None or scores.ndim != 2 or len(scores) != count or not 0 <= label < scores.shape[1]:
        raise MetricsError(f"scores {scores.shape} and label {label} do not belong to {count} fakes")
    refused = np.where(scores[:, label] < confidence, "unsure", "")
    return [str(r) for r in np.where(scores.argmax(axis=1) != label, "other class", refused)]


@dataclass(frozen=True, slots=True)
class ShareCurve:
    """Validation against the share of synthetic pictures."""

    shares: tuple[float, ...]
    """Ascending, of each batch; the first is 0."""
    scores: tuple[tuple[float, ...], ...]
    """For each share the scores of its seeds, higher is better."""

    @property
    def means(self) -> tuple[Interval, ...]:
        """Of every share, with its 95 % t interval over seeds."""
        return tuple(t_interval(scores) for scores in self.scores)

    @property
    def best(self) -> float:
        """The share with the highest mean; of equals the smallest."""
        values = [interval.value for interval in self.means]
        return self.shares[values.index(max(values))]

    @property
    def gain(self) -> Interval:
        """The best share's score over none at all, seed by seed, with its 95 % t interval.

        The best of several is a little flattered by having been chosen: confirm it on the test parts.
        """
        chosen, none = self.scores[self.shares.index(self.best)], self.scores[0]
        return t_interval([a - b for a, b in zip(chosen, none, strict=True)])

    @property
    def helps(self) -> bool:
        """Whether the gain is certain; never by a single seed."""
        return self.gain.low > 0


def best_share(
    validate: Callable[[float], float | Sequence[float]],
    shares: Sequence[float] = PAPER_SHARES,
    *,
    report: Callable[[float, float], None] = lambda share, score: None,
) -> ShareCurve:
    """The share of synthetic pictures in a batch that validates best, on real parts.

    ``validate(share)`` trains with that share, with the same budget of steps for each, and returns a score on
    real validation parts (never the test parts), or one a seed, the same seeds for each share. Raises
    :class:`MetricsError` unless 0 is among the shares.
    """
    ordered = tuple(sorted(set(shares)))
    if not ordered or ordered[0] != 0.0 or ordered[-1] > 1.0:
        raise MetricsError(f"shares {list(shares)} must lie in 0 to 1 and hold 0: what is it better than?")
    scores: list[tuple[float, ...]] = []
    for share in ordered:
        found = validate(share)
        own = tuple(float(v) for v in np.atleast_1d(np.asarray(found, np.float64)))
        if not own or not np.isfinite(own).all() or (scores and len(own) != len(scores[0])):
            raise MetricsError(f"the share {share:g} validated as {own}; every seed needs a finite score")
        scores.append(own)
        report(share, float(np.mean(own)))
    return ShareCurve(ordered, tuple(scores))


def draw_shares(curve: ShareCurve, picture: Path, score: str = "validation score") -> None:
    """The curve as a PNG: every seed a dot, means joined, the best share marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axis = figure.subplots()
    means = [interval.value for interval in curve.means]
    for share, scores in zip(curve.shares, curve.scores, strict=True):
        axis.plot([share] * len(scores), scores, "o", color="grey", markersize=4)
    axis.plot(curve.shares, means, "-", label="mean")
    axis.axvline(curve.best, linestyle="--", label=f"best on validation: {curve.best:.0%}")
    axis.axhline(means[0], linestyle=":", color="black", label="without synthetic pictures")
    axis.set_xlabel("share of synthetic pictures in a batch")
    axis.set_ylabel(score)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)
