"""``retrain synthesise``."""

from __future__ import annotations

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
    from retraining.synthesise import Gate, TrainedRun


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
    figures (KID, FID, precision, recall ...) is printed and kept in `figures.md`.

    Examples:
        retrain synthesise runs/gan --count 600 --out data/synthetic

        retrain synthesise runs/gan/scratches --count 200 --against data/neu --extractor squeezenet:net.onnx

    """
    from retraining.classifier_plan import TrainingError
    from retraining.data.dataset import load_dataset, load_pixels
    from retraining.metrics import open_extractor
    from retraining.synthesise import find_runs, open_generator
    from retraining.synthesise import synthesise as draw_set

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
            gating = make_gate(real, measure, None if judge is None else open_extractor(judge))
    with progress_bars() as progress:
        tasks = {run.label: progress.add_task(run.label, total=count, status="") for run in found}
        made = draw_set(
            found, count, out, seed, gate=gating,
            report=lambda label, drawn: progress.update(tasks[label], completed=drawn),
        )  # fmt: skip
    for note in made.notes:
        print(note)
    if measure is not None:
        table = figures_of(made, real, measure)
        (out / "figures.md").write_text(table + "\n", encoding="utf-8")
        print(f"\n{table}")
    print(f"\n{len(made)} pictures: {out / 'dataset.json'}; look at {out / 'sheets'}")


def make_gate(real: PictureSet, extractor: Extractor, judge: Extractor | None) -> Gate:
    """The gate of :mod:`retraining.selection` for pictures of each class of ``real``."""
    from retraining.selection import Selection, gate

    def let_through(drawn: NDArray[np.uint8], label: str) -> Selection:
        index = real.classes.index(label)
        scores = None if judge is None else judge.probabilities(drawn)
        own = real.of_class(index).pixels
        return gate(own, drawn, extractor, scores=scores, label=None if judge is None else index)

    return let_through


def figures_of(made: Dataset, real: PictureSet, extractor: Extractor) -> str:
    """The table of figures of each class drawn against its real pictures."""
    from retraining.data.dataset import load_pixels
    from retraining.metrics import compare, table

    side, channels = int(real.pixels.shape[1]), int(real.pixels.shape[3])
    drawn = load_pixels(made, side, channels, labelled_by=("synthetic",))
    return "\n\n".join(
        table(
            compare(
                real.of_class(real.classes.index(name)).pixels,
                drawn.of_class(drawn.classes.index(name)).pixels,
                extractor,
                name=name,
            )
        )
        for name, n in drawn.count().items()
        if n
    )


def _check_classes(runs: tuple[TrainedRun, ...], real: PictureSet) -> None:
    from retraining.classifier_plan import TrainingError

    strange = [run.label for run in runs if run.label not in real.classes]
    if strange:
        raise TrainingError(
            f"the generators draw {', '.join(strange)}, the real pictures are of {', '.join(real.classes)}"
        )
