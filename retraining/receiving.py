"""The workshop's side of the hand-off: bundles become folders of items, once, and stations get receipts.

::

    DATA/stations/<key id of the station>/<number>-<digest>/<item>.json, <item>.png
    DATA/quarantine/     bundles that are not what their station made, each with the reason beside it
    DATA/keys/           the workshop's key, which signs the receipts

A bundle is unpacked under ``DATA/.incoming``, proven byte by byte, brought to the disk, and then renamed: its
folder is there wholly or not at all. Then the receipt is written. Killed in between, the next run finds the
folder and writes the receipt only. An item that changed comes again; of two, the one with the higher
number counts.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from drivers.regular_files import read_text
from retraining.errors import DatasetError
from station.files import sync_folder, write_file
from station.handoff.bundle import BUNDLE_NAME, Manifest, UnknownKeyError, read_bundle
from station.handoff.receipts import BundleReceipt
from station.handoff.targets import Target
from station.rare.items import Item
from station.sealed_tar import BundleError, Piece
from station.signing import SigningKey, known_keys

KEY_ID = re.compile("[0-9a-f]{32}")
FOLDER = re.compile(r"(\d{8})-([0-9a-f]{64})")
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
MEGAPIXELS = 400
"""The largest picture of an item."""
BUNDLE_MB = 2000
"""The most of a bundle that is not what it should be is kept in quarantine."""


@dataclass(frozen=True, slots=True)
class Received:
    """What became of one bundle."""

    station: str
    """The id of the station's key."""
    bundle: str
    imported: int
    """Items that are new here; 0 where the bundle was here already."""
    problem: str
    """Why it was not taken, or what is missing before it; empty where all is well."""


def receive(
    target: Target, keys: Path, out: Path, key: SigningKey, report: Callable[[str], None] = lambda _: None
) -> list[Received]:
    """Take every bundle of a target that is not here yet. Raises ``TargetError``, :class:`DatasetError`.

    ``keys``: the folder of the public keys of the enrolled stations.
    """
    known = known_keys(keys)
    if not known:
        raise DatasetError(
            f"{keys}: has no key of a station (*.pub): copy there what `station keys show` shows"
        )
    target.require_there()
    done = []
    with _alone(out):
        shutil.rmtree(out / ".incoming", ignore_errors=True)  # of a run that was killed
        for station in filter(KEY_ID.fullmatch, target.names("")):
            there = set(target.names(f"{station}/receipts"))
            for name in target.names(station):
                if BUNDLE_NAME.fullmatch(name):
                    report(f"{station} {name}")
                    done.append(
                        _take(target, station, name, known, out, key, has_receipt=_receipt(name) in there)
                    )
            done += _gaps(out, station)
    return done


def received_items(data: Path) -> Iterator[tuple[Item, Path]]:
    """Every item in its latest form, and its picture. Raises :class:`DatasetError` for a damaged record."""
    for station in sorted((data / "stations").glob("*")):
        latest: dict[str, Path] = {}
        for folder in sorted(station.iterdir()):
            latest |= {file.stem: file for file in folder.glob("*.json")}
        for _, file in sorted(latest.items()):
            try:
                item = Item.from_json(read_text(file))
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise DatasetError(
                    f"{file}: is no record of an item ({error!r}); put it back from a copy, or remove it"
                ) from error
            yield item, file.with_suffix(".png")


def _take(
    target: Target,
    station: str,
    name: str,
    known: dict[str, Any],
    out: Path,
    key: SigningKey,
    *,
    has_receipt: bool,
) -> Received:
    """One bundle: import it, or put it into quarantine; then write its receipt."""
    found = BUNDLE_NAME.fullmatch(name)
    assert found is not None
    number, sha256 = int(found[1]), found[2]
    final = out / "stations" / station / f"{number:08d}-{sha256}"
    imported = 0
    if not final.exists():
        incoming = out / ".incoming" / secrets.token_hex(8)
        try:
            others = [one.name for one in final.parent.glob(f"{number:08d}-*")]
            if others:
                raise BundleError(
                    f"has the number of {others[0]}, which was received before: the station's key or "
                    f"folders were "
                    "copied; give each station a key of its own"
                )
            with target.reading(f"{station}/{name}") as source:
                imported = _unpack(source, incoming, station, number, sha256, known)
            final.parent.mkdir(parents=True, exist_ok=True)
            sync_folder(incoming)
            os.rename(incoming, final)
            sync_folder(final.parent)
        except UnknownKeyError as error:
            return Received(station, name, 0, str(error))
        except BundleError as error:
            kept = _quarantine(target, station, name, out, str(error))
            return Received(station, name, 0, f"{error}; it is in {kept}, and its station sends it again")
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
    if imported or not has_receipt:
        with target.reading(f"{station}/{name}") as source:
            size = _hashed(source, sha256)
        items = sum(1 for _ in final.glob("*.json"))
        receipt = BundleReceipt(station, number, sha256, size, items, key.public.key_id)
        target.write_small(f"{station}/receipts/{_receipt(name)}", receipt.to_json(key))
    return Received(station, name, imported, "")


