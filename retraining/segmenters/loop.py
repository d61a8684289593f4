"""The training loop for segmenters: one function, :func:`train_segmenter`, to be read from top to bottom.

Step ``n`` draws its pictures and changes from the seed and ``n`` alone, so an interrupted run continues
exactly where it stopped. The loss is the mean of binary cross-entropy and Dice; Saiz et al. 2021 give none.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from models.segmenters import ENCODERS, SEGMENTERS, SMALLEST_PX, Segmenter
from retraining.errors import DivergedError, TrainingError, TrainingStoppedError
from retraining.runs.distributed import choose_device
from retraining.runs.folder import StepLog, close_run, open_run, save_state, stop_requests
from retraining.runs.precision import use_bf16
from retraining.segmenters.pictures import MaskedPictures

Reporter = Callable[[int, str], None]
"""Called after each step with the step's number and a line of text."""

_MAY_CHANGE = ("checkpoint_every", "device")
"""Settings that may have another value when a run continues from its checkpoint."""
_CHUNK = 8
"""Pictures that are segmented at once."""


@dataclass(frozen=True, slots=True)
class SegmenterPlan:
    """Everything that, with the pictures, determines the training of a segmenter."""

    network: str = "deeplabv3plus"
    encoder: str = "resnet18"
    channels: int = 1
    steps: int = 1500
    batch: int = 16
    learning_rate: float = 1e-3
    """At the top of its one cycle."""
    weight_decay: float = 1e-4
    flips: bool = True
    """Mirrored left-right and up-down at random."""
    brightness: float = 0.2
    """Multiplied by 1 +- this at random."""
    seed: int = 1
    precision: str = "auto"
    """``fp32``, ``bf16``, or ``auto``: the faster of the two, by one step of each."""
    device: str = "auto"
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        if self.network not in SEGMENTERS or self.encoder not in ENCODERS:
            raise TrainingError(
                f"a segmenter is one of {', '.join(SEGMENTERS)} with one of {', '.join(ENCODERS)}, not "
                f"{self.network!r} with {self.encoder!r}"
            )
        if self.channels not in (1, 3) or self.precision not in ("auto", "fp32", "bf16"):
            raise TrainingError(
                f"pictures have 1 or 3 channels and the precision is auto, fp32 or bf16, not {self.channels} "
                f"and {self.precision!r}"
            )
        if self.steps < 1 or self.batch < 2 or self.checkpoint_every < 1 or self.learning_rate <= 0:
            raise TrainingError(
                "a plan needs 1 step or more, 2 pictures per batch or more, 1 step or more between "
                "checkpoints, and a learning rate above 0"
            )
        if not 0 <= self.brightness < 1 or self.weight_decay < 0:
            raise TrainingError("brightness is from 0 to below 1, the weight decay 0 or more")


def train_segmenter(
    plan: SegmenterPlan,
    pictures: MaskedPictures,
    folder: Path,
    *,
    about: Mapping[str, Any] | None = None,
    resume: bool = True,
    report: Reporter = lambda step, line: None,
) -> Path:
    """Train a segmenter on pictures with masks; return its weights, ``folder/segmenter.pt``.

    Writes that, ``run.json``, ``log.csv`` and ``checkpoint.pt``. Raises :class:`TrainingStoppedError` after a
    checkpoint when the process is asked to stop, and :class:`DivergedError` without weights.
    """
    if not pictures.masks.any():
        raise TrainingError("no picture of the training split has a defect; add some")
    side = pictures.pixels.shape[1]
    if side < SMALLEST_PX[plan.network]:
        raise TrainingError(
            f"{plan.network} takes pictures of {SMALLEST_PX[plan.network]} px or more, not {side}; use a "
            "larger --side or another network"
        )
    device = choose_device(plan.device)
    with stop_requests() as stop_asked:
        run = _begin(plan, device)
        if resume and (folder / "checkpoint.pt").is_file():
            run.restore(folder / "checkpoint.pt", plan)
        work = ("segmenter", plan.network, plan.encoder, plan.batch, side)
        if run.bf16 is None:
            run.bf16 = use_bf16(plan.precision, device, _rehearsal(run.network, plan, side, device), work)
        described = {"pictures": len(pictures), "side": side, **(about or {})}
        folder.mkdir(parents=True, exist_ok=True)
        open_run(folder, "segmenter", asdict(plan), {"seed": plan.seed}, first_step=run.step, about=described)
        (folder / "segmenter.pt").unlink(missing_ok=True)
        log = StepLog(folder / "log.csv", run.step)
        while run.step < plan.steps:
            began = time.perf_counter()
            seen, truth = _batch(plan, pictures, run.step, device)
            rate = _learning_rate(plan, run.step)
            for group in run.optimiser.param_groups:
                group["lr"] = rate
            torch.manual_seed(plan.seed * 1_000_003 + run.step)
            run.network.train()
            with torch.autocast(device.type, torch.bfloat16, enabled=run.bf16):
                logits = run.network(seen)
            loss = segmentation_loss(logits.float(), truth)
            run.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            run.optimiser.step()
            run.step += 1
            value = loss.item()
            if not math.isfinite(value):
                error = DivergedError(
                    f"the loss is {value} at step {run.step}; lower the learning rate, or train in fp32, and "
                    "use a new folder"
                )
                close_run(folder, "diverged", {"why": str(error)})
                raise error
            seconds = time.perf_counter() - began
            log.write({"step": run.step, "loss": value, "learning_rate": rate, "seconds": seconds})
            stopping, last = stop_asked(), run.step == plan.steps
            if last or stopping or run.step % plan.checkpoint_every == 0:
                run.save(folder / "checkpoint.pt", plan)
            report(run.step, f"loss {value:.3f} {seconds:.2f} s per step")
            if stopping and not last:
                close_run(folder, "stopped", {})
                raise TrainingStoppedError(
                    f"stopped at step {run.step}; the same command continues from there"
                )
        save_state({"plan": asdict(plan), "weights": run.network.state_dict()}, folder / "segmenter.pt")
        close_run(folder, "finished", {"steps": plan.steps, "precision": "bf16" if run.bf16 else "fp32"})
    return folder / "segmenter.pt"


