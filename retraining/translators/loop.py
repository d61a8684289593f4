"""The training loop for translators: one function, :func:`train_translator`, to be read from top to bottom.

One generator serves all domains; it is told the target, and what it made is turned back by itself and must
be the first picture again. Step ``n`` draws everything from the seed and ``n`` alone, so an interrupted run
continues exactly where it stopped.

PE-GAN's text also says that the difference between real and generated backgrounds, and defects, is made
small; it has no formula for it, and none is invented here: equation 5 is the only such term.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from models.translators import TRANSLATORS
from retraining.adversarial.losses import gradient_penalty
from retraining.data.pixels import PictureSet
from retraining.errors import DivergedError, TrainingError, TrainingStoppedError
from retraining.runs.distributed import choose_device
from retraining.runs.folder import StepLog, close_run, open_run, save_state, stop_requests
from retraining.runs.precision import use_bf16
from retraining.runs.sheets import tile, write_picture
from retraining.translators.plan import TranslatorPlan

Reporter = Callable[[int, str], None]
"""Called after each step with the step's number and a line of text."""

_MAY_CHANGE = ("steps", "device", "sheet_every", "checkpoint_every")
"""Settings that may have another value when a run continues from its checkpoint."""
_PARTS = ("generator", "critic", "generator_optimiser", "critic_optimiser")
_SHOWN = 6
"""Backgrounds on a sheet, one row each."""
_CHUNK = 16
"""Pictures that are translated at once."""


