"""The training loop for classifiers: one function, :func:`train`, to be read from top to bottom.

Step ``n`` of a run draws its patches, changes and dropout from the seed and ``n`` alone (and, under
``torchrun``, from the rank of the process), so an interrupted run continues exactly where it stopped. A
second thread prepares batch ``n + 1`` while the network learns from batch ``n``. The loss is one of
:mod:`retraining.classifiers.losses` plus the paper's L2 penalty on convolution weights.

If the source has a class without a defect, patches are kept and shown again when the network is wrong about
them in a way that matters to a whole part: a false alarm, or the wrong kind of defect. One false alarm among
sixteen patches rejects a good part. Missed defects are not shown again, because nobody can see some of the
marginal ones.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.classifiers import CLASSIFIERS
from retraining.classifiers.augmentation import as_batch
from retraining.classifiers.losses import Loss, cross_entropy, distillation, make_loss
from retraining.classifiers.optimisers import clip_gradients, make_optimiser
from retraining.classifiers.plan import TrainingPlan, in_epochs, learning_rate, settings
from retraining.classifiers.weights import (
    begin_with,
    carry_weights,
    load_checkpoint,
    load_weights,
    save_weights,
)
from retraining.errors import TrainingError, TrainingStoppedError
from retraining.runs.curves import draw_curves
from retraining.runs.distributed import (
    World,
    average_gradients,
    average_numbers,
    choose_device,
    gather_rows,
    open_world,
    wait_for_all,
)
from retraining.runs.folder import StepLog, close_run, open_run, save_state, stop_requests
from retraining.runs.precision import use_bf16
from retraining.surfaces.crops import WINDOW, Batch, Source

_AVERAGE_EVERY = 4
"""Steps between two updates of the averaged weights."""

__all__ = [
    "Reporter", "Teacher", "TrainingError", "TrainingPlan", "TrainingStoppedError", "Validation", "Validator",
    "build_network", "carry_weights", "in_epochs", "learning_rate", "load_checkpoint", "load_weights",
    "probabilities", "save_weights", "train",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Validation:
    """What a validation found; the weights with the highest ``score`` are kept as the best."""

    score: float
    summary: str


Validator = Callable[[nn.Module], Validation]
Teacher = Callable[[Tensor], Tensor]
"""Logits ``(N, classes)`` that a larger network gives for pixels ``(N, C, H, W)``, float 0..1."""
Reporter = Callable[[int, str], None]
"""Called after each step with the step's number and a line of text."""


