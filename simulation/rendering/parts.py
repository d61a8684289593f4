"""Whole parts: metal, defects set to the visibility asked for, what the camera sees, and the truth.

``render_part(seed)`` is reproducible: the same arguments give the same pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from simulation.rendering.defects import KIND_FACTOR, LEVEL_SHARES, LEVELS, DefectSpec, Stamp, draw_stamp
from simulation.rendering.metal import fine_noise, make_scene
from simulation.rendering.optics import (
    CONTEXT,
    FloatArray,
    Scene,
    compose,
    grown,
    photograph,
    reflected_from,
    tilted_box,
)
from simulation.rendering.visibility import visibility
from simulation.truth import (
    CLASS_NAMES,
    FRAME_HEIGHT,
    FRAME_WIDTH,
    PRODUCT_HEIGHT,
    PRODUCT_WIDTHS,
    Box,
    DefectTruth,
    PartTruth,
    SimulationError,
    fingerprint,
)

RENDERER_VERSION = 3
"""Raised whenever the same seed would give other pixels."""
_SURROUND = 56
"""px around a defect in which the texture is measured."""
_STRONGEST = 12.0
_TRIES = 60


@dataclass(frozen=True, slots=True)
class Cut:
    """What one defect did to the metal."""

    box: Box
    """Where, product px."""
    relief_um: FloatArray
    """(h, w) added to the heights."""
    reflectance: FloatArray
    """(h, w) factor on the reflectance."""


@dataclass(frozen=True)
class RenderedPart:
    """A part as the camera sees it, beside the truth."""

    surface: NDArray[np.uint8]
    """(3584, width) product pixels, the turn down the rows."""
    clean: NDArray[np.uint8]
    """(3584, width) the very same render without its defects."""
    mask: NDArray[np.uint8]
    """(3584, width) class index per pixel, 0 where there is no defect."""
    truth: PartTruth
    placed: Box
    """Where the untilted product lies in the frame."""
    cuts: tuple[Cut, ...] = ()
    """Each defect as relief and reflectance, in the truth's order."""

    def scene(self, *, defects: bool = True, stains: FloatArray | None = None) -> Scene:
        """The part's relief, reflectance and light: what :attr:`surface` is a photograph of.

        It is drawn anew from the seed, because its arrays take twenty times the memory of the pixels.
        Without ``defects``: what :attr:`clean` is a photograph of. ``stains``: a factor on the reflectance,
        (3584, width).
        """
        width = self.truth.width
        scene = make_scene(_generator(self.truth.seed, 2, width), width)
        for cut in self.cuts if defects else ():
            here = (slice(cut.box.y, cut.box.y + cut.box.height), slice(cut.box.x, cut.box.x + cut.box.width))
            scene.height_um[here] += cut.relief_um
            scene.reflectance[here] *= cut.reflectance
        if stains is not None:
            scene.reflectance[:] *= stains
        return scene

    def under(
        self, lamps: FloatArray, *, defects: bool = True, stains: FloatArray | None = None
    ) -> NDArray[np.uint8]:
        """The part under one lamp after the other, uint8 (n, 3584, width); the bar is off.

        ``lamps``: (n, 3) unit vectors to distant lamps of equal strength: x along the columns, y down the
        rows, z to the camera. One exposure serves all, and each picture has noise of its own; the noise with
        and without ``defects`` or ``stains`` (see :meth:`scene`) is the same.
        Raises :class:`SimulationError` for what are no such vectors.
        """
        lamps = np.asarray(lamps, np.float32)
        lengths = np.linalg.norm(lamps, axis=-1)
        if lamps.ndim != 2 or lamps.shape[1] != 3 or not len(lamps) or np.abs(lengths - 1).max() > 1e-3:
            raise SimulationError("lamps are unit vectors, an array of shape (n, 3)")
        if lamps[:, 2].min() <= 0:
            raise SimulationError("a lamp lies behind the surface: its z must be above 0")
        wanted = float(_generator(self.truth.seed, 3).uniform(105, 160))
        exposure = wanted / _level(self.scene(defects=False), lamps)
        scene = self.scene(defects=defects, stains=stains)
        pictures = np.empty((len(lamps), *self.surface.shape), np.uint8)
        for index, lamp in enumerate(lamps):
            noise = fine_noise(_generator(self.truth.seed, 4, index), *self.surface.shape)
            pictures[index] = photograph(replace(scene, noise=noise, exposure=exposure), lamp=lamp)
        return pictures

    def frames_under(self, lamps: FloatArray) -> list[NDArray[np.uint8]]:
        """The camera's frames of the part under one lamp after the other, uint8 (3648, 5472) each.

        ``lamps`` as :meth:`under` takes them; the background has noise of its own in each frame.
        """
        return [
            compose(lit, self.placed, self.truth.tilt_deg, _generator(self.truth.seed, 5, number))[0]
            for number, lit in enumerate(self.under(lamps))
        ]

    @cached_property
    def _framed(self) -> NDArray[np.uint8]:
        rng = _generator(self.truth.seed, 1)
        return compose(self.surface, self.placed, self.truth.tilt_deg, rng)[0]

    def frame(self) -> NDArray[np.uint8]:
        """The camera's frame, uint8 (3648, 5472); read-only, made once."""
        self._framed.flags.writeable = False
        return self._framed

    def framed_truth(self, file: str = "") -> PartTruth:
        """The truth with the frame's fingerprint (and its file's name) in it."""
        return replace(self.truth, fingerprint=fingerprint(self.frame()), file=file)