def train_translator(
    plan: TranslatorPlan,
    pictures: PictureSet,
    background: str,
    folder: Path,
    *,
    about: Mapping[str, Any] | None = None,
    resume: bool = True,
    report: Reporter = lambda step, line: None,
) -> Path:
    """Train on pictures of all domains; return the generator's weights, ``folder/translator.pt``.

    ``pictures`` are uint8 ``(N, size, size, channels)``, one domain per class, of which ``background`` is
    the one without a defect. Writes the weights, ``run.json``, ``log.csv``, ``checkpoint.pt`` and
    ``samples/``: each row a background and what becomes of it in every class. Raises
    :class:`TrainingStoppedError` after a checkpoint when the process is asked to stop, and
    :class:`DivergedError` without weights.
    """
    _check(plan, pictures, background)
    system, device = plan.own_system(), choose_device(plan.device)
    ground, domains = pictures.classes.index(background), len(pictures.classes)
    with stop_requests() as stop_asked:
        run = _begin(plan, domains, device)
        if resume and (folder / "checkpoint.pt").is_file():
            run.restore(folder / "checkpoint.pt", plan)
        bf16 = run.settle_precision(plan, device)
        described = {"background": background, "classes": list(pictures.classes), **(about or {})}
        folder.mkdir(parents=True, exist_ok=True)
        open_run(
            folder, "translator", asdict(plan), {"seed": plan.seed}, first_step=run.step, about=described
        )
        (folder / "translator.pt").unlink(missing_ok=True)
        log = StepLog(folder / "log.csv", run.step)

        def translate(seen: Tensor, target: Tensor) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                made: Tensor = run.generator(seen, target)
            return made.float()

        def judge(seen: Tensor) -> tuple[Tensor, Tensor]:
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                scores, logits = run.critic(seen)
            return scores.float(), logits.float()

        while run.step < plan.steps:
            began = time.perf_counter()
            draws = _Draws(plan, pictures, ground, run.step, device)

            # The critic learns to distinguish real pictures from translated ones, and to name domains.
            for _ in range(system.critic_steps):
                seen, own, target = draws.batch()
                with torch.no_grad():
                    made = translate(seen, target)
                real_scores, real_logits = judge(seen)
                named = cross_entropy(real_logits, own)
                critic_loss = judge(made)[0].mean() - real_scores.mean()
                penalty = gradient_penalty(lambda x: judge(x)[0], seen, made, draws.mix())
                run.critic_optimiser.zero_grad(set_to_none=True)
                total = critic_loss + system.penalty * penalty + system.critic_class * named
                total.backward()  # type: ignore[no-untyped-call]
                run.critic_optimiser.step()

            # The generator learns to be taken for real, in the target's class, and to find its way back.
            run.critic.requires_grad_(False)
            seen, own, target = draws.batch()
            made = translate(seen, target)
            scores, logits = judge(made)
            convinced = cross_entropy(logits, target)
            cycle = (seen - translate(made, own)).abs().mean()
            generator_loss = -scores.mean() + system.generator_class * convinced + system.cycle * cycle
            run.generator_optimiser.zero_grad(set_to_none=True)
            generator_loss.backward()  # type: ignore[no-untyped-call]
            run.generator_optimiser.step()
            run.critic.requires_grad_(True)
            run.step += 1

            values = [
                value.item() for value in (critic_loss, penalty, named, generator_loss, convinced, cycle)
            ]
            if not all(map(math.isfinite, values)):
                error = DivergedError(
                    f"the losses are {values[0]} and {values[3]} at step {run.step}; lower the learning "
                    "rate, or train in fp32, and use a new folder"
                )
                close_run(folder, "diverged", {"why": str(error)})
                raise error
            seconds = time.perf_counter() - began
            names = ("critic_loss", "penalty", "critic_class", "generator_loss", "generator_class", "cycle")
            log.write({"step": run.step, **dict(zip(names, values, strict=True)), "seconds": seconds})
            stopping, last = stop_asked(), run.step == plan.steps
            if last or run.step % plan.sheet_every == 0:
                _write_sheet(run.generator, pictures, ground, folder, run.step)
            if last or stopping or run.step % plan.checkpoint_every == 0:
                run.save(folder / "checkpoint.pt", plan)
            report(run.step, f"critic {values[0]:.3f} cycle {values[5]:.3f} {seconds:.2f} s per step")
            if stopping and not last:
                close_run(folder, "stopped", {})
                raise TrainingStoppedError(
                    f"stopped at step {run.step}; the same command continues from there"
                )
        content = {
            "plan": asdict(plan), "classes": list(pictures.classes), "background": background,
            "weights": run.generator.state_dict(),
        }  # fmt: skip
        save_state(content, folder / "translator.pt")
        close_run(folder, "finished", {"steps": plan.steps, "precision": "bf16" if bf16 else "fp32"})
    return folder / "translator.pt"


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained translator."""

    plan: TranslatorPlan
    classes: tuple[str, ...]
    background: str
    generator: nn.Module


def open_translator(weights: Path) -> Trained:
    """A trained translator, ready to translate; raises :class:`TrainingError`."""
    if not weights.is_file():
        raise TrainingError(f"there is no trained translator at {weights}; finish its run first")
    state = torch.load(weights, map_location="cpu", weights_only=True)
    plan, classes = TranslatorPlan(**state["plan"]), tuple(state["classes"])
    generator = TRANSLATORS[plan.own_system().networks].generator(plan.size, plan.channels, len(classes))
    generator.load_state_dict(state["weights"])
    return Trained(plan, classes, state["background"], generator.requires_grad_(False).eval())


def translate(trained: Trained, pixels: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """Pictures ``(N, size, size, C)`` as pictures of the class ``name``; raises :class:`TrainingError`."""
    plan = trained.plan
    if name not in trained.classes:
        raise TrainingError(f"no class is called {name!r}; choose one of {', '.join(trained.classes)}")
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (plan.size, plan.size, plan.channels):
        raise TrainingError(
            f"the translator takes uint8 (N, {plan.size}, {plan.size}, {plan.channels}), not "
            f"{pixels.dtype} {pixels.shape}"
        )
    target = trained.classes.index(name)
    empty = np.empty((0, *pixels.shape[1:]), np.uint8)
    return np.concatenate([empty, *_translated(trained.generator, pixels, target)])


def _translated(generator: nn.Module, pixels: NDArray[np.uint8], target: int) -> Iterator[NDArray[np.uint8]]:
    device = next(generator.parameters()).device
    for at in range(0, len(pixels), _CHUNK):
        seen = _scaled(torch.from_numpy(np.ascontiguousarray(pixels[at : at + _CHUNK])).to(device))
        with torch.no_grad():
            made = generator(seen, torch.full((len(seen),), target, device=device))
        levels = ((made.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        yield levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()


@dataclass(slots=True)
class _Run:
    """What a run carries from step to step, and what a checkpoint holds of it."""

    generator: nn.Module
    critic: nn.Module
    generator_optimiser: torch.optim.Optimizer
    critic_optimiser: torch.optim.Optimizer
    step: int = 0
    bf16: bool | None = None
    """The arithmetic that the run began with; None before it is settled."""

    def settle_precision(self, plan: TranslatorPlan, device: torch.device) -> bool:
        if self.bf16 is None:
            generator, critic = copy.deepcopy(self.generator), copy.deepcopy(self.critic)
            seen = torch.zeros(plan.batch, plan.channels, plan.size, plan.size, device=device)
            target = torch.zeros(plan.batch, dtype=torch.int64, device=device)
            mix = torch.full((plan.batch,), 0.5, device=device)

            def passes(bf16: bool) -> None:
                def score(x: Tensor) -> Tensor:
                    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                        scores: Tensor = critic(x)[0]
                    return scores.float()

                with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                    made = generator(seen, target).float()
                (score(made).mean() + gradient_penalty(score, seen, made, mix)).backward()  # type: ignore[no-untyped-call]

            work = ("translator", plan.system, plan.size, plan.channels, plan.batch)
            self.bf16 = use_bf16(plan.precision, device, passes, work)
        return self.bf16

    def save(self, path: Path, plan: TranslatorPlan) -> None:
        parts = {name: getattr(self, name).state_dict() for name in _PARTS}
        save_state({"plan": _settings(plan), "step": self.step, "bf16": self.bf16, **parts}, path)

    def restore(self, path: Path, plan: TranslatorPlan) -> None:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["plan"] != _settings(plan):
            raise TrainingError(
                f"{path} was written with another plan; start again by --no-resume, or use a new folder"
            )
        for name in _PARTS:
            getattr(self, name).load_state_dict(state[name])
        self.step, self.bf16 = int(state["step"]), state["bf16"]


class _Draws:
    """The pictures, targets and random numbers of one step."""

    def __init__(
        self, plan: TranslatorPlan, pictures: PictureSet, ground: int, step: int, device: torch.device
    ) -> None:
        self._plan, self._pictures, self._device = plan, pictures, device
        self._rng = np.random.default_rng([plan.seed, step])
        self._ground = ground
        self._grounds = np.flatnonzero(pictures.labels == ground)
        self._defects = [
            np.flatnonzero(pictures.labels == k) for k in range(len(pictures.classes)) if k != ground
        ]

    def batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures ``(B, C, S, S)``, -1..1, their own domains and their targets, ``(B,)`` each."""
        count, rng = self._plan.batch, self._rng
        domains = len(self._pictures.classes)
        if self._plan.own_system().targets == "background":
            half = count // 2
            kinds = rng.integers(len(self._defects), size=half)
            defects = [rng.choice(self._defects[kind]) for kind in kinds]
            rows = np.concatenate([rng.choice(self._grounds, half), np.array(defects, np.int64)])
            others = np.delete(np.arange(domains), self._ground)
            target = np.concatenate([rng.choice(others, half), np.full(half, self._ground)])
        else:
            rows = rng.integers(len(self._pictures), size=count)
            own = self._pictures.labels[rows]
            target = (own + rng.integers(1, domains, size=count)) % domains
        seen = torch.from_numpy(np.ascontiguousarray(self._pictures.pixels[rows])).to(self._device)
        scaled = _scaled(seen)
        if self._plan.flips:
            for axis in (2, 3):
                chosen = torch.from_numpy(rng.random(count) < 0.5).to(self._device).view(-1, 1, 1, 1)
                scaled = torch.where(chosen, scaled.flip(axis), scaled)
        labels = (
            torch.from_numpy(which.astype(np.int64)).to(self._device)
            for which in (self._pictures.labels[rows], target)
        )
        own_labels, targets = labels
        return scaled.contiguous(memory_format=torch.channels_last), own_labels, targets

    def mix(self) -> Tensor:
        """``(B,)``, 0..1."""
        return torch.from_numpy(self._rng.random(self._plan.batch, np.float32)).to(self._device)


