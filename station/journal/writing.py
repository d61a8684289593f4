"""The durable record of every part: one a trigger, written before it is told, never lost, never edited.

A part's record is opened with its trigger (:meth:`Journal.open_part`), gets exactly one verdict
(:meth:`Journal.write_verdict`) and exactly one receipt (:meth:`Journal.write_receipt`). The first two are
on the disk when they return - this is what lets the station tell a verdict - and the receipt follows
within :data:`RECEIPT_DELAY_S`, so that it costs the decision path nothing. What a station left unfinished
when it was killed is closed by :meth:`Journal.recover` at the next start.

Threads share disk writes instead of queueing for them: whoever holds the writer's lock takes everything
along that waits at that moment, in one transaction with one fsync.

Events and their chain: ``station.journal.events``. The file: ``station.journal.schema``. Reading it:
``station.journal.reading``. Checking it: ``station.journal.audit``.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import threading
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from station.files import sync_folder
from station.journal import values as values_of
from station.journal.events import (
    COLUMNS,
    OPENED,
    RECEIPT,
    RECOVERED,
    STATION_EVENTS,
    VERDICT,
    ChainError,
    Event,
    PartRecord,
    Row,
    apply,
    chained,
    problems_of_verdict,
    record_of,
    usable_scores,
    utc_ago,
)
from station.journal.lock import take_lock
from station.journal.schema import (
    PUT_EVENT,
    PUT_PART,
    Head,
    JournalError,
    connect,
    create_or_migrate,
    explain,
    read_head,
    read_head_file,
    require_whole_tail,
    write_head_file,
)
from station.journal.values import CameraUsed, PartDetails, PartMarks, Values

if TYPE_CHECKING:
    from drivers.sorters.interface import Receipt, Trigger
    from station.decision import Verdict
    from station.recipe import Recipe

__all__ = ["Counts", "Journal", "JournalError", "PartDetails", "PartRecord"]

log = logging.getLogger(__name__)

RECEIPT_DELAY_S = 0.05
"""How long a receipt waits at most for a commit to ride along with."""
RECEIPTS_WAITING = 256
"""Capacity of the queue ``receipts``; the caller that fills it writes them all (it sheds none)."""
CHECKPOINT_EVENTS = 250
"""After so many events the WAL is copied into the database, beside the decision path."""
WAL_LIMIT_BYTES = 64 << 20
"""At this size the copying stops the writers until it is done: the disk is slower than the line."""
HEAD_PERIOD_S = 1.0
"""How often the side file with the head is brought up to date."""
_LARGEST = 2**63 - 1

_PASSING = ("SQLITE_FULL", "SQLITE_BUSY")
"""Errors after which a later write may succeed; after any other one the file must be opened again."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Records by how they ended; ``triggers == accepted + rejected + faulted + open`` always."""

    triggers: int
    accepted: int
    rejected: int
    faulted: int
    open: int
    """Without a verdict: in hand, or in doubt after a crash until :meth:`Journal.recover`."""


@dataclass(slots=True, eq=False)
class _Job:
    """Events of one caller, written together or not at all."""

    entries: list[tuple[int, str, Values]]
    """(record_id, kind, values); record_id 0 stands for the next free one."""
    received_ns: int | None = None
    done: bool = False
    rows: list[Row] = field(default_factory=list)
    """What the records look like after the events."""
    error: JournalError | None = None


@dataclass(frozen=True, slots=True)
class _Live:
    """A record that still waits for its verdict or its receipt."""

    row: Row
    received_ns: int | None = None
    """The trigger on this process's monotonic clock; None when another process took it."""
    written_ns: int | None = None
    """The verdict was on the disk."""


