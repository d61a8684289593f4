"""From answers to a data set: only what a person said, and only where nobody contradicts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from retraining.data.manifest import MANIFEST, Dataset, Picture, load_dataset
from retraining.errors import DatasetError
from retraining.labels.answers import NO_PRODUCT, UNSURE, Answer, AnswerLog
from retraining.labels.pictures import Task


@dataclass(frozen=True, slots=True)
class Applied:
    """A data set of what people said, and what is not in it."""

    dataset: Dataset
    unlabelled: tuple[str, ...]
    """Nobody answered."""
    disputed: tuple[str, ...]
    """Two people gave two answers."""
    set_aside: tuple[str, ...]
    """A person was not sure, or saw no product."""


def said(log: AnswerLog) -> dict[str, dict[str, Answer]]:
    """What each person says now, by digest and person."""
    found: dict[str, dict[str, Answer]] = defaultdict(dict)
    for by in log.people():
        for digest, answer in log.of(by).items():
            found[digest][by] = answer
    return found


def apply_answers(task: Task, log: AnswerLog, data: Path) -> Applied:
    """The pictures that a person labelled and nobody disputes, as a data set of labels by persons.

    Groups and splits of a manifest stay; in a folder each picture is a group of its own. Raises
    :class:`DatasetError` where no picture is left.
    """
    answers = said(log)
    before: dict[str, Picture] = {}
    white = None
    if data.is_file() or (data / MANIFEST).is_file():
        dataset = load_dataset(data)
        before = {picture.path: picture for picture in dataset.pictures}
        white = dataset.sixteen_bit_white
    kept, unlabelled, disputed, aside = [], [], [], []
    for picture in task.pictures:
        own = {answer.label for answer in answers.get(picture.digest, {}).values()}
        if not own:
            unlabelled.append(picture.path)
        elif len(own) > 1:
            disputed.append(picture.path)
        elif own & {UNSURE, NO_PRODUCT}:
            aside.append(picture.path)
        else:
            old = before.get(picture.path)
            kept.append(
                Picture(
                    picture.path, picture.digest, own.pop(), old.group if old else picture.path,
                    old.source if old else "folder", "person", old.split if old else "",
                )
            )  # fmt: skip
    if not kept:
        raise DatasetError(
            f"no picture has an undisputed label ({len(unlabelled)} without, {len(disputed)} disputed); "
            "label some by `retrain label page`"
        )
    strange = sorted({picture.label for picture in kept} - set(task.classes))
    if strange:
        raise DatasetError(
            f"answers name {', '.join(strange)}, but the classes are {', '.join(task.classes)}; name all by "
            "--classes"
        )
    notes = [f"labels by {', '.join(log.people())}"]
    if disputed:
        notes.append(
            f"{len(disputed)} pictures are left out because two people differ: {', '.join(disputed)}"
        )
    new = Dataset(task.root, task.classes, tuple(kept), tuple(notes), white)
    return Applied(new, tuple(unlabelled), tuple(disputed), tuple(aside))
