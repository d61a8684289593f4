"""Measure how long a step of an adversarial training takes, and how long its forward and backward passes
take.

python -m retraining.adversarial.cost sdg-gan 64 --batch 16
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from retraining.adversarial.loop import build_pair, train_pair
from retraining.adversarial.losses import LOSSES, gradient_penalty
from retraining.adversarial.plan import SYSTEMS, AdversarialPlan
from retraining.runs.distributed import World, choose_device
from retraining.runs.step_cost import Clock, StepCost, chosen_clock, interleave, options


def measure_step(plan: AdversarialPlan, steps: int = 7, clock: Clock = time.perf_counter) -> StepCost:
    """Time ``steps`` steps of the loop and, between them, the bare passes of each; not the first two.

    On a busy machine give ``time.process_time`` and let torch use one thread: others then do not count.
    """
    real = np.random.default_rng(1).integers(0, 256, (64, plan.size, plan.size, plan.channels), np.uint8)
    passes, update = _bare_passes(plan)
    often = replace(plan, steps=steps + 3, check_every=10**6, sheet_every=10**6, checkpoint_every=10**6)
    with tempfile.TemporaryDirectory() as folder:
        return interleave(
            lambda report: train_pair(often, real, Path(folder), report=report), passes, update, clock
        )


def _bare_passes(plan: AdversarialPlan) -> tuple[Callable[[], None], Callable[[], None]]:
    """One step's forward and backward passes on fixed tensors, and the optimisers' steps after them."""
    system, device = plan.own_system(), choose_device(plan.device)
    loss, pair = LOSSES[system.loss], build_pair(plan, device)
    bf16 = pair.settle_precision(plan, device, World())
    real = torch.rand(plan.batch, plan.channels, plan.size, plan.size, device=device) * 2 - 1
    real = real.contiguous(memory_format=torch.channels_last)
    latent = torch.randn(plan.batch, system.latent, device=device)
    mix = torch.rand(plan.batch, 1, device=device)

    def through(network: torch.nn.Module, x: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            out: Tensor = network(x)
        return out.float()

    def passes() -> None:
        for _ in range(system.critic_steps):
            pair.critic.zero_grad(set_to_none=True)
            with torch.no_grad():
                fake = through(pair.generator, latent)
            total = loss.critic(through(pair.critic, real), through(pair.critic, fake))
            if system.penalty:
                total = total + system.penalty * gradient_penalty(
                    lambda x: through(pair.critic, x), real, fake, mix
                )
            total.backward()  # type: ignore[no-untyped-call]
        pair.critic.requires_grad_(False)
        pair.generator.zero_grad(set_to_none=True)
        loss.generator(through(pair.critic, through(pair.generator, latent))).backward()  # type: ignore[no-untyped-call]
        pair.critic.requires_grad_(True)

    def update() -> None:
        for _ in range(system.critic_steps):
            pair.critic_optimiser.step()
        pair.generator_optimiser.step()

    return passes, update


def main() -> None:
    """Print the cost of a step on this machine."""
    parser = options(__doc__, batch=16, steps=15)
    parser.add_argument("system", choices=sorted(SYSTEMS), help="the pair of networks")
    parser.add_argument("size", type=int, help="side of the pictures, px")
    asked = parser.parse_args()
    plan = AdversarialPlan(system=asked.system, size=asked.size, steps=asked.steps, batch=asked.batch)
    cost = measure_step(plan, asked.steps, chosen_clock(asked))
    print(f"{asked.system}, {asked.size} px, batch {asked.batch}, {cost}")


if __name__ == "__main__":
    main()
