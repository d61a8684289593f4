"""The training loop for adversarial pairs: one function, :func:`train_pair`, to be read from top to bottom.

A GAN is its two networks and its named losses (:data:`SYSTEMS`); all GANs share this loop. Step ``n`` of a
run draws pictures, flips and latent vectors from the seed and ``n`` alone, so an interrupted run continues
exactly where it stopped. Under ``torchrun`` all processes draw the same batch and each takes its own rows.
The result is the averaged generator, with the statistics of its batch normalisation taken from its own
pictures.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.critics import CRITICS
from models.generators import GENERATORS
from models.generators.latent_mapping import LatentMappingGenerator
from models.generators.stylegan2 import StyleGAN2Generator
from retraining.adversarial.diffaugment import CHANCES, STRENGTHS, diffaugment
from retraining.adversarial.losses import LOSSES, gradient_penalty, path_lengths, r1_penalty
from retraining.adversarial.plan import PATHS_FROM_PX, SYSTEMS, AdversarialPlan, Style, System
from retraining.errors import CollapseError, DivergedError, TrainingError, TrainingStoppedError
from retraining.runs.curves import draw_pair_curves
from retraining.runs.distributed import World, average_gradients, average_numbers, choose_device, open_world
from retraining.runs.folder import StepLog, close_run, open_run, save_state, stop_requests
from retraining.runs.precision import use_bf16
from retraining.runs.sheets import tile, write_picture

__all__ = [
    "SYSTEMS", "AdversarialPlan", "CollapseError", "DivergedError", "System", "build_generator", "train_pair",
]  # fmt: skip

Reporter = Callable[[int, str], None]
"""Called after each step with the step's number and a line of text."""

_SHEET = 64
"""Pictures on a sample sheet, and in a measurement of diversity."""
_AVERAGED = 50
"""The average covers the last fiftieth of the steps so far, until ``ema`` limits it: while a generator still
learns fast, a longer average blurs the texture of its pictures."""
_LOW_CHECKS = 5
"""This many checks in a row with too little diversity are a collapse."""


