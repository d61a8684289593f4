"""Table 8 of the SMHSI paper: whole pictures, patches, patches grown by SDG-GAN, and by crop-and-paste.

Every version is trained for the same number of steps of the same size and is measured on whole frames,
through the station's patching and decision. A seed stands for its own parts, pairs and trainings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from retraining.errors import ExperimentError
from retraining.experiments.common import (
    FullTraining,
    Network,
    PairPlan,
    Pixels,
    Side,
    as_set,
    classifier_work,
    distance_cells,
    floor_cells,
    grow,
    measured,
    pair_work,
    sheet_of,
    training_plan,
)
from retraining.experiments.neu_cls import loss_curve
from retraining.experiments.plan import Experiment, Name, Section, Seeds, Share, Text
from retraining.experiments.smh_parts import (
    cut_parts_task,
    inspect,
    originals_task,
    recipe_for,
    surfaces_of,
    write_parts,
)
from retraining.experiments.tasks import Place, TableCell, Task, TaskResult

if TYPE_CHECKING:
    from retraining.data.dataset import Dataset
    from retraining.data.smh import SmhVersion
    from retraining.evaluation.parts import PartResult

_HERE = "retraining.experiments.smh_versions"
COMPARED = 400
"""Synthetic pictures of a class that are compared with the real ones."""
DEFECTS = ("imprinted", "pits", "roll-marks", "scratches")


class Trained(Section):
    """One row: a version, what grew it, and a network."""

    name: Name
    """the row's name in the tables"""
    version: Literal["O-TA", "P-TA", "P-GAN"]
    """the version of the data"""
    grown_by: Literal["augmentation", "sdg-gan", "crop-paste"]
    """how the data grew; by augmentation for O-TA and P-TA"""
    network: Network
    """the classifier"""
    training: FullTraining
    """how it is trained"""


class Size(Section):
    """How much of it."""

    seeds: Seeds
    """seeds; each renders its own parts and trains every network once"""
    share: Share
    """the share of Table 4's numbers"""
    test_share: Share
    """the share of Table 5's numbers"""
    patch: Side
    """side of a patch, px; the surface is reduced in proportion"""
    pair: PairPlan
    """how generator and critic of each class are trained"""
    augmented: Annotated[int, Field(ge=0, le=100_000)] = 0
    """pictures that each class grows to by mirroring and brightness before its pair is trained; 0: none"""
    rows: tuple[Trained, ...]
    """the rows that are trained"""


class Plan(Experiment):
    """The three versions, and crop-and-paste beside them."""

    kind: Literal["smh-versions"]
    """the kind of experiment"""
    recipe: Name
    """the recipe of the product"""
    extractor: Text
    """KIND:PATH of the extractor for FID and KID, the path below the data root"""
    reduced: Size
    """the size for a laptop"""
    full: Size
    """the size for a GPU"""


def tasks(plan: Plan, size: Size) -> tuple[Task, ...]:
    """For each seed: training parts, test parts, one pair per class, pasted patches, one classifier per
    row.
    """
    leaves = []
    for seed in size.seeds:
        common = {"recipe": plan.recipe, "patch": size.patch, "seed": seed}
        parts = originals_task(plan.recipe, size.patch, size.share, seed)
        test = cut_parts_task(plan.recipe, size.patch, seed, whole=True, share=size.test_share)
        made: dict[str, tuple[Task, ...]] = {"augmentation": ()}
        made["sdg-gan"] = tuple(_pair(plan, size, parts, name, seed) for name in DEFECTS)
        shared = {"parts": parts.name, "share": size.share, "extractor": plan.extractor, **common}
        made["crop-paste"] = tuple(
            Task(f"paste/{name}/seed-{seed}", f"{_HERE}:paste", {**shared, "name": name}, (parts,), work_s=12)
            for name in DEFECTS
        )
        for row in size.rows:
            own = made[row.grown_by]
            parameters = {
                "parts": parts.name,
                "tests": test.name,
                "made": {str(task.parameters["name"]): task.name for task in own},
                "row": row.name,
                "version": row.version,
                "network": row.network,
                "share": size.share,
                **row.training.settings(),
                **common,
            }
            pictures = 2 if row.version == "O-TA" else 1
            work = pictures * classifier_work(row.network, size.patch, row.training) + 20
            name = f"train/{row.name}/seed-{seed}"
            leaves.append(Task(name, f"{_HERE}:train", parameters, (parts, test, *own), work_s=work))
    return tuple(leaves)


