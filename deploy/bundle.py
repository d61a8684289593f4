"""The bundle of an engine: its whole folder in one file, on the way from the workshop to the stations.

A plain tar (:mod:`station.sealed_tar`) of ``bundle.json`` (:mod:`station.engines.contents`) and then the
files that it lists: engine.yaml and every file that engine.yaml names, and card.md. The bundle bears no
signature: TUF signs its length and its SHA-256. The engine digest, SHA-256 of bundle.json, names its content.

Opening trusts nothing: names, counts and sizes are bounded before a file is written, ONNX files are looked
at by :mod:`station.engines.graph`, and pictures must have the size that engine.yaml says, before anything
decodes them. The folder appears whole or not at all.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from pydantic import BaseModel

from drivers.cameras.picture_header import claimed_size
from drivers.regular_files import open_regular
from station.decision import decide_by
from station.engines.contents import (
    CARD,
    CONTENTS,
    Contents,
    ContentsError,
    contents_from,
    contents_of,
    release,
)
from station.engines.folder import MANIFEST, EngineManifest, ManifestError, load_manifest
from station.engines.interface import EngineError
from station.engines.manifest import EngineDocument, EngineRules, FileEntry
from station.files import replacing, sync_folder
from station.journal.values import software_version
from station.sealed_tar import (
    BundleError,
    length_of,
    pieces_of,
    read_end,
    read_first,
    read_piece,
    write_members,
)
from station.strict_yaml import load_document

SUFFIX = ".bundle"
_CONTENTS_MB = 1


def bundle_name(digest: str) -> str:
    """The name of the file of the engine with this digest."""
    return f"{digest}{SUFFIX}"


def write_bundle(
    engine: Path,
    into: Path,
    *,
    version: int,
    data: Sequence[str],
    licences: Sequence[str],
    rules: EngineRules | None = None,
    minimum_station: str | None = None,
) -> Path:
    """Write the bundle of the folder ``engine`` into ``into``; the same bytes for the same content.

    ``rules``: thresholds and temperature that the engine is to be used with; without them, those that it was
    proven with. ``minimum_station``: a release such as 0.1.0; without it, the one that is installed here.
    Raises :class:`EngineError` or :class:`BundleError` that names every fault, and OSError.
    """
    manifest = load_manifest(engine)
    names = _files_of(engine)
    faults = [
        f"{engine / name}: is in the folder, but engine.yaml does not name it: remove it"
        for name in sorted(_there(engine) - names - {CONTENTS})
    ]
    if not (engine / CARD).is_file():
        faults.append(f"{engine / CARD}: is missing: say in it what the engine is and was trained on")
    faults += [f"{engine / name}: is a link: put the file there" for name in names if _linked(engine, name)]
    used = manifest.rules if rules is None else rules
    faults += [f"{engine}: {fault}" for fault in _unfit(manifest, used)]
    if faults:
        raise BundleError("\n".join(faults))
    files = {name: engine / name for name in sorted(names)}
    contents = contents_of(
        {
            "product": manifest.name,
            "version": version,
            "minimum_station": _installed() if minimum_station is None else minimum_station,
            "rules": used,
            "data": sorted(set(data)),
            "licences": sorted(set(licences)),
            "files": [{"path": one.name, "size": one.size, "sha256": one.sha256} for one in pieces_of(files)],
        }
    )
    text = contents.to_json()
    target = into / bundle_name(contents.digest)
    with replacing(target) as fresh, fresh.open("wb") as out:
        write_members(out, [(CONTENTS, text), *files.items()])
    return target


def read_list(file: Path) -> Contents:
    """What a bundle says of itself, after a look at its length. Raises :class:`BundleError`, OSError."""
    with open_regular(file) as source:
        try:
            return _list(source)
        except BundleError as error:
            raise BundleError(f"{file}: {error}") from None


def open_bundle(file: Path, into: Path) -> Path:
    """Write the engine folder of a bundle to ``into``, which must not exist, and return ``into``.

    It is brought to the disk under a hidden name beside ``into``, checked as a station checks an engine, and
    renamed last; with any fault nothing is left. The engine is not proven yet. Raises :class:`BundleError`
    that names the bundle and what is wrong in it, and OSError.
    """
    if into.exists() or into.is_symlink():
        raise BundleError(f"{into}: is there already: name a folder that is not")
    into.parent.mkdir(parents=True, exist_ok=True)
    place = into.with_name(f".{into.name}.{secrets.token_hex(4)}.part")
    try:
        with open_regular(file) as source:
            contents = _list(source)
            _require_release(contents)
            fresh = place / contents.product
            _unpack(source, contents, fresh)
        _require_engine(fresh, contents)
        os.rename(fresh, into)
        sync_folder(into.parent)
    except EngineError as error:
        raise BundleError(f"{file}: {str(error).replace(f'{fresh}/', '')}") from None
    except BundleError as error:
        raise BundleError(f"{file}: {error}") from None
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return into


def _list(source: IO[bytes]) -> Contents:
    text = read_first(source, CONTENTS, _CONTENTS_MB)
    try:
        contents = contents_from(text)
    except ContentsError as error:
        raise BundleError(str(error)) from None
    length = length_of([(CONTENTS, len(text)), *((one.path, one.size) for one in contents.files)])
    found = os.fstat(source.fileno()).st_size
    if found != length:
        raise BundleError(f"is {found} bytes long, its list says {length}: get it again")
    return contents


def _require_release(contents: Contents) -> None:
    here = _installed()
    if release(contents.minimum_station) > release(here):
        raise BundleError(
            f"needs release {contents.minimum_station} of the station or a later one, this is {here}: update "
            "the station first"
        )


def _installed() -> str:
    version = software_version()
    try:
        return ".".join(map(str, release(version)))
    except ValueError:
        raise BundleError(
            f"the release of this software is not known ({version}): install it by pip, also from a clone"
        ) from None


def _unpack(source: IO[bytes], contents: Contents, folder: Path) -> None:
    folder.mkdir(parents=True)
    text = contents.to_json()
    _write(folder / CONTENTS, [text])
    made = {folder}
    for one in contents.files:
        path = folder / one.path
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        _write(path, read_piece(source, one.piece))
    read_end(source)
    for parent in made:
        sync_folder(parent)


def _write(path: Path, chunks: Iterable[bytes]) -> None:
    with path.open("xb") as out:
        for chunk in chunks:
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())


def _require_engine(folder: Path, contents: Contents) -> None:
    """The folder is an engine as a station reads it, and nothing else."""
    names = _files_of(folder)
    strange = sorted({one.path for one in contents.files} - names)
    if strange:
        raise BundleError(
            f"holds files that engine.yaml does not name, {', '.join(strange)}: only the files of an engine "
            "and its card are taken; make the bundle by `retrain ship`"
        )
    manifest = load_manifest(folder)
    faults = []
    for part in manifest.golden:
        with part.file.open("rb") as source:
            size = claimed_size(source.read(4096))
        wanted = (manifest.surface.width, manifest.surface.height)
        if size != wanted:
            found = "is no picture" if size is None else f"is a picture of {size[0]} x {size[1]} px"
            faults.append(f"golden/{part.name} {found}, not of {wanted[0]} x {wanted[1]} px")
    faults += _unfit(manifest, contents.rules)
    if faults:
        raise BundleError("; ".join(faults))


def _unfit(manifest: EngineManifest, rules: EngineRules) -> list[str]:
    """Why an engine cannot be used with these rules, by its classes and its recorded golden parts."""
    names = {*rules.thresholds, *rules.release_below} - set(manifest.classes[1:])
    if names:
        return [f"the rules name {name!r}, which is no defect class of the engine" for name in sorted(names)]
    if rules.unknown == "reject" and manifest.novelty is None:
        return ["the rules reject unknown parts, and the engine has no novelty"]
    judged = rules.for_classes(manifest.classes, manifest.surface, manifest.patch)
    return [
        f"{part.name} is {part.truth}, and would be accepted with a temperature of {rules.temperature:g} and "
        f"these thresholds"
        for part in manifest.golden
        if part.truth != manifest.classes[0]
        and decide_by(part.scores["fp32"], judged, part.novelty.get("fp32")).class_index == 0
    ]


def _files_of(folder: Path) -> set[str]:
    """engine.yaml, every file that it names, wherever in it, and the card."""
    document = load_document(folder / MANIFEST, EngineDocument, ManifestError)
    return {MANIFEST, CARD, *(entry.path for entry in _entries(document))}


def _entries(section: BaseModel) -> Iterator[FileEntry]:
    """Every file that a section, or one in it, names."""
    if isinstance(section, FileEntry):
        yield section
    for name in type(section).model_fields:
        value = getattr(section, name)
        for one in (
            value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else [value]
        ):
            if isinstance(one, BaseModel):
                yield from _entries(one)


def _there(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def _linked(folder: Path, name: str) -> bool:
    path = folder / name
    return path.is_symlink() or path.parent.is_symlink()
