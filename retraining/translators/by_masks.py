"""Defects where a person painted them: masks beside good pictures in, a synthetic data set out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from drivers.cameras.picture_files import pictures_in, shown
from retraining.data.manifest import Dataset, file_digest
from retraining.data.rendered_parts import marked_pixels
from retraining.data.synthetic import write_synthetic
from retraining.errors import BadFilesError, DatasetError, TrainingError
from retraining.runs.folder import close_run, open_run, read_run
from retraining.runs.sheets import side_by_side, tile, write_picture
from retraining.surfaces.class_masks import ClassMasks
from retraining.surfaces.pairing import is_named_as_mask, pair
from retraining.surfaces.reading import read_mask_of, read_picture
from retraining.surfaces.training_set import resize_mask
from retraining.translators.drawn import Drawer, Pixels, composited, draw, named_colours
from station.patching.area import resize_picture

Gate = Callable[[Pixels, str], tuple[np.ndarray, str]]
"""Pictures ``(N, S, S, C)`` and the class they were drawn for -> indices of those that may enter the data
set, and why the others may not, in words."""
_SHEET = 64


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """Good pictures at the network's size, and where on them a defect is wanted."""

    pixels: Pixels
    """``(N, S, S, C)``."""
    masks: Pixels
    """``(N, S, S)`` of class indices; one class per mask."""
    labels: tuple[str, ...]
    """The class that each mask asks for."""
    names: tuple[str, ...]
    """The masks' files."""


def read_painted(
    drawer: Drawer,
    masks: Path,
    pictures: Path | None = None,
    class_of: Iterable[str] = (),
    held_out: Collection[str] = (),
) -> Painted:
    """The masks below a folder and the good pictures that they were painted for.

    ``pictures``: the folder of the good pictures, whose masks have the same path; None: they lie beside their
    masks, which add ``_mask`` to their name. ``class_of``: VALUE=CLASS or #RRGGBB=CLASS; empty: the colours
    that the network was trained with (:attr:`Drawer.colours`). ``held_out``: digests of pictures that no
    training may see. Raises :class:`DatasetError`, which names every mask without a picture, of another size,
    with an unknown colour, with no class or several, or painted on a picture that is held out.
    """
    plan, sound = drawer.plan, drawer.classes[0]
    if plan.channels not in (1, 3):
        raise TrainingError(
            f"the network draws under {plan.channels} lights, and no file holds so many; call "
            "retraining.translators.drawn.draw from Python"
        )
    class_of = tuple(class_of)
    meaning = ClassMasks.parse(class_of) if class_of else ClassMasks(drawer.colours, by_colour=True)
    strange = sorted(set(meaning.names) - set(drawer.classes))
    if strange:
        raise DatasetError(
            f"the network draws {', '.join(drawer.classes[1:])}, but --class-of names {', '.join(strange)}"
        )
    root, files, good = _listed(masks, pictures)
    faults: list[str] = []
    try:
        paired = pair(good, files, masks=True)
    except BadFilesError as error:
        raise DatasetError(f"a picture has one mask; paint a copy of it for another: {error}") from None
    faults += [f"{shown(name)}: no picture of this name in {root}; add it" for name in paired.strangers]
    faults += [
        f"{shown(name)}: fits the pictures {', '.join(map(shown, own))}; put it into the folder of one"
        for name, own in paired.unclear.items()
    ]
    read = partial(meaning.read, classes=(sound, *(n for n in drawer.classes if n != sound)))
    found = []
    for picture, file in sorted(paired.of.items(), key=lambda both: both[1]):
        try:
            mask = read_mask_of(root / picture, masks / file, read=read)
            asked = [int(k) for k in np.unique(mask) if k]
            if not asked:
                raise DatasetError(f"{shown(file)}: nothing is painted; paint where the defect shall be")
            if len(asked) > 1:
                several = " and ".join(drawer.classes[k] for k in asked)
                raise DatasetError(f"{shown(file)}: shows {several}; paint one class per mask")
            if file_digest(root / picture) in held_out:
                raise DatasetError(
                    f"{shown(file)}: its picture is one that the real data set keeps for validation or test; "
                    "paint on another"
                )
            pixels = read_picture(root / picture, plan.channels)
            small = resize_mask(mask, plan.size, plan.size)
            found.append((resize_picture(pixels, plan.size, plan.size), small, asked[0], file))
        except DatasetError as error:
            own = f" (the network's own colours: {named_colours(drawer.colours)})"
            undeclared = not class_of and "--class-of does not declare" in str(error)
            faults.append(f"{error}{own if undeclared else ''}")
    if faults:
        raise DatasetError(faults[0]) if len(faults) == 1 else BadFilesError(tuple(faults))
    if not found:
        raise DatasetError(
            f"{masks} holds no mask; name them like their pictures with _mask added, or the folder of the "
            "pictures by --pictures"
        )
    pixels_of, masks_of, classes_of, names = zip(*found, strict=True)
    labels = tuple(drawer.classes[k] for k in classes_of)
    return Painted(np.stack(pixels_of), np.stack(masks_of), labels, names)


