"""The training loop of all translators: one function, :func:`train`, to be read from top to bottom.

What is trained, and what a step of it is, says a :class:`Method` (:mod:`retraining.translators.domains`,
``cycle`` and ``masked``). A method draws everything of step ``n`` from the seed and ``n`` alone, so that an
interrupted run continues exactly where it stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from retraining.errors import DivergedError, TrainingError, TrainingStoppedError
from retraining.runs.folder import StepLog, close_run, open_run, save_state, stop_requests
from retraining.runs.precision import use_bf16
from retraining.runs.sheets import write_picture
from retraining.translators.plan import RunPlan

Reporter = Callable[[int, str], None]
"""Called after each step with the step's number and a line of text."""

WEIGHTS = "translator.pt"
_MAY_CHANGE = ("device", "sheet_every", "checkpoint_every")
"""Settings that may have another value when a run continues from its checkpoint; ``steps`` too, unless they
shape the schedule."""


class Method(Protocol):
    """What a run trains: its networks with their optimisers, one step of all of them, and what is shown."""

    device: torch.device
    columns: tuple[str, ...]
    """Of the log; one that a step did not compute is left empty."""
    shown: Mapping[str, str]
    """Words of the line that is reported, and the columns that they stand for."""
    parts: Mapping[str, Any]
    """What a checkpoint holds, by name: anything with ``state_dict`` and ``load_state_dict``."""

    def rehearse(self, bf16: bool) -> None:
        """Passes like a step's by copies of the networks, to be timed."""

    def step(self, number: int, bf16: bool) -> dict[str, float]:
        """Step ``number``, from 0 on, of all networks; its losses by column."""

    def sheet(self) -> NDArray[np.uint8]:
        """What the networks make now, ``(H, W, C)``, for people."""

    def content(self) -> dict[str, Any]:
        """What the file of weights holds beside the plan."""


def train(
    plan: RunPlan,
    method: Method,
    folder: Path,
    *,
    about: Mapping[str, Any],
    resume: bool = True,
    report: Reporter = lambda step, line: None,
) -> Path:
    """Train and return the weights, ``folder/translator.pt``.

    Writes these, ``run.json``, ``log.csv``, ``checkpoint.pt`` and ``samples/``. Raises
    :class:`TrainingStoppedError` after a checkpoint when the process is asked to stop, and
    :class:`DivergedError` without weights.
    """
    checkpoint, total = folder / "checkpoint.pt", plan.total_steps
    with stop_requests() as stop_asked:
        step, bf16 = 0, None
        if resume and checkpoint.is_file():
            step, bf16 = _restore(checkpoint, plan, method)
        if bf16 is None:
            work = ("translator", plan.system, plan.size, plan.channels, plan.batch)
            bf16 = use_bf16(plan.precision, method.device, method.rehearse, work)
        folder.mkdir(parents=True, exist_ok=True)
        open_run(folder, "translator", asdict(plan), {"seed": plan.seed}, first_step=step, about=about)
        (folder / WEIGHTS).unlink(missing_ok=True)
        log = StepLog(folder / "log.csv", step)
        while step < total:
            began = time.perf_counter()
            values = method.step(step, bf16)
            step += 1
            if odd := [name for name, value in values.items() if not math.isfinite(value)]:
                error = DivergedError(
                    f"{', '.join(odd)}: no number at step {step}; lower the learning rate, or train in fp32, "
                    "and use a new folder"
                )
                close_run(folder, "diverged", {"why": str(error)})
                raise error
            seconds = time.perf_counter() - began
            row = {name: values.get(name, math.nan) for name in method.columns}
            log.write({"step": step, **row, "seconds": seconds})
            stopping, last = stop_asked(), step == total
            if last or step % plan.sheet_every == 0:
                write_picture(method.sheet(), folder / "samples" / f"{step:06d}.png")
            if last or stopping or step % plan.checkpoint_every == 0:
                _save(checkpoint, plan, method, step, bf16)
            known = [f"{word} {values[name]:.3f}" for word, name in method.shown.items() if name in values]
            report(step, " ".join([*known, f"{seconds:.2f} s per step"]))
            if stopping and not last:
                close_run(folder, "stopped", {})
                raise TrainingStoppedError(f"stopped at step {step}; the same command continues from there")
        save_state({"plan": asdict(plan), **method.content()}, folder / WEIGHTS)
        close_run(folder, "finished", {"steps": total, "precision": "bf16" if bf16 else "fp32"})
    return folder / WEIGHTS


def adam(network: nn.Module, learning_rate: float, betas: tuple[float, float]) -> torch.optim.Optimizer:
    """Adam for what learns of a network."""
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return torch.optim.Adam(learning, learning_rate, betas, fused=True)


def at_rate(learning_rate: float, *optimisers: torch.optim.Optimizer) -> None:
    """Let the next steps of optimisers have this learning rate."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate


def update(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of an optimiser down the slope of ``loss``."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def scaled(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """uint8 ``(N, S, S, C)`` -> ``(N, C, S, S)``, -1..1."""
    given = torch.from_numpy(np.ascontiguousarray(pixels)).to(device)
    return given.permute(0, 3, 1, 2).float() / 127.5 - 1


def flipped(pictures: Tensor, chosen: NDArray[np.bool_]) -> Tensor:
    """``(N, ..., S, S)``, mirrored up-down where ``chosen`` ``(2, N)`` says so, and then left-right."""
    for axis, own in zip((-2, -1), torch.from_numpy(chosen).to(pictures.device), strict=True):
        pictures = torch.where(own.view(-1, *[1] * (pictures.dim() - 1)), pictures.flip(axis), pictures)
    return pictures


def as_pixels(made: Tensor) -> NDArray[np.uint8]:
    """``(N, C, S, S)``, -1..1 and clipped there -> uint8 ``(N, S, S, C)``."""
    levels = ((made.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    pixels: NDArray[np.uint8] = levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return pixels


def _save(path: Path, plan: RunPlan, method: Method, step: int, bf16: bool) -> None:
    parts = {name: part.state_dict() for name, part in method.parts.items()}
    save_state({"plan": _settings(plan), "step": step, "bf16": bf16, **parts}, path)


def _restore(path: Path, plan: RunPlan, method: Method) -> tuple[int, bool]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["plan"] != _settings(plan):
        raise TrainingError(
            f"{path} was written with another plan; start again by --no-resume, or use a new folder"
        )
    for name, part in method.parts.items():
        part.load_state_dict(state[name])
    return int(state["step"]), bool(state["bf16"])


def _settings(plan: RunPlan) -> dict[str, Any]:
    free = _MAY_CHANGE if plan.scheduled else (*_MAY_CHANGE, "steps")
    return {name: value for name, value in asdict(plan).items() if name not in free}