def render_part(
    seed: int,
    *,
    width: int | None = None,
    kind: str | None = None,
    level: str | None = None,
    defects: Sequence[DefectSpec] | None = None,
    defects_per_part: int | tuple[int, int] | None = None,
    tilt_deg: float = 0.0,
    widths: Sequence[int] = PRODUCT_WIDTHS,
) -> RenderedPart:
    """Render one part; the same arguments give the same pixels.

    ``width``: 200 to 2400 px; when None, the seed draws one of ``widths``.
    ``defects``: exactly these; otherwise they are drawn: ``kind`` is a class name, ``"mixed"`` (kinds
    drawn one by one) or ``"defect-free"``; None means defect-free unless ``defects_per_part`` is given,
    which then means mixed. ``defects_per_part``: how many, or a range (both included); 1 where a kind is
    given. ``level``: one of ``LEVELS`` for all drawn defects, else by ``LEVEL_SHARES``.
    ``tilt_deg``: the product's tilt in the frame, -2 to 2; surface and mask stay upright.
    Raises :class:`SimulationError` for arguments that make no part.
    """
    _check(
        seed,
        tuple(widths) if width is None else (width,),
        kind,
        level,
        defects,
        defects_per_part,
        tilt_deg,
    )
    rng = _generator(seed, 0)
    wide = int(rng.choice(widths)) if width is None else width
    specs = list(defects) if defects is not None else _drawn(rng, kind, level, defects_per_part)
    scene = make_scene(_generator(seed, 2, wide), wide)
    clean = photograph(scene)
    surface, mask = clean.copy(), np.zeros(clean.shape, np.uint8)
    taken: list[Box] = []
    made = [_set_defect(spec, scene, surface, mask, taken, rng) for spec in specs]
    truths = [defect for defect, _ in made]

    x = (FRAME_WIDTH - wide) // 2 + int(rng.integers(-240, 241))
    spare = FRAME_HEIGHT - PRODUCT_HEIGHT
    reach = _tilted_reach(wide, tilt_deg)
    y = int(rng.integers(reach, spare - reach + 1))
    placed = Box(x, y, wide, PRODUCT_HEIGHT)
    region = placed if tilt_deg == 0.0 else tilted_box(placed, tilt_deg)[1]
    names = {truth.class_name for truth in truths}
    strongest = max(truths, key=lambda t: t.visibility * t.area_px**0.25, default=None)
    dominant = strongest.class_name if strongest else CLASS_NAMES[0]
    labels = tuple(name for name in CLASS_NAMES if name in names) or (CLASS_NAMES[0],)
    truth = PartTruth(seed, wide, region, tilt_deg, dominant, labels, tuple(truths))
    return RenderedPart(surface, clean, mask, truth, placed, tuple(cut for _, cut in made))


