"""What the commands of ``retrain`` share: options, the recipe by name, progress bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from station.cli.parameters import FOLDER_MADE
from station.cli.text import told

if TYPE_CHECKING:
    from retraining.classifiers.augmentation import Augmentation
    from station.engines.interface import Scorer
    from station.recipe import Recipe

_console = Console(stderr=True)

RecipeOption = Annotated[str, typer.Option("--recipe", "-r", help="Recipe by name or path.")]
RecipesOption = Annotated[Path, typer.Option(help="Folder of recipes, for recipes given by name.")]
CacheOption = Annotated[
    Path, typer.Option(help="Folder where rendered sets are kept for the next run."), FOLDER_MADE
]
TestSeedOption = Annotated[
    int, typer.Option(min=0, help="Seed of the test parts; no training part has the same seed.")
]
PartsPerClassOption = Annotated[int, typer.Option(min=1, help="Test parts of each class.")]
MixedOption = Annotated[int, typer.Option(min=0, help="Test parts with several kinds of defect.")]
BackendOption = Annotated[str, typer.Option(help="Back end that runs engine folders, or auto.")]
ProcessesOption = Annotated[int, typer.Option(min=1, max=256, help="Number of processes that render.")]
NetworkOption = Annotated[
    str, typer.Option(help="inception-cnn, resnet18 ...; `retrain networks` lists them all.")
]
SideOption = Annotated[int, typer.Option(min=32, help="Side to which pictures are resized, px.")]
ChannelsOption = Annotated[int, typer.Option(help="1 for grey, 3 for colour.")]
EpochsOption = Annotated[float, typer.Option(min=0.01, help="Passes over the real training pictures.")]
LearningRateOption = Annotated[float, typer.Option(help="Highest learning rate of the schedule.")]
L2Option = Annotated[
    float, typer.Option(help="L2 penalty on convolution weights (the paper: 0.01 over 100 epochs).")
]
AugmentOption = Annotated[
    str,
    typer.Option(
        help="Random changes, separated by commas: flips, brightness, noise, turns, shift, zoom, or the "
        "stronger light (0.55 to 1.45 times), grain (noise of 8 grey levels) and blur (1.5 px); or none."
    ),
]
SamplingOption = Annotated[
    str, typer.Option(help="natural: classes as often as in the data set; balanced: all equally often.")
]
LabelledByOption = Annotated[
    str,
    typer.Option(help="Labels to use, separated by commas: person, renderer, station, synthetic."),
]
PrecisionOption = Annotated[
    str, typer.Option(help="fp32, bf16 or auto; auto times one step of each and keeps the faster.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
ThreadsOption = Annotated[int, typer.Option(min=0, max=256, help="Threads of the training; 0: all cores.")]
ResumeOption = Annotated[bool, typer.Option(help="Continue from the run folder's checkpoint.")]


def load_named_recipe(name: str, folder: Path) -> Recipe:
    """A recipe by name or path; raises :class:`RecipeError`."""
    from station.recipe import find_recipe, load_recipe

    return load_recipe(find_recipe(name, folder))


def chosen_changes(words: str) -> Augmentation:
    """The changes that ``--augment`` names, or no change for ``none``; raises :class:`TrainingError`."""
    from retraining.classifiers.augmentation import augmentation
    from retraining.errors import TrainingError

    try:
        return augmentation(() if words == "none" else listed(words))
    except ValueError as error:
        raise TrainingError(f"--augment: {error}") from None


def listed(words: str) -> tuple[str, ...]:
    """The names of a list separated by commas."""
    return tuple(name.strip() for name in words.split(",") if name.strip())


def open_scorers(
    paths: list[Path], recipe: Recipe, backend: str, precisions: tuple[str, ...] = ("fp32", "int8")
) -> dict[str, Scorer]:
    """One scorer per ONNX file, and one per precision that an engine folder has a file for.

    bf16 and fp16 are computed from the fp32 file. Raises :class:`EngineError`, also where the back end does
    not compute one of the precisions, an engine was proven on other patches than the recipe cuts, or the
    recipe rejects unknown parts.
    """
    from deploy.scoring import onnx_scorer
    from station.engines import open_engine
    from station.engines.folder import load_manifest
    from station.engines.interface import EngineError
    from station.engines.prove import require_fit

    if recipe.decision.unknown == "reject":
        line = recipe.line_of("decision.unknown")
        raise EngineError(
            f"recipe {recipe.name}, line {line}: decision.unknown: rejects parts by their novelty, and this "
            "command looks at probabilities alone; name a copy of the recipe with `unknown: report`, or use "
            "`station inspect`, which decides by both"
        )
    found: dict[str, Scorer] = {}
    for path in paths:
        if path.is_file():
            found[path.name] = onnx_scorer(path)
            continue
        manifest = load_manifest(path)
        require_fit(manifest, recipe)
        for precision in precisions:
            if precision != "int8" or "int8" in manifest.files:
                loaded = open_engine(path, backend, precision)
                found[f"{loaded.info.name} {loaded.info.backend} {precision}"] = loaded.probabilities
    return found


def model_digests(paths: list[Path]) -> tuple[str, ...]:
    """SHA-256 of each engine's manifest or ONNX file, by which a later run recognises its networks."""
    import hashlib

    from station.engines.folder import load_manifest

    files = [hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "" for p in paths]
    return tuple(digest or load_manifest(p).digest for digest, p in zip(files, paths, strict=True))


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Progress bars on stderr, each with a field ``status``; names of classes may stand in all of them."""
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[status]}", markup=False),
    )  # fmt: skip
    with Progress(*columns, console=_console) as progress:
        yield progress


@contextmanager
def counted(what: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """A progress bar; it takes the count and a line, which stays above the bar if it is not empty."""
    with progress_bars() as progress:
        task = progress.add_task(what, total=total, status="")

        def report(done: int, line: str) -> None:
            progress.update(task, completed=done)
            if line:
                progress.console.print(told(line))

        yield report
