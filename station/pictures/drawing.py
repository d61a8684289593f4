"""Drawing a part's verdict so that a person sees at once what was found, and where. No files here.

A picture has the whole surface on the left, at full size, with the deciding patch framed, and beside it
the deciding patch enlarged, as the network saw it, with the probabilities of its classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from drivers.sorters.interface import Outcome
from station.decision import Verdict
from station.patching import BoxMm, Patches, Region

Picture = NDArray[np.uint8]
"""(H, W, 3), BGR."""

COLOURS = {Outcome.ACCEPT: (90, 190, 60), Outcome.REJECT: (60, 60, 240), Outcome.FAULT: (40, 180, 240)}
"""BGR of an outcome."""
OTHER = (60, 170, 250)
"""BGR of the other patches that are defective."""
PAPER, INK, FAINT = (24, 24, 24), (240, 240, 240), (150, 150, 150)
FONT = cv2.FONT_HERSHEY_SIMPLEX

PANEL = 640
"""Width of the column beside the surface, px."""
ENLARGED = 576
"""Side of the enlarged patch, px."""
TILE_W, TILE_H = 392, 330
"""Size of a part on a contact sheet, px."""
LONGEST = 2048
"""A surface or frame is scaled down to this height, px."""


@dataclass(frozen=True, slots=True)
class PartView:
    """The content of a picture of a part."""

    part: str
    """``part 4711``, or a file's name."""
    verdict: Verdict
    base: Picture
    """The surface, or the frame it was cut from."""
    boxes: tuple[Region, ...]
    """The patches on ``base``, px."""
    patches: NDArray[np.uint8]
    """The patches as the network saw them, (N, patch, patch, C)."""
    scores: NDArray[np.float32] | None
    """(patches, classes), probabilities."""
    classes: tuple[str, ...]
    place_mm: BoxMm | None = None
    """Where the deciding patch lies on the product, mm; None for a fault."""


def view_of_surface(
    part: str,
    verdict: Verdict,
    patches: Patches,
    scores: NDArray[np.float32] | None,
    classes: Sequence[str] = (),
) -> PartView:
    """A part on its surface, at the recipe's size."""
    boxes = tuple(patches.surface_box(index) for index in range(len(patches.pixels)))
    return _view(part, verdict, patches.surface.pixels, boxes, patches, scores, classes)


