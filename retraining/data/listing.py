"""What the readers share: finding picture files, reading labels and groups from their names, digests."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from drivers.cameras.picture_files import (
    ImageFileError,
    decode_image,
    has_more_pages,
    is_leftover,
    pictures_in,
    read_file,
    shown,
)
from drivers.errors import os_remedy
from retraining.data.manifest import MANIFEST, TRUSTED, Dataset, Picture, Window, read_manifest
from retraining.data.marks import MarkedPicture
from retraining.data.outlines import Outline
from retraining.errors import DatasetError
from retraining.surfaces.pairing import is_mask_of_another
from retraining.surfaces.reading import Reporter, for_each, silent, stage

CLASS_FOLDERS = r"(?P<label>[^/]+)/.+"
"""The pattern of one sub-folder per class."""
NO_CLASS = r"(?P<label>)"
"""The pattern of pictures whose folders are no classes (``train``, ``val``)."""
_SHOWN = 200
"""Names in a note."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a picture's name says about it."""

    path: str
    """Relative to the root, POSIX."""
    label: str
    group: str
    marks: tuple[Outline, ...] = ()
    """Where on the whole picture its classes are."""

    @property
    def shows(self) -> set[str]:
        """Its class, and those of its marks."""
        return {self.label, *(mark.label for mark in self.marks)}


def list_named(
    root: Path,
    pattern: str,
    rename: Mapping[str, str],
    skip: Path | None = None,
    *,
    unlabelled: bool = False,
    labels: Collection[str] = (),
) -> tuple[list[Named], list[str]]:
    """Every picture below ``root``, but not below ``skip``, whose path matches, and notes on all other files.

    ``pattern`` is a regular expression for the path's beginning (:func:`re.match`), with a named group
    ``label`` and, where names tell which pictures belong together, a named group ``group``. ``rename`` maps
    labels to class names. A match without a label does not count, or with ``unlabelled`` gives the label "".
    ``labels``: real paths of files with labels, which are not noted. Raises :class:`DatasetError`.
    """
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise DatasetError(f"{pattern!r} is not a regular expression: {error}; see --help") from error
    if "label" not in compiled.groupindex:
        raise DatasetError(f"the pattern {pattern!r} has no named group (?P<label>...); see --help")
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder; name the folder of the pictures")
    apart = None if skip is None else Path(os.path.realpath(skip))
    names = [
        p.relative_to(root).as_posix() for p in pictures_in(root, recursive=True) if not _below(p, apart)
    ]
    notes = _passed_over(root, set(names), apart, labels)
    masks = is_mask_of_another(names)
    found, others = [], []
    met: set[str] = set()
    for name in sorted(names):
        match = compiled.match(name)
        label = (match["label"] or "") if match else ""
        if name in masks or _is_own_sheet(root / name):
            continue
        if match is None or not (label or unlabelled):
            others.append(name)
            continue
        met.add(label)
        group = match["group"] if "group" in compiled.groupindex else None
        found.append(Named(name, rename.get(label, label), group or name))
    if not found and others:
        raise DatasetError(
            f"no picture below {root} has a name like {pattern!r}; there are {len(others)}, such as "
            f"{shown(others[0])}; put each class into a folder of its own, or say by --pattern where a path "
            "names the class"
        )
    if not found:
        raise DatasetError(f"{root} holds no pictures" + "".join(f"; {note}" for note in notes))
    return found, [
        *counted_note("pictures were left out, their names do not fit the pattern", others),
        *counted_note(
            "pictures were left out, by their names they are masks of others (see from-masks)", sorted(masks)
        ),
        *notes,
        *([] if unlabelled else unmet_renames(rename, met)),
    ]


def names_another(marked: MarkedPicture, named: Named, stems: Collection[str]) -> bool:
    """Whether what is said of a picture gives the name of another one, by their names without endings."""
    stated, own = PurePosixPath(marked.picture.replace("\\", "/")), PurePosixPath(named.path)
    return own.stem not in (stated.stem, stated.name) and stated.stem in stems


def unmet_renames(rename: Mapping[str, str], met: Collection[str]) -> list[str]:
    """A note on labels that were to be renamed, but that nothing has."""
    return counted_note("labels of --rename were not met", sorted(set(rename) - set(met)))


def _below(path: Path, folder: Path | None) -> bool:
    return folder is not None and Path(os.path.realpath(path.parent)).is_relative_to(folder)


def _is_own_sheet(path: Path) -> bool:
    """Whether a file is the contact sheet of a data set, which `retrain data` wrote beside the manifest."""
    return path.name == "contact-sheet.png" and (path.parent / MANIFEST).is_file()


