"""The next engine made in other ways from the circle's own data: what synthesis and chosen parts add."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retraining.circle import steps
from retraining.circle.commands import RETRAIN, RefusedError, StepError, call
from retraining.circle.plan import Plan, Steps
from retraining.circle.report import share
from retraining.circle.steps import ESCAPED, NAMED, NAMED_OTHERWISE
from retraining.data.kept_parts import kept_parts
from retraining.data.manifest import TRUSTED, load_dataset, save_dataset
from retraining.data.pixels import load_pixels
from retraining.surfaces import SOUND
from retraining.synthesis.paste_sets import marked_surfaces, write_parts
from station.recipe import load_recipe

NEXT = "crop-and-paste (the circle)"
GATES = (
    ("no part can prove the engine", "golden parts"),
    ("not enough to train on", "parts of every class"),
    ("own split has no part of", "parts of every class"),
    ("pictures can be made of", "parts of every class"),
    ("the generated pictures at step", "variety of the generated pictures"),
    ("the losses are", "losses that are numbers"),
    ("the loss is", "losses that are numbers"),
)
"""What a command says that refuses a rival, and the gate at which it did; anything else is an error."""


def run_rivals(plan: Plan, step: Steps) -> str:
    """Train and compare the rivals of a circle that is done; the table in Markdown.

    A rival whose row is known is not made again. Raises :class:`StepError`.
    """
    ways = {
        "no synthesis": without_synthesis, "SDG-GAN": drawn_by_a_gan,
        "parts drawn at random, crop-and-paste": handed_off_at_random,
    }  # fmt: skip
    rows = {NEXT: step(NEXT, partial(steps.compare, plan, "next"))}
    for words, way in ways.items():
        rows[words] = step(words, partial(_row, partial(way, plan, step)))
    return table(plan, rows)


def _row(way: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What comparing a rival found, or the gate that it did not pass and why."""
    try:
        return way()
    except RefusedError as refusal:
        said = " ".join(refusal.said.split())
        for phrase, gate in GATES:
            if phrase in said:
                return {"gate": gate, "why": said[said.index(phrase) :].partition(";")[0]}
        raise


def without_synthesis(plan: Plan, step: Steps) -> dict[str, Any]:
    """The next engine of the received parts alone."""
    step("without: train", partial(steps.train, plan, "without", plan.data / "split"))
    return steps.compare(plan, "without")


def drawn_by_a_gan(plan: Plan, step: Steps) -> dict[str, Any]:
    """The next engine of the received parts and of a generator's pictures, as many as there were pasted."""
    step("GAN: train the generator", partial(train_gan, plan))
    step("GAN: draw and place", partial(place_drawn, plan))
    drawn = ("--synthetic", plan.data / "gan-parts")
    step("GAN: train", partial(steps.train, plan, "gan", plan.data / "split", *drawn))
    return steps.compare(plan, "gan")


def handed_off_at_random(plan: Plan, step: Steps) -> dict[str, Any]:
    """The next engine of as many parts of the bad lot as the station chose, but drawn at random."""
    split, as_many = plan.data / "random-split", len(kept_parts(plan.out / "lines" / "bad" / "received"))
    step("random: inspect the bad lot", partial(steps.inspect_lot, plan, "random", steps.KEEP_ALL))
    step("random: label", partial(steps.gather, plan, "random", "random-split", as_many))
    step("random: paste", partial(steps.synthesise, plan, "random-split", "random-pasted"))
    pasted = ("--synthetic", plan.data / "random-pasted")
    step("random: train", partial(steps.train, plan, "random", split, *pasted))
    return steps.compare(plan, "random")


