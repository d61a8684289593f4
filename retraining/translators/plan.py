"""The settings of a translator's training: the papers' systems (:data:`SYSTEMS`), and the plan of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from models.adversarial_layers import SIZES
from retraining.errors import TrainingError

TARGETS = ("background", "free")
"""``background``: half of a batch are backgrounds, which are turned into defects of random classes, and half
are defects, which are turned into backgrounds. ``free``: pictures of all domains, into any other domain."""


@dataclass(frozen=True, slots=True)
class System:
    """A translator and how it learns."""

    networks: str
    """Of ``models.translators.TRANSLATORS``."""
    targets: str
    """One of :data:`TARGETS`."""
    critic_class: float
    """Weight of the critic's loss of classes, on real pictures."""
    generator_class: float
    """Weight of the generator's, on translated ones."""
    cycle: float
    """Weight of the distance from the picture after there and back again."""
    betas: tuple[float, float]
    """Of Adam."""
    penalty: float = 10.0
    """Of the gradient penalty."""
    critic_steps: int = 5
    """Steps of the critic per step of the generator."""
    learning_rate: float = 1e-4


_PE_GAN = System("pe-gan", "background", 2.0, 5.0, 10.0, (0.9, 0.99))
SYSTEMS: Mapping[str, System] = MappingProxyType(
    {
        "pe-gan": _PE_GAN,
        "pe-gan-free": replace(_PE_GAN, targets="free"),
        "star-gan": System("star-gan", "free", 1.0, 1.0, 10.0, (0.5, 0.999)),
    }
)
"""``pe-gan``: He et al. 2024, equations 6 and 7, section 3.3 (its critic steps are StarGAN's: the paper does
not say). ``pe-gan-free``: its networks and weights with StarGAN's targets, which parts idea and size.
``star-gan``: Choi et al. 2018, section 7."""


@dataclass(frozen=True, slots=True)
class TranslatorPlan:
    """Everything that, with the pictures, determines a run. ``None``: the value of the system's paper."""

    system: str = "pe-gan"
    size: int = 64
    """px; side of the square pictures."""
    channels: int = 1
    steps: int = 4000
    """Steps of the generator."""
    batch: int = 16
    critic_steps: int | None = None
    learning_rate: float | None = None
    flips: bool = True
    """Pictures are mirrored at random, left-right and up-down."""
    seed: int = 1
    precision: str = "auto"
    """``fp32``, ``bf16``, or ``auto``: the faster of the two, by one step of each."""
    device: str = "auto"
    sheet_every: int = 250
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
        own = self.own_system()
        least = min(self.steps, self.sheet_every, self.checkpoint_every, own.critic_steps)
        if least < 1 or self.batch < 2 or self.batch % 2 or own.learning_rate <= 0:
            raise TrainingError(
                "a plan needs 1 step or more (also of the critic, and between sheets and checkpoints), an "
                "even number of pictures per batch, and a learning rate above 0"
            )

    def own_system(self) -> System:
        """The system with the settings of this plan."""
        asked = {"critic_steps": self.critic_steps, "learning_rate": self.learning_rate}
        return replace(SYSTEMS[self.system], **{k: v for k, v in asked.items() if v is not None})  # type: ignore[arg-type]
