"""The pictures that people label: those of a data set, of a station, or of a folder without labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drivers.cameras.picture_files import pictures_in
from retraining.data.kept_parts import KeptPart, kept_parts, why_kept
from retraining.data.manifest import MANIFEST, file_digest, load_dataset
from retraining.errors import DatasetError
from retraining.labels.csv_files import csv_rows


@dataclass(frozen=True, slots=True)
class ToLabel:
    """One picture."""

    path: str
    """Relative to :attr:`Task.root`, POSIX."""
    digest: str
    suggestion: str
    """What somebody said before: a class, and who; empty where nobody did."""
    information: str = ""
    """Why a station kept the part, and what it made of it; empty for other pictures."""
    as_cut: bool = False
    """A surface that a station has cut already."""


@dataclass(frozen=True, slots=True)
class Task:
    """Pictures to label, in the order in which they are shown."""

    root: Path
    folder: Path
    """Where the answers are kept."""
    classes: tuple[str, ...]
    pictures: tuple[ToLabel, ...]


def open_task(data: Path, classes: tuple[str, ...] = (), order: tuple[str, ...] = ()) -> Task:
    """The pictures of a manifest (or its folder), of a station's rare log, of what was received from
    stations, or of a folder of pictures, which needs ``classes``.

    ``order``: paths that come first, in this order; the others are left out then. Raises
    :class:`DatasetError`.
    """
    if data.is_file() or (data / MANIFEST).is_file():
        dataset = load_dataset(data)
        if any(picture.window is not None for picture in dataset.pictures):
            raise DatasetError(
                f"{data} lists windows of pictures; label the whole pictures they are cut from"
            )
        root, folder = dataset.root, data if data.is_dir() else data.parent
        kept = {part.path: why_kept(part.item) for part in kept_parts(root)}
        listed = {
            picture.path: ToLabel(
                picture.path, picture.digest, f"{picture.label} (by the {picture.labelled_by})",
                kept.get(picture.path, ""), picture.is_cut,
            )
            for picture in dataset.pictures
        }  # fmt: skip
        names = classes or dataset.classes
    elif parts := kept_parts(data):
        root = folder = data
        listed = {part.path: _of_a_station(data, part) for part in parts}
        names = classes or max((part.item for part in parts), key=lambda item: item.kept_at).classes
    elif data.is_dir():
        root = folder = data
        found = pictures_in(data, recursive=True)
        if not found:
            raise DatasetError(f"there are no pictures in {data}; name a folder of pictures or a data set")
        paths = [path.relative_to(data).as_posix() for path in found]
        listed = {path: ToLabel(path, file_digest(data / path), "") for path in paths}
        names = classes
    else:
        raise DatasetError(f"{data} does not exist; name a folder of pictures or a data set")
    if not names:
        raise DatasetError("say by --classes what the pictures can show, for example good,scratch,pit")
    absent = [path for path in order if path not in listed]
    if absent:
        raise DatasetError(f"{len(absent)} pictures of the order are not in {data}, such as {absent[0]}")
    chosen = [listed[path] for path in order] if order else list(listed.values())
    return Task(root, folder, tuple(names), tuple(chosen))


def _of_a_station(folder: Path, part: KeptPart) -> ToLabel:
    item = part.item
    by = "the station" if item.said_class is None else str(item.said_by)
    suggestion = f"{item.said_class or item.class_name} (by {by})"
    return ToLabel(part.path, file_digest(folder / part.path), suggestion, why_kept(item), as_cut=True)


def read_order(file: Path) -> tuple[str, ...]:
    """The paths in the column `picture` of a CSV, in its order. Raises :class:`DatasetError`."""
    rows = csv_rows(file, ("picture",), "write it by `retrain next`")
    paths = [row["picture"] for _, row in rows]
    if not paths or not all(paths):
        raise DatasetError(f"{file} names no pictures in a column `picture`; write it by `retrain next`")
    return tuple(paths)
