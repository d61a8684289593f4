"""An engine for a product of which only good parts are known, so that a line can start on its first day.

The engine has one class and a novelty (:mod:`models.good_parts`); its recipe rejects what is unknown. The
threshold is chosen on good parts that were held back, so a claim rests on as many parts as those. No defect
is known, so the known-bad golden part is a good one on which a piece was moved, turned and
changed in brightness (after CutPaste, Li et al. 2021): an engine that takes it for good is not used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from deploy.engine_folder import MODEL_FILES, EngineDescription, golden_rule, write_engine_folder
from deploy.golden import DoubtfulPartError
from deploy.quantise import QuantiseError
from deploy.scoring import onnx_novelty, onnx_scorer
from deploy.usual import usual_parts
from retraining.data.manifest import Dataset
from retraining.data.splits import split_by_share
from retraining.errors import DatasetError, ExportError
from retraining.evaluation.ranking import area_under_roc
from retraining.novelty.leaving_out import threshold_of
from retraining.novelty.material import surface_patches
from retraining.novelty.pretrained import (
    BACKBONE,
    METHOD_IN_ENGINE,
    GoodNetwork,
    fit_head,
    in_int8,
    pretrained_features,
)
from retraining.product.counting import Counted, Share, count_groups, share_of
from retraining.product.parts import Parts
from retraining.surfaces import SOUND, Surfaces
from station.decision import decide
from station.engines.manifest import Novelty, PartFigures, Variant
from station.files import write_file
from station.outcomes import Judgement, count_outcomes, judge
from station.patching import cut_surface
from station.recipe import UNKNOWN, Recipe, load_recipe

FURTHEST = 0.07
"""Of the places of a patch, those whose mean is its distance: a single strange place is no defect yet."""
FEWEST_GOOD = 10
ENOUGH_GOOD = 30
"""With fewer good parts, an engine is made with a warning: it rejects many good ones."""
SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
"""Of the groups of good parts: fitted on, held back for the threshold, tested."""
_CALIBRATION = 200
"""Good patches by which the ranges in INT8 are chosen."""
_DEFECTS = 40
"""Artificial defects that are tried for a known-bad part."""


@dataclass(frozen=True, slots=True)
class TestedFile:
    """What the station's verdicts by one file of the engine are worth on parts that it was not fitted on."""

    counted: Counted
    found: Share
    """Of the defective parts, those that are rejected; a group counts if all of its are."""
    auroc: float
    """Area under the ROC curve of the highest novelty by part; NaN without a defective test part."""


@dataclass(frozen=True, slots=True)
class GoodOnly:
    """What :func:`make_good_only` wrote and measured."""

    engine: Path
    recipe: Path
    fitted: int
    """Good parts fitted on."""
    held_back: int
    """Good parts by which the threshold was chosen."""
    tested: Mapping[Variant, TestedFile]
    """By the engine's files."""
    core: int
    int8_refusal: str = ""
    """Why there is no file in INT8."""


def split_good(dataset: Dataset, seed: int) -> Dataset:
    """Good pictures in three splits by group, every defective one in the test; its own split is kept.

    In a set that has only train and test, a fifth of the good training groups is held back. Raises
    :class:`DatasetError` for too few good parts, and for a split of its own that holds none back.
    """
    sound = dataset.classes[SOUND]
    good = dataset.select(classes=[sound])
    bad = [p for p in dataset.pictures if p.label != sound]
    given = {p.split for p in dataset.pictures}
    learned, kept, shares = good, [], SHARES
    if given == {""}:
        bad = [replace(p, split="test") for p in bad]
    else:
        learned = good.select(split="train")
        kept = [p for p in good.pictures if p.split != "train"]
        bad = [p for p in bad if p.split == "test"]
        shares = {"train": 0.8, "validation": 0.2}
    held = [p for p in kept if p.split == "validation"]
    partly_split = "" in given and given != {""}
    if partly_split or ("validation" in given and not (learned.pictures and held)):
        raise DatasetError(
            "the data set has pictures of no split, or none of its good ones is in train or in validation; "
            "give all of them to train, validation and test by `retrain data split`, or none"
        )
    groups = len({p.group for p in (*learned.pictures, *held)})
    if len(learned) + len(held) < FEWEST_GOOD or groups < len(shares):
        raise DatasetError(
            f"{len(learned) + len(held)} good parts in {groups} groups are too few to fit on and to hold "
            f"some back; give {FEWEST_GOOD} or more. Where pictures share a group only because they look "
            "alike, say which ones belong together by `retrain data ... --group-by`"
        )
    split = learned if held else split_by_share(learned, shares, seed)
    return dataset.with_pictures((*split.pictures, *kept, *bad))


