"""Saiz et al. 2021, Table 1: what synthetic pictures are worth to a segmenter, by their share.

Every row is trained for the same number of steps. Pictures that a generator drew are marked by a teacher, the
row without synthetic pictures; so stands beside them what a teacher's marks on real pictures are worth, and
crop-and-paste, whose masks are exact. No generator sees a test picture. A seed stands for a split and all
trainings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from retraining.experiments.common import (
    PairPlan,
    Pixels,
    dataset_notes,
    grow,
    load_pictures,
    one_of,
    pair_work,
    save_pictures,
    sheet_of,
)
from retraining.experiments.plan import Count, Experiment, Name, Section, Seeds, Steps, Text
from retraining.experiments.tasks import Place, Sheet, TableCell, Task, TaskResult

if TYPE_CHECKING:
    from torch import nn

    from retraining.segmenters.pictures import MaskedPictures

_HERE = "retraining.experiments.segment_shares"
_STEP_S = {"deeplabv3plus": 0.34, "pan": 0.24, "unet": 0.35}
"""Seconds of a step of 16 pictures of 128 px on two cores, with a ResNet-18."""


def _networks() -> tuple[str, ...]:
    from models.segmenters import SEGMENTERS

    return tuple(SEGMENTERS)


class SegmenterRow(Section):
    """One row of the table."""

    name: Name
    """the row's name in the tables"""
    real: Count
    """real pictures with masks; the first so many of those that are trained on"""
    synthetic: Annotated[int, Field(ge=0, le=100_000)]
    """pictures beside them"""
    source: Literal["none", "crop-paste", "self-training", "gan"]
    """where they come from: pasted defects with their masks; real pictures, or drawn ones, that the teacher
    marks"""
    networks: Annotated[tuple[Annotated[str, one_of("segmenter", _networks)], ...], Field(min_length=1)]
    """the segmenters that are trained on it"""


class Size(Section):
    """How much of it."""

    seeds: Seeds
    """seeds; each splits the pictures and trains every network once"""
    side: Annotated[int, Field(ge=32, le=256, multiple_of=32)]
    """side of the pictures, px"""
    encoder: Annotated[str, Field(min_length=1)]
    """the encoder of every segmenter"""
    steps: Steps
    """steps of every segmenter"""
    batch: Annotated[int, Field(ge=2, le=256)]
    """pictures per step"""
    train: Count
    """real pictures with masks that are trained on"""
    unlabelled: Count
    """real pictures whose masks nobody uses, for self-training"""
    test: Count
    """test pictures"""
    pair: PairPlan
    """the generator of synthetic pictures"""
    diffaugment: Literal["none", "mild", "paper"]
    """what the generator's critic sees changed"""
    rows: Annotated[tuple[SegmenterRow, ...], Field(min_length=1)]
    """the rows; that of the teacher, without synthetic pictures and with all real ones, first"""


class Plan(Experiment):
    """Shares of synthetic pictures for a segmenter."""

    kind: Literal["segment-shares"]
    """the kind of experiment"""
    data: Text
    """the folder with `images/` and `masks/`, one sub-folder per class each, below the data root"""
    classes: Annotated[tuple[Name, ...], Field(min_length=1)]
    """the classes whose pictures have masks"""
    reduced: Size
    """the size for a laptop"""
    full: Size
    """the size for a GPU"""


