"""What the readers share: finding picture files, reading labels and groups from their names, digests."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from drivers.cameras.picture_files import (
    ImageFileError,
    decode_image,
    linked_folders,
    pictures_in,
    read_file,
    shown,
)
from retraining.data.manifest import Dataset, Picture, Window
from retraining.errors import DatasetError
from retraining.surfaces.reading import for_each

CLASS_FOLDERS = r"(?P<label>[^/]+)/.+"
"""The pattern of one sub-folder per class."""
_SHOWN = 200
"""Names in a note."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a picture's name says about it."""

    path: str
    """Relative to the root, POSIX."""
    label: str
    group: str


def list_named(
    root: Path, pattern: str, rename: Mapping[str, str], skip: Path | None = None, *, unlabelled: bool = False
) -> tuple[list[Named], list[str]]:
    """Every picture below ``root``, but not below ``skip``, whose path matches, and notes on the others.

    ``pattern`` is a regular expression for the path's beginning (:func:`re.match`), with a named group
    ``label`` and, where names tell which pictures belong together, a named group ``group``. ``rename`` maps
    labels to class names. A match without a label does not count, or with ``unlabelled`` gives the label "".
    Raises :class:`DatasetError`.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DatasetError(f"{pattern!r} is not a regular expression: {error}") from error
    if "label" not in compiled.groupindex:
        raise DatasetError(f"the pattern {pattern!r} has no named group (?P<label>...)")
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder; name the folder of the pictures")
    found, others = [], []
    for path in sorted(pictures_in(root, recursive=True)):
        if skip is not None and path.is_relative_to(skip):
            continue
        name = path.relative_to(root).as_posix()
        match = compiled.match(name)
        label = (match["label"] or "") if match else ""
        if match is None or not (label or unlabelled):
            others.append(name)
            continue
        group = match["group"] if "group" in compiled.groupindex else None
        found.append(Named(name, rename.get(label, label), group or name))
    if not found:
        raise DatasetError(f"no picture below {root} has a name like {pattern!r}")
    notes = counted_note("pictures were left out, their names do not fit the pattern", others)
    links = [shown(path.relative_to(root)) for path in linked_folders(root)]
    return found, notes + counted_note("links to folders were not followed; give the real folders", links)


def class_order(named: Iterable[str], wanted: tuple[str, ...]) -> tuple[str, ...]:
    """``wanted`` when given (the good class first), else the names in order; refuses an empty class."""
    there = set(named)
    missing = [name for name in wanted if name not in there]
    if missing:
        raise DatasetError(
            f"no picture has the class {', '.join(missing)}; the classes are {', '.join(sorted(there))}"
        )
    return wanted or tuple(sorted(there))


def counted_note(what: str, names: list[str]) -> list[str]:
    """One note that counts and names, or none."""
    if not names:
        return []
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{len(names)} {what}: {', '.join(map(shown, names[:_SHOWN]))}{more}"]


def make_dataset(
    root: Path,
    classes: tuple[str, ...],
    entries: Iterable[tuple[Named, Window | None]],
    *,
    source: str,
    labelled_by: str,
    notes: list[str],
    sixteen_bit_white: int | None = None,
) -> Dataset:
    """The data set of some named pictures or windows; other classes are left out.

    Each file is read once, digested and decoded. Raises :class:`DatasetError` that names every file that is
    damaged, empty, no picture, or outside ``root``.
    """
    kept = [(named, window) for named, window in entries if named.label in classes]
    paths = sorted({named.path for named, _ in kept})
    inside = root.resolve()
    found = for_each(lambda path: _digest(root / path, inside, sixteen_bit_white), paths)
    digests = dict(zip(paths, found, strict=True))
    pictures = tuple(
        Picture(n.path, digests[n.path], n.label, n.group, source, labelled_by, window=window)
        for n, window in kept
    )
    return Dataset(root, classes, pictures, tuple(notes), sixteen_bit_white)


def _digest(path: Path, root: Path, sixteen_bit_white: int | None) -> str:
    """SHA-256 of a file that is a whole picture below ``root``; raises :class:`DatasetError`."""
    if shown(path) != str(path):
        raise DatasetError(f"{shown(path)}: the name is not UTF-8; rename the file")
    try:
        data = read_file(path)
        decode_image(data, path, sixteen_bit_white=sixteen_bit_white)
    except ImageFileError as error:
        raise DatasetError(str(error)) from None
    if not path.resolve().is_relative_to(root):
        raise DatasetError(f"{path}: a link that leads out of {root}; copy the file into the folder")
    return hashlib.sha256(data).hexdigest()
