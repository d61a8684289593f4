"""Real photographs through the station: KolektorSDD's commutators, split by commutator, several seeds.

Commutators up to a number train, those above it are inspected as the station would: cut by
:mod:`station.patching`, decided by :mod:`station.decision`. Every fifth training commutator is kept from the
network and, with the others, gives the threshold; the inspected ones never do.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import fmean

import numpy as np
import yaml
from numpy.typing import NDArray
from torch import nn

from deploy.engine_folder import MODEL_FILES, EngineDescription, golden_rule, write_engine_folder
from deploy.golden import DoubtfulPartError
from retraining.classifiers.loop import (
    Reporter,
    TrainingPlan,
    build_network,
    load_weights,
    probabilities,
    train,
)
from retraining.errors import DatasetError
from retraining.evaluation.ranking import average_precision
from retraining.shipping.export import export_onnx
from retraining.surfaces.crops import RandomCrops
from retraining.surfaces.photographs import (
    Picture,
    cut_photograph,
    list_pictures,
    read_photograph,
    read_pictures,
)
from station.decision import decide, fault
from station.engines.interface import Scorer
from station.engines.manifest import PartFigures
from station.outcomes import Judgement, Outcomes, count_outcomes
from station.patching import PatchingError, cut, cut_surface
from station.recipe import Recipe

KEPT_BACK = 5
"""Every fifth training commutator is not shown to the network, for the threshold's sake."""

GOLDEN_OF_A_CLASS = 6


@dataclass(frozen=True, slots=True)
class SeedResult(Outcomes):
    """One seed's training and inspection; counts are pictures."""

    seed: int
    average_precision: float
    threshold: float
    """Probability of the defect from which on a picture is rejected."""
    missed: tuple[str, ...]
    """Names of the pictures that escaped."""


def inspect_commutators(
    root: Path,
    recipe: Recipe,
    folder: Path,
    *,
    seeds: int = 3,
    last_training_item: int = 33,
    plan: TrainingPlan | None = None,
    engines: bool = False,
    report: Reporter = lambda step, line: None,
) -> list[SeedResult]:
    """Train on the items up to ``last_training_item`` and inspect the others, once for each seed.

    ``engines``: leave an engine folder and its recipe below each seed's folder (:func:`write_engine`).
    Unfinished trainings below ``folder`` are resumed. Raises :class:`DatasetError`.
    """
    pictures = list_pictures(root)
    known = [p for p in pictures if p.item <= last_training_item]
    unseen = [p for p in pictures if p.item > last_training_item]
    if not any(p.mask for p in known) or not any(p.mask for p in unseen):
        raise DatasetError(
            f"one side of the split at item {last_training_item} has no defect; split at another item"
        )
    surfaces = read_pictures(known, recipe, lambda item: item % KEPT_BACK != 0)
    source = RandomCrops(surfaces, recipe.patch)
    results = []
    for seed in range(1, seeds + 1):
        of_seed = replace(plan or TrainingPlan(steps=300), seed=seed)
        weights = train(of_seed, source, folder / f"seed-{seed}", report=report)
        network = build_network(of_seed, source)
        network.load_state_dict(load_weights(weights))

        def score(patches: NDArray[np.uint8], trained: object = network) -> NDArray[np.float32]:
            return probabilities(trained, patches)  # type: ignore[arg-type]

        threshold = choose_threshold(known, recipe, score)
        results.append(inspect_pictures(unseen, recipe, score, threshold, seed))
        if engines:
            write_engine(network, known, recipe, folder / f"seed-{seed}", results[-1])
    return results


