"""How large a share of synthetic pictures is worth: one training a share and seed, judged on real pictures.

The StyleGAN2 paper's Table 1 asks this of six shares. Here every share keeps all real pictures and has the
same number of steps, 0 is always among them, and what is judged on are validation pictures, never the test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from retraining.classifiers.plan import TrainingPlan
from retraining.classifiers.whole_pictures import train_and_test
from retraining.data.dataset import PictureSet
from retraining.data.source import PictureSource
from retraining.metrics.intervals import Interval
from retraining.synthesis.gate import PAPER_SHARES, ShareCurve, best_share, draw_shares
from station.files import write_json

Reporter = Callable[[float, int, int, str], None]
"""Called after each step, and after each training, with share, seed, step and a line of text."""


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
    run folder a training (``share-0.38/seed-1``), ``shares.json`` and ``shares.png``. The same call goes on
    where it was interrupted. Raises :class:`TrainingError`, :class:`DatasetError` and :class:`MetricsError`.
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
        return "\n".join([*lines, "", "No share is better than none: leave the synthetic pictures out."])
    certain = "certain" if curve.helps else "not certain: the interval holds 0, or there is one seed only"
    return "\n".join([*lines, "", f"{curve.best:.1%} gains {_shown(curve.gain)} over none: {certain}."])


def _shown(interval: Interval) -> str:
    if interval.n == 1:
        return f"{interval.value:.4f}"
    return f"{interval.value:.4f} [{interval.low:.4f}, {interval.high:.4f}]"
