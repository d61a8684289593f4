"""``retrain recipe``: propose a recipe from pictures."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from retraining.cli.options import progress_bars
from station.cli.ending import ExitCode
from station.cli.parameters import FILE_MADE

_MOST_NAMED = 20


def recipe(
    name: Annotated[str, typer.Argument(help="Name of the recipe and of its engine, such as ball-screw.")],
    data: Annotated[Path, typer.Option(help="A `dataset.json` of whole pictures, or its folder.")],
    out: Annotated[Path, typer.Option(help="Recipe file to write."), FILE_MADE],
    good: Annotated[
        str,
        typer.Option(help="The class without a defect, where it is not called good, ok or normal."),
    ] = "",
    background: Annotated[
        str, typer.Option(help="dark, none (the whole picture is the product), or auto.")
    ] = "auto",
    mm_per_px: Annotated[
        float | None, typer.Option(min=1e-5, max=100.0, help="Size of a picture's pixel, mm, if you know it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a recipe file that is there.")] = False,
) -> None:
    """Propose a recipe for a product from a data set of its pictures.

    The background, the sizes of the product, surface and patches, channels, classes and the limits of light
    and texture are read from the pictures; every picture is then cut by the recipe as written, and those
    that it refuses are named. What pictures cannot say, such as mm per pixel, stands in the file with a
    remark.

    Exit code: 0 the recipe cuts every picture, 1 it refuses some, 2 there is no proposal.

    Examples:

        retrain recipe ball-screw --data data/mine --out recipes/ball-screw.yaml

        retrain recipe strip --data data/strip --good flawless --out strip.yaml

    """
    from drivers.cameras.picture_files import shown
    from retraining.data.manifest import load_dataset
    from retraining.errors import DatasetError
    from retraining.product.proposing import learn_limits, propose, recipe_text
    from retraining.surfaces.photographs import cut_photograph
    from station.files import write_file
    from station.recipe import check_recipe

    if background not in ("auto", "dark", "none"):
        raise typer.BadParameter(f"--background is auto, dark or none, not {background!r}")
    if out.exists() and not force:
        raise DatasetError(f"{out} is there already; name another file, or replace it by --force")
    dataset = load_dataset(data)
    with progress_bars() as progress:
        task = progress.add_task("looking at the pictures", total=len(dataset), status="")
        found = propose(
            dataset, good, background, lambda stage, done, total: progress.update(task, completed=done)
        )
        write = partial(
            recipe_text, name, found, len(dataset), mm_per_px, sixteen_bit_white=dataset.sixteen_bit_white
        )
        draft = check_recipe(out, write().encode())
        task = progress.add_task("learning limits", total=len(dataset), status="")
        limits, texture, no_texture = learn_limits(
            dataset, draft, lambda stage, done, total: progress.update(task, completed=done)
        )
        text = write(limits=limits, texture=texture, no_texture=no_texture)
        written = check_recipe(out, text.encode())
        write_file(out, text)
        task = progress.add_task("cutting them", total=len(dataset), status="")
        refused = []
        for picture in dataset.pictures:
            try:
                cut_photograph(dataset.path_of(picture), written)
            except DatasetError as error:
                refused.append(str(error))
            progress.update(task, advance=1)
    height, width = found.surface
    print(f"background  {found.background}")
    print(f"product     {', '.join(map(str, found.widths_px))} px wide, {found.height_px} px high")
    print(f"surface     {width} x {height} px, {written.patch_count} patches of {found.patch_px} px")
    print(f"channels    {found.channels}")
    if limits is not None:
        print(f"light       median level {limits.min_level} or more; other limits are in the file")
    print(f"texture     {f'no limits: {no_texture}' if texture is None else 'limits are in the file'}")
    print(f"classes     {', '.join(found.classes)} (the first one is accepted)")
    for remark in found.remarks:
        print(f"look at this: {remark}")
    for line in refused[:_MOST_NAMED]:
        print(f"refused: {line}")
    if len(refused) > _MOST_NAMED:
        print(f"refused: {len(refused) - _MOST_NAMED} more; `station inspect --show-patches` names all")
    print(f"\n{shown(out)}: cuts {len(dataset) - len(refused)} of {len(dataset)} pictures")
    print(f"try: station inspect PICTURES --recipe {shown(out)} --show-patches cuts")
    if refused:
        print("leave the refused ones out by `retrain product --leave-out-refused`, or change the limits")
        raise typer.Exit(ExitCode.FINDINGS)
