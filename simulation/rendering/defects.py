"""The four kinds of defect as relief and reflectance on a small window.

Every kind is drawn once at unit strength; ``simulation.rendering.parts`` sets it on the metal, looks through
the camera and scales it until it is as visible as was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from simulation.rendering.optics import FloatArray
from simulation.truth import CLASS_NAMES, PRODUCT_HEIGHT, SimulationError

Generator = np.random.Generator

LEVELS: dict[str, tuple[float, float]] = {
    "obvious": (12.0, 24.0),
    "clear": (7.5, 12.0),
    "moderate": (5.0, 7.5),
    "marginal": (3.5, 5.0),
}
"""Visibility (signal over texture) by level, before a kind's own factor."""
LEVEL_SHARES: dict[str, float] = {"obvious": 0.30, "clear": 0.30, "moderate": 0.25, "marginal": 0.15}
KIND_FACTOR: dict[str, float] = {"imprinted": 1.0, "pits": 1.5, "roll-marks": 1.0, "scratches": 1.0}
"""A pit covers few pixels: it must stand out more than a long scratch to be found at all."""


@dataclass(frozen=True, slots=True)
class DefectSpec:
    """One defect to be made; what is left None is drawn at random."""

    class_name: str
    level: str | None = None
    visibility: float | None = None
    """Overrides the level: the target at the network's scale."""
    x: int | None = None
    """Column of the middle, product px."""
    y: int | None = None
    """Row of the middle, product px."""

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        if self.class_name not in CLASS_NAMES[1:]:
            raise SimulationError(f"no defect is called {self.class_name!r}; use one of {CLASS_NAMES[1:]}")
        if self.level is not None and self.level not in LEVELS:
            raise SimulationError(f"no level is called {self.level!r}; use one of {tuple(LEVELS)}")
        if self.visibility is not None and not 0.5 <= self.visibility <= 60:
            raise SimulationError(f"visibility {self.visibility} is outside 0.5 to 60")


@dataclass(frozen=True, slots=True)
class Stamp:
    """A defect at unit strength on its own window; arrays (h, w)."""

    relief_um: FloatArray
    log_reflectance: FloatArray
    """Natural logarithm of the factor on reflectance."""
    mask: NDArray[np.bool_]
    size_px: float
    start: float
    """A strength to begin the search with."""
    least: float = 1.0
    """Factor on the least visibility: more for a shape that resembles the metal's own lines."""


def draw_stamp(class_name: str, rng: Generator, width: int) -> Stamp:
    """A random defect of the class that fits on a product of ``width`` px."""
    return {"imprinted": _imprint, "pits": _pits, "roll-marks": _roll_marks, "scratches": _scratch}[
        class_name
    ](rng, width)


