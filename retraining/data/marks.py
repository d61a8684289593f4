"""What a labelling tool marked on a picture, whatever the tool: boxes with a class, read from a file.

Files of labels come from outside and are read as such: regular files of bounded size, JSON without endless
numbers, endless nesting or a key that is given twice.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from drivers.cameras.picture_files import shown
from drivers.regular_files import open_regular
from retraining.data.outlines import Outline
from retraining.errors import DatasetError
from retraining.surfaces.pairing import Pairs

Size = tuple[int, int]
"""Height and width, px."""
_SHOWN_FAULTS = 20


class Doubt(Enum):
    """Why a mark cannot be right: what is said of one, and of several."""

    EMPTY = "is empty", "are empty"
    BEYOND = "reaches beyond the stated size of its picture", "reach beyond the stated size of their picture"
    OTHER_SIZE = "was made for a picture of another size", "were made for a picture of another size"

    @property
    def of_one(self) -> str:
        """The predicate after one box."""
        return self.value[0]

    @property
    def of_several(self) -> str:
        """The predicate after several boxes."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Mark:
    """The box around one mark, px from the picture's corner; right and bottom are not included."""

    label: str
    left: float
    top: float
    right: float
    bottom: float
    said: str = ""
    """The corners as the file counts them; "" where it counts as this class does."""
    is_crowd: bool = False
    """It marks a region of several things, which gives no window of its own."""
    polygons: tuple[tuple[float, ...], ...] = ()
    """What is marked within the box, as :class:`retraining.data.outlines.Outline` has it; () for all."""
    runs: tuple[int, ...] = ()
    """The same as runs down the columns of the box."""

    def scaled(self, size: Size) -> Mark:
        """The mark in px of a picture of this size, where it is given in shares of the picture."""
        height, width = size
        return replace(
            self, left=self.left * width, right=self.right * width,
            top=self.top * height, bottom=self.bottom * height,
            polygons=tuple(
                tuple(v * (height if at % 2 else width) for at, v in enumerate(polygon))
                for polygon in self.polygons
            ),
        )  # fmt: skip

    def outline(self, label: str) -> Outline:
        """Where it marks a class on a whole picture. Raises :class:`DatasetError`."""
        box = (self.left, self.top, self.right, self.bottom)
        return Outline(label, box, self.polygons, self.runs)

    def corners(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom, whole px."""
        return round(self.left), round(self.top), round(self.right), round(self.bottom)

    def is_empty(self) -> bool:
        """Whether the corners lie the wrong way round, or in one place."""
        left, top, right, bottom = self.corners()
        return right <= left or bottom <= top

    def is_within(self, size: Size) -> bool:
        """Whether the box lies in a picture of this size, but for less than half a pixel."""
        left, top, right, bottom = self.corners()
        return min(left, top) >= 0 and right <= size[1] and bottom <= size[0]

    def doubt(self, stated: Size, size: Size) -> tuple[Doubt | None, str]:
        """Why it cannot be right in a picture of ``size``, whose file states ``stated``, and what it says."""
        if self.is_empty():
            return Doubt.EMPTY, str(self)
        if not self.is_within(stated):
            return Doubt.BEYOND, f"{self} of {stated[1]} x {stated[0]}"
        if stated != size:
            why = f"states {stated[1]} x {stated[0]}, the file is {size[1]} x {size[0]}"
            return Doubt.OTHER_SIZE, why
        return None, ""

    def __str__(self) -> str:
        left, top, right, bottom = self.corners()
        return self.said or f"x {left} to {right}, y {top} to {bottom}"


@dataclass(frozen=True, slots=True)
class MarkedPicture:
    """What one file, or one entry of a file, says about one picture."""

    stated: Size | None
    """None where the tool did not know the size."""
    picture: str
    """The name that the file gives; "" without one. It is compared and never opened."""
    boxes: tuple[Mark, ...]
    relative: bool = False
    """The corners are shares of the picture, so that there is no size to state."""
    where: str = ""
    """How notes call it; "" for the file's own path."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the files say of the pictures."""

    of: dict[str, MarkedPicture]
    """By the path of the picture."""
    pairs: Pairs


class FormatError(ValueError):
    """A file of labels is not what it should be; the message says where and why."""


def around(points: Iterable[tuple[float, float]]) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of points."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def label_text(value: Any) -> str:
    """A class name on one line. Raises :class:`FormatError`."""
    if not isinstance(value, str) or not value.strip():
        raise FormatError(f"the name of the class is {_short(value)}; it must be a text")
    return " ".join(value.split("\n")).strip()


def number(value: Any, what: str) -> float:
    """A finite number below 1e9. Raises :class:`FormatError`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        raise FormatError(f"{what} is {_short(value)}, which is no number of pixels")
    return float(value)


def stated_size(height: Any, width: Any) -> Size | None:
    """Both sides, None where the tool left them out or wrote 0. Raises :class:`FormatError`."""
    if all(side is None or side == 0 for side in (height, width)):
        return None
    whole = [number(side, name) for side, name in ((height, "the height"), (width, "the width"))]
    if any(side < 1 or side != math.floor(side) for side in whole):
        raise FormatError(f"the size {_short(width)} x {_short(height)} is no size of a picture")
    return int(whole[0]), int(whole[1])


def read_json(file: Path, most_bytes: int) -> Any:
    """The content of a JSON file. Raises OSError and :class:`FormatError`."""
    try:
        return json.loads(
            read_bounded(file, most_bytes).decode("utf-8-sig"),
            parse_constant=_no_number,
            object_pairs_hook=_each_key_once,
        )
    except UnicodeDecodeError:
        raise FormatError("it is not UTF-8") from None
    except RecursionError:
        raise FormatError("it is nested too deep") from None
    except json.JSONDecodeError as error:
        raise FormatError(f"line {error.lineno}: {error.msg}") from None
    except FormatError:
        raise
    except ValueError:  # a number of thousands of digits
        raise FormatError("it holds a number that is too long") from None


def read_bounded(file: Path, most_bytes: int) -> bytes:
    """The bytes of a regular file. Raises OSError and :class:`FormatError`."""
    with open_regular(file) as opened:
        data = opened.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise FormatError(f"it is larger than {most_bytes // 1_000_000} MB")
    return data


def refuse(file: Path, kind: str, error: OSError | ValueError) -> DatasetError:
    """The error of a file that is not of its kind."""
    reason = (error.strerror or error) if isinstance(error, OSError) else error
    return DatasetError(f"{shown(file)} is not {kind}: {reason}; repair or remove it")


def several(faults: list[str]) -> FormatError:
    """One error of all faults of a file."""
    more = f"; and {len(faults) - _SHOWN_FAULTS} more" if len(faults) > _SHOWN_FAULTS else ""
    return FormatError("; ".join(faults[:_SHOWN_FAULTS]) + more)


def _no_number(text: str) -> float:
    raise FormatError(f"it holds {text}, which is no number")


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise FormatError(f"the key {_short(counts.most_common(1)[0][0])} is given twice")
    return content


def _short(value: Any) -> str:
    """A value for a message; a text without its quotes may hold megabytes."""
    return repr(value[:40] if isinstance(value, str) else value)[:60]
