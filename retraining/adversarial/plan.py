"""The settings of an adversarial training: the systems of the papers (:data:`SYSTEMS`) and the plan of a
run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from models.adversarial_layers import SIZES
from retraining.adversarial.diffaugment import STRENGTHS
from retraining.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Style:
    """How StyleGAN2 is regularised, in some steps only; Adam's rate and betas make up for these steps."""

    r1: float = 1e-4
    """Weight of the critic's squared slope at real pictures, times pixels per picture of a batch (half of the
    gamma that Karras et al. 2020b, appendix F, use)."""
    r1_every: int = 16
    path: float = 2.0
    """Weight of the deviation of path lengths; not below 128 px."""
    path_every: int = 4
    path_decay: float = 0.01
    """Of the mean path length."""
    mixing: float = 0.9
    """The share of pictures that are drawn from two latent vectors."""


PATHS_FROM_PX = 128
"""The smallest pictures whose path lengths are regularised."""


@dataclass(frozen=True, slots=True)
class System:
    """A pair of networks and how it learns: what a paper calls its GAN."""

    generator: str
    """Of ``models.generators.GENERATORS``."""
    critic: str
    """Of ``models.critics.CRITICS``."""
    loss: str
    """Of ``retraining.adversarial.losses.LOSSES``."""
    penalty: float
    """Weight of the gradient penalty (lambda); 0 for none."""
    optimiser: str
    """``adam`` or ``rmsprop``."""
    learning_rate: float
    betas: tuple[float, float]
    """Of Adam; the second is RMSProp's smoothing, which has no first."""
    critic_steps: int
    """Steps of the critic for one of the generator."""
    latent: int
    """Numbers of a latent vector."""
    mapping_layers: int | None = None
    """Fully connected layers before the generator; ``None`` where it cannot have any."""
    mapping_rate: float = 1.0
    """The learning rate of these layers, as a share of the generator's."""
    style: Style | None = None
    """What only StyleGAN2 has."""


OPTIMISERS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"adam": (0.5, 0.999), "rmsprop": (0.0, 0.9)}
)
"""Names -> betas for a system that is not trained by its own optimiser."""


SYSTEMS: Mapping[str, System] = MappingProxyType(
    {
        "gan": System("vanilla", "vanilla", "bce", 0.0, "adam", 2e-4, (0.5, 0.999), 1, 100),
        "dcgan": System("dcgan", "dcgan", "bce", 0.0, "adam", 2e-4, (0.5, 0.999), 1, 100),
        "lsgan": System("dcgan", "dcgan", "least-squares", 0.0, "adam", 2e-4, (0.5, 0.999), 1, 100),
        "wgan-gp": System(
            "dcgan", "dcgan-without-norm", "wasserstein", 10.0, "adam", 2e-4, (0.5, 0.9), 3, 100
        ),
        "sdg-gan": System("sdg-gan", "sdg-gan", "wasserstein", 10.0, "adam", 2e-4, (0.5, 0.9), 3, 256),
        "latent-mapping": System(
            "latent-mapping", "dcgan-without-norm", "wasserstein", 10.0, "rmsprop", 2e-4, (0.0, 0.9), 3, 50, 8
        ),
        "stylegan2": System(
            "stylegan2", "stylegan2", "bce", 0.0, "adam", 2e-3, (0.0, 0.99), 1, 512, style=Style()
        ),
        "stylegan2-small": System(
            "stylegan2-small", "stylegan2-small", "bce", 0.0, "adam", 2e-3, (0.0, 0.99), 1, 256, style=Style()
        ),
    }
)
"""``gan``: Goodfellow et al. 2014, optimiser as DCGAN's. ``dcgan``: Radford et al. 2016, section 4.
``lsgan``: Mao et al. 2017 in DCGAN's networks. ``wgan-gp``: LMAN's "DCGAN + WGAN-GP" with SDG-GAN's settings.
``sdg-gan``: SMHSI, section V.C. ``latent-mapping``: LMAN, section 4.4.2 (its rate is not given). LMAN trains
all of its rivals by RMSProp with 100 latent numbers: those are settings of the plan. ``stylegan2``: Karras et
al. 2020, config F; Saiz et al. 2021 use it with DiffAugment and name no setting. ``-small``: ours."""


