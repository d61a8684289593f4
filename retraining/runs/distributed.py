"""Several processes that train one network (``torchrun``): who am I, and averages over all of us.

Gradients are averaged by hand between the backward pass and the optimiser's step. No wrapper stands round
the network, so a gradient penalty may go backward twice. Without ``torchrun`` everything here is a no-op.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a run."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """The rows that are ours of a batch of ``count``, a multiple of :attr:`size`."""
        own = count // self.size
        return slice(self.rank * own, (self.rank + 1) * own)


@contextmanager
def open_world(device: torch.device) -> Iterator[World]:
    """Join the other processes that ``torchrun`` started (NCCL on CUDA, else gloo).

    They are joined once and left when this process ends: a group that is made again under one ``torchrun``
    finds the addresses of the one before and waits for ever.
    """
    if not distributed.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            yield World()
            return
        if device.type == "cuda":
            torch.cuda.set_device(device)
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(distributed.destroy_process_group)
    yield World(distributed.get_rank(), distributed.get_world_size())


def is_first() -> bool:
    """Whether this process is the one that writes, also before and after :func:`open_world`."""
    return int(os.environ.get("RANK", "0")) == 0


def choose_device(asked: str = "auto") -> torch.device:
    """``auto``: the GPU that ``torchrun`` gave this process, where there is one, else the CPU."""
    if asked != "auto":
        return torch.device(asked)
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def average_gradients(parameters: Iterable[nn.Parameter], world: World) -> None:
    """Replace each gradient by its mean over the processes; one message for all of them."""
    if world.size == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    distributed.all_reduce(flat)
    flat /= world.size
    at = 0
    for gradient in gradients:
        gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient))
        at += gradient.numel()


def average_numbers(numbers: Sequence[Tensor | float], world: World, device: torch.device) -> list[float]:
    """The mean of each number over the processes: all of them then decide alike."""
    flat = torch.stack([torch.as_tensor(n, dtype=torch.float64, device=device) for n in numbers])
    if world.size > 1:
        distributed.all_reduce(flat)
        flat /= world.size
    return [float(n) for n in flat.tolist()]


def wait_for_all(world: World) -> None:
    """Go on when every process has come here: then what the first one wrote is there."""
    if world.size > 1:
        distributed.barrier()


def gather_rows(rows: NDArray[np.int64], world: World, device: torch.device) -> NDArray[np.int64]:
    """The rows ``(n, k)`` of all processes, those of the first first; ``n`` may differ between them."""
    if world.size == 1:
        return rows
    counts = torch.zeros(world.size, dtype=torch.int64, device=device)
    counts[world.rank] = len(rows)
    distributed.all_reduce(counts)
    room = torch.zeros((world.size, int(counts.max()), rows.shape[1]), dtype=torch.int64, device=device)
    room[world.rank, : len(rows)] = torch.from_numpy(rows)
    distributed.all_reduce(room)
    return torch.cat([own[:count] for own, count in zip(room, counts.tolist(), strict=True)]).cpu().numpy()
