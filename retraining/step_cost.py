"""What a step of a training loop costs beside its bare passes, and the command line that measures it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class StepCost:
    """Medians of interleaved steps, seconds."""

    step_s: float
    """A whole step of the loop: pictures drawn and changed, passes, optimisers, average, log."""
    bare_s: float
    """The forward and backward passes that it makes, on tensors that lie ready, and nothing else."""
    growth_mib: float | None = None
    """By how much the process's largest resident size grew after the first fifth of the steps."""

    @property
    def ratio(self) -> float:
        """How many times its bare passes a step costs."""
        return self.step_s / self.bare_s

    def __str__(self) -> str:
        told = (
            f"{torch.get_num_threads()} threads: {self.step_s * 1000:.0f} ms a step, "
            f"{self.bare_s * 1000:.0f} ms bare passes, ratio {self.ratio:.3f}"
        )
        if self.growth_mib is None:
            return told
        return f"{told}, resident size grew by {self.growth_mib:.0f} MiB"


def options(purpose: str | None, *, batch: int, steps: int) -> argparse.ArgumentParser:
    """A command line with what every measurement asks for; ``purpose`` is a module's docstring."""
    parser = argparse.ArgumentParser(description=(purpose or "").partition("\n")[0])
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--processor-time", action="store_true", help="for a busy machine; one thread")
    return parser


def chosen_clock(asked: argparse.Namespace) -> Callable[[], float]:
    """The clock that was asked for; on processor time torch gets one thread."""
    if not asked.processor_time:
        return time.perf_counter
    torch.set_num_threads(1)
    return time.process_time
