"""The ``station`` command. One file a command, which imports the heavy libraries it needs."""

from __future__ import annotations

import logging
import sys

import typer

from station.cli import bench, check, engines, inspect, journal, run, simulate

app = typer.Typer(
    name="station",
    help="Surface inspection: one camera, one decision a part, one bin.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("inspect")(inspect.inspect)
app.command("check")(check.check)
app.add_typer(journal.app, name="journal")
app.command("engines")(engines.engines)
app.command("bench")(bench.bench)
app.command("simulate")(simulate.simulate)


def main() -> None:
    """Run the command; an error the person can mend is one line on stderr and exit code 2."""
    from drivers.cameras.interface import CameraError
    from drivers.sorters.interface import SorterError
    from simulation.truth import SimulationError
    from station.config import ConfigError
    from station.engines.interface import EngineError
    from station.journal import JournalError
    from station.pictures.saving import PictureError
    from station.recipe import RecipeError

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        app()
    except (
        ConfigError,
        RecipeError,
        CameraError,
        SorterError,
        EngineError,
        JournalError,
        PictureError,
        SimulationError,
    ) as error:
        print(f"station: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(141)
