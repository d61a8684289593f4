"""CycleGAN: backgrounds and one class of defects, each turned into the other by a generator of its own.

Source: Zhu et al. 2017, sections 3 and 4: least squares, cycle 10, identity half of it, a pool of 50 made
pictures for the critics, and a rate that falls to nothing over the second half.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.translators.cycle_gan import CycleCritic, CyclePair
from retraining.adversarial.losses import least_squares_critic, least_squares_generator
from retraining.data.pixels import PictureSet
from retraining.translators.loop import adam, at_rate, flipped, scaled, update
from retraining.translators.plan import TranslatorPlan
from retraining.translators.trained import sheet_of

_IDENTITY = 0.5
"""Of the cycle's weight."""
_POOL = 50


class CycleMethod:
    """Two generators, two critics, and the pools of what the generators made lately."""

    columns: tuple[str, ...] = ("critic_loss", "generator_loss", "cycle", "identity")
    shown: Mapping[str, str] = {"critic": "critic_loss", "cycle": "cycle"}

    def __init__(self, plan: TranslatorPlan, pictures: PictureSet, ground: int, device: torch.device) -> None:
        self._plan, self._pictures, self._ground, self.device = plan, pictures, ground, device
        self._rows = [np.flatnonzero(pictures.labels == k) for k in (ground, 1 - ground)]
        system = plan.own_system()
        torch.manual_seed(plan.seed)
        self._generators = CyclePair(plan.size, plan.channels, ground).to(device)
        self._critics = torch.nn.ModuleList(
            CycleCritic(plan.size, plan.channels) for _ in ("background", "defect")
        ).to(device)
        self._moves_generators, self._moves_critics = (
            adam(network, system.learning_rate, system.betas) for network in (self._generators, self._critics)
        )
        self._pools = (_Pool(), _Pool())
        self.parts: Mapping[str, Any] = {
            "generators": self._generators,
            "critics": self._critics,
            "generator_optimiser": self._moves_generators,
            "critic_optimiser": self._moves_critics,
            "background_pool": self._pools[0],
            "defect_pool": self._pools[1],
        }

    def rehearse(self, bf16: bool) -> None:
        """A translation and its score, by copies."""
        plan, device = self._plan, self.device
        generator, critic = copy.deepcopy(self._generators.out), copy.deepcopy(self._critics[0])
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            made = generator(torch.zeros(plan.batch, plan.channels, plan.size, plan.size, device=device))
            score = critic(made)
        score.float().mean().backward()

    def step(self, number: int, bf16: bool) -> dict[str, float]:
        """One step of the generators, then one of the critics."""
        plan, device = self._plan, self.device
        weight = plan.own_system().cycle
        rng = np.random.default_rng([plan.seed, number])
        at_rate(plan.rate_of(number), self._moves_generators, self._moves_critics)
        ground, defect = (self._batch(rows, rng) for rows in self._rows)

        def through(network: torch.nn.Module, pictures: Tensor) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                found: Tensor = network(pictures)
            return found.float()

        # The generators learn to be taken for real, to find the way back, and to leave alone what fits.
        out, back = self._generators.out, self._generators.back
        self._critics.requires_grad_(False)
        made_defect, made_ground = through(out, ground), through(back, defect)
        cycle = (through(back, made_defect) - ground).abs().mean() + (
            through(out, made_ground) - defect
        ).abs().mean()
        identity = (through(back, ground) - ground).abs().mean() + (
            through(out, defect) - defect
        ).abs().mean()
        fooled = least_squares_generator(through(self._critics[0], made_ground)) + least_squares_generator(
            through(self._critics[1], made_defect)
        )
        generator_loss = 2 * fooled + weight * (cycle + _IDENTITY * identity)
        update(self._moves_generators, generator_loss)
        self._critics.requires_grad_(True)

        # The critics learn to distinguish real pictures from those made now or a while ago.
        critic_loss = torch.zeros((), device=device)
        for critic, pool, real, made in zip(
            self._critics, self._pools, (ground, defect), (made_ground, made_defect), strict=True
        ):
            earlier = pool.exchange(made.detach(), rng)
            critic_loss = critic_loss + least_squares_critic(through(critic, real), through(critic, earlier))
        update(self._moves_critics, critic_loss)
        values = (critic_loss, generator_loss, cycle, identity)
        return {name: value.item() for name, value in zip(self.columns, values, strict=True)}

    def sheet(self) -> NDArray[np.uint8]:
        """Each row a background, then the same with a defect."""
        return sheet_of(self._generators, self._pictures, self._ground)

    def content(self) -> dict[str, Any]:
        """Both generators, the two classes, and which of them is the background."""
        classes = self._pictures.classes
        return {
            "classes": list(classes),
            "background": classes[self._ground],
            "weights": self._generators.state_dict(),
        }

    def _batch(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        count = self._plan.batch
        seen = scaled(self._pictures.pixels[rng.choice(rows, count)], self.device)
        return flipped(seen, rng.random((2, count)) < 0.5) if self._plan.flips else seen


class _Pool:
    """The last pictures that a generator made (Zhu et al. 2017, section 4; Shrivastava et al. 2017)."""

    def __init__(self) -> None:
        self._kept: list[Tensor] = []

    def exchange(self, made: Tensor, rng: np.random.Generator) -> Tensor:
        """As many pictures as ``made``: half of them, at random, earlier ones that they take the place of."""
        given = []
        for picture in made:
            if len(self._kept) < _POOL:
                self._kept.append(picture)
                given.append(picture)
            elif rng.random() < 0.5:
                at = int(rng.integers(_POOL))
                given.append(self._kept[at])
                self._kept[at] = picture
            else:
                given.append(picture)
        return torch.stack(given)

    def state_dict(self) -> dict[str, list[Tensor]]:
        """The pictures kept."""
        return {"kept": list(self._kept)}

    def load_state_dict(self, state: Mapping[str, list[Tensor]]) -> None:
        """Take up the pictures kept."""
        self._kept = list(state["kept"])
