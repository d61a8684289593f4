"""The circle from its first step to its last."""

from __future__ import annotations

from functools import partial

from retraining.circle import home, steps
from retraining.circle.plan import Plan, Steps


def run_circle(plan: Plan, step: Steps) -> None:
    """Do every step that is not done yet. Raises ``StepError`` where one does not do what it must."""
    steps.write_recipes(plan)
    step("render known parts", partial(steps.render_known, plan))
    step("train the first engine", partial(steps.train, plan, "first", plan.data / "known"))
    step("inspect the bad lot", partial(steps.inspect_lot, plan))
    step("label and gather", partial(steps.gather, plan))
    step("paste the rare class", partial(steps.synthesise, plan))
    pasted = ("--synthetic", plan.data / "pasted")
    step("train the next engine", partial(steps.train, plan, "next", plan.data / "split", *pasted))
    step("render unseen parts", partial(steps.render_unseen, plan))
    for which in ("first", "next"):
        step(f"compare {which}", partial(steps.compare, plan, which))
    step("ship, sign and order", partial(home.publish, plan))
    step("come home to a running line", partial(home.go_home, plan))