def _scaled(pixels: Tensor) -> Tensor:
    """uint8 ``(N, S, S, C)`` -> ``(N, C, S, S)``, -1..1."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def _begin(plan: TranslatorPlan, domains: int, device: torch.device) -> _Run:
    system = plan.own_system()
    torch.manual_seed(plan.seed)
    networks = TRANSLATORS[system.networks]
    generator, critic = (
        build(plan.size, plan.channels, domains).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for build in (networks.generator, networks.critic)
    )

    def adam(network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(network.parameters(), system.learning_rate, system.betas, fused=True)

    return _Run(generator, critic, adam(generator), adam(critic))


def _check(plan: TranslatorPlan, pictures: PictureSet, background: str) -> None:
    if background not in pictures.classes:
        raise TrainingError(
            f"no class is called {background!r}; name the one without defects: {', '.join(pictures.classes)}"
        )
    expected = (plan.size, plan.size, plan.channels)
    if pictures.pixels.shape[1:] != expected:
        raise TrainingError(f"pictures are (N, {', '.join(map(str, expected))}), not {pictures.pixels.shape}")
    few = [name for name, count in pictures.count().items() if count < 2]
    if few or len(pictures.classes) < 2:
        missing = ", ".join(few) or "a class with a defect"
        raise TrainingError(f"there are fewer than two pictures of {missing}; add some")


def _write_sheet(generator: nn.Module, pictures: PictureSet, ground: int, folder: Path, step: int) -> None:
    """Each row a background, then the same as every class."""
    shown = pictures.of_class(ground).pixels[:_SHOWN]
    others = [k for k in range(len(pictures.classes)) if k != ground]
    made = [np.concatenate(list(_translated(generator, shown, k))) for k in others]
    columns = np.stack([shown, *made], axis=1)
    sheet = tile(columns.reshape(-1, *columns.shape[2:]), columns.shape[1])
    write_picture(sheet, folder / "samples" / f"{step:06d}.png")


def _settings(plan: TranslatorPlan) -> dict[str, Any]:
    return {name: value for name, value in asdict(plan).items() if name not in _MAY_CHANGE}
