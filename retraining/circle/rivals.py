"""The next engine made in other ways from the circle's own data: what synthesis and chosen parts add."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retraining.circle import steps
from retraining.circle.commands import RETRAIN, StepError, call
from retraining.circle.plan import Plan, Steps
from retraining.circle.report import share
from retraining.circle.steps import ESCAPED, NAMED, NAMED_OTHERWISE
from retraining.data.kept_parts import kept_parts
from retraining.data.manifest import TRUSTED, load_dataset, save_dataset
from retraining.data.pixels import load_pixels
from retraining.surfaces import SOUND
from retraining.synthesis.paste_sets import marked_surfaces, write_parts
from station.recipe import load_recipe

GAN_PX = 64
"""Side of the pictures that the GAN learns and draws, px of the surface."""
ROWS = (
    ("next", "crop-and-paste (the circle)"), ("without", "no synthesis"), ("gan", "SDG-GAN"),
    ("random", "parts drawn at random, crop-and-paste"),
)  # fmt: skip


def run_rivals(plan: Plan, step: Steps) -> str:
    """Train and compare the rivals of a circle that is done; the table in Markdown."""
    split, data = plan.data / "split", plan.data
    step("without: train", partial(steps.train, plan, "without", split))
    step("GAN: train the generator", partial(train_gan, plan))
    step("GAN: draw and place", partial(place_drawn, plan))
    step("GAN: train", partial(steps.train, plan, "gan", split, "--synthetic", data / "gan-parts"))
    step("random: inspect the bad lot", partial(steps.inspect_lot, plan, "random", steps.KEEP_ALL))
    as_many = len(kept_parts(plan.out / "lines" / "bad" / "received"))
    step("random: label", partial(steps.gather, plan, "random", "random-split", as_many))
    step("random: paste", partial(steps.synthesise, plan, "random-split", "random-pasted"))
    pasted = ("--synthetic", data / "random-pasted")
    step("random: train", partial(steps.train, plan, "random", data / "random-split", *pasted))
    found = {which: step(f"compare {which}", partial(steps.compare, plan, which)) for which, _ in ROWS}
    return table(plan, found)


def table(plan: Plan, found: dict[str, dict[str, Any]]) -> str:
    """One row per way, shares with their 95 % intervals (Wilson)."""
    named = f"{plan.unknown} rejected as {plan.unknown}"
    lines = [f"| way | {named} | under another name | escapes of it | overkill | other escapes |"]
    lines.append("|---" * 6 + "|")
    for which, words in ROWS:
        one = found[which]
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
                window = (
                    _start(top, bottom, surface.height), _start(left, right, surface.width), GAN_PX, GAN_PX,
                )  # fmt: skip
                windows.append(replace(picture, window=window, marks=()))
    save_dataset(split.with_pictures(windows), plan.data / "gan-windows")
    call(
        RETRAIN, "gan", "--dataset", plan.data / "gan-windows", "--class", plan.unknown, "--system",
        "sdg-gan", "--size", GAN_PX, "--steps", plan.gan_steps, "--batch", min(16, len(windows)),
        "--diffaugment", "mild", "--threads", plan.threads, "--out", plan.out / "runs" / "generators",
        log=plan.log,
    )  # fmt: skip
    return len(windows)


def _start(low: float, high: float, side: int) -> int:
    """Where a window begins that has ``low`` to ``high`` in its middle, and lies within the surface."""
    return max(0, min(side - GAN_PX, round((low + high - GAN_PX) / 2)))


def place_drawn(plan: Plan) -> int:
    """Draw pictures of the class, and blend each onto a good part of the training parts; how many parts."""
    drawn = plan.data / "gan-drawn"
    call(
        RETRAIN, "synthesise", plan.out / "runs" / "generators", "--count", plan.pasted, "--out", drawn,
        log=plan.log,
    )  # fmt: skip
    pictures = load_pixels(load_dataset(drawn), GAN_PX, 1, labelled_by=("synthetic",)).pixels
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
    rng, quarter = np.random.default_rng(1), GAN_PX // 4
    ramp = np.clip(np.minimum(np.arange(GAN_PX), np.arange(GAN_PX)[::-1]) / quarter, 0.0, 1.0)
    weight = (ramp[:, None] * ramp)[..., None]
    for picture in pictures:
        part = np.array(good[int(rng.integers(len(good)))])
        top, left = (int(rng.integers(side - GAN_PX + 1)) for side in part.shape[:2])
        below = part[top : top + GAN_PX, left : left + GAN_PX]
        rim = weight < 1
        lifted = picture + (below[rim].mean() - picture[rim].mean())
        below[:] = np.clip(below * (1 - weight) + lifted * weight, 0, 255).round()
        mask = np.zeros(part.shape[:2], np.uint8)
        mask[top + quarter : top + GAN_PX - quarter, left + quarter : left + GAN_PX - quarter] = 1
        yield part, mask
