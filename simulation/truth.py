"""What is really on a rendered part: classes, defects, masks, and how a frame finds its truth again.

A frame that travelled bit-exactly through a camera is recognised by :func:`fingerprint`; a
:class:`TruthBook` holds the truth of a pool of frames and looks it up.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.errors import InspectionError
from drivers.regular_files import read_text

CLASS_NAMES: tuple[str, ...] = ("defect-free", "imprinted", "pits", "roll-marks", "scratches")
"""The classes of the paper's Algorithm 1, in its order; a mask's value is the index here."""

FRAME_WIDTH, FRAME_HEIGHT = 5472, 3648
"""px; what the line-scan camera delivers for one turn of the jig."""
PRODUCT_HEIGHT = 3584
"""px; rows of one whole turn of the housing."""
PRODUCT_WIDTHS: tuple[int, ...] = (385, 570, 690, 935, 1065, 1575)
"""px; the six sizes of housing (figure 2 of the paper)."""


class SimulationError(InspectionError):
    """A part, a pool or a truth file cannot be made or read; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in px: left, top, width, height."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class DefectTruth:
    """One defect as it was rendered; positions in product px (rows down the turn, columns along the axis)."""

    class_name: str
    box: Box
    """The mask's bounding box."""
    area_px: int
    size_px: float
    """Longest side of the defect itself: the length of a scratch, a roll mark's whole run."""
    contrast: float
    """Grey levels, signed: mean of (with the defect - without it) inside the mask."""
    swing: float
    """Grey levels: mean absolute difference inside the mask (light and dark flanks do not cancel)."""
    visibility: float
    """Signal over local texture sigma after area averaging to the network's scale; see visibility.py."""
    level: str
    """``obvious``, ``clear``, ``moderate`` or ``marginal``."""


@dataclass(frozen=True, slots=True)
class PartTruth:
    """The truth about one part in one frame."""

    seed: int
    width: int
    """px, the product's width before any tilt."""
    region: Box
    """The product's bounding box in the frame, px."""
    tilt_deg: float
    label: str
    """The part's class: that of its most visible defect, or ``defect-free``."""
    labels: tuple[str, ...]
    """Every class on the part, in the order of ``CLASS_NAMES``; naming any of them is right."""
    defects: tuple[DefectTruth, ...]
    fingerprint: int | None = None
    """CRC-32 of the frame's sub-sampled pixels, where the frame was made."""
    file: str = ""
    """The frame's file name in a pool."""

    @property
    def is_good(self) -> bool:
        """Whether nothing on the part is a defect."""
        return not self.defects

    def to_json(self) -> dict[str, Any]:
        """Plain values for one line of truth.jsonl."""
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> PartTruth:
        """The inverse of :meth:`to_json`; raises :class:`SimulationError` on a malformed record."""
        try:
            defects = tuple(DefectTruth(**{**one, "box": Box(**one["box"])}) for one in values["defects"])
            return PartTruth(
                **{
                    **values,
                    "region": Box(**values["region"]),
                    "labels": tuple(values["labels"]),
                    "defects": defects,
                }
            )
        except (KeyError, TypeError) as error:
            raise SimulationError(
                f"a truth record is malformed ({error}); make the pool again with `station simulate`"
            ) from error


def fingerprint(frame: NDArray[np.uint8]) -> int:
    """CRC-32 of every 61st row and 7th column of a frame ``(H, W)`` or ``(H, W, 3)``.

    The sensor's noise makes it differ between any two frames; it costs well under a millisecond.
    """
    sample = np.ascontiguousarray(frame[7::61, 3::7])
    return zlib.crc32(sample.tobytes(), zlib.crc32(repr(frame.shape[:2]).encode()))


class TruthBook:
    """Truths by the fingerprint of their frame."""

    def __init__(self, truths: Iterable[PartTruth]) -> None:
        """Keep the truths that carry a fingerprint; the order is kept."""
        self._truths = tuple(truths)
        self._by_print = {t.fingerprint: t for t in self._truths if t.fingerprint is not None}

    @staticmethod
    def load(path: Path) -> TruthBook:
        """Read a truth.jsonl, or the one in a folder; raises :class:`SimulationError`."""
        file = path / "truth.jsonl" if path.is_dir() else path
        try:
            lines = read_text(file).splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SimulationError(f"{file} cannot be read ({error}); make the pool first") from error
        truths = []
        for number, line in enumerate(lines, start=1):
            try:
                truths.append(PartTruth.from_json(json.loads(line)))
            except (json.JSONDecodeError, SimulationError) as error:
                raise SimulationError(f"{file}:{number}: {error}") from error
        return TruthBook(truths)

    def lookup(self, frame: NDArray[np.uint8]) -> PartTruth | None:
        """The truth of a frame that came through bit-exactly; None for any other frame."""
        grey = frame[:, :, 0] if frame.ndim == 3 else frame
        return self._by_print.get(fingerprint(grey))

    def __getitem__(self, index: int) -> PartTruth:
        """The truth of the frame with this index, from 0."""
        return self._truths[index]

    def __len__(self) -> int:
        return len(self._truths)

    def __iter__(self) -> Iterator[PartTruth]:
        return iter(self._truths)
