"""The ``retrain`` command: the offline workshop. One file a command, importing what is heavy inside."""

from __future__ import annotations

import logging
import os
import sys

import typer

from retraining.cli import (
    classifier,
    commutators,
    data,
    evaluate,
    experiment,
    further,
    gan,
    golden,
    networks,
    paste,
    report,
    robustness,
    shares,
    synthesise,
    thresholds,
)

app = typer.Typer(
    name="retrain",
    help="Train, evaluate and export the networks that stations run.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("classifier")(classifier.classifier)
app.add_typer(data.app)
app.command("evaluate")(evaluate.evaluate_engines)
app.command("commutators")(commutators.commutators)
app.command("experiment")(experiment.experiment)
app.command("further")(further.further)
app.command("gan")(gan.gan)
app.command("golden")(golden.golden)
app.command("networks")(networks.networks)
app.command("paste")(paste.paste)
app.command("report")(report.report)
app.command("robustness")(robustness.robustness)
app.command("shares")(shares.shares)
app.command("synthesise")(synthesise.synthesise)
app.command("thresholds")(thresholds.thresholds)


def main() -> None:
    """Run the command; an error the person can mend is one line on stderr and exit code 2.

    torch takes huge pages where the system lets it: a step's tensors are fresh memory each time, and page by
    page the kernel clears them for longer than the step computes.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # read by torch's allocator when it is first asked
    from drivers.errors import InspectionError

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        app()
    except InspectionError as error:
        print(f"retrain: {error}", file=sys.stderr)
        sys.exit(2)
