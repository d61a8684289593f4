"""``retrain synthesise``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retraining.cli.gan import training_part
from retraining.cli.options import progress_bars
from station.cli.parameters import FOLDER_MADE, refuse_given

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from retraining.data.dataset import Dataset, PictureSet
    from retraining.metrics import Extractor
    from retraining.synthesis.sampling import Gate, TrainedRun

    Pixels = NDArray[np.uint8]


def synthesise(
    context: typer.Context,
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Run folders of `retrain gan`, or the folder that holds them; with --masks one of `retrain "
            "translator`."
        ),
    ],
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Folder of masks that a person painted for good pictures: a defect is drawn where, and of "
            "the class that, each says."
        ),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the good pictures, whose masks have the same names. Default: `NAME.png` lies "
            "beside `NAME_mask.png`."
        ),
    ] = None,
    class_of: Annotated[
        list[str] | None,
        typer.Option(
            help="Class of a value or colour in the masks, VALUE=CLASS or '#RRGGBB=CLASS'; may be repeated. "
            "Default: the colours that `retrain translator` printed."
        ),
    ] = None,
    composite: Annotated[
        bool,
        typer.Option(help="Keep a good picture as it is farther than 4 px from its mask (with --masks)."),
    ] = True,
    count: Annotated[int, typer.Option(min=1, help="Pictures of each class.")] = 600,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the new data set."), FOLDER_MADE
    ] = Path("data/synthetic"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the latent vectors.")] = 1,
    against: Annotated[
        Path | None,
        typer.Option(help="Data set of real pictures, against which the new ones are checked and measured."),
    ] = None,
    split: Annotated[
        str, typer.Option(help="Split of the real data set to use; auto: train, if it is split.")
    ] = "auto",
    extractor: Annotated[
        str | None,
        typer.Option(help="Network that measures distances, as KIND:PATH, for example squeezenet:net.onnx."),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            help="Independent classifier of the same classes, for example classifier:resnet18@64:best.pt."
        ),
    ] = None,
    gate: Annotated[
        bool,
        typer.Option(
            help="Leave out copies, repeats, outliers, and pictures of which the judge is not sure."
        ),
    ] = True,
) -> None:
    """Draw pictures from trained generators, write them as a data set, and measure how good they are.

    The file `dataset.json` names the generator of each picture; the folder `sheets` shows real pictures
    beside drawn ones. With `--against`, copies of real pictures, repeats and outliers are left out. Then the
    figures (KID, FID, precision, recall ...) before and after this selection are printed and written to
    `figures.md`.

    With `--masks`, a network of `retrain translator --system syndgan` draws a defect on good pictures where a
    person painted one. Paint each class in its colour, without soft edges, on a black picture of the same
    size. Every mask that cannot be used is named, and then nothing is drawn.

    Examples:

        retrain synthesise runs/gan --count 600 --out data/synthetic

        retrain synthesise runs/gan/scratches --against data/neu --extractor squeezenet:net.onnx

        retrain synthesise runs/syn --masks painted --class-of '#ff0000=scratches' --out data/painted

    """
    if masks is not None:
        refuse_given(context, ("count",), "with --masks, which ask for one picture each")
        _by_masks(runs, masks, pictures, class_of or [], composite, out, seed, against, split, extractor,
                  judge, gated=gate)  # fmt: skip
        return
    if pictures is not None:
        raise typer.BadParameter(
            f"--pictures {pictures} needs --masks, the folder of what is painted on them"
        )
    refuse_given(context, ("class_of", "composite"), "without --masks")
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
            raise TrainingError(
                "--against needs --extractor, which names the network that measures distances"
            )
        plan, _ = open_generator(found[0].weights)
        manifest = load_dataset(against)
        real = load_pixels(manifest, plan.size, plan.channels, split=training_part(manifest, split))
        _check_classes(found, real)
        measure = open_extractor(extractor)
        if gate:
            mirrored = {run.label: run.flips for run in found}
            gating = make_gate(mirrored, real, measure, None if judge is None else open_extractor(judge))
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
    mirrored: Mapping[str, bool], real: PictureSet, extractor: Extractor, judge: Extractor | None
) -> Gate:
    """The gate of :mod:`retraining.synthesis.gate` for pictures of each class of ``real``.

    ``mirrored``: whether mirror images of real pictures of a class count as copies too, as they do where a
    generator was trained with flips.
    """
    from retraining.synthesis.gate import GateResult, GateRules, gate

    def let_through(drawn: NDArray[np.uint8], label: str) -> GateResult:
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
    """One table of figures per class; ``rows`` are sets of pictures by class and then by name.

    For the classes ``mirrored``, mirror images of real pictures count as copies too.
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


