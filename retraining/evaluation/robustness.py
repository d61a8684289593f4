"""Section VI of the SMHSI paper: blur, noise, light and natural scratches, on whole frames, in grades.

The paper overlays patches; here a whole frame is disturbed and then goes the station's own way - product
search, patching, engine, decision - so that a disturbance that hides the product counts as the fault it is.
Frames are rendered once, in processes, which disturb and cut them too; the engine stays in this process.
Every grade of a kind uses the same random numbers on the same part: a curve shows the grade and nothing else.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from drivers.cameras.picture_files import write_image
from retraining.errors import DatasetError
from retraining.evaluation.part_runs import PartLog, in_processes
from retraining.evaluation.parts import PartResult, check_test_seeds, figures, part_result, rendered_test_part
from retraining.evaluation.proportions import ends, shown
from retraining.surfaces import resize_mask
from retraining.surfaces.rendered import check_renderable
from simulation.rendering.metal import natural_scratches
from simulation.truth import Box, PartTruth
from station.decision import Verdict, decide, fault
from station.engines.interface import Scorer
from station.outcomes import Outcomes
from station.patching import PatchingError, cut, cut_surface
from station.recipe import Recipe

Frame = NDArray[np.uint8]
"""``(H, W)``, the camera's whole frame."""
UNDISTURBED = "none"


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One kind of disturbance and the grades that are tried."""

    apply: Callable[[Frame, Box, float, np.random.Generator], Frame]
    """``(frame, where the product is, grade, random numbers) -> another frame``."""
    strengths: tuple[float, ...]
    neutral: float
    """The grade that would change nothing."""
    axis: str
    """What the grade is, with its unit."""


def _blur(frame: Frame, product: Box, strength: float, rng: np.random.Generator) -> Frame:
    """A lens out of focus."""
    return np.asarray(cv2.GaussianBlur(frame, (0, 0), strength), np.uint8)


def _noise(frame: Frame, product: Box, strength: float, rng: np.random.Generator) -> Frame:
    """A sensor at high gain: white noise on every pixel."""
    noise = rng.standard_normal(frame.shape, dtype=np.float32)
    noise *= np.float32(strength)
    noise += frame
    np.clip(np.rint(noise, out=noise), 0, 255, out=noise)
    return noise.astype(np.uint8)


def _gain(frame: Frame, product: Box, strength: float, rng: np.random.Generator) -> Frame:
    """A lamp that is too weak or too strong, or an exposure that is."""
    return np.asarray(cv2.convertScaleAbs(frame, alpha=strength), np.uint8)


def _offset(frame: Frame, product: Box, strength: float, rng: np.random.Generator) -> Frame:
    """Stray light, or a black level set wrongly."""
    return np.clip(frame.astype(np.int16) + round(strength), 0, 255).astype(np.uint8)


def _glare(frame: Frame, product: Box, strength: float, rng: np.random.Generator) -> Frame:
    """A reflex: a band along the product, a twentieth of its width, brighter by up to ``strength``."""
    across = np.linspace(0, 1, product.width, dtype=np.float32)
    band = np.exp(-(((across - rng.uniform(0.15, 0.85)) / 0.05) ** 2) / 2)
    return _times(frame, product, (1 + (strength - 1) * band[None, :]).astype(np.float32))


def _scratches(frame: Frame, product: Box, strength: float, rng: np.random.Generator) -> Frame:
    """As many additional natural scratches as a good part has, ``strength`` times as strong."""
    lines, amount = natural_scratches(rng, product.height, product.width)
    lines *= np.float32(amount * strength)
    lines += np.float32(1.0)
    return _times(frame, product, lines)


def _times(frame: Frame, product: Box, factor: NDArray[np.float32]) -> Frame:
    changed = frame.copy()
    inside = (slice(product.y, product.y + product.height), slice(product.x, product.x + product.width))
    changed[inside] = np.clip(np.rint(frame[inside] * factor), 0, 255).astype(np.uint8)
    return changed


DISTURBANCES: Mapping[str, Disturbance] = MappingProxyType(
    {
        "blur": Disturbance(_blur, (0.5, 0.75, 1.0, 1.5, 2.0, 3.0), 0.0, "blur, sigma in px of the frame"),
        "noise": Disturbance(_noise, (2.0, 4.0, 8.0, 12.0, 16.0), 0.0, "noise, sigma in grey levels"),
        "gain": Disturbance(_gain, (0.35, 0.5, 0.7, 0.85, 1.15, 1.3, 1.5, 1.8), 1.0, "light, times normal"),
        "offset": Disturbance(_offset, (-60.0, -40.0, -20.0, 20.0, 40.0, 60.0), 0.0, "offset, grey levels"),
        "glare": Disturbance(_glare, (1.2, 1.5, 2.0, 3.0), 1.0, "glare, times normal in its middle"),
        "scratches": Disturbance(
            _scratches, (1.0, 2.0, 4.0, 6.0, 8.0), 0.0, "natural scratches, times their usual contrast"
        ),
    }
)
"""Every kind by name."""


@dataclass(frozen=True, slots=True)
class Grade:
    """One kind at one strength."""

    kind: str
    strength: float


@dataclass(frozen=True, slots=True)
class GradeFigures:
    """What an engine made of all parts at one grade."""

    grade: Grade
    engine: str
    figures: Outcomes


def grades(kinds: tuple[str, ...] = tuple(DISTURBANCES)) -> list[Grade]:
    """No disturbance, then every strength of every kind; raises :class:`DatasetError` on an unknown one."""
    for kind in kinds:
        if kind not in DISTURBANCES:
            raise DatasetError(f"no disturbance is called {kind!r}; use {', '.join(DISTURBANCES)}")
    return [Grade(UNDISTURBED, 0.0)] + [Grade(k, s) for k in kinds for s in DISTURBANCES[k].strengths]


def disturbed(frame: Frame, product: Box, grade: Grade, seed: int) -> Frame:
    """A frame at a grade; the same seed draws the same noise, scratches and places at every strength."""
    if grade.kind == UNDISTURBED:
        return frame
    kind = DISTURBANCES[grade.kind]
    rng = np.random.Generator(np.random.SFC64([seed, list(DISTURBANCES).index(grade.kind)]))
    return kind.apply(frame, product, grade.strength, rng)


def measure_robustness(
    engines: Mapping[str, Scorer],
    recipe: Recipe,
    folder: Path,
    *,
    per_class: int,
    seed: int,
    kinds: tuple[str, ...] = tuple(DISTURBANCES),
    digests: tuple[str, ...] = (),
    processes: int = 2,
    report: Callable[[int], None] = lambda done: None,
) -> dict[Grade, list[PartResult]]:
    """Every engine's verdict on every part at every grade, by grade.

    ``folder`` keeps each part's results as they come; the same call continues after an interruption, if
    recipe, parts, grades and the networks (by ``digests``) are the same. Raises :class:`DatasetError`.
    """
    check_renderable(recipe)
    if recipe.stereo is not None:
        raise DatasetError(
            f"the recipe {recipe.name} lights a part by {recipe.frames} lamps; what is disturbed here is one "
            "frame: use a recipe without `stereo`"
        )
    wanted = grades(kinds)
    count = check_test_seeds(recipe, per_class, seed)
    plan = {
        "recipe": recipe.digest,
        "engines": list(engines),
        "digests": list(digests),
        "parts_per_class": per_class,
        "grades": [[g.kind, g.strength] for g in wanted],
    }
    log = PartLog(folder, "robustness", plan, {"test parts": seed})
    work = partial(_disturbed_patches, recipe=recipe, per_class=per_class, seed=seed, wanted=wanted)
    missing = [n for n in range(count) if n not in log.records]
    report(count - len(missing))
    for number, (truth, views) in in_processes(work, missing, processes):
        rows = [
            asdict(part_result(name, truth, _verdict(view, recipe, score)))
            for view in views
            for name, score in engines.items()
        ]
        log.add(number, rows)
        report(len(log.records))
    found: dict[Grade, list[PartResult]] = {grade: [] for grade in wanted}
    for number in range(count):
        kept = [PartResult(**row) for row in log.records[number]]
        for index, grade in enumerate(wanted):
            found[grade] += kept[index * len(engines) : (index + 1) * len(engines)]
    summary: dict[str, Any] = {
        f"{of.grade.kind} {of.grade.strength:g}, {of.engine}": asdict(of.figures) for of in by_grade(found)
    }
    log.close("finished", summary)
    return found


def by_grade(found: Mapping[Grade, list[PartResult]]) -> list[GradeFigures]:
    """Counts by grade and engine."""
    return [GradeFigures(grade, *row) for grade, results in found.items() for row in figures(results).items()]


def draw_samples(recipe: Recipe, per_class: int, seed: int, number: int, picture: Path) -> None:
    """One patch of a part at every grade, one row per kind, undisturbed first: the paper's figure 12.

    The patch is the one with the most of the defect in it. A frame that the station would not cut is black.
    """
    part = rendered_test_part(recipe, per_class, seed, number)
    frame, size = part.frame(), recipe.surface
    mask = resize_mask(part.mask, size.height, size.width)[..., None]
    shown = int(cut_surface(mask, recipe.patch).astype(bool).sum(axis=(1, 2, 3)).argmax())
    across = 1 + max(len(kind.strengths) for kind in DISTURBANCES.values())
    side = recipe.patch.size
    sheet = np.full((len(DISTURBANCES) * side, across * side), 255, np.uint8)
    for row, kind in enumerate(DISTURBANCES):
        for column, grade in enumerate(grades((kind,))):
            view = _cut(disturbed(frame, part.truth.region, grade, part.truth.seed), recipe)
            place = (slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side))
            sheet[place] = 0 if isinstance(view, str) else view[shown, :, :, 0]
    write_image(picture, sheet)


def _disturbed_patches(
    number: int, recipe: Recipe, per_class: int, seed: int, wanted: list[Grade]
) -> tuple[PartTruth, list[NDArray[np.uint8] | str]]:
    """A part's truth and its patches at every grade, or why the station would not cut it."""
    part = rendered_test_part(recipe, per_class, seed, number)
    product, frame = part.truth.region, part.frame()
    return part.truth, [_cut(disturbed(frame, product, g, part.truth.seed), recipe) for g in wanted]


