"""The miniature of the circle: every step of it with few small parts, and a first engine made before.

Housings of the smallest width are drawn small, in patches of 64 px, with two kinds of defect. *Roll-marks*
are the unknown one, because they can be seen at that size. The first engine lies in ``first/`` beside this
file; :func:`make_first` makes it again.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import yaml

from retraining.circle import steps
from retraining.circle.plan import PRODUCT, Plan, Steps
from station.files import write_file

FIRST = Path(__file__).parent / "first"
"""The run folder of the first engine, without what a circle does not need of it."""


def miniature(out: Path, housing: Path) -> Plan:
    """The plan of the miniature in the folder ``out``; ``housing``: the recipe that it makes smaller."""
    document = yaml.safe_load(housing.read_text(encoding="utf-8"))
    document["product"]["widths_px"] = [385]
    document["surface"] |= {"height": 256, "width": 64}
    document["patch"]["size"] = 64
    recipe = out / "miniature.yaml"
    out.mkdir(parents=True, exist_ok=True)
    write_file(recipe, yaml.safe_dump(document, sort_keys=False))
    return Plan(
        out, recipe, unknown="roll-marks", known=("imprinted",), known_parts=96, known_seed=204, lot_parts=16,
        lot_good=0.25, same_below=0.0, test_parts=16, test_seed=93, frame_margin_px=160, line_parts=4,
        pasted=16, network="sca-cnn", first=FIRST, from_first=True, batch=4, steps=200, precision="fp32",
        gan_px=32, gan_steps=2, threads=1, rate_hz=20.0, shadow_parts=0,
    )  # fmt: skip


def make_first(plan: Plan, step: Steps, out: Path) -> None:
    """Train the miniature's first engine on more parts, and write what a circle needs of it to ``out``."""
    plan = replace(plan, known_parts=320, batch=8, steps=800, first=None)
    steps.write_recipes(plan)
    step("render known parts", partial(steps.render_known, plan))
    step("train the first engine", partial(steps.train, plan, "first", plan.data / "known"))
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(plan.engine_of("first"), out / "engines" / PRODUCT)
    shutil.copyfile(plan.tuned_of("first"), out / f"{PRODUCT}.yaml")
