"""Training, thresholds, INT8, test, golden parts and novelty of one product, in the order of the stages."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from deploy.engine_folder import MODEL_FILES, EngineDescription, golden_rule, write_engine_folder
from deploy.golden import DoubtfulPartError
from deploy.quantise import QuantiseError, QuantiseReport, quantise
from deploy.scoring import onnx_scorer
from deploy.usual import usual_parts
from drivers.sorters.interface import Outcome
from retraining.classifiers.loop import build_network, load_weights
from retraining.classifiers.patch_sizes import Stage, plan_stages, train_in_stages
from retraining.classifiers.plan import TrainingPlan
from retraining.classifiers.validation import part_validator, recipe_at
from retraining.data.pixels import PictureSet
from retraining.data.source import PictureSource
from retraining.errors import ExportError, TrainingError
from retraining.evaluation.ranking import average_precision
from retraining.evaluation.recipe_numbers import write_recipe
from retraining.evaluation.scored_parts import ScoredPart, patch_labels
from retraining.evaluation.thresholds import OperatingPoint, choose, trade_off, with_levels
from retraining.product.counting import Counted, count_groups
from retraining.product.own_novelty import OwnNovelty, add_own_novelty
from retraining.product.parts import Parts
from retraining.shipping.export import calibration_patches, export_onnx
from retraining.shipping.fine_tuning import begin_from_engine
from retraining.surfaces import SOUND, Surfaces
from retraining.surfaces.crops import RandomCrops, Source
from retraining.surfaces.training_set import join_surfaces
from station.decision import decide
from station.engines.interface import Scorer
from station.engines.manifest import PartFigures, Variant
from station.files import write_file
from station.outcomes import judge
from station.patching import cut_surface
from station.recipe import Recipe

GOLDEN_OF_A_CLASS = 3
SHIFT, ZOOM = 0.05, 0.1
"""Of whole parts in training: at most so much of a side, so that no defect at the edge is lost."""
STAGES = ("reading", "training", "thresholds", "int8", "test", "golden-parts", "novelty")
"""Of a product, in their order; a person can stop after each, and look."""


@dataclass(frozen=True, slots=True)
class PartRow:
    """One test part and its verdict by one file of the engine."""

    precision: str
    part: str
    group: str
    truth: str
    found: str
    outcome: str
    highest_defect: float
    """The highest defect probability of its patches."""
    reason: str


@dataclass(frozen=True, slots=True)
class Tested:
    """What one file of the engine makes of the test parts."""

    counted: Counted
    average_precision: float
    rows: tuple[PartRow, ...]

    def confusion(self) -> Counter[tuple[str, str]]:
        """Parts by truth and verdict."""
        return Counter((row.truth, row.found) for row in self.rows)


@dataclass(frozen=True, slots=True)
class Product:
    """What :func:`make_engine` wrote and measured."""

    engine: Path
    recipe: Path
    tuned: Recipe
    """With the chosen thresholds."""
    point: OperatingPoint
    """The chosen thresholds, counted on the validation parts."""
    deviation: float
    """The largest difference of a probability of the fp32 file from the trained network's."""
    quantised: QuantiseReport | None = None
    int8_refusal: str = ""
    """Why there is no INT8 file; empty where there is one."""
    tested: Mapping[str, Tested] = field(default_factory=dict)
    """By precision; empty before the stage `test`."""
    novelty: OwnNovelty | None = None
    """None before the stage `novelty`."""


def source_of(surfaces: Surfaces, recipe: Recipe) -> Source:
    """What training draws from: random crops with masks, or the whole parts where a part is one patch."""
    if recipe.patch_count > 1:
        return RandomCrops(surfaces, recipe.patch)
    labels = np.array([surfaces.part_class(index) for index in range(len(surfaces))], np.int64)
    pictures = PictureSet(surfaces.pixels, labels, surfaces.classes, surfaces.names, surfaces.names)
    return PictureSource(pictures, sampling="balanced", sound=SOUND)


