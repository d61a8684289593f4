"""A data set is a manifest of labelled pictures that stay where they are; pixels are loaded when they are
needed.

The manifest, ``dataset.json``, says of every picture where it lies, its digest, its label, who labelled it,
which pictures it must not be parted from (its group) and on which side of the split it is. Its ``root`` is
written relative to the manifest's own folder, so that both may move together.
"""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from drivers.regular_files import open_regular
from retraining.data.outlines import Outline
from retraining.errors import DatasetError
from retraining.surfaces.reading import Reporter, for_each, silent, stage
from station.files import write_file

MANIFEST = "dataset.json"
VERSION = 1
"""Of the manifest's format."""
SPLITS = ("train", "validation", "test")
SYNTHETIC = "synthetic"
LABELLERS = ("person", "station", "renderer", SYNTHETIC)
"""Who may have labelled a picture; a label by the station is not a label by a person."""
TRUSTED = ("person", "renderer")
"""Whose labels are trained on unless asked otherwise: those that are right by looking, or by making."""

AS_CUT = ("station", "received", "rendered-surface")
"""Sources of surfaces that are cut already, at the size of their recipe: by a station, or as rendered."""

Window = tuple[int, int, int, int]
"""Top, left, height, width, px."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One labelled picture, or a window of one."""

    path: str
    """Relative to :attr:`Dataset.root`, POSIX."""
    digest: str
    """SHA-256 of the file's bytes, hexadecimal."""
    label: str
    """One of :attr:`Dataset.classes`."""
    group: str
    """What a split never cuts: a part, a tile, a commutator, a cluster of near duplicates."""
    source: str
    """Where it was read from: ``folder``, ``voc``, ``coco``, ``yolo``, ``labelme``, ``mask``, ``station``,
    ``received``, ``rendered``, ``rendered-surface``, ``synthetic:<run digest>``."""
    labelled_by: str
    """One of :data:`LABELLERS`."""
    split: str = ""
    """One of :data:`SPLITS`, or ``""`` before a split."""
    window: Window | None = None
    """The part of the picture that is meant; None means the whole."""
    marks: tuple[Outline, ...] = ()
    """Where on a whole picture its classes are, as persons marked them."""

    def __post_init__(self) -> None:
        path = PurePosixPath(self.path)
        if not self.path or path.is_absolute() or ".." in path.parts or {"\\", "\0"} & set(self.path):
            raise DatasetError(f"{self.path!r} is not a path below the root of the data set")
        if not self.group:
            raise DatasetError(f"{self.path} has no group; give it at least its own path")
        if self.labelled_by not in LABELLERS:
            raise DatasetError(f"{self.path} is labelled by {self.labelled_by!r}; use {', '.join(LABELLERS)}")
        if self.split not in ("", *SPLITS):
            raise DatasetError(f"{self.path} is in the split {self.split!r}; use {', '.join(SPLITS)}")
        if self.window is not None and (min(self.window) < 0 or min(self.window[2:]) < 1):
            raise DatasetError(
                f"{self.path} has the window {self.window}; a window is top, left, height, width in px"
            )
        if self.window is not None and self.marks:
            raise DatasetError(f"{self.path} has a window and marks; only whole pictures have marks")

    @property
    def is_cut(self) -> bool:
        """Whether a whole picture is a surface that is cut already, at the size of its recipe."""
        return self.source in AS_CUT or self.source.startswith(f"{SYNTHETIC}:")

    @property
    def name(self) -> str:
        """Path and window, unique in a data set."""
        return self.path if self.window is None else f"{self.path}@{','.join(map(str, self.window))}"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled pictures below one folder."""

    root: Path
    classes: tuple[str, ...]
    """Where there is a good class, it is the first one."""
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...] = field(default=())
    """What a person should know: faults found, pictures left out, duplicates joined."""
    sixteen_bit_white: int | None = None
    """The value that is white in the set's 16-bit files; None: it has none, and such a file is an error."""

    def __post_init__(self) -> None:
        white = self.sixteen_bit_white
        if white is not None and (not isinstance(white, int) or not 1 <= white <= 65_535):
            raise DatasetError(f"sixteen_bit_white is {white!r}; it must be a grey value of 1 to 65535")
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise DatasetError(
                f"the classes {self.classes} are empty or contain a name twice; name each class once"
            )
        bad = [name for name in self.classes if not _is_class_name(name)]
        if bad:
            raise DatasetError(
                f"{', '.join(map(ascii, bad))} cannot be the name of a class: it is empty or holds a control "
                "character; rename the folder, or give another name by --rename"
            )
        known, seen = set(self.classes), set()
        for picture in self.pictures:
            if picture.label not in known:
                raise DatasetError(
                    f"{picture.name} has the label {picture.label!r}, which is not a class of the data set"
                )
            if strange := {mark.label for mark in picture.marks} - known:
                raise DatasetError(
                    f"{picture.name} has marks of {', '.join(map(repr, sorted(strange)))}, which are no "
                    "classes of the data set"
                )
            if picture.name in seen:
                raise DatasetError(f"{picture.name} is listed twice; remove one of the entries")
            seen.add(picture.name)

    def __len__(self) -> int:
        return len(self.pictures)

    def path_of(self, picture: Picture) -> Path:
        """Where the picture's file lies."""
        return self.root / picture.path

    def count(self, split: str | None = None) -> dict[str, int]:
        """Pictures by class, of one split or of all."""
        counts = Counter(p.label for p in self.pictures if split is None or p.split == split)
        return {name: counts[name] for name in self.classes}

    def select(
        self,
        *,
        split: str | None = None,
        labelled_by: Collection[str] | None = None,
        classes: Collection[str] | None = None,
    ) -> Dataset:
        """The pictures of a split, of some labellers, of some classes; ``classes`` keeps the set's order."""
        if split is not None and split not in ("", *SPLITS):
            raise DatasetError(f"no split is called {split!r}; use {', '.join(SPLITS)}")
        unknown = set(classes or ()) - set(self.classes)
        if unknown:
            raise DatasetError(
                f"no class is called {', '.join(sorted(unknown))}; the data set has {', '.join(self.classes)}"
            )
        kept = tuple(
            p
            for p in self.pictures
            if (split is None or p.split == split)
            and (labelled_by is None or p.labelled_by in labelled_by)
            and (classes is None or {p.label, *(mark.label for mark in p.marks)} <= set(classes))
        )
        names = self.classes if classes is None else tuple(c for c in self.classes if c in classes)
        return replace(self, classes=names, pictures=kept)

    def with_pictures(self, pictures: Iterable[Picture], *notes: str) -> Dataset:
        """The same set with other pictures and some more notes."""
        return replace(self, pictures=tuple(pictures), notes=(*self.notes, *notes))


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal; raises :class:`DatasetError`."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be read: {error.strerror}; put it back or build the set again"
        ) from error


