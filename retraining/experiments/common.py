"""What the kinds of experiments share: names in plans, growing pictures, their figures, costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from retraining.errors import ExperimentError
from retraining.experiments.plan import Section, Steps
from retraining.experiments.tasks import Place, Sheet, TableCell
from station.strict_yaml import closest

if TYPE_CHECKING:
    from retraining.adversarial.loop import AdversarialPlan
    from retraining.classifiers.augmentation import Augmentation
    from retraining.classifiers.plan import TrainingPlan
    from retraining.data.dataset import Dataset, PictureSet
    from retraining.metrics.figures import Comparison

Pixels = NDArray[np.uint8]

SHOWN = 16
"""Pictures in a row of a sample sheet."""
_SHEET_PX = 96
_NOTE = 300
"""Characters of a note in the report."""
KID_SCALE = 1000.0
"""KID is shown in thousandths."""


def one_of(what: str, names: Callable[[], Iterable[str]]) -> AfterValidator:
    """Refuses a word that is no ``what``, with the words there are."""

    def check(word: str) -> str:
        known = list(names())
        if word not in known:
            context = {"problem": f"'{word}' is no {what}", "remedy": closest(word, known)}
            raise PydanticCustomError("plan", "{problem}", context)
        return word

    return AfterValidator(check)


def _networks() -> Iterable[str]:
    from models.classifiers import CLASSIFIERS

    return CLASSIFIERS


def _systems() -> Iterable[str]:
    from retraining.adversarial.plan import SYSTEMS

    return SYSTEMS


def _optimisers() -> Iterable[str]:
    from retraining.classifiers.optimisers import OPTIMISERS

    return OPTIMISERS


def _losses() -> Iterable[str]:
    from retraining.classifiers.losses import LOSSES

    return LOSSES


Network = Annotated[str, one_of("network", _networks)]
System = Annotated[str, one_of("system of generator and critic", _systems)]
Loss = Annotated[str, one_of("loss", _losses)]
Side = Annotated[int, Field(ge=32, le=1024)]
Batch = Annotated[int, Field(ge=2, le=4096)]
Rate = Annotated[float, Field(gt=0.0, le=1.0)]


class PairPlan(Section):
    """How one adversarial pair is trained."""

    system: System
    """the system of generator and critic, as `retrain gan --system` names it"""
    steps: Steps
    """steps of the generator"""
    batch: Batch
    """pictures per step"""
    critic_steps: Annotated[int, Field(ge=1, le=20)] | None = None
    """steps of the critic per step of the generator; null for the paper's"""


class Training(Section):
    """How a classifier is trained."""

    steps: Steps
    """steps of the training"""
    batch: Batch
    """pictures per step"""
    learning_rate: Rate
    """highest learning rate of the one-cycle schedule"""


class FullTraining(Training):
    """How a classifier is trained, to the last setting that a paper may give."""

    optimiser: Annotated[str, one_of("optimiser", _optimisers)] = "adamw"
    """adamw or adam"""
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    """how the learning rate changes: one-cycle rises and falls, constant only rises"""
    l2: Annotated[float, Field(ge=0.0, le=1.0)] = 1e-5
    """weight of the L2 penalty on convolutions"""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """share of the outputs of fully connected layers that is left out"""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.02
    """of the cross-entropy"""
    changed: bool = True
    """whether training pictures are mirrored and made lighter or darker at random"""

    def settings(self) -> dict[str, Any]:
        """The parameters of a task that trains by them."""
        return {"settings": self.model_dump()}


def training_plan(network: str, settings: Mapping[str, Any], seed: int) -> TrainingPlan:
    """The plan of a classifier that a task trains by the ``settings`` of a :class:`FullTraining`."""
    from retraining.classifiers.augmentation import Augmentation
    from retraining.classifiers.plan import TrainingPlan

    given = FullTraining.model_validate(dict(settings))
    own = given.model_dump(exclude={"changed"})
    changes = Augmentation() if given.changed else unchanged()
    return TrainingPlan(network=network, seed=seed, replay_share=0.0, augmentation=changes, **own)


