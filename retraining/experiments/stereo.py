"""Photometric stereo against grey under one light: what does it cost in good parts that only have stains?

The same rendered housings are looked at in several ways: under the bar light, as the mean of the rig's
pictures (the same light and noise, without its directions), as curvature, range and texture, and as curvature
and range alone. A network is trained per way on the same patches. Its threshold is set so that every way
misses the same share of the defective test parts; then overkill is counted, on good parts and on good parts
with stains, of which training has seen some or none.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from retraining.experiments.common import Network, Training, classifier_work
from retraining.experiments.plan import Count, Experiment, Section, Seeds, Share, Text
from retraining.experiments.tasks import Place, TableCell, Task, TaskResult

if TYPE_CHECKING:
    from station.stereo import Rig

_HERE = "retraining.experiments.stereo"
WAYS = ("bar", "mean", "stereo", "relief")
GOOD, DEFECTIVE = CLASSES = ("good", "defective")
_LEAST_PX = 6
"""Pixels of a defect, at the surface's size, from which on a patch is taken for defective."""


class Lamps(Section):
    """The rig: four lamps around the camera's axis and the solver for machined metal."""

    slant_deg: Annotated[float, Field(gt=0.0, lt=60.0)]
    """the lamps' angle from the camera's axis, degrees"""
    diffuse: Annotated[float, Field(ge=0.0, le=2.0)]
    """diffuse over specular reflectance, as `station stereo` takes it"""
    curvature_white: Annotated[float, Field(gt=0.0)]
    """the curvature that becomes 255, 1/px"""
    slope_white: Annotated[float, Field(gt=0.0)]
    """the slope that becomes 255"""
    texture_white: Annotated[float, Field(gt=0.0)]
    """the reflectance that becomes 255, grey levels"""


class Size(Section):
    """How much of it."""

    seeds: Seeds
    """seeds; each has parts of its own and one training per way"""
    width: Annotated[int, Field(ge=200, le=2400)]
    """width of the parts, px"""
    patch: Annotated[int, Field(ge=32, le=256)]
    """side of a patch, px; a surface has 16 of them, 8 rows of 2"""
    training_parts: Count
    """training parts of each kind of defect; as many good ones as all of them together"""
    test_parts: Count
    """test parts of each kind of defect"""
    good_parts: Count
    """good test parts, and as many with stains"""
    network: Network
    """the network"""
    training: Training
    """the training"""


class Plan(Experiment):
    """Grey under one light against photometric stereo."""

    kind: Literal["stereo"]
    """the kind of experiment"""
    kinds: Annotated[tuple[Text, ...], Field(min_length=1)]
    """the kinds of defect"""
    level: Text | None = None
    """how visible the defects are under the bar; null for the renderer's mixture"""
    stains: Annotated[int, Field(ge=1, le=40)]
    """stains of a stained part"""
    stained_share: Share
    """the share of the good training parts that have stains too"""
    found: Share
    """the share of the defective test parts that every way finds"""
    lamps: Lamps
    """the rig"""
    reduced: Size
    """the size for a laptop"""
    full: Size
    """the size for a GPU"""


def tasks(plan: Plan, size: Size) -> tuple[Task, ...]:
    """The parts of each seed, and one training per way on them."""
    leaves = []
    for seed in size.seeds:
        given = {
            "seed": seed,
            "width": size.width,
            "patch": size.patch,
            "kinds": list(plan.kinds),
            "level": plan.level,
            "stains": plan.stains,
            "stained_share": plan.stained_share,
            "lamps": plan.lamps.model_dump(),
            "training_parts": size.training_parts,
            "test_parts": size.test_parts,
            "good_parts": size.good_parts,
        }
        count = len(plan.kinds) * (2 * size.training_parts + size.test_parts) + 2 * size.good_parts
        parts = Task(f"parts/seed-{seed}", f"{_HERE}:render", given, work_s=5.0 * count * size.width / 570)
        for way in WAYS:
            parameters = {
                "parts": parts.name,
                "way": way,
                "network": size.network,
                "training": size.training.model_dump(),
                "found": plan.found,
                "seed": seed,
            }
            work = classifier_work(size.network, size.patch, size.training)
            own = {"parts": parts.name, "way": way, "found": plan.found}
            leaves += [
                Task(f"by-hand/{way}/seed-{seed}", f"{_HERE}:by_hand", own, (parts,), work_s=5),
                Task(f"train/{way}/seed-{seed}", f"{_HERE}:train", parameters, (parts,), work_s=work),
            ]
    return tuple(leaves)


