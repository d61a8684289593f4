"""What a trained product can claim, in numbers of parts: the card of its engine, and what is printed."""

from __future__ import annotations

from collections.abc import Mapping

from retraining.evaluation.proportions import ends, parts_needed, shown
from retraining.novelty.pretrained import BACKBONE
from retraining.product.good_only import GoodOnly
from retraining.product.making import Product, Tested
from retraining.product.parts import Parts
from station.machine import cores, processor
from station.recipe import Recipe


def figures(tested: Mapping[str, Tested]) -> str:
    """One line per file of the engine, shares with their 95 % intervals, in Markdown."""
    lines = [
        "| file | test parts | right | escapes of defective parts | overkill of good parts | AP |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in tested.items():
        of = one.outcomes
        lines.append(
            f"| {name} | {of.parts} | {shown(of.right, of.parts)} | {shown(of.escapes, of.defective)} "
            f"| {shown(of.overkill, of.good)} | {one.average_precision:.4f} |"
        )
    return "\n".join(lines)


def confusion(tested: Tested, classes: tuple[str, ...]) -> str:
    """Truth down, verdict across, in Markdown."""
    counts = tested.confusion()
    found = (*classes, *sorted({verdict for _, verdict in counts} - set(classes)))
    lines = ["| truth \\ verdict | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    for truth in classes:
        lines.append(f"| {truth} | " + " | ".join(str(counts[truth, verdict]) for verdict in found) + " |")
    return "\n".join(lines)


def honesty(tested: Tested, parts: Parts) -> str:
    """What the number of test parts allows to be claimed, in words."""
    of = tested.outcomes
    _, most = ends(of.escapes, of.defective)
    _, lost = ends(of.overkill, of.good)
    return (
        f"The test rests on {of.defective} defective and {of.good} good parts in {parts.groups('test')} "
        f"groups. With 95 % confidence the escape rate is below {most:.1%} and the overkill below "
        f"{lost:.1%}; more cannot be said with so few parts. To show an escape rate below 1 %, "
        f"{parts_needed(0.01)} defective parts without an escape are needed."
    )


def model_card(
    recipe: Recipe, parts: Parts, made: Product, settings: Mapping[str, object], command: str, data: str
) -> str:
    """The card in Markdown: what the engine is, what it was trained on, what it does."""
    classes = tuple(entry.name for entry in recipe.classes)
    best = made.tested.get("int8", made.tested["fp32"])
    counted = "\n".join(
        f"| {split} | {parts.groups(split)} | "
        + " | ".join(str(count) for count in parts.count(split).values())
        + " |"
        for split in ("train", "validation", "test")
    )
    rows = "\n".join(f"| {name} | {value} |" for name, value in settings.items())
    int8 = f"There is no INT8 file: {made.int8_refusal}" if made.int8_refusal else ""
    if made.quantised is not None:
        int8 = (
            f"INT8 was calibrated on {made.quantised.calibration_patches} training patches, of which "
            f"{made.quantised.top1_agreement:.2%} keep their class."
        )
    return f"""# {recipe.engine}

Classifier for the recipe `{recipe.name}` in {len(classes)} classes ({", ".join(classes)}).

## Data

{data}

| split | groups | {" | ".join(classes)} |
|---|---|{"---|" * len(classes)}
{counted}

The pictures are a person's own: mind their licence before you pass the engine on. Train again when camera,
light or product change.

## Training

| setting | value |
|---|---|
{rows}

Reproduce with `{command}`. Trained on {cores()} cores of {processor().model}.

## Figures

Test parts through the station's own patching and decision, with the thresholds that were chosen on the
validation parts ({made.point.escapes} of {made.point.defective} escapes, {made.point.overkill} of
{made.point.good} overkill there). Shares with their 95 % intervals (Wilson).

{figures(made.tested)}

{confusion(best, classes)}

{honesty(best, parts)}

The fp32 file differs from the trained network by at most {made.deviation:.1e}. {int8}
"""


def good_only_figures(made: GoodOnly) -> str:
    """What an engine fitted on good parts alone does, in words that a table of two rows cannot give."""
    of = made.outcomes
    lines = [
        f"fitted on {made.fitted} good parts; the threshold is the highest of {made.held_back} more",
        f"unseen good parts rejected as unknown: {shown(of.overkill, of.good)}",
    ]
    if not of.defective:
        return "\n".join([*lines, "no defective part is known: nothing can be said of escapes"])
    lines.append(f"defective parts rejected as unknown: {shown(of.defective - of.escapes, of.defective)}")
    return "\n".join([*lines, f"AUROC by part: {made.auroc:.3f}"])


def good_only_card(recipe: Recipe, parts: Parts, made: GoodOnly, command: str, data: str) -> str:
    """The card of an engine that knows good parts only, in Markdown."""
    lines = "\n".join(f"- {line}" for line in good_only_figures(made).splitlines())
    return f"""# {recipe.engine}

Knows good parts of the recipe `{recipe.name}` only, and rejects what differs from them as `unknown`: it
names no defect. Distance in the features of `{BACKBONE}` (ImageNet, Apache-2.0) to {made.core} centres.
It is for the first days of a line: the parts that it rejects, labelled by a person, are what a classifier
is trained on (`retrain product`).

{data} {parts.groups("train")} groups of good parts were fitted on. The pictures are a person's own: mind
their licence before you pass the engine on.

Reproduce with `{command}`.

{lines}

Shares with their 95 % intervals (Wilson). The known-bad golden parts carry an artificial defect.
"""