def train_pair(
    plan: AdversarialPlan,
    pixels: NDArray[np.uint8],
    folder: Path,
    *,
    about: Mapping[str, Any] | None = None,
    resume: bool = True,
    report: Reporter = lambda step, line: None,
) -> Path:
    """Train a pair on real pictures of one class; return the generator's weights, ``folder/generator.pt``.

    ``pixels`` is uint8 ``(N, size, size, channels)``, ``N`` >= 2; batches are drawn with replacement.
    ``about`` (JSON: class, data set ...) is written into ``run.json``. Writes that, ``log.csv``,
    ``curves.png``, ``checkpoint.pt``, ``samples/real.png`` and a sheet of the same latent vectors every
    ``sheet_every`` steps. Raises :class:`TrainingStoppedError` after a checkpoint when the process is asked
    to stop, :class:`DivergedError` and :class:`CollapseError` without writing weights. A run may be made
    longer: a checkpoint need not have the same ``steps``.
    """
    system, loss = plan.own_system(), LOSSES[plan.own_system().loss]
    device = choose_device(plan.device)
    with open_world(device) as world, stop_requests() as stop_asked:
        _check(plan, pixels, world)
        pictures = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).to(device)
        typical = diversity(_scaled(pictures[_spread(len(pictures), plan.seed)]))
        pair = build_pair(plan, device)
        first_step = 0
        if resume and (folder / "checkpoint.pt").is_file():
            first_step = pair.restore(folder / "checkpoint.pt", plan)
        bf16 = pair.settle_precision(plan, device, world)
        if world.first:
            _open_folder(plan, pictures, folder, first_step, about or {})
            log = StepLog(folder / "log.csv", first_step)

        style = system.style

        def generate(latent: Tensor, draws: Draws) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                if style is None or not isinstance(pair.generator, StyleGAN2Generator):
                    drawn: Tensor = pair.generator(latent)
                else:
                    other, chances = draws.normal(system.latent), draws.uniform(2)
                    drawn = pair.generator.synthesise(
                        pair.generator.mix(latent, other, chances, style.mixing)
                    )
            return drawn.float()

        def score(seen: Tensor) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                scores: Tensor = pair.critic(seen)
            return scores.float()

        for step in range(first_step, plan.steps):
            began = time.perf_counter()
            draws = Draws(plan.seed, step, plan.batch, world, device)
            torch.manual_seed(draws.noise_seed)  # of the noise that StyleGAN2's layers add

            def changed(seen: Tensor, draws: Draws = draws) -> Tensor:
                if plan.diffaugment == "none":
                    return seen
                return diffaugment(seen, draws.uniform(CHANCES), STRENGTHS[plan.diffaugment])

            # The critic learns to distinguish real pictures from generated ones, in several steps.
            for _ in range(system.critic_steps):
                real = changed(draw_real(pictures, draws, plan.flips))
                with torch.no_grad():
                    fake = changed(generate(draws.normal(system.latent), draws))
                lazy = style is not None and step % style.r1_every == 0
                real_scores = score(real.requires_grad_(lazy))
                critic_loss = loss.critic(real_scores, score(fake))
                penalty, weight = torch.zeros((), device=device), system.penalty
                if system.penalty:
                    penalty = gradient_penalty(score, real, fake, draws.uniform(1))
                if style is not None and lazy:
                    penalty = r1_penalty(real_scores, real)
                    weight = style.r1 * plan.size**2 / plan.batch * style.r1_every
                pair.critic_optimiser.zero_grad(set_to_none=True)
                (critic_loss + weight * penalty).backward()  # type: ignore[no-untyped-call]
                average_gradients(pair.critic.parameters(), world)
                pair.critic_optimiser.step()

            # The generator learns to get better scores from the critic, which stays as it is.
            pair.critic.requires_grad_(False)
            latent = draws.normal(system.latent)
            fake = generate(latent, draws)
            generator_loss = loss.generator(score(changed(fake)))
            pair.generator_optimiser.zero_grad(set_to_none=True)
            generator_loss.backward()  # type: ignore[no-untyped-call]
            if style is not None and plan.size >= PATHS_FROM_PX and step % style.path_every == 0:
                pair.even_out_paths(style, latent, world, device)
            average_gradients(pair.generator.parameters(), world)
            pair.generator_optimiser.step()
            pair.critic.requires_grad_(True)
            pair.average_in(min(plan.ema, step / (step + _AVERAGED)))

            # The numbers of this step, the same in every process.
            last, done = step + 1 == plan.steps, step + 1
            checked = last or done % plan.check_every == 0
            share = diversity(fake.detach()) / typical if checked else math.nan
            alike = likeness_of_w(pair.generator, latent) if checked else math.nan
            critic_value, generator_value, penalty_value, share, alike, stopping = average_numbers(
                [critic_loss, generator_loss, penalty, share, alike, float(stop_asked())], world, device
            )
            if not all(map(math.isfinite, (critic_value, generator_value, penalty_value))):
                raise _ended(folder, world, DivergedError(
                    f"the losses are {critic_value} and {generator_value} at step {done}; lower the "
                    "learning rate, or train in fp32, and use a new folder"
                ))  # fmt: skip
            if checked and done > plan.collapse_after:
                pair.low_checks = pair.low_checks + 1 if share < plan.collapse_below else 0
                if pair.low_checks == _LOW_CHECKS:
                    raise _ended(folder, world, _collapse(plan, share, done))
            if world.first:
                row = {
                    "step": done, "critic_loss": critic_value, "generator_loss": generator_value,
                    "penalty": penalty_value, "diversity": share, "w_cosine": alike,
                    "seconds": time.perf_counter() - began,
                }  # fmt: skip
                log.write(row)
                if done % plan.sheet_every == 0 and not last:
                    _write_sheet(averaged_generator(plan, pair), plan, folder, done)
                if last or stopping or done % plan.checkpoint_every == 0:
                    save_state(pair.state(plan, done), folder / "checkpoint.pt")
            seconds = time.perf_counter() - began
            report(
                done, f"critic {critic_value:.3f} generator {generator_value:.3f} {seconds:.2f} s per step"
            )
            if stopping and not last:
                raise _ended(folder, world, TrainingStoppedError(
                    f"stopped at step {done}; the same command continues from there"
                ))  # fmt: skip

        # The averaged generator is written if its pictures are good enough.
        if world.first:
            generator = averaged_generator(plan, pair)
            share = _write_sheet(generator, plan, folder, plan.steps) / typical
            draw_pair_curves(folder / "log.csv", folder / "curves.png")
            if not math.isfinite(share):
                raise _ended(folder, world, DivergedError(
                    f"the generator's pictures hold no numbers after step {plan.steps}; lower the learning "
                    "rate"
                ))  # fmt: skip
            if share < plan.collapse_below and plan.steps > plan.collapse_after:
                raise _ended(folder, world, _collapse(plan, share, plan.steps))
            save_state({"plan": asdict(plan), "weights": generator.state_dict()}, folder / "generator.pt")
            figures = {"steps": plan.steps, "diversity": share, "precision": "bf16" if bf16 else "fp32"}
            alike = likeness_of_w(generator, _sheet_latents(plan).to(device))
            close_run(folder, "finished", figures | ({} if math.isnan(alike) else {"w_cosine": alike}))
    return folder / "generator.pt"


