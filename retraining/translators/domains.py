"""Translators between domains: one generator is told the target, and what it made must find its way back.

What the generator made is turned back by itself and must be the first picture again. PE-GAN's text also says
that the difference between real and generated backgrounds, and defects, is made small; it has no formula for
it, and none is invented here: equation 5 is the only such term.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from models.translators import TRANSLATORS
from retraining.adversarial.losses import gradient_penalty
from retraining.data.pixels import PictureSet
from retraining.errors import TrainingError
from retraining.runs.distributed import choose_device
from retraining.translators.cycle import CycleMethod
from retraining.translators.loop import Method, Reporter, adam, at_rate, flipped, scaled, train, update
from retraining.translators.plan import TranslatorPlan
from retraining.translators.trained import sheet_of


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
    the one without a defect. ``samples/`` shows in each row a background and what becomes of it in every
    class. Raises as :func:`retraining.translators.loop.train` does.
    """
    _check(plan, pictures, background)
    ground = pictures.classes.index(background)
    method: Method
    if plan.own_system().targets == "pair":
        method = CycleMethod(plan, pictures, ground, choose_device(plan.device))
    else:
        method = ConditionalMethod(plan, pictures, ground, choose_device(plan.device))
    described = {"background": background, "classes": list(pictures.classes), **(about or {})}
    return train(plan, method, folder, about=described, resume=resume, report=report)


class ConditionalMethod:
    """PE-GAN and StarGAN: Wasserstein with a penalty, classes, and the way back."""

    columns: tuple[str, ...] = (
        "critic_loss",
        "penalty",
        "critic_class",
        "generator_loss",
        "generator_class",
        "cycle",
    )
    shown: Mapping[str, str] = {"critic": "critic_loss", "cycle": "cycle"}

    def __init__(self, plan: TranslatorPlan, pictures: PictureSet, ground: int, device: torch.device) -> None:
        self._plan, self._pictures, self._ground, self.device = plan, pictures, ground, device
        system = plan.own_system()
        torch.manual_seed(plan.seed)
        networks = TRANSLATORS[system.networks]
        self._generator, self._critic = (
            build(plan.size, plan.channels, len(pictures.classes)).to(
                device,
                memory_format=torch.channels_last,  # type: ignore[call-overload]
            )
            for build in (networks.generator, networks.critic)
        )
        self._moves_generator, self._moves_critic = (
            adam(network, system.learning_rate, system.betas) for network in (self._generator, self._critic)
        )
        self.parts: Mapping[str, Any] = {
            "generator": self._generator,
            "critic": self._critic,
            "generator_optimiser": self._moves_generator,
            "critic_optimiser": self._moves_critic,
        }

    def rehearse(self, bf16: bool) -> None:
        """A translation, its score and the penalty's passes, by copies."""
        plan, device = self._plan, self.device
        generator, critic = copy.deepcopy(self._generator), copy.deepcopy(self._critic)
        seen = torch.zeros(plan.batch, plan.channels, plan.size, plan.size, device=device)
        target = torch.zeros(plan.batch, dtype=torch.int64, device=device)
        mix = torch.full((plan.batch,), 0.5, device=device)

        def score(x: Tensor) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                scores: Tensor = critic(x)[0]
            return scores.float()

        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            made = generator(seen, target).float()
        (score(made).mean() + gradient_penalty(score, seen, made, mix)).backward()  # type: ignore[no-untyped-call]

    def step(self, number: int, bf16: bool) -> dict[str, float]:
        """Steps of the critic, then one of the generator."""
        system, device = self._plan.own_system(), self.device
        draws = _Draws(self._plan, self._pictures, self._ground, number, device)
        at_rate(self._plan.rate_of(number), self._moves_generator, self._moves_critic)

        def translate(seen: Tensor, target: Tensor) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                made: Tensor = self._generator(seen, target)
            return made.float()

        def judge(seen: Tensor) -> tuple[Tensor, Tensor]:
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                scores, logits = self._critic(seen)
            return scores.float(), logits.float()

        # The critic learns to distinguish real pictures from translated ones, and to name domains.
        for _ in range(system.critic_steps):
            seen, own, target = draws.batch()
            with torch.no_grad():
                made = translate(seen, target)
            real_scores, real_logits = judge(seen)
            named = cross_entropy(real_logits, own)
            critic_loss = judge(made)[0].mean() - real_scores.mean()
            penalty = gradient_penalty(lambda x: judge(x)[0], seen, made, draws.mix())
            update(self._moves_critic, critic_loss + system.penalty * penalty + system.critic_class * named)

        # The generator learns to be taken for real, in the target's class, and to find its way back.
        self._critic.requires_grad_(False)
        seen, own, target = draws.batch()
        made = translate(seen, target)
        scores, logits = judge(made)
        convinced = cross_entropy(logits, target)
        cycle = (seen - translate(made, own)).abs().mean()
        generator_loss = -scores.mean() + system.generator_class * convinced + system.cycle * cycle
        update(self._moves_generator, generator_loss)
        self._critic.requires_grad_(True)
        values = (critic_loss, penalty, named, generator_loss, convinced, cycle)
        return {name: value.item() for name, value in zip(self.columns, values, strict=True)}

    def sheet(self) -> NDArray[np.uint8]:
        """Each row a background, then the same as every class."""
        return sheet_of(self._generator, self._pictures, self._ground)

    def content(self) -> dict[str, Any]:
        """The generator, the classes, and which of them is the background."""
        classes = self._pictures.classes
        return {
            "classes": list(classes),
            "background": classes[self._ground],
            "weights": self._generator.state_dict(),
        }


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
        seen = scaled(self._pictures.pixels[rows], self._device)
        if self._plan.flips:
            seen = flipped(seen, rng.random((2, count)) < 0.5)
        labels = (
            torch.from_numpy(which.astype(np.int64)).to(self._device)
            for which in (self._pictures.labels[rows], target)
        )
        own_labels, targets = labels
        return seen.contiguous(memory_format=torch.channels_last), own_labels, targets

    def mix(self) -> Tensor:
        """``(B,)``, 0..1."""
        return torch.from_numpy(self._rng.random(self._plan.batch, np.float32)).to(self._device)


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
    if plan.own_system().targets == "pair" and len(pictures.classes) > 2:
        others = ", ".join(name for name in pictures.classes if name != background)
        raise TrainingError(
            f"{plan.system} learns one class per run, because it has networks of its own for each; name it "
            f"by --class: {others}"
        )
