"""``station limits``: learn from good parts what a picture of metal must show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer

from station.cli.ending import ExitCode

if TYPE_CHECKING:
    from station.patching.learning import GoodPart
    from station.recipe import Recipe

FEWEST = 10
"""Good parts below which no limits are given."""


def limits(
    recipe: Annotated[
        str,
        typer.Option("--recipe", "-r", help="The recipe's name or file; NAME@WIDTH allows one width, px."),
    ],
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Pictures of good parts, or folders of them.", metavar="PATH..."),
    ] = None,
    recipes: Annotated[Path, typer.Option(help="The folder of recipes.")] = Path("recipes"),
    margin: Annotated[
        float, typer.Option(min=0.05, max=1.0, help="The limits, as a share of the least that was found.")
    ] = 0.5,
    rendered: Annotated[
        int, typer.Option(min=0, help="Look at this number of rendered good housings instead of pictures.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="The seed of the first rendered housing.")] = 1,
) -> None:
    """Print the limits of product.texture for a recipe, learnt from pictures of good parts.

    Use pictures as the camera gives them, of at least 10 good parts; twenty of every size are better. For a
    recipe with several lamps, use the pictures under all of them. The
    command also says how many of them the recipe as it is refuses, and how long one look takes.

    Exit code: 0 the recipe refuses none of them, 1 it refuses some, 2 the command could not start.

    Examples:

        station limits good-parts/ --recipe servo-motor-housing

        station limits --rendered 300 --seed 70000 --recipe servo-motor-housing
    """
    from rich.console import Console
    from rich.progress import track

    from station.machine import processor
    from station.patching.learning import texture_limits
    from station.patching.lit import frame_recipe
    from station.recipe import recipe_and_width

    if bool(rendered) == bool(paths):
        raise typer.BadParameter("name pictures of good parts, or give --rendered; not both")
    prepared, width_px = recipe_and_width(recipe, recipes)
    single = frame_recipe(prepared)
    looked = _rendered(rendered, seed, prepared) if rendered else _pictures(paths or [], single, width_px)
    total = rendered * prepared.frames or None
    parts = list(track(looked, "looking", total=total, console=Console(stderr=True), transient=True))
    for part in parts:
        if part.refused:
            print(f"refused: {part.name}: {part.refused}")
    found = [part for part in parts if part.found is not None]
    if len(found) < FEWEST:
        raise typer.BadParameter(f"a product was found in {len(found)} pictures; limits need {FEWEST}")
    refused = sum(bool(part.refused) for part in parts)
    spent = median(part.texture_ms for part in found)
    print(f"{len(parts)} good parts, {refused} refused by {prepared.name} version {prepared.version}")
    print(f"one look at the texture: median {spent:.2f} ms of processor time on {processor()}")
    off = max(part.width_off_px for part in found)
    print(
        f"widths differ from those of the recipe by up to {off} px; width_tolerance_px is "
        f"{prepared.product.width_tolerance_px}"
    )
    learnt = texture_limits(parts, margin)
    print(f"limits at {margin:g} of the least that was found, for the section product of the recipe:")
    print("  texture:")
    for key, value in learnt.model_dump().items():
        print(f"    {key}: {value:g}")
    if refused:
        raise typer.Exit(ExitCode.FINDINGS)


def _pictures(paths: list[Path], recipe: Recipe, width_px: int | None) -> Iterator[GoodPart]:
    from drivers.cameras.interface import CameraError
    from drivers.cameras.picture_files import read_image, shown
    from station.cli.inspect import find_pictures
    from station.patching.learning import GoodPart, look_at

    for path in find_pictures(paths):
        try:
            pixels = read_image(path, sixteen_bit_white=recipe.product.sixteen_bit_white)
        except CameraError as error:
            yield GoodPart(shown(path), None, str(error), 0, 0.0)
            continue
        yield look_at(shown(path), pixels, recipe, width_px)


def _rendered(count: int, seed: int, recipe: Recipe) -> Iterator[GoodPart]:
    from simulation.rendering.parts import render_part
    from station.patching.learning import look_at
    from station.patching.lit import frame_recipe

    for one in range(seed, seed + count):
        part, lamps = render_part(one), recipe.stereo
        frames = [part.frame()] if lamps is None else part.frames_under(lamps.directions)
        for frame in frames:
            yield look_at(f"seed {one}", frame, frame_recipe(recipe), part.truth.width)