def build_network(plan: TrainingPlan, source: Source) -> nn.Module:
    """A fresh network for the source's classes and patches, its weights drawn from the plan's seed.

    Raises :class:`TrainingError` where the network cannot take such patches.
    """
    torch.manual_seed(plan.seed)
    try:
        network = CLASSIFIERS[plan.network](len(source.classes), source.channels, source.size, plan.dropout)
    except ValueError as error:
        raise TrainingError(f"{plan.network} cannot be built for this data: {error}") from None
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def train(
    plan: TrainingPlan,
    source: Source,
    folder: Path,
    *,
    validate: Validator | None = None,
    start_from: Path | None = None,
    replay_first: NDArray[np.int64] | None = None,
    teacher: Teacher | None = None,
    resume: bool = True,
    report: Reporter = lambda step, line: None,
) -> Path:
    """Train and return the path of the best weights, ``folder/best.pt``.

    Writes ``run.json``, ``checkpoint.pt`` (weights, their average, optimiser, replay), ``log.csv``,
    ``curves.png`` and ``best.pt``; under ``torchrun`` the first process alone writes. ``start_from`` is a
    ``best.pt`` of another run, possibly of smaller patches, or a published weights file; ``replay_first`` are
    windows ``(n, 4)`` of the source that are known to be hard; ``teacher`` is a larger network whose words
    are learnt beside the labels, by the plan's ``taught_share``. Raises :class:`TrainingStoppedError` after
    a checkpoint when the process is asked to stop.
    """
    device = choose_device(plan.device)
    with open_world(device) as world, stop_requests() as stop_asked, ThreadPoolExecutor(1) as helper:
        run = _begin(plan, source, world, device, start_from, replay_first, validate)
        if resume and (folder / "checkpoint.pt").is_file():
            run.restore(folder / "checkpoint.pt", plan)
        bf16 = run.settle_precision(plan, source, device, world)
        with _written_down(plan, folder, run.step, world, bf16):
            files = _Files(folder, run.step, world)
            coming = helper.submit(_prepare, plan, source, world, device, run.step, run.replay_before)
            while run.step < plan.steps and not run.exhausted(plan):
                began = time.perf_counter()
                batch = coming.result()
                if run.step + 1 < plan.steps:
                    coming = helper.submit(_prepare, plan, source, world, device, run.step + 1, run.replay)

                # Learn from the batch.
                rate = learning_rate(plan, run.step)
                for group in run.optimiser.param_groups:
                    group["lr"] = rate
                torch.manual_seed(plan.seed * 1_000_003 + run.step + 500_009 * world.rank)
                run.network.train()
                with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                    logits = run.network(batch.pixels)
                logits = logits.float()
                loss = run.criterion(logits, batch.labels)
                if teacher is not None:
                    learnt = distillation(logits, teacher(batch.pixels), plan.taught_temperature)
                    loss = torch.lerp(loss, learnt, plan.taught_share)
                run.optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                average_gradients(run.network.parameters(), world)
                clip_gradients(run.network.parameters(), plan.clip_norm)
                run.optimiser.step()
                run.step += 1
                last = run.step == plan.steps
                to_validate = last or run.step % plan.validate_every == 0
                run.average_in(plan.ema, now=to_validate)

                # The numbers of this step, the same in every process.
                found, wrong = _look_at(logits.detach(), batch, source.sound)
                run.replay_before, again = run.replay, gather_rows(wrong, world, device)
                run.replay = np.concatenate([run.replay, again])[-plan.replay_size :]
                loss_value, entropy, accuracy, alarms, stopping = average_numbers(
                    [loss.detach(), *found, float(stop_asked())], world, device
                )
                if not math.isfinite(loss_value):
                    raise TrainingError(
                        f"the loss is {loss_value} at step {run.step}; lower the learning rate"
                    )
                row = {
                    "step": run.step, "loss": loss_value, "cross_entropy": entropy, "accuracy": accuracy,
                    "false_alarms": alarms, "learning_rate": rate, "validation": math.nan,
                }  # fmt: skip
                seconds = time.perf_counter() - began
                line = f"loss {loss_value:.3f} accuracy {accuracy:.3f} {seconds:.2f} s per step"
                if to_validate:
                    checked = _validated(run, validate, world, device)
                    row["validation"] = checked.score if validate else math.nan
                    line += f" | {checked.summary}"
                    if run.judge(checked.score):
                        files.keep_best(run.average)
                ended = last or run.exhausted(plan)
                files.write({**row, "seconds": time.perf_counter() - began})
                files.checkpoint(run, plan, now=ended or bool(stopping))
                report(run.step, line)
                if stopping and not ended:
                    raise TrainingStoppedError(
                        f"stopped at step {run.step}; the same command continues from there"
                    )
            if world.first:
                draw_curves(folder / "log.csv", folder / "curves.png")
        wait_for_all(world)
    return folder / "best.pt"


def probabilities(
    network: nn.Module, patches: NDArray[np.uint8], chunk: int = 32, *, precision: str = "fp32"
) -> NDArray[np.float32]:
    """Softmax scores ``(N, classes)`` of uint8 patches ``(N, H, W, C)``, in evaluation mode."""
    network.eval()
    own = next(network.parameters(), None)
    device = torch.device("cpu") if own is None else own.device

    def score_first(bf16: bool) -> None:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            network(as_batch(patches[:chunk]).to(device))

    work = ("scores", type(network), sum(p.numel() for p in network.parameters()), patches[:chunk].shape)
    bf16 = len(patches) > 0 and use_bf16(precision, device, score_first, work)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        scores = [
            torch.softmax(network(as_batch(patches[at : at + chunk]).to(device)).float(), 1)
            for at in range(0, len(patches), chunk)
        ]
    found: NDArray[np.float32] = torch.cat(scores).cpu().numpy().astype(np.float32)
    return found


