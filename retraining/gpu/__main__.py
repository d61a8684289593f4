"""``python -m retraining.gpu``: pack what travels, run the rows in slices, print the table (docs/gpu.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from retraining.cli.options import CacheOption, ProcessesOption, counted
from retraining.errors import TrainingError
from retraining.gpu.package import MOST_BYTES
from retraining.gpu.package import pack as make_package
from retraining.gpu.plan import ROWS, SizeName, load_sizes, units
from retraining.gpu.running import Place, do, install_wheel, results
from retraining.gpu.running import run as run_units
from retraining.gpu.table import page
from station.cli import ending
from station.cli.help import keep_examples
from station.cli.parameters import FOLDER_MADE
from station.cli.text import told
from station.files import write_file

console = Console(stderr=True)
app = typer.Typer(
    name="gpu", add_completion=False, no_args_is_help=True, rich_markup_mode="markdown",
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
    help="Measure on a GPU that is lent for minutes, on a machine without a network.",
)  # fmt: skip

Package = Annotated[Path, typer.Option(help="Folder of what travels.")]
State = Annotated[Path, typer.Option(help="Folder of results, which comes back.")]
Work = Annotated[Path, typer.Option(help="Folder of checkpoints, which stays there.")]
Rows = Annotated[Path, typer.Option(help="File with the sizes of the rows.")]
SizeOption = Annotated[SizeName, typer.Option(help="full, or toy: to try the rows on a processor.")]


@app.command()
def pack(
    package: Annotated[Path, typer.Option(help="Folder to write."), FOLDER_MADE] = Path("var/gpu/package"),
    size: SizeOption = "full",
    rows: Rows = ROWS,
    parts: Annotated[int, typer.Option(min=4, help="Rendered parts of each of the two sets.")] = 160,
    python: Annotated[
        str, typer.Option(help="Version of Python over there, for the wheels; empty leaves them out.")
    ] = "3.12",
    weights: Annotated[
        Path | None,
        typer.Option(
            help="SqueezeNet as ONNX, for distances between pictures. Default: the shipped engine's features."
        ),
    ] = None,
    onnxruntime: Annotated[
        bool, typer.Option("--onnxruntime", help="Also cut ONNX Runtime for CUDA (256 MB) into pieces.")
    ] = False,
    cache: CacheOption = Path("var/surfaces"),
    processes: ProcessesOption = 2,
) -> None:
    """Render the pictures and fetch the wheels that a machine with CUDA and torch lacks: under 60 MB.

    Examples:

        python -m retraining.gpu pack

        python -m retraining.gpu pack --size toy --parts 6 --python ''

    """
    if onnxruntime and not python:
        raise TrainingError("--onnxruntime needs --python: a wheel is made for one version")
    chosen = getattr(load_sizes(rows), size)
    with counted("rendering", 2 * parts) as report:
        written = make_package(
            package, side=max(chosen.side, chosen.grid_side), pictures=chosen.pictures, parts=parts,
            cache=cache, processes=processes, python=python, onnxruntime=onnxruntime, weights=weights,
            report=report,
        )  # fmt: skip
    print(f"{package}: {written / 1e6:.1f} MB of {MOST_BYTES / 1e6:.0f}")


@app.command()
def run(
    package: Package = Path("var/gpu/package"),
    state: Annotated[Path, typer.Option(help="Folder of results, which comes back."), FOLDER_MADE] = Path(
        "var/gpu/state"
    ),
    work: Annotated[Path, typer.Option(help="Folder of checkpoints, which stays there."), FOLDER_MADE] = Path(
        "var/gpu/work"
    ),
    rows: Rows = ROWS,
    size: SizeOption = "full",
    slice_s: Annotated[float, typer.Option(min=1, max=240, help="Seconds of a unit in one go.")] = 240.0,
    total_s: Annotated[float, typer.Option(min=1, help="Seconds of this call.")] = 540.0,
    only: Annotated[str, typer.Option(help="Only units whose name begins so, such as pairs/.")] = "",
) -> None:
    """Do the units that have no result yet, and print the table.

    Without a GPU nothing runs at full size, and the rows say so; `--size toy` tries them on the processor.

    Examples:

        python -m retraining.gpu run --total-s 540

        python -m retraining.gpu run --size toy --only pairs/

    """
    import torch

    place = Place(package, state, work)
    every = units(getattr(load_sizes(rows), size))
    if size == "toy" or torch.cuda.is_available():
        console.print(f"ONNX Runtime for CUDA: {install_wheel(place)}", highlight=False)
        run_units(
            [unit for unit in every if unit.name.startswith(only)], size, rows, place, slice_s=slice_s,
            total_s=total_s, tell=lambda line: console.print(told(line), highlight=False),
        )  # fmt: skip
    else:
        console.print("no GPU: nothing was run; `--size toy` tries the rows on this processor")
    shown = page(every, results(state), toy=size == "toy")
    if state.is_dir():
        write_file(state / "table.md", shown)
    print(shown)


@app.command()
def unit(
    name: Annotated[str, typer.Argument(help="Name of the unit, such as pairs/sdg-gan-pits.")],
    package: Package = Path("var/gpu/package"),
    state: State = Path("var/gpu/state"),
    work: Work = Path("var/gpu/work"),
    rows: Rows = ROWS,
    size: SizeOption = "full",
) -> None:
    """Do one unit in this process; exit code 75 where it was stopped and goes on another time."""
    chosen = getattr(load_sizes(rows), size)
    found = next((one for one in units(chosen) if one.name == name), None)
    if found is None:
        raise TrainingError(f"no unit is called {name!r}; the table names all of them")
    raise typer.Exit(do(found, chosen, Place(package, state, work)))


keep_examples(app)

if __name__ == "__main__":
    ending.run("gpu", app)
