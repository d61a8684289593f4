"""The circle from its first step to its last."""

from __future__ import annotations

from functools import partial

from retraining.circle import home, steps
from retraining.circle.commands import get_ready
from retraining.circle.plan import Plan, Steps


def run_circle(plan: Plan, step: Steps) -> None:
    """Do every step that is not done yet. Raises ``StepError`` where one does not do what it must."""
    steps.write_recipes(plan)
    step("render the lots", partial(render_lots, plan))
    step("render known parts", partial(steps.render_known, plan))
    if plan.first is None:
        step("train the first engine", partial(steps.train, plan, "first", plan.data / "known"))
    else:
        step("take the first engine", partial(steps.take_first, plan))
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


def render_lots(plan: Plan) -> int:
    """The parts that come before the camera; how many. The process of the commands gets ready meanwhile."""
    get_ready()
    return len(steps.bad_lot(plan).parts) + len(home.usual_lot(plan).parts)
