"""The folder of the rare-defect log: a picture per item in ``items/``, and a row per item in ``rare.db``.

An item is there when its row is: the picture is written and brought to the disk first, then the row. A
kill in between leaves a file without a row; the next start moves it to ``quarantine/`` and deletes nothing.
An item that makes room is marked in its row first, then its picture is deleted, then the row, so that the
next start can finish it.

Nothing is remembered between two calls: the folder may be emptied, replaced or purged by another program.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from drivers.cameras.picture_files import decode_image, encode_image
from station.disks import RARE_RESERVE_MB, require_room
from station.files import write_file
from station.rare.choice import Standing, make_room, nearest
from station.rare.index import (
    GET,
    INDEX,
    ONE_MORE,
    SCHEMA,
    VERSION,
    NoRoomError,
    RareLogError,
    connect,
    free_id,
    handed_over,
    insert,
    mark_dropped,
    remedy,
    rewrite,
    sizes,
    standing,
    transaction,
)
from station.rare.items import Item, Reason, Sighting, name_of

ITEMS, QUARANTINE = "items", "quarantine"
ROW_BYTES = 4096
"""What a row takes beside its vector and its text, about."""
COMPARED = 500
"""The latest items of a class that a part is compared with, so that a large log makes no part dearer."""


class Kept(StrEnum):
    """What became of a part that is worth keeping."""

    NEW = "new"
    KNOWN = "known"
    """It was there already; its reasons were added."""
    ALIKE = "alike"
    """Not kept: an item like it is there, and counts it."""
    NO_ROOM = "no room"
    """Not kept: everything in the log is more informative."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An item as it stands in the log."""

    item_id: str
    """Journal and record; with ``~2`` where the journal gave the number to two parts, see :meth:`keep`."""
    item: Item
    picture: Path
    sha256: str
    """Of the picture's file, hexadecimal."""
    size: int
    """Bytes, of picture and row."""
    times_seen: int
    """1, and one more for each part like it that was not kept."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How full the log is."""

    items: int
    said: int
    """Items of which a person spoke; they are never dropped."""
    used: int
    """Bytes, with the quarantine."""
    quarantined: int
    """Files."""
    quarantined_bytes: int
    quota: int
    """Bytes; 0 where it is not known."""