def table(plan: Plan, rows: dict[str, dict[str, Any]]) -> str:
    """One row per way, shares with their 95 % intervals (Wilson), or the gate that it did not pass."""
    named = f"{plan.unknown} rejected as {plan.unknown}"
    lines = [f"| way | {named} | under another name | escapes of it | overkill | other escapes |"]
    lines.append("|---" * 6 + "|")
    for words, one in rows.items():
        if "gate" in one:
            cells = [f"no engine; stopped at the gate *{one['gate']}*: {one['why']}", *[""] * 4]
        else:
            parts = sum(one["unknown"].values())
            cells = [share(one["unknown"][kind], parts) for kind in (NAMED, NAMED_OTHERWISE, ESCAPED)]
            cells += [share(one["overkill"], one["good"]), share(one["other_escapes"], one["others"])]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def train_gan(plan: Plan) -> int:
    """Train a generator on windows around the class's defects in the training parts; how many windows."""
    split = load_dataset(plan.data / "split")
    surface = load_recipe(plan.recipe_of("next")).surface
    windows = []
    for picture in split.select(split="train", labelled_by=TRUSTED).pictures:
        for mark in picture.marks:
            if mark.label == plan.unknown:
                left, top, right, bottom = mark.box
                side = plan.gan_px
                at = _start(top, bottom, surface.height, side), _start(left, right, surface.width, side)
                window = (*at, side, side)
                windows.append(replace(picture, window=window, marks=()))
    save_dataset(split.with_pictures(windows), plan.data / "gan-windows")
    call(
        RETRAIN, "gan", "--dataset", plan.data / "gan-windows", "--class", plan.unknown, "--system",
        "sdg-gan", "--size", plan.gan_px, "--steps", plan.gan_steps, "--batch", min(16, len(windows)),
        "--diffaugment", "mild", "--threads", plan.threads, "--out", plan.out / "runs" / "generators",
        log=plan.log,
    )  # fmt: skip
    return len(windows)


def _start(low: float, high: float, of: int, side: int) -> int:
    """Where a window begins that has ``low`` to ``high`` in its middle, and lies within ``of``."""
    return max(0, min(of - side, round((low + high - side) / 2)))


def place_drawn(plan: Plan) -> int:
    """Draw pictures of the class, and blend each onto a good part of the training parts; how many parts."""
    drawn = plan.data / "gan-drawn"
    call(
        RETRAIN, "synthesise", plan.out / "runs" / "generators", "--count", plan.pasted, "--out", drawn,
        log=plan.log,
    )  # fmt: skip
    pictures = load_pixels(load_dataset(drawn), plan.gan_px, 1, labelled_by=("synthetic",)).pixels
    split = load_dataset(plan.data / "split")
    real = marked_surfaces(split.select(split="train", labelled_by=TRUSTED), 1)
    good = real.pixels[[index for index in range(len(real)) if real.part_class(index) == SOUND]]
    if len(pictures) != plan.pasted or not len(good):
        raise StepError(f"{len(pictures)} pictures were drawn of {plan.pasted}; {len(good)} good parts")
    made = {plan.unknown: _blended(good, pictures)}
    return len(write_parts(plan.data / "gan-parts", made, split.classes, "synthetic:sdg-gan"))


def _blended(
    good: NDArray[np.uint8], pictures: NDArray[np.uint8]
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Each picture on a good part, faded at its rim and with the brightness of its place; and its mask.

    The windows had the defect in the middle, so the middle half of each side is marked.
    """
    rng, side = np.random.default_rng(1), pictures.shape[1]
    quarter = side // 4
    ramp = np.clip(np.minimum(np.arange(side), np.arange(side)[::-1]) / quarter, 0.0, 1.0)
    weight = (ramp[:, None] * ramp)[..., None]
    for picture in pictures:
        part = np.array(good[int(rng.integers(len(good)))])
        top, left = (int(rng.integers(of - side + 1)) for of in part.shape[:2])
        below = part[top : top + side, left : left + side]
        rim = weight < 1
        lifted = picture + (below[rim].mean() - picture[rim].mean())
        below[:] = np.clip(below * (1 - weight) + lifted * weight, 0, 255).round()
        mask = np.zeros(part.shape[:2], np.uint8)
        mask[top + quarter : top + side - quarter, left + quarter : left + side - quarter] = 1
        yield part, mask
