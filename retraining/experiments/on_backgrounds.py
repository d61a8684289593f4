"""NEU-CLS-64 with backgrounds: translators put each class onto strip without a defect, and so does pasting.

PE-GAN's 1,000 backgrounds are private. Here they are windows of NEU-DET that no box touches; a picture that
also gave a test crop gives none. Every rival of the table gets the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from retraining.experiments.common import Pixels, load_pictures, one_of, save_pictures, sheet_of
from retraining.experiments.plan import Count, Name, Section, Steps, Text
from retraining.experiments.tasks import Place, Sheet, Task, TaskResult

if TYPE_CHECKING:
    from retraining.data.pixels import PictureSet

_HERE = "retraining.experiments.on_backgrounds"
_TRANSLATOR_S = {"pe-gan": 2.0, "pe-gan-free": 2.0, "star-gan": 6.0, "cycle-gan": 2.0}
"""Seconds of a step of 8 pictures of 64 px (CycleGAN: of one) with one step of the critic, roughly."""
BACKGROUND = "background"
_SAME = 0.9
"""Correlation from which on a crop was cut out of a picture."""
_COARSE = 2
"""Crops are looked for at this fraction of their size."""
_SHEET = 256


def _systems() -> tuple[str, ...]:
    from retraining.translators.plan import SYSTEMS

    return tuple(SYSTEMS)


class Backgrounds(Section):
    """Strip without a defect."""

    data: Text
    """the folder with `images/` and `boxes/`, one sub-folder per class each, below the data root"""
    kinds: Annotated[tuple[Name, ...], Field(min_length=1)]
    """the classes whose pictures have plain strip beside their boxes"""
    count: Count
    """backgrounds at most; the paper has 1,000"""


class TranslatorRow(Section):
    """A translator whose pictures are tried."""

    system: Annotated[str, one_of("system of translator", _systems)]
    """as `retrain translator --system` names it; it is the row's name in the tables"""
    steps: Steps
    """steps of the generator, of CycleGAN per class"""
    batch: Annotated[int, Field(ge=1, le=4096)]
    """pictures per step"""
    critic_steps: Annotated[int, Field(ge=1, le=20)] | None = None
    """steps of the critic per step of the generator; null for the paper's"""


def translator_tasks(
    asked: Backgrounds,
    rows: tuple[TranslatorRow, ...],
    classes: tuple[str, ...],
    split: Task,
    *,
    side: int,
    flips: bool,
    seed: int,
) -> tuple[Task, dict[str, dict[str, Task]]]:
    """The task of the backgrounds, and by system the training that knows each class (CycleGAN: its own)."""
    given = {"split": split.name, **asked.model_dump(mode="json"), "side": side, "seed": seed}
    grounds = Task(f"backgrounds/seed-{seed}", f"{_HERE}:gather_backgrounds", given, (split,), work_s=400)
    found: dict[str, dict[str, Task]] = {}
    for row in rows:
        alone = row.system == "cycle-gan"
        found[row.system] = {}
        for names in [[name] for name in classes] if alone else [list(classes)]:
            own = {
                "split": split.name, "backgrounds": grounds.name, "names": names, **row.model_dump(),
                "side": side, "flips": flips, "seed": seed,
            }  # fmt: skip
            work = row.steps * _TRANSLATOR_S[row.system] * (side / 64) ** 2 * row.batch / (1 if alone else 8)
            label = f"translator/{row.system}/{names[0] if alone else 'all'}/seed-{seed}"
            trained = Task(label, f"{_HERE}:translator", own, (split, grounds), work_s=work)
            found[row.system] |= dict.fromkeys(names, trained)
    return grounds, found