def _cut(frame: Frame, recipe: Recipe) -> NDArray[np.uint8] | str:
    """The frame's patches, or why the station would not cut it."""
    try:
        return cut(frame, recipe).pixels
    except PatchingError as error:
        return str(error)


def _verdict(view: NDArray[np.uint8] | str, recipe: Recipe, score: Scorer) -> Verdict:
    """As :func:`retraining.evaluation.inspect_frames` decides on patches that are cut already."""
    return fault(view, recipe) if isinstance(view, str) else decide(score(view), recipe)


def robustness_table(rows: list[GradeFigures]) -> str:
    """One line a grade and engine, in Markdown, with 95 % intervals (Wilson)."""
    lines = [
        "| engine | disturbance | strength | right class | escapes of defective | overkill | faults |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        f = row.figures
        strength = "" if row.grade.kind == UNDISTURBED else f"{row.grade.strength:g}"
        lines.append(
            f"| {row.engine} | {row.grade.kind} | {strength} | {shown(f.right, f.parts)} "
            f"| {shown(f.escapes, f.defective)} | {shown(f.overkill, f.good)} | {f.faults} |"
        )
    return "\n".join(lines)


def write_figures(rows: list[GradeFigures], path: Path) -> None:
    """One CSV row per grade and engine: counts, rates and the ends of their 95 % intervals."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ["engine", "kind", "strength", *(field.name for field in fields(Outcomes))]
    for rate in ("accuracy", "escape_rate", "overkill_rate"):
        names += [rate, f"{rate}_low", f"{rate}_high"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for row in rows:
            f = row.figures
            values: list[object] = [row.engine, row.grade.kind, row.grade.strength]
            values += asdict(f).values()
            for count, of in ((f.right, f.parts), (f.escapes, f.defective), (f.overkill, f.good)):
                values += [round(v, 5) for v in (count / of if of else 0.0, *ends(count, of))]
            writer.writerow(values)


def draw_robustness(rows: list[GradeFigures], picture: Path) -> None:
    """Accuracy, escapes, overkill and faults against the grade, a panel per kind, as a PNG."""
    from matplotlib.figure import Figure

    kinds = [k for k in DISTURBANCES if any(r.grade.kind == k for r in rows)]
    columns = min(3, len(kinds))
    lines = -(-len(kinds) // columns)
    figure = Figure(figsize=(4.3 * columns, 3.3 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    for panel in panels[len(kinds) :]:
        panel.remove()
    engines = list(dict.fromkeys(r.engine for r in rows))
    for panel, kind in zip(panels, kinds, strict=False):
        for number, engine in enumerate(engines):
            neutral, own = DISTURBANCES[kind].neutral, [r for r in rows if r.engine == engine]
            points = [(neutral, r.figures) for r in own if r.grade.kind == UNDISTURBED]
            points += [(r.grade.strength, r.figures) for r in own if r.grade.kind == kind]
            points.sort(key=lambda point: point[0])
            _draw_curves(panel, points, ("-", "--", ":", "-.")[number % 4], engine, len(engines) > 1)
        panel.set_xlabel(DISTURBANCES[kind].axis)
        panel.set_ylim(-0.03, 1.03)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("share of parts")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=8)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)


def _draw_curves(
    panel: Any, points: list[tuple[float, Outcomes]], style: str, engine: str, named: bool
) -> None:
    """The curves of one engine on one panel, each with its interval."""
    x = [strength for strength, _ in points]
    curves = {
        "right class": ("tab:green", [(f.right, f.parts) for _, f in points]),
        "escapes of defective": ("tab:red", [(f.escapes, f.defective) for _, f in points]),
        "overkill of good": ("tab:orange", [(f.overkill, f.good) for _, f in points]),
        "faults": ("tab:gray", [(f.faults, f.parts) for _, f in points]),
    }
    for name, (colour, shares) in curves.items():
        label = f"{name}, {engine}" if named else name
        panel.plot(
            x, [c / of if of else 0.0 for c, of in shares], style, color=colour, label=label, marker="."
        )
        if name == "faults":
            continue
        limits = [ends(c, of) for c, of in shares]
        panel.fill_between(x, [e[0] for e in limits], [e[1] for e in limits], color=colour, alpha=0.1, lw=0)