def _level(scene: Scene, lamps: FloatArray) -> float:
    """The mean light that reaches the lens, over bands of the surface and all lamps."""
    height, width = scene.height_um.shape
    bands = [Box(0, top, width, 32) for top in range(0, height - 32, max(32, height // 8))]
    return float(
        np.mean(
            [
                reflected_from(
                    scene,
                    lamp,
                    band,
                    scene.height_um[band.y : band.y + band.height],
                    scene.reflectance[band.y : band.y + band.height],
                ).mean()
                for band in bands
                for lamp in lamps
            ]
        )
    )


def _tilted_reach(width: int, tilt_deg: float) -> int:
    """Rows by which a tilted product reaches beyond an upright one, up and down."""
    return math.ceil(width / 2 * math.sin(abs(math.radians(tilt_deg)))) + (1 if tilt_deg else 0)


def _generator(seed: int, stream: int, extra: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, stream, extra])))


def _check(
    seed: int,
    widths: tuple[int, ...],
    kind: str | None,
    level: str | None,
    defects: Sequence[DefectSpec] | None,
    count: int | tuple[int, int] | None,
    tilt_deg: float,
) -> None:
    """Refuse nonsense with a sentence that says what is right."""
    if seed < 0:
        raise SimulationError(f"seed {seed} is negative; use 0 or more")
    for width in widths:
        if not 200 <= width <= 2400:
            raise SimulationError(
                f"width {width} px is outside 200 to 2400; the real sizes are {PRODUCT_WIDTHS}"
            )
    if kind is not None and kind not in (*CLASS_NAMES, "mixed"):
        raise SimulationError(f"no kind is called {kind!r}; use one of {(*CLASS_NAMES, 'mixed')}")
    if level is not None and level not in LEVELS:
        raise SimulationError(f"no level is called {level!r}; use one of {tuple(LEVELS)}")
    if defects is not None and (kind is not None or count is not None):
        raise SimulationError("give either `defects` or `kind`/`defects_per_part`, not both")
    low, high = (1, 1) if count is None else (count, count) if isinstance(count, int) else count
    if not 0 <= low <= high <= 40:
        raise SimulationError(f"defects_per_part {count} is not a number or range within 0 to 40")
    if kind == CLASS_NAMES[0] and high > 0 and count is not None:
        raise SimulationError("a defect-free part cannot carry defects; leave defects_per_part out")
    if not -2.0 <= tilt_deg <= 2.0:
        raise SimulationError(f"tilt {tilt_deg} degrees is outside -2 to 2")
    if 2 * _tilted_reach(width, tilt_deg) > FRAME_HEIGHT - PRODUCT_HEIGHT:
        raise SimulationError(
            f"a part of {width} px tilted by {tilt_deg} degrees does not fit into the frame; reduce the tilt"
        )


def _drawn(
    rng: np.random.Generator, kind: str | None, level: str | None, count: int | tuple[int, int] | None
) -> list[DefectSpec]:
    """The specs of a part whose defects are left to chance."""
    if kind == CLASS_NAMES[0] or (kind is None and count is None):
        return []
    low, high = (1, 1) if count is None else (count, count) if isinstance(count, int) else count
    specs = []
    for _ in range(int(rng.integers(low, high + 1))):
        name = str(rng.choice(CLASS_NAMES[1:])) if kind in (None, "mixed") else str(kind)
        share = level or str(rng.choice(list(LEVEL_SHARES), p=list(LEVEL_SHARES.values())))
        specs.append(DefectSpec(name, share))
    return sorted(specs, key=lambda spec: spec.class_name != "roll-marks")  # the long runs need room first


