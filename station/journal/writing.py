"""The durable record of every part: one per trigger, written before it is sent, never lost, never edited.

A part's record is opened with its trigger (:meth:`Journal.open_part`), gets exactly one verdict
(:meth:`Journal.write_verdict`, or the fault of :meth:`Journal.withdraw_verdict`) and exactly one receipt
(:meth:`Journal.write_receipt`). The first two are on the disk when they return - this is what lets the
station send a verdict - and the receipt follows within :data:`RECEIPT_DELAY_S`, so that it costs the
decision path nothing. What a station left unfinished when it was killed is closed by
:meth:`Journal.recover` at the next start.

Threads share disk writes instead of queueing for them: whoever holds the writer's lock takes everything
along that waits at that moment, in one transaction with one fsync.

Events and their chain: ``station.journal.events``. Files: ``station.journal.schema`` and ``segments``.
Reading: ``station.journal.reading``. Checking: ``station.journal.audit``.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from drivers import heartbeat
from station.journal import values as values_of
from station.journal.errors import JournalError, explain
from station.journal.events import (
    OPENED,
    RECEIPT,
    RECOVERED,
    REMOVED,
    SEALED,
    STATION_EVENTS,
    VERDICT,
    WITHDRAWN,
)
from station.journal.guard import FilesGuard
from station.journal.jobs import Counts, Entry, FinishedPart, Job, chain_job, counted_by_outcome, text_of
from station.journal.ledger import Ledger, Live, Text
from station.journal.lock import take_lock
from station.journal.loss import Acceptance
from station.journal.opening import OpenSegment, begin_next, open_journal, put
from station.journal.packing import pack_scores, record_of
from station.journal.policy import JournalSettings, Keeper
from station.journal.record import PartRecord
from station.journal.schema import Head, HeadFile
from station.journal.segments import sealed_files
from station.journal.values import CameraUsed, PartDetails, PartMarks, Values

if TYPE_CHECKING:
    from drivers.sorters.interface import Receipt, Trigger
    from station.decision import Verdict
    from station.recipe import Recipe

log = logging.getLogger(__name__)

RECEIPT_DELAY_S = 0.05
"""The longest time that a receipt waits for another commit that takes it along."""
RECEIPTS_WAITING = 256
"""Capacity of the queue ``receipts``; the caller that fills it writes them all (none is dropped)."""

_START_AGAIN = (
    "run `station journal audit`, then start the station again, which says whether anything is lost"
)
_TEMPORARY_ERRORS = ("SQLITE_FULL", "SQLITE_BUSY")
"""Errors after which a later write may succeed; after any other one the file must be opened again."""


class Journal:
    """The one writer of a journal. Thread-safe: any method from any thread."""

    def __init__(
        self,
        path: Path,
        *,
        station: str,
        configuration: str | None = None,
        settings: JournalSettings | None = None,
        accepted: Acceptance | None = None,
    ) -> None:
        """Open, create or migrate ``path``. Raises :class:`JournalError`, which says what to do about it.

        ``configuration``: the text of the station's configuration; its digest stands in every record.
        ``accepted``: a person's word that what the files no longer hold is lost; without it, a loss is an
        error.
        """
        self.path = path
        self._station = station
        self._configuration = None if configuration is None else text_of("configuration", configuration)
        self._settings = settings or JournalSettings()
        self._queue_lock = threading.Lock()
        self._waiting: list[Job] = []
        self._receipts: dict[int, Job] = {}
        self._write_lock = threading.Lock()
        self._in_doubt: frozenset[int] = frozenset()
        self._failure: JournalError | None = None
        self._head_error = ""
        self._closed = False
        self._closing = threading.Event()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise JournalError(f"journal {path}: is a folder: name a file")
            self._lock = take_lock(path)
        except OSError as error:
            raise explain(error, path) from error
        try:
            self._segment = open_journal(path, station, accepted)
            self.loss = self._segment.loss
            """What was acknowledged as lost by opening it."""
            self._know()
            self._guard = FilesGuard(path, sealed_files(path))
            self._guard.watch(self._segment.connection, self._segment.path)
            self._head_file = HeadFile(path, self.head)
        except BaseException as error:
            os.close(self._lock)
            if isinstance(error, sqlite3.Error | OSError):
                raise explain(error, path) from error
            raise
        self._in_doubt = frozenset(self._ledger.live)
        self._keeper = Keeper(self)
        self._thread = threading.Thread(target=self._keep, name="journal-keeper", daemon=True)
        self._thread.start()

    def recover(self) -> list[PartRecord]:
        """Close what the last run left unfinished, and list it; to be called before the first part.

        A record without a verdict was never sent: it becomes a fault. A verdict without a
        receipt may or may not have reached the cell: its receipt says so. Raises :class:`JournalError`.
        """
        doubtful = sorted(self._in_doubt)
        rows = {one: self._live_record(one).row for one in doubtful}
        job = Job([Entry(RECOVERED, one, values_of.recovered(row)) for one, row in rows.items()])
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
            config_digest=self._configuration.digest if self._configuration else None,
            camera=camera,
            marks=marks,
        )
        entry = Entry(OPENED, 0, values, texts=self._texts(recipe))
        job = Job([entry], received_ns=trigger.received_ns)
        self._submit(job)
        return int(job.rows[0]["record_id"])

    def write_verdict(self, record_id: int, verdict: Verdict, details: PartDetails) -> None:
        """Write how the part ends; on the disk when this returns, and only then may it be sent.

        The frames of a part that is lit by several lamps are an event of their own in the same transaction.

        Raises :class:`JournalError`, with nothing written, for a second verdict, for an accept without
        its evidence (a complete frame, scores, an engine's digest), for anything but an accept into the
        bin of good parts, and when the disk does not take it.
        """
        live = self._live_record(record_id)
        values = values_of.decided(verdict, details, live.received_ns)
        scores = None if details.scores is None else pack_scores(np.asarray(details.scores))
        entries = [Entry(VERDICT, record_id, values, scores)]
        if details.exposures:
            entries.insert(0, Entry("frames", record_id, values_of.exposed(details.exposures)))
        self._submit(Job(entries))

    def withdraw_verdict(self, record_id: int, fault: Verdict) -> None:
        """Make the record a fault, its verdict being wrong or too late by now; durable on return.

        The verdict's own event stays in the chain. Raises :class:`JournalError`, with nothing written, where
        there is no verdict to withdraw or ``fault`` is none, and when the disk does not take it.
        """
        self._live_record(record_id)
        self._submit(Job([Entry(WITHDRAWN, record_id, values_of.withdrawn(fault))]))

    def write_receipt(self, record_id: int, receipt: Receipt, *, told_ns: int | None = None) -> None:
        """Add the end of a ``send``; on the disk within :data:`RECEIPT_DELAY_S`, exactly one per verdict.

        ``told_ns``: ``time.monotonic_ns()`` when the verdict was handed to the sorter. Raises
        :class:`JournalError` for a second receipt or one without a verdict.
        """
        live = self._live_record(record_id)
        if live.row["outcome"] is None:
            raise JournalError(f"journal {self.path}: record {record_id}: a receipt came before the verdict")
        values = values_of.received(
            receipt, received_ns=live.received_ns, written_ns=live.written_ns, told_ns=told_ns
        )
        with self._queue_lock:
            self._require_usable()
            if record_id in self._receipts or self._ledger.find(record_id) is None:
                raise JournalError(f"journal {self.path}: record {record_id}: a second receipt came")
            self._receipts[record_id] = Job([Entry(RECEIPT, record_id, values)])
            full = len(self._receipts) >= RECEIPTS_WAITING
        if full:
            self.flush()

    def write_event(self, kind: str, values: Mapping[str, Any], *, record_id: int | None = None) -> None:
        """Append an event of the station to the chain; on the disk when this returns.

        ``kind``: one of ``STATION_EVENTS`` (start, stop, halt, resume, changeover, configuration, marks,
        review, picture, degraded, canary, opinion, novelty, store, shadow, drift, frames). ``values``: what
        JSON can hold, by name. ``record_id``: the record that the event speaks of, open or closed; left out
        where it speaks of the station. Raises :class:`JournalError`.
        """
        if kind not in STATION_EVENTS:
            raise JournalError(
                f"journal {self.path}: {kind!r} is not an event of a station: "
                f"use one of {', '.join(STATION_EVENTS)}"
            )
        if record_id is not None and not 0 < record_id <= self._ledger.last_record:
            raise JournalError(f"journal {self.path}: record {record_id} was never opened")
        self._submit(Job([Entry(kind, record_id or 0, dict(values))]))

    def write_finished(
        self, parts: Iterable[FinishedPart], *, recipe: Recipe, mode: str, is_simulated: bool
    ) -> None:
        """Write whole parts in one transaction, by the same events as the line; segments are changed over.

        For what is measured or brought in from elsewhere. Raises :class:`JournalError`, with nothing written.
        """
        entries: list[Entry] = []
        number = self._ledger.last_record
        for part in parts:
            number += 1
            opened = values_of.opened(
                part.trigger,
                recipe,
                station=self._station,
                mode=mode,
                is_simulated=is_simulated,
                config_digest=self._configuration.digest if self._configuration else None,
                camera=part.camera,
                marks=part.marks,
            )
            received_ns = part.trigger.received_ns
            decided = values_of.decided(part.verdict, part.details, received_ns)
            table = part.details.scores
            scores = None if table is None else pack_scores(np.asarray(table))
            answer = values_of.received(
                part.receipt, received_ns=received_ns, written_ns=part.written_ns, told_ns=part.told_ns
            )
            entries.append(Entry(OPENED, 0, opened, texts=self._texts(recipe)))
            entries.append(Entry(VERDICT, number, decided, scores))
            entries.append(Entry(RECEIPT, number, answer))
            if part.picture is not None:
                entries.append(Entry("picture", number, dict(part.picture)))
        self._submit(Job(entries))
        self.change_segment_when_full()

    def flush(self) -> None:
        """Put every receipt given so far on the disk. Raises :class:`JournalError`."""
        self._submit(Job([]))

    def counts(self) -> Counts:
        """How many records, and how they ended; only what is on the disk counts."""
        return self._counts

    @property
    def last_record(self) -> int:
        """The number of the newest record; 0 before the first."""
        return self._ledger.last_record

    @property
    def problem(self) -> str:
        """Why nothing more can be written until it is opened again; empty while all is well."""
        return "" if self._failure is None else str(self._failure)

    @property
    def configuration_digest(self) -> str | None:
        """SHA-256 of the configuration's text, hexadecimal; None where the journal was given none."""
        return self._configuration.digest if self._configuration else None

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
        self._thread.join()
        with self._write_lock:
            self._commit_waiting()
            if self._receipts:
                log.error("journal %s: %d receipts could not be written", self.path, len(self._receipts))
            self.remember_head()
            self._head_file.close()
            try:
                self._segment.connection.close()
            except sqlite3.Error as error:
                log.error("%s", explain(error, self._segment.path))
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------ writing

    @property
    def _ledger(self) -> Ledger:
        return self._segment.ledger

    def _know(self) -> None:
        """What other threads may read at any moment, each as one value that is on the disk."""
        ledger = self._ledger
        self._head = Head(self._segment.journal_id, ledger.seq, ledger.digest.hex())
        self._counts = counted_by_outcome(self._segment.outcomes)

    def _texts(self, recipe: Recipe) -> tuple[Text, ...]:
        """The documents that a record's digests stand for; the journal writes each once in a segment."""
        texts = [Text(recipe.digest, "recipe", recipe.text)] if recipe.text else []
        return (*texts, *((self._configuration,) if self._configuration else ()))

    def _live_record(self, record_id: int) -> Live:
        live = self._ledger.find(record_id)
        if live is None:
            known = 0 < record_id <= self._ledger.last_record
            why = "is closed already" if known else "was never opened"
            raise JournalError(f"journal {self.path}: record {record_id} {why}")
        return live

    def _require_usable(self) -> None:
        if self._closed:
            raise JournalError(f"journal {self.path}: is closed: open it again")
        if self._failure is not None:
            raise self._failure

    def _submit(self, job: Job) -> None:
        """Write the job, by this thread or by another one that takes it along; raises its error."""
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
        taken: list[Job] = []
        failure: JournalError | None = JournalError(f"journal {self.path}: the write was interrupted")
        try:
            if self._failure is not None:
                raise self._failure
            if self._segment.sealed:
                self._begin_segment().connection.close()
            ledger = self._ledger.fork()
            for job in (*callers, *receipts.values()):
                if problem := chain_job(job, ledger):
                    job.error = JournalError(f"journal {self.path}: {problem}")
                else:
                    taken.append(job)
            if ledger.links:
                self._write(ledger)
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

    def _write(self, ledger: Ledger) -> None:
        """One transaction, then - only then - what this object knows."""
        self._require_files()
        connection = self._segment.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._require_alone()
            put(connection, ledger)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        written_ns = time.monotonic_ns()
        self._guard.written()
        outcomes = self._segment.outcomes
        for record_id, row in ledger.rows.items():
            before = self._ledger.find(record_id)
            if before is not None:
                outcomes[before.row["outcome"]] -= 1
            outcomes[row["outcome"]] += 1
        for record_id, live in ledger.live.items():
            if live is not None:
                ledger.live[record_id] = Live(live.row, live.received_ns, written_ns)
        ledger.keep()
        self._ledger.settle()
        self._know()
        self._note_head(self._head_file.write)

    def _require_files(self, *, thorough: bool = False) -> None:
        """Refuse to write into files that were moved, deleted or cut; save what only this process holds."""
        problem = self._guard.problem() or (thorough and self._guard.hole())
        if problem:
            self._guard.rescue()
            raise JournalError(f"journal {self.path}: {problem}: {_START_AGAIN}")

    def _require_alone(self) -> None:
        """Refuse to go on where another program has written."""
        problem = self._guard.foreign_write()
        if problem:
            raise JournalError(f"journal {self.path}: {problem}: {_START_AGAIN}")

    def _failed(self, error: Exception) -> JournalError:
        """The error in words; unless it may pass by itself, it stays until the file is opened again."""
        failure = error if isinstance(error, JournalError) else None
        if failure is None and isinstance(error, sqlite3.Error | OSError):
            failure = explain(error, self._segment.path)
        if failure is None:
            log.exception("journal %s: a write failed unexpectedly", self.path)
            failure = JournalError(f"journal {self.path}: {error!r}: report this; start the station again")
        if not getattr(error, "sqlite_errorname", "").startswith(_TEMPORARY_ERRORS):
            self._failure = failure
        return failure

    # ------------------------------------------------------------------ segments

    @property
    def settings(self) -> JournalSettings:
        """How large a segment grows and what is kept."""
        return self._settings

    @property
    def segment_path(self) -> Path:
        """The file that is written now."""
        return self._segment.path

    @property
    def station(self) -> str:
        """The station's name."""
        return self._station

    def change_segment_when_full(self) -> None:
        """Close a segment that is large or full enough, and begin the next. Raises :class:`JournalError`."""
        segment = self._segment
        parts = self._ledger.last_record - segment.first_record + 1
        wal = segment.path.with_name(segment.path.name + "-wal")
        size = sum(file.stat().st_size for file in (segment.path, wal) if file.exists())
        if parts >= self._settings.segment_parts or size >= self._settings.segment_mb * 1_000_000:
            self._change(segment)

    def change_segment(self) -> None:
        """Seal the segment that is written and begin the next one. Raises :class:`JournalError`."""
        self._change(self._segment)

    def _change(self, segment: OpenSegment) -> None:
        """Seal this segment, unless another thread has done so, and begin the next one."""
        with self._write_lock:
            self._commit_waiting()
            if self._segment is not segment:
                return
            try:
                self._require_usable()
                ledger = self._ledger.fork()
                carried = sorted(one for one, live in self._ledger.live.items() if live is not None)
                ledger.append(SEALED, 0, {"number": self._segment.number, "carried": carried})
                self._write(ledger)
                self._segment.sealed = True
                closed = self._begin_segment()
            except Exception as error:
                raise self._failed(error) from error
        closed.connection.close()  # copies its WAL: nobody has to wait for that

    def write_removal(self, values: Values) -> None:
        """Append that the policy removes a sealed segment. Raises :class:`JournalError`."""
        self._submit(Job([Entry(REMOVED, 0, values)]))

    def _begin_segment(self) -> OpenSegment:
        """Go on in a new file, with what this process knows of the records in hand; the file before."""
        closed = self._segment
        following = begin_next(self.path, closed.number, closed.path, self._station)
        for record_id, live in following.ledger.live.items():
            before = closed.ledger.find(record_id)
            if live is not None and before is not None:
                following.ledger.live[record_id] = Live(live.row, before.received_ns, before.written_ns)
        self._segment = following
        self._guard.watch(following.connection, following.path)
        self._know()
        self._note_head(self._head_file.write)
        return closed

    # ------------------------------------------------------------------ the keeper, beside the decision path

    def _keep(self) -> None:
        """Write receipts that no other commit took along; keep the files in order."""
        heartbeat.begin("journal-keeper")
        said = ""
        while not self._closing.wait(RECEIPT_DELAY_S):
            heartbeat.beat()
            try:
                if self._receipts and self._failure is None:
                    self.flush()
                if self._failure is None:
                    self._keeper.look()
                said = ""
            except (JournalError, sqlite3.Error, OSError) as error:
                if str(error) != said and not self._closed:  # once, not at every round
                    log.error("%s", error if isinstance(error, JournalError) else explain(error, self.path))
                said = str(error)
        self._keeper.close()
        heartbeat.end()

    def checkpoint_alone(self, connection: sqlite3.Connection) -> None:
        """Copy the whole WAL while no one writes: the disk is slower than the line."""
        with self._write_lock:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._guard.copied()

    def look_at_files(self) -> None:
        """See that the files are those that this process writes. Raises :class:`JournalError`, for good."""
        with self._write_lock:
            self._require_usable()
            try:
                self._require_files(thorough=True)
                self._require_alone()
            except (JournalError, sqlite3.Error, OSError) as error:
                raise self._failed(error) from error

    def require_row(self) -> None:
        """See that no sealed segment is gone. Raises :class:`JournalError`, for good."""
        problem = self._guard.missing()
        if problem:
            error = JournalError(f"journal {self.path}: {problem}: put it back, then start the station again")
            raise self._failed(error)

    def forget(self, segment: Path) -> None:
        """A sealed segment is about to be removed by the policy."""
        self._guard.forget(segment)

    def remember_head(self) -> None:
        """Bring the head beside the journal to the disk."""
        self._note_head(self._head_file.sync)

    def _note_head(self, how: Callable[[Head], None]) -> None:
        """Note the head beside the journal; a note that cannot be written is no reason to stop."""
        try:
            how(self.head)
        except OSError as error:
            if str(error) != self._head_error:
                log.warning("journal %s: its head cannot be written beside it: %s", self.path, error)
            self._head_error = str(error)
