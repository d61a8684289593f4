"""``bundle.json``: what an engine that came in a bundle consists of, beside its files in the folder.

It lists every file with size and SHA-256, so its own SHA-256 names the whole engine: the *engine digest* of
the way back. It also bears what is not in engine.yaml: the thresholds and the temperature that this engine
is to be used with, the station's release that it needs, the data that it was trained on, and licences.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from station.engines.folder import MANIFEST
from station.engines.interface import EngineError
from station.engines.manifest import EngineRules, InnerPath, Name, Sha256
from station.sealed_tar import Piece

CONTENTS, CARD = "bundle.json", "card.md"
FILES, FILE_BYTES, ALL_BYTES = 120, 1 << 30, 2 << 30
"""The most that an engine has: files, bytes of one file, bytes of all."""
_LARGEST = 1_000_000
"""Bytes of bundle.json."""

Release = Annotated[str, StringConstraints(pattern=r"^\d{1,6}\.\d{1,6}\.\d{1,6}$")]
Licence = Annotated[str, StringConstraints(pattern=r"^[ -~]{1,200}$")]


class ContentsError(EngineError):
    """bundle.json, or a file that it lists, cannot be used; one line per fault."""


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class ListedFile(_Section):
    """A file of the engine's folder."""

    path: InnerPath
    """its path inside the folder, with `/`"""
    size: Annotated[int, Field(ge=0, le=FILE_BYTES)]
    """bytes"""
    sha256: Sha256
    """SHA-256 of its bytes, hex"""

    @property
    def piece(self) -> Piece:
        """The same, as the tar wants it."""
        return Piece(self.path, self.size, self.sha256)


class Contents(_Section):
    """bundle.json."""

    format: Literal[1] = 1
    """the format of this file, 1"""
    product: Name
    """the engine's name, which recipes give as `engine`"""
    version: Annotated[int, Field(ge=1, le=1_000_000_000)]
    """the number of this engine among those of the product; a later one has a higher number"""
    minimum_station: Release
    """the oldest release of the station that can use it"""
    rules: EngineRules
    """the temperature and the thresholds that it is to be used with"""
    data: Annotated[list[Sha256], Field(min_length=1, max_length=100)]
    """SHA-256 of the manifest of each data set that it was trained on"""
    licences: Annotated[list[Licence], Field(min_length=1, max_length=20)]
    """under which it may be used and passed on, as SPDX identifiers or in words"""
    files: Annotated[list[ListedFile], Field(min_length=4, max_length=FILES)]
    """every file, in the order of their paths"""

    def to_json(self) -> bytes:
        """Its file: the same bytes for the same contents."""
        return (json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True) + "\n").encode()

    @property
    def digest(self) -> str:
        """The engine digest: SHA-256 of bundle.json, hex."""
        return hashlib.sha256(self.to_json()).hexdigest()

    @model_validator(mode="after")
    def _is_complete(self) -> Contents:
        names = [one.path for one in self.files]
        if names != sorted(set(names)):
            twice = sorted({name for name in names if names.count(name) > 1})
            problem = f"names {twice[0]!r} twice" if twice else "is not in the order of the paths"
            raise PydanticCustomError("files", "{problem}", {"problem": f"`files` {problem}"})
        if CONTENTS in names:
            raise PydanticCustomError("files", "`files` names the list itself")
        for needed in (MANIFEST, CARD):
            if needed not in names:
                raise PydanticCustomError("files", "`files` lacks {name}", {"name": needed})
        if sum(one.size for one in self.files) > ALL_BYTES:
            raise PydanticCustomError(
                "files", "`files` are larger together than {most} bytes", {"most": ALL_BYTES}
            )
        return self


def contents_from(content: bytes) -> Contents:
    """Read what :meth:`Contents.to_json` wrote, and nothing else. Raises :class:`ContentsError`."""
    try:
        values: Any = json.loads(content, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise ContentsError(f"{CONTENTS} cannot be read ({error})") from None
    read = contents_of(values)
    if read.to_json() != content:
        raise ContentsError(f"{CONTENTS} has another form than `retrain ship` writes")
    return read


def contents_of(values: Any) -> Contents:
    """The contents with these values. Raises :class:`ContentsError` that names every wrong one."""
    try:
        return Contents.model_validate(values)
    except ValidationError as error:
        faults = [
            f"{CONTENTS}: {_place(one['loc'])}{one['msg'][:1].lower()}{one['msg'][1:]}"
            for one in error.errors()
        ]
        raise ContentsError("; ".join(faults[:20])) from None


def read_contents(folder: Path) -> Contents:
    """bundle.json of an opened bundle. Raises :class:`ContentsError`."""
    file = folder / CONTENTS
    try:
        with file.open("rb") as source:
            content = source.read(_LARGEST + 1)
    except OSError as error:
        raise ContentsError(f"{file}: {error.strerror}: install the engine again") from None
    if len(content) > _LARGEST:
        raise ContentsError(f"{file}: is larger than {_LARGEST} bytes: install the engine again")
    try:
        return contents_from(content)
    except ContentsError as error:
        raise ContentsError(f"{file}: {error}; install the engine again") from None


def require_whole(folder: Path) -> Contents:
    """The contents of an opened bundle whose every file is there, unchanged, and alone.

    Raises :class:`ContentsError` with one line per file that is missing, changed or strange.
    """
    contents = read_contents(folder)
    faults = []
    try:
        there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
        links = [name for name, path in there.items() if path.is_symlink()]
        faults += [f"{folder / name}: is a link: remove it" for name in links]
        wanted = {one.path: one for one in contents.files}
        above = {str(parent) for name in wanted for parent in Path(name).parents}
        strange = there.keys() - wanted.keys() - above - {CONTENTS} - set(links)
        faults += [f"{folder / name}: is not in {CONTENTS}: remove it" for name in sorted(strange)]
        for name, one in wanted.items():
            path = there.get(name)
            if path is None or path.is_symlink() or not path.is_file():
                faults.append(f"{folder / name}: is missing: install the engine again")
            elif path.stat().st_size != one.size or _digest(path) != one.sha256:
                faults.append(f"{folder / name}: was changed: install the engine again")
    except OSError as error:
        faults.append(f"{error.filename}: {error.strerror}: check the disk and permissions")
    if faults:
        raise ContentsError("\n".join(faults))
    return contents


def release(text: str) -> tuple[int, ...]:
    """A release as numbers that can be compared. Raises ValueError where it is none."""
    if not re.match(r"\d+\.\d+\.\d+", text):
        raise ValueError(f"{text!r} is no release such as 1.2.0")
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _place(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return f"{text}: " if text else ""


def _digest(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
