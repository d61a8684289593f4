"""A plain tar with the same bytes for the same content: a list of files, then these files, and nothing else.

It is POSIX ustar, so that any machine can open it. Owner, times and modes are fixed. The reader does not
interpret the tar: it writes the header that each file must have and compares the bytes. So there are no
links, no devices, no names outside, no sparse or compressed files, and nothing between or after the files.
Sizes and counts stand in the list, and are bounded before the first file is read.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from drivers.errors import InspectionError

BLOCK = 512
CHUNK = 1 << 20


class BundleError(InspectionError):
    """A bundle is not what its maker wrote; the message says in what."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One file of a bundle."""

    name: str
    size: int
    """Bytes."""
    sha256: str


def pieces_of(contents: Mapping[str, bytes | Path]) -> tuple[Piece, ...]:
    """The list of these files, in their order. Raises OSError."""
    return tuple(_piece(name, content) for name, content in contents.items())


def write_members(out: IO[bytes], members: Iterable[tuple[str, bytes | Path]]) -> str:
    """Write all members and the end; the SHA-256 of what was written, hex. Raises OSError.

    A file that changed its size meanwhile is an OSError too.
    """
    digest = hashlib.sha256()

    def put(content: bytes) -> None:
        digest.update(content)
        out.write(content)

    for name, content in members:
        if isinstance(content, bytes):
            put(header(name, len(content)))
            put(content + bytes(-len(content) % BLOCK))
            continue
        size = content.stat().st_size
        put(header(name, size))
        left = size
        with content.open("rb") as source:
            while chunk := source.read(min(left, CHUNK)):
                left -= len(chunk)
                put(chunk)
            if left or source.read(1):
                raise OSError(None, "was changed while it was read", str(content))
        put(bytes(-size % BLOCK))
    put(bytes(2 * BLOCK))
    return digest.hexdigest()


def length_of(members: Iterable[tuple[str, int]]) -> int:
    """The length in bytes of a tar of these names and sizes."""
    return sum(BLOCK + size + -size % BLOCK for _, size in members) + 2 * BLOCK


def read_first(source: IO[bytes], name: str, most_mb: int) -> bytes:
    """The content of the first member, whose size is not known. Raises :class:`BundleError`."""
    head = source.read(BLOCK)
    try:
        size = int(head[124:135], 8)
    except ValueError:
        raise BundleError("is no bundle, or its beginning was changed on the way") from None
    if not 0 < size <= most_mb * 1_000_000:
        raise BundleError(f"has a {name} of {size} bytes, more than {most_mb} MB")
    _same(head, header(name, size), name)
    return b"".join(_chunks(source, name, size))


def read_member(source: IO[bytes], name: str, size: int) -> bytes:
    """The content of the next member. Raises :class:`BundleError`."""
    _same(source.read(BLOCK), header(name, size), name)
    return b"".join(_chunks(source, name, size))


def read_piece(source: IO[bytes], piece: Piece) -> Iterator[bytes]:
    """The next member in chunks; only after the last one it is known to be what the list says.

    Raises :class:`BundleError`.
    """
    _same(source.read(BLOCK), header(piece.name, piece.size), piece.name)
    digest = hashlib.sha256()
    for chunk in _chunks(source, piece.name, piece.size):
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != piece.sha256:
        raise BundleError(f"{piece.name} was changed on the way")


def read_end(source: IO[bytes]) -> None:
    """What stands behind the last member is the end and nothing else. Raises :class:`BundleError`."""
    _same(source.read(2 * BLOCK + 1), bytes(2 * BLOCK), "its end")


def header(name: str, size: int) -> bytes:
    """The 512 bytes before a member."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.USTAR_FORMAT)


def _piece(name: str, content: bytes | Path) -> Piece:
    if isinstance(content, bytes):
        return Piece(name, len(content), hashlib.sha256(content).hexdigest())
    with content.open("rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
        return Piece(name, source.tell(), digest)


def _same(found: bytes, wanted: bytes, what: str) -> None:
    if found != wanted:
        raise BundleError(f"is cut short or was changed on the way, at {what}")


def _chunks(source: IO[bytes], name: str, size: int) -> Iterator[bytes]:
    left = size
    while left:
        chunk = source.read(min(left, CHUNK))
        if not chunk:
            raise BundleError(f"is cut short in {name}")
        left -= len(chunk)
        yield chunk
    padding = -size % BLOCK
    _same(source.read(padding), bytes(padding), name)