@dataclass(slots=True)
class NetworkPair:
    """The two networks of a training, their optimisers, and the average of the generator."""

    generator: nn.Module
    critic: nn.Module
    average: nn.Module
    generator_optimiser: torch.optim.Optimizer
    critic_optimiser: torch.optim.Optimizer
    low_checks: int = 0
    """Checks in a row that found too little diversity."""
    path_mean: float = 0.0
    """Mean path length so far; StyleGAN2 only."""
    bf16: bool | None = None
    """The arithmetic that the run began with; None before it is settled."""

    def settle_precision(self, plan: AdversarialPlan, device: torch.device, world: World) -> bool:
        """Whether the run computes in bf16: as its checkpoint did, or else as the plan asks."""
        if self.bf16 is None:
            work = ("pair", plan.system, plan.size, plan.channels, plan.batch)
            self.bf16 = use_bf16(plan.precision, device, _rehearsal(plan, self, device), work, world)
        return self.bf16

    def even_out_paths(self, style: Style, latent: Tensor, world: World, device: torch.device) -> None:
        """Add the gradient of path lengths' deviation from their mean so far, on half of the batch."""
        assert isinstance(self.generator, StyleGAN2Generator)
        half = latent[: max(1, len(latent) // 2)]
        w = self.generator.map(half).unsqueeze(1).expand(-1, self.generator.styles, -1)
        drawn = self.generator.synthesise(w)
        lengths = path_lengths(drawn, w, torch.randn_like(drawn))
        (found,) = average_numbers([lengths.detach().mean()], world, device)
        self.path_mean += style.path_decay * (found - self.path_mean)
        deviation = (lengths - self.path_mean).square().mean()
        (style.path * style.path_every * deviation).backward()  # type: ignore[no-untyped-call]

    def average_in(self, keep: float) -> None:
        """Move the average towards the generator: it keeps ``keep`` of itself."""
        averaged, current = list(self.average.parameters()), list(self.generator.parameters())
        with torch.no_grad():
            torch._foreach_lerp_(averaged, current, 1 - keep)  # type: ignore[arg-type]

    def state(self, plan: AdversarialPlan, step: int) -> dict[str, Any]:
        """What a checkpoint holds."""
        parts = {name: getattr(self, name).state_dict() for name in _PARTS}
        told = {"low_checks": self.low_checks, "bf16": self.bf16, "path_mean": self.path_mean}
        return {"plan": _plan_as_text(plan), "step": step, **told, **parts}

    def restore(self, path: Path, plan: AdversarialPlan) -> int:
        """Load a checkpoint of ``plan`` and return its step; raises :class:`TrainingError` for a checkpoint
        of another plan.
        """
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["plan"] != _plan_as_text(plan):
            raise TrainingError(
                f"{path} was written with another plan; start again by --no-resume, or use a new folder"
            )
        for name in _PARTS:
            getattr(self, name).load_state_dict(state[name])
        self.low_checks, self.bf16 = state["low_checks"], state["bf16"]
        self.path_mean = state["path_mean"]
        return int(state["step"])


_MAY_CHANGE = (
    "steps", "device", "sheet_every", "check_every", "checkpoint_every", "collapse_below", "collapse_after",
)  # fmt: skip
"""Settings that may have another value when a run continues from its checkpoint."""

_PARTS = ("generator", "critic", "average", "generator_optimiser", "critic_optimiser")


def build_generator(plan: AdversarialPlan) -> nn.Module:
    """A fresh generator for the plan, latent ``(N, latent)`` -> ``(N, C, size, size)``, -1..1."""
    system = plan.own_system()
    options = {} if system.mapping_layers is None else {"mapping_layers": system.mapping_layers}
    return GENERATORS[system.generator](plan.size, plan.channels, system.latent, **options)


def build_pair(plan: AdversarialPlan, device: torch.device) -> NetworkPair:
    """Fresh networks, their weights drawn from the plan's seed, and optimisers."""
    system = plan.own_system()
    torch.manual_seed(plan.seed)
    generator = build_generator(plan).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    critic = CRITICS[system.critic](plan.size, plan.channels)
    critic = critic.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    style = system.style
    paths, slopes = 0, 0
    if style is not None:
        paths, slopes = (style.path_every if plan.size >= PATHS_FROM_PX else 0), style.r1_every
    return NetworkPair(
        generator, critic, copy.deepcopy(generator).requires_grad_(False),
        _optimiser(generator, _made_up_for(system, paths)), _optimiser(critic, _made_up_for(system, slopes)),
    )  # fmt: skip


def _made_up_for(system: System, every: int) -> System:
    """The system with Adam's rate and betas for a step in ``every`` that is regularised; 0: none is.

    Source: Karras et al. 2020, appendix B (lazy regularisation).
    """
    share = every / (every + 1) if every else 1.0
    first, second = system.betas
    return replace(system, learning_rate=system.learning_rate * share, betas=(first**share, second**share))


def _optimiser(network: nn.Module, system: System) -> torch.optim.Optimizer:
    slow = list(network.mapping.parameters()) if isinstance(network, LatentMappingGenerator) else []
    known = {id(parameter) for parameter in slow}
    groups: list[dict[str, Any]] = [{"params": [p for p in network.parameters() if id(p) not in known]}]
    if slow:
        groups.append({"params": slow, "lr": system.learning_rate * system.mapping_rate})
    if system.optimiser == "rmsprop":
        return torch.optim.RMSprop(groups, system.learning_rate, alpha=system.betas[1], foreach=True)
    return torch.optim.Adam(groups, system.learning_rate, system.betas, fused=True)


def _rehearsal(plan: AdversarialPlan, pair: NetworkPair, device: torch.device) -> Callable[[bool], None]:
    """Forward and backward passes like a step's, by copies of the networks, to be timed."""
    generator, critic = copy.deepcopy(pair.generator), copy.deepcopy(pair.critic)
    chance = torch.Generator().manual_seed(plan.seed)
    latent = torch.randn(plan.batch, plan.own_system().latent, generator=chance).to(device)
    mix = torch.full((plan.batch,), 0.5, device=device)

    def passes(bf16: bool) -> None:
        def score(seen: Tensor) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                scores: Tensor = critic(seen)
            return scores.float()

        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            fake = generator(latent)
        fake = fake.float()
        total = score(fake).mean()
        if plan.own_system().penalty:
            total = total + gradient_penalty(score, fake, fake, mix)
        total.backward()  # type: ignore[no-untyped-call]

    return passes


class Draws:
    """The random numbers of one step: drawn for the whole batch, of which each process takes its rows."""

    def __init__(self, seed: int, step: int, batch: int, world: World, device: torch.device) -> None:
        words = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)
        self._chance = torch.Generator().manual_seed(int(words[0] >> np.uint64(1)))
        self.noise_seed = int(words[0] >> np.uint64(2)) + world.rank
        self._batch, self._own, self._device = batch, world.share(batch), device

    def normal(self, columns: int) -> Tensor:
        """``(own rows, columns)``, mean 0, variance 1."""
        return torch.randn(self._batch, columns, generator=self._chance)[self._own].to(self._device)

    def uniform(self, columns: int) -> Tensor:
        """``(own rows, columns)``, 0..1."""
        return torch.rand(self._batch, columns, generator=self._chance)[self._own].to(self._device)

    def indices(self, count: int) -> Tensor:
        """``(own rows,)`` of 0..count-1, with replacement."""
        drawn = torch.randint(0, count, (self._batch,), generator=self._chance)
        return drawn[self._own].to(self._device)


def draw_real(pictures: Tensor, draws: Draws, flips: bool) -> Tensor:
    """A batch ``(own rows, C, S, S)``, -1..1, of uint8 ``(N, C, S, S)``, mirrored at random if ``flips``."""
    batch = pictures[draws.indices(len(pictures))]
    if flips:
        chosen = (draws.uniform(2) < 0.5).view(-1, 2, 1, 1, 1)
        batch = torch.where(chosen[:, 0], batch.flip(2), batch)
        batch = torch.where(chosen[:, 1], batch.flip(3), batch)
    return _scaled(batch).contiguous(memory_format=torch.channels_last)


def averaged_generator(plan: AdversarialPlan, pair: NetworkPair) -> nn.Module:
    """A copy of the averaged generator, or of the current one if ``ema`` is 0.

    Running means of batch normalisation follow the weights in training, not their average: they are
    replaced by the means over eight batches of the averaged generator (Brock et al. 2019, section 3,
    "standing statistics").
    """
    generator = copy.deepcopy(pair.average)
    norms = [m for m in generator.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    latent = plan.own_system().latent
    device = next(generator.parameters()).device
    chance = torch.Generator().manual_seed(plan.seed)
    with torch.no_grad():
        for _ in range(8 if norms else 0):
            generator(torch.randn(plan.batch, latent, generator=chance).to(device))
    return generator.eval()


def diversity(pictures: Tensor) -> float:
    """Mean distance of any two of ``(N, C, S, S)``, -1..1: root mean square over the pixels."""
    pixels = pictures.flatten(1).float()
    return float(torch.pdist(pixels).mean()) / math.sqrt(pixels.shape[1])


def likeness_of_w(generator: nn.Module, latent: Tensor) -> float:
    """Mean cosine between the w of any two of ``(N, latent)``; NaN without a mapping network.

    Towards 1 all w point the same way: then the mapping has taken away what tells pictures apart.
    """
    if not isinstance(generator, LatentMappingGenerator | StyleGAN2Generator) or not generator.mapping:
        return math.nan
    with torch.no_grad():
        w = nn.functional.normalize(generator.map(latent), dim=1)
    count = len(w)
    return float((w.sum(0).square().sum() - count) / (count * (count - 1)))


def to_pixels(pictures: Tensor) -> NDArray[np.uint8]:
    """Float ``(N, C, S, S)``, -1..1 -> uint8 ``(N, S, S, C)``."""
    levels = ((pictures.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    found: NDArray[np.uint8] = levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return found


def _scaled(pictures: Tensor) -> Tensor:
    return pictures.float() / 127.5 - 1


def _spread(count: int, seed: int) -> Tensor:
    """Up to 64 different indices of ``count``."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:_SHEET]


def _check(plan: AdversarialPlan, pixels: NDArray[np.uint8], world: World) -> None:
    expected = (plan.size, plan.size, plan.channels)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != expected:
        raise TrainingError(
            f"real pictures are uint8 (N, {', '.join(map(str, expected))}), not {pixels.dtype} {pixels.shape}"
        )
    if len(pixels) < 2 or (pixels == pixels[0]).all():
        raise TrainingError(
            f"{len(pixels)} real pictures are too few to learn from; at least two different ones are needed"
        )
    if plan.batch % world.size or plan.batch // world.size < 2:
        raise TrainingError(
            f"a batch of {plan.batch} cannot be divided among {world.size} processes; use a larger --batch"
        )


def _open_folder(
    plan: AdversarialPlan, pictures: Tensor, folder: Path, first_step: int, about: Mapping[str, Any]
) -> None:
    described = {"real_pictures": len(pictures), **about}
    open_run(
        folder, "adversarial pair", asdict(plan), {"seed": plan.seed}, first_step=first_step, about=described
    )
    if not first_step:
        (folder / "generator.pt").unlink(missing_ok=True)
    chosen = pictures[_spread(len(pictures), plan.seed)]
    write_picture(tile(to_pixels(_scaled(chosen)), 8), folder / "samples" / "real.png")


def _write_sheet(generator: nn.Module, plan: AdversarialPlan, folder: Path, step: int) -> float:
    """Draw the run's own 64 latent vectors and write them; the diversity of what came out."""
    device = next(generator.parameters()).device
    with torch.no_grad():
        drawn = torch.cat([generator(part.to(device)) for part in torch.split(_sheet_latents(plan), 16)])
    write_picture(tile(to_pixels(drawn), 8), folder / "samples" / f"{step:06d}.png")
    return diversity(drawn)


def _sheet_latents(plan: AdversarialPlan) -> Tensor:
    """The run's own 64 latent vectors, ``(64, latent)``."""
    chance = torch.Generator().manual_seed(plan.seed + 1)
    return torch.randn(_SHEET, plan.own_system().latent, generator=chance)


def _collapse(plan: AdversarialPlan, share: float, step: int) -> CollapseError:
    return CollapseError(
        f"the generated pictures at step {step} differ by {share:.2f} of what real ones differ by (limit "
        f"{plan.collapse_below}); try wgan-gp, --diffaugment mild or another seed"
    )


def _ended(folder: Path, world: World, error: TrainingError) -> TrainingError:
    """Note in the run folder how the run ended; the error, to be raised."""
    outcomes = {CollapseError: "collapsed", DivergedError: "diverged", TrainingStoppedError: "stopped"}
    if world.first:
        close_run(folder, outcomes[type(error)], {"why": str(error)})
    return error


def _plan_as_text(plan: AdversarialPlan) -> str:
    settings = asdict(plan)
    for name in _MAY_CHANGE:
        del settings[name]
    return repr(sorted(settings.items()))
