"""The reader of rendered parts: whole surfaces as pictures, or the patches that the station cuts from them.

A part's surface is written once, at the recipe's size, beside its mask; patches are windows of it on the
station's grid. Parts that are there already are not rendered again, so that an interrupted rendering
continues.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from retraining.data.listing import Named, make_dataset
from retraining.data.manifest import Dataset, Window
from retraining.data.outlines import Outline
from retraining.data.synthetic import write_png
from retraining.errors import DatasetError
from retraining.surfaces import SOUND
from retraining.surfaces.crops import CropRules, Defect, find_defects
from retraining.surfaces.reading import read_picture
from retraining.surfaces.rendered import (
    TRAINING_SEEDS,
    Mixture,
    check_renderable,
    drawn_part,
    station_surface,
    training_part,
)
from simulation.rendering.parts import RENDERER_VERSION, RenderedPart, render_part
from simulation.truth import CLASS_NAMES, PRODUCT_WIDTHS, SimulationError
from station.patching import patch_boxes
from station.recipe import Recipe, load_recipe

PARTS_A_SEED = 100_000
"""Seeds of parts that one set's seed stands for (:mod:`retraining.surfaces.rendered`)."""
_RENDERING = "rendering.json"


@dataclass(frozen=True, slots=True)
class PartOrder:
    """One part to be rendered: of one kind, or with what a mixture says."""

    seed: int
    kind: str = CLASS_NAMES[SOUND]
    defects: tuple[int, int] = (1, 1)
    """How many, both included; fewer where the part has no room."""
    mixture: Mixture | None = None
    """Takes the place of ``kind`` and ``defects``."""

    @property
    def name(self) -> str:
        """Tells parts that look different apart."""
        what = f"{self.kind}-{self.defects[0]}-{self.defects[1]}"
        if self.mixture is not None:
            what = "mixture-" + hashlib.sha256(repr(self.mixture).encode()).hexdigest()[:8]
        elif self.kind == CLASS_NAMES[SOUND]:
            what = self.kind
        return f"renderer-{RENDERER_VERSION}-seed-{self.seed}-{what}"

    @property
    def planned_kind(self) -> str:
        """The kind of its defects, known before it is rendered: a class, or ``mixed``."""
        return self.kind if self.mixture is None else drawn_part(self.seed, self.mixture)[0]

    def render(self, widths: Sequence[int] = PRODUCT_WIDTHS) -> RenderedPart:
        """The part, of one of these widths; raises :class:`DatasetError` if it has no room for a defect."""
        if self.mixture is not None:
            return training_part(self.seed, self.mixture, widths)
        if self.kind == CLASS_NAMES[SOUND]:
            return render_part(self.seed, widths=widths)
        low, high = self.defects
        drawn = int(np.random.default_rng([self.seed, 11]).integers(low, high + 1))
        for count in range(drawn, 0, -1):
            try:
                return render_part(self.seed, kind=self.kind, defects_per_part=count, widths=widths)
            except SimulationError:
                continue
        raise DatasetError(f"the part of seed {self.seed} is too small for {self.kind}; use another seed")


@dataclass(frozen=True, slots=True)
class Rendered:
    """``parts`` parts of a mixture, as the station's patches or, with ``whole``, as whole surfaces."""

    folder: Path
    """Where surfaces and masks are kept for the next time."""
    recipe: Path
    parts: int = 64
    seed: int = 1
    mixture: Mixture = field(default_factory=Mixture)
    whole: bool = False
    without: tuple[str, ...] = ()
    """Kinds of defect: a part that has one of them is left out."""
    processes: int = 2
    report: Callable[[int], None] = lambda done: None

    def read(self) -> Dataset:
        """See :class:`retraining.data.readers.Reader`."""
        strange = [name for name in self.without if name not in CLASS_NAMES[1:]]
        if strange:
            raise DatasetError(
                f"no kind of defect is called {', '.join(strange)}; the renderer draws "
                f"{', '.join(CLASS_NAMES[1:])}"
            )
        if not 1 <= self.parts <= PARTS_A_SEED:
            raise DatasetError(f"{self.parts} parts cannot be rendered as one set; use 1 to {PARTS_A_SEED}")
        first = TRAINING_SEEDS + self.seed * PARTS_A_SEED
        recipe = load_recipe(self.recipe)
        orders = [PartOrder(first + number, mixture=self.mixture) for number in range(self.parts)]
        whole = render_parts(
            orders, recipe, self.folder, without=self.without, marked=self.whole, processes=self.processes,
            report=self.report,
        )  # fmt: skip
        return whole if self.whole else station_patches(whole, recipe)


