"""The settings of a translator's training: the papers' systems, and the plan of a run.

Two kinds of system: those that turn a picture of one domain into one of another (:data:`SYSTEMS`), and those
that draw a defect where a mask says (:data:`MASKED`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from models.adversarial_layers import SIZES
from models.critics.projected import LEAST_PX, SEEN_PX
from models.translators.painting import MOST_LIGHTS
from retraining.adversarial.diffaugment import STRENGTHS
from retraining.errors import TrainingError

TARGETS = ("background", "free", "pair")
"""``background``: half of a batch are backgrounds, which are turned into defects of random classes, and half
are defects, which are turned into backgrounds. ``free``: pictures of all domains, into any other domain.
``pair``: as many backgrounds as defects of one class, each into the other by networks of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What every run of a translator has."""

    system: str
    size: int = 64
    """px; side of the square pictures."""
    channels: int = 1
    steps: int = 4000
    """Steps of the generator."""
    batch: int = 16
    flips: bool = True
    """Pictures are mirrored at random, left-right and up-down."""
    seed: int = 1
    precision: str = "auto"
    """``fp32``, ``bf16``, or ``auto``: the faster of the two, by one step of each."""
    device: str = "auto"
    sheet_every: int = 250
    checkpoint_every: int = 100

    @property
    def total_steps(self) -> int:
        """Of the whole run."""
        return self.steps

    @property
    def scheduled(self) -> bool:
        """Whether a step depends on how many there will be."""
        return False

    def _check(self, systems: Mapping[str, object], channels: tuple[int, ...], said: str) -> None:
        if self.system not in systems:
            raise TrainingError(f"no system is called {self.system!r}; choose one of {', '.join(systems)}")
        if self.size not in SIZES or self.channels not in channels:
            raise TrainingError(
                f"pictures are {', '.join(map(str, SIZES))} px on a side with {said} channels, "
                f"not {self.size} px with {self.channels}"
            )
        if self.precision not in ("auto", "fp32", "bf16"):
            raise TrainingError(f"precision is auto, fp32 or bf16, not {self.precision!r}")


@dataclass(frozen=True, slots=True)
class System:
    """A translator between domains and how it learns."""

    networks: str
    """Of ``models.translators.TRANSLATORS``; ``cycle-gan`` has networks of its own."""
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
    batch: int = 16
    """Pictures per step in the paper; of a pair, per domain."""
    falls: bool = False
    """Whether the learning rate falls to nothing over the second half of the steps."""


_PE_GAN = System("pe-gan", "background", 2.0, 5.0, 10.0, (0.9, 0.99))
SYSTEMS: Mapping[str, System] = MappingProxyType(
    {
        "pe-gan": _PE_GAN,
        "pe-gan-free": replace(_PE_GAN, targets="free"),
        "star-gan": System("star-gan", "free", 1.0, 1.0, 10.0, (0.5, 0.999), falls=True),
        "cycle-gan": System(
            "cycle-gan",
            "pair",
            0.0,
            0.0,
            10.0,
            (0.5, 0.999),
            0.0,
            critic_steps=1,
            learning_rate=2e-4,
            batch=1,
            falls=True,
        ),
    }
)
"""``pe-gan``: He et al. 2024, equations 6 and 7, section 3.3 (its critic steps are StarGAN's: the paper does
not say). ``pe-gan-free``: its networks and weights with StarGAN's targets, which parts idea and size.
``star-gan``: Choi et al. 2018, section 7. ``cycle-gan``: Zhu et al. 2017, section 4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslatorPlan(RunPlan):
    """Everything that, with the pictures, determines a run between domains. ``None``: the paper's value."""

    system: str = "pe-gan"
    critic_steps: int | None = None
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        self._check(SYSTEMS, (1, 3), "1 or 3")
        own = self.own_system()
        least = min(self.steps, self.sheet_every, self.checkpoint_every, own.critic_steps)
        halved = own.targets == "background" and (self.batch < 2 or self.batch % 2)
        if least < 1 or self.batch < 1 or halved or own.learning_rate <= 0:
            raise TrainingError(
                "a plan needs 1 step or more (also of the critic, and between sheets and checkpoints), an "
                "even number of pictures per batch, and a learning rate above 0"
            )
        if own.targets == "pair" and own.critic_steps != 1:
            raise TrainingError(f"{self.system} has one step of its critics per step; leave critic steps out")

    @property
    def scheduled(self) -> bool:
        """Whether the rate falls towards the last step."""
        return self.own_system().falls

    def rate_of(self, step: int) -> float:
        """The learning rate of step ``step``, from 0 on."""
        own = self.own_system()
        return own.learning_rate * (min(1.0, 2 * (1 - step / self.steps)) if own.falls else 1.0)

    def own_system(self) -> System:
        """The system with the settings of this plan."""
        asked = {"critic_steps": self.critic_steps, "learning_rate": self.learning_rate}
        return replace(SYSTEMS[self.system], **{k: v for k, v in asked.items() if v is not None})  # type: ignore[arg-type]