def _pair(plan: Plan, size: Size, parts: Task, name: str, seed: int) -> Task:
    parameters = {
        "parts": parts.name,
        "recipe": plan.recipe,
        "patch": size.patch,
        "share": size.share,
        "extractor": plan.extractor,
        "name": name,
        "augmented": size.augmented,
        **size.pair.model_dump(),
        "seed": seed,
    }
    work = pair_work(size.pair, size.patch, round(900 * size.share)) + 5
    return Task(f"gan/{name}/seed-{seed}", f"{_HERE}:pair", parameters, (parts,), work_s=work)


def pair(
    place: Place,
    *,
    parts: str,
    recipe: str,
    patch: int,
    share: float,
    extractor: str,
    name: str,
    augmented: int,
    system: str,
    steps: int,
    batch: int,
    critic_steps: int | None,
    seed: int,
) -> TaskResult:
    """One class's pair, trained on its training patches, and as many pictures as P-GAN lacks."""
    from retraining.adversarial.loop import AdversarialPlan

    real, count = _wanted(place, parts, patch, share, name)
    plan = AdversarialPlan(
        system=system, size=patch, steps=steps, batch=batch, critic_steps=critic_steps, seed=seed
    )
    grown = grow(place, plan, _augmented(real["train"], augmented, seed), count)
    if grown.why:
        raise ExperimentError(f"{system} made no pictures of {name}: {grown.why}")
    return _made(place, grown.pixels, real, name, system, extractor, seed)


def paste(
    place: Place, *, parts: str, recipe: str, patch: int, share: float, extractor: str, name: str, seed: int
) -> TaskResult:
    """The rival without learning: real defects of training parts blended onto their sound places."""
    from retraining.synthesis.pasting import paste_from_surfaces

    real, count = _wanted(place, parts, patch, share, name)
    surfaces = surfaces_of(place.needs[parts], "train")
    label = surfaces.classes.index(name)
    pixels = paste_from_surfaces(
        surfaces, count, label, patch, seed, report=lambda done: place.report(done, count, "pasted")
    )
    return _made(place, pixels, real, name, "crop-paste", extractor, seed, floor=True)


def train(
    place: Place,
    *,
    parts: str,
    tests: str,
    made: dict[str, str],
    row: str,
    version: str,
    network: str,
    share: float,
    settings: dict[str, Any],
    recipe: str,
    patch: int,
    seed: int,
) -> TaskResult:
    """One network on one version, measured on whole frames."""
    from retraining.classifiers.loop import build_network, load_weights, probabilities
    from retraining.classifiers.whole_pictures import train_and_test
    from retraining.data.source import PictureSource

    data = _version(place, parts, made, version, recipe, patch, share, seed)
    plan = training_plan(network, settings, seed)
    found = train_and_test(
        plan,
        data.training,
        data.original_validation,
        place.folder / "run",
        sound=0,
        report=lambda step, line: place.report(step, plan.steps, line),
    )
    trained = build_network(plan, PictureSource(data.training, sound=0))
    trained.load_state_dict(load_weights(found.weights))
    scaled = recipe_for(place.roots, recipe, patch)
    view = "whole" if version == "O-TA" else "patches"
    results = inspect(place.needs[tests], view, scaled, row, lambda pixels: probabilities(trained, pixels))
    write_parts(place, results)
    patches = f"{row}: {found.accuracy:.1%} of the real validation patches (or surfaces) right."
    return TaskResult(part_cells(results, row), (loss_curve(place, row),), notes=(patches,))


