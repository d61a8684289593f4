"""A defect drawn onto a part whose twin without a defect is known: what else of the picture was changed?

Rendered parts come with the very same render without defects. A network is given that clean twin and the
mask of a defect; whatever it changes outside the mask is wrong. A ring around the mask is looked at, where a
seam would show, and all that is farther out. Beside it stand Poisson pasting, a plain U-Net, and the drawn
defect laid into the clean picture by its mask. Inside the mask KID compares with real defects. The second
half asks what the pictures are worth to a classifier.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from retraining.experiments.common import (
    KID_SCALE,
    Batch,
    Network,
    Pixels,
    Training,
    classifier_work,
    load_pictures,
    measured,
    mirrored,
    one_of,
    save_pictures,
    sheet_of,
)
from retraining.experiments.plan import Count, Experiment, Name, Section, Seeds, Steps, Text
from retraining.experiments.tasks import Place, TableCell, Task, TaskResult
from retraining.experiments.twin_windows import SIDES, opposite_lights, outside_cells

if TYPE_CHECKING:
    from retraining.data.pixels import PictureSet
    from retraining.translators.pictures import MaskedClasses

_HERE = "retraining.experiments.clean_twins"
_WINDOWS = "retraining.experiments.twin_windows"
PASTE, TRUTH = "paste", "rendered"
NONE, MORE = "none", "more-normals"
GOOD = "good"


def _masked_systems() -> tuple[str, ...]:
    from retraining.translators.plan import MASKED

    return tuple(MASKED)


class MaskedRow(Section):
    """A network that draws where a mask says."""

    name: Name
    """the row's name in the tables; that of the pictures laid in by their masks adds `-composited`"""
    system: Annotated[str, one_of("system that draws by masks", _masked_systems)]
    """as `retrain translator --system` names it"""
    lights: Literal[1, 4]
    """lights under which a part is seen: the bar, or the four lamps of the rig one after the other"""
    pretraining: Annotated[int, Field(ge=0, le=10_000_000)]
    """steps in which the decoder learns alone"""
    steps: Steps
    """steps of the generator after them"""
    batch: Batch
    """pictures per step"""


class Size(Section):
    """How much of it."""

    seeds: Seeds
    """seeds; each has parts of its own and trains every network once"""
    width: Annotated[int, Field(ge=200, le=2400)]
    """width of the parts, px"""
    window: Annotated[int, Field(ge=32, le=512)]
    """side of the windows that are cut from the parts, px"""
    side: Literal[32, 64, 128, 256]
    """side of the pictures that they become, px"""
    training_parts: Count
    """training parts of each kind of defect; each gives a window with its defect and one without"""
    test_parts: Count
    """test parts of each kind of defect, likewise"""
    more_normals: Count
    """further training windows without a defect, for the classifier's row with more of them"""
    widest: Annotated[int, Field(ge=1, le=2048)]
    """most filters of a layer of the networks that draw"""
    seen_px: Annotated[int, Field(ge=128, le=1024)]
    """side to which pictures are enlarged for the critics' features, px"""
    rows: Annotated[tuple[MaskedRow, ...], Field(min_length=1)]
    """the networks that draw"""
    synthetic_per_class: Count
    """drawn or pasted pictures of each class that a classifier gets"""
    networks: Annotated[tuple[Network, ...], Field(min_length=1)]
    """the classifiers"""
    training: Training
    """how each classifier is trained, the same for all sources"""


class Plan(Experiment):
    """Defects drawn where a mask says, against the clean twin."""

    kind: Literal["clean-twins"]
    """the kind of experiment"""
    extractor: Text
    """KIND:PATH of the extractor for KID, the path below the data root"""
    kinds: Annotated[tuple[Text, ...], Field(min_length=1)]
    """the kinds of defect"""
    level: Text | None = None
    """how visible they are; null for the renderer's mixture"""
    slant_deg: Annotated[float, Field(gt=0.0, lt=60.0)]
    """the lamps' angle from the camera's axis, degrees"""
    reduced: Size
    """the size for a laptop"""
    full: Size
    """the size for a GPU"""