def gather_backgrounds(
    place: Place, *, split: str, data: str, kinds: list[str], side: int, count: int, seed: int
) -> TaskResult:
    """Windows of pictures that gave no test crop, as `pictures.npy`, and a sheet of them to look at."""
    from retraining.data.boxes import VocBoxes
    from retraining.data.dataset import load_dataset, load_pixels
    from retraining.data.pixels import picture_pixels
    from retraining.errors import ExperimentError
    from retraining.surfaces.reading import read_picture

    root = place.roots.data_set(data)
    windows = VocBoxes(
        root / "images", root / "boxes", sound=BACKGROUND, sound_windows=9, side=side, seed=seed
    ).read()
    own = windows.with_pictures(
        [p for p in windows.pictures if p.label == BACKGROUND and p.path.split("/")[0] in kinds]
    )
    paths = sorted({picture.path for picture in own.pictures})
    known = load_dataset(place.needs[split])
    tests = [picture_pixels(known, picture, 1)[..., 0] for picture in known.select(split="test").pictures]
    strips = [read_picture(own.root / path, 1)[..., 0] for path in paths]
    given = {paths[at] for at in sources_of(tests, strips, lambda done: place.report(done, len(strips), ""))}
    kept = own.with_pictures([p for p in own.pictures if p.path not in given])
    if not len(kept):
        raise ExperimentError(f"every picture of {', '.join(kinds)} in {data} gave a test crop; name others")
    order = np.random.default_rng(seed).permutation(len(kept))[:count]
    pixels = load_pixels(kept, side, 1).pixels[np.sort(order)]
    save_pictures(place, pixels)
    said = (
        f"Backgrounds, seed {seed}: {len(pixels)} of {len(kept)} windows without a box; {len(given)} of "
        f"{len(paths)} pictures were left out because a test crop was cut out of them."
    )
    sheet = sheet_of(place, [pixels[at : at + 16] for at in range(0, min(_SHEET, len(pixels)), 16)],
                     f"backgrounds, seed {seed}: is any of them defective?")  # fmt: skip
    return TaskResult(sheets=(sheet,), notes=(said,))


def sources_of(
    crops: Iterable[Pixels], pictures: list[Pixels], report: Callable[[int], None] = lambda done: None
) -> set[int]:
    """Which pictures ``(H, W)`` some crop ``(S, S)`` was cut out of, by their correlation at half size."""
    import cv2

    def small(picture: Pixels) -> NDArray[np.float32]:
        height, width = (side // _COARSE for side in picture.shape)
        cut = picture[: height * _COARSE, : width * _COARSE].astype(np.float32)
        return np.asarray(cut.reshape(height, _COARSE, width, _COARSE).mean((1, 3)), np.float32)

    templates = [small(crop) for crop in crops]
    found = set()
    for number, picture in enumerate(map(small, pictures)):
        for template in templates:
            if min(picture.shape) < template.shape[0]:
                continue
            if float(cv2.matchTemplate(picture, template, cv2.TM_CCOEFF_NORMED).max()) >= _SAME:
                found.add(number)
                break
        report(number + 1)
    return found


def translator(
    place: Place,
    *,
    split: str,
    backgrounds: str,
    names: list[str],
    system: str,
    steps: int,
    batch: int,
    critic_steps: int | None,
    side: int,
    flips: bool,
    seed: int,
) -> TaskResult:
    """One network for the classes ``names``, trained on their training pictures and the backgrounds."""
    from retraining.translators.domains import train_translator
    from retraining.translators.plan import TranslatorPlan

    pictures = _domains(place, split, backgrounds, names, side)
    plan = TranslatorPlan(
        system=system, size=side, steps=steps, batch=batch, critic_steps=critic_steps, flips=flips, seed=seed
    )
    train_translator(
        plan, pictures, BACKGROUND, place.folder / "run",
        report=lambda step, line: place.report(step, steps, line),
    )  # fmt: skip
    last = sorted((place.folder / "run" / "samples").glob("*.png"))[-1].relative_to(place.folder)
    return TaskResult(
        sheets=(Sheet(str(last), f"{system}, {', '.join(names)}, seed {seed}: backgrounds first"),)
    )


def onto_backgrounds(
    place: Place, *, trained: str, backgrounds: str, name: str, count: int, seed: int
) -> Pixels:
    """``count`` pictures of a class that a network of :func:`translator` makes of the backgrounds."""
    from retraining.translators.drawing import on_backgrounds
    from retraining.translators.trained import open_translator

    network = open_translator(place.needs[trained] / "run" / "translator.pt")
    return on_backgrounds(network, load_pictures(place.needs[backgrounds]), name, count, seed)


def _domains(place: Place, split: str, backgrounds: str, names: list[str], side: int) -> PictureSet:
    from retraining.data.dataset import load_dataset, load_pixels
    from retraining.data.pixels import PictureSet

    real = load_pixels(load_dataset(place.needs[split]).select(classes=tuple(names)), side, 1, "train")
    grounds = load_pictures(place.needs[backgrounds])
    labels = np.array([names.index(real.classes[k]) for k in real.labels], np.int64)
    count = len(real) + len(grounds)
    each = tuple(map(str, range(count)))
    return PictureSet(
        np.concatenate([real.pixels, grounds]),
        np.concatenate([labels, np.full(len(grounds), len(names), np.int64)]),
        (*names, BACKGROUND),
        each,
        each,
    )
