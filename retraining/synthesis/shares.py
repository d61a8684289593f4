"""Which share of synthetic pictures is best: one training per share and seed, scored on real pictures.

The StyleGAN2 paper's Table 1 compares six shares. Here every share keeps all real pictures and takes the same
number of steps, 0 is always one of the shares, and scores come from validation pictures, never test pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from retraining.classifiers.plan import TrainingPlan
from retraining.classifiers.whole_pictures import train_and_test
from retraining.data.dataset import PictureSet
from retraining.data.source import PictureSource
from retraining.errors import MetricsError
from retraining.metrics.intervals import Interval, t_interval
from station.files import write_json

Reporter = Callable[[float, int, int, str], None]
"""Called after each step, and after each training, with share, seed, step and a line of text."""

PAPER_SHARES = (0.0, 0.13, 0.235, 0.315, 0.38, 0.5)
"""Shares of the StyleGAN2 paper, Table 1, in which 0.38 is the best. The paper reached 0.44 and 0.5 by taking
real pictures away, so its table mixes a large share with a small real set; ours keeps all real pictures."""


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

        The best of several is a little too good because it was chosen; confirm it on the test parts.
        """
        chosen, none = self.scores[self.shares.index(self.best)], self.scores[0]
        return t_interval([a - b for a, b in zip(chosen, none, strict=True)])

    @property
    def helps(self) -> bool:
        """Whether the gain is certain; never by a single seed."""
        return self.gain.low > 0


def validate_shares(
    plan: TrainingPlan,
    train_on: PictureSet,
    validation: PictureSet,
    synthetic: PictureSet,
    folder: Path,
    *,
    shares: Sequence[float] = PAPER_SHARES,
    seeds: Sequence[int] = (1, 2, 3),
    sampling: str = "natural",
    report: Reporter = lambda share, seed, step, line: None,
) -> ShareCurve:
    """Train ``plan`` with each share and each seed, and score it by macro F1 on ``validation``.

    Macro F1, because the classes that synthetic pictures are made for are the rare ones. ``folder`` gets a
    run folder per training (``share-0.38/seed-1``), ``shares.json`` and ``shares.png``. The same call
    continues an interrupted run. Raises :class:`TrainingError`, :class:`DatasetError` and
    :class:`MetricsError`.
    """
    # What one of the last trainings would refuse is refused before the first.
    PictureSource(train_on, sampling=sampling, synthetic=synthetic, synthetic_share=max(shares, default=0.0))

    def validate(share: float) -> list[float]:
        scores = []
        for seed in seeds:
            found = train_and_test(
                replace(plan, seed=seed),
                train_on,
                validation,
                folder / f"share-{share:g}" / f"seed-{seed}",
                synthetic=synthetic if share else None,
                synthetic_share=share,
                sampling=sampling,
                report=partial(report, share, seed),
            )
            scores.append(found.macro_f1)
            report(share, seed, plan.steps, f"macro F1 {found.macro_f1:.4f}")
        return scores

    curve = best_share(validate, shares)
    draw_shares(curve, folder / "shares.png", "macro F1 on validation pictures")
    content = {
        **asdict(curve),
        "seeds": list(seeds),
        "best": curve.best,
        "gain": curve.gain.value,
        "certain": curve.helps,
    }
    write_json(folder / "shares.json", content)
    return curve


def shares_table(curve: ShareCurve) -> str:
    """Each share's mean with its 95 % interval over seeds as a Markdown table, and what follows from it."""
    lines = ["| synthetic share of a batch | macro F1 on validation | seeds |", "|---|---|---|"]
    for share, mean, scores in zip(curve.shares, curve.means, curve.scores, strict=True):
        name = f"**{share:.1%}**" if share == curve.best else f"{share:.1%}"
        lines.append(f"| {name} | {_shown(mean)} | {', '.join(f'{score:.4f}' for score in scores)} |")
    if not curve.best:
        return "\n".join([*lines, "", "No share is better than 0; leave the synthetic pictures out."])
    certain = (
        "certain" if curve.helps else "not certain, because the interval contains 0 or there is one seed only"
    )
    return "\n".join([*lines, "", f"{curve.best:.1%} gains {_shown(curve.gain)} over none: {certain}."])


def best_share(
    validate: Callable[[float], float | Sequence[float]],
    shares: Sequence[float] = PAPER_SHARES,
    *,
    report: Callable[[float, float], None] = lambda share, score: None,
) -> ShareCurve:
    """The share of synthetic pictures in a batch that validates best, on real parts.

    ``validate(share)`` trains with that share, with the same number of steps for each, and returns a score on
    real validation parts (never the test parts), or one score per seed, with the same seeds for each share.
    Raises :class:`MetricsError` unless 0 is among the shares.
    """
    ordered = tuple(sorted(set(shares)))
    if not ordered or ordered[0] != 0.0 or ordered[-1] > 1.0:
        raise MetricsError(f"shares {list(shares)} must lie between 0 and 1, and 0 must be one of them")
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


def _shown(interval: Interval) -> str:
    if interval.n == 1:
        return f"{interval.value:.4f}"
    return f"{interval.value:.4f} [{interval.low:.4f}, {interval.high:.4f}]"
