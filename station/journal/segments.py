"""The row of files that a journal is: which there are, what each holds, and the index that says so.

The index, the file at the journal's configured path, is small and holds nothing that the segments do not
hold: it says to a reader where to look, and to an older release that this journal is not for it. It is
written whole, and made again when it is missing.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from station.files import replacing
from station.journal import legacy
from station.journal.errors import JournalError, explain, missing_segment
from station.journal.events import SEALED, SEGMENT
from station.journal.packing import unpack
from station.journal.schema import (
    APPLICATION_ID,
    SCHEMA_VERSION,
    connect,
    connect_readonly,
    read_head,
    read_head_file,
    read_meta,
    require_ours,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One file of the journal, as the index describes it."""

    number: int
    """1, 2, 3 …"""
    file: str
    schema: int
    first_seq: int
    last_seq: int
    head: str
    """The digest of its last event, hex."""
    first_record: int
    """The lowest record number in it; 0 where it has none."""
    last_record: int
    first_opened: str
    """When the first and the last of its triggers came; empty where it has none."""
    last_opened: str
    accepted: int
    """Records that ended here or wait here for their receipt; without those that go on in the next file."""
    rejected: int
    faulted: int
    open: int
    carried: str
    """The records that go on in the next segment, joined by commas."""
    bytes: int
    sealed: bool
    removed_at: str = ""
    """When the policy took the file away; empty while it is there."""
    archived_to: str = ""

    @property
    def carried_ids(self) -> frozenset[int]:
        """The records that go on in the next segment."""
        return frozenset(int(one) for one in self.carried.split(",") if one)


_NAMES = tuple(one.name for one in fields(Segment))
_INDEX = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE segments ({", ".join(_NAMES)}, PRIMARY KEY (number));
"""


def segment_file(journal: Path, number: int) -> Path:
    """The file of a segment: ``journal.db.000003``."""
    return journal.with_name(f"{journal.name}.{number:06d}")


def segment_files(journal: Path) -> dict[int, Path]:
    """The segments that are there, by number, in order."""
    pattern = re.compile(re.escape(journal.name) + r"\.(\d{6})")
    try:
        names = os.listdir(journal.parent)
    except FileNotFoundError:
        return {}
    found = {int(match[1]): journal.with_name(name) for name in names if (match := pattern.fullmatch(name))}
    return dict(sorted(found.items()))


def is_index(connection: sqlite3.Connection) -> bool:
    """Whether the file lists segments, and is none itself."""
    query = "SELECT count(*) FROM sqlite_master WHERE name = 'segments'"
    return bool(connection.execute(query).fetchone()[0])


def read_index(journal: Path) -> tuple[str, list[Segment]]:
    """The journal's identity and the segments that the index knows. Raises :class:`JournalError`."""
    with closing(connect_readonly(journal)) as connection:
        try:
            if not is_index(connection):
                raise JournalError(f"journal {journal}: is a segment, not a journal: name the journal itself")
            rows = connection.execute(f"SELECT {', '.join(_NAMES)} FROM segments ORDER BY number").fetchall()
            return read_meta(connection, "journal_id"), [_segment(row) for row in rows]
        except sqlite3.Error as error:
            raise explain(error, journal) from error


def write_index(journal: Path, journal_id: str, station: str, segments: Iterable[Segment]) -> None:
    """Write the index whole. Raises OSError or sqlite3.Error."""
    with replacing(journal) as fresh:
        with closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=OFF")  # nobody sees the file before it is whole
            connection.execute("PRAGMA synchronous=OFF")  # and it is brought to the disk once, when it is
            connection.executescript(_INDEX)
            connection.execute("BEGIN")
            about = {"journal_id": journal_id, "station": station}
            connection.executemany("INSERT INTO meta VALUES (?, ?)", about.items())
            marks = ", ".join("?" * len(_NAMES))
            connection.executemany(f"INSERT INTO segments VALUES ({marks})", map(astuple, segments))
            connection.execute("COMMIT")
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        # An older release that was refused may have left these beside the index.
        for ending in ("-wal", "-shm"):
            journal.with_name(journal.name + ending).unlink(missing_ok=True)


def catalogue(journal: Path, *, counted: bool = False) -> list[Segment]:
    """Every segment, in order, those removed among them; the last is the one that is written.

    ``counted``: with the records by outcome of the segment that is written. Between the end of one segment
    and the beginning of the next, and after a kill there, all are sealed. Raises :class:`JournalError`.
    """
    segments = read_index(journal)[1]
    sealed = list(segments)
    number = sealed[-1].number + 1 if sealed else min(segment_files(journal), default=1)
    while True:
        file = segment_file(journal, number)
        if not file.is_file():
            side = read_head_file(journal)
            behind = side is not None and side.seq > max((one.last_seq for one in sealed), default=0)
            if behind and not file.is_file():  # and was not begun between the two looks
                raise missing_segment(file)
            if not behind:
                return sealed
            continue
        found = describe(file, number, counted=counted)
        sealed.append(found)
        if not found.sealed:
            return sealed
        number += 1


def sealed_files(journal: Path) -> list[Path]:
    """The sealed segments that must be there. Raises :class:`JournalError`."""
    return [journal.with_name(one.file) for one in catalogue(journal) if one.sealed and not one.removed_at]