def grouped(root: Path, classes: tuple[str, ...], join_overlaps: bool) -> Dataset:
    """The data set of a folder with one sub-folder per class; duplicates (and overlapping crops, if asked)
    are one group.
    """
    from retraining.data.duplicates import REACH, group_duplicates
    from retraining.data.folders import Folders

    return group_duplicates(Folders(root, classes=classes).read(), reach=REACH if join_overlaps else 0)


def dataset_notes(name: str, dataset: Dataset) -> tuple[str, ...]:
    """What the report says of a data set; lists of names are cut short, the manifest has them whole."""
    return tuple(
        f"{name}: {note if len(note) < _NOTE else note[:_NOTE].rpartition(' ')[0] + ' …'}"
        for note in dataset.notes
    )


@dataclass(frozen=True, slots=True)
class Grown:
    """Pictures that a generator drew, or why it drew none."""

    pixels: Pixels
    """``(N, S, S, C)``; N is 0 where training collapsed or diverged."""
    why: str


def grow(place: Place, plan: AdversarialPlan, real: Pixels, count: int) -> Grown:
    """Train a pair on ``real`` in the task's folder and draw ``count`` pictures; an interrupted training
    continues.
    """
    from retraining.adversarial.loop import train_pair
    from retraining.errors import CollapseError, DivergedError
    from retraining.synthesis.sampling import sample

    def report(step: int, line: str) -> None:
        place.report(step, plan.steps, line)

    try:
        weights = train_pair(plan, real, place.folder / "pair", report=report)
    except (CollapseError, DivergedError) as error:
        return Grown(np.empty((0, *real.shape[1:]), np.uint8), str(error))
    return Grown(sample(plan, weights, count, plan.seed + 1), "")


def save_pictures(place: Place, pixels: Pixels, name: str = "pictures.npy") -> None:
    """Leave pictures for the tasks that need this one."""
    np.save(place.folder / name, pixels)


def load_pictures(folder: Path, name: str = "pictures.npy") -> Pixels:
    """What :func:`save_pictures` left."""
    pixels: Pixels = np.load(folder / name)
    return pixels


def sheet_of(place: Place, rows: Iterable[Pixels], caption: str) -> Sheet:
    """Write ``sheet.png`` with one row per set of pictures, each at most 96 px."""
    from retraining.runs.sheets import tile, write_picture
    from station.patching.area import resize_picture

    strips = []
    for row in rows:
        side = min(_SHEET_PX, row.shape[1])
        if len(row):
            strips.append(tile(np.stack([resize_picture(p, side, side) for p in row[:SHOWN]]), SHOWN))
    width = max(strip.shape[1] for strip in strips)
    whole = [np.pad(s, ((0, 4), (0, width - s.shape[1]), (0, 0)), constant_values=255) for s in strips]
    write_picture(np.concatenate(whole), place.folder / "sheet.png")
    return Sheet("sheet.png", caption)


def measured(
    place: Place,
    real: Pixels,
    fake: Pixels,
    extractor: str,
    seed: int,
    what: str,
    *,
    mirrored: bool = False,
) -> tuple[Comparison | None, tuple[str, ...]]:
    """The comparison of ``fake`` with ``real`` and notes on it; None if there are too few pictures.

    ``extractor`` is ``KIND:PATH``, the path (after the last colon) below the data root. ``mirrored``: mirror
    images of real pictures are copies too, as for a pair that was trained with flips.
    """
    from retraining.metrics import compare, open_extractor
    from retraining.metrics.figures import MINIMUM

    if min(len(real), len(fake)) < MINIMUM:
        return None, (f"{what}: {len(real)} real and {len(fake)} synthetic pictures are too few to compare.",)
    kind, _, path = extractor.rpartition(":")
    opened = open_extractor(f"{kind}:{place.roots.data_set(path)}")
    found = compare(real, fake, opened, seed, what, mirrored=mirrored)
    notes = [f"Distances between pictures by the extractor {found.extractor}."]
    if found.memorised:
        notes.append(f"{what}: certainly more than 5 % of the pictures are copies of real ones.")
    if found.collapsed:
        notes.append(f"{what}: the pictures are far less diverse than the real ones.")
    return found, tuple(notes)


