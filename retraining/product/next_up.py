"""What to label next: pictures that the engine knows least, no two alike; and whether more labels pay."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivers.cameras.picture_files import ImageFileError, read_image
from retraining.errors import DatasetError
from retraining.labels.pictures import Task, ToLabel
from retraining.surfaces.photographs import kept_surface
from station.decision import decide
from station.engines.interface import Engine
from station.files import replacing
from station.patching import PatchingError, cut, cut_surface
from station.recipe import Recipe

FEWEST_LABELLED = 40
"""Labelled pictures below which nothing is said of more labels."""
FEWEST_OF_A_CLASS = 5
_SHARES = (0.25, 0.5, 0.75, 1.0)
_ROUNDS = 10
_SCORE_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """What the engine says of one picture."""

    path: str
    said: str
    """The class of its verdict."""
    margin: float
    """The least distance of the two most probable classes on a patch, 0 to 1."""
    novelty: float
    """The highest of its patches; 0 where the engine gives none."""
    features: NDArray[np.float32]
    """``(F,)``, of the patch that decides; the probabilities where the engine gives no features."""
    disagrees: bool
    """What was said of the picture before is another class."""


@dataclass(frozen=True, slots=True)
class Suggested:
    """One picture to label, in order."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Curve:
    """The error of a simple classifier on the engine's features by the number of labels."""

    labels: tuple[int, ...]
    errors: tuple[float, ...]
    gain: float
    """How much the error fell over the last quarter of the labels."""
    low: float
    high: float
    """The ends of its 95 % interval, over repeated splits."""


def look_at(
    task: Task, recipe: Recipe, engine: Engine, report: Callable[[int], None] = lambda done: None
) -> tuple[list[Looked], list[str]]:
    """What the engine says of every picture, and a sentence for each that the station would not cut."""
    found, refused = [], []
    for number, picture in enumerate(task.pictures, start=1):
        try:
            patches = _patches(task.root / picture.path, recipe, as_cut=picture.as_cut)
        except (ImageFileError, PatchingError, DatasetError) as error:
            refused.append(f"{picture.path}: {error}")
        else:
            found.append(_looked(picture, engine, patches, recipe))
        report(number)
    return found, refused


def _patches(path: Path, recipe: Recipe, *, as_cut: bool) -> NDArray[np.uint8]:
    if as_cut:
        return cut_surface(kept_surface(path, recipe).pixels, recipe.patch)
    return cut(read_image(path, sixteen_bit_white=recipe.product.sixteen_bit_white), recipe).pixels


def _looked(picture: ToLabel, engine: Engine, patches: NDArray[np.uint8], recipe: Recipe) -> Looked:
    scores = engine.scores(patches, timeout_s=_SCORE_WITHIN_S)
    verdict = decide(scores.probabilities, recipe, scores.novelty)
    ordered = np.sort(scores.probabilities, axis=1)
    margins = ordered[:, -1] - ordered[:, -2] if ordered.shape[1] > 1 else np.ones(len(ordered))
    patch = verdict.patch if verdict.patch is not None else int(np.argmin(margins))
    features = scores.features[patch] if scores.features is not None else scores.probabilities[patch]
    before = picture.suggestion.partition(" (by")[0]
    return Looked(
        picture.path,
        verdict.class_name,
        float(margins.min()),
        float(scores.novelty.max()) if scores.novelty is not None else 0.0,
        np.asarray(features, np.float32),
        bool(before) and before != verdict.class_name,
    )


def suggest(looked: Sequence[Looked], count: int) -> list[Suggested]:
    """Up to ``count`` pictures, each the least known to the engine, and unlike those before.

    The worth of a picture is the mean of its ranks by novelty and by closeness of two classes, and 2 more
    where it disagrees; it is multiplied by the distance (cosine) to the nearest picture chosen before.
    """
    if not looked:
        return []
    novelty = _ranks(np.array([one.novelty for one in looked]))
    doubt = _ranks(-np.array([one.margin for one in looked]))
    worth = 0.5 * (novelty + doubt) + np.array([2.0 * one.disagrees for one in looked])
    features = np.stack([one.features for one in looked]).astype(np.float64)
    features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    away = np.ones(len(looked))
    chosen: list[int] = []
    while len(chosen) < min(count, len(looked)):
        value = worth * np.maximum(away, 1e-6)
        value[chosen] = -1.0
        best = int(np.argmax(value))
        chosen.append(best)
        away = np.minimum(away, 1.0 - features @ features[best])
    return [Suggested(looked[k].path, _reason(looked[k])) for k in chosen]