def draw_painted(
    drawer: Drawer,
    weights: Path,
    painted: Painted,
    out: Path,
    seed: int,
    *,
    composite: bool = True,
    gate: Gate | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> Dataset:
    """Draw a defect on every painted picture and write them as a synthetic data set into ``out``.

    With ``composite`` a picture is kept as it is farther than 4 px from its mask. Writes ``CLASS/00000.png``,
    ``dataset.json`` with the masks as marks, ``sheets/CLASS.png`` (good pictures on the left) and
    ``run.json``. Raises :class:`TrainingError` where the gate lets nothing through, or ``out`` holds
    something else.
    """
    digest = file_digest(weights)[:12]
    asked = hashlib.sha256(painted.pixels.tobytes() + painted.masks.tobytes()).hexdigest()[:12]
    plan = {"translator": digest, "painted": asked, "seed": seed, "composite": composite}
    plan["gated"] = gate is not None
    if out.is_dir() and any(out.iterdir()):
        known = read_run(out) if (out / "run.json").is_file() else {}
        if known.get("kind") != "synthesis" or known.get("plan") != json.loads(json.dumps(plan)):
            raise TrainingError(f"{out} holds something else; name another folder by --out, or remove it")
    open_run(out, "synthesis", plan, {"seed": seed})
    made = draw(drawer, painted.pixels, painted.masks, seed)
    if composite:
        made = composited(painted.pixels, made, painted.masks)
    labels = np.array(painted.labels)
    pixels, marks, notes = {}, {}, []
    for name in dict.fromkeys(painted.labels):
        rows = np.flatnonzero(labels == name)
        note = f"{name}: {len(rows)} painted, no gate"
        if gate is not None:
            kept, why = gate(made[rows], name)
            note = f"{name}: {len(kept)} kept of {len(rows)} painted{why}"
            rows = rows[kept]
        notes.append(note)
        pixels[name] = made[rows]
        marks[name] = [marked_pixels(name, painted.masks[row] > 0) for row in rows]
        if len(rows):
            pairs = (tile(part[rows[:_SHEET]], 8) for part in (painted.pixels, made))
            write_picture(side_by_side(*pairs), out / "sheets" / f"{name}.png")
        report(sum(map(len, pixels.values())))
    if not any(map(len, pixels.values())):
        raise TrainingError(f"{'; '.join(notes)}; train the network longer, or paste real defects instead")
    dataset = write_synthetic(
        out, pixels, f"{drawer.plan.system}-{digest}", drawer.classes, marks=marks, notes=tuple(notes)
    )
    close_run(out, "finished", {"pictures": dataset.count(), "notes": notes})
    return dataset


def _listed(masks: Path, pictures: Path | None) -> tuple[Path, list[str], list[str]]:
    """The folder of the pictures, and the paths of masks and pictures below their folders."""
    for folder in (masks, pictures):
        if folder is not None and not folder.is_dir():
            raise DatasetError(f"{folder} is not a folder; name the folder of masks, or of good pictures")
    files = [path.relative_to(masks).as_posix() for path in pictures_in(masks, recursive=True)]
    if pictures is None or pictures.samefile(masks):
        own = [name for name in files if is_named_as_mask(name)]
        return masks, own, [name for name in files if name not in own]
    good = [path.relative_to(pictures).as_posix() for path in pictures_in(pictures, recursive=True)]
    return pictures, files, good