def render(
    place: Place,
    *,
    seed: int,
    width: int,
    patch: int,
    kinds: list[str],
    level: str | None,
    stains: int,
    stained_share: float,
    lamps: dict[str, float],
    training_parts: int,
    test_parts: int,
    good_parts: int,
) -> TaskResult:
    """The parts of a seed as patches in every way; one file per way, and their labels."""
    import torch

    from retraining.evaluation.part_runs import in_processes

    good = training_parts * len(kinds)
    with_stains = round(stained_share * good)
    orders: list[tuple[str, str, int]] = [
        *[("train", kind, 0) for kind in kinds for _ in range(training_parts)],
        *[("train", GOOD, stains)] * with_stains,
        *[("train", GOOD, 0)] * (good - with_stains),
        *[("test", kind, 0) for kind in kinds for _ in range(test_parts)],
        *[("test", GOOD, 0)] * good_parts,
        *[("test", GOOD, stains)] * good_parts,
    ]
    make = partial(_patches_of, orders=orders, seed=seed, width=width, patch=patch, level=level, lamps=lamps)
    views: dict[str, list[NDArray[np.uint8]]] = {way: [] for way in ("bar", "mean", "stereo")}
    labels = []
    for number, (own, label) in in_processes(make, range(len(orders)), torch.get_num_threads()):
        for way, pixels in own.items():
            views[way].append(pixels)
        labels.append(label)
        place.report(number + 1, len(orders), "parts rendered")
    arrays: dict[str, NDArray[np.generic]] = {way: np.stack(pixels) for way, pixels in views.items()}
    arrays["labels"] = np.stack(labels)
    arrays["test"] = np.array([order[0] == "test" for order in orders])
    arrays["kind"] = np.array([order[1] for order in orders])
    arrays["stained"] = np.array([order[2] > 0 for order in orders])
    for name, array in arrays.items():
        np.save(place.folder / f"{name}.npy", array)
    return TaskResult()


def train(
    place: Place, *, parts: str, way: str, network: str, training: dict[str, float], found: float, seed: int
) -> TaskResult:
    """A training on one way of looking, and its overkill where the share ``found`` of the parts is found."""
    from retraining.classifiers.augmentation import Augmentation
    from retraining.classifiers.loop import TrainingPlan, build_network, load_weights, probabilities
    from retraining.classifiers.loop import train as train_network
    from retraining.data.pixels import PictureSet
    from retraining.data.source import PictureSource

    folder = place.needs[parts]
    pixels = seen(folder, way)
    labels, test, kind, stained = (
        np.load(folder / f"{name}.npy") for name in ("labels", "test", "kind", "stained")
    )
    own = labels[~test].ravel()
    chosen = own >= 0
    patches = pixels[~test].reshape(-1, *pixels.shape[2:])[chosen]
    names = tuple(f"patch-{number}" for number in range(len(patches)))
    pictures = PictureSet(patches, own[chosen].astype(np.int64), CLASSES, names, names)
    plan = TrainingPlan(
        network=network,
        steps=int(training["steps"]),
        batch=int(training["batch"]),
        learning_rate=training["learning_rate"],
        seed=seed,
        replay_share=0.0,
        augmentation=Augmentation(gain=0.0, offset=0.0, noise=0.0),
    )
    source = PictureSource(pictures, sampling="balanced", sound=0)
    weights = train_network(
        plan, source, place.folder, report=lambda step, line: place.report(step, plan.steps, line)
    )
    trained = build_network(plan, source)
    trained.load_state_dict(load_weights(weights))
    scores = np.array([probabilities(trained, part)[:, 1].max() for part in pixels[test]])
    return TaskResult(_cells("stains", way, scores, kind[test], stained[test], found))


def by_hand(place: Place, *, parts: str, way: str, found: float) -> TaskResult:
    """As :func:`train`, but contrast and steepness of each channel, and a logistic regression on them."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folder = place.needs[parts]
    pixels = seen(folder, way)
    labels, test, kind, stained = (
        np.load(folder / f"{name}.npy") for name in ("labels", "test", "kind", "stained")
    )
    figures = np.stack([features(part) for part in pixels])
    own = labels[~test].ravel()
    judge = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=2000, class_weight="balanced"))
    judge.fit(figures[~test].reshape(len(own), -1)[own >= 0], own[own >= 0])
    scores = np.array([judge.decision_function(part).max() for part in figures[test]])
    return TaskResult(_cells("by-hand", way, scores, kind[test], stained[test], found))


def features(patches: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Per patch (N, H, W, C) and channel: spread, four percentiles about the median, steepness; (N, 7 C)."""
    found = []
    for channel in np.moveaxis(patches.astype(np.float32), -1, 0):
        flat = channel.reshape(len(channel), -1)
        about = flat - np.median(flat, axis=1, keepdims=True)
        found += [flat.std(axis=1), *np.percentile(about, [0.1, 1, 99, 99.9], axis=1)]
        for axis in (1, 2):
            steps = np.abs(np.diff(channel, axis=axis)).reshape(len(channel), -1)
            found.append(np.percentile(steps, 99.5, axis=1))
    return np.stack(found, axis=1).astype(np.float32)