MASKED: Mapping[str, str] = MappingProxyType(
    {
        "syndgan": "SyNDGAN, one w for all layers of its decoder",
        "syndgan-w-plus": "SyNDGAN with one w per layer",
        "masked-unet": "a plain U-Net with the same losses, without a decoder of StyleGAN2",
    }
)
"""Systems that draw a defect where a mask says."""
UNET = "masked-unet"


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedPlan(RunPlan):
    """Everything that, with pictures and masks, determines a run of a system in :data:`MASKED`.

    Learning rates, the two stages and the sum of the losses are the paper's (Cho et al., sections III.C and
    IV.A). It does not say the batch, the steps, or whether the decoder learns in the second stage: here it
    rests for its first half and then learns at a tenth of the rate.
    """

    system: str = "syndgan"
    batch: int = 8
    pretraining: int = 4000
    """Steps of the first stage, in which the decoder alone learns to draw all pictures; 0 for none, and
    always none for the U-Net."""
    loss: str = "logistic"
    """``logistic``, the paper's equations 1 and 4, or ``hinge``, Projected GAN's."""
    diffaugment: str = "paper"
    """What the critics see changed (:mod:`retraining.adversarial.diffaugment`), or ``none``."""
    learning_rate: float = 2e-4
    critic_rate: float = 1e-4
    widest: int = 512
    """Most filters of any layer that learns."""
    seen_px: int = SEEN_PX
    """Side to which smaller pictures are enlarged before the features are taken."""

    def __post_init__(self) -> None:
        self._check(MASKED, tuple(range(1, MOST_LIGHTS + 1)), f"1 to {MOST_LIGHTS}")
        if self.loss not in ("logistic", "hinge"):
            raise TrainingError(f"the loss is logistic or hinge, not {self.loss!r}")
        if self.diffaugment not in ("none", *STRENGTHS):
            raise TrainingError(
                f"differentiable augmentation is none, {' or '.join(STRENGTHS)}, not {self.diffaugment!r}"
            )
        least = min(self.steps, self.sheet_every, self.checkpoint_every, self.widest)
        if least < 1 or self.pretraining < 0 or self.batch < 2 or self.batch % 2:
            raise TrainingError(
                "a plan needs 1 step or more (also between sheets and checkpoints), pretraining of 0 steps "
                "or more, an even number of pictures per batch, and 1 filter or more"
            )
        if min(self.learning_rate, self.critic_rate) <= 0 or self.seen_px < LEAST_PX:
            raise TrainingError(
                f"learning rates are above 0, and features are taken of {LEAST_PX} px or more, not "
                f"{self.seen_px}"
            )

    @property
    def first_stage(self) -> int:
        """Steps in which the decoder alone learns."""
        return 0 if self.system == UNET else self.pretraining

    @property
    def total_steps(self) -> int:
        """Both stages."""
        return self.first_stage + self.steps

    @property
    def scheduled(self) -> bool:
        """Halves of the second stage differ."""
        return True
