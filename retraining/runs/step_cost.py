"""Measure the time of a training step beside that of its forward and backward passes."""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

Clock = Callable[[], float]
Reporter = Callable[[int, str], None]


@dataclass(frozen=True, slots=True)
class StepCost:
    """Medians of interleaved steps, seconds."""

    step_s: float
    """A whole step of the loop: pictures drawn and changed, passes, optimisers, average, log."""
    bare_s: float
    """The forward and backward passes that it makes, on tensors that lie ready, and nothing else."""
    optimiser_s: float
    """What torch's optimisers take to move the weights by the gradients of those passes."""
    growth_mib: float
    """By how much the process's largest resident size grew after the first fifth of the steps."""

    @property
    def ratio(self) -> float:
        """How many times its bare passes a step costs."""
        return self.step_s / self.bare_s

    def __str__(self) -> str:
        return (
            f"{torch.get_num_threads()} threads: {self.step_s * 1000:.0f} ms per step, "
            f"{self.bare_s * 1000:.0f} ms bare passes, ratio {self.ratio:.3f}, "
            f"{self.optimiser_s * 1000:.0f} ms optimiser, "
            f"resident size grew by {self.growth_mib:.0f} MiB"
        )


def interleave(
    loop: Callable[[Reporter], object],
    passes: Callable[[], object],
    update: Callable[[], object],
    clock: Clock,
) -> StepCost:
    """Run ``loop``; after each of its steps, where it reports, make the bare ``passes`` and the ``update``.

    The first two steps and the last one are left out of the medians; ``loop`` makes four or more.
    """
    steps: list[float] = []
    bare: list[float] = []
    updates: list[float] = []
    resident: list[int] = []
    began = clock()

    def timed(work: Callable[[], object]) -> float:
        before = clock()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return clock() - before

    def report(step: int, line: str) -> None:
        nonlocal began
        steps.append(clock() - began)
        bare.append(timed(passes))
        updates.append(timed(update))
        resident.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        began = clock()

    loop(report)
    kept = slice(2, -1)
    growth = (resident[-2] - resident[len(resident) // 5]) / 1024
    step_s, bare_s, optimiser_s = (statistics.median(taken[kept]) for taken in (steps, bare, updates))
    return StepCost(step_s, bare_s, optimiser_s, growth)


def options(purpose: str | None, *, batch: int, steps: int) -> argparse.ArgumentParser:
    """A command line with the options of every measurement; ``purpose`` is the docstring of a module."""
    parser = argparse.ArgumentParser(description=(purpose or "").partition("\n")[0])
    parser.add_argument("--batch", type=int, default=batch, help="pictures per step")
    parser.add_argument("--steps", type=int, default=steps, help="steps to measure")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="measure processor time on one thread, for a busy machine",
    )
    return parser


def chosen_clock(asked: argparse.Namespace) -> Clock:
    """The clock that the options name; with processor time torch gets one thread."""
    if not asked.processor_time:
        return time.perf_counter
    torch.set_num_threads(1)
    return time.process_time
