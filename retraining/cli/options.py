"""What the commands of ``retrain`` share: options, the recipe by name, progress bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from retraining.classifiers.augmentation import Augmentation
    from station.engines.interface import Scorer
    from station.recipe import Recipe

_console = Console(stderr=True)

RecipeOption = Annotated[str, typer.Option("--recipe", "-r", help="Recipe by name or path.")]
RecipesOption = Annotated[Path, typer.Option(help="Folder of recipes, for recipes given by name.")]
PartsOption = Annotated[int, typer.Option(min=10, help="Rendered parts to train on.")]
CacheOption = Annotated[Path, typer.Option(help="Where rendered sets are kept for the next run.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of the rendered parts and of the training.")]
TestSeedOption = Annotated[
    int, typer.Option(min=0, help="Seed of the test parts; no training part shares it.")
]
BackendOption = Annotated[str, typer.Option(help="Back end for engine folders, or auto.")]
ProcessesOption = Annotated[int, typer.Option(min=1, help="Processes that render.")]


def load_named_recipe(name: str, folder: Path) -> Recipe:
    """A recipe by name or path; raises :class:`RecipeError`."""
    from station.recipe import find_recipe, load_recipe

    return load_recipe(find_recipe(name, folder))


def chosen_changes(words: str) -> Augmentation:
    """What ``--augment`` asks for: kinds of change, or ``none``; raises :class:`TrainingError`."""
    from retraining.classifiers.augmentation import augmentation
    from retraining.errors import TrainingError

    try:
        return augmentation([] if words == "none" else [name.strip() for name in words.split(",")])
    except ValueError as error:
        raise TrainingError(f"--augment: {error}") from None


def open_scorers(
    paths: list[Path], backend: str, precisions: tuple[str, ...] = ("fp32", "int8")
) -> dict[str, Scorer]:
    """A scorer for each of the precisions that an engine folder has a file for, and for each ONNX file.

    bf16 and fp16 are computed from the fp32 file. Raises :class:`EngineError`, also when the back end does
    not compute one of the precisions.
    """
    from deploy.scoring import onnx_scorer
    from station.engines import open_engine
    from station.engines.folder import load_manifest

    found: dict[str, Scorer] = {}
    for path in paths:
        if path.is_file():
            found[path.name] = onnx_scorer(path)
            continue
        manifest = load_manifest(path)
        for precision in precisions:
            if precision != "int8" or "int8" in manifest.files:
                loaded = open_engine(path, backend, precision)
                found[f"{loaded.info.name} {loaded.info.backend} {precision}"] = loaded.probabilities
    return found


def model_digests(paths: list[Path]) -> tuple[str, ...]:
    """SHA-256 of each engine's manifest or ONNX file: by them a kept run knows its networks."""
    import hashlib

    from station.engines.folder import load_manifest

    files = [hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "" for p in paths]
    return tuple(digest or load_manifest(p).digest for digest, p in zip(files, paths, strict=True))


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Progress bars on stderr, each with a field ``status``."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
    )  # fmt: skip
    with Progress(*columns, console=_console) as progress:
        yield progress


@contextmanager
def counted(what: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """A progress bar; lines of text that are not empty stay above it."""
    with progress_bars() as progress:
        task = progress.add_task(what, total=total, status="")

        def report(done: int, line: str) -> None:
            progress.update(task, completed=done)
            if line:
                progress.console.print(line, highlight=False)

        yield report
