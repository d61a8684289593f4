"""SyNDGAN and a plain U-Net: they learn to draw a defect where a mask says.

First stage (SyNDGAN): StyleGAN2's decoder learns to draw all pictures, with defects and without. Second
stage: a picture whose defect is hidden by its mask goes in, and must come out as it was; pictures without a
defect too, with an empty mask. The critics look at the features of EfficientNet-Lite1.

Source: Cho, Jeon, Park (SyNDGAN), sections III.B and III.C, equations 1 to 6; equation 6 is printed as the
difference of one thing from itself and is read by its text. The paper's perceptual loss is of VGG-16, whose
weights no package holds: here it is of the critics' features, and so by another network than the one that
measures the pictures. Its generator was trained on portraits before; this one starts from noise.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import relu, softplus

from models.classifiers.backbones import Backbone
from models.critics.projected import FrozenFeatures, ProjectedCritic, feature_distance
from models.translators.syndgan import SynGenerator
from retraining.adversarial.diffaugment import CHANCES, STRENGTHS, diffaugment
from retraining.classifiers.pretrained import pretrained_backbone
from retraining.errors import TrainingError
from retraining.runs.distributed import choose_device
from retraining.translators.drawn import build_generator, sheet_of
from retraining.translators.loop import Reporter, adam, flipped, scaled, train, update
from retraining.translators.pictures import MaskedClasses
from retraining.translators.plan import MaskedPlan

BACKBONE = "tf_efficientnet_lite1"
_BETAS = (0.9, 0.999)
_LATER = 0.1
"""The decoder's rate in the second half of the second stage, of the generator's."""


def train_masked(
    plan: MaskedPlan,
    pictures: MaskedClasses,
    folder: Path,
    *,
    backbone: Backbone | None = None,
    about: Mapping[str, Any] | None = None,
    resume: bool = True,
    report: Reporter = lambda step, line: None,
) -> Path:
    """Train on pictures with masks; return the generator's weights, ``folder/translator.pt``.

    ``backbone`` gives the features of the critics; without it that of the package with EfficientNet-Lite1's
    ImageNet weights. ``samples/`` shows in each row a picture without a defect, the mask laid over it, and
    what is drawn, for each light. Raises as :func:`retraining.translators.loop.train` does, and
    :class:`TrainingError` where the package is not installed or the pictures do not fit.
    """
    _check(plan, pictures)
    grey_or_colour = 3 if plan.channels == 3 else 1
    seen_by = backbone or pretrained_backbone(BACKBONE, grey_or_colour, plan.seen_px)
    method = MaskedMethod(plan, pictures, seen_by, choose_device(plan.device))
    described = {
        "background": pictures.classes[0], "classes": list(pictures.classes), "features": seen_by.name,
        **(about or {}),
    }  # fmt: skip
    return train(plan, method, folder, about=described, resume=resume, report=report)


class MaskedMethod:
    """Two stages against projected critics."""

    columns: tuple[str, ...] = ("critic_loss", "adversarial", "pixels", "perceptual", "in_domain")
    shown: Mapping[str, str] = {"critic": "critic_loss", "pixels": "pixels"}

    def __init__(
        self, plan: MaskedPlan, pictures: MaskedClasses, backbone: Backbone, device: torch.device
    ) -> None:
        self._plan, self._pictures, self.device = plan, pictures, device
        torch.manual_seed(plan.seed)
        self._generator = build_generator(plan, len(pictures.classes) - 1).to(device)
        self._features = FrozenFeatures(backbone, plan.channels, plan.seen_px).to(device)
        self._critic = ProjectedCritic(self._features.widths, widest=plan.widest).to(device)
        network = self._generator
        learns: nn.Module = network.encoder if isinstance(network, SynGenerator) else network
        self._moves_generator = adam(learns, plan.learning_rate, _BETAS)
        self._moves_critic = adam(self._critic, plan.critic_rate, _BETAS)
        self._moves_decoder: torch.optim.Optimizer | None = None
        parts: dict[str, Any] = {
            "generator": network,
            "critic": self._critic,
            "generator_optimiser": self._moves_generator,
            "critic_optimiser": self._moves_critic,
        }
        if isinstance(network, SynGenerator):
            self._moves_decoder = adam(network.decoder, plan.learning_rate, _BETAS)
            parts["decoder_optimiser"] = self._moves_decoder
        self.parts: Mapping[str, Any] = parts

    def rehearse(self, bf16: bool) -> None:
        """A picture drawn, and the passes back from its score, by copies."""
        plan, device = self._plan, self.device
        generator, critic = copy.deepcopy(self._generator), copy.deepcopy(self._critic)
        seen = torch.zeros(plan.batch, plan.channels, plan.size, plan.size, device=device)
        masks = torch.zeros(plan.batch, plan.size, plan.size, dtype=torch.int64, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            scores = critic(self._features(generator(seen, masks)))
        sum(s.float().mean() for s in scores).backward()

    def step(self, number: int, bf16: bool) -> dict[str, float]:
        """One step of the critics, then one of what learns in this stage."""
        plan, network = self._plan, self._generator
        torch.manual_seed(plan.seed * 1_000_003 + number)  # of the decoder's noise
        draws = _Draws(plan, self._pictures, number, self.device)
        decoder_only = number < plan.first_stage
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            if decoder_only:
                assert isinstance(network, SynGenerator)
                real = draws.any_pictures()
                latent = torch.randn(plan.batch, network.latent, device=self.device)
                made, w = network.decoder(latent), None
            else:
                real, masks = draws.pairs()
                w = network.encode(real, masks) if isinstance(network, SynGenerator) else None
                made = network(real, masks) if w is None else network.decode(w)  # type: ignore[operator]
            made = made.float()

            # The critics learn to distinguish real pictures from drawn ones.
            real_scores, made_scores = (
                self._judge(pictures, draws.chances()) for pictures in (real, made.detach())
            )
            critic_loss = _critic_loss(plan.loss, real_scores, made_scores)
        update(self._moves_critic, critic_loss)

        # The generator learns to be taken for real, and to give back what the mask hid.
        self._critic.requires_grad_(False)
        losses: dict[str, Tensor] = {}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            losses["adversarial"] = _generator_loss(plan.loss, self._judge(made, draws.chances()))
            if not decoder_only:
                losses["pixels"] = (made - real).abs().mean()
                with torch.no_grad():
                    wanted = self._features(real)
                losses["perceptual"] = feature_distance(self._features(made), wanted).mean()
            if w is not None:
                assert isinstance(network, SynGenerator)
                again = network.encode(made, masks)
                losses["in_domain"] = (again.float() - w.float()).flatten(1).norm(dim=1).mean()
        self._move(number, torch.stack([value.float() for value in losses.values()]).sum())
        for critic in self._critic.critics:
            critic.requires_grad_(True)
        found = {"critic_loss": critic_loss, **losses}
        return {name: value.item() for name, value in found.items()}

    def sheet(self) -> NDArray[np.uint8]:
        """Rows of good pictures, the masks of other pictures laid over them, and what is drawn."""
        return sheet_of(self._generator, self._pictures, self._plan.seed)

    def content(self) -> dict[str, Any]:
        """The generator and the classes, the background first."""
        return {"classes": list(self._pictures.classes), "weights": self._generator.state_dict()}

    def _judge(self, pictures: Tensor, chances: Tensor) -> list[Tensor]:
        """The critics' scores, four of ``(N, places)``."""
        if self._plan.diffaugment != "none":
            pictures = diffaugment(pictures, chances, STRENGTHS[self._plan.diffaugment])
        return [scores.float() for scores in self._critic(self._features(pictures))]

    def _move(self, number: int, loss: Tensor) -> None:
        """A step of the encoder, the decoder, or both, as the stage says."""
        plan, decoder = self._plan, self._moves_decoder
        second = number - plan.first_stage
        moving = [self._moves_generator] if second >= 0 else []
        if decoder is not None and (second < 0 or not plan.first_stage or 2 * second >= plan.steps):
            rate = plan.learning_rate * (_LATER if second >= 0 and plan.first_stage else 1.0)
            for group in decoder.param_groups:
                group["lr"] = rate
            moving.append(decoder)
        self._generator.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for optimiser in moving:
            optimiser.step()