def save_dataset(dataset: Dataset, folder: Path) -> Path:
    """Write ``dataset.json`` into ``folder`` in one step, with one line per picture. Returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    header = {
        "version": VERSION,
        "root": Path(os.path.relpath(dataset.root.resolve(), folder.resolve())).as_posix(),
        "classes": list(dataset.classes),
        "notes": list(dataset.notes),
    }
    if dataset.sixteen_bit_white is not None:
        header["sixteen_bit_white"] = dataset.sixteen_bit_white
    lines = [json.dumps(_packed(p), ensure_ascii=False) for p in dataset.pictures]
    text = (
        json.dumps(header, ensure_ascii=False, indent=1)[:-2]
        + ',\n "pictures": [\n'
        + ",\n".join(lines)
        + "\n]}\n"
    )
    target = folder / MANIFEST
    write_file(target, text)
    return target


def load_dataset(path: Path, *, verify: bool = False) -> Dataset:
    """Read a manifest, given by file or folder; raises :class:`DatasetError`.

    Pictures that are missing or lie outside the root (through a link) are refused; with ``verify`` also those
    whose bytes are no longer what they were.
    """
    dataset = read_manifest(path)
    faults = misplaced(dataset) or (changed(dataset) if verify else [])
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise DatasetError(f"{faults[0]}{more}; put the files back or build the set again")
    return dataset


def read_manifest(path: Path) -> Dataset:
    """:func:`load_dataset` without a look at the pictures."""
    manifest = path / MANIFEST if path.is_dir() else path
    again = "write it again by `retrain data`"
    try:
        with open_regular(manifest) as file:
            text = file.read()
    except OSError as error:
        raise DatasetError(
            f"{manifest} cannot be read ({error.strerror}); write one by `retrain data`"
        ) from None
    try:
        content = _Manifest.model_validate_json(text)
        root = Path(os.path.realpath(manifest.parent / content.root))
        return Dataset(root, content.classes, content.pictures, content.notes, content.sixteen_bit_white)
    except ValidationError as error:
        raise DatasetError(f"{manifest} {_explained(error)}; {again}") from None
    except DatasetError as error:
        raise DatasetError(f"{manifest}: {error}; {again}") from None


class _Manifest(BaseModel):
    """The content of ``dataset.json``."""

    model_config = ConfigDict(strict=True, extra="forbid")

    version: Literal[1]
    root: str
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    sixteen_bit_white: int | None = None

    @field_validator("root")
    @classmethod
    def _is_a_path(cls, root: str) -> str:
        if "\0" in root:
            raise ValueError("a path holds no zero byte")
        return root


def _explained(error: ValidationError) -> str:
    """What is wrong with a manifest, the first five faults of it."""
    faults = error.errors(include_url=False)
    if faults[0]["type"] == "json_invalid":
        return f"is not a manifest: {faults[0]['msg']}"
    if any(fault["loc"] in ((), ("version",)) for fault in faults):
        return f"is not a manifest of version {VERSION}"
    named = (f"{'.'.join(map(str, fault['loc']))} ({fault['msg']})" for fault in faults[:5])
    return f"lacks or misspells {', '.join(named)}"


def misplaced(dataset: Dataset) -> list[str]:
    """A sentence for every file that is missing or that a link leads out of the root."""
    root = dataset.root.resolve()
    faults = []
    for path in sorted({p.path for p in dataset.pictures}):
        resolved = Path(os.path.realpath(root / path))
        if not resolved.is_relative_to(root):
            faults.append(f"{path} leads out of {root}")
        elif not os.path.isfile(resolved):
            faults.append(f"{path} is not in {root}")
    return faults


def changed(dataset: Dataset, report: Reporter = silent) -> list[str]:
    """A sentence for every file whose digest is not the manifest's.

    Raises :class:`DatasetError` that names every file that cannot be read.
    """
    wanted = sorted({(p.path, p.digest) for p in dataset.pictures})
    found = for_each(
        lambda entry: file_digest(dataset.root / entry[0]),
        wanted,
        stage(report, "files compared with the manifest", len(wanted)),
    )
    return [
        f"{path} is not the picture that was labelled (its digest differs)"
        for (path, digest), now in zip(wanted, found, strict=True)
        if now != digest
    ]


def _packed(picture: Picture) -> dict[str, Any]:
    """The entry without what is empty."""
    packed = {key: value for key, value in asdict(picture).items() if value not in ("", None, ())}
    if picture.marks:
        packed["marks"] = [{key: v for key, v in asdict(mark).items() if v != ()} for mark in picture.marks]
    return packed


def _is_class_name(name: str) -> bool:
    return bool(name.strip()) and not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)
