"""A bundle of the hand-off: a signed list of files and the files, as a plain tar (:mod:`station.sealed_tar`).

``manifest.json``, ``manifest.sig`` (the Ed25519 signature of the manifest), then the files in the manifest's
order: one file with the same bytes for the same content.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from station.files import replacing
from station.sealed_tar import (
    BundleError,
    Piece,
    read_end,
    read_first,
    read_member,
    read_piece,
    write_members,
)
from station.signing import SIGNATURE_BYTES, PublicKey, SigningKey

FORMAT = 1
PURPOSE = "hand-off bundle 1"
MANIFEST_MB, FILES, FILE_MB = 16, 20_000, 400
"""The most that a reader takes: the manifest, files, one file."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_~.-]{0,90}")


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
    members: list[tuple[str, bytes | Path]] = [
        ("manifest.json", text),
        ("manifest.sig", key.sign(PURPOSE, text)),
        *((piece.name, contents[piece.name]) for piece in manifest.pieces),
    ]
    name = folder / "new.bundle"
    with replacing(name) as fresh, fresh.open("wb") as out:
        digest = write_members(out, members)
    final = folder / bundle_name(manifest.sequence, digest)
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
        put(piece, read_piece(source, piece))
    read_end(source)
    return manifest


def read_manifest(source: IO[bytes]) -> tuple[Manifest, bytes, bytes]:
    """The manifest, its bytes and their signature, which is not checked here. Raises :class:`BundleError`."""
    text = read_first(source, "manifest.json", MANIFEST_MB)
    signature = read_member(source, "manifest.sig", SIGNATURE_BYTES)
    return Manifest.from_json(text), text, signature


class UnknownKeyError(BundleError):
    """The bundle's station is not enrolled: nothing is wrong with the bundle, and it can wait."""