def _passed_over(root: Path, pictures: set[str], skip: Path | None, labels: Collection[str]) -> list[str]:
    """Notes on the files and folders below ``root`` that are no candidates, with the reason."""
    hidden: list[str] = []
    strange: list[str] = []
    sheets: list[str] = []
    links: list[str] = []

    def refuse(error: OSError) -> None:
        if not is_leftover(Path(error.filename).relative_to(root)):
            what = f"the folder cannot be read ({error.strerror})"
            raise DatasetError(
                f"{shown(error.filename)}: {what}; {os_remedy(error, error.filename)}"
            ) from None

    for folder, folders, files in os.walk(root, onerror=refuse):
        here = Path(folder)
        links += [
            name for each in folders if (here / each).is_symlink() and (name := _name(here / each, root))
        ]
        for file in files:
            name = _name(here / file, root)
            if _is_own_sheet(here / file) or file == MANIFEST:
                sheets.append(name)
            elif name in pictures or _below(here / file, skip) or os.path.realpath(here / file) in labels:
                continue
            else:
                (hidden if is_leftover(Path(name)) else strange).append(name)
    return [
        *counted_note("hidden files and leftovers of other systems were passed over", sorted(hidden)),
        *counted_note("files were passed over, their endings are not those of pictures", sorted(strange)),
        *counted_note("files of `retrain data` itself were passed over", sorted(sheets)),
        *counted_note(
            "links to folders were not followed; put the folders themselves in their place", sorted(links)
        ),
    ]


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


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
    report: Reporter = silent,
) -> Dataset:
    """The data set of some named pictures or windows; other classes are left out with a note.

    Each file is read once, digested and decoded. Raises :class:`DatasetError` that names every file that is
    damaged, empty, no picture, or outside ``root``.
    """
    everything = list(entries)
    kept = [(named, window) for named, window in everything if named.shows <= set(classes)]
    others = [named.path for named, _ in everything if not named.shows <= set(classes)]
    notes = notes + counted_note(
        "pictures were left out, or windows of them, because --classes does not name their classes",
        list(dict.fromkeys(others)),
    )
    paths = sorted({named.path for named, _ in kept})
    if labelled_by in TRUSTED:
        _refuse_untrusted(root, paths)
    inside = root.resolve()
    found = for_each(
        lambda path: _digest(root, path, inside, sixteen_bit_white),
        paths,
        stage(report, "pictures checked", len(paths)),
    )
    digests = {path: digest for path, (digest, _) in zip(paths, found, strict=True)}
    paged = [path for path, (_, more) in zip(paths, found, strict=True) if more]
    notes = notes + counted_note("files hold several pages; only the first is used", paged)
    pictures = tuple(
        Picture(n.path, digests[n.path], n.label, n.group, source, labelled_by, window=window, marks=n.marks)
        for n, window in kept
    )
    return Dataset(root, classes, pictures, tuple(notes), sixteen_bit_white)


def _refuse_untrusted(root: Path, paths: list[str]) -> None:
    """Raise :class:`DatasetError` where a manifest near ``root`` says that no person labelled these pictures.

    Else a second manifest would make labels by a person of labels by a network. Files of other programs with
    the manifest's name say nothing.
    """
    wanted = {os.path.realpath(root / path) for path in paths}
    above = [folder / MANIFEST for folder in Path(os.path.realpath(root)).parents]
    for manifest in (*above, *sorted(root.rglob(MANIFEST))):
        try:
            known = read_manifest(manifest)
        except DatasetError:
            continue
        doubtful = [p for p in known.pictures if p.labelled_by not in TRUSTED]
        others = {p.labelled_by for p in doubtful if os.path.realpath(known.path_of(p)) in wanted}
        if others:
            named = " or ".join(sorted(others))
            raise DatasetError(
                f"{shown(manifest)} says that these pictures were labelled by {named}; use that data set, or "
                f"--labelled-by {named}; remove the file only after a person has looked at every picture"
            )


def _digest(root: Path, name: str, inside: Path, sixteen_bit_white: int | None) -> tuple[str, bool]:
    """SHA-256 of a file that is a whole picture below ``inside``, and whether it has more pages.

    Raises :class:`DatasetError`.
    """
    path = root / name
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise DatasetError(f"{shown(path)}: the name is not UTF-8; rename the file") from None
    if "\\" in name:
        raise DatasetError(f"{shown(path)}: the name holds a backslash; rename the file")
    try:
        data = read_file(path)
        decode_image(data, path, sixteen_bit_white=sixteen_bit_white)
    except ImageFileError as error:
        raise DatasetError(str(error)) from None
    if not path.resolve().is_relative_to(inside):
        raise DatasetError(f"{shown(path)}: a link that leads out of {inside}; copy the file into the folder")
    return hashlib.sha256(data).hexdigest(), has_more_pages(data)
