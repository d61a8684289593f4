"""Whether a segment has the tables, triggers, views and properties that it was made with, and no others.

The chain covers events and what is made from them; it does not cover the tables themselves. A trigger that
somebody adds could change what the station writes, and one that somebody drops protects no longer.
"""

from __future__ import annotations

import sqlite3
from functools import cache

from station.journal.events import ChainError
from station.journal.schema import SCHEMA_VERSION, create_tables, read_meta
from station.journal.segments import first_values

_FOUND = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
_META = {"journal_id", "number", "created_at", "station"}


def changes_of_shape(connection: sqlite3.Connection) -> list[str]:
    """What another program changed in a segment beside its events, in words. Raises sqlite3.Error."""
    old = connection.execute("PRAGMA user_version").fetchone()[0] < SCHEMA_VERSION
    found = {(kind, name): sql for kind, name, sql in connection.execute(_FOUND)}
    if old:  # its tables are of another release; what acts by itself, or hides, is compared
        triggers = {one: sql for one, sql in _made().items() if one[0] == "trigger"}
        found = {one: sql for one, sql in found.items() if one[0] in ("trigger", "view")}
        made = triggers | {("view", "records"): found.get(("view", "records"), "")}
    else:
        made = _made()
    changes = []
    for kind, name in sorted(found.keys() | made.keys()):
        if kind == "index" and (kind, name) in made:
            continue  # it proves nothing, and the writer makes it again
        if (kind, name) not in made:
            changes.append(f"the {kind} {name} was added")
        elif (kind, name) not in found:
            changes.append(f"the {kind} {name} was removed")
        elif found[kind, name] != made[kind, name]:
            changes.append(f"the {kind} {name} was changed")
    return changes if old else [*changes, *_changes_of_meta(connection)]


def restore_shape(connection: sqlite3.Connection) -> None:
    """Make triggers, views, indexes and properties again as they were made, and drop those of others.

    For a segment of today's schema, in the caller's transaction. Raises sqlite3.Error, also where a table
    itself was changed: that file is no longer a journal.
    """
    found = {(kind, name): sql for kind, name, sql in connection.execute(_FOUND)}
    for (kind, name), sql in found.items():
        if kind != "table" and _made().get((kind, name)) != sql:
            connection.execute(f'DROP {kind.upper()} IF EXISTS "{name}"')
        elif kind == "table" and (kind, name) not in _made():
            connection.execute(f'DROP TABLE "{name}"')
    restore_indexes(connection)
    there = {(kind, name) for kind, name, _ in connection.execute(_FOUND)}
    for (kind, name), sql in _made().items():
        if kind != "table" and (kind, name) not in there:
            connection.execute(sql)
    first = first_values(connection)
    if "journal_id" in first:
        made_at = connection.execute("SELECT at FROM events ORDER BY seq LIMIT 1").fetchone()[0]
        values = {name: str(first[name]) for name in ("journal_id", "number", "station")}
        connection.execute("DELETE FROM meta")
        connection.executemany("INSERT INTO meta VALUES (?, ?)", (values | {"created_at": made_at}).items())


def restore_indexes(connection: sqlite3.Connection) -> None:
    """Make the indexes as this release uses them; another one may have written the segment before."""
    found = {(kind, name): sql for kind, name, sql in connection.execute(_FOUND) if kind == "index"}
    for one, sql in _made().items():
        if one[0] == "index" and found.get(one) != sql:
            connection.execute(f'DROP INDEX IF EXISTS "{one[1]}"')
            connection.execute(sql)


def _changes_of_meta(connection: sqlite3.Connection) -> list[str]:
    """Whether the table ``meta`` still says what the first event says, which the chain covers."""
    try:
        first = first_values(connection)
        made = {name: str(first[name]) for name in ("journal_id", "number", "station")}
    except (ChainError, KeyError):
        return []  # the first event is gone or changed: the chain says so
    names = {str(name) for (name,) in connection.execute("SELECT key FROM meta")}
    changed = sorted(names ^ _META)
    changed += [name for name in made if name in names and read_meta(connection, name) != made[name]]
    return [f"the property {name} (table meta) was changed" for name in changed]


@cache
def _made() -> dict[tuple[str, str], str]:
    """Type and name -> the statement that makes it, for a segment of today's schema."""
    connection = sqlite3.connect(":memory:")
    try:
        create_tables(connection)
        return {(kind, name): sql for kind, name, sql in connection.execute(_FOUND)}
    finally:
        connection.close()
