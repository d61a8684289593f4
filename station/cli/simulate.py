"""``station simulate``: frames of simulated housings with their ground truth, as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from station.cli.parameters import FOLDER_MADE


def simulate(
    folder: Annotated[
        Path,
        typer.Argument(help="The folder for the frames; it is created when it does not exist."),
        FOLDER_MADE,
    ],
    frames: Annotated[int, typer.Option("--frames", "-n", min=1, help="The number of frames.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same frames.")] = 1,
    masks: Annotated[bool, typer.Option("--masks", help="Write the masks of the defects too.")] = False,
    format: Annotated[str, typer.Option(help="tiff (fast to read), bmp or png (small).")] = "tiff",
    fault: Annotated[
        str | None,
        typer.Option(
            help="Write one faulty frame instead (no-product, truncated, tilt, …), or 'all' of them."
        ),
    ] = None,
) -> None:
    """Render machined servo-motor housings as a line-scan camera sees them, with known defects.

    The folder gets one file per frame, and truth.jsonl: class, place, size, contrast and visibility of every
    defect. If the folder already has exactly these frames, nothing changes.

    Examples:

        station simulate frames/ --frames 20 --seed 7

        station simulate frames/ --masks --format png && station inspect frames/ -r servo-motor-housing

        station simulate faulty/ --fault all
    """
    from rich.console import Console
    from rich.progress import Progress

    from simulation.rendering.pool import write_frames
    from station.cli.text import told

    console = Console()
    if fault is not None:
        _faulty(folder, fault, seed, format)
        return
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("rendering", total=frames)
        truths = write_frames(
            folder,
            frames,
            seed,
            format=format,
            masks=masks,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    defective = sum(not truth.is_good for truth in truths)
    console.print(
        told(
            f"{len(truths)} frames in {folder}, {defective} with defects; truth in {folder / 'truth.jsonl'}"
        ),
    )


def _faulty(folder: Path, name: str, seed: int, suffix: str) -> None:
    """Write one frame per fault, named after it, all made from one good part."""
    from drivers.cameras.picture_files import write_image
    from simulation.rendering.faulty_frames import FAULTS, make_faulty
    from simulation.rendering.parts import render_part

    if name != "all" and name not in FAULTS:
        raise typer.BadParameter(f"no fault is called {name!r}; use 'all' or one of {', '.join(FAULTS)}")
    folder.mkdir(parents=True, exist_ok=True)
    part = render_part(seed)
    for one in FAULTS if name == "all" else (name,):
        faulty = make_faulty(part, one, seed)
        file = folder / f"{one}.{suffix}"
        write_image(file, faulty.pixels)
        print(f"{file}: {'must be faulted' if faulty.must_fault else 'the product must be found'}")