def render_parts(
    orders: Sequence[PartOrder],
    recipe: Recipe,
    folder: Path,
    *,
    without: Sequence[str] = (),
    marked: bool = False,
    processes: int = 2,
    report: Callable[[int], None] = lambda done: None,
) -> Dataset:
    """The parts' whole surfaces as pictures, each its own group; those that ``folder`` lacks are rendered.

    Surfaces lie in ``surfaces/``, masks in ``masks/``, by the renderer's numbers (:func:`read_mask`). Parts
    with a defect of a kind in ``without`` are left out, and not rendered where their kind is known before.
    ``marked``: the set has the masks as marks of its own, and is known as surfaces that are cut already, so
    that `retrain product` takes it as it is. Raises :class:`DatasetError`.
    """
    check_renderable(recipe)
    size, widths = [recipe.surface.height, recipe.surface.width], [*recipe.product.widths_px]
    made_for, described = {"surface": size, "widths": widths}, folder / _RENDERING
    if described.is_file() and json.loads(described.read_text(encoding="utf-8")) != made_for:
        raise DatasetError(
            f"{folder} holds surfaces of another size than {size}, or parts of other widths than {widths}; "
            "name another folder by --out"
        )
    for name in ("surfaces", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    described.write_text(json.dumps(made_for), encoding="utf-8")
    asked = len(orders)
    orders = [order for order in orders if order.planned_kind not in without]
    missing = [order for order in orders if not (folder / "masks" / f"{order.name}.png").is_file()]
    report(asked - len(missing))
    render = partial(_render_file, recipe=recipe, folder=folder)
    with _mapped(render, missing, min(processes, len(missing))) as done:
        for number, _ in enumerate(done, start=1):
            report(asked - len(missing) + number)
    entries = []
    for order in orders:
        mask = read_picture(folder / "masks" / f"{order.name}.png", 1)[..., 0]
        shown = [CLASS_NAMES[k] for k in np.unique(mask) if k != SOUND]
        if set(shown) & set(without):
            continue
        marks = (
            tuple(marked_pixels(name, mask == CLASS_NAMES.index(name)) for name in shown) if marked else ()
        )
        named = Named(f"surfaces/{order.name}.png", _part_label(mask), order.name, marks)
        entries.append((named, None))
    if asked and not entries:
        raise DatasetError(f"all {asked} parts have {' or '.join(without)}; render more of them")
    notes = (
        [f"{asked - len(entries)} of {asked} parts with {' or '.join(without)} were left out"]
        if len(entries) < asked
        else []
    )
    classes = tuple(name for name in CLASS_NAMES if name not in without)
    source = "rendered-surface" if marked else "rendered"
    return make_dataset(folder, classes, entries, source=source, labelled_by="renderer", notes=notes)


@contextmanager
def _mapped(
    render: Callable[[PartOrder], None], orders: Sequence[PartOrder], processes: int
) -> Iterator[Iterator[None]]:
    """Render every part, in this process or in several others."""
    if processes <= 1:
        yield map(render, orders)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield pool.imap_unordered(render, orders)


def station_patches(parts: Dataset, recipe: Recipe, rules: CropRules | None = None) -> Dataset:
    """The patches that the station cuts from whole rendered surfaces, with the parts' groups and splits.

    A patch is of a class when it shows enough of one of its defects (``rules``: a share of the defect's own
    pixels, or of its length) and little of any other; patches that show less are ambiguous and left out.
    """
    limits = rules or CropRules()
    found, ambiguous = [], 0
    for part in parts.pictures:
        mask = read_mask(parts, part.path)
        defects = find_defects(0, mask)
        for window in station_windows(recipe):
            label = patch_label(mask, window, defects, limits)
            if label is None:
                ambiguous += 1
                continue
            found.append(replace(part, label=parts.classes[label], window=window))
    note = f"{ambiguous} of {ambiguous + len(found)} patches show too little of a defect to be labelled by it"
    return parts.with_pictures(found, *([note] if ambiguous else []))


def station_windows(recipe: Recipe) -> list[Window]:
    """The station's patches as windows of the surface, in its order."""
    boxes = patch_boxes(recipe.surface.height, recipe.surface.width, recipe.patch)
    return [(box.y, box.x, box.height, box.width) for box in boxes]


def has_masks(dataset: Dataset) -> bool:
    """Whether a data set holds whole surfaces with their masks beside them, as rendered parts do."""
    return all((dataset.root / "masks" / Path(p.path).name).is_file() for p in dataset.pictures)


def read_mask(parts: Dataset, path: str) -> NDArray[np.uint8]:
    """The mask ``(H, W)`` beside a whole surface, by indices into the classes of ``parts``.

    The file of a rendered part has the renderer's numbers, so that one folder serves sets of any kinds; that
    of another set has the set's own. Raises :class:`DatasetError` for a kind that ``parts`` does not have.
    """
    file = parts.root / "masks" / Path(path).name
    mask: NDArray[np.uint8] = read_picture(file, 1)[..., 0]
    names = CLASS_NAMES if (parts.root / _RENDERING).is_file() else parts.classes
    numbers = np.zeros(256, np.uint8)
    for number in np.unique(mask):
        name = names[number] if number < len(names) else f"number {number}"
        if name not in parts.classes:
            raise DatasetError(f"{file} shows {name}, but the set's classes are {', '.join(parts.classes)}")
        numbers[number] = parts.classes.index(name)
    return numbers[mask]


def _render_file(order: PartOrder, recipe: Recipe, folder: Path) -> None:
    """Write the surface, then the mask, which means that both are there."""
    surface, mask = station_surface(order.render(recipe.product.widths_px), recipe)
    write_png(folder / "surfaces" / f"{order.name}.png", surface)
    write_png(folder / "masks" / f"{order.name}.png", mask)


def marked_pixels(label: str, marked: NDArray[np.bool_]) -> Outline:
    """The mark of exactly the pixels of ``marked`` ``(H, W)``, of which there is at least one."""
    left, top, wide, tall = cv2.boundingRect(marked.astype(np.uint8))
    down = marked[top : top + tall, left : left + wide].T.ravel()
    edges = np.flatnonzero(np.diff(down)) + 1
    runs = np.diff([0, *([0] if down[0] else []), *edges.tolist(), len(down)])
    return Outline(label, (left, top, left + wide, top + tall), runs=tuple(runs.tolist()))


def _part_label(mask: NDArray[np.uint8]) -> str:
    """The class of the defects with the most pixels."""
    counts = np.bincount(mask.ravel(), minlength=len(CLASS_NAMES))
    counts[SOUND] = 0
    return CLASS_NAMES[int(counts.argmax()) if counts.any() else SOUND]


def patch_label(
    mask: NDArray[np.uint8], window: Window, defects: list[Defect], rules: CropRules
) -> int | None:
    """The class of a patch; None where it shows some of a defect, but too little (see ``CropRules``)."""
    top, left, height, width = window
    own = mask[top : top + height, left : left + width]
    visible = np.bincount(own.ravel(), minlength=len(CLASS_NAMES))
    visible[SOUND] = 0
    label = int(visible.argmax())
    if not visible.any():
        return SOUND
    if visible.sum() - visible[label] > rules.max_other * visible[label]:
        return None
    _, _, wide, tall = cv2.boundingRect((own == label).astype(np.uint8))
    for defect in defects:
        inside = np.all(
            (defect.pixels >= (top, left)) & (defect.pixels < (top + height, left + width)), axis=1
        )
        long_enough = max(wide, tall) >= rules.min_extent * min(defect.extent, height)
        if defect.label == label and inside.any() and (inside.mean() >= rules.min_visible or long_enough):
            return label
    return None
