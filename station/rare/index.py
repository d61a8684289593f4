"""The index of the rare-defect log: one SQLite file with a row per item, and the words for what fails."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from drivers.errors import InspectionError
from station.rare.choice import Standing
from station.rare.items import Item

INDEX = "rare.db"
VERSION = 1


SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS items (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    item_id TEXT NOT NULL UNIQUE,
    record TEXT NOT NULL,
    file TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size INTEGER NOT NULL,
    worth REAL NOT NULL,
    audit INTEGER NOT NULL,
    stays INTEGER NOT NULL,
    dropped INTEGER NOT NULL DEFAULT 0,
    times_seen INTEGER NOT NULL DEFAULT 1,
    engine_digest TEXT NOT NULL,
    class_name TEXT NOT NULL,
    features BLOB,
    item TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS items_by_record ON items (record);
CREATE INDEX IF NOT EXISTS items_alike ON items (engine_digest, class_name) WHERE features IS NOT NULL;
CREATE INDEX IF NOT EXISTS items_by_worth ON items (worth, number, item_id, size, audit, stays, dropped)
    WHERE NOT dropped;
CREATE INDEX IF NOT EXISTS items_leaving ON items (number, file, dropped) WHERE dropped;
CREATE TABLE IF NOT EXISTS rare_so_far (
    recipe TEXT NOT NULL, class_name TEXT NOT NULL, items INTEGER NOT NULL, PRIMARY KEY (recipe, class_name)
);
CREATE TABLE IF NOT EXISTS handed_over (number INTEGER PRIMARY KEY);
PRAGMA user_version = {VERSION};
COMMIT;
"""


class RareLogError(InspectionError):
    """The rare-defect log cannot be used as asked; the message says what to do about it."""


ONE_MORE = "INSERT INTO rare_so_far VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET items = items + 1"
GET = "SELECT item_id, item, file, sha256, size, times_seen FROM items WHERE NOT dropped"


class NoRoomError(RareLogError):
    """What may never be dropped fills the quota."""


def connect(path: Path, *, make: bool = False) -> sqlite3.Connection:
    """The index, opened; made only where asked. Raises ``sqlite3.Error``."""
    mode = "rwc" if make else "rw"  # of a file that cannot be written SQLite makes a reader by itself
    index = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=5, isolation_level=None
    )
    index.execute("PRAGMA synchronous = FULL")
    return index


@contextmanager
def transaction(index: sqlite3.Connection) -> Iterator[None]:
    """All that is written inside, or nothing of it."""
    index.execute("BEGIN IMMEDIATE")
    try:
        yield
        index.execute("COMMIT")
    except BaseException:
        if index.in_transaction:
            index.execute("ROLLBACK")
        raise


def standing(index: sqlite3.Connection) -> list[Standing]:
    """Every item as the choice sees it, the least informative first."""
    rows = index.execute(
        "SELECT item_id, size, worth, number, audit, stays FROM items WHERE NOT dropped "
        "ORDER BY worth, number"
    )
    has = handed_over(index)
    return [
        Standing(name, size, worth, number, bool(audit), bool(stays), number in has)
        for name, size, worth, number, audit, stays in rows
    ]


def handed_over(index: sqlite3.Connection) -> set[int]:
    """The numbers of the items that the workshop has; none in a log of a release without the hand-off."""
    if not index.execute("SELECT 1 FROM sqlite_master WHERE name = 'handed_over'").fetchone():
        return set()
    return {int(number) for (number,) in index.execute("SELECT number FROM handed_over")}


def sizes(index: sqlite3.Connection) -> tuple[int, int, int, int]:
    """Items, those of which a person spoke, bytes of all, and bytes of the smallest (0 where there is none).

    From an index alone, whatever the rows hold: it is asked for each part that is kept.
    """
    items, said, used, smallest = index.execute(
        "SELECT count(*), coalesce(sum(stays), 0), coalesce(sum(size), 0), coalesce(min(size), 0) "
        "FROM items WHERE NOT dropped"
    ).fetchone()
    return items, said, used, smallest


def insert(index: sqlite3.Connection, values: dict[str, Any]) -> None:
    """Add a row; ``values`` by column."""
    names = ", ".join(values)
    index.execute(
        f"INSERT INTO items ({names}) VALUES ({', '.join('?' * len(values))})", tuple(values.values())
    )


def mark_dropped(index: sqlite3.Connection, leaving: Sequence[Standing]) -> None:
    """Mark the items that make room."""
    # What a person said meanwhile counts: such an item stays.
    index.executemany(
        "UPDATE items SET dropped = 1 WHERE item_id = ? AND stays <= ?",
        [(one.item_id, one.stays) for one in leaving],
    )


def rewrite(index: sqlite3.Connection, number: int, item: Item) -> None:
    """Put an item that changed in the place of its row."""
    if number in handed_over(index):  # what changed goes to the workshop again
        index.execute(
            "DELETE FROM handed_over "
            "WHERE number IN (SELECT number FROM items WHERE number = ? AND item != ?)",
            (number, item.to_json()),
        )
    index.execute(
        "UPDATE items SET item = ?, worth = ?, audit = ?, stays = ? WHERE number = ?",
        (item.to_json(), item.worth, item.is_audit, item.stays, number),
    )


def free_id(index: sqlite3.Connection, record: str) -> str:
    """The name of the next item of a record."""
    taken = {str(one) for (one,) in index.execute("SELECT item_id FROM items WHERE record = ?", (record,))}
    names = (record if number == 1 else f"{record}~{number}" for number in count(1))
    return next(name for name in names if name not in taken)


def remedy(error: sqlite3.Error | OSError, folder: Path) -> str:
    """What a person can do about an error of disk or index."""
    code = getattr(error, "sqlite_errorname", "") or ""
    number = getattr(error, "errno", None)
    if code == "SQLITE_FULL" or number in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full: free space, or write a smaller rare.quota_mb"
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")) or number in (
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
    ):
        return (
            f"give the station's user permission to write in {folder}; "
            "if its disk went read-only, check the disk and mount it again"
        )
    if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return f"{INDEX} is damaged: move the folder away, the station begins a new one"
    return "check the disk, and that the folder is there"