class RareStore:
    """The folder and its index. For one thread at a time; other processes may read and purge."""

    def __init__(self, folder: Path, *, quota: int = 0, same_below: float = 0.0) -> None:
        """``quota``: bytes. ``same_below``: the distance of features below which two parts are alike."""
        self.folder = folder
        self._quota = quota
        self._same_below = same_below
        self._lock: int | None = None

    # ------------------------------------------------------------------ the station's side

    def open(self) -> list[str]:
        """Make or check the folder as its only writer; what had to be put in order, in words.

        Raises :class:`RareLogError`. May be called again after an error.
        """
        found: list[str] = []
        with self._explained():
            for folder in (self.folder / ITEMS, self.folder / QUARANTINE):
                folder.mkdir(parents=True, exist_ok=True)
            self._take()
            with closing(connect(self.folder / INDEX, make=True)) as index:
                self._version(index)
                index.executescript(SCHEMA)
                self._finish_drops(index)
                rows = {str(name) for (name,) in index.execute("SELECT file FROM items")}
                files = {file.name: file for file in (self.folder / ITEMS).iterdir()}
                for name in sorted(rows - set(files)):
                    found.append(f"the picture {name!r} is missing; its row is removed")
                    index.execute("DELETE FROM items WHERE file = ?", (name,))
                for name in sorted(set(files) - rows):
                    found.append(f"{name!r} has no row; it is in {QUARANTINE}/ now")
                    os.replace(files[name], self._free_name(name))
                leaving = make_room(standing(index), None, self._quota - self._quarantine()[1])
                if leaving:
                    found.append(f"the quota is smaller now; {len(leaving)} items made room")
                    self._drop(index, leaving)
        return found

    @property
    def is_there(self) -> bool:
        """Whether the folder has an index; not when somebody took it away."""
        return (self.folder / INDEX).is_file()

    def probe(self, size: int) -> None:
        """Write and remove a file of ``size`` bytes. Raises :class:`RareLogError`."""
        with self._explained():
            file = self.folder / ".probe"
            try:
                require_room(self.folder, size, RARE_RESERVE_MB)
                file.write_bytes(bytes(size))
            finally:
                file.unlink(missing_ok=True)

    def close(self) -> None:
        """Give the folder back to others. May be called twice."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def keep(self, sighting: Sighting) -> Kept:
        """Keep a part, whole or not at all. Raises :class:`RareLogError`, and then nothing is kept.

        A journal that was put back from a backup gives numbers of records a second time. What has the number
        of an item and another picture is another part, and gets a name of its own.
        """
        item = sighting.item
        record = name_of(item.journal_id, item.record_id)
        with self._explained(), closing(self._index()) as index:
            if self._is_known(index, record):
                _, sha256 = _as_png(sighting.pixels)
                if self._add_reasons(index, record, sha256, item):
                    return Kept.KNOWN
            vector = None if sighting.features is None else sighting.features.astype(np.float16)
            alike = None if vector is None or item.may_repeat else self._alike(index, item, vector)
            if alike is not None:
                index.execute("UPDATE items SET times_seen = times_seen + 1 WHERE item_id = ?", (alike,))
                return Kept.ALIKE
            text, item_id = item.to_json(), free_id(index, record)
            beside = len(text) + ROW_BYTES + (0 if vector is None else vector.nbytes)
            new = Standing(item_id, beside, item.worth, 0, item.is_audit, item.stays)
            # The picture is the dearest step: none is made where even the smallest item has no room.
            smallest = sizes(index)[3] or beside
            if not new.stays and self._leaving(index, replace(new, size=smallest)) is None:
                return Kept.NO_ROOM
            content, sha256 = _as_png(sighting.pixels)
            new = replace(new, size=len(content) + beside)
            leaving = self._leaving(index, new)
            if leaving is None:
                if item.stays:
                    raise NoRoomError(
                        f"rare log {self.folder}: a part that a person spoke of takes "
                        f"{new.size / 1e6:.1f} MB and does not fit beside the others of its kind: "
                        "raise rare.quota_mb"
                    )
                return Kept.NO_ROOM
            file = self.folder / ITEMS / f"{item_id}-{sha256[:12]}.png"
            require_room(self.folder, new.size, RARE_RESERVE_MB)
            write_file(file, content)
            try:
                values = {
                    "item_id": item_id,
                    "record": record,
                    "file": file.name,
                    "sha256": sha256,
                    "size": new.size,
                    "worth": item.worth,
                    "audit": item.is_audit,
                    "stays": item.stays,
                    "engine_digest": item.engine_digest,
                    "class_name": item.class_name,
                    "features": None if vector is None else vector.tobytes(),
                    "item": text,
                }
                with transaction(index):
                    insert(index, values)
                    if any(why.reason is Reason.RARE_CLASS for why in item.whys):
                        index.execute(ONE_MORE, (item.recipe, item.class_name))
                    mark_dropped(index, leaving)
            except BaseException:
                with suppress(OSError):
                    file.unlink()
                raise
            self._finish_drops(index)
        return Kept.NEW

    def amend(self, journal_id: str, record_id: int, change: Callable[[Item], Item]) -> bool:
        """Put what became known later into the item of a record; False where it is not in the log.

        Raises :class:`RareLogError`.
        """
        record = name_of(journal_id, record_id)
        with self._explained(), closing(self._index()) as index, transaction(index):
            found = index.execute(
                "SELECT number, item FROM items WHERE record = ? AND NOT dropped ORDER BY number DESC",
                (record,),
            ).fetchone()
            if found is None:
                return False
            rewrite(index, found[0], change(self._item(found[1])))
        return True

    def rare_so_far(self) -> Counter[tuple[str, str]]:
        """Recipe and class -> items that were ever kept because the class was rare."""
        with self._explained(), closing(self._index()) as index:
            rows = index.execute("SELECT recipe, class_name, items FROM rare_so_far").fetchall()
        return Counter({(str(recipe), str(name)): int(count) for recipe, name, count in rows})

    # ------------------------------------------------------------------ anybody's side

    def entries(self) -> list[Entry]:
        """Every item, the most informative first. Raises :class:`RareLogError`."""
        with self._explained(), closing(self._index()) as index:
            rows = index.execute(f"{GET} ORDER BY stays DESC, worth DESC, number DESC").fetchall()
            return [self._entry(row) for row in rows]

    def not_handed_over(self) -> list[Entry]:
        """The items that the workshop does not have as they are, oldest first.

        Raises :class:`RareLogError`.
        """
        with self._explained(), closing(self._index()) as index:
            has = handed_over(index)
            rows = index.execute(f"{GET.replace('SELECT ', 'SELECT number, ')} ORDER BY number").fetchall()
            return [self._entry(row[1:]) for row in rows if row[0] not in has]

    def mark_handed_over(self, item_id: str, text_sha256: str, sha256: str) -> None:
        """Note that the workshop has this item, unless it changed since. Raises :class:`RareLogError`.

        ``text_sha256``: of the item as it was handed over, JSON; ``sha256``: of its picture.
        """
        with self._explained(), closing(self._index()) as index, transaction(index):
            row = index.execute(
                "SELECT number, item FROM items WHERE item_id = ? AND sha256 = ? AND NOT dropped",
                (item_id, sha256),
            ).fetchone()
            text = b"" if row is None else self._item(row[1]).to_json().encode()
            if row is not None and hashlib.sha256(text).hexdigest() == text_sha256:
                index.execute("INSERT OR IGNORE INTO handed_over VALUES (?)", (row[0],))

    def entry(self, item_id: str) -> Entry:
        """One item, by its id or the number of its record. Raises :class:`RareLogError`."""
        with self._explained(), closing(self._index()) as index:
            rows = index.execute(
                f"{GET} AND (item_id = ? OR item_id LIKE '%-' || ?)", (item_id, item_id)
            ).fetchall()
        if len(rows) != 1:
            many = f"{len(rows)} items" if rows else "no item"
            raise RareLogError(
                f"rare log {self.folder}: has {many} of {item_id!r}: `station rare list` shows all"
            )
        return self._entry(rows[0])

    def read_picture(self, entry: Entry) -> NDArray[np.uint8]:
        """The picture of an item, ``(H, W)`` or ``(H, W, 3)``, when it is what was written.

        Raises :class:`RareLogError`.
        """
        with self._explained():
            content = entry.picture.read_bytes()
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            raise RareLogError(
                f"{entry.picture}: is not what was written: check the disk; its record is in the journal"
            )
        return decode_image(content, entry.picture)

    def usage(self) -> Usage:
        """How full the log is. Raises :class:`RareLogError`."""
        with self._explained(), closing(self._index()) as index:
            items, said, used, _ = sizes(index)
            files, size = self._quarantine()
        return Usage(items, said, used + size, files, size, self._quota)

    def purge(self, to_bytes: int) -> list[str]:
        """Drop the least informative items until the rest fit into ``to_bytes``; the ids of those dropped.

        Items of which a person spoke, and the quarantine, stay. Raises :class:`RareLogError`.
        """
        with self._explained(), closing(self._index()) as index:
            leaving = make_room(standing(index), None, to_bytes - self._quarantine()[1]) or []
            self._drop(index, leaving)
        return [one.item_id for one in leaving]

    # ------------------------------------------------------------------ helpers

    def _take(self) -> None:
        """Be the only writer of the folder. Raises :class:`RareLogError` or OSError."""
        path = self.folder / ".lock"
        if self._lock is not None:
            with suppress(OSError):
                if os.fstat(self._lock).st_ino == os.stat(path).st_ino:
                    return
            self.close()
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise RareLogError(
                f"rare log {self.folder}: another station uses it: give each station its own paths.rare"
            ) from None
        self._lock = lock

    def _index(self) -> sqlite3.Connection:
        """The index of a log that a station has begun. Raises :class:`RareLogError`."""
        if self.is_there:
            index = connect(self.folder / INDEX)
            try:
                if self._version(index):
                    return index
            except BaseException:
                index.close()
                raise
            index.close()
        raise RareLogError(
            f"rare log {self.folder}: there is none yet: name its folder with `paths.rare` in the "
            "configuration and run the station"
        )

    def _version(self, index: sqlite3.Connection) -> int:
        """The format of the index; 0 before it has one."""
        version = int(index.execute("PRAGMA user_version").fetchone()[0])
        if version > VERSION:
            raise RareLogError(
                f"rare log {self.folder}: was written by a newer release (format {version}): install that "
                "release, or name another folder"
            )
        return version

    def _alike(self, index: sqlite3.Connection, item: Item, vector: NDArray[np.float16]) -> str | None:
        """The item that this one repeats: of the same engine and class, with nearly the same features.

        Of the latest :data:`COMPARED` ones.
        """
        rows = index.execute(
            "SELECT item_id, features FROM items WHERE features IS NOT NULL AND NOT dropped "
            "AND engine_digest = ? AND class_name = ? ORDER BY number DESC LIMIT ?",
            (item.engine_digest, item.class_name, COMPARED),
        ).fetchall()
        rows = [row for row in rows if len(row[1]) == vector.nbytes]
        others = np.frombuffer(b"".join(row[1] for row in rows), np.float16).reshape(len(rows), vector.size)
        row, distance = nearest(vector.astype(np.float32), others.astype(np.float32))
        return str(rows[row][0]) if distance < self._same_below else None

    def _leaving(self, index: sqlite3.Connection, new: Standing) -> list[Standing] | None:
        """What must go so that the new item fits into the quota; None where it is not worth it."""
        room = self._quota - self._quarantine()[1]
        if sizes(index)[2] + new.size <= room:
            return []
        return make_room(standing(index), new, room)

    def _is_known(self, index: sqlite3.Connection, record: str) -> bool:
        return index.execute("SELECT 1 FROM items WHERE record = ?", (record,)).fetchone() is not None

    def _add_reasons(self, index: sqlite3.Connection, record: str, sha256: str, item: Item) -> bool:
        with transaction(index):
            found = index.execute(
                "SELECT number, item FROM items WHERE record = ? AND sha256 = ? AND NOT dropped",
                (record, sha256),
            ).fetchone()
            if found is None:
                return False
            there = self._item(found[1]).because(*item.whys)
            if item.stays:
                there = replace(there, said_class=item.said_class, said_by=item.said_by)
            rewrite(index, found[0], there)
        return True

    def _drop(self, index: sqlite3.Connection, leaving: Sequence[Standing]) -> None:
        with transaction(index):
            mark_dropped(index, leaving)
        self._finish_drops(index)

    def _finish_drops(self, index: sqlite3.Connection) -> None:
        """Delete what is marked: the picture, then its row."""
        for number, name in index.execute("SELECT number, file FROM items WHERE dropped").fetchall():
            try:
                (self.folder / ITEMS / name).unlink(missing_ok=True)
            except IsADirectoryError:  # somebody's, in the picture's place
                os.replace(self.folder / ITEMS / name, self._free_name(name))
            index.execute("DELETE FROM items WHERE number = ?", (number,))

    def _entry(self, row: Sequence[Any]) -> Entry:
        item_id, text, name, sha256, size, seen = row
        return Entry(item_id, self._item(text), self.folder / ITEMS / name, sha256, size, seen)

    def _item(self, text: str) -> Item:
        try:
            return Item.from_json(text)
        except (ValueError, KeyError, TypeError) as error:
            raise RareLogError(
                f"rare log {self.folder}: an item in {INDEX} cannot be read ({error!r}): move the folder "
                "away, the station begins a new one"
            ) from error

    def _quarantine(self) -> tuple[int, int]:
        files = (self.folder / QUARANTINE).iterdir()
        sizes = [file.lstat().st_size for file in files]  # a link may lead nowhere
        return len(sizes), sum(sizes)

    def _free_name(self, name: str) -> Path:
        target = self.folder / QUARANTINE / name
        short = os.fsdecode(os.fsencode(name)[:240])  # with the number it must not be too long for a name
        number = 1
        while os.path.lexists(target):
            target, number = self.folder / QUARANTINE / f"{short}.{number}", number + 1
        return target

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn an error of disk or database into words with a remedy."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise RareLogError(f"rare log {self.folder}: {error}: {remedy(error, self.folder)}") from error


def _as_png(pixels: NDArray[np.uint8]) -> tuple[bytes, str]:
    """The picture as PNG, and the SHA-256 of its bytes.

    What a line pays for most. A surface is grain: no run of pixels repeats, so to search for one costs time
    and gives nothing. On rendered housings, differences along the row with Huffman codes alone take 40 % of
    the time of OpenCV's level 1, and 78 % of its bytes.
    """
    how = [
        cv2.IMWRITE_PNG_COMPRESSION,
        1,
        cv2.IMWRITE_PNG_STRATEGY,
        cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY,
        cv2.IMWRITE_PNG_FILTER,
        cv2.IMWRITE_PNG_FILTER_SUB,
    ]
    content = encode_image(pixels, ".png", how)
    return content, hashlib.sha256(content).hexdigest()
