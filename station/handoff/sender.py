"""One round of the station: take receipts, bring what waits to the target, make bundles of what is new.

What may fail, and what is there then:

* A bundle is written whole into the outbox before its number is noted; the next start takes the higher of
  both, so a number is used once. Items stay in the log until they have a receipt, and so does their bundle.
* On a receipt, the items are marked in the log first, then the bundle is deleted: killed in between, the same
  receipt is read again.
* Numbers decide the order, never a clock.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.errors import InspectionError
from station.config import StationConfig
from station.files import write_json
from station.handoff.bundle import BUNDLE_NAME, Manifest, read_manifest, write_bundle
from station.handoff.receipts import ReceiptError, read_receipt
from station.handoff.targets import Beat, Target, TargetError
from station.journal.events import utc_ago
from station.journal.reading import JournalReader
from station.rare.store import Entry, RareStore
from station.sealed_tar import pieces_of
from station.signing import SigningKey, known_keys, own_key

log = logging.getLogger(__name__)
STATE = "state.json"


class HandOffError(InspectionError):
    """The hand-off cannot go on now; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits, and why."""

    items: int
    """In the log, in no bundle yet."""
    items_mb: float
    bundles: tuple[str, ...]
    """In the outbox, without a receipt, oldest first."""
    bundles_mb: float
    handed_over: int
    """The number of the last bundle with a receipt, 0 where there is none."""
    problem: str
    """Why the last round did not hand over everything; empty where it did."""
    since: str
    """When this problem was first seen, UTC; empty where there is none."""
    last_round: str
    """When the last round ended, UTC; empty before the first one."""


class Sender:
    """The station's side. One process at a time works in its folder."""

    def __init__(self, config: StationConfig, *, beat: Beat = lambda: None) -> None:
        """Opens nothing. ``beat`` is called often while a round runs, and may raise to end it."""
        if config.handoff is None or config.paths.rare is None:
            raise HandOffError(
                "the configuration has no section `handoff`: rare parts stay on this station; "
                "docs/hand-off.md "
                "says how to name a target"
            )
        self._settings = config.handoff
        self._config = config
        self._outbox = config.paths.outbox
        self._store = RareStore(config.paths.rare)
        self._beat = beat

    def round(self) -> Waiting:
        """Hand over what can be handed over now. Raises :class:`HandOffError` where another process does."""
        with self._alone():
            problem = ""
            try:
                problem = self._round()
            except InspectionError as error:
                problem = str(error)
            self._note(problem)
        return self.waiting()

    def waiting(self) -> Waiting:
        """What waits, and why; asks the disk of this machine only."""
        files, state = self.bundles(), self._state()
        new = self._new_items(files)
        return Waiting(
            len(new),
            sum(one.size for one in new) / 1e6,
            tuple(file.name for file in files),
            sum(file.stat().st_size for file in files) / 1e6,
            int(state.get("receipt", 0)),
            str(state.get("problem", "")),
            str(state.get("since", "")),
            str(state.get("round", "")),
        )

    def bundles(self) -> list[Path]:
        """The bundles in the outbox, oldest first."""
        if not self._outbox.is_dir():
            return []
        return sorted(one for one in self._outbox.iterdir() if BUNDLE_NAME.fullmatch(one.name))

    # ------------------------------------------------------------------ one round

    def _round(self) -> str:
        """Why something still waits; empty where nothing does."""
        key = own_key(self._config.paths.key)
        for stale in (*self._outbox.glob(".*.part"), *self._outbox.glob("new.bundle")):
            stale.unlink()  # of a round that was killed
        target = Target(self._settings.target, self._settings.secrets, beat=self._beat)
        target.require_there()
        problems = self._take_receipts(target, key)
        # What has its name at the target was read back from there. The workshop removes what was
        # changed later.
        there = set(target.names(key.public.key_id))
        for file in self.bundles():
            if file.name not in there:
                self._send(target, key, file)
        while new := self._new_items(self.bundles()):
            used = sum(file.stat().st_size for file in self.bundles())
            if used >= self._settings.outbox_mb * 1_000_000:
                problems.append(
                    f"{used / 1e6:.1f} MB of bundles have no receipt, and handoff.outbox_mb is "
                    f"{self._settings.outbox_mb}: let the workshop run `retrain receive`, or raise it"
                )
                break
            made, damaged = self._make(target, key, new)
            problems += damaged
            if made is None:
                break
            self._send(target, key, made)
        if left := self.bundles():
            problems.append(
                f"{len(left)} bundles are at the target and have no receipt yet: the workshop runs "
                f"`retrain receive`"
            )
        return "; ".join(problems)

    def _send(self, target: Target, key: SigningKey, file: Path) -> None:
        sha256 = _parts(file)[1]
        target.put(f"{key.public.key_id}/{file.name}", file, sha256, self._settings.limit_kb_s)

    def _make(self, target: Target, key: SigningKey, new: list[Entry]) -> tuple[Path | None, list[str]]:
        """A bundle of the first of these items, and the items that are damaged."""
        contents: dict[str, bytes] = {}
        recipes, engines, damaged, size = set(), set(), [], 0
        for one in new:
            self._beat()
            try:
                picture = one.picture.read_bytes()
            except OSError as error:
                damaged.append(f"{one.picture}: {error.strerror}: the item stays here")
                continue
            if hashlib.sha256(picture).hexdigest() != one.sha256:
                damaged.append(f"{one.picture}: is not what was written: check the disk; the item stays here")
                continue
            contents[f"{one.item_id}.json"] = one.item.to_json().encode()
            contents[f"{one.item_id}.png"] = picture
            recipes.add(one.item.recipe_digest)
            engines.add(one.item.engine_digest)
            size += len(picture)
            if size >= self._settings.bundle_mb * 1_000_000:
                break
        if not contents:
            return None, damaged
        with JournalReader(self._config.paths.journal) as reader:
            head = reader.head()
        number = self._last_number(target, key) + 1
        manifest = Manifest(
            key.public.key_id,
            self._config.station.name,
            number,
            head.journal_id,
            head.seq,
            head.digest,
            tuple(sorted(recipes)),
            tuple(sorted(engines)),
            tuple(pieces_of(contents)),
        )
        try:
            made = write_bundle(self._outbox, manifest, contents, key)
            write_json(self._outbox / STATE, self._state() | {"last": number})
        except OSError as error:
            raise HandOffError(f"{self._outbox}: {error}: free some space, or lower a quota") from error
        return made, damaged

    def _last_number(self, target: Target, key: SigningKey) -> int:
        """The highest number in use, here or there: a folder put back from a backup must not use one
        twice.
        """
        names = [file.name for file in self.bundles()]
        names += target.names(key.public.key_id)
        names += [name.replace(".json", ".bundle") for name in target.names(f"{key.public.key_id}/receipts")]
        numbers = [int(found[1]) for name in names if (found := BUNDLE_NAME.fullmatch(name))]
        return max(int(self._state().get("last", 0)), *numbers, 0)

    def _take_receipts(self, target: Target, key: SigningKey) -> list[str]:
        keys = known_keys(self._settings.workshops)
        if not keys:
            return [
                f"{self._settings.workshops}: has no key of a workshop (*.pub), so that no receipt "
                f"counts: copy "
                "the file there that `retrain receive` shows"
            ]
        problems = []
        folder = f"{key.public.key_id}/receipts"
        there = set(target.names(folder)) if self.bundles() else set()
        for file in self.bundles():
            name = f"{file.stem}.json"
            if name not in there:
                continue
            number, sha256 = _parts(file)
            try:
                receipt = read_receipt(target.read_small(f"{folder}/{name}"), keys)
                if (receipt.station_key_id, receipt.sequence, receipt.sha256, receipt.size) != (
                    key.public.key_id,
                    number,
                    sha256,
                    file.stat().st_size,
                ):
                    raise ReceiptError("is for another bundle: let the workshop write it again")
            except ReceiptError as error:
                problems.append(f"receipt {name} {error}")
                continue
            for item_id, (text, picture) in _items(file).items():
                self._store.mark_handed_over(item_id, text, picture)
            write_json(
                self._outbox / STATE,
                self._state() | {"receipt": number, "last": max(number, int(self._state().get("last", 0)))},
            )
            file.unlink()
            target.remove(f"{key.public.key_id}/{file.name}")
        return problems

    # ------------------------------------------------------------------ helpers

    def _new_items(self, files: list[Path]) -> list[Entry]:
        """Items of the log that no bundle of the outbox holds as they are."""
        if not self._store.is_there:
            return []
        under_way = {(name, *of) for file in files for name, of in _items(file).items()}
        return [
            one
            for one in self._store.not_handed_over()
            if (one.item_id, _digest(one), one.sha256) not in under_way
        ]

    def _state(self) -> dict[str, Any]:
        try:
            found = json.loads((self._outbox / STATE).read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise HandOffError(
                f"{self._outbox / STATE}: cannot be read ({error}): delete it, the numbers at the "
                f"target count then"
            ) from error
        if not isinstance(found, dict):
            raise HandOffError(f"{self._outbox / STATE}: is damaged: delete it")
        return found

    def _note(self, problem: str) -> None:
        state = self._state()
        since = state.get("since") if problem and state.get("problem") == problem else utc_ago(0)
        state |= {"problem": problem, "since": since if problem else "", "round": utc_ago(0)}
        with suppress(OSError):
            write_json(self._outbox / STATE, state)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            self._outbox.mkdir(parents=True, exist_ok=True, mode=0o750)
            lock = os.open(self._outbox / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise HandOffError(
                f"{self._outbox}: {error.strerror}: let the station's user write there"
            ) from error
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HandOffError(
                    "another process hands over for this station now: `station handoff` shows how far it is"
                ) from None
            yield
        finally:
            os.close(lock)


def _parts(file: Path) -> tuple[int, str]:
    """Number and digest of a bundle, from its name."""
    found = BUNDLE_NAME.fullmatch(file.name)
    if found is None:
        raise TargetError(f"{file}: is no bundle")
    return int(found[1]), found[2]


def _items(file: Path) -> dict[str, tuple[str, str]]:
    """Item -> the digests of its JSON and of its picture, of a bundle of our own."""
    with file.open("rb") as source:
        digests = {piece.name: piece.sha256 for piece in read_manifest(source)[0].pieces}
    return {
        name.removesuffix(".json"): (digest, digests[name.removesuffix(".json") + ".png"])
        for name, digest in digests.items()
        if name.endswith(".json")
    }


def _digest(entry: Entry) -> str:
    """Of the item's JSON."""
    return hashlib.sha256(entry.item.to_json().encode()).hexdigest()
