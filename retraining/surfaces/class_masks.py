"""Masks of several classes: which value, palette index or colour of a pixel means which class."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivers.cameras.picture_files import ImageFileError, decode_image, has_more_pages, read_file, shown
from drivers.cameras.picture_header import indexed_as_grey
from retraining.errors import BadFilesError, DatasetError
from retraining.surfaces.reading import LOSSY

_NAMED = 8
"""Undeclared values that an error names."""


@dataclass(frozen=True, slots=True)
class ClassMasks:
    """What the pixels of masks mean: grey values (in an indexed PNG the indices), or else colours."""

    of: Mapping[int, str]
    """The class of each value, 0 to 255, or of each colour, 0xRRGGBB. Black is sound unless it is here."""
    by_colour: bool

    @classmethod
    def parse(cls, pairs: Iterable[str]) -> ClassMasks:
        """From ``VALUE=CLASS`` or ``#RRGGBB=CLASS``. Raises :class:`DatasetError` that names every fault."""
        of: dict[int, str] = {}
        kinds: set[bool] = set()
        faults = []
        for pair in pairs:
            value, _, name = (part.strip() for part in pair.partition("="))
            colour = re.fullmatch("#[0-9a-fA-F]{6}", value) is not None
            if not name or not (colour or (re.fullmatch("[0-9]{1,3}", value) and int(value) < 256)):
                faults.append(
                    f"--class-of takes VALUE=CLASS with a value of 0 to 255, or '#RRGGBB=CLASS', not {pair!r}"
                )
                continue
            number = int(value[1:], 16) if colour else int(value)
            kinds.add(colour)
            if of.setdefault(number, name) != name:
                faults.append(f"--class-of calls {value} both {of[number]} and {name}; keep one")
        if len(kinds) > 1:
            faults.append(
                "--class-of names values and colours, but a mask is read by one of them; for an indexed PNG "
                "either will do"
            )
        if faults:
            raise DatasetError(faults[0]) if len(faults) == 1 else BadFilesError(tuple(faults))
        return cls(of, kinds == {True})

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, in the order in which they were declared."""
        return tuple(dict.fromkeys(self.of.values()))

    def read(self, path: Path, classes: tuple[str, ...]) -> NDArray[np.uint8]:
        """A mask ``(H, W)`` of indices into ``classes``, of which the first is the sound one.

        Raises :class:`DatasetError` for values that were not declared, and for what may change values: lossy
        formats, transparent pixels, 16 bits, several pages.
        """
        if path.suffix.lower() in LOSSY:
            raise DatasetError(
                f"{shown(path)}: this format changes values, so that no class can be read from them; save "
                "masks of several classes as PNG"
            )
        try:
            data = read_file(path)
            grey, divisor = (None if self.by_colour else indexed_as_grey(data)) or (data, 1)
            pixels = decode_image(grey, path, opaque=True) // np.uint8(divisor)
        except ImageFileError as error:
            if "16 bits" in str(error):
                raise DatasetError(f"{shown(path)}: 16 bits per pixel; save the mask with 8 bits") from None
            raise DatasetError(str(error)) from None
        if has_more_pages(data):
            raise DatasetError(
                f"{shown(path)}: has several pages, but only the first is read; save the mask as one picture"
            )
        values = self._values(path, pixels)
        found = np.zeros(values.shape, np.uint8)
        unknown = np.ones(values.shape, np.bool_)
        for value, name in {0: classes[0], **self.of}.items():
            here = values == value
            found[here] = classes.index(name)
            unknown &= ~here
        if unknown.any():
            raise DatasetError(f"{shown(path)}: {self._undeclared(values, unknown)}")
        return found

    def _values(self, path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """``(H, W)``: the grey value or index of each pixel, or its colour as 0xRRGGBB."""
        if pixels.ndim == 2:
            grey = pixels.astype(np.uint32)
            return np.asarray(grey * 0x010101 if self.by_colour else grey, np.uint32)
        blue, green, red = (pixels[..., channel].astype(np.uint32) for channel in range(3))
        if self.by_colour:
            return np.asarray((red << 16) | (green << 8) | blue, np.uint32)
        if np.any(blue != green) or np.any(green != red):
            raise DatasetError(
                f"{shown(path)}: has colours, but --class-of declares values; declare its colours "
                "('#ff0000=CLASS'), or save the mask as an indexed PNG"
            )
        return blue

    def _undeclared(self, values: NDArray[np.uint32], unknown: NDArray[np.bool_]) -> str:
        met, sizes = np.unique(values[unknown], return_counts=True)
        counts = dict(zip(met.tolist(), sizes.tolist(), strict=True))
        most = sorted(counts, key=lambda value: -counts[value])[:_NAMED]
        row, column = (int(at) for at in np.argwhere(unknown)[0])
        named = ", ".join(
            f"{f'#{value:06x}' if self.by_colour else value} ({counts[value]} px)" for value in most
        )
        more = f" and {len(counts) - _NAMED} more" if len(counts) > _NAMED else ""
        kind = "colours" if self.by_colour else "values"
        return (
            f"has {kind} that --class-of does not declare: {named}{more}, the first at x {column}, y {row}; "
            "declare them, or where they are the soft edges of marks save the mask without smoothing"
        )