def tasks(plan: Plan, size: Size) -> tuple[Task, ...]:
    """One split per seed; the teacher of each network; one generator; what each source gives; every row."""
    leaves = []
    for seed in size.seeds:
        counts = {"train": size.train, "validation": size.unlabelled, "test": size.test}
        split = Task(
            f"split/seed-{seed}",
            f"{_HERE}:split",
            {"data": plan.data, "classes": list(plan.classes), "counts": counts, "seed": seed},
            work_s=30,
        )
        common = {
            "split": split.name,
            "data": plan.data,
            "side": size.side,
            "seed": seed,
        }
        most = max((row.synthetic for row in size.rows if row.source == "gan"), default=0)
        drawn = Task(
            f"gan/seed-{seed}",
            f"{_HERE}:drawn",
            {**common, "count": most, "diffaugment": size.diffaugment, **size.pair.model_dump()},
            (split,),
            work_s=pair_work(size.pair, size.side, most),
        )
        for row in size.rows:
            for network in row.networks:
                trained = {
                    **common,
                    "network": network,
                    "encoder": size.encoder,
                    "steps": size.steps,
                    "batch": size.batch,
                }
                work = size.steps * size.batch / 16 * _STEP_S.get(network, 0.3) * (size.side / 128) ** 2 + 60
                teacher = Task(
                    f"train/teacher/{network}/seed-{seed}",
                    f"{_HERE}:train",
                    {
                        **trained, "row": size.rows[0].name, "real": size.train, "synthetic": 0,
                        "source": "none", "teacher": "", "drawn": "",
                    },
                    (split,),
                    work_s=work,
                )  # fmt: skip
                if row is size.rows[0]:
                    leaves.append(teacher)
                    continue
                needs = [split]
                needs += [teacher] if row.source in ("self-training", "gan") else []
                needs += [drawn] if row.source == "gan" else []
                own = {
                    **trained,
                    "row": row.name,
                    "real": row.real,
                    "synthetic": row.synthetic,
                    "source": row.source,
                    "teacher": teacher.name if teacher in needs else "",
                    "drawn": drawn.name if drawn in needs else "",
                }
                name = f"train/{row.name}/{network}/seed-{seed}"
                leaves.append(Task(name, f"{_HERE}:train", own, tuple(needs), work_s=work))
    return tuple(leaves)


def split(place: Place, *, data: str, classes: list[str], counts: dict[str, int], seed: int) -> TaskResult:
    """Pictures with masks, on three sides: to train on, without the use of masks, and for the test."""
    from dataclasses import replace

    from retraining.data.dataset import save_dataset
    from retraining.data.duplicates import group_duplicates
    from retraining.data.masks import Masks
    from retraining.data.splits import split_by_share
    from retraining.errors import ExperimentError

    root = place.roots.data_set(data)
    found = Masks(root / "images", root / "masks").read()
    own = replace(found.select(classes=tuple(classes)), classes=tuple(classes), notes=())
    total = sum(counts.values())
    if len(own) < total:
        raise ExperimentError(f"{data} has {len(own)} pictures with masks, and {total} are asked for")
    grouped = group_duplicates(own)
    shares = {name: count / total for name, count in counts.items()}
    dataset = split_by_share(grouped, shares, seed)
    rng = np.random.default_rng(seed)
    kept = []
    for name, count in counts.items():
        there = dataset.select(split=name).pictures
        kept += [there[at] for at in sorted(rng.permutation(len(there))[:count])]
    chosen = dataset.with_pictures(kept)
    save_dataset(chosen, place.folder)
    counted = ", ".join(f"{len(chosen.select(split=name))} {name}" for name in counts)
    said = f"Seed {seed}: {counted} (validation: real pictures for self-training, their masks not used)."
    return TaskResult(notes=(*dataset_notes(data, dataset), said))


def drawn(
    place: Place,
    *,
    split: str,
    data: str,
    side: int,
    count: int,
    diffaugment: str,
    system: str,
    steps: int,
    batch: int,
    critic_steps: int | None,
    seed: int,
) -> TaskResult:
    """Pictures of a generator that saw the training pictures alone, of all classes together."""
    from retraining.adversarial.loop import AdversarialPlan

    real = _loaded(place, split, data, side, "train").pixels
    plan = AdversarialPlan(
        system=system, size=side, steps=steps, batch=batch, critic_steps=critic_steps, seed=seed,
        diffaugment=diffaugment,
    )  # fmt: skip
    grown = grow(place, plan, real, count)
    save_pictures(place, grown.pixels)
    if grown.why:
        return TaskResult(notes=(f"{system}, seed {seed}: no pictures, {grown.why}",))
    caption = f"{system}, seed {seed}: real above, synthetic below"
    return TaskResult(sheets=(sheet_of(place, (real, grown.pixels), caption),))


