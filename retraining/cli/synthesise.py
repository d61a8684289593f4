"""``retrain synthesise``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retraining.cli.gan import training_part
from retraining.cli.options import progress_bars

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from retraining.data.dataset import Dataset, PictureSet
    from retraining.metrics import Extractor
    from retraining.synthesis.sampling import Gate, TrainedRun


def synthesise(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders of `retrain gan`, or the folder that holds them.")
    ],
    count: Annotated[int, typer.Option(min=1, help="Pictures of each class.")] = 600,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the new data set.")] = Path(
        "data/synthetic"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Of the latent vectors.")] = 1,
    against: Annotated[
        Path | None, typer.Option(help="Data set of real pictures: gates the new ones and measures them.")
    ] = None,
    split: Annotated[str, typer.Option(help="Part of it; auto: train, if it is split.")] = "auto",
    extractor: Annotated[
        str | None,
        typer.Option(help="What measures distances, KIND:PATH, e.g. squeezenet:SqueezeNet_fp16.onnx."),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(help="Independent classifier of the same classes, e.g. classifier:resnet18@64:best.pt."),
    ] = None,
    gate: Annotated[
        bool, typer.Option(help="Turn away copies, repeats, strays and what the judge doubts.")
    ] = True,
) -> None:
    """Draw pictures from trained generators into a data set of their own, and say how good they are.

    The set's `dataset.json` names the generator of each picture; `sheets/` shows real pictures beside drawn
    ones. With `--against` copies of real pictures, repeats and strays are turned away, and the table of
    figures (KID, FID, precision, recall ...) is printed and kept in `figures.md`: of what the generator drew,
    and of what the gate left.

    Examples:
        retrain synthesise runs/gan --count 600 --out data/synthetic

        retrain synthesise runs/gan/scratches --count 200 --against data/neu --extractor squeezenet:net.onnx

    """
    from retraining.data.dataset import load_dataset, load_pixels
    from retraining.errors import TrainingError
    from retraining.metrics import open_extractor
    from retraining.metrics.figures import MINIMUM
    from retraining.synthesis.sampling import as_drawn, find_runs, open_generator
    from retraining.synthesis.sampling import synthesise as draw_set

    found = find_runs(runs)
    measure = gating = None
    if against is not None:
        if extractor is None:
            raise TrainingError("--against needs --extractor, which says what distances are measured by")
        plan, _ = open_generator(found[0].weights)
        manifest = load_dataset(against)
        real = load_pixels(manifest, plan.size, plan.channels, split=training_part(manifest, split))
        _check_classes(found, real)
        measure = open_extractor(extractor)
        if gate:
            gating = make_gate(found, real, measure, None if judge is None else open_extractor(judge))
    with progress_bars() as progress:
        tasks = {run.label: progress.add_task(run.label, total=count, status="") for run in found}
        made = draw_set(
            found, count, out, seed, gate=gating,
            report=lambda label, drawn: progress.update(tasks[label], completed=drawn),
        )  # fmt: skip
    for note in made.notes:
        print(note)
    if measure is not None:
        kept = by_class(made, real)
        drawn = {run.label: as_drawn(run, count, seed) for run in found} if gate else kept
        rows = {label: {label: pixels} for label, pixels in drawn.items()}
        for label, passed in kept.items():
            if gate and len(passed) >= MINIMUM:
                rows[label][f"{label}, after the gate"] = passed
        table = figures_of(rows, real, measure, [run.label for run in found if run.flips])
        (out / "figures.md").write_text(table + "\n", encoding="utf-8")
        print(f"\n{table}")
    print(f"\n{len(made)} pictures: {out / 'dataset.json'}; look at {out / 'sheets'}")


def make_gate(
    runs: tuple[TrainedRun, ...], real: PictureSet, extractor: Extractor, judge: Extractor | None
) -> Gate:
    """The gate of :mod:`retraining.synthesis.gate` for pictures of each class of ``real``.

    Of a generator that was trained with flips, mirror images of real pictures are copies too.
    """
    from retraining.synthesis.gate import GateRules, Selection, gate

    mirrored = {run.label: run.flips for run in runs}

    def let_through(drawn: NDArray[np.uint8], label: str) -> Selection:
        index = real.classes.index(label)
        scores = None if judge is None else judge.probabilities(drawn)
        own = real.of_class(index).pixels
        rules = GateRules(mirrored=mirrored[label])
        return gate(own, drawn, extractor, scores=scores, label=None if judge is None else index, rules=rules)

    return let_through


def by_class(made: Dataset, like: PictureSet) -> dict[str, NDArray[np.uint8]]:
    """The pictures of a synthetic set by class, at the size of ``like``; no class is empty."""
    from retraining.data.dataset import load_pixels

    side, channels = int(like.pixels.shape[1]), int(like.pixels.shape[3])
    drawn = load_pixels(made, side, channels, labelled_by=("synthetic",))
    return {name: drawn.of_class(drawn.classes.index(name)).pixels for name, n in made.count().items() if n}


def figures_of(
    rows: Mapping[str, Mapping[str, NDArray[np.uint8]]],
    real: PictureSet,
    extractor: Extractor,
    mirrored: Collection[str] = (),
) -> str:
    """A table of figures a class; ``rows`` are sets of pictures by class and then by name.

    Of the classes ``mirrored`` mirror images of real pictures are copies too.
    """
    from retraining.metrics import compare, table

    tables = []
    for label, sets in rows.items():
        own, turned = real.of_class(real.classes.index(label)).pixels, label in mirrored
        tables.append(
            table(
                *(compare(own, drawn, extractor, name=name, mirrored=turned) for name, drawn in sets.items())
            )
        )
    return "\n\n".join(tables)


def _check_classes(runs: tuple[TrainedRun, ...], real: PictureSet) -> None:
    from retraining.errors import TrainingError

    strange = [run.label for run in runs if run.label not in real.classes]
    if strange:
        raise TrainingError(
            f"the generators draw {', '.join(strange)}, the real pictures are of {', '.join(real.classes)}"
        )