def learning_curve(
    looked: Sequence[Looked], labels: Sequence[str], groups: Sequence[str], seed: int = 1
) -> Curve | str:
    """Whether more labels would pay, or in words why nothing can be said.

    Logistic regression on the engine's features, tested on a quarter of the groups that it has not seen, with
    a growing share of the others; ten splits.
    """
    counts = Counter(labels)
    few = [f"{name} ({count})" for name, count in counts.items() if count < FEWEST_OF_A_CLASS]
    if len(labels) < FEWEST_LABELLED or len(counts) < 2 or few:
        why = f"{len(labels)} labelled pictures of {len(counts)} classes"
        why += f", and few of {', '.join(few)}" if few else ""
        return (
            f"nothing can be said yet of whether more labels pay: {why}; it takes {FEWEST_LABELLED} pictures "
            f"and {FEWEST_OF_A_CLASS} of each class"
        )
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupShuffleSplit
    from sklearn.preprocessing import StandardScaler

    x = StandardScaler().fit_transform(np.stack([one.features for one in looked]))
    y, of = np.asarray(labels), np.asarray(groups)
    if len(set(of)) < 8:
        return (
            f"nothing can be said yet of whether more labels pay: the pictures are of {len(set(of))} groups"
        )
    splits = GroupShuffleSplit(_ROUNDS, test_size=0.25, random_state=seed).split(x, y, of)
    rng = np.random.default_rng(seed)
    errors = np.full((_ROUNDS, len(_SHARES)), np.nan)
    sizes: list[list[int]] = [[] for _ in _SHARES]
    for round_, (known, unseen) in enumerate(splits):
        order = rng.permutation(known)
        for column, share in enumerate(_SHARES):
            some = order[: max(2, round(share * len(order)))]
            sizes[column].append(len(some))
            if len(set(y[some])) < 2:
                continue
            model = LogisticRegression(C=0.1, max_iter=500).fit(x[some], y[some])
            errors[round_, column] = float((model.predict(x[unseen]) != y[unseen]).mean())
    gains = errors[:, -2] - errors[:, -1]
    spread = 1.96 * float(gains.std(ddof=1)) / np.sqrt(_ROUNDS)
    gain = float(gains.mean())
    means = tuple(float(value) for value in np.nanmean(errors, axis=0))
    return Curve(
        tuple(round(float(np.mean(one))) for one in sizes), means, gain, gain - spread, gain + spread
    )


def curve_in_words(curve: Curve | str) -> str:
    """What the curve says, and what follows."""
    if isinstance(curve, str):
        return curve
    steps = ", ".join(f"{n} labels {error:.1%}" for n, error in zip(curve.labels, curve.errors, strict=True))
    more = curve.labels[-1] - curve.labels[-2]
    said = "more labels of this kind no longer pay; label rare classes, or what the line finds new"
    if curve.low > 0:
        said = "more labels still pay"
    elif curve.high > 0.02:
        said = "it cannot be said yet whether more labels pay"
    return (
        f"error of a simple classifier on the engine's features: {steps}. The last {more} labels took "
        f"{curve.gain:.1%} off it (95 % interval {curve.low:.1%} to {curve.high:.1%}): {said}"
    )


def write_order(suggested: Sequence[Suggested], target: Path) -> None:
    """The order as CSV, for `retrain label page --order`."""
    with replacing(target) as fresh, fresh.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("order", "picture", "reason"))
        writer.writerows((n, one.path, one.reason) for n, one in enumerate(suggested, start=1))


def require_some(looked: Sequence[Looked], refused: Sequence[str]) -> None:
    """Raise :class:`DatasetError` where the recipe cuts no picture at all."""
    if not looked:
        listed = "\n  ".join(refused[:10])
        raise DatasetError(f"the recipe cuts none of the pictures:\n  {listed}")


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """0 for the least, 1 for the highest; equal values have equal ranks."""
    levels, places = np.unique(values, return_inverse=True)
    return np.asarray(places / max(1, len(levels) - 1), np.float64)


def _reason(one: Looked) -> str:
    words = [f"the engine says {one.said}"]
    if one.disagrees:
        words.append("which is not what was said before")
    if one.novelty > 1:
        words.append(f"far from training ({one.novelty:.1f})")
    if one.margin < 0.2:
        words.append(f"two classes close ({one.margin:.2f})")
    return ", ".join(words)
