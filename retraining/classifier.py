"""The training loop for classifiers: one function, :func:`train`, to be read from top to bottom.

Step ``n`` of a run draws its patches, changes and dropout from the seed and ``n`` alone, so a run that was
interrupted goes on exactly where it stood. The loss is cross-entropy with label smoothing plus the paper's L2
penalty on convolution weights. Patches the network gets wrong in a way that matters to a whole part (a false
alarm, or the wrong kind of defect) are kept and shown again: one false alarm among sixteen patches rejects a
good part. Missed defects are not replayed on purpose, because some marginal ones cannot be seen by anyone.
"""

from __future__ import annotations

import csv
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from models.classifiers import CLASSIFIERS
from models.classifiers.layers import l2_penalty
from retraining.augmentation import Augmentation, as_batch
from retraining.crops import WINDOW, Source


class TrainingError(Exception):
    """Training cannot start or go on; the message says what to do about it."""


class TrainingStoppedError(TrainingError):
    """SIGTERM or SIGINT came; a checkpoint was written and the same command goes on from it."""


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Everything that, with the data, determines a training run."""

    network: str = "inception-cnn"
    steps: int = 2000
    batch: int = 32
    learning_rate: float = 1e-3
    """At the top of the one-cycle schedule."""
    warm_up: float = 0.1
    """Share of the steps in which the learning rate rises."""
    l2: float = 1e-5
    """Weight of the L2 penalty. The paper's 0.01 belongs to 100 epochs of a small data set; in a run of a few
    thousand steps it outweighs the cross-entropy by far and the network learns only to be small."""
    dropout: float = 0.2
    label_smoothing: float = 0.02
    ema: float = 0.995
    """Per step; the averaged weights are those that are validated and exported."""
    replay_share: float = 0.15
    """Share of a batch drawn from the patches that were wrong before."""
    replay_size: int = 512
    clip_norm: float = 5.0
    seed: int = 1
    precision: str = "auto"
    """``fp32``, ``bf16``, or ``auto``: bf16 where the processor multiplies it in hardware."""
    validate_every: int = 250
    checkpoint_every: int = 50
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.network not in CLASSIFIERS:
            raise TrainingError(f"no network {self.network!r}; choose one of {', '.join(CLASSIFIERS)}")
        if self.precision not in ("auto", "fp32", "bf16"):
            raise TrainingError(f"precision is auto, fp32 or bf16, not {self.precision!r}")
        if self.steps < 1 or self.batch < 2:
            raise TrainingError("at least 1 step and 2 patches a batch are needed")


@dataclass(frozen=True, slots=True)
class Validation:
    """What a validation found; the weights with the highest ``score`` are kept as the best."""

    score: float
    summary: str


Validator = Callable[[nn.Module], Validation]
Reporter = Callable[[int, str], None]
"""Called after each step with the step's number and a line of text."""


def resolve_precision(asked: str) -> str:
    """``fp32`` or ``bf16``; bf16 without hardware for it is about half as fast as fp32."""
    if asked != "auto":
        return asked
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "fp32"
    return "bf16" if "amx_bf16" in flags or "avx512_bf16" in flags else "fp32"


def learning_rate(plan: TrainingPlan, step: int) -> float:
    """One cycle: a linear rise, then half a cosine down to a hundredth."""
    rise = max(1, round(plan.steps * plan.warm_up))
    if step < rise:
        return plan.learning_rate * (step + 1) / rise
    done = (step - rise) / max(1, plan.steps - rise)
    return plan.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def build_network(plan: TrainingPlan, source: Source) -> nn.Module:
    """A fresh network for the source's classes and patches, its weights drawn from the plan's seed."""
    torch.manual_seed(plan.seed)
    make = CLASSIFIERS[plan.network]
    try:
        network = make(len(source.classes), source.channels, source.patch_px, plan.dropout)
    except ValueError as error:
        raise TrainingError(f"{plan.network} cannot be built for this data: {error}") from None
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def carry_weights(weights: dict[str, Tensor], network: nn.Module) -> None:
    """Load weights into a network for larger patches.

    The convolutions fit any patch. The first fully connected layer, ``(256, C)`` after 128-px patches, is
    repeated over the larger grid and divided by its side: a defect in one cell still speaks, the sound
    cells together do not shout it down.
    """
    own = network.state_dict()
    for name, value in weights.items():
        target = own[name]
        if value.shape != target.shape:
            cells = target.shape[1] // value.shape[1] if value.dim() == 2 else 0
            if (
                value.dim() != 2
                or target.shape[0] != value.shape[0]
                or cells * value.shape[1] != target.shape[1]
            ):
                raise TrainingError(
                    f"{name} is {tuple(value.shape)} in the weights, {tuple(target.shape)} in the network; "
                    "only the patch size may differ, from 128 px upward"
                )
            value = value.repeat_interleave(cells, dim=1) / math.sqrt(cells)
        own[name] = value
    network.load_state_dict(own)


