"""Reads a repository from the disk, and believes nothing that is not signed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tuf.api.exceptions import RepositoryError as TufError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from deploy.repository.errors import RepositoryError

Document = Metadata[Any]
_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LARGEST = 5_000_000
"""Bytes of a document, the most that python-tuf's client takes for targets."""


def read_published(metadata: Path) -> dict[str, Document]:
    """What stations see, by role; empty before the first root. Raises :class:`RepositoryError`."""
    roots: list[Document] = []
    for version in _versions(metadata, "root"):
        expected = len(roots) + 1
        if version != expected:
            raise RepositoryError(
                f"{metadata / f'{expected}.root.json'}: is missing, and {version}.root.json is there: a "
                "station goes from root to root without a gap; put it back from a copy of the repository"
            )
        file = metadata / f"{version}.root.json"
        root = read_document(file, Root)
        for above in (*roots[-1:], root):
            _verify(file, [above], "root", root)
        if root.signed.version != version:
            raise RepositoryError(
                f"{file}: says that it is version {root.signed.version}: put the right one back"
            )
        roots.append(root)
    return {"root": roots[-1]} | _below_root(metadata, roots) if roots else {}


def read_pending(folder: Path, published: dict[str, Document]) -> dict[str, Document]:
    """The changes that wait, by role. Raises :class:`RepositoryError`."""
    found = {}
    for file in pending_files(folder):
        role = file.name.removesuffix(".json")
        document = read_document(file, Root if role == "root" else Targets)
        old = published.get(role)
        if old is None or document.signed.version > old.signed.version:
            found[role] = document  # else a command was killed after it had published it
    return found


def _below_root(metadata: Path, roots: list[Document]) -> dict[str, Document]:
    """What the timestamp leads to, every signature checked.

    A key of an older root is enough here: a command that was killed may have published the new root alone,
    and the next one signs the rest.
    """
    found: dict[str, Document] = {}

    def take(role: str, file: Path, kind: type, above: list[Document]) -> Any:
        found[role] = read_document(file, kind)
        _verify(file, above, role, found[role])
        return found[role].signed

    timestamp = take("timestamp", metadata / "timestamp.json", Timestamp, roots)
    listing = metadata / f"{timestamp.snapshot_meta.version}.snapshot.json"
    versions = take("snapshot", listing, Snapshot, roots).meta

    def file_of(role: str) -> Path:
        if f"{role}.json" not in versions or not _ROLE.fullmatch(role):
            raise RepositoryError(
                f"{listing}: does not list the role {role!r}: it was made by other software; make a new "
                "repository by `retrain sign new`"
            )
        return metadata / f"{versions[f'{role}.json'].version}.{role}.json"

    targets = take("targets", file_of("targets"), Targets, roots)
    for role in (targets.delegations.roles or {}) if targets.delegations else {}:
        take(role, file_of(role), Targets, [found["targets"]])
    return found


def _verify(file: Path, above: list[Document], role: str, document: Document) -> None:
    problem: Exception | None = None
    for one in reversed(above):
        try:
            one.verify_delegate(role, document)
        except (TufError, ValueError) as error:
            problem = problem or error
        else:
            return
    raise RepositoryError(
        f"{file}: {problem}: it was changed without the keys; put it back from a copy of the repository"
    )


def read_document(file: Path, kind: type) -> Document:
    """A document of this kind; its signatures are not checked. Raises :class:`RepositoryError`."""
    problem = ""
    try:
        with file.open("rb") as source:
            content = source.read(_LARGEST + 1)
        document: Document = Metadata.from_bytes(content)
        if len(content) > _LARGEST:
            problem = f"is larger than {_LARGEST} bytes"
        elif not isinstance(document.signed, kind):
            problem = f"is metadata of {document.signed.type}, not of {kind.__name__.lower()}"
    except FileNotFoundError:
        problem = "is missing"
    except DeserializationError as error:
        problem = f"is no metadata ({error})"
    if problem:
        raise RepositoryError(f"{file}: {problem}: put it back from a copy of the repository")
    return document


def _versions(metadata: Path, role: str) -> list[int]:
    found = (re.fullmatch(rf"([1-9]\d{{0,8}})\.{role}\.json", path.name) for path in metadata.glob("*.json"))
    return sorted(int(one[1]) for one in found if one)


def pending_files(folder: Path) -> list[Path]:
    """The files of the changes that wait."""
    return sorted((folder / "pending").glob("[!.]*.json"))