def view_of_frame(
    part: str,
    verdict: Verdict,
    frame: NDArray[np.uint8],
    patches: Patches,
    scores: NDArray[np.float32] | None,
    classes: Sequence[str] = (),
) -> PartView:
    """A part in its frame, with a little of the background around it, scaled down where it is tall."""
    around = patches.surface.region.bounds()
    margin = max(8, around.width // 20)
    height, width = frame.shape[:2]
    left, top = max(0, around.x - margin), max(0, around.y - margin)
    right, bottom = (
        min(width, around.x + around.width + margin),
        min(height, around.y + around.height + margin),
    )
    part_of_frame = frame[top:bottom, left:right]
    scale = min(1.0, LONGEST / part_of_frame.shape[0])
    boxes = []
    for index in range(len(patches.pixels)):
        box = patches.frame_box(index)
        x, y = round((box.x - left) * scale), round((box.y - top) * scale)
        boxes.append(Region(x, y, round(box.width * scale), round(box.height * scale)))
    if scale < 1.0:
        part_of_frame = _bytes(
            cv2.resize(part_of_frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        )
    return _view(part, verdict, part_of_frame, tuple(boxes), patches, scores, classes)


def view_of_uncut_frame(part: str, verdict: Verdict, frame: NDArray[np.uint8]) -> PartView:
    """A part that was never cut into patches: its whole frame, scaled down, and the reason in words."""
    scale = min(1.0, LONGEST / max(frame.shape[:2]))
    if scale < 1.0:
        frame = _bytes(cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    return PartView(part, verdict, as_bgr(frame), (), np.zeros((0, 1, 1, 1), np.uint8), None, ())


def draw_picture(view: PartView) -> Picture:
    """The whole picture of a part: surface left, what decided right."""
    base = _marked(view, thick=6, label=True)
    height = max(base.shape[0], 1090)
    canvas = np.full((height, base.shape[1] + PANEL, 3), PAPER, np.uint8)
    canvas[: base.shape[0], : base.shape[1]] = base
    x, verdict = base.shape[1] + 32, view.verdict
    write_text(canvas, view.part, (x, 56), 1.2, INK, width=ENLARGED, bold=True)
    cv2.rectangle(canvas, (x, 78), (x + ENLARGED, 134), COLOURS[verdict.outcome], -1)
    write_text(
        canvas, _headline(verdict), (x + 14, 117), 1.05, (255, 255, 255), width=ENLARGED - 28, bold=True
    )
    y = write_lines(canvas, f"bin {verdict.bin}.  {verdict.reason}", (x, 172), 0.68, INK, ENLARGED)
    if verdict.patch is None:
        return canvas
    y += 12
    deciding = as_bgr(view.patches[verdict.patch])
    canvas[y : y + ENLARGED, x : x + ENLARGED] = fitted(deciding, ENLARGED, ENLARGED)
    cv2.rectangle(canvas, (x, y), (x + ENLARGED - 1, y + ENLARGED - 1), COLOURS[verdict.outcome], 3)
    y += ENLARGED + 28
    zoom = ENLARGED / max(deciding.shape[:2])
    write_text(
        canvas,
        f"patch {verdict.patch}{_place(view)}; enlarged {zoom:.3g} x",
        (x, y),
        0.62,
        FAINT,
        width=ENLARGED,
    )
    _draw_others(canvas, view, (x, _draw_scores(canvas, view, (x, y + 14)) + 52))
    return canvas


def draw_tile(view: PartView) -> Picture:
    """A part on a contact sheet: the small surface, the deciding patch, and two lines of text."""
    canvas = np.full((TILE_H, TILE_W, 3), PAPER, np.uint8)
    verdict, colour = view.verdict, COLOURS[view.verdict.outcome]
    cv2.rectangle(canvas, (0, 0), (TILE_W - 1, 34), colour, -1)
    write_text(
        canvas,
        f"{view.part}: {_headline(verdict, short=True)}",
        (10, 25),
        0.7,
        (255, 255, 255),
        width=TILE_W - 20,
    )
    room_h, room_w = 256, TILE_W - 20 if verdict.patch is None else 106
    scale = min(room_h / view.base.shape[0], room_w / view.base.shape[1])
    small = _bytes(cv2.resize(view.base, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    for index in _defective(view):
        if index != verdict.patch:
            draw_box(small, _scaled(view.boxes[index], scale), OTHER, 1)
    if verdict.patch is not None:
        draw_box(small, _scaled(view.boxes[verdict.patch], scale), colour, 2)
    top = 42
    canvas[top : top + small.shape[0], 10 : 10 + small.shape[1]] = small
    if verdict.patch is not None:
        left = TILE_W - 10 - room_h
        canvas[top : top + room_h, left : left + room_h] = fitted(
            as_bgr(view.patches[verdict.patch]), room_h, room_h
        )
        cv2.rectangle(canvas, (left, top), (left + room_h - 1, top + room_h - 1), colour, 2)
    where = "" if verdict.patch is None else f"patch {verdict.patch}, "
    write_text(canvas, f"{where}bin {verdict.bin}", (10, TILE_H - 12), 0.58, FAINT, width=TILE_W - 20)
    return canvas


def draw_sheet(tiles: Sequence[Picture], title: str, *, columns: int = 4) -> Picture:
    """Tiles row by row below a title."""
    columns = max(1, min(columns, len(tiles)))
    rows = -(-len(tiles) // columns)
    gap, head = 12, 64
    width = max(gap + columns * (TILE_W + gap), 900)
    canvas = np.full((head + rows * (TILE_H + gap) + gap, width, 3), (70, 70, 70), np.uint8)
    write_text(canvas, title, (gap + 4, 44), 1.0, INK, width=width - 2 * gap, bold=True)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        y, x = head + row * (TILE_H + gap), gap + column * (TILE_W + gap)
        canvas[y : y + TILE_H, x : x + TILE_W] = tile
    return canvas


def _view(
    part: str,
    verdict: Verdict,
    base: NDArray[np.uint8],
    boxes: tuple[Region, ...],
    patches: Patches,
    scores: NDArray[np.float32] | None,
    classes: Sequence[str],
) -> PartView:
    usable = (
        scores is not None
        and scores.ndim == 2
        and len(scores) == len(boxes)
        and bool(np.isfinite(scores).all())
    )
    place = None if verdict.patch is None else patches.box_mm(verdict.patch)
    return PartView(
        part, verdict, as_bgr(base), boxes, patches.pixels, scores if usable else None, tuple(classes), place
    )


def _place(view: PartView) -> str:
    """Where the deciding patch lies on the product, for a person with a ruler."""
    box = view.place_mm
    if box is None:
        return ""
    right, below = box.x + box.width, box.y + box.height
    return f" at {box.x:.1f}-{right:.1f} mm across, {box.y:.1f}-{below:.1f} mm down"


def _headline(verdict: Verdict, *, short: bool = False) -> str:
    if verdict.outcome is Outcome.FAULT:
        return "FAULT"
    word = "" if short and verdict.outcome is Outcome.REJECT else f"{verdict.outcome.value.upper()}  "
    return f"{word}{verdict.class_name} {min(verdict.confidence, 0.9999):.3f}"


def _defective(view: PartView) -> list[int]:
    """The patches that the decision took for defective."""
    return [index for index, label in enumerate(view.verdict.labels) if label and index < len(view.boxes)]


def _marked(view: PartView, *, thick: int, label: bool) -> Picture:
    """The base with the deciding patch framed and labelled, other defective ones lightly."""
    base, verdict = view.base.copy(), view.verdict
    for index in _defective(view):
        if index != verdict.patch:
            box = view.boxes[index]
            draw_box(base, box, OTHER, 2)
            _label(base, _named(view, index), box, OTHER, 0.55)
    if verdict.patch is not None:
        box = view.boxes[verdict.patch]
        draw_box(base, box, COLOURS[verdict.outcome], thick)
        if label:
            _label(
                base,
                f"{verdict.patch}: {verdict.class_name} {verdict.confidence:.2f}",
                box,
                COLOURS[verdict.outcome],
                0.62,
            )
    return base


def draw_box(picture: Picture, box: Region, colour: tuple[int, int, int], thick: int) -> None:
    """A frame just inside the box, so that neighbours' frames do not hide each other."""
    inset = thick // 2
    corner = (box.x + box.width - 1 - inset, box.y + box.height - 1 - inset)
    cv2.rectangle(picture, (box.x + inset, box.y + inset), corner, colour, thick)


def _label(picture: Picture, text: str, box: Region, colour: tuple[int, int, int], size: float) -> None:
    """A filled label on top of the box, inside it only where the picture ends."""
    size = _fitting(text, size, max(box.width - 12, 40))
    (width, height), below = cv2.getTextSize(text, FONT, size, 1)
    tall = height + below + 10
    top = box.y - tall if box.y >= tall else box.y
    cv2.rectangle(picture, (box.x, top), (box.x + width + 14, top + tall), colour, -1)
    cv2.putText(picture, text, (box.x + 7, top + height + 6), FONT, size, (255, 255, 255), 1, cv2.LINE_AA)


def _draw_scores(canvas: Picture, view: PartView, corner: tuple[int, int]) -> int:
    """One bar per class: the probabilities of the deciding patch. The foot of the last one."""
    x, y = corner
    if view.scores is None or view.verdict.patch is None:
        return y
    row = view.scores[view.verdict.patch]
    for index in sorted(range(len(row)), key=lambda one: (-row[one], one))[:6]:
        y += 34
        if y > canvas.shape[0] - 8:
            break
        write_text(canvas, _class_name(view, index), (x, y), 0.68, INK, width=190)
        length = round(float(row[index]) * 270)
        colour = COLOURS[Outcome.ACCEPT] if index == 0 else COLOURS[Outcome.REJECT]
        cv2.rectangle(canvas, (x + 200, y - 20), (x + 470, y + 4), (60, 60, 60), -1)
        cv2.rectangle(canvas, (x + 200, y - 20), (x + 200 + length, y + 4), colour, -1)
        write_text(canvas, f"{row[index]:.3f}", (x + 484, y), 0.68, INK, width=90)
    return y


def _draw_others(canvas: Picture, view: PartView, corner: tuple[int, int]) -> None:
    """Other defective patches, the surest first, as many as there is room for."""
    side, gap = 276, 24
    others = [index for index in _defective(view) if index != view.verdict.patch]
    if not others:
        return
    x, y = corner
    if y + 14 + side + 40 > canvas.shape[0]:
        return
    write_text(canvas, f"other defective patches: {len(others)}", (x, y), 0.68, INK, width=ENLARGED)
    others.sort(key=lambda index: -_probability(view, index))
    for number, index in enumerate(others):
        row, column = divmod(number, 2)
        top, left = y + 14 + row * (side + 44), x + column * (side + gap)
        if top + side + 40 > canvas.shape[0]:
            return
        canvas[top : top + side, left : left + side] = fitted(as_bgr(view.patches[index]), side, side)
        cv2.rectangle(canvas, (left, top), (left + side - 1, top + side - 1), OTHER, 2)
        write_text(canvas, f"{index}: {_named(view, index)}", (left, top + side + 24), 0.58, INK, width=side)


def _named(view: PartView, index: int) -> str:
    """The class that the decision gave a patch, and its probability where the engine has the class."""
    name = _class_name(view, view.verdict.labels[index])
    return f"{name} {_probability(view, index):.2f}" if name in view.classes else name


def _probability(view: PartView, index: int) -> float:
    """The probability of the class that the decision gave a patch; 0 without scores, and for `unknown`."""
    label = view.verdict.labels[index]
    known = view.scores is not None and label < view.scores.shape[1]
    return float(view.scores[index, label]) if view.scores is not None and known else 0.0


def _class_name(view: PartView, index: int) -> str:
    if index < len(view.classes):
        return view.classes[index]
    return view.verdict.class_name if index == view.verdict.class_index else f"class {index}"


def as_bgr(pixels: NDArray[np.uint8]) -> Picture:
    """Any picture as (H, W, 3) BGR."""
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        grey = np.ascontiguousarray(pixels.reshape(pixels.shape[:2]))
        return _bytes(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
    return _bytes(np.ascontiguousarray(pixels[:, :, :3]))


def fitted(picture: Picture, width: int, height: int) -> Picture:
    """Enlarged or reduced to fit, centred on paper; pixels stay visible when enlarged."""
    scale = min(width / picture.shape[1], height / picture.shape[0])
    how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    scaled = cv2.resize(picture, size, interpolation=how)
    canvas = np.full((height, width, 3), PAPER, np.uint8)
    y, x = (height - scaled.shape[0]) // 2, (width - scaled.shape[1]) // 2
    canvas[y : y + scaled.shape[0], x : x + scaled.shape[1]] = scaled
    return canvas


def _scaled(box: Region, scale: float) -> Region:
    return Region(
        round(box.x * scale), round(box.y * scale), round(box.width * scale), round(box.height * scale)
    )


def _fitting(text: str, size: float, width: int) -> float:
    """The size of text, or the smaller one at which it fits, but never an unreadable one."""
    taken = cv2.getTextSize(text, FONT, size, 1)[0][0]
    return size if taken <= width else max(0.42, size * width / taken)


def write_text(
    canvas: Picture,
    text: str,
    at: tuple[int, int],
    size: float,
    colour: tuple[int, int, int],
    *,
    width: int,
    bold: bool = False,
) -> None:
    """One line, its foot at ``at``, made smaller and then shorter to fit."""
    text = text.encode("ascii", "replace").decode()
    size = _fitting(text, size, width)
    while len(text) > 4 and cv2.getTextSize(text, FONT, size, 1)[0][0] > width:
        text = text[:-4] + "..."
    cv2.putText(canvas, text, at, FONT, size, colour, 2 if bold else 1, cv2.LINE_AA)


def write_lines(
    canvas: Picture, text: str, at: tuple[int, int], size: float, colour: tuple[int, int, int], width: int
) -> int:
    """Text broken into at most four lines; the foot of the last one."""
    x, y = at
    line = ""
    lines: list[str] = []
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and cv2.getTextSize(longer, FONT, size, 1)[0][0] > width:
            lines.append(line)
            longer = word
        line = longer
    lines.append(line)
    for number, one in enumerate(lines[:4]):
        y = at[1] + 30 * number
        write_text(canvas, one, (x, y), size, colour, width=width)
    return y


def _bytes(picture: Any) -> Picture:
    return np.asarray(picture, dtype=np.uint8)