def _by_masks(
    runs: list[Path],
    masks: Path,
    pictures: Path | None,
    class_of: list[str],
    composite: bool,
    out: Path,
    seed: int,
    against: Path | None,
    split: str,
    extractor: str | None,
    judge: str | None,
    *,
    gated: bool,
) -> None:
    """Draw defects where a person painted them, and write and measure them as a data set."""
    from retraining.data.dataset import load_dataset, load_pixels
    from retraining.errors import TrainingError
    from retraining.metrics import open_extractor
    from retraining.metrics.figures import MINIMUM
    from retraining.synthesis.gate import KEPT
    from retraining.translators.by_masks import draw_painted, read_painted
    from retraining.translators.drawn import open_drawer
    from retraining.translators.loop import WEIGHTS

    if len(runs) != 1:
        raise TrainingError(f"--masks takes the run folder of one `retrain translator`, not {len(runs)}")
    weights = runs[0] / WEIGHTS
    drawer = open_drawer(weights)
    if against is not None and extractor is None:
        raise TrainingError("--against needs --extractor, which names the network that measures distances")
    manifest = None if against is None else load_dataset(against)
    held_out = {p.digest for p in manifest.pictures if p.split in ("validation", "test")} if manifest else ()
    painted = read_painted(drawer, masks, pictures, class_of, held_out)
    letting: Callable[[Pixels, str], tuple[np.ndarray, str]] | None = None
    if manifest is not None and extractor is not None:
        measure = open_extractor(extractor)
        real = load_pixels(
            manifest, drawer.plan.size, drawer.plan.channels, split=training_part(manifest, split)
        )
        if strange := sorted(set(painted.labels) - set(real.classes)):
            raise TrainingError(
                f"the masks ask for {', '.join(strange)}, but the real pictures show "
                f"{', '.join(real.classes)}; name the data set that the network was trained on"
            )
        if gated:
            mirrored = dict.fromkeys(drawer.classes, drawer.plan.flips)
            gate = make_gate(mirrored, real, measure, None if judge is None else open_extractor(judge))

            def let_through(drawn: Pixels, label: str) -> tuple[np.ndarray, str]:
                found = gate(drawn, label)
                refused = ", ".join(f"{n} {why}" for why, n in found.count().items() if n and why != KEPT)
                return found.kept, f"; refused: {refused}" if refused else ""

            letting = let_through
    with progress_bars() as progress:
        task = progress.add_task("painted", total=len(painted.names), status="")
        made = draw_painted(
            drawer, weights, painted, out, seed, composite=composite, gate=letting,
            report=lambda done: progress.update(task, completed=done),
        )  # fmt: skip
    for note in made.notes:
        print(note)
    if manifest is not None:
        rows = {name: {name: own} for name, own in by_class(made, real).items() if len(own) >= MINIMUM}
        if rows:
            table = figures_of(rows, real, measure, drawer.classes if drawer.plan.flips else ())
            (out / "figures.md").write_text(table + "\n", encoding="utf-8")
            print(f"\n{table}")
    print(f"\n{len(made)} pictures: {out / 'dataset.json'}; look at {out / 'sheets'}")


def _check_classes(runs: tuple[TrainedRun, ...], real: PictureSet) -> None:
    from retraining.errors import TrainingError

    strange = [run.label for run in runs if run.label not in real.classes]
    if strange:
        raise TrainingError(
            f"the generators draw {', '.join(strange)}, but the real pictures show {', '.join(real.classes)}"
            "; name the data set that the generators were trained on"
        )