def train(
    plan: TrainingPlan,
    source: Source,
    folder: Path,
    *,
    validate: Validator | None = None,
    start_from: Path | None = None,
    replay_first: NDArray[np.int64] | None = None,
    resume: bool = True,
    report: Reporter = lambda step, line: None,
) -> Path:
    """Train and return the path of the best weights, ``folder/best.pt``.

    Writes ``checkpoint.pt`` (weights, their average, optimiser, replay), ``log.csv``, ``curves.png`` and
    ``best.pt``. ``start_from`` is a ``best.pt`` of another run, possibly of smaller patches;
    ``replay_first`` are windows ``(n, 4)`` of the source that are known to be hard. Raises
    :class:`TrainingStoppedError` after a checkpoint when the process is told to end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network = build_network(plan, source)
    if start_from is not None:
        carry_weights(load_weights(start_from), network)
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.AdamW(network.parameters(), lr=plan.learning_rate, weight_decay=0.0)
    replay = np.empty((0, WINDOW), np.int64) if replay_first is None else replay_first[-plan.replay_size :]
    best_score, first_step = -math.inf, 0
    if resume and (folder / "checkpoint.pt").is_file():
        state = load_checkpoint(folder / "checkpoint.pt", plan)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        average = state["average"]
        replay = state["replay"].numpy()
        best_score, first_step = state["best_score"], state["step"]
    bf16 = resolve_precision(plan.precision) == "bf16"
    log = _Log(folder / "log.csv", first_step)

    def keep(step: int) -> None:
        state = {
            "plan": _plan_as_text(plan),
            "step": step,
            "network": network.state_dict(),
            "average": average,
            "optimiser": optimiser.state_dict(),
            "replay": torch.from_numpy(replay.copy()),
            "best_score": best_score,
        }
        _save(state, folder / "checkpoint.pt")

    with _stop_requests() as stop_asked:
        for step in range(first_step, plan.steps):
            began = time.perf_counter()
            rng = np.random.default_rng([plan.seed, step])
            torch.manual_seed(plan.seed * 1_000_003 + step)

            windows = source.draw(rng, plan.batch)
            again = min(round(plan.batch * plan.replay_share), len(replay) // 2)
            if again:
                windows[rng.choice(plan.batch, again, replace=False)] = replay[rng.choice(len(replay), again)]
            batch = source.cut(windows)
            pixels = as_batch(batch.pixels, rng, plan.augmentation)
            labels = torch.from_numpy(batch.labels)

            for group in optimiser.param_groups:
                group["lr"] = learning_rate(plan, step)
            network.train()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                logits = network(pixels)
            logits = logits.float()
            fit = cross_entropy(logits, labels, label_smoothing=plan.label_smoothing)
            loss = fit + plan.l2 * l2_penalty(network)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), plan.clip_norm)
            optimiser.step()
            if not math.isfinite(loss.item()):
                raise TrainingError(f"the loss is {loss.item()} at step {step}; lower the learning rate")
            _update_average(average, network, min(plan.ema, (1 + step) / (10 + step)))

            predicted = logits.argmax(1).numpy()
            alarmed = np.zeros(0) if source.sound is None else predicted[batch.labels == source.sound]
            wrong = (predicted != batch.labels) & (predicted != source.sound) & (source.sound is not None)
            replay = np.concatenate([replay, batch.windows[wrong]])[-plan.replay_size :]
            row = {
                "step": step + 1,
                "loss": loss.item(),
                "cross_entropy": fit.item(),
                "accuracy": float((predicted == batch.labels).mean()),
                "false_alarms": float((alarmed != source.sound).mean()) if len(alarmed) else math.nan,
                "learning_rate": learning_rate(plan, step),
                "validation": math.nan,
                "seconds": time.perf_counter() - began,
            }
            line = f"loss {row['loss']:.3f} accuracy {row['accuracy']:.3f} {row['seconds']:.2f} s a step"
            last, stopping = step + 1 == plan.steps, stop_asked()
            if last or (step + 1) % plan.validate_every == 0:
                shadow = build_network(plan, source)
                shadow.load_state_dict(average)
                found = validate(shadow.eval()) if validate else Validation(float(step), "not validated")
                row["validation"] = found.score if validate else math.nan
                line += f" | {found.summary}"
                if found.score >= best_score:
                    best_score = found.score
                    save_weights(average, folder / "best.pt")
            log.write(row)
            if last or (step + 1) % plan.checkpoint_every == 0 or stopping:
                keep(step + 1)
            report(step + 1, line)
            if stopping and not last:
                raise TrainingStoppedError(f"stopped at step {step + 1}; the same command goes on from there")
    draw_curves(folder / "log.csv", folder / "curves.png")
    return folder / "best.pt"


def probabilities(network: nn.Module, patches: NDArray[np.uint8], chunk: int = 32) -> NDArray[np.float32]:
    """Softmax scores ``(N, classes)`` of uint8 patches ``(N, patch, patch, C)``, in evaluation mode."""
    network.eval()
    with torch.inference_mode():
        scores = [
            torch.softmax(network(as_batch(patches[at : at + chunk])), 1)
            for at in range(0, len(patches), chunk)
        ]
    found: NDArray[np.float32] = torch.cat(scores).numpy().astype(np.float32)
    return found


def save_weights(weights: dict[str, Tensor], path: Path) -> None:
    """Write a state dict, replacing an older file at once or not at all."""
    _save(weights, path)


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict; raises :class:`TrainingError`."""
    if not path.is_file():
        raise TrainingError(f"there are no weights at {path}; train first or name another run's best.pt")
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def load_checkpoint(path: Path, plan: TrainingPlan) -> dict[str, Any]:
    """Read a checkpoint of ``plan``; raises :class:`TrainingError` when it belongs to another plan."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if state["plan"] != _plan_as_text(plan):
        raise TrainingError(
            f"{path} was written under another plan; start over with --no-resume or in a new folder"
        )
    return state


def draw_curves(log: Path, picture: Path) -> None:
    """Loss, accuracy and validation over the steps, as a PNG."""
    from matplotlib.figure import Figure

    with log.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    steps = np.array([int(r["step"]) for r in rows])
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    width = max(1, min(25, len(rows) // 4))
    for axis, names in ((left, ("cross_entropy",)), (right, ("accuracy", "false_alarms"))):
        for name in names:
            values = np.convolve([float(r[name]) for r in rows], np.ones(width) / width, "valid")
            axis.plot(steps[width - 1 :], values, label=name.replace("_", " "))
        axis.set_xlabel("step")
    marks = [(int(r["step"]), float(r["validation"])) for r in rows if not math.isnan(float(r["validation"]))]
    if marks:
        right.plot(*zip(*marks, strict=True), "o-", label="validation score")
    left.set_yscale("log")
    left.legend()
    right.legend()
    figure.savefig(picture, dpi=110)


def _update_average(average: dict[str, Tensor], network: nn.Module, keep: float) -> None:
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value.detach(), 1 - keep)
        else:
            average[name].copy_(value)


def _plan_as_text(plan: TrainingPlan) -> str:
    settings = asdict(plan)
    for name in ("validate_every", "checkpoint_every"):
        del settings[name]
    return repr(sorted(settings.items()))


def _save(state: object, path: Path) -> None:
    unfinished = path.with_suffix(".part")
    torch.save(state, unfinished)
    unfinished.replace(path)


class _Log:
    """The run's CSV; on resume the rows after the checkpoint are dropped."""

    def __init__(self, path: Path, first_step: int) -> None:
        self._path = path
        kept: list[dict[str, str]] = []
        if first_step and path.is_file():
            with path.open(encoding="utf-8") as file:
                kept = [row for row in csv.DictReader(file) if int(row["step"]) <= first_step]
        path.unlink(missing_ok=True)
        for row in kept:
            self.write(row)

    def write(self, row: dict[str, float] | dict[str, str]) -> None:
        new = not self._path.is_file()
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)


@contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """Catch SIGTERM and SIGINT for a while; the value says whether one came. Main thread only, else inert."""
    asked = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True

    try:
        before = {number: signal.signal(number, remember) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:
        before = {}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