def _set_defect(
    spec: DefectSpec,
    scene: Scene,
    surface: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    taken: list[Box],
    rng: np.random.Generator,
) -> tuple[DefectTruth, Cut]:
    """Draw, place and scale one defect until it is as visible as asked; changes surface, mask and taken.

    A draw that cannot reach its visibility on that spot (it would have to be deeper than metal allows) is
    discarded: a defect that nobody can see tests nothing.
    """
    height, width = surface.shape
    level = spec.level or str(rng.choice(list(LEVEL_SHARES), p=list(LEVEL_SHARES.values())))
    low, high = LEVELS[level]
    for attempt in range(_TRIES):
        stamp = draw_stamp(spec.class_name, rng, width)
        wanted = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        wanted *= KIND_FACTOR[spec.class_name] * stamp.least
        if spec.visibility is not None:
            wanted = spec.visibility
        elif attempt > _TRIES // 2:
            wanted = max(wanted * 0.75, LEVELS["marginal"][0] * KIND_FACTOR[spec.class_name])
        box = _place(stamp, spec, width, height, taken, rng)
        if box is None:
            continue
        window = grown(box, _SURROUND, width, height)
        done = _scaled(stamp, box, window, scene, wanted)
        if done is None:
            continue
        clean, marked, seen, strength = done
        rows, cols = slice(window.y, window.y + window.height), slice(window.x, window.x + window.width)
        changed = marked != clean
        surface[rows, cols][changed] = marked[changed]
        own = mask[box.y : box.y + box.height, box.x : box.x + box.width]
        own[stamp.mask] = CLASS_NAMES.index(spec.class_name)
        taken.append(box)
        ys, xs = np.nonzero(stamp.mask)
        top, left = box.y - window.y, box.x - window.x
        inside = (slice(top, top + box.height), slice(left, left + box.width))
        change = (marked.astype(np.float32) - clean)[inside][stamp.mask]
        truth = DefectTruth(
            spec.class_name,
            Box(box.x + int(xs.min()), box.y + int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1),
            int(stamp.mask.sum()),
            round(stamp.size_px, 1),
            round(float(change.mean()), 2),
            round(float(np.abs(change).mean()), 2),
            round(seen, 2),
            _level_of(seen, spec.class_name),
        )
        factor = np.exp(stamp.log_reflectance * np.float32(strength))
        return truth, Cut(box, stamp.relief_um * np.float32(strength), factor)
    raise SimulationError(
        f"no room or no visible place for {spec} on a part {width} px wide with {len(taken)} defects; "
        "ask for fewer defects or another position"
    )


def _level_of(seen: float, class_name: str) -> str:
    """The level whose range a measured visibility falls into."""
    bare = seen / KIND_FACTOR[class_name]
    return next((name for name, (low, _) in LEVELS.items() if bare >= low), "marginal")


def _place(
    stamp: Stamp, spec: DefectSpec, width: int, height: int, taken: list[Box], rng: np.random.Generator
) -> Box | None:
    """A box for the stamp that touches no other defect; None when this draw does not fit."""
    h, w = stamp.mask.shape
    if w > width - 8 or h > height - 8:
        return None
    for _ in range(25):
        x, y = int(rng.integers(4, width - w - 3)), int(rng.integers(4, height - h - 3))
        if spec.x is not None:
            x = min(max(spec.x - w // 2, 4), width - w - 4)
        if spec.y is not None:
            y = min(max(spec.y - h // 2, 4), height - h - 4)
        gap = 20
        free = all(
            x + w + gap <= t.x or t.x + t.width + gap <= x or y + h + gap <= t.y or t.y + t.height + gap <= y
            for t in taken
        )
        if free:
            return Box(x, y, w, h)
        if spec.x is not None and spec.y is not None:
            return None
    return None


def _scaled(
    stamp: Stamp, box: Box, window: Box, scene: Scene, wanted: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], float, float] | None:
    """The window without and with the defect, the visibility reached and the strength that it took; None
    when it cannot be reached.
    """
    total_h, total_w = scene.height_um.shape
    clean = photograph(scene, window)
    outer = grown(window, CONTEXT, total_w, total_h)
    rows, cols = slice(outer.y, outer.y + outer.height), slice(outer.x, outer.x + outer.width)
    relief, reflectance = scene.height_um[rows, cols], scene.reflectance[rows, cols]
    top, left = box.y - outer.y, box.x - outer.x
    inside = (slice(top, top + box.height), slice(left, left + box.width))
    strength, used, seen, marked = stamp.start, stamp.start, 0.0, clean
    for _ in range(6):
        deep, bright = relief.copy(), reflectance.copy()
        deep[inside] += stamp.relief_um * np.float32(strength)
        bright[inside] *= np.exp(stamp.log_reflectance * np.float32(strength))
        marked = photograph(scene, window, deep, bright)
        seen = visibility(clean, marked, total_w)
        used = strength
        if abs(seen / wanted - 1) < 0.08:
            return clean, marked, seen, used
        strength *= float(np.clip(wanted / max(seen, 1e-3), 0.25, 4.0)) ** 0.9
        if strength > _STRONGEST:
            return None
    return (clean, marked, seen, used) if 0.85 < seen / wanted < 1.6 else None
