"""Measure how long a step of a classifier's training takes, and how long its forward and backward passes
take.

python -m retraining.classifiers.cost resnet18 64 --batch 32
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from retraining.classifiers.augmentation import as_batch
from retraining.classifiers.loop import TrainingPlan, build_network, train
from retraining.classifiers.losses import cross_entropy
from retraining.classifiers.optimisers import make_optimiser
from retraining.data.dataset import PictureSet
from retraining.data.source import PictureSource
from retraining.runs.distributed import choose_device
from retraining.runs.precision import use_bf16
from retraining.runs.step_cost import Clock, StepCost, chosen_clock, interleave, options


def measure_step(
    plan: TrainingPlan,
    side: int,
    *,
    channels: int = 1,
    classes: int = 6,
    steps: int = 20,
    clock: Clock = time.perf_counter,
) -> StepCost:
    """Time ``steps`` steps of the loop and after each of them the bare passes; the first ones are left out.

    The batch that comes next is made ready while the passes of the same step run; on a clock of processor
    time (``time.process_time``, with one thread for torch) that is counted in full, and others on the
    machine are not. Checkpoints are left out (:attr:`TrainingPlan.checkpoint_every`).
    """
    rng = np.random.default_rng(1)
    count = 64 * classes
    pictures = PictureSet(
        rng.integers(0, 256, (count, side, side, channels), np.uint8),
        np.arange(count) % classes,
        tuple(f"class {k}" for k in range(classes)),
        tuple(str(n) for n in range(count)),
        tuple(str(n) for n in range(count)),
    )
    source = PictureSource(pictures)
    passes, update = _bare_passes(plan, source, pictures.labels[: plan.batch])
    timed = replace(plan, steps=steps + 3, checkpoint_every=10**9, validate_every=10**9)
    with tempfile.TemporaryDirectory() as folder:
        return interleave(
            lambda report: train(timed, source, Path(folder), report=report), passes, update, clock
        )


def _bare_passes(
    plan: TrainingPlan, source: PictureSource, truth: object
) -> tuple[Callable[[], None], Callable[[], object]]:
    """One step's passes on a batch that lies ready, and the optimiser's step after them."""
    device = choose_device(plan.device)
    network = build_network(plan, source).to(device).train()
    optimiser = make_optimiser(
        plan.optimiser, network, learning_rate=1e-6, l2=plan.l2, weight_decay=plan.weight_decay
    )
    drawn = np.random.default_rng(2).integers(0, 256, (plan.batch, *source.size, source.channels), np.uint8)
    pixels = as_batch(drawn).to(device)
    labels = torch.as_tensor(truth, device=device)

    def passes(bf16: bool) -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = network(pixels)
        cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]

    bf16 = use_bf16(plan.precision, device, passes, ("cost", plan.network, pixels.shape))
    return partial(passes, bf16), optimiser.step


def main() -> None:
    """Print the cost of a step on this machine."""
    parser = options(__doc__, batch=32, steps=20)
    parser.add_argument("network", help="a name that `retrain networks` lists")
    parser.add_argument("side", type=int, help="side of the pictures, px")
    parser.add_argument("--channels", type=int, default=1, help="1 for grey, 3 for colour")
    asked = parser.parse_args()
    plan = TrainingPlan(network=asked.network, batch=asked.batch)
    clock = chosen_clock(asked)
    cost = measure_step(plan, asked.side, channels=asked.channels, steps=asked.steps, clock=clock)
    print(f"{asked.network}, {asked.side} px, batch {asked.batch}, {cost}")


if __name__ == "__main__":
    main()
