"""The ``station`` command. One file per command, which imports the heavy libraries that it needs."""

from __future__ import annotations

from typing import Annotated

import typer

from station.cli import (
    bench,
    check,
    config,
    ending,
    engines,
    faults,
    handoff,
    inspect,
    journal,
    keys,
    lights,
    limits,
    metrics,
    orders,
    rare,
    run,
    simulate,
    status,
    stereo,
    telemetry,
)
from station.cli.help import keep_examples
from station.cli.parameters import careful

app = typer.Typer(
    name="station",
    help="Surface inspection: one camera, one decision per part, one bin.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=ending.EPILOG,
)
app.command("run")(run.run)
app.command("status")(status.status)
app.command("halt")(orders.halt)
app.command("resume")(orders.resume)
app.command("prepare")(orders.prepare)
app.command("activate")(orders.activate)
app.command("mark")(orders.mark)
app.command("review")(orders.review)
app.command("inspect")(inspect.inspect)
app.command("limits")(limits.limits)
app.command("check")(check.check)
app.add_typer(config.app, name="config")
app.add_typer(journal.app, name="journal")
app.add_typer(rare.app, name="rare")
app.add_typer(keys.app, name="keys")
app.command("handoff")(handoff.handoff)
app.add_typer(telemetry.app, name="telemetry")
app.add_typer(engines.app, name="engines")
app.command("faults")(faults.faults)
app.command("metrics")(metrics.metrics)
app.command("bench")(bench.bench)
app.command("simulate")(simulate.simulate)
app.add_typer(stereo.app, name="stereo")
app.add_typer(lights.app, name="lights")
keep_examples(app)
careful(app)


def _print_version(asked: bool) -> None:
    if asked:
        from station.journal.values import software_version

        print(f"inspection-station {software_version()}")
        raise typer.Exit


@app.callback()
def _station(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command; docs/exit-codes.md says how it ends."""
    ending.run("station", app)
