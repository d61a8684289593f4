"""What the kinds of experiments share: names in plans, growing pictures, their figures, costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from retraining.experiments.plan import Section, Steps
from retraining.experiments.tasks import Cell, ExperimentError, Place, Sheet
from station.strict_yaml import closest

if TYPE_CHECKING:
    from retraining.adversarial import AdversarialPlan
    from retraining.augmentation import Augmentation
    from retraining.data.dataset import Dataset, PictureSet
    from retraining.metrics.extractors import Extractor
    from retraining.metrics.figures import Figures

Pixels = NDArray[np.uint8]

SHOWN = 16
"""Pictures in a row of a sample sheet."""
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
    from retraining.adversarial_plan import SYSTEMS

    return SYSTEMS


Network = Annotated[str, one_of("network", _networks)]
System = Annotated[str, one_of("system of generator and critic", _systems)]
Side = Annotated[int, Field(ge=32, le=1024)]
Batch = Annotated[int, Field(ge=2, le=4096)]
Rate = Annotated[float, Field(gt=0.0, le=1.0)]


class Pair(Section):
    """How one adversarial pair is trained."""

    system: System
    """a system of generator and critic"""
    steps: Steps
    """steps of the generator"""
    batch: Batch
    """pictures a step"""


class Training(Section):
    """How a classifier is trained."""

    steps: Steps
    """steps"""
    batch: Batch
    """pictures a step"""
    learning_rate: Rate
    """at the top of the one-cycle schedule"""


def grouped(root: Path, classes: tuple[str, ...], join_overlaps: bool) -> Dataset:
    """A folder of one sub-folder a class, its duplicates (and, if asked, overlapping crops) in one group."""
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
    """Train a pair on ``real`` in the task's folder and draw ``count`` pictures; goes on after a kill."""
    from retraining.adversarial import CollapseError, DivergedError, train_pair
    from retraining.synthesise import sample

    def report(step: int, line: str) -> None:
        place.tell(step, plan.steps, line)

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
    """A sheet of one row a set of pictures, kept as ``sheet.png``."""
    from retraining.sheets import tile, write_picture

    whole = [row[:SHOWN] for row in rows if len(row)]
    sheets = [tile(row, SHOWN) for row in whole]
    width = max(sheet.shape[1] for sheet in sheets)
    padded = [
        np.pad(sheet, ((0, 4), (0, width - sheet.shape[1]), (0, 0)), constant_values=255) for sheet in sheets
    ]
    write_picture(np.concatenate(padded), place.folder / "sheet.png")
    return Sheet("sheet.png", caption)


def extractor_of(place: Place, spec: str) -> Extractor:
    """An extractor ``KIND:PATH``, the path below the data root."""
    from retraining.metrics.extractors import open_extractor

    kind, _, path = spec.partition(":")
    return open_extractor(f"{kind}:{place.roots.data_set(path)}")


def distance_cells(found: Figures, row: str, columns: Iterable[str]) -> tuple[Cell, ...]:
    """FID and KID in the tables ``fid`` and ``kid``, in each of the columns."""
    return tuple(
        cell
        for column in columns
        for cell in (Cell("fid", row, column, found.fid), Cell("kid", row, column, KID_SCALE * found.kid))
    )


def floor_cells(found: Figures, columns: Iterable[str], row: str = "floor") -> tuple[Cell, ...]:
    """What one half of the real pictures is from the other."""
    return tuple(
        cell
        for column in columns
        for cell in (
            Cell("fid", row, column, found.floor_fid),
            Cell("kid", row, column, KID_SCALE * found.floor_kid),
        )
    )


def quality_cells(found: Figures, row: str, table: str = "quality") -> tuple[Cell, ...]:
    """Precision, recall, coverage, nearest real picture, copies and diversity, a column each."""
    values = {
        "precision": found.precision,
        "recall": found.recall,
        "coverage": found.coverage,
        "nearest-real": found.nearest_real,
        "copies": found.copies,
    }
    if found.lpips is not None:
        values["lpips"] = found.lpips
    return tuple(Cell(table, row, column, value) for column, value in values.items())


def figure_notes(found: Figures, what: str) -> tuple[str, ...]:
    """Warnings that belong beside the figures."""
    notes = [f"Distances between pictures by the extractor {found.extractor}."]
    if found.memorised:
        notes.append(f"{what}: certainly more than 5 % of the pictures are copies of real ones.")
    if found.collapsed:
        notes.append(f"{what}: the pictures are far less diverse than the real ones.")
    return tuple(notes)


def unchanged() -> Augmentation:
    """No random changes of training pictures."""
    from retraining.augmentation import Augmentation

    return Augmentation(flips=False, gain=0.0, offset=0.0, noise=0.0)


def mirrored() -> Augmentation:
    """Random mirroring and nothing else."""
    from retraining.augmentation import Augmentation

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


_CLASSIFIER_S = {"inception-cnn": 0.35, "baseline-cnn": 0.26, "resnet18": 0.29, "mobilenetv2_100": 0.35}
_PAIR_S = {
    "dcgan": 0.15,
    "lsgan": 0.15,
    "wgan-gp": 0.50,
    "latent-mapping": 0.50,
    "sdg-gan": 0.80,
    "gan": 0.05,
}


def classifier_work(network: str, side: int, batch: int, steps: int) -> float:
    """Seconds on two cores with AMX, roughly (measured at 128 px and 32 pictures a step)."""
    return steps * _CLASSIFIER_S.get(network, 0.4) * (side / 128) ** 2 * batch / 32


def pair_work(system: str, side: int, batch: int, steps: int) -> float:
    """Seconds on two cores with AMX, roughly (measured at 64 px and 16 pictures a step)."""
    return steps * _PAIR_S[system] * (side / 64) ** 2 * batch / 16