@dataclass(slots=True)
class _Run:
    """What a training run carries from step to step, and what a checkpoint holds of it."""

    network: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    criterion: Loss
    replay: NDArray[np.int64]
    replay_before: NDArray[np.int64]
    """The replay before the last step, from which the batch that comes next was drawn."""
    step: int = 0
    best_score: float = -math.inf
    stale: int = 0
    """Validations since the best one."""
    averaged: int = 0
    """The step to which the average follows the weights."""
    bf16: bool | None = None
    """The arithmetic that the run began with; None before it is settled."""
    _pairs: tuple[list[Tensor], list[Tensor]] = field(default=([], []))

    def __post_init__(self) -> None:
        theirs, own = self.average.state_dict(), self.network.state_dict()
        kept = [name for name, value in own.items() if value.is_floating_point()]
        self._pairs = [theirs[name] for name in kept], [own[name] for name in kept]

    def settle_precision(
        self, plan: TrainingPlan, source: Source, device: torch.device, world: World
    ) -> bool:
        """Whether the run computes in bf16: as its checkpoint did, or else as the plan asks."""
        if self.bf16 is None:
            own = plan.batch // world.size
            shape = (own, source.channels, *source.size)
            passes = _rehearsal(self.network, self.criterion, shape, device)
            self.bf16 = use_bf16(plan.precision, device, passes, ("classifier", plan.network, shape), world)
        return self.bf16

    def average_in(self, keep: float, *, now: bool) -> None:
        """Let the average follow the weights, ``keep`` per step, faster in the first steps.

        That is done for several steps at once, because each time it reads and writes all weights. Counters
        stay as they were; nothing computes with them.
        """
        behind = self.step - self.averaged
        if behind >= _AVERAGE_EVERY or now:
            share = min(keep, self.step / (9 + self.step)) ** behind
            torch._foreach_lerp_(self._pairs[0], self._pairs[1], 1 - share)
            self.averaged = self.step

    def judge(self, score: float) -> bool:
        """Whether these are the best weights so far."""
        best = score >= self.best_score
        self.stale = 0 if score > self.best_score else self.stale + 1
        self.best_score = max(score, self.best_score)
        return best

    def exhausted(self, plan: TrainingPlan) -> bool:
        """Whether the plan's patience is at its end."""
        return 0 < plan.patience <= self.stale

    def save(self, path: Path, plan: TrainingPlan) -> None:
        state = {
            "plan": settings(plan),
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "replay": torch.from_numpy(self.replay.copy()),
            "replay_before": torch.from_numpy(self.replay_before.copy()),
            "best_score": self.best_score,
            "stale": self.stale,
            "averaged": self.averaged,
            "bf16": self.bf16,
        }
        save_state(state, path)

    def restore(self, path: Path, plan: TrainingPlan) -> None:
        state = load_checkpoint(path, plan)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.replay, self.replay_before = state["replay"].numpy(), state["replay_before"].numpy()
        self.step, self.best_score, self.stale = state["step"], state["best_score"], state["stale"]
        self.averaged, self.bf16 = state["averaged"], state.get("bf16")


