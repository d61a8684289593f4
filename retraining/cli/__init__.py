"""The ``retrain`` command: the workshop. One file per command, which imports the heavy libraries it needs."""

from __future__ import annotations

import os

import typer

from retraining.cli import (
    classifier,
    compress,
    data,
    engine,
    evaluate,
    experiment,
    fine_tune,
    fleet,
    gan,
    golden,
    keys,
    label,
    networks,
    next_up,
    novelty,
    paste,
    patches,
    product,
    receive,
    recipe,
    report,
    robustness,
    segmenter,
    shares,
    ship,
    sign,
    synthesise,
    thresholds,
    translator,
)
from station.cli import ending
from station.cli.help import keep_examples
from station.cli.parameters import careful

app = typer.Typer(
    name="retrain",
    help="Train, evaluate and export the networks that stations run.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=ending.EPILOG,
)
app.command("engine")(engine.engine)
app.command("recipe")(recipe.recipe)
app.command("product")(product.product)
app.command("fine-tune")(fine_tune.fine_tune)
app.command("compress")(compress.compress)
app.command(
    "further",
    hidden=True,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(fine_tune.further)
app.command("patches")(patches.patches)
app.command("classifier", cls=classifier.ClassifierCommand)(classifier.classifier)
app.command("networks")(networks.networks)
app.command("novelty")(novelty.novelty)
app.command("evaluate")(evaluate.evaluate_engines)
app.command("golden")(golden.golden)
app.command("robustness")(robustness.robustness)
app.command("thresholds")(thresholds.thresholds)
app.command("segmenter")(segmenter.segmenter)
app.command("gan")(gan.gan)
app.command("synthesise")(synthesise.synthesise)
app.command("translator")(translator.translator)
app.command("translate")(translator.translate)
app.command("paste")(paste.paste)
app.command("shares")(shares.shares)
app.command("experiment")(experiment.experiment)
app.command("receive")(receive.receive)
app.add_typer(keys.app)
app.command("ship")(ship.ship)
app.add_typer(sign.app)
app.add_typer(fleet.app)
app.command("report")(report.report)
app.add_typer(data.app)
app.add_typer(label.app)
app.command("next")(next_up.next_up)
keep_examples(app)
careful(app)


def main() -> None:
    """Run the command; docs/exit-codes.md says how it ends.

    torch uses huge pages where the system allows it: the tensors of a step are new memory each time, and
    clearing it in small pages takes the kernel longer than the step computes.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # read by torch's allocator when it is first asked
    ending.run("retrain", app)