def segmentation_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """The mean of cross-entropy and Dice of logits and truth ``(N, 1, H, W)``, scalar.

    Cross-entropy alone hardly feels a defect of half a per cent of the pixels; Dice alone has no slope where
    nothing is found. Source: Milletari et al. 2016 (V-Net), section 3, for Dice.
    """
    found = torch.sigmoid(logits)
    overlap = 2 * (found * truth).sum((1, 2, 3)) + 1
    dice = 1 - overlap / (found.sum((1, 2, 3)) + truth.sum((1, 2, 3)) + 1)
    return 0.5 * binary_cross_entropy_with_logits(logits, truth) + 0.5 * dice.mean()


def open_segmenter(weights: Path) -> tuple[SegmenterPlan, nn.Module]:
    """A trained segmenter, ready to segment, and its plan; raises :class:`TrainingError`."""
    if not weights.is_file():
        raise TrainingError(f"there is no trained segmenter at {weights}; finish its run first")
    state = torch.load(weights, map_location="cpu", weights_only=True)
    plan = SegmenterPlan(**state["plan"])
    network = Segmenter(plan.network, plan.encoder, plan.channels)
    network.load_state_dict(state["weights"])
    return plan, network.requires_grad_(False).eval()


def segment(network: nn.Module, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The probability that each pixel is defective, ``(N, H, W)``, of uint8 ``(N, H, W, C)``."""
    device = next(network.parameters()).device
    found = []
    with torch.inference_mode():
        for at in range(0, len(pixels), _CHUNK):
            logits = network(_as_input(pixels[at : at + _CHUNK]).to(device))
            found.append(torch.sigmoid(logits.float())[:, 0].cpu().numpy())
    return np.concatenate(found)


@dataclass(slots=True)
class _Run:
    """What a run carries from step to step, and what a checkpoint holds of it."""

    network: nn.Module
    optimiser: torch.optim.Optimizer
    step: int = 0
    bf16: bool | None = None
    """The arithmetic that the run began with; None before it is settled."""

    def save(self, path: Path, plan: SegmenterPlan) -> None:
        save_state(
            {
                "plan": _settings(plan), "step": self.step, "bf16": self.bf16,
                "network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(),
            },
            path,
        )  # fmt: skip

    def restore(self, path: Path, plan: SegmenterPlan) -> None:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["plan"] != _settings(plan):
            raise TrainingError(
                f"{path} was written with another plan; start again by --no-resume, or use a new folder"
            )
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.bf16 = int(state["step"]), state["bf16"]


def _begin(plan: SegmenterPlan, device: torch.device) -> _Run:
    torch.manual_seed(plan.seed)
    network = Segmenter(plan.network, plan.encoder, plan.channels).to(device)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(
        network.parameters(), plan.learning_rate, weight_decay=plan.weight_decay, fused=True
    )
    return _Run(network, optimiser)


def _rehearsal(
    network: nn.Module, plan: SegmenterPlan, side: int, device: torch.device
) -> Callable[[bool], None]:
    """Forward and backward passes like a step's, by a copy of the network, to be timed."""
    twin = copy.deepcopy(network).train()
    seen = torch.full((plan.batch, plan.channels, side, side), 0.5, device=device)
    truth = torch.zeros(plan.batch, 1, side, side, device=device)

    def passes(bf16: bool) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = twin(seen.contiguous(memory_format=torch.channels_last))
        segmentation_loss(logits.float(), truth).backward()  # type: ignore[no-untyped-call]

    return passes


def _batch(
    plan: SegmenterPlan, pictures: MaskedPictures, step: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Pictures ``(B, C, S, S)``, 0..1, and masks ``(B, 1, S, S)`` of a step, changed alike."""
    rng = np.random.default_rng([plan.seed, step])
    rows = rng.integers(len(pictures), size=plan.batch)
    flips = rng.random((2, plan.batch)) < 0.5 if plan.flips else np.zeros((2, plan.batch), bool)
    gains = rng.uniform(1 - plan.brightness, 1 + plan.brightness, plan.batch)
    seen = np.empty((plan.batch, *pictures.pixels.shape[1:]), np.float32)
    truth = np.empty((plan.batch, *pictures.masks.shape[1:]), np.float32)
    for at, row in enumerate(rows):
        down, across = (-1 if flips[axis, at] else 1 for axis in range(2))
        seen[at] = pictures.pixels[row, ::down, ::across] * np.float32(gains[at] / 255)
        truth[at] = pictures.masks[row, ::down, ::across]
    inputs = torch.from_numpy(np.clip(seen, 0.0, 1.0)).permute(0, 3, 1, 2)
    return (
        inputs.contiguous(memory_format=torch.channels_last).to(device),
        torch.from_numpy(truth).unsqueeze(1).to(device),
    )


def _as_input(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(0, 3, 1, 2)


def _learning_rate(plan: SegmenterPlan, step: int) -> float:
    """A linear rise over a tenth of the steps, then half a cosine down to a hundredth."""
    rise = max(1, round(0.1 * plan.steps))
    if step < rise:
        return plan.learning_rate * (step + 1) / rise
    done = (step - rise) / max(1, plan.steps - rise)
    return plan.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def _settings(plan: SegmenterPlan) -> dict[str, Any]:
    return {name: value for name, value in asdict(plan).items() if name not in _MAY_CHANGE}
