"""``station simulate``: frames of simulated housings with their ground truth, as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def simulate(
    folder: Annotated[Path, typer.Argument(help="Where the frames go; made if it does not exist.")],
    frames: Annotated[int, typer.Option("--frames", "-n", min=1, help="How many frames.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same frames.")] = 1,
    masks: Annotated[bool, typer.Option("--masks", help="Write the defects' masks too.")] = False,
    format: Annotated[str, typer.Option(help="tiff (fast to read), bmp, or png (small).")] = "tiff",
    fault: Annotated[
        str | None,
        typer.Option(
            help="Instead: frames with this fault (no-product, truncated, tilt, …; 'all' for each)."
        ),
    ] = None,
) -> None:
    """Render machined servo-motor housings as a line-scan camera sees them, with known defects.

    The folder gets one frame a file and truth.jsonl: class, place, size, contrast and visibility of every
    defect. A folder that already holds exactly these frames is left as it is.

    Examples:

        station simulate frames/ --frames 20 --seed 7

        station simulate frames/ --masks --format png && station inspect frames/ -r servo-motor-housing

        station simulate faulty/ --fault all
    """
    from rich.console import Console
    from rich.progress import Progress

    from simulation.rendering.pool import write_frames

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
        f"{len(truths)} frames in {folder}, {defective} with defects; truth in {folder / 'truth.jsonl'}",
        highlight=False,
    )


def _faulty(folder: Path, name: str, seed: int, suffix: str) -> None:
    """One frame a fault, named after it, from one good part."""
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