class _Hashing:
    """A file that computes the digest of what is read from it."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        content = b""
        while len(content) < size and (more := self._source.read(size - len(content))):
            content += more
        self.digest.update(content)
        return content


def _unpack(
    source: IO[bytes], incoming: Path, station: str, number: int, sha256: str, known: dict[str, Any]
) -> int:
    """Write the items of a bundle and prove them; how many. Raises :class:`BundleError`."""
    incoming.mkdir(parents=True)
    hashing = _Hashing(source)

    def put(piece: Piece, chunks: Iterator[bytes]) -> None:
        with (incoming / piece.name).open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())

    manifest = read_bundle(cast("IO[bytes]", hashing), known.get, put)
    if hashing.digest.hexdigest() != sha256:
        raise BundleError("is not what its name says")
    if (manifest.key_id, manifest.sequence) != (station, number):
        raise BundleError(
            f"says that it is number {manifest.sequence} of {manifest.key_id}: it was moved or renamed"
        )
    return _check_items(manifest, incoming)


def _check_items(manifest: Manifest, incoming: Path) -> int:
    names = {piece.name for piece in manifest.pieces}
    stems = {name.rpartition(".")[0] for name in names}
    if names != {f"{stem}.{kind}" for stem in stems for kind in ("json", "png")}:
        raise BundleError("has files that are not an item's record and picture")
    for stem in sorted(stems):
        try:
            Item.from_json((incoming / f"{stem}.json").read_text())
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(f"has a record {stem}.json that cannot be read ({error!r})") from error
        with (incoming / f"{stem}.png").open("rb") as file:
            head = file.read(24)
        width, height = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
        if not head.startswith(PNG) or not 0 < width * height <= MEGAPIXELS * 1_000_000:
            raise BundleError(f"has a picture {stem}.png that is no PNG of at most {MEGAPIXELS} megapixels")
    return len(stems)


def _quarantine(target: Target, station: str, name: str, out: Path, why: str) -> Path:
    """Keep what came, with the reason, and remove it at the target, so that its station sends it again."""
    kept = out / "quarantine" / f"{station}-{name}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with target.reading(f"{station}/{name}") as source, kept.open("wb") as file:
        left = BUNDLE_MB * 1_000_000
        while left > 0 and (chunk := source.read(1 << 20)):
            file.write(chunk)
            left -= len(chunk)
        os.fsync(file.fileno())
    write_file(kept.with_suffix(".why"), why + "\n")
    target.remove(f"{station}/{name}")
    return kept


def _gaps(out: Path, station: str) -> list[Received]:
    """Numbers that never came, although later ones did."""
    folder = out / "stations" / station
    numbers = {int(found[1]) for one in folder.glob("*") if (found := FOLDER.fullmatch(one.name))}
    missing = sorted(set(range(1, max(numbers, default=0))) - numbers)
    if not missing:
        return []
    words = ", ".join(map(str, missing[:10])) + (" ..." if len(missing) > 10 else "")
    return [
        Received(station, "", 0, f"bundles {words} have not come yet, later ones have: the station has them")
    ]


def _receipt(name: str) -> str:
    return f"{name.removesuffix('.bundle')}.json"


def _hashed(source: IO[bytes], sha256: str) -> int:
    """The size of a file that has this digest. Raises :class:`BundleError`."""
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(1 << 20):
        digest.update(chunk)
        size += len(chunk)
    if digest.hexdigest() != sha256:
        raise BundleError("changed at the target after it was received: run this command again")
    return size


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    out.mkdir(parents=True, exist_ok=True)
    lock = os.open(out / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatasetError(
                f"{out}: another `retrain receive` works in this folder: let it end first"
            ) from None
        yield
    finally:
        os.close(lock)