def _rehearsal(
    network: nn.Module, criterion: Loss, shape: tuple[int, ...], device: torch.device
) -> Callable[[bool], None]:
    """Forward and backward passes like a step's, by a copy of the network, to be timed."""
    pixels = torch.full(shape, 0.5, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(shape[0], dtype=torch.int64, device=device)
    twin = copy.deepcopy(network).train()

    def passes(bf16: bool) -> None:
        with torch.random.fork_rng(devices=[]), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = twin(pixels)
        criterion(logits.float(), labels).backward()  # type: ignore[no-untyped-call]

    return passes


@dataclass(frozen=True, slots=True)
class _Ready:
    """A batch on the device."""

    pixels: Tensor
    labels: Tensor
    drawn: Batch


def _begin(
    plan: TrainingPlan,
    source: Source,
    world: World,
    device: torch.device,
    start_from: Path | None,
    replay_first: NDArray[np.int64] | None,
    validate: Validator | None,
) -> _Run:
    if plan.batch % world.size or plan.batch // world.size < 2:
        raise TrainingError(
            f"a batch of {plan.batch} cannot be divided among {world.size} processes; use a larger --batch"
        )
    if plan.patience and validate is None:
        raise TrainingError("patience needs validation pictures; add some, or leave patience at 0")
    try:
        criterion = make_loss(
            plan.loss, smoothing=plan.label_smoothing, gamma=plan.focal_gamma, beta=plan.balance_beta,
            counts=plan.class_counts, device=device,
        )  # fmt: skip
    except ValueError as error:
        raise TrainingError(f"the loss {plan.loss!r} cannot be used: {error}") from None
    network = build_network(plan, source)
    if start_from is not None:
        begin_with(network, start_from)
    network.to(device)
    optimiser = make_optimiser(
        plan.optimiser, network, learning_rate=plan.learning_rate, l2=plan.l2, weight_decay=plan.weight_decay
    )
    average = copy.deepcopy(network).requires_grad_(False).eval()
    replay = np.empty((0, WINDOW), np.int64) if replay_first is None else replay_first[-plan.replay_size :]
    return _Run(network, average, optimiser, criterion, replay, replay)


def _prepare(
    plan: TrainingPlan,
    source: Source,
    world: World,
    device: torch.device,
    step: int,
    replay: NDArray[np.int64],
) -> _Ready:
    """The part of a step's batch that is this process's; a pure function, called in the helper's thread."""
    rng = np.random.default_rng([plan.seed, step, world.rank])
    own = plan.batch // world.size
    windows = source.draw(rng, own)
    again = min(round(own * plan.replay_share), len(replay) // 2)
    if again:
        windows[rng.choice(own, again, replace=False)] = replay[rng.choice(len(replay), again)]
    drawn = source.cut(windows)
    pixels = as_batch(drawn.pixels, rng, plan.augmentation)
    return _Ready(pixels.to(device), torch.from_numpy(drawn.labels).to(device), drawn)


def _look_at(
    logits: Tensor, batch: _Ready, sound: int | None
) -> tuple[tuple[Tensor | float, ...], NDArray[np.int64]]:
    """Cross-entropy, accuracy and share of false alarms of a batch, and the windows to show again."""
    predicted, truth = logits.argmax(1).cpu().numpy(), batch.drawn.labels
    right = float((predicted == truth).mean())
    entropy = cross_entropy(logits, batch.labels)
    if sound is None:
        return (entropy, right, math.nan), np.empty((0, WINDOW), np.int64)
    alarms = predicted[truth == sound] != sound
    wrong = (predicted != truth) & (predicted != sound)
    return (entropy, right, float(alarms.mean()) if len(alarms) else math.nan), batch.drawn.windows[wrong]


def _validated(run: _Run, validate: Validator | None, world: World, device: torch.device) -> Validation:
    """The validation of the averaged weights, done by the first process and sent to the others."""
    if validate is None:
        return Validation(float(run.step), "not validated")
    found = validate(run.average) if world.first else Validation(0.0, "")
    (score,) = average_numbers([found.score * world.size if world.first else 0.0], world, device)
    return Validation(score, found.summary)


class _Files:
    """The files of a run folder that grow with the run; only the first process writes them."""

    def __init__(self, folder: Path, first_step: int, world: World) -> None:
        self._folder = folder
        self._log = StepLog(folder / "log.csv", first_step) if world.first else None
        self._kept_at, self._save_s, self._since = first_step, 0.0, time.perf_counter()

    def write(self, row: dict[str, float]) -> None:
        if self._log is not None:
            self._log.write(row)

    def keep_best(self, average: nn.Module) -> None:
        if self._log is not None:
            weights = {name: value.cpu() for name, value in average.state_dict().items()}
            save_weights(weights, self._folder / "best.pt")

    def checkpoint(self, run: _Run, plan: TrainingPlan, *, now: bool) -> None:
        """Write a checkpoint when it is requested or due, but spend at most a fiftieth of the time on it."""
        began = time.perf_counter()
        due = run.step - self._kept_at >= plan.checkpoint_every
        if self._log is None or not (now or (due and began - self._since >= 50 * self._save_s)):
            return
        run.save(self._folder / "checkpoint.pt", plan)
        self._kept_at, self._since = run.step, time.perf_counter()
        self._save_s = self._since - began


@contextmanager
def _written_down(
    plan: TrainingPlan, folder: Path, first_step: int, world: World, bf16: bool
) -> Iterator[None]:
    """``run.json`` while the run lasts and how it ended."""
    if not world.first:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    open_run(folder, "classifier", asdict(plan), {"seed": plan.seed}, first_step=first_step)
    outcome = "failed"
    try:
        yield
        outcome = "finished"
    except TrainingError as error:
        outcome = str(error)
        raise
    finally:
        close_run(folder, outcome, {"precision": "bf16" if bf16 else "fp32"})
