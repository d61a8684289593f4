"""The arithmetic that a training runs with.

What a processor says of itself does not tell which arithmetic is faster: with bf16 products but without
matrix units, depthwise convolutions are slower in bf16 than in fp32. So ``auto`` times one step of each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

import torch

from retraining.runs.distributed import World, average_numbers
from station.machine import processor

Step = Callable[[bool], object]
"""One step's forward and backward passes, in bf16 where it is given True; it leaves no trace behind."""

_found: dict[Hashable, bool] = {}
"""What was timed before in this process: the same work is not timed twice, so repeated runs agree."""


def use_bf16(
    asked: str, device: torch.device, step: Step, work: Hashable, world: World | None = None
) -> bool:
    """Whether to compute in bf16: as ``asked`` (``fp32``, ``bf16``), or for ``auto`` whichever is faster.

    ``step`` is run twice in each arithmetic, the first time to warm up; not at all where the hardware
    cannot multiply bf16. ``work`` identifies what is timed: network, batch, size. All processes of ``world``
    come to the same answer.
    """
    if asked != "auto":
        return asked == "bf16"
    if not _multiplies_bf16(device):
        return False
    key = (work, str(device), torch.get_num_threads())
    if key not in _found:
        fp32_s, bf16_s = (_seconds(step, bf16, device) for bf16 in (False, True))
        if world is not None:
            fp32_s, bf16_s = average_numbers([fp32_s, bf16_s], world, device)
        _found[key] = bf16_s < fp32_s
    return _found[key]


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return processor().multiplies_bf16


def _seconds(step: Step, bf16: bool, device: torch.device) -> float:
    """The second of two steps."""
    taken = 0.0
    for _ in range(2):
        began = time.perf_counter()
        step(bf16)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken = time.perf_counter() - began
    return taken
