"""A bundle: a signed list of files and the files, in one file with the same bytes for the same content.

It is a plain tar (POSIX ustar), so that any machine can open it: ``manifest.json``, ``manifest.sig`` (the
Ed25519 signature of the manifest), then the files in the manifest's order. Owner, times and modes are fixed.
The reader does not interpret the tar: it writes the header that each file must have and compares the bytes.
So there are no links, no devices, no names outside, no sparse or compressed files, and nothing between or
after the files. Sizes and counts are known, and bounded, before the first file is read.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from drivers.errors import InspectionError
from station.files import replacing
from station.signing import SIGNATURE_BYTES, PublicKey, SigningKey

FORMAT = 1
PURPOSE = "hand-off bundle 1"
BLOCK = 512
MANIFEST_MB, FILES, FILE_MB = 16, 20_000, 400
"""The most that a reader takes: the manifest, files, one file."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_~.-]{0,90}")
CHUNK = 1 << 20


class BundleError(InspectionError):
    """A bundle is not what its station made; the message says in what."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One file of a bundle."""

    name: str
    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says of itself."""

    key_id: str
    """Of the station's public key: who the station is."""
    station: str
    """Its name, for people only."""
    sequence: int
    """1 for the station's first bundle, then without a gap."""
    journal_id: str
    journal_seq: int
    """The number of the journal's last event when the bundle was made."""
    journal_digest: str
    """The digest of this event: the head of the chain."""
    recipes: tuple[str, ...]
    """The digests of the recipes of the items."""
    engines: tuple[str, ...]
    """The digests of the engines of the items."""
    pieces: tuple[Piece, ...]

    def to_json(self) -> bytes:
        """Its file: the same bytes for the same manifest."""
        values: dict[str, Any] = {"format": FORMAT}
        for name in self.__slots__:
            value = getattr(self, name)
            values[name] = (
                [{"name": one.name, "size": one.size, "sha256": one.sha256} for one in value]
                if name == "pieces"
                else list(value)
                if isinstance(value, tuple)
                else value
            )
        return (json.dumps(values, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes) -> Self:
        """Read what :meth:`to_json` wrote, and nothing else. Raises :class:`BundleError`."""
        try:
            values = json.loads(content)
            if values["format"] != FORMAT:
                raise BundleError(
                    f"has format {values['format']!r}, this release reads {FORMAT}: install the same release "
                    "on station and workshop"
                )
            pieces = tuple(Piece(str(p["name"]), int(p["size"]), str(p["sha256"])) for p in values["pieces"])
            read = cls(
                str(values["key_id"]),
                str(values["station"]),
                int(values["sequence"]),
                str(values["journal_id"]),
                int(values["journal_seq"]),
                str(values["journal_digest"]),
                tuple(map(str, values["recipes"])),
                tuple(map(str, values["engines"])),
                pieces,
            )
        except (ValueError, KeyError, TypeError, RecursionError, AttributeError) as error:
            raise BundleError(f"its manifest cannot be read ({error!r})") from error
        if read.to_json() != content:
            raise BundleError("its manifest has other keys or another form than a station writes")
        return read

    def check(self) -> None:
        """Refuse names, counts and sizes that no station sends. Raises :class:`BundleError`."""
        names = [piece.name for piece in self.pieces]
        problems = [f"the name {name!r}" for name in names if not NAME.fullmatch(name)]
        if len(set(names)) != len(names):
            problems.append("a name that is there twice")
        if len(names) > FILES:
            problems.append(f"{len(names)} files, more than {FILES}")
        problems += [
            f"{piece.name}: {piece.size} bytes"
            for piece in self.pieces
            if not 0 <= piece.size <= FILE_MB * 1_000_000
        ]
        if self.sequence < 1:
            problems.append(f"the number {self.sequence}")
        if problems:
            raise BundleError(f"its manifest has {'; '.join(problems)}")


def bundle_name(sequence: int, sha256: str) -> str:
    """The name of a bundle's file: its number and the digest of its bytes."""
    return f"{sequence:08d}-{sha256}.bundle"


BUNDLE_NAME = re.compile(r"(\d{8})-([0-9a-f]{64})\.bundle")


def write_bundle(
    folder: Path, manifest: Manifest, contents: Mapping[str, bytes | Path], key: SigningKey
) -> Path:
    """Write a bundle into ``folder``, whole or not at all, under its own digest. Raises OSError."""
    text = manifest.to_json()
    digest = hashlib.sha256()
    name = folder / "new.bundle"
    with replacing(name) as fresh, fresh.open("wb") as out:

        def put(content: bytes) -> None:
            digest.update(content)
            out.write(content)

        parts: list[tuple[str, bytes | Path]] = [
            ("manifest.json", text),
            ("manifest.sig", key.sign(PURPOSE, text)),
            *((piece.name, contents[piece.name]) for piece in manifest.pieces),
        ]
        for member, content in parts:
            content = content.read_bytes() if isinstance(content, Path) else content
            put(_header(member, len(content)))
            put(content + bytes(-len(content) % BLOCK))
        put(bytes(2 * BLOCK))
    final = folder / bundle_name(manifest.sequence, digest.hexdigest())
    name.rename(final)
    return final


def read_bundle(
    source: IO[bytes],
    key_of: Callable[[str], PublicKey | None],
    put: Callable[[Piece, Iterator[bytes]], None],
) -> Manifest:
    """Read a whole bundle and prove every byte; ``put`` takes each file. Raises :class:`BundleError`.

    ``key_of``: key id -> enrolled key. What ``put`` got counts only after this function returned.
    """
    manifest, text, signature = read_manifest(source)
    key = key_of(manifest.key_id)
    if key is None:
        raise UnknownKeyError(
            f"is signed by the key {manifest.key_id} of a station {manifest.station!r} that is not enrolled: "
            "compare this id with `station keys show` on the station, then copy its file into the "
            "folder of keys"
        )
    if not key.has_signed(PURPOSE, text, signature):
        raise BundleError("its signature is wrong: it was changed on the way, or it is not from this station")
    manifest.check()
    for piece in manifest.pieces:
        _same(source.read(BLOCK), _header(piece.name, piece.size), piece.name)
        digest = hashlib.sha256()
        put(piece, _chunks(source, piece, digest.update))
        if digest.hexdigest() != piece.sha256:
            raise BundleError(f"{piece.name} was changed on the way")
    _same(source.read(2 * BLOCK + 1), bytes(2 * BLOCK), "its end")
    return manifest


def read_manifest(source: IO[bytes]) -> tuple[Manifest, bytes, bytes]:
    """The manifest, its bytes and their signature, which is not checked here. Raises :class:`BundleError`."""
    head = source.read(BLOCK)
    try:
        size = int(head[124:135], 8)
    except ValueError:
        raise BundleError("is no bundle, or its beginning was changed on the way") from None
    if not 0 < size <= MANIFEST_MB * 1_000_000:
        raise BundleError(f"has a manifest of {size} bytes, more than {MANIFEST_MB} MB")
    _same(head, _header("manifest.json", size), "manifest.json")
    text = _content(source, size, "manifest.json")
    _same(source.read(BLOCK), _header("manifest.sig", SIGNATURE_BYTES), "manifest.sig")
    signature = _content(source, SIGNATURE_BYTES, "manifest.sig")
    return Manifest.from_json(text), text, signature


class UnknownKeyError(BundleError):
    """The bundle's station is not enrolled: nothing is wrong with the bundle, and it can wait."""


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.USTAR_FORMAT)


def _same(found: bytes, wanted: bytes, what: str) -> None:
    if found != wanted:
        raise BundleError(f"is cut short or was changed on the way, at {what}")


def _content(source: IO[bytes], size: int, name: str) -> bytes:
    piece = Piece(name, size, "")
    return b"".join(_chunks(source, piece, lambda _: None))


def _chunks(source: IO[bytes], piece: Piece, digest: Callable[[bytes], object]) -> Iterator[bytes]:
    left = piece.size
    while left:
        chunk = source.read(min(left, CHUNK))
        if not chunk:
            raise BundleError(f"is cut short in {piece.name}")
        left -= len(chunk)
        digest(chunk)
        yield chunk
    padding = -piece.size % BLOCK
    _same(source.read(padding), bytes(padding), piece.name)


def pieces_of(contents: Mapping[str, bytes]) -> Sequence[Piece]:
    """The list of a manifest."""
    return tuple(
        Piece(name, len(content), hashlib.sha256(content).hexdigest()) for name, content in contents.items()
    )
