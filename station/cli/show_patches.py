"""``station inspect --show-patches``: how a recipe cuts pictures, before there is an engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from station.cli.ending import ExitCode
from station.cli.rows import Column, Row, print_rows

if TYPE_CHECKING:
    from station.pictures.drawing import Picture
    from station.recipe import Recipe

SHEET = "contact-sheet.png"
_MOST_TILES = 60
_PLAIN = ("",) * 4
_COLUMNS = (
    Column("picture"),
    Column("product-px", right=True),
    Column("patches", right=True),
    Column("patch-px", right=True, spare=1),
)


def show_patches(
    pictures: Sequence[Path], common: Path, recipe: Recipe, width: int | None, out: Path
) -> None:
    """Draw each picture with its product and patches into ``out``, with a contact sheet, and list them.

    A picture that the station would not cut is drawn and listed with its reason. Pictures of a recipe with
    several lamps are cut one by one. Ends with the code for
    faults where there is one.
    """
    from rich.console import Console
    from rich.progress import track

    from drivers.cameras.interface import CameraError
    from drivers.cameras.picture_files import read_image, shown
    from station.cli.text import told
    from station.patching import PatchingError, cut
    from station.patching.lit import frame_recipe
    from station.pictures.cuts import draw_cut, draw_cut_tile, draw_uncut
    from station.pictures.drawing import draw_sheet
    from station.pictures.saving import write_drawn

    console, recipe = Console(), frame_recipe(recipe)
    inside = [path for path in pictures if out.absolute() in path.absolute().parents]
    if inside:
        raise typer.BadParameter(
            f"{shown(inside[0])} lies in the folder for drawings, {shown(out)}, and would be cut, too; name "
            "another folder for them, outside the pictures"
        )
    rows: list[Row] = []
    tiles: list[Picture] = []
    uncut_tiles: list[Picture] = []
    refused = 0
    for path in track(pictures, "cutting", console=Console(stderr=True), transient=True):
        name = str(path.absolute().relative_to(common))
        pixels = None
        try:
            pixels = read_image(path, sixteen_bit_white=recipe.product.sixteen_bit_white)
            patches = cut(pixels, recipe, width)
        except (CameraError, PatchingError) as error:
            refused += 1
            page = draw_uncut(shown(name), pixels, str(error))
            rows.append(Row((shown(name), "not-cut", "", ""), _PLAIN, str(error)))
        else:
            page = draw_cut(shown(name), pixels, patches)
            region, size = patches.surface.region, patches.surface.pixels.shape
            across = recipe.patch.size * region.width / size[1]
            down = recipe.patch.size * region.height / size[0]
            cells = (
                shown(name),
                f"{region.width}x{region.height}",
                str(len(patches.pixels)),
                f"{across:.0f}x{down:.0f}",
            )
            rows.append(Row(cells, _PLAIN))
        target = out / path.absolute().relative_to(common)
        write_drawn(target.with_name(f"{target.name}.cut.png"), page)
        kind = uncut_tiles if rows[-1].remark else tiles
        if len(kind) < _MOST_TILES:
            kind.append(draw_cut_tile(page))
    sheet = [*uncut_tiles, *tiles][:_MOST_TILES]
    title = f"recipe {recipe.name}: how it cuts {len(rows)} pictures"
    if len(sheet) < len(rows):
        title += f"; {len(sheet)} of them here, those first that it does not cut"
    write_drawn(out / SHEET, draw_sheet(sheet, title))
    print_rows(console, _COLUMNS, rows, "reason")
    console.print(
        told(
            f"{len(rows)} pictures: {len(rows) - refused} cut, {refused} not; drawn in {out}"
            + (f", {len(sheet)} of them on the contact sheet" if len(sheet) < len(rows) else "")
        ),
        soft_wrap=True,
    )
    if refused:
        raise typer.Exit(ExitCode.FAULTS)