class Journal:
    """The one writer of a journal file. Thread-safe: any method from any thread."""

    def __init__(self, path: Path, *, station: str, configuration: str | None = None) -> None:
        """Open, create or migrate ``path``. Raises :class:`JournalError`, which says what to do about it.

        ``configuration``: the text of the station's configuration; its digest stands in every record.
        """
        self.path = path
        self._station = station
        self._config_digest = (
            None if configuration is None else hashlib.sha256(configuration.encode()).hexdigest()
        )
        self._queue_lock = threading.Lock()
        self._waiting: list[_Job] = []
        self._receipts: dict[int, _Job] = {}
        self._write_lock = threading.Lock()
        self._live: dict[int, _Live] = {}
        self._in_doubt: frozenset[int] = frozenset()
        self._failure: JournalError | None = None
        self._closed = False
        self._closing = threading.Event()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise JournalError(f"journal {path}: is a folder: name a file in it")
            self._lock = take_lock(path)
        except OSError as error:
            raise explain(error, path) from error
        try:
            self._connection = self._open()
        except BaseException as error:
            os.close(self._lock)
            if isinstance(error, sqlite3.Error | OSError):
                raise explain(error, path) from error
            raise
        self._keeper = threading.Thread(target=self._keep, name="journal-keeper", daemon=True)
        self._keeper.start()

    def recover(self) -> list[PartRecord]:
        """Close what the last run left unfinished, and list it; to be called before the first part.

        A record without a verdict was never told anything: it becomes a fault. A verdict without a
        receipt may or may not have reached the cell: its receipt says so. Raises :class:`JournalError`.
        """
        doubtful = sorted(self._in_doubt)
        job = _Job([(one, RECOVERED, values_of.recovered(self._live[one].row)) for one in doubtful])
        self._submit(job)
        self._in_doubt = frozenset()
        return [record_of(row) for row in job.rows]

    def open_part(
        self,
        trigger: Trigger,
        *,
        recipe: Recipe,
        mode: str,
        is_simulated: bool,
        camera: CameraUsed | None = None,
        marks: PartMarks | None = None,
    ) -> int:
        """Open a trigger's record; on the disk when this returns its id. Raises :class:`JournalError`."""
        if self._in_doubt:
            unfinished = f"{len(self._in_doubt)} records of the last run are unfinished"
            raise JournalError(f"journal {self.path}: {unfinished}: call recover() first")
        values = values_of.opened(
            trigger,
            recipe,
            station=self._station,
            mode=mode,
            is_simulated=is_simulated,
            config_digest=self._config_digest,
            camera=camera,
            marks=marks,
        )
        job = _Job([(0, OPENED, values)], received_ns=trigger.received_ns)
        self._submit(job)
        return int(job.rows[0]["record_id"])

    def write_verdict(self, record_id: int, verdict: Verdict, details: PartDetails) -> None:
        """Write how the part ends; on the disk when this returns, and only then may it be told.

        Raises :class:`JournalError`, with nothing written, for a second verdict, for an accept without
        its evidence (a complete frame, scores, an engine's digest), for anything but an accept into the
        bin of good parts, and when the disk does not take it.
        """
        live = self._live_record(record_id)
        values = values_of.decided(verdict, details, live.received_ns)
        self._submit(_Job([(record_id, VERDICT, values)]))

    def write_receipt(self, record_id: int, receipt: Receipt, *, told_ns: int | None = None) -> None:
        """Add the end of a ``send``; on the disk within :data:`RECEIPT_DELAY_S`, exactly one a verdict.

        ``told_ns``: ``time.monotonic_ns()`` when the verdict was handed to the sorter. Raises
        :class:`JournalError` for a second receipt or one without a verdict.
        """
        live = self._live_record(record_id)
        if live.row["outcome"] is None:
            raise JournalError(f"journal {self.path}: record {record_id}: a receipt before the verdict")
        values = values_of.received(
            receipt, received_ns=live.received_ns, written_ns=live.written_ns, told_ns=told_ns
        )
        with self._queue_lock:
            self._require_usable()
            if record_id in self._receipts or record_id not in self._live:
                raise JournalError(f"journal {self.path}: record {record_id}: a second receipt")
            self._receipts[record_id] = _Job([(record_id, RECEIPT, values)])
            full = len(self._receipts) >= RECEIPTS_WAITING
        if full:
            self.flush()

    def write_event(self, kind: str, values: Mapping[str, Any], *, record_id: int | None = None) -> None:
        """Append an event of the station to the chain; on the disk when this returns.

        ``kind``: one of ``STATION_EVENTS`` (start, stop, halt, resume, changeover, configuration, review,
        picture). ``values``: what JSON can hold, by name. ``record_id``: the record that the event speaks
        of, open or closed; left out where it speaks of the station. Raises :class:`JournalError`.
        """
        if kind not in STATION_EVENTS:
            raise JournalError(
                f"journal {self.path}: {kind!r} is no event of a station: one of {', '.join(STATION_EVENTS)}"
            )
        if record_id is not None and not 0 < record_id <= self._last_record:
            raise JournalError(f"journal {self.path}: record {record_id} was never opened")
        self._submit(_Job([(record_id or 0, kind, dict(values))]))

    def flush(self) -> None:
        """Put every receipt given so far on the disk. Raises :class:`JournalError`."""
        self._submit(_Job([]))

    def counts(self) -> Counts:
        """How many records, and how they ended; only what is on the disk counts."""
        return self._counts

    @property
    def head(self) -> Head:
        """The last event on the disk; noted elsewhere, it lets an audit see any later change before it."""
        return self._head

    def close(self) -> None:
        """Write what waits and give the file back. Never raises, may be called twice."""
        with self._queue_lock:
            if self._closed:
                return
            self._closed = True
        self._closing.set()
        self._keeper.join()
        with self._write_lock:
            self._commit_waiting()
            if self._receipts:
                log.error("journal %s: %d receipts could not be written", self.path, len(self._receipts))
            self._remember_head()
            try:
                self._connection.close()
            except sqlite3.Error as error:
                log.error("%s", explain(error, self.path))
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------ opening

    def _open(self) -> sqlite3.Connection:
        """Open or create the file, see that its end is the one written last, and read what is unfinished."""
        path, fresh_id = self.path, uuid.uuid4().hex
        side = read_head_file(path)
        connection = connect(path)
        try:
            create_or_migrate(connection, path, self._station, fresh_id)
            self._inode = os.stat(path).st_ino
            self._head = self._remembered = read_head(connection)
            if self._head.journal_id != fresh_id:
                require_whole_tail(connection, path, self._head, side)
            elif side is not None:
                log.warning("journal %s: begun anew; one with %d events stood here before", path, side.seq)
            write_head_file(path, self._head)
            sync_folder(path.parent)
            found = connection.execute("SELECT outcome, count(*) FROM parts GROUP BY outcome")
            self._outcomes: Counter[str | None] = Counter(dict(found.fetchall()))
            self._counts = _counted(self._outcomes)
            last = connection.execute("SELECT coalesce(max(record_id), 0) FROM parts").fetchone()
            self._last_record = int(last[0])
            query = f"SELECT {', '.join(COLUMNS)} FROM parts WHERE acknowledged IS NULL"
            for columns in connection.execute(query):
                row = dict(zip(COLUMNS, columns, strict=True))
                self._live[row["record_id"]] = _Live(row)
            self._in_doubt = frozenset(self._live)
        except BaseException:
            connection.close()
            raise
        return connection

    # ------------------------------------------------------------------ writing

    def _live_record(self, record_id: int) -> _Live:
        live = self._live.get(record_id)
        if live is None:
            why = "is closed already" if 0 < record_id <= self._last_record else "was never opened"
            raise JournalError(f"journal {self.path}: record {record_id} {why}")
        return live

    def _require_usable(self) -> None:
        if self._closed:
            raise JournalError(f"journal {self.path}: is closed: open it again")
        if self._failure is not None:
            raise self._failure

    def _submit(self, job: _Job) -> None:
        """Have the job written, by this thread or by one that takes it along; raises its error."""
        with self._queue_lock:
            self._require_usable()
            self._waiting.append(job)
        with self._write_lock:
            if not job.done:
                self._commit_waiting()
        if job.error is not None:
            raise job.error

    def _commit_waiting(self) -> None:
        """Write everything that waits in one transaction; the caller holds the writer's lock."""
        with self._queue_lock:
            callers, self._waiting = self._waiting, []
            receipts = dict(self._receipts)
        links: list[Event] = []
        changed: dict[int, _Live] = {}
        taken: list[_Job] = []
        failure: JournalError | None = JournalError(f"journal {self.path}: the write was interrupted")
        try:
            if self._failure is not None:
                raise self._failure
            for job in (*callers, *receipts.values()):
                if self._chain(job, links, changed):
                    taken.append(job)
            if links:
                self._write(links, changed)
            failure = None
        except Exception as error:
            failure = self._failed(error)
        finally:
            for job in taken:
                job.error = failure
            for job in callers:
                job.error = job.error if job in taken or job.error else failure
                job.done = True
            with self._queue_lock:
                for record_id, job in receipts.items():
                    if job.error is not None and job not in taken:
                        log.error("a receipt is refused: %s", job.error)
                        del self._receipts[record_id]
                    elif failure is None:
                        del self._receipts[record_id]
                    job.error = None  # it waits for the next commit

    def _chain(self, job: _Job, links: list[Event], changed: dict[int, _Live]) -> bool:
        """Append the job's events to ``links``; False, its error set and nothing appended, when unlawful."""
        fresh: list[Event] = []
        lives: dict[int, _Live] = {}
        end = links[-1] if links else self._head
        seq, digest = end.seq, end.digest
        last_record = max(self._last_record, *changed) if changed else self._last_record
        try:
            for record_id, kind, values in job.entries:
                if kind == OPENED:
                    record_id = last_record = last_record + 1
                seq += 1
                event = chained(digest, seq, record_id, kind, utc_ago(0), values)
                digest = event.digest
                if kind in STATION_EVENTS:
                    fresh.append(event)
                    continue
                live = lives.get(record_id) or changed.get(record_id) or self._live.get(record_id)
                row = apply(live.row if live else None, event)
                if any(isinstance(value, int) and abs(value) > _LARGEST for value in row.values()):
                    raise ChainError("a number is larger than the journal can hold")
                if kind == VERDICT:
                    problems = problems_of_verdict(row, has_scores=usable_scores(values["scores"]))
                    if problems:
                        raise ChainError("; ".join(problems))
                lives[record_id] = _Live(row, live.received_ns if live else job.received_ns)
                fresh.append(event)
        except (ValueError, TypeError) as error:
            job.error = JournalError(f"journal {self.path}: record {record_id}: {error}")
            return False
        links += fresh
        changed |= lives
        job.rows = [lives[event.record_id].row for event in fresh if event.record_id in lives]
        return True

    def _write(self, links: list[Event], changed: dict[int, _Live]) -> None:
        """One transaction, then - only then - what this object knows."""
        if not self.path.exists() or os.stat(self.path).st_ino != self._inode:
            raise JournalError(
                f"journal {self.path}: the file was taken away or replaced: start the station again"
            )
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            rows = [(e.seq, e.record_id, e.kind, e.at, e.payload, e.digest) for e in links]
            connection.executemany(PUT_EVENT, rows)
            connection.executemany(PUT_PART, [live.row for live in changed.values()])
            last = links[-1]
            connection.execute("UPDATE head SET seq = ?, digest = ?", (last.seq, last.digest))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        written_ns = time.monotonic_ns()
        self._head = Head(self._head.journal_id, last.seq, last.digest)
        for record_id, live in changed.items():
            before = self._live.get(record_id)
            if before is not None:
                self._outcomes[before.row["outcome"]] -= 1
            self._outcomes[live.row["outcome"]] += 1
            if live.row["acknowledged"] is not None:
                self._live.pop(record_id, None)
            else:
                self._live[record_id] = _Live(live.row, live.received_ns, written_ns)
        self._last_record = max(self._last_record, *changed) if changed else self._last_record
        self._counts = _counted(self._outcomes)

    def _failed(self, error: Exception) -> JournalError:
        """The error in words; unless it may pass by itself, it stays until the file is opened again."""
        failure = error if isinstance(error, JournalError) else None
        if failure is None and isinstance(error, sqlite3.Error | OSError):
            failure = explain(error, self.path)
        if failure is None:
            log.exception("journal %s: a write failed unexpectedly", self.path)
            failure = JournalError(f"journal {self.path}: {error!r}: report this; start the station again")
        if not getattr(error, "sqlite_errorname", "").startswith(_PASSING):
            self._failure = failure
        return failure

    # ------------------------------------------------------------------ the keeper, beside the decision path

    def _keep(self) -> None:
        """Write receipts that found no commit to ride with, copy the WAL into the database, note the head."""
        copied_seq, noted, said = self._head.seq, time.monotonic(), ""
        connection: sqlite3.Connection | None = None
        while not self._closing.wait(RECEIPT_DELAY_S):
            try:
                if self._receipts and self._failure is None:
                    self.flush()
                if self._head.seq - copied_seq >= CHECKPOINT_EVENTS:
                    copied_seq = self._head.seq
                    connection = connection or connect(self.path)
                    self._checkpoint(connection)
                if time.monotonic() - noted >= HEAD_PERIOD_S:
                    noted = time.monotonic()
                    self._remember_head()
                said = ""
            except (JournalError, sqlite3.Error, OSError) as error:
                if str(error) != said and not self._closed:  # once, not at every round
                    log.error("%s", error if isinstance(error, JournalError) else explain(error, self.path))
                said = str(error)
        if connection is not None:
            connection.close()

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        wal = self.path.with_name(self.path.name + "-wal")
        if wal.exists() and wal.stat().st_size > WAL_LIMIT_BYTES:
            with self._write_lock:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _remember_head(self) -> None:
        """Note the head beside the journal; a note that cannot be written is no reason to stop."""
        head = self._head
        if head == self._remembered:
            return
        try:
            write_head_file(self.path, head)
            self._remembered = head
        except OSError as error:
            log.warning("journal %s: its head cannot be noted beside it: %s", self.path, error)


def _counted(outcomes: Counter[str | None]) -> Counts:
    accepted, rejected, faulted = (outcomes[name] for name in ("accept", "reject", "fault"))
    return Counts(sum(outcomes.values()), accepted, rejected, faulted, outcomes[None])
