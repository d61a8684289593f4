"""``station stereo``: a rig of several lamps: measured, simulated, and its channels as pictures."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from station.cli.parameters import FOLDER_MADE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from station.stereo import Channels, Rig

app = typer.Typer(
    help="Photometric stereo: a part under several lamps becomes curvature, range and texture.",
    no_args_is_help=True,
)

RigFile = Annotated[Path, typer.Option("--rig", help="The rig's file: lamps, solver and scales.")]
CHANNELS, SHEET = "channels.png", "sheet.png"


class Ball(StrEnum):
    """What kind of ball was photographed."""

    MATT = "matt"
    SHINY = "shiny"


@app.command("simulate")
def simulate(
    folder: Annotated[
        Path,
        typer.Argument(help="The folder for the pictures; it is created when it does not exist."),
        FOLDER_MADE,
    ],
    rig: RigFile,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same part.")] = 1,
    kind: Annotated[
        str | None, typer.Option(help="A kind of defect, such as scratches; without it the part is good.")
    ] = None,
    width: Annotated[int, typer.Option(min=200, max=2400, help="The part's width, px.")] = 570,
) -> None:
    """Render one housing under each lamp of a rig, and under the bar light.

    The folder gets lamp-1.png, lamp-2.png ... in the order of the rig's lamps, and bar.png.

    Examples:

        station stereo simulate part/ --rig rig.yaml --kind scratches --seed 7

        station stereo show part/lamp-*.png --rig rig.yaml --out seen/
    """
    from drivers.cameras.picture_files import write_image
    from simulation.rendering.parts import render_part
    from station.stereo import load_rig

    lamps = load_rig(rig).directions
    part = render_part(seed, width=width, kind=kind)
    write_image(folder / "bar.png", part.surface)
    for number, picture in enumerate(part.under(lamps), start=1):
        write_image(folder / f"lamp-{number}.png", picture)
    print(f"{len(lamps)} pictures of a part ({part.truth.label}) in {folder}")
    for defect in part.truth.defects:
        box = defect.box
        print(f"{defect.class_name} in the window {box.x},{box.y},{box.width},{box.height}")


@app.command("show")
def show(
    pictures: Annotated[
        list[Path], typer.Argument(help="One grey picture per lamp, in the order of the rig's lamps.")
    ],
    rig: RigFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder for the two pictures."), FOLDER_MADE],
    window: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,WIDTH,HEIGHT", help="Draw this window, px, on the sheet instead of the whole."
        ),
    ] = None,
) -> None:
    """Solve the pictures of one part and draw its channels.

    The folder gets channels.png (red: curvature, green: range, blue: texture; what a network sees) and
    sheet.png (the first lamp's picture and each channel side by side).

    Examples:

        station stereo show part/lamp-*.png --rig rig.yaml --out seen/

        station stereo show part/lamp-*.png --rig rig.yaml --out seen/ --window 100,2000,200,200
    """
    import numpy as np

    from drivers.cameras.picture_files import write_image
    from station.pictures.saving import write_drawn
    from station.stereo import channels, load_rig

    loaded = load_rig(rig)
    stack = _read(pictures)
    rows, cols = _window(window, stack.shape[1:])
    found = channels(stack, loaded)
    coloured = found.picture(loaded)
    write_image(out / CHANNELS, np.ascontiguousarray(coloured[..., ::-1]))
    write_drawn(out / SHEET, _sheet(stack[0], coloured, (rows, cols)))
    _print_summary(found, loaded)
    print(f"{out / CHANNELS}, {out / SHEET}")


@app.command("calibrate")
def calibrate(
    pictures: Annotated[
        list[Path], typer.Argument(help="One grey picture of a ball per lamp, in the order of the lamps.")
    ],
    ball: Annotated[
        str, typer.Option(metavar="X,Y,RADIUS", help="The ball's middle and radius in the pictures, px.")
    ],
    surface: Annotated[Ball, typer.Option(help="A matt ball, or a shiny one with a highlight.")] = Ball.SHINY,
    dark_level: Annotated[
        float, typer.Option(min=0.0, max=254.0, help="The grey level of no light; for a matt ball only.")
    ] = 0.0,
) -> None:
    """Measure where the lamps stand from pictures of a ball; prints the `lamps` of a rig's file.

    The ball lies where the parts will lie, as large in the picture as possible, and nothing moves between the
    pictures.

    Examples:

        station stereo calibrate ball-*.png --ball 512,498,310

        station stereo calibrate ball-*.png --ball 512,498,310 --surface matt --dark-level 2.6
    """
    from calibration.lamps import Sphere, angles, from_matt_sphere, from_shiny_sphere

    if surface is Ball.SHINY and dark_level:
        raise typer.BadParameter("--dark-level is not used with a shiny ball; leave it out")
    stack = _read(pictures)
    where = Sphere(*_numbers(ball, 3, "--ball"))
    lines = []
    for path, picture in zip(pictures, stack, strict=True):
        try:
            lamp = (
                from_shiny_sphere(picture, where)
                if surface is Ball.SHINY
                else from_matt_sphere(picture, where, dark_level)
            )
        except ValueError as error:
            raise typer.BadParameter(f"{path}: {error}") from None
        slant, azimuth = angles(lamp)
        lines.append(f"  - {{slant_deg: {slant:.2f}, azimuth_deg: {azimuth:.2f}}}")
    print("\n".join(["lamps:", *lines]))


def _read(paths: list[Path]) -> NDArray[np.uint8]:
    """The pictures (n, H, W). Raises ``typer.BadParameter``: coloured, or not all of one size."""
    import numpy as np

    from drivers.cameras.picture_files import read_image, shown

    read = [read_image(path) for path in paths]
    coloured = [shown(path) for path, one in zip(paths, read, strict=True) if one.ndim != 2]
    if coloured:
        raise typer.BadParameter(f"{', '.join(coloured)}: coloured; a stereo rig needs grey pictures")
    sizes = {f"{one.shape[1]} x {one.shape[0]}" for one in read}
    if len(sizes) > 1:
        raise typer.BadParameter(f"the pictures have several sizes ({', '.join(sorted(sizes))} px); give one")
    return np.stack(read)


def _window(text: str | None, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of a window. Raises ``typer.BadParameter``."""
    height, width = shape
    if text is None:
        return slice(0, height), slice(0, width)
    x, y, wide, high = (round(value) for value in _numbers(text, 4, "--window"))
    if x < 0 or y < 0 or wide < 1 or high < 1 or x + wide > width or y + high > height:
        raise typer.BadParameter(f"--window {text} does not lie in pictures of {width} x {height} px")
    return slice(y, y + high), slice(x, x + wide)


def _numbers(text: str, count: int, option: str) -> list[float]:
    try:
        found = [float(one) for one in text.split(",")]
    except ValueError:
        found = []
    if len(found) != count or not all(abs(one) < 1e6 for one in found):
        raise typer.BadParameter(f"{option} {text!r}: write {count} numbers with commas between them")
    return found


def _sheet(
    first: NDArray[np.uint8], coloured: NDArray[np.uint8], where: tuple[slice, slice]
) -> NDArray[np.uint8]:
    """The window under the first lamp, in each channel, and in all three, BGR."""
    import numpy as np

    from station.pictures.drawing import INK, PAPER, as_bgr, fitted, write_text

    rows, cols = where
    panels = {"lamp 1": as_bgr(first[rows, cols])}
    for index, name in enumerate(("curvature", "range", "texture")):
        panels[name] = as_bgr(np.ascontiguousarray(coloured[rows, cols, index]))
    panels["all three"] = np.ascontiguousarray(coloured[rows, cols, ::-1])
    height, width = panels["lamp 1"].shape[:2]
    scale = min(900 / height, 420 / width)
    wide, high = max(120, round(width * scale)), max(120, round(height * scale))
    sheet = np.full((high + 48, (wide + 12) * len(panels) + 12, 3), PAPER, np.uint8)
    for number, (name, picture) in enumerate(panels.items()):
        left = 12 + number * (wide + 12)
        write_text(sheet, name, (left, 26), 0.6, INK, width=wide)
        sheet[36 : 36 + high, left : left + wide] = fitted(picture, wide, high)
    return sheet


def _print_summary(found: Channels, rig: Rig) -> None:
    """How the channels lie on their scales; too small a scale cuts off, too large a one shows nothing."""
    import numpy as np

    for name, values, white in (
        ("curvature", np.abs(found.curvature), rig.curvature_white),
        ("range", found.range, rig.slope_white),
        ("texture", found.texture, rig.texture_white),
    ):
        middle, high = np.percentile(values, [50, 99])
        over = float(np.mean(values > white))
        print(f"{name}: median {middle:.4g}, 99 % below {high:.4g}; {over:.2%} beyond the scale's {white:g}")