def describe(path: Path, number: int, *, counted: bool = True) -> Segment:
    """What a segment holds, read from the file. Raises :class:`JournalError`.

    ``counted=False`` leaves out the records by outcome of a segment that is still written.
    """
    with closing(connect_readonly(path, lowest=2)) as connection:
        try:
            connection.execute("BEGIN")
            schema = int(connection.execute("PRAGMA user_version").fetchone()[0])
            seq, digest = read_head(connection)
            first = connection.execute("SELECT min(seq) FROM events").fetchone()[0] or 0
            sealed = schema < SCHEMA_VERSION or last_kind(connection) == SEALED
            counts: dict[str | None, int] = {}
            if sealed or counted:
                counts |= connection.execute("SELECT outcome, count(*) FROM parts GROUP BY outcome")
            carried: list[int] = []
            if sealed:
                query = "SELECT record_id, outcome FROM parts WHERE acknowledged IS NULL ORDER BY record_id"
                for record_id, outcome in connection.execute(query):
                    carried.append(record_id)
                    counts[outcome] -= 1
            records = "SELECT coalesce(min(record_id), 0), coalesce(max(record_id), 0) FROM parts"
            times = "SELECT coalesce(min(opened_at), ''), coalesce(max(opened_at), '') FROM parts"
            first_record, last_record = connection.execute(records).fetchone()
            first_opened, last_opened = connection.execute(times).fetchone()
        except sqlite3.Error as error:
            raise explain(error, path, sealed=True) from error
    return Segment(
        number=number,
        file=path.name,
        schema=schema,
        first_seq=first,
        last_seq=seq,
        head=digest.hex(),
        first_record=first_record,
        last_record=last_record,
        first_opened=first_opened,
        last_opened=last_opened,
        accepted=counts.get("accept", 0),
        rejected=counts.get("reject", 0),
        faulted=counts.get("fault", 0),
        open=counts.get(None, 0),
        carried=",".join(map(str, carried)),
        bytes=path.stat().st_size,
        sealed=sealed,
    )


def last_kind(connection: sqlite3.Connection) -> str:
    """The kind of a segment's last event."""
    row = connection.execute("SELECT kind FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    return str(row[0]) if row else ""


def first_values(connection: sqlite3.Connection) -> dict[str, object]:
    """What a segment's first event says: its number, the head before it, what was counted before it."""
    row = connection.execute("SELECT kind, payload FROM events ORDER BY seq LIMIT 1").fetchone()
    return unpack(SEGMENT, row[1]) if row and row[0] == SEGMENT else {}


def require_as_sealed(journal: Path, segments: list[Segment]) -> None:
    """Refuse to go on when a file is not as it was sealed. Raises :class:`JournalError`."""
    for one in segments:
        file = journal.with_name(one.file)
        if one.removed_at or not one.sealed or not file.is_file():
            continue
        if is_finished(file) and file.stat().st_size != one.bytes:
            raise JournalError(
                f"journal {journal}: its segment {file.name} has {file.stat().st_size} bytes, not "
                f"{one.bytes} as when it was sealed: put its copy from the archive or a backup back; or, if "
                "there is none, move the file away and acknowledge its loss (`station journal accept-loss`)"
            )


def is_finished(path: Path) -> bool:
    """Whether all of a sealed segment is in its one file, which nobody may write any more."""
    return not path.stat().st_mode & 0o222


def finish(path: Path) -> bool:
    """Bring all of a sealed segment into its one file; False while another program holds it open."""
    connection = connect(path)
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        mode = connection.execute("PRAGMA journal_mode=DELETE").fetchone()[0]
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return False
        raise
    finally:
        connection.close()
    if mode != "delete":
        return False
    path.chmod(0o444)
    return True


def adopt(journal: Path, station: str) -> None:
    """Make a journal of schema 1 or 2 the first segment of today's; nothing where it is none.

    The file itself becomes ``journal.db.000001``. A kill at any moment leaves one of the two states. Raises
    :class:`JournalError`, OSError or sqlite3.Error.
    """
    if not journal.is_file() or not journal.stat().st_size:
        return
    connection = connect_any(journal)
    try:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if not legacy.LOWEST <= version < SCHEMA_VERSION:
            return
        connection.execute("PRAGMA synchronous=FULL")
        try:
            if version == 1:
                legacy.to_schema_2(connection)
            legacy.require_whole_tail(connection, read_head_file(journal))
        except JournalError as error:
            raise JournalError(f"journal {journal}: {error}") from error
        journal_id = read_meta(connection, "journal_id")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode=DELETE")  # raises while another program has it open
    finally:
        connection.close()
    first = segment_file(journal, 1)
    if not (first.exists() and first.samefile(journal)):
        os.link(journal, first)
    first.chmod(0o444)
    write_index(journal, journal_id, station, [describe(first, 1)])


def connect_any(path: Path) -> sqlite3.Connection:
    """A connection to a file of whatever schema, once it is known to be ours. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, timeout=1.0, isolation_level=None)
    try:
        require_ours(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _segment(row: tuple[object, ...]) -> Segment:
    values = dict(zip(_NAMES, row, strict=True))
    return Segment(**{**values, "sealed": bool(values["sealed"])})  # type: ignore[arg-type]