def tasks(plan: Plan, size: Size) -> tuple[Task, ...]:
    """Per seed the parts under one and under four lights, each network on them, pasting, and classifiers."""
    leaves: list[Task] = []
    for seed in size.seeds:
        parts: dict[int, Task] = {}
        for lights in sorted({1, *(row.lights for row in size.rows)}):
            given = {
                "seed": seed, "lights": lights, "kinds": list(plan.kinds), "level": plan.level,
                "slant_deg": plan.slant_deg, "width": size.width, "window": size.window, "side": size.side,
                "training_parts": size.training_parts, "test_parts": size.test_parts,
                "more_normals": size.more_normals,
            }  # fmt: skip
            count = len(plan.kinds) * (size.training_parts + size.test_parts)
            work = (1.5 if lights == 1 else 9.0) * count * size.width / 570
            parts[lights] = Task(
                f"parts/lights-{lights}/seed-{seed}", f"{_WINDOWS}:render", given, work_s=work
            )
        common = {"extractor": plan.extractor, "count": size.synthetic_per_class, "seed": seed}
        sources: dict[str, Task | None] = {NONE: None, MORE: None}
        for row in size.rows:
            own = {
                **common, **row.model_dump(), "parts": parts[row.lights].name, "side": size.side,
                "widest": size.widest, "seen_px": size.seen_px,
            }  # fmt: skip
            work = (row.steps + row.pretraining) * row.batch * row.lights * 0.5 * (size.seen_px / 224) ** 2
            drawn = Task(
                f"draw/{row.name}/seed-{seed}", f"{_HERE}:drawn", own, (parts[row.lights],), work_s=work
            )
            leaves.append(drawn)
            if row.lights == 1:
                sources[row.name] = drawn
        for number, rendered in parts.items():
            own = {**common, "parts": rendered.name, "lights": number}
            pasted = Task(
                f"paste/lights-{number}/seed-{seed}", f"{_HERE}:pasted", own, (rendered,), work_s=60
            )
            leaves.append(pasted)
            if number == 1:
                sources[PASTE] = pasted
        for network in size.networks:
            for source, made in sources.items():
                needs = (parts[1],) if made is None else (parts[1], made)
                asked = {
                    "parts": parts[1].name, "made": "" if made is None else made.name, "source": source,
                    "network": network, "training": size.training.model_dump(), "seed": seed,
                }  # fmt: skip
                work = classifier_work(network, size.side, size.training) + 10
                name = f"train/{network}/{source}/seed-{seed}"
                leaves.append(Task(name, f"{_HERE}:train", asked, needs, work_s=work))
    return tuple(leaves)


def drawn(
    place: Place,
    *,
    parts: str,
    name: str,
    system: str,
    lights: int,
    pretraining: int,
    steps: int,
    batch: int,
    side: int,
    widest: int,
    seen_px: int,
    count: int,
    extractor: str,
    seed: int,
) -> TaskResult:
    """A network trained on the training windows, judged on clean twins of test parts, and what it draws."""
    from retraining.translators.drawn import composited, draw, open_drawer
    from retraining.translators.masked import train_masked
    from retraining.translators.plan import MaskedPlan

    folder = place.needs[parts]
    pictures = _masked_classes(folder, "train")
    plan = MaskedPlan(
        system=system, size=side, channels=lights, steps=steps, pretraining=pretraining, batch=batch,
        widest=widest, seen_px=seen_px, seed=seed,
    )  # fmt: skip
    weights = train_masked(
        plan, pictures, place.folder / "run",
        report=lambda step, line: place.report(step, plan.total_steps, line),
    )  # fmt: skip
    drawer = open_drawer(weights)
    clean, masks = (load_pictures(folder, f"test-{what}.npy") for what in ("clean", "mask"))
    made = draw(drawer, clean, masks, seed)
    laid_in = composited(clean, made, masks)
    cells = [
        *outside_cells(name, clean, made, masks),
        *outside_cells(f"{name}-composited", clean, laid_in, masks),
    ]
    inside, notes = _inside(place, folder, name, clean, made, masks, extractor, seed)
    goods, wanted, labels = _asked(folder, count, seed)
    for_training = composited(goods, draw(drawer, goods, wanted, seed + 1), wanted)
    save_pictures(place, for_training)
    np.save(place.folder / "labels.npy", labels)
    caption = f"{name}, seed {seed}: clean twin, real defect, drawn, laid in by its mask"
    rows = [_shown(p) for p in (clean, load_pictures(folder, "test-defective.npy"), made, laid_in)]
    return TaskResult((*cells, *inside), (), (sheet_of(place, rows, caption),), notes)


def pasted(place: Place, *, parts: str, lights: int, count: int, extractor: str, seed: int) -> TaskResult:
    """The same by Poisson pasting of training defects; and what the renderer changes outside its masks."""
    folder = place.needs[parts]
    real, masks = (load_pictures(folder, f"train-{what}.npy") for what in ("defective", "mask"))
    clean = load_pictures(folder, "test-clean.npy")
    made, own = _paste(real, masks, clean, seed)
    name = PASTE if lights == 1 else f"{PASTE}-lights"
    truth = TRUTH if lights == 1 else f"{TRUTH}-lights"
    true, true_masks = (load_pictures(folder, f"test-{what}.npy") for what in ("defective", "mask"))
    cells = [*outside_cells(name, clean, made, own), *outside_cells(truth, clean, true, true_masks)]
    inside, notes = _inside(place, folder, name, clean, made, own, extractor, seed)
    if lights > 1:
        inside += (TableCell("lights", truth, "opposite", opposite_lights(clean, true, true_masks)),)
    goods, _, labels = _asked(folder, count, seed)
    synthetic = np.empty_like(goods)
    for label in np.unique(labels):
        of_class, rows = _labels(masks) == label, labels == label
        synthetic[rows] = _paste(real[of_class], masks[of_class], goods[rows], seed + int(label))[0]
    save_pictures(place, synthetic)
    np.save(place.folder / "labels.npy", labels)
    caption = f"{name}, seed {seed}: clean twin above, with a pasted defect below"
    return TaskResult(
        (*cells, *inside), (), (sheet_of(place, [_shown(clean), _shown(made)], caption),), notes
    )


