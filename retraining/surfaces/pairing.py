"""Which mask or box file belongs to which picture, by their paths.

A file belongs to the picture of the same path without the ending. Where their folders differ, one must be the
end of the other (``train/pits`` and ``pits``, or no folder at all), and only one picture may fit: the file of
one class folder is never given to a picture of another.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from drivers.cameras.picture_files import shown
from retraining.errors import BadFilesError, DatasetError

_MASK_ENDING = re.compile(
    r"[-_. ](mask|label|gt|ground[-_ ]?truth|seg|segmentation|annotation)s?$", re.IGNORECASE
)
"""What data sets add to a picture's name for its mask."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Files and pictures that belong together, and the files that belong to none."""

    of: dict[str, str]
    """The file of each picture that has one."""
    strangers: tuple[str, ...]
    """Files of no picture."""
    unclear: dict[str, tuple[str, ...]]
    """Files that fit several pictures, with these; they are given to none of them."""


def pair(pictures: Iterable[str], files: Iterable[str], *, masks: bool = False) -> Pairs:
    """Pair pictures and files, both by their POSIX paths below their own roots.

    With ``masks``, a file may add ``_mask``, ``_label``, ``_GT`` and the like to the picture's name. Raises
    :class:`DatasetError` that names every picture to which several files belong.
    """
    by_path: dict[str, list[str]] = defaultdict(list)
    by_stem: dict[str, list[str]] = defaultdict(list)
    for picture in pictures:
        whole = _bare(picture)
        by_path[whole].append(picture)
        by_stem[PurePosixPath(whole).name].append(picture)
    claims: dict[str, list[str]] = defaultdict(list)
    strangers: list[str] = []
    unclear: dict[str, tuple[str, ...]] = {}
    for file in files:
        own: list[str] = []
        for name in _names(file, masks):
            folder = PurePosixPath(name).parent
            own = own or by_path[name]
            own = own or [
                p for p in by_stem[PurePosixPath(name).name] if _agree(PurePosixPath(_bare(p)).parent, folder)
            ]
        if len(own) == 1:
            claims[own[0]].append(file)
        elif own:
            unclear[file] = tuple(own)
        else:
            strangers.append(file)
    faults = [
        f"{shown(picture)} fits {', '.join(map(shown, own))}; keep one of these files"
        for picture, own in sorted(claims.items())
        if len(own) > 1
    ]
    if faults:
        raise DatasetError(faults[0]) if len(faults) == 1 else BadFilesError(tuple(faults))
    return Pairs({picture: own[0] for picture, own in claims.items()}, tuple(sorted(strangers)), unclear)


def is_named_as_mask(path: str) -> bool:
    """Whether a picture's name says that it is a mask: ``7_mask.png``, ``7-gt.png``."""
    return _MASK_ENDING.search(_bare(path)) is not None


def is_mask_of_another(pictures: Iterable[str]) -> set[str]:
    """The pictures that by their names are masks of one beside them: ``7_mask.png`` of ``7.png``."""
    own = list(pictures)
    whole = {_bare(picture) for picture in own}
    return {p for p in own if (name := _bare(p)) != (bare := _MASK_ENDING.sub("", name)) and bare in whole}


def _names(file: str, masks: bool) -> list[str]:
    """The paths without endings under which a file's picture may lie, the most literal one first."""
    name = _bare(file)
    return list(dict.fromkeys((name, _MASK_ENDING.sub("", name)) if masks else (name,)))


def _bare(path: str) -> str:
    """A path without its ending; composed characters, because file systems and archives decompose them."""
    return unicodedata.normalize("NFC", PurePosixPath(path).with_suffix("").as_posix())


def _agree(one: PurePosixPath, other: PurePosixPath) -> bool:
    """Whether one of two folders is the end of the other."""
    shorter, longer = sorted((one.parts, other.parts), key=len)
    return not shorter or longer[-len(shorter) :] == shorter
