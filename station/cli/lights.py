"""``station lights``: set, read and flash the lamps of a light controller, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from drivers.lights.interface import LightController

app = typer.Typer(help="Set, read and flash the lamps of a light controller.", no_args_is_help=True)

File = Annotated[
    Path, typer.Argument(help="The controller's file: `lights:` with kind, address, channels ...")
]
Channel = Annotated[int, typer.Argument(min=1, max=16, help="The output, from 1.")]


@app.command("read")
def read(file: File) -> None:
    """Ask the controller how each of its outputs is set.

    Examples:

        station lights read lights.yaml
    """
    channels, controller = _controller(file)
    with controller:
        print(controller.health().description.strip())
        for channel in range(1, channels + 1):
            print(f"output {channel}: {controller.read(channel)}")


@app.command("set")
def set_output(
    file: File,
    channel: Channel,
    percent: Annotated[float, typer.Argument(min=0.0, help="Brightness, percent of the rating; 0 is off.")],
    pulse_us: Annotated[
        float | None, typer.Option(help="Pulse at each trigger, us; without it, light all the time.")
    ] = None,
    delay_us: Annotated[float, typer.Option(min=0.0, help="From trigger to pulse, us.")] = 0.0,
) -> None:
    """Set one output, and have it confirmed by the controller.

    Examples:

        station lights set lights.yaml 2 40

        station lights set lights.yaml 2 80 --pulse-us 250 --delay-us 40
    """
    from drivers.lights.interface import Output

    _, controller = _controller(file)
    with controller:
        print(f"output {channel}: {controller.set(channel, Output(percent, pulse_us, delay_us))}")


@app.command("flash")
def flash(file: File, channel: Channel) -> None:
    """Flash one output that has a pulse, once.

    Examples:

        station lights flash lights.yaml 2
    """
    _, controller = _controller(file)
    with controller:
        controller.flash(channel)
    print(f"output {channel}: flashed")


def _controller(file: Path) -> tuple[int, LightController]:
    """The number of outputs, and the controller, not opened. Raises ``InspectionError``."""
    from drivers.lights import CONTROLLERS
    from station.lights import load_lights

    settings = load_lights(file)
    return settings.channels, CONTROLLERS.make(settings)