def write_engine(
    network: nn.Module, pictures: list[Picture], recipe: Recipe, folder: Path, result: SeedResult
) -> None:
    """Make ``engines/<engine>`` and ``<recipe>.yaml`` in ``folder``, for ``station inspect``.

    The golden parts are training pictures of which the network is sure. Raises :class:`DatasetError`.
    """
    target = folder / "engines" / recipe.engine
    export_onnx(network, target / MODEL_FILES["fp32"], recipe.patch.size, recipe.surface.channels)
    good, defect = (entry.name for entry in recipe.classes)
    tuned = with_threshold(recipe, result.threshold)
    description = EngineDescription.for_recipe(
        tuned,
        network="inception-cnn",
        description=f"{recipe.description} Trained on photographs: mind their licence.",
        figures={
            "fp32": PartFigures(**{field.name: getattr(result, field.name) for field in fields(Outcomes)})
        },
    )
    rule = golden_rule(target, description)
    golden: dict[str, list[NDArray[np.uint8]]] = {good: [], defect: []}
    for picture in pictures:
        name = defect if picture.mask is not None else good
        if len(golden[name]) == GOLDEN_OF_A_CLASS:
            continue
        surface = cut_photograph(picture.path, recipe).surface.pixels
        with suppress(DoubtfulPartError):
            rule.record(name, cut_surface(surface, recipe.patch))
            golden[name].append(surface[..., 0] if recipe.surface.channels == 1 else surface)
    if not all(golden.values()):
        raise DatasetError("for some class, the network is not sure of any training picture; train longer")
    write_engine_folder(target, description, [(name, one) for name, some in golden.items() for one in some])
    document = tuned.model_dump(mode="json", exclude={"digest"})
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    (folder / f"{recipe.name}.yaml").write_text(text, encoding="utf-8")


def choose_threshold(pictures: list[Picture], recipe: Recipe, score: Scorer) -> float:
    """The probability half way, in log odds, between the most suspicious good and the least certain bad."""
    sound = [_log_odds(picture_score(p, recipe, score)) for p in pictures if p.mask is None]
    defective = [_log_odds(picture_score(p, recipe, score)) for p in pictures if p.mask is not None]
    if not sound or not defective:
        raise DatasetError("a threshold needs pictures with and without a defect")
    middle = 0.5 * (max(sound) + min(defective))
    return 1.0 / (1.0 + math.exp(-middle))


def inspect_pictures(
    pictures: list[Picture], recipe: Recipe, score: Scorer, threshold: float, seed: int
) -> SeedResult:
    """The station's verdict on every picture at one threshold."""
    tuned = with_threshold(recipe, threshold)
    missed, scores, judgements = [], [], []
    for picture in pictures:
        try:
            probability = score(cut(read_photograph(picture.path, tuned), tuned).pixels)
            verdict, highest = decide(probability, tuned), float(probability[:, 1].max())
        except PatchingError as error:
            verdict, highest = fault(str(error), tuned), 1.0
        scores.append(highest)
        defective = picture.mask is not None
        judgements.append(Judgement(defective, verdict.outcome, verdict.class_index == int(defective)))
        if judgements[-1].escaped:
            missed.append(picture.path.stem)
    return SeedResult(
        **asdict(count_outcomes(judgements)),
        seed=seed,
        average_precision=average_precision([one.defective for one in judgements], scores),
        threshold=threshold,
        missed=tuple(missed),
    )


def with_threshold(recipe: Recipe, threshold: float) -> Recipe:
    """The recipe of two classes with the defect's threshold set.

    Below one half it adds defective patches (``threshold``), above it lets doubtful ones pass
    (``release_below``); see :mod:`station.decision`.
    """
    good, defect = recipe.classes
    change = {"threshold": threshold, "release_below": 0.0}
    if threshold > 0.5:
        change = {"threshold": 0.0, "release_below": threshold}
    return recipe.model_copy(update={"classes": (good, defect.model_copy(update=change))})


def picture_score(picture: Picture, recipe: Recipe, score: Scorer) -> float:
    """The highest probability of a defect among the picture's patches."""
    patches = cut_photograph(picture.path, recipe)
    return float(score(patches.pixels)[:, 1].max())


def commutator_table(results: list[SeedResult]) -> str:
    """One line per seed and their mean, in Markdown."""
    lines = [
        "| seed | image-level AP | threshold | escapes | overkill | escaped pictures |",
        "|---|---|---|---|---|---|",
    ]
    for r in results:
        lines.append(
            f"| {r.seed} | {r.average_precision:.4f} | {r.threshold:.3f} | {r.escapes} of {r.defective} "
            f"| {r.overkill} of {r.good} | {', '.join(r.missed) or 'none'} |"
        )
    lines.append(
        f"| mean | {fmean(r.average_precision for r in results):.4f} | "
        f"| {fmean(r.escapes for r in results):.2f} | {fmean(r.overkill for r in results):.2f} | |"
    )
    return "\n".join(lines)


def _log_odds(probability: float) -> float:
    kept = min(max(probability, 1e-7), 1 - 1e-7)
    return math.log(kept / (1 - kept))