def _cells(
    table: str,
    way: str,
    scores: NDArray[np.floating],
    kind: NDArray[np.str_],
    stained: NDArray[np.bool_],
    found: float,
) -> tuple[TableCell, ...]:
    """Escapes and overkill of the test parts at the threshold that finds the share ``found``."""
    defective = kind != GOOD
    threshold = at_found(scores[defective], found)
    hits = {
        "escapes": scores[defective] < threshold,
        "overkill": scores[~defective & ~stained] >= threshold,
        "overkill-stains": scores[~defective & stained] >= threshold,
    }
    return tuple(
        TableCell(table, way, column, float(hit.mean()), (int(hit.sum()), len(hit)))
        for column, hit in hits.items()
    )


def at_found(scores: NDArray[np.floating], share: float) -> float:
    """The highest threshold at which at least ``share`` of the defective parts' ``scores`` reach it."""
    ordered = np.sort(scores)[::-1]
    return float(ordered[max(0, int(np.ceil(share * len(ordered) - 1e-9)) - 1)])


def seen(folder: Path, way: str) -> NDArray[np.uint8]:
    """The patches (parts, 16, patch, patch, C) that :func:`render` left, in one way of looking."""
    pixels: NDArray[np.uint8] = np.load(folder / f"{'stereo' if way == 'relief' else way}.npy")
    if way == "relief":
        pixels[..., 0] = 0  # blue: texture
    return pixels


def rig_of(lamps: dict[str, float]) -> Rig:
    """The rig of a plan's ``lamps``, with the width of lobe and dark level of the renderer."""
    from simulation.rendering.optics import LOBE_RAD
    from station.stereo import Rig

    scales = {key: lamps[key] for key in ("diffuse", "curvature_white", "slope_white", "texture_white")}
    around = [{"slant_deg": lamps["slant_deg"], "azimuth_deg": azimuth} for azimuth in (0, 90, 180, 270)]
    return Rig.model_validate(
        {"solver": "lobe", "lobe_rad": LOBE_RAD, "dark_level": 2.6, "lamps": around, **scales}
    )


def _patches_of(
    number: int,
    *,
    orders: list[tuple[str, str, int]],
    seed: int,
    width: int,
    patch: int,
    level: str | None,
    lamps: dict[str, float],
) -> tuple[dict[str, NDArray[np.uint8]], NDArray[np.int64]]:
    """One part's patches in every way, and a label per patch: 0 good, 1 defective, -1 hardly a defect."""
    from retraining.surfaces import resize_mask
    from simulation.rendering.optics import photograph
    from simulation.rendering.parts import render_part
    from simulation.rendering.stains import draw_stains
    from station.patching.area import resize_picture
    from station.patching.geometry import cut_surface
    from station.recipe import PatchGrid
    from station.stereo import channels

    _, kind, stains = orders[number]
    part_seed = seed * 1_000_003 + number
    part = (
        render_part(part_seed, width=width)
        if kind == GOOD
        else render_part(part_seed, width=width, kind=kind, level=level)
    )
    stained = draw_stains(part_seed, part.surface.shape[0], width, stains) if stains else None
    rig = rig_of(lamps)
    lit = part.under(rig.directions, stains=stained)
    coloured = channels(lit, rig).picture(rig)
    views = {
        "bar": (part.surface if stained is None else photograph(part.scene(stains=stained)))[..., None],
        "mean": np.rint(lit.mean(axis=0)).astype(np.uint8)[..., None],
        "stereo": np.ascontiguousarray(coloured[..., ::-1]),
    }
    grid = PatchGrid(size=patch, overlap_px=0)
    height = 8 * patch
    cut = {name: cut_surface(resize_picture(view, height, 2 * patch), grid) for name, view in views.items()}
    mask = (resize_mask(part.mask, height, 2 * patch) > 0).astype(np.uint8)
    marked = cut_surface(mask[..., None], grid).reshape(16, -1).sum(axis=1)
    return cut, np.where(marked == 0, 0, np.where(marked >= _LEAST_PX, 1, -1)).astype(np.int64)