@dataclass(frozen=True, slots=True)
class AdversarialPlan:
    """Everything that, with the real pictures, determines an adversarial training run.

    ``None`` means the value of the system's paper.
    """

    system: str = "sdg-gan"
    size: int = 64
    """px; side of the square pictures."""
    channels: int = 1
    latent: int | None = None
    mapping_layers: int | None = None
    mapping_rate: float | None = None
    """1: the mapping network learns at the generator's rate; 0.01: StyleGAN's hundredth."""
    optimiser: str | None = None
    """``adam`` or ``rmsprop``."""
    learning_rate: float | None = None
    critic_steps: int | None = None
    steps: int = 2000
    """Steps of the generator."""
    batch: int = 64
    """Over all processes together."""
    ema: float = 0.999
    """Largest decay of the averaged generator per step; 0 keeps the last weights instead of an average."""
    flips: bool = True
    """Real pictures are mirrored at random, left-right and up-down."""
    diffaugment: str = "none"
    """Differentiable augmentation, for a few dozen real pictures: ``none``, ``mild`` or ``paper``."""
    collapse_below: float = 0.1
    """Diversity, as a share of the real pictures', below which a generator counts as collapsed; 0: never."""
    collapse_after: int = 500
    """Steps before the first check for a collapse."""
    seed: int = 1
    precision: str = "auto"
    """``fp32``, ``bf16``, or ``auto``: the faster of the two, by one step of each."""
    device: str = "auto"
    """``auto``: the GPU where there is one."""
    sheet_every: int = 250
    check_every: int = 50
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        if self.system not in SYSTEMS:
            raise TrainingError(f"no system is called {self.system!r}; choose one of {', '.join(SYSTEMS)}")
        if self.size not in SIZES or self.channels not in (1, 3):
            raise TrainingError(
                f"pictures are {', '.join(map(str, SIZES))} px on a side with 1 or 3 channels, "
                f"not {self.size} px with {self.channels}"
            )
        if self.precision not in ("auto", "fp32", "bf16"):
            raise TrainingError(f"precision is auto, fp32 or bf16, not {self.precision!r}")
        if self.diffaugment not in ("none", *STRENGTHS):
            raise TrainingError(
                f"differentiable augmentation is none, {' or '.join(STRENGTHS)}, not {self.diffaugment!r}"
            )
        if self.optimiser not in (None, *OPTIMISERS):
            raise TrainingError(f"the optimiser is {' or '.join(OPTIMISERS)}, not {self.optimiser!r}")
        asked_of_mapping = {self.mapping_layers, self.mapping_rate} - {None}
        if asked_of_mapping and SYSTEMS[self.system].mapping_layers is None:
            raise TrainingError(f"{self.system} has no mapping network; latent-mapping has one")
        if self.steps < 1 or self.batch < 2 or not 0 <= self.ema < 1:
            raise TrainingError(
                "a plan needs 1 step or more, 2 pictures per batch or more, and an ema from 0 to below 1"
            )
        if min(self.sheet_every, self.check_every, self.checkpoint_every) < 1:
            raise TrainingError("the steps between sheets, checks and checkpoints must be 1 or more")
        own = self.own_system()
        if not 0 < own.mapping_rate <= 1:
            raise TrainingError(
                f"the mapping network's rate is above 0 and at most 1, not {own.mapping_rate}"
            )
        if own.latent < 1 or own.critic_steps < 1 or own.learning_rate <= 0 or (own.mapping_layers or 0) < 0:
            raise TrainingError(
                "latent and critic steps must be 1 or more, mapping layers 0 or more, the learning rate "
                "above 0"
            )

    def own_system(self) -> System:
        """The system with the settings of this plan."""
        asked = {
            "latent": self.latent,
            "mapping_layers": self.mapping_layers,
            "mapping_rate": self.mapping_rate,
            "optimiser": self.optimiser,
            "learning_rate": self.learning_rate,
            "critic_steps": self.critic_steps,
        }
        paper = SYSTEMS[self.system]
        if self.optimiser not in (None, paper.optimiser):
            paper = replace(paper, betas=OPTIMISERS[str(self.optimiser)])
        return replace(paper, **{k: v for k, v in asked.items() if v is not None})  # type: ignore[arg-type]
