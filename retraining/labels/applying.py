"""From answers to a data set: only what a person said, and only where nobody contradicts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from retraining.data.kept_parts import is_rare_log, is_received
from retraining.data.manifest import MANIFEST, Dataset, Picture, load_dataset
from retraining.data.outlines import Outline
from retraining.errors import DatasetError
from retraining.labels.answers import NO_PRODUCT, UNSURE, Answer, AnswerLog, Box
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


def outline_of(box: Box) -> Outline:
    """The box that a person drew, as a mark of a whole picture, px."""
    return Outline(box.label, (box.x, box.y, box.x + box.width, box.y + box.height))


def apply_answers(task: Task, log: AnswerLog, data: Path) -> Applied:
    """The pictures that a person labelled and nobody disputes, as a data set of labels by persons.

    Groups and splits of a manifest stay, and its marks where the class does; in a folder each picture is a
    group of its own. Boxes that anybody drew become marks. Raises :class:`DatasetError` where no picture is
    left.
    """
    if is_rare_log(data) or is_received(data):
        raise DatasetError(
            f"{data} holds parts that stations kept; make a set of them by `retrain data from-received` (or "
            "from-station), which takes these answers and the reviews at the station"
        )
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
            label = own.pop()
            marks = old.marks if old is not None and old.label == label else ()
            boxes = [box for answer in answers[picture.digest].values() for box in answer.boxes]
            marks += tuple(outline_of(box) for box in dict.fromkeys(boxes))
            kept.append(
                Picture(
                    picture.path, picture.digest, label, old.group if old else picture.path,
                    old.source if old else "folder", "person", old.split if old else "", marks=marks,
                )
            )  # fmt: skip
    if not kept:
        raise DatasetError(
            f"no picture has an undisputed label ({len(unlabelled)} without, {len(disputed)} disputed); "
            "label some by `retrain label page`"
        )
    named = {name for picture in kept for name in (picture.label, *(mark.label for mark in picture.marks))}
    strange = sorted(named - set(task.classes))
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
