"""Labels as YOLO's tools write them: one text file per picture, and one with the names of the classes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from retraining.data.marks import (
    FormatError,
    Mark,
    MarkedPicture,
    around,
    label_text,
    read_bounded,
    refuse,
    several,
)

_MOST_BYTES = 16_000_000
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?")


def read_names(file: Path) -> Mapping[int, str]:
    """Class names by number: ``names`` of a YAML file, or a text file with one name per line.

    Raises :class:`retraining.errors.DatasetError`.
    """
    try:
        text = read_bounded(file, 1_000_000).decode("utf-8-sig")
        names = _from_yaml(text) if file.suffix.lower() in (".yaml", ".yml") else _from_lines(text)
        if not names:
            raise FormatError("it names no class")
        if len(set(names.values())) != len(names):
            raise FormatError("it gives one name to two classes; join classes by --rename instead")
        return names
    except UnicodeDecodeError:
        raise refuse(file, "a file of class names", FormatError("it is not UTF-8")) from None
    except (OSError, FormatError) as error:
        raise refuse(file, "a file of class names", error) from None


def read_yolo(file: Path, names: Mapping[int, str]) -> MarkedPicture:
    """One file: a line per box, ``class x y width height``, or per polygon, ``class x1 y1 x2 y2 x3 y3 ...``.

    All are shares of the picture; an empty file marks nothing. Raises
    :class:`retraining.errors.DatasetError` with all faults of the file.
    """
    try:
        lines = read_bounded(file, _MOST_BYTES).decode("utf-8-sig").splitlines()
        marks, faults = [], []
        for at, line in enumerate(lines, start=1):
            try:
                if line.strip():
                    marks.append(_mark(line.split(), names))
            except FormatError as error:
                faults.append(f"line {at}: {error}")
        if faults:
            raise several(faults)
    except UnicodeDecodeError:
        raise refuse(file, "a YOLO file", FormatError("it is not UTF-8")) from None
    except (OSError, FormatError) as error:
        raise refuse(file, "a YOLO file", error) from None
    return MarkedPicture(None, "", tuple(marks), relative=True)


def _mark(words: list[str], names: Mapping[int, str]) -> Mark:
    if len(words) == 6:
        raise FormatError(
            "it has six numbers: the last is a network's confidence, and a network's boxes are no labels"
        )
    if len(words) < 5 or not len(words) % 2:
        raise FormatError(
            f"it has {len(words)} numbers; a box has five, a polygon its class and three or more x and y"
        )
    if not re.fullmatch(r"\d{1,6}", words[0], re.ASCII):
        raise FormatError(f"the class {words[0][:40]!r} is no whole number")
    if int(words[0]) not in names:
        raise FormatError(f"no class has the number {int(words[0])}; there are {len(names)} names")
    values = [_share(word) for word in words[1:]]
    if len(values) > 4:
        corners = around(zip(values[::2], values[1::2], strict=True))
        return Mark(names[int(words[0])], *corners, polygons=(tuple(values),))
    x, y, width, height = values
    return Mark(names[int(words[0])], x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _share(word: str) -> float:
    """A number as it stands in the file; far outside of 0 to 1 it is a number of pixels."""
    if not _NUMBER.fullmatch(word) or not abs(value := float(word)) < 1e9:
        raise FormatError(f"{word[:40]!r} is no number")
    if abs(value) > 2:
        raise FormatError(f"{word[:40]} is no share of the picture, 0 to 1; it may be a number of pixels")
    return value


def _from_yaml(text: str) -> dict[int, str]:
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise FormatError(f"it is not YAML ({reason})") from None
    if not isinstance(content, dict) or not isinstance(names := content.get("names"), list | dict):
        raise FormatError("it has no list `names`")
    if "kpt_shape" in content:
        raise FormatError("it is for key points (kpt_shape), which are no boxes or polygons")
    rows = enumerate(names) if isinstance(names, list) else names.items()
    found = {}
    for key, name in rows:
        if type(key) is not int or key < 0:
            raise FormatError(f"the class {str(key)[:40]!r} of names is no whole number")
        try:
            found[key] = label_text(name)
        except FormatError as error:
            raise FormatError(f"class {key}: {error}; put it in quotes") from None
    count = content.get("nc", len(found))
    if count != len(found):
        raise FormatError(f"nc is {str(count)[:40]} and there are {len(found)} names")
    return found


def _from_lines(text: str) -> dict[int, str]:
    lines = text.rstrip().splitlines()
    blank = [at for at, line in enumerate(lines, start=1) if not line.strip()]
    if blank:
        raise FormatError(f"line {blank[0]} is blank, and the lines after it would count otherwise")
    return {at: line.strip() for at, line in enumerate(lines)}