def distance_cells(found: Comparison | None, row: str, columns: Iterable[str]) -> tuple[TableCell, ...]:
    """FID and KID in the tables ``fid`` and ``kid``, in each of the columns."""
    if found is None:
        return ()
    return tuple(
        cell
        for column in columns
        for cell in (
            TableCell("fid", row, column, found.fid),
            TableCell("kid", row, column, KID_SCALE * found.kid),
        )
    )


def floor_cells(
    found: Comparison | None, columns: Iterable[str], row: str = "floor"
) -> tuple[TableCell, ...]:
    """What one half of the real pictures is from the other."""
    if found is None:
        return ()
    return tuple(
        cell
        for column in columns
        for cell in (
            TableCell("fid", row, column, found.floor_fid),
            TableCell("kid", row, column, KID_SCALE * found.floor_kid),
        )
    )


def quality_cells(found: Comparison | None, row: str, table: str = "quality") -> tuple[TableCell, ...]:
    """Precision, recall, coverage, nearest real picture, copies, FID at the floor's size and diversity."""
    if found is None:
        return ()
    values = {
        "precision": found.precision,
        "recall": found.recall,
        "coverage": found.coverage,
        "nearest-real": found.nearest_real,
        "copies": found.copies,
        "fid-at-floor": found.fid_at_floor,
    }
    if found.lpips is not None:
        values["lpips"] = found.lpips
    return tuple(TableCell(table, row, column, value) for column, value in values.items())


def unchanged() -> Augmentation:
    """No random changes of training pictures."""
    from retraining.classifiers.augmentation import Augmentation

    return Augmentation(flips=False, gain=0.0, offset=0.0, noise=0.0)


def mirrored() -> Augmentation:
    """Random mirroring and nothing else."""
    from retraining.classifiers.augmentation import Augmentation

    return Augmentation(flips=True, gain=0.0, offset=0.0, noise=0.0)


def as_set(pixels: Pixels, label: int, classes: tuple[str, ...], name: str) -> PictureSet:
    """Pictures of one class as a set; each is its own group."""
    from retraining.data.dataset import PictureSet

    names = tuple(f"{name}-{number}" for number in range(len(pixels)))
    return PictureSet(pixels, np.full(len(pixels), label, np.int64), classes, names, names)


def joined(sets: Iterable[PictureSet]) -> PictureSet:
    """All sets as one; raises :class:`ExperimentError` when there is none."""
    from retraining.data.dataset import join

    whole: PictureSet | None = None
    for part in sets:
        whole = part if whole is None else join(whole, part)
    if whole is None:
        raise ExperimentError("there are no pictures to join")
    return whole


_CLASSIFIER_S: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "inception-cnn": (0.0, 0.30),
        "baseline-cnn": (0.0, 0.25),
        "resnet18": (0.11, 0.19),
        "mobilenetv2_100": (0.17, 0.16),
    }
)
"""Seconds of a step of 32 pictures of 128 px on two cores with AMX: what every size costs, what grows with
the area."""
_PAIR_S: Mapping[str, float] = MappingProxyType(
    {
        "gan": 0.05,
        "dcgan": 0.14,
        "lsgan": 0.14,
        "wgan-gp": 0.54,
        "latent-mapping": 0.54,
        "sdg-gan": 0.53,
        "stylegan2": 20.0,
        "stylegan2-small": 1.3,
    }
)
"""Seconds of a step of 16 pictures of 64 px there, with the system's own critic steps."""


def classifier_work(network: str, side: int, training: Training) -> float:
    """Seconds of a training on two cores with AMX, roughly."""
    fixed, by_area = _CLASSIFIER_S.get(network, (0.1, 0.3))
    return training.steps * training.batch / 32 * (fixed + by_area * (side / 128) ** 2)


def pair_work(pair: PairPlan, side: int, pictures: int) -> float:
    """Seconds of a training on two cores with AMX, and of drawing and comparing ``pictures``, roughly."""
    from retraining.adversarial.plan import SYSTEMS

    own = SYSTEMS[pair.system].critic_steps
    area = (side / 64) ** 2
    step = _PAIR_S[pair.system] * area * pair.batch / 16 * (1 + (pair.critic_steps or own)) / (1 + own)
    return pair.steps * step + pictures * (0.01 + 0.006 * area)