def train(
    place: Place,
    *,
    split: str,
    data: str,
    side: int,
    row: str,
    network: str,
    encoder: str,
    steps: int,
    batch: int,
    real: int,
    synthetic: int,
    source: str,
    teacher: str,
    drawn: str,
    seed: int,
) -> TaskResult:
    """A segmenter on the row's pictures, tested on real ones that nothing has learnt from."""
    from retraining.errors import ExperimentError
    from retraining.segmenters.loop import SegmenterPlan, open_segmenter, train_segmenter
    from retraining.segmenters.testing import try_segmenter
    from retraining.synthesis.pasting import paste_marked

    own = _loaded(place, split, data, side, "train")
    chosen = _first(own, np.random.default_rng(seed).permutation(len(own))[:real])
    if source == "crop-paste":
        pixels, masks = paste_marked(chosen.pixels, chosen.masks, synthetic, seed)
        chosen = _with(chosen, pixels, masks)
    elif source != "none":
        pool = (
            load_pictures(place.needs[drawn])
            if source == "gan"
            else _loaded(place, split, data, side, "validation").pixels
        )
        if not len(pool):
            return TaskResult(notes=(f"{row}, seed {seed}: the generator drew no pictures.",))
        if len(pool) < synthetic:
            raise ExperimentError(f"{row} takes {synthetic} pictures, and there are {len(pool)}")
        _, known = open_segmenter(place.needs[teacher] / "run" / "segmenter.pt")
        chosen = _with(chosen, pool[:synthetic], _marked(known, pool[:synthetic]))
    plan = SegmenterPlan(network=network, encoder=encoder, steps=steps, batch=batch, seed=seed)
    weights = train_segmenter(
        plan, chosen, place.folder / "run", report=lambda step, line: place.report(step, steps, line)
    )
    _, trained = open_segmenter(weights)
    score = try_segmenter(trained, _loaded(place, split, data, side, "test"), place.folder / "run")
    cells = (
        TableCell("iou", row, network, score.mean_iou),
        TableCell("pixels", row, "accuracy", score.accuracy),
        TableCell("pixels", row, "precision", score.precision),
        TableCell("pixels", row, "recall", score.recall),
    )
    caption = f"{row}, {network}, seed {seed}, the worst: green missed, red false, yellow found"
    return TaskResult(
        cells if network == _networks()[0] else cells[:1], (), (Sheet("run/worst.png", caption),)
    )


def _loaded(place: Place, split: str, data: str, side: int, part: str) -> MaskedPictures:
    from retraining.data.dataset import load_dataset
    from retraining.segmenters.pictures import load_masked

    masks = place.roots.data_set(data) / "masks"
    return load_masked(load_dataset(place.needs[split]), masks, side, 1, part)


def _first(pictures: MaskedPictures, which: np.ndarray) -> MaskedPictures:
    from dataclasses import replace

    return replace(
        pictures,
        pixels=pictures.pixels[which],
        masks=pictures.masks[which],
        names=tuple(pictures.names[at] for at in which),
        groups=tuple(pictures.groups[at] for at in which),
    )


def _with(pictures: MaskedPictures, pixels: Pixels, masks: Pixels) -> MaskedPictures:
    from dataclasses import replace

    names = tuple(f"synthetic-{number}" for number in range(len(pixels)))
    return replace(
        pictures,
        pixels=np.concatenate([pictures.pixels, pixels]),
        masks=np.concatenate([pictures.masks, masks]),
        names=pictures.names + names,
        groups=pictures.groups + names,
    )


def _marked(teacher: nn.Module, pixels: Pixels) -> Pixels:
    """The teacher's opinion of pictures, with its holes filled (Saiz et al. 2021, section 2.4)."""
    import cv2

    from retraining.segmenters.loop import segment
    from retraining.segmenters.testing import THRESHOLD

    found = (segment(teacher, pixels) >= THRESHOLD).astype(np.uint8)
    for mask in found:
        outlines, _ = cv2.findContours(mask.copy(), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(mask, outlines, -1, 1, thickness=cv2.FILLED)
    return found