def stages_for(recipe: Recipe, base: TrainingPlan, steps: int, training_parts: int) -> tuple[Stage, ...]:
    """The stages of a training; ``steps`` 0 chooses by the number of parts.

    A part of one patch: 25 passes, 300 to 2,000 steps, moved and enlarged a little, because no random crop
    moves it. Parts of several patches: 400 steps, on large patches as many before on small ones.
    """
    if steps == 0 and recipe.patch_count == 1:
        steps = min(2000, max(300, round(25 * training_parts / base.batch)))
    steps = steps or 400
    side = recipe.patch.size
    small = steps if recipe.patch_count > 1 and recipe.surface.height > 128 else 0
    base = replace(base, validate_every=max(1, min(100, steps // 4)))
    if recipe.patch_count == 1:
        base = replace(base, augmentation=replace(base.augmentation, shift=SHIFT, zoom=ZOOM))
    return plan_stages(side, base, small, steps)


def train_network(
    parts: Parts,
    recipe: Recipe,
    stages: tuple[Stage, ...],
    folder: Path,
    *,
    start_from: Path | None = None,
    resume: bool = True,
    report: Callable[[Stage, int, str], None] = lambda stage, step, line: None,
) -> nn.Module:
    """Train on the training parts, keep the weights with the best validation, and return the network.

    ``start_from``: a file of weights, or an engine folder.
    """
    known, watched = parts.of("train"), parts.of("validation")

    def source_for(patch_px: int) -> Source:
        return source_of(known, recipe_at(recipe, patch_px))

    if start_from is not None and start_from.is_dir():
        first = stages[0]
        start_from = begin_from_engine(start_from, first.plan, source_for(first.patch_px), folder)

    weights = train_in_stages(
        stages, source_for, folder, start_from=start_from, resume=resume, report=report,
        validator_for=lambda patch_px: part_validator(watched, recipe_at(recipe, patch_px)),
    )  # fmt: skip
    network = build_network(stages[-1].plan, source_for(stages[-1].patch_px))
    network.load_state_dict(load_weights(weights))
    return network


def make_engine(
    network: nn.Module,
    parts: Parts,
    original: Path,
    recipe: Recipe,
    folder: Path,
    *,
    network_name: str,
    data: tuple[str, ...] = (),
    target: float = 0.0,
    until: str = STAGES[-1],
    report: Callable[[str, int], None] = lambda stage, done: None,
) -> Product:
    """Write ``folder/engines/<engine>`` and ``folder/<recipe>.yaml`` from a trained network, up to ``until``.

    Thresholds are chosen on the validation parts for an escape rate of ``target``; figures are those of the
    test parts, which nothing before has seen. ``original`` is the recipe's file, ``data`` the SHA-256 of each
    data set's manifest. The folder is an engine
    from the stage `golden-parts` on. Raises :class:`ExportError` where no part of a class can be golden.
    """
    last = STAGES.index(until)
    engine = folder / "engines" / recipe.engine
    for old in (*engine.glob("*.onnx"), engine / "engine.yaml"):  # of another training, not to be taken
        old.unlink(missing_ok=True)
    fp32 = engine / MODEL_FILES["fp32"]
    deviation = export_onnx(network, fp32, recipe.patch.size, recipe.surface.channels)
    report("thresholds", 0)
    validation = scored(parts.of("validation"), recipe, onnx_scorer(fp32))
    point = choose(trade_off(validation, recipe, recipe.decision.temperature), target)
    written = folder / f"{recipe.name}.yaml"
    written.unlink(missing_ok=True)
    tuned = with_levels(recipe, point.levels, recipe.decision.temperature)
    tuned = write_recipe(original, written, tuned)
    made = Product(engine, written, tuned, point, deviation)
    if last < STAGES.index("int8"):
        return made
    report("INT8", 1)
    try:
        quantised = quantise(fp32, engine / MODEL_FILES["int8"], _calibration(parts.real("train"), recipe))
        made = replace(made, quantised=quantised)
    except QuantiseError as error:
        made = replace(made, int8_refusal=str(error))
        (engine / MODEL_FILES["int8"]).unlink(missing_ok=True)
    if last < STAGES.index("test"):
        return made
    report("test", 2)
    names: tuple[Variant, ...] = ("fp32", "int8") if made.quantised else ("fp32",)
    unseen, groups = parts.of("test"), parts.groups_of("test")
    tested = {
        str(name): test(unseen, groups, tuned, onnx_scorer(engine / MODEL_FILES[name]), name)
        for name in names
    }
    made = replace(made, tested=tested)
    write_rows(folder / "test-parts.csv", [row for one in tested.values() for row in one.rows])
    if last < STAGES.index("golden-parts"):
        return made
    report("golden parts", 3)
    description = EngineDescription.for_recipe(
        tuned,
        network=network_name,
        description=f"{recipe.description} Trained on a person's own pictures; see card.md.",
        figures={name: PartFigures(**asdict(tested[name].counted.outcomes)) for name in names},
        data=data,
    )
    good = (unseen.pixels[k] for k in range(len(unseen.names)) if unseen.part_class(k) == SOUND)
    description = replace(description, usual=usual_parts(good, tuned, fp32))
    chosen = golden_parts(
        join_surfaces(parts.real("train"), parts.of("validation")), tuned, engine, description
    )
    write_engine_folder(engine, description, chosen)
    if last < STAGES.index("novelty"):
        return made
    report("novelty", 4)
    return replace(made, novelty=add_own_novelty(engine, parts, tuned, lambda what: report(what, 4)))


def scored(surfaces: Surfaces, recipe: Recipe, score: Scorer) -> list[ScoredPart]:
    """Every part's scores beside its truth."""
    found = []
    for index, name in enumerate(surfaces.names):
        scores = score(cut_surface(surfaces.pixels[index], recipe.patch))
        truth = patch_labels(np.asarray(surfaces.masks[index]), recipe)
        found.append(ScoredPart(name, surfaces.part_classes(index), scores, truth))
    return found


def test(surfaces: Surfaces, groups: Sequence[str], recipe: Recipe, score: Scorer, precision: str) -> Tested:
    """The station's verdict on every part, cut and decided as on the line; ``groups``: that of each part."""
    rows, judgements = [], []
    for index, name in enumerate(surfaces.names):
        label = surfaces.part_class(index)
        scores = score(cut_surface(surfaces.pixels[index], recipe.patch))
        verdict = decide(scores, recipe)
        on_part = [surfaces.classes[k] for k in surfaces.part_classes(index)]
        judgements.append(judge(on_part, surfaces.classes, verdict.outcome, verdict.class_name))
        highest = float((1.0 - scores[:, SOUND]).max()) if verdict.outcome != Outcome.FAULT else 1.0
        truth = surfaces.classes[label]
        rows.append(
            PartRow(
                precision, name, groups[index], truth, verdict.class_name, str(verdict.outcome), highest,
                verdict.reason,
            )
        )  # fmt: skip
    sound = surfaces.classes[SOUND]
    ranked = average_precision([row.truth != sound for row in rows], [row.highest_defect for row in rows])
    return Tested(count_groups(zip(groups, judgements, strict=True)), ranked, tuple(rows))


def golden_parts(
    surfaces: Surfaces, recipe: Recipe, engine: Path, description: EngineDescription
) -> list[tuple[str, NDArray[np.uint8]]]:
    """Up to :data:`GOLDEN_OF_A_CLASS` parts of every class that the engine is sure of: good and known bad.

    Raises :class:`ExportError` that names every class without one, and why its last part was refused.
    """
    rule = golden_rule(engine, description)
    chosen: dict[str, list[NDArray[np.uint8]]] = {entry.name: [] for entry in recipe.classes}
    doubts: dict[str, str] = {}
    for index in range(len(surfaces)):
        name = surfaces.classes[surfaces.part_class(index)]
        if len(chosen[name]) == GOLDEN_OF_A_CLASS:
            continue
        surface = surfaces.pixels[index]
        try:
            rule.record(name, cut_surface(surface, recipe.patch))
        except DoubtfulPartError as doubt:
            doubts[name] = str(doubt)
            continue
        chosen[name].append(surface[..., 0] if recipe.surface.channels == 1 else surface)
    lacking = [
        f"{name} (the last: {doubts.get(name, 'there is none')})" for name in chosen if not chosen[name]
    ]
    if lacking:
        raise ExportError(
            f"no part can prove the engine for {'; '.join(lacking)}; train longer by --steps, or add parts"
        )
    return [(name, surface) for name, own in chosen.items() for surface in own]


def require_same_run(folder: Path, described: Mapping[str, object]) -> None:
    """Write down what a run folder is for, or refuse one that is for something else.

    Raises :class:`TrainingError`.
    """
    file = folder / "product.json"
    text = json.dumps(described, indent=1, sort_keys=True) + "\n"
    if file.is_file() and file.read_text(encoding="utf-8") != text:
        raise TrainingError(
            f"{folder} holds a run with other data, recipe or settings; name another --out, or remove it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_file(file, text)


def write_rows(path: Path, rows: list[PartRow]) -> None:
    """One line of CSV per test part and file of the engine."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(PartRow.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _calibration(surfaces: Surfaces, recipe: Recipe) -> NDArray[np.uint8]:
    if recipe.patch_count > 1:
        return calibration_patches(surfaces, recipe)
    source = source_of(surfaces, recipe)
    return source.cut(source.draw(np.random.default_rng(0), 240)).pixels