def make_good_only(
    parts: Parts,
    recipe: Recipe,
    folder: Path,
    *,
    seed: int = 1,
    data: tuple[str, ...] = (),
    report: Callable[[int, int], None] = lambda done, total: None,
) -> GoodOnly:
    """Write ``folder/engines/<engine>`` and ``folder/<recipe>.yaml`` from good parts alone.

    ``data``: SHA-256 of each data set's manifest. ``report`` hears how many parts' features are done. Raises
    :class:`ExportError` where no artificial defect is found, because such an engine proves nothing.
    """
    good = [k for k in range(len(parts.pictures)) if parts.surfaces.part_class(k) == SOUND]
    by_split = {name: [k for k in good if parts.pictures[k].split == name] for name in SHARES}
    bad = [k for k in range(len(parts.pictures)) if k not in set(good)]
    if empty := [name for name, own in by_split.items() if not own]:
        raise DatasetError(
            f"there is no good part in {' and '.join(empty)}; split the set again by `retrain data split`"
        )
    fitted_on = parts.surfaces.select(by_split["train"])
    held_back = parts.surfaces.select(by_split["validation"])
    tuned = write_good_recipe(recipe, folder / f"{recipe.name}.yaml")
    engine = folder / "engines" / recipe.engine
    for old in engine.glob("*.onnx"):  # one of another training would be taken for this one's
        old.unlink()
    files, core, refusal = _write_networks(fitted_on, held_back, recipe, engine, seed, report)
    held = [_look(parts, by_split["validation"], tuned, file) for file in files.values()]
    tested = {
        name: _tested(
            [parts.pictures[k].group for k in (*by_split["test"], *bad)],
            _look(parts, by_split["test"], tuned, file),
            _look(parts, bad, tuned, file),
        )
        for name, file in files.items()
    }
    description = EngineDescription.for_recipe(
        tuned,
        network="good-parts",
        description=f"{recipe.description} Fitted on good parts alone; see card.md.",
        figures={name: PartFigures(**asdict(one.counted.outcomes)) for name, one in tested.items()},
        data=data,
    )
    above = [count_outcomes(judgement for _, judgement in looked).overkill_rate for looked in held]
    novelty = Novelty(
        method=METHOD_IN_ENGINE,
        features=BACKBONE,
        good_parts=len(held_back),
        good_above=max(above),
        description=f"{core} centres of {len(fitted_on)} good parts, in each file by its own features",
    )
    usual = usual_parts(
        (parts.surfaces.pixels[k] for k in by_split["test"]), tuned, files["fp32"], novelty=True
    )
    description = replace(description, novelty=novelty, usual=usual)
    chosen = golden_parts(
        parts.surfaces.select(by_split["train"] + by_split["validation"]), tuned, engine, description, seed
    )
    write_engine_folder(engine, description, chosen)
    return GoodOnly(
        engine=engine,
        recipe=folder / f"{recipe.name}.yaml",
        fitted=len(fitted_on),
        held_back=len(held_back),
        tested=tested,
        core=core,
        int8_refusal=refusal,
    )


def _write_networks(
    fitted_on: Surfaces,
    held_back: Surfaces,
    recipe: Recipe,
    engine: Path,
    seed: int,
    report: Callable[[int, int], None],
) -> tuple[dict[Variant, Path], int, str]:
    """The engine's files, their centres, and why there is none in INT8."""
    features: dict[Variant, bytes] = {}
    features["fp32"] = pretrained_features(recipe.patch.size, recipe.surface.channels)
    refusal = ""
    try:
        features["int8"] = in_int8(features["fp32"], _calibration(fitted_on, recipe, seed))
    except QuantiseError as error:
        refusal = str(error)
    files: dict[Variant, Path] = {}
    core = 0
    for number, (variant, content) in enumerate(features.items()):
        network = fit(content, fitted_on, recipe, seed, _share_of(report, number, len(features)))
        distance = network.distance()
        network.head.threshold = threshold_of(
            [float(distance(cut_surface(pixels, recipe.patch)).max()) for pixels in held_back.pixels]
        )
        if not network.head.threshold > 0:
            raise ExportError("the good parts do not differ at all; give pictures of different parts")
        files[variant] = engine / MODEL_FILES[variant]
        network.write(files[variant])
        core = len(network.head.centres)
    return files, core, refusal


def fit(
    features: bytes, surfaces: Surfaces, recipe: Recipe, seed: int, report: Callable[[int, int], None]
) -> GoodNetwork:
    """The network of some good surfaces in these features, its threshold still 1."""
    patches = surface_patches(surfaces, recipe)
    head = fit_head(features, patches, len(surfaces), seed, report, furthest_share=FURTHEST)
    return GoodNetwork(features, head)