def _imprint(rng: Generator, width: int) -> Stamp:
    """Something hard was pressed in: a flat floor, flanks of a few px, a slight lip around."""
    size = float(rng.uniform(25, min(120, 0.5 * width)))
    side = int(size + 28)
    canvas = np.zeros((side * 2, side * 2), np.uint8)  # drawn at twice the size for smooth edges
    middle, span, angle = side, size, rng.uniform(0, 360)
    shape = rng.choice(
        ["bar", "arc", "letter", "corner", "polygon", "ring"], p=[0.2, 0.2, 0.15, 0.15, 0.2, 0.1]
    )
    stroke = max(10, int(span * rng.uniform(0.16, 0.30)))
    if shape == "bar":
        box = cv2.boxPoints(((middle, middle), (span * 1.9, max(12, span * rng.uniform(0.3, 0.7))), angle))
        cv2.fillPoly(canvas, [box.astype(np.int32)], 255, cv2.LINE_AA)
    elif shape == "arc":
        axes = (int(span * 0.85), int(span * rng.uniform(0.5, 0.85)))
        cv2.ellipse(canvas, (middle, middle), axes, angle, 0, rng.uniform(80, 220), 255, stroke, cv2.LINE_AA)
    elif shape == "ring":
        cv2.circle(canvas, (middle, middle), int(span * 0.78), 255, stroke, cv2.LINE_AA)
    elif shape == "letter":
        letter = str(rng.choice(list("AEFHKLNRTVXZ0347")))
        scale = span / 13.0
        (tw, th), _ = cv2.getTextSize(letter, cv2.FONT_HERSHEY_SIMPLEX, scale, stroke)
        factor = min(1.0, 1.75 * span / max(tw, th))
        scale, stroke = scale * factor, max(9, int(stroke * 0.8))
        (tw, th), _ = cv2.getTextSize(letter, cv2.FONT_HERSHEY_SIMPLEX, scale, stroke)
        origin = (middle - tw // 2, middle + th // 2)
        cv2.putText(canvas, letter, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, stroke, cv2.LINE_AA)
        turn = cv2.getRotationMatrix2D(
            (middle, middle), float(rng.choice([0, 90, 180, 270]) + rng.normal(0, 12)), 1
        )
        canvas = np.asarray(cv2.warpAffine(canvas, turn, canvas.shape[::-1]), np.uint8)
    elif shape == "corner":
        a, b = np.deg2rad(angle), np.deg2rad(angle + rng.uniform(60, 120))
        reach = span * 0.95
        knee = np.array(
            [middle - reach * (np.cos(a) + np.cos(b)) / 3, middle - reach * (np.sin(a) + np.sin(b)) / 3]
        )
        ends = [knee + reach * np.array([np.cos(t), np.sin(t)]) for t in (a, b)]
        points = np.array([ends[0], knee, ends[1]]).astype(np.int32)
        cv2.polylines(canvas, [points], False, 255, stroke, cv2.LINE_AA)
    else:
        count = int(rng.integers(3, 7))
        turns = np.sort((np.arange(count) + rng.uniform(-0.3, 0.3, count)) / count * 2 * np.pi)
        radii = span * rng.uniform(0.65, 0.95, count)
        points = np.stack([middle + radii * np.cos(turns), middle + radii * np.sin(turns)], axis=1)
        cv2.fillPoly(canvas, [points.astype(np.int32)], 255, cv2.LINE_AA)
    body = cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    flank = float(rng.uniform(1.2, 3.0))
    pressed = cv2.GaussianBlur(body, (0, 0), flank)
    lip = np.maximum(cv2.GaussianBlur(body, (0, 0), flank * 2.2) - pressed, 0)
    relief = lip * np.float32(rng.uniform(0.2, 0.6)) - pressed
    log_reflectance = pressed * np.float32(rng.uniform(-0.035, 0.012))
    return Stamp(relief, log_reflectance, pressed > 0.12, size, 2.0)


def _pits(rng: Generator, width: int) -> Stamp:
    """Corrosion or inclusions torn out: dark holes, a bright rim of fresh metal; alone or in a cluster."""
    if rng.random() < 0.35:
        diameters = rng.uniform(8, 20, 1)
        places = np.zeros((1, 2))
    else:
        count = int(rng.integers(3, 15))
        diameters = rng.uniform(4.5, 12, count)
        diameters[0] = rng.uniform(8, 14)
        places = rng.normal(0, 1, (count, 2)) * rng.uniform(9, min(45, width / 10), (1, 2))
        places -= places[0]
    reach = diameters * 0.9 + 4
    low = np.floor((places - reach[:, None]).min(axis=0)).astype(int)
    high = np.ceil((places + reach[:, None]).max(axis=0)).astype(int)
    shape = (int(high[1] - low[1]) + 1, int(high[0] - low[0]) + 1)
    relief, log_reflectance = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    mask = np.zeros(shape, np.bool_)
    for diameter, (px, py) in zip(diameters, places, strict=True):
        half = int(diameter * 0.9 + 4)
        cx, cy = px - low[0], py - low[1]
        x0, y0 = max(0, int(cx) - half), max(0, int(cy) - half)
        x1, y1 = min(shape[1], int(cx) + half + 1), min(shape[0], int(cy) + half + 1)
        yy, xx = np.mgrid[y0:y1, x0:x1].astype(np.float32)
        u, v = xx - np.float32(cx), yy - np.float32(cy)
        bearing = np.arctan2(v, u)
        wobble = 1 + sum(
            rng.uniform(-0.26, 0.26) / k * np.cos(k * bearing + rng.uniform(0, 6.3)) for k in (2, 3, 5)
        )
        radius = np.sqrt(u * u + v * v) / np.float32(diameter / 2) / wobble
        ring = np.exp(-(((radius - 1.30) / np.float32(max(0.22, 0.9 / diameter))) ** 2))
        hole = 1 / (1 + np.exp((radius - 0.92) / np.float32(0.10)))
        depth = np.float32(diameter * 0.10)
        here = (slice(y0, y1), slice(x0, x1))
        relief[here] += depth * (np.float32(0.25) * ring - hole)
        log_reflectance[here] += np.float32(0.22) * ring - np.float32(0.75) * hole
        mask[here] |= radius < 1.5
    return Stamp(relief, log_reflectance, mask, float(max(shape) - 8), 0.8)


def _roll_marks(rng: Generator, width: int) -> Stamp:
    """A fault of the roll prints the same low mark again and again, at a constant pitch down the turn."""
    pitch = float(rng.uniform(46, 145))
    mark_w = float(rng.uniform(22, min(100, width * 0.22)))
    mark_h = float(rng.uniform(9, min(26, pitch * 0.32)))
    lanes = int(rng.choice([1, 2, 3], p=[0.65, 0.25, 0.10])) if width > 500 else 1
    spacing = mark_w * rng.uniform(1.3, 1.9)
    pad = 10
    cols = int(mark_w + spacing * (lanes - 1) + 2 * pad)
    repeats = int(rng.uniform(6, max(7, (PRODUCT_HEIGHT - 120) / pitch)))
    rows = int(repeats * pitch + 2 * pad)
    cell_h = int(mark_h + 2 * pad)
    cell = np.zeros((cell_h * 2, int(mark_w + 2 * pad) * 2), np.uint8)
    cx, cy = cell.shape[1] // 2, cell.shape[0] // 2
    shape = rng.choice(["bar", "oblique", "crescent", "twin", "lens"])
    if shape == "bar":
        box = cv2.boxPoints(((cx, cy), (mark_w * 1.9, mark_h * 1.2), rng.normal(0, 4)))
        cv2.fillPoly(cell, [box.astype(np.int32)], 255, cv2.LINE_AA)
    elif shape == "oblique":
        lean = np.rad2deg(np.arctan2(mark_h, mark_w)) * rng.choice([-1, 1])
        box = cv2.boxPoints(((cx, cy), (mark_w * 1.8, mark_h * 0.7), float(lean)))
        cv2.fillPoly(cell, [box.astype(np.int32)], 255, cv2.LINE_AA)
    elif shape == "crescent":
        axes, thick = (int(mark_w * 0.9), int(mark_h * 1.3)), max(8, int(mark_h * 0.5))
        cv2.ellipse(cell, (cx, int(cy + mark_h * 0.6)), axes, 0, 195, 345, 255, thick, cv2.LINE_AA)
    elif shape == "twin":
        for side in (-1, 1):
            centre, axes = (int(cx + side * mark_w * 0.5), cy), (int(mark_w * 0.35), int(mark_h * 0.8))
            cv2.ellipse(cell, centre, axes, 0, 0, 360, 255, -1, cv2.LINE_AA)
    else:
        cv2.ellipse(cell, (cx, cy), (int(mark_w * 0.95), int(mark_h * 0.85)), 0, 0, 360, 255, -1, cv2.LINE_AA)
    one = cv2.resize(cell, (cell.shape[1] // 2, cell.shape[0] // 2), interpolation=cv2.INTER_AREA)
    pressed = cv2.GaussianBlur(one.astype(np.float32) / 255, (0, 0), float(rng.uniform(1.8, 3.2)))
    relief = np.zeros((rows, cols), np.float32)
    swell, phase = rng.uniform(0.0, 0.2), rng.uniform(0, 6.3)
    for index in range(repeats):
        top = int(index * pitch + pitch / 2 - cell_h / 2 + pad)
        depth = np.float32(1 + swell * np.sin(index * pitch / PRODUCT_HEIGHT * 6.3 + phase))
        for lane in range(lanes):
            left = int(lane * spacing)
            y0, y1 = max(0, top), min(rows, top + pressed.shape[0])
            x1 = min(cols, left + pressed.shape[1])
            target = relief[y0:y1, left:x1]
            np.minimum(target, -depth * pressed[y0 - top : y1 - top, : x1 - left], out=target)
    return Stamp(
        relief, relief * np.float32(rng.uniform(-0.01, 0.03)), relief < -0.18, float(rows - 2 * pad), 1.5
    )


def _scratch(rng: Generator, width: int) -> Stamp:
    """A groove 1 to 3 px wide, bright where fresh metal faces the light or dark; straight or curved."""
    aligned = rng.random() < 0.06
    lean = rng.uniform(-6, 6) if aligned else rng.uniform(14, 166)
    direction = np.deg2rad(lean)
    room_x, room_y = width * 0.86, PRODUCT_HEIGHT * 0.5
    longest = min(
        800.0, room_x / max(abs(np.cos(direction)), 1e-3), room_y / max(abs(np.sin(direction)), 1e-3)
    )
    length = float(min(np.exp(rng.uniform(np.log(80), np.log(800))), longest))
    bow = 0.0 if rng.random() < 0.45 else rng.uniform(-0.22, 0.22) * length
    steps = max(12, int(length / 12))
    t = np.linspace(0, 1, steps)
    along, off = (t - 0.5) * length, bow * 4 * t * (1 - t) + np.cumsum(rng.normal(0, 0.25, steps))
    x = along * np.cos(direction) - off * np.sin(direction)
    y = along * np.sin(direction) + off * np.cos(direction)
    if x.max() - x.min() > width * 0.9:
        shrink = width * 0.9 / (x.max() - x.min())
        x, y, length = x * shrink, y * shrink, length * shrink
    pad = 8
    x, y = x - x.min() + pad, y - y.min() + pad
    canvas = np.zeros((int(y.max()) + pad + 1, int(x.max()) + pad + 1), np.uint8)
    pressure = np.clip(1 + 0.25 * np.interp(t, np.linspace(0, 1, 7), rng.normal(0, 1, 7)), 0.45, 1.4)
    pressure *= np.clip(np.minimum(t, 1 - t) * 12, 0.35, 1)
    thick = 1 if rng.random() < 0.6 else 2
    points = np.stack([x * 16, y * 16], axis=1).astype(np.int32)
    for index in range(steps - 1):
        a, b = points[index], points[index + 1]
        level = int(np.clip(180 * pressure[index], 20, 255))
        cv2.line(canvas, (int(a[0]), int(a[1])), (int(b[0]), int(b[1])), level, thick, cv2.LINE_AA, 4)
    groove = cv2.GaussianBlur(canvas, (5, 5), float(rng.uniform(0.4, 0.8))).astype(np.float32)
    groove *= np.float32(1 / 180)
    swollen = np.asarray(cv2.GaussianBlur(groove, (7, 7), 1.5), np.float32)
    ridge = np.maximum(swollen - groove * np.float32(0.5), np.float32(0))
    facing = np.float32(rng.uniform(0.35, 0.5) if rng.random() < 0.55 else -rng.uniform(0.4, 0.6))
    relief = ridge * np.float32(0.4) - groove * np.float32(0.6)
    upright = abs(lean - 90) < 4 and abs(bow) < 0.02 * length
    return Stamp(
        relief, groove * facing, groove > 0.14, length, 0.5, 1.7 if aligned else 1.3 if upright else 1.0
    )