def _critic_loss(kind: str, real: list[Tensor], made: list[Tensor]) -> Tensor:
    """Summed over the depths; SyNDGAN, equations 1 and 4, or the hinge of Projected GAN."""
    if kind == "hinge":
        each = [relu(1 - r).mean() + relu(1 + m).mean() for r, m in zip(real, made, strict=True)]
    else:
        each = [softplus(-r).mean() + softplus(m).mean() for r, m in zip(real, made, strict=True)]
    return torch.stack(each).sum()


def _generator_loss(kind: str, made: list[Tensor]) -> Tensor:
    each = [-m.mean() if kind == "hinge" else softplus(-m).mean() for m in made]
    return torch.stack(each).sum()


class _Draws:
    """The pictures and random numbers of one step."""

    def __init__(self, plan: MaskedPlan, pictures: MaskedClasses, step: int, device: torch.device) -> None:
        self._plan, self._pictures, self._device = plan, pictures, device
        self._rng = np.random.default_rng([plan.seed, step])

    def any_pictures(self) -> Tensor:
        """``(B, C, S, S)``, -1..1, of all pictures alike."""
        return self._taken(self._rng.integers(len(self._pictures), size=self._plan.batch))[0]

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Pictures and masks ``(B, S, S)`` int64: half with defects, of all classes alike, half with none."""
        rng, labels = self._rng, self._pictures.labels
        half = self._plan.batch // 2
        there = [k for k in range(1, len(self._pictures.classes)) if np.any(labels == k)]
        rows = [rng.choice(np.flatnonzero(labels == rng.choice(there))) for _ in range(half)]
        rows += list(rng.choice(np.flatnonzero(labels == 0), half))
        return self._taken(np.array(rows, np.int64))

    def chances(self) -> Tensor:
        """``(B, 7)``, for the changes of the critics' pictures."""
        drawn = self._rng.random((self._plan.batch, CHANCES), np.float32)
        return torch.from_numpy(drawn).to(self._device)

    def _taken(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        seen = scaled(self._pictures.pixels[rows], self._device)
        masks = torch.from_numpy(self._pictures.masks[rows].astype(np.int64)).to(self._device)
        if self._plan.flips:
            chosen = self._rng.random((2, len(rows))) < 0.5
            seen, masks = flipped(seen, chosen), flipped(masks, chosen)
        return seen, masks


def _check(plan: MaskedPlan, pictures: MaskedClasses) -> None:
    expected = (plan.size, plan.size, plan.channels)
    if pictures.pixels.shape[1:] != expected:
        raise TrainingError(f"pictures are (N, {', '.join(map(str, expected))}), not {pictures.pixels.shape}")
    few = [name for k, name in enumerate(pictures.classes) if int((pictures.labels == k).sum()) < 2]
    if few or len(pictures.classes) < 2:
        missing = ", ".join(few) or "a class with a defect"
        raise TrainingError(f"there are fewer than two pictures of {missing}; add some")