def train(
    place: Place,
    *,
    parts: str,
    made: str,
    source: str,
    network: str,
    training: dict[str, float],
    seed: int,
) -> TaskResult:
    """A classifier of kinds of defect and good, on real windows and those of one source."""
    from retraining.classifiers.loop import TrainingPlan
    from retraining.classifiers.whole_pictures import train_and_test
    from retraining.experiments.common import as_set, joined

    folder = place.needs[parts]
    train_on, test_on = (_as_set(folder, part) for part in SIDES)
    if source == MORE:
        further = as_set(load_pictures(folder, "more-good.npy"), 0, train_on.classes, MORE)
        train_on = joined([train_on, further])
    synthetic = None
    if made:
        pixels, labels = load_pictures(place.needs[made]), np.load(place.needs[made] / "labels.npy")
        synthetic = joined(
            as_set(pixels[labels == k], int(k), train_on.classes, f"{made}-{k}") for k in np.unique(labels)
        )
    share = len(synthetic) / (len(synthetic) + len(train_on)) if synthetic is not None else 0.0
    plan = TrainingPlan(
        network=network, steps=int(training["steps"]), batch=int(training["batch"]),
        learning_rate=training["learning_rate"], seed=seed, replay_share=0.0, augmentation=mirrored(),
    )  # fmt: skip
    found = train_and_test(
        plan, train_on, test_on, place.folder / "run", synthetic=synthetic, synthetic_share=share,
        report=lambda step, line: place.report(step, plan.steps, line),
    )  # fmt: skip
    return TaskResult((TableCell("accuracy", source, network, found.accuracy),))


def _inside(
    place: Place,
    folder: Path,
    row: str,
    clean: Pixels,
    made: Pixels,
    masks: Pixels,
    extractor: str,
    seed: int,
) -> tuple[tuple[TableCell, ...], tuple[str, ...]]:
    """KID of the drawn defects in their clean pictures against real ones; and how lights agree."""
    real = load_pictures(folder, "test-defective.npy")
    fake = np.where(masks[..., None] > 0, made, clean)
    cells: tuple[TableCell, ...] = ()
    found, notes = measured(place, _shown(real), _shown(fake), extractor, seed, row)
    if found is not None:
        cells = (TableCell("inside", row, "kid", KID_SCALE * found.kid),)
    if clean.shape[3] > 1:
        cells += (TableCell("lights", row, "opposite", opposite_lights(clean, made, masks)),)
    return cells, notes


def _paste(real: Pixels, masks: Pixels, clean: Pixels, seed: int) -> tuple[Pixels, Pixels]:
    """One pasted defect per clean picture and its mask; the same cut-out under every light."""
    from retraining.synthesis.pasting import PasteRules, has_direction, paste_on_each

    rules = PasteRules(quarter_turns=not has_direction(clean[..., :1]), mixed_share=0.0)
    each = [
        paste_on_each(real[..., [light]], masks, clean[..., [light]], seed, rules=rules)
        for light in range(clean.shape[3])
    ]
    return np.concatenate([made for made, _ in each], axis=3), each[0][1]


def _asked(folder: Path, count: int, seed: int) -> tuple[Pixels, Pixels, NDArray[np.int64]]:
    """Good training windows, masks of training defects for them, and their classes, ``count`` per class."""
    rng = np.random.default_rng([seed, 7])
    good, masks = (load_pictures(folder, f"train-{what}.npy") for what in ("good", "mask"))
    labels = _labels(masks)
    rows = np.concatenate([rng.choice(np.flatnonzero(labels == k), count) for k in np.unique(labels)])
    return good[rng.integers(len(good), size=len(rows))], masks[rows], labels[rows]


def _labels(masks: Pixels) -> NDArray[np.int64]:
    """The class of each mask ``(N, S, S)``, of which there is one."""
    return np.asarray(masks.reshape(len(masks), -1).max(axis=1), np.int64)


def _masked_classes(folder: Path, part: str) -> MaskedClasses:
    from retraining.translators.pictures import MaskedClasses

    bad, masks, good = (load_pictures(folder, f"{part}-{what}.npy") for what in ("defective", "mask", "good"))
    names = (GOOD, *(str(k) for k in range(1, int(masks.max()) + 1)))
    none = np.zeros(good.shape[:3], np.uint8)
    return MaskedClasses.of(np.concatenate([bad, good]), np.concatenate([masks, none]), names)


def _as_set(folder: Path, part: str) -> PictureSet:
    """Windows of a side for a classifier: good ones and each kind of defect."""
    from retraining.data.pixels import PictureSet

    own = _masked_classes(folder, part)
    names = tuple(f"{part}-{number}" for number in range(len(own)))
    return PictureSet(own.pixels, own.labels, own.classes, names, names)


def _shown(pixels: Pixels) -> Pixels:
    """Pictures in grey: under several lights their mean."""
    return np.asarray(np.rint(pixels.mean(axis=3, keepdims=True)), np.uint8)