def _calibration(surfaces: Surfaces, recipe: Recipe, seed: int) -> NDArray[np.uint8]:
    """Good patches ``(N, patch, patch, C)`` of different parts, by which the ranges in INT8 are chosen."""
    rng = np.random.default_rng([seed, 8])
    share = -(-_CALIBRATION // len(surfaces))
    own = [rng.permutation(patches)[:share] for patches in surface_patches(surfaces, recipe)]
    return rng.permutation(np.concatenate(own))[:_CALIBRATION]


def _share_of(report: Callable[[int, int], None], number: int, of: int) -> Callable[[int, int], None]:
    """What hears of the ``number``th of several passes over the same parts."""
    return lambda done, total: report(number * total + done, of * total)


def _look(parts: Parts, chosen: Sequence[int], recipe: Recipe, file: Path) -> list[tuple[float, Judgement]]:
    """The highest novelty of each part by one file, and what the station's verdict on it is worth."""
    far, score = onnx_novelty(file), onnx_scorer(file)
    names = [entry.name for entry in recipe.classes]
    found = []
    for k in chosen:
        patches = cut_surface(parts.surfaces.pixels[k], recipe.patch)
        novelty = far(patches)
        verdict = decide(score(patches), recipe, novelty)
        truth = parts.surfaces.classes[parts.surfaces.part_class(k)]
        found.append((float(novelty.max()), judge([truth], names, verdict.outcome, verdict.class_name)))
    return found


def _tested(
    groups: Sequence[str],
    good: Sequence[tuple[float, Judgement]],
    bad: Sequence[tuple[float, Judgement]],
) -> TestedFile:
    judged = list(zip(groups, (judgement for _, judgement in (*good, *bad)), strict=True))
    rejected = ((group, not one.escaped) for group, one in judged if one.defective)
    return TestedFile(
        counted=count_groups(judged),
        found=share_of(rejected, all_of_group=True),
        auroc=area_under_roc([value for value, _ in good], [value for value, _ in bad]),
    )


def write_good_recipe(recipe: Recipe, target: Path) -> Recipe:
    """The recipe with its good class alone, rejecting what is unknown, written to ``target``."""
    taken = {entry.bin for entry in recipe.classes} | {recipe.fault_bin}
    free = recipe.decision.unknown_bin or next(number for number in range(1, 256) if number not in taken)
    document = recipe.model_dump(mode="json", exclude={"digest", "text"}, exclude_none=True)
    document["version"] = recipe.version + 1
    document["classes"] = [{"name": recipe.classes[0].name, "bin": recipe.classes[0].bin}]
    document["decision"] = {"unknown": "reject", "unknown_bin": free}
    target.parent.mkdir(parents=True, exist_ok=True)
    write_file(target, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    return load_recipe(target)


def golden_parts(
    surfaces: Surfaces, recipe: Recipe, engine: Path, description: EngineDescription, seed: int
) -> list[tuple[str, NDArray[np.uint8]]]:
    """Up to three good parts, and up to three with an artificial defect that the engine finds.

    Raises :class:`ExportError`.
    """
    rule = golden_rule(engine, description)
    rng = np.random.default_rng([seed, 23])
    chosen: dict[str, list[NDArray[np.uint8]]] = {recipe.classes[0].name: [], UNKNOWN: []}
    doubt = ""

    def offer(truth: str, surface: NDArray[np.uint8]) -> str:
        try:
            rule.record(truth, cut_surface(surface, recipe.patch))
        except DoubtfulPartError as error:
            return str(error)
        chosen[truth].append(surface[..., 0] if recipe.surface.channels == 1 else surface)
        return ""

    for number in range(len(surfaces)):
        if len(chosen[recipe.classes[0].name]) < 3:
            doubt = offer(recipe.classes[0].name, surfaces.pixels[number]) or doubt
    for attempt in range(_DEFECTS):
        if len(chosen[UNKNOWN]) == 3:
            break
        surface = artificial_defect(surfaces.pixels[attempt % len(surfaces)], rng)
        doubt = offer(UNKNOWN, surface) or doubt
    lacking = [name for name, own in chosen.items() if not own]
    if lacking:
        raise ExportError(
            f"no part can prove the engine for {' and '.join(lacking)} (the last: {doubt}); give more "
            "good parts"
        )
    return [(name, surface) for name, own in chosen.items() for surface in own]


def artificial_defect(surface: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A surface ``(H, W, C)`` with a moved, turned and darkened or lightened piece of itself on it."""
    height, width = surface.shape[:2]
    side = max(8, min(height, width) // 4)
    top, left, to_top, to_left = (int(rng.integers(0, most)) for most in (height - side, width - side) * 2)
    piece = np.rot90(surface[top : top + side, left : left + side]).astype(np.float32)
    level = float(rng.choice([0.35, 1.8]))
    marked = surface.copy()
    marked[to_top : to_top + side, to_left : to_left + side] = np.clip(piece * level, 0, 255).astype(np.uint8)
    return marked
