"""What a trained product can claim, in numbers of parts: the card of its engine, and what is printed."""

from __future__ import annotations

from collections.abc import Mapping

from retraining.evaluation.proportions import parts_needed
from retraining.novelty.pretrained import BACKBONE
from retraining.product.good_only import ENOUGH_GOOD, GoodOnly
from retraining.product.making import Product, Tested
from retraining.product.own_novelty import OwnNovelty
from retraining.product.parts import Parts
from station.machine import cores, processor
from station.recipe import Recipe


def figures(tested: Mapping[str, Tested]) -> str:
    """One line per file of the engine, shares with their 95 % intervals (by group), in Markdown."""
    lines = [
        "| file | test parts | right | escapes of defective parts | overkill of good parts | AP |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in tested.items():
        of = one.counted
        lines.append(
            f"| {name} | {of.outcomes.parts} | {of.right} | {of.escapes} | {of.overkill} "
            f"| {one.average_precision:.4f} |"
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


def honesty(tested: Tested) -> str:
    """What the number of test groups allows to be claimed, in words."""
    of, good = tested.counted.escapes, tested.counted.overkill
    _, most = of.ends()
    _, lost = good.ends()
    unit = "parts" if (of.of_parts, good.of_parts) == (of.of_groups, good.of_groups) else "groups"
    counted = (
        "Parts of one group look alike, so a group counts once, and it is wrong if any of its parts is. "
        if unit == "groups"
        else ""
    )
    return (
        f"The test rests on {of.of_parts} defective parts in {of.of_groups} groups and {good.of_parts} good "
        f"parts in {good.of_groups} groups. {counted}With 95 % confidence the escape rate is below "
        f"{most:.1%} and the overkill below {lost:.1%}. More cannot be said with so few {unit}. To show an "
        f"escape rate below 1 %, {parts_needed(0.01)} defective {unit} without an escape are needed."
    )


def refused_words(parts: Parts) -> str:
    """Which pictures were left out because the station would refuse them, in Markdown."""
    listed = "\n".join(f"- {one}" for one in parts.refused)
    return (
        f"{len(parts.refused)} pictures were left out: the station would refuse them. On the line, such "
        f"parts are faults and go to the reject side; no figure counts them.\n{listed}"
    )


def thresholds(made: Product) -> str:
    """The chosen thresholds, and what they do on the validation parts."""
    lines = [
        f"{entry.name}: threshold {entry.threshold:g}, release below {entry.release_below:g}"
        for entry in made.tuned.classes[1:]
    ]
    of = made.point
    return "\n".join(
        [
            *lines,
            f"validation parts: {of.escapes} of {of.defective} escape, {of.overkill} of {of.good} good ones "
            "are rejected",
        ]
    )


def int8_words(made: Product) -> str:
    """What became of the INT8 file; empty before its stage."""
    if made.int8_refusal:
        return f"There is no INT8 file: {made.int8_refusal}"
    if made.quantised is None:
        return ""
    return (
        f"INT8 was calibrated on {made.quantised.calibration_patches} training patches, of which "
        f"{made.quantised.top1_agreement:.2%} keep their class."
    )


def novelty_words(novelty: OwnNovelty | None) -> str:
    """Whether the engine says what is far from its training, and what that costs; empty before its stage."""
    if novelty is None:
        return ""
    if novelty.refusal:
        return f"The engine does not say what is far from its training: {novelty.refusal}."
    return (
        f"The engine says what is far from its training ({novelty.method} distance in its own features; the "
        f"threshold is chosen on {novelty.threshold_parts} good validation parts). Of the good test "
        f"parts, {novelty.above} are above it. It changes no verdict unless the recipe says "
        "`decision.unknown: reject`."
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
{made.point.good} overkill there). Shares with their 95 % intervals (Wilson), which count groups.

{figures(made.tested)}

{confusion(best, classes)}

{honesty(best)}

The fp32 file differs from the trained network by at most {made.deviation:.1e}. {int8_words(made)}

{novelty_words(made.novelty)}
"""


def good_only_figures(made: GoodOnly) -> str:
    """What an engine fitted on good parts alone does, in words."""
    of = made.tested["fp32"].counted.outcomes
    lines = [f"fitted on {made.fitted} good parts; the threshold is the highest of {made.held_back} more"]
    known = made.fitted + made.held_back + of.good
    if known < ENOUGH_GOOD:
        lines.insert(
            0,
            f"warning: there are only {known} good parts; with fewer than {ENOUGH_GOOD} such an engine "
            "rejects many good ones. Add good parts and fit again",
        )
    for name, one in made.tested.items():
        lines.append(f"{name}: unseen good parts rejected as unknown: {one.counted.overkill}")
        if of.defective:
            lines.append(f"{name}: defective parts rejected as unknown: {one.found}")
            lines.append(f"{name}: AUROC by part: {one.auroc:.3f}")
    if made.int8_refusal:
        lines.append(f"there is no file in INT8: {made.int8_refusal}")
    if not of.defective:
        lines.append("no defective part is known: nothing can be said of escapes")
    return "\n".join(lines)


def good_only_card(recipe: Recipe, parts: Parts, made: GoodOnly, command: str, data: str) -> str:
    """The card of an engine that knows good parts only, in Markdown."""
    lines = "\n".join(f"- {line}" for line in good_only_figures(made).splitlines())
    return f"""# {recipe.engine}

Knows good parts of the recipe `{recipe.name}` only, and rejects what differs from them as `unknown`: it
names no defect. Distance in the features of `{BACKBONE}` (ImageNet, Apache-2.0) to {made.core} centres,
which each file of the engine has from its own features. It is for the first days of a line: the parts that
it rejects, labelled by a person, are what a classifier is trained on (`retrain product`).

{data} {parts.groups("train")} groups of good parts were fitted on. The pictures are a person's own: mind
their licence before you pass the engine on.

Reproduce with `{command}`.

{lines}

Shares with their 95 % intervals (Wilson), which count groups: parts of one group look alike, and a group is
wrong if any of its parts is. The known-bad golden parts carry an artificial defect.
"""