def part_cells(results: list[PartResult], row: str) -> tuple[TableCell, ...]:
    """Accuracy, escapes and overkill, counted, and precision, recall and F1 by class."""
    from retraining.evaluation.parts import figures

    total = figures(results)[row]
    cells = [
        TableCell("accuracy", row, "accuracy", total.accuracy, (total.right, total.parts)),
        TableCell("accuracy", row, "escapes", total.escape_rate, (total.escapes, total.defective)),
        TableCell("accuracy", row, "overkill", total.overkill_rate, (total.overkill, total.good)),
    ]
    for name in ("defect-free", *DEFECTS):
        own = [r for r in results if r.truth == name]
        said = [r for r in results if r.found == name]
        right = sum(r.found == name for r in own)
        cells.append(TableCell("recall", row, name, right / max(1, len(own)), (right, len(own))))
        cells.append(TableCell("precision", row, name, right / max(1, len(said)), (right, len(said))))
        cells.append(TableCell("f1", row, name, 2 * right / max(1, len(own) + len(said))))
    return tuple(cells)


def _augmented(pixels: Pixels, count: int, seed: int) -> Pixels:
    """The pictures of one class, grown to ``count`` by mirroring and brightness; as they are for 0."""
    from retraining.data.growth import grow as grow_pictures

    if count <= len(pixels):
        return pixels
    return grow_pictures(as_set(pixels, 0, ("own",), "own"), {"own": count}, seed).pixels


def _version(
    place: Place,
    parts: str,
    made: dict[str, str],
    version: str,
    recipe: str,
    patch: int,
    share: float,
    seed: int,
) -> SmhVersion:
    """The version's pictures; those of O-TA are twice as high as wide."""
    from retraining.data.dataset import load_dataset
    from retraining.data.smh import build_version
    from retraining.data.synthetic import Synthetic

    rendered = load_dataset(place.needs[parts] / "whole")
    synthetic: dict[str, Dataset] | None = None
    if version == "P-GAN":
        synthetic = {name: Synthetic(place.needs[task] / "synthetic").read() for name, task in made.items()}
    scaled_recipe = recipe_for(place.roots, recipe, patch)
    return build_version(
        version, rendered, scaled_recipe, side=patch, share=share, seed=seed, synthetic=synthetic
    )


def _wanted(place: Place, parts: str, patch: int, share: float, name: str) -> tuple[dict[str, Pixels], int]:
    """The real patches of a class, ``train`` and ``all``, and how many synthetic ones P-GAN takes."""
    from retraining.data.dataset import load_dataset, load_pixels
    from retraining.data.smh import synthetic_needed

    patches = load_dataset(place.needs[parts] / "patches")
    own = patches.select(classes=(name,))
    real = {"train": load_pixels(own, patch, 1, "train").pixels, "all": load_pixels(own, patch, 1).pixels}
    return real, synthetic_needed(patches, share=share)[name]


def _made(
    place: Place,
    pixels: Pixels,
    real: dict[str, Pixels],
    name: str,
    source: str,
    extractor: str,
    seed: int,
    floor: bool = False,
) -> TaskResult:
    """Keep the pictures as a data set, and compare them with all real patches of the class."""
    from retraining.data.synthetic import write_synthetic

    write_synthetic(place.folder / "synthetic", {name: pixels}, place.folder.name, ("defect-free", *DEFECTS))
    what = f"{source}, {name}"
    found, notes = measured(place, real["all"], pixels[:COMPARED], extractor, seed, what, mirrored=True)
    cells = distance_cells(found, source, (name,)) + (floor_cells(found, (name,)) if floor else ())
    sheet = sheet_of(
        place, (real["train"], pixels), f"{source}, {name}, seed {seed}: real above, synthetic below"
    )
    return TaskResult(cells, (), (sheet,), notes)
