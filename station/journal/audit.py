"""What can be proven about a journal: that every trigger has one end, and that nobody changed it since.

The audit reads beside a running station, each segment in one snapshot and several segments side by side.
It recomputes the hash chain over all events, makes every record again from its events and compares it with
the table ``parts``, counts, and checks the laws: an accept has its evidence, and nothing but an accept went
to the bin of good parts. Where a segment ends, the next one must begin: with its head, its sums, and the
records that were in hand (``station.journal.audit_segment`` is what is done within one file).

A sealed segment that was proven once is remembered, by the digest of its file, in ``.audit`` beside the
journal; the next audit reads such a file only to see that it is the same.

What a chain cannot show: somebody who may write the whole folder can make a new chain from any event on.
A head noted elsewhere - printed by an earlier audit, or in the file ``.head`` if that is out of reach -
shows that, too (``expect_head``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from station.files import write_json
from station.journal.audit_segment import Finding, Found, SegmentProof, prove
from station.journal.errors import JournalError, journal_name
from station.journal.events import ACCEPT, FAULT, REJECT, genesis
from station.journal.lock import writer_of
from station.journal.schema import (
    SCHEMA_VERSION,
    Head,
    connect_readonly,
    head_file,
    read_head_file,
    read_meta,
)
from station.journal.segments import Segment, is_index, read_index, segment_file, segment_files
from station.machine import cores

__all__ = ["AuditReport", "Finding", "audit"]

WORTH_PROCESSES = 100_000_000
"""Bytes from which on it pays to start processes."""


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found."""

    path: Path
    journal_id: str
    segments: int
    """Files that were looked at."""
    remembered: int
    """Of them, sealed ones that an earlier audit has proven and that are the same still."""
    events: int
    """Events in these files."""
    head: str
    """The digest of the last event; note it elsewhere."""
    triggers: int
    """In the whole journal, those of removed segments included; so are the five below."""
    accepted: int
    rejected: int
    faulted: int
    open: int
    """Without a verdict: in hand of a running station, or in doubt."""
    recovered: int
    """In these files, as is the one below."""
    unacknowledged: int
    """Verdicts whose receipt says that the cell did not acknowledge the bin sent."""
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    """Worth knowing, and no fault of the journal."""
    findings_total: int

    @property
    def passed(self) -> bool:
        """Nothing is wrong."""
        return not self.findings_total

    @property
    def conserved(self) -> bool:
        """Every trigger has one end, or is still open."""
        return self.triggers == self.accepted + self.rejected + self.faulted + self.open


def audit(
    path: Path,
    *,
    expect_head: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    again: bool = False,
    processes: int | None = None,
) -> AuditReport:
    """Check a journal, or one segment named by its file; ``progress(done, of)`` counts events.

    ``expect_head``: a digest noted earlier, which must still be in the chain. ``again``: prove also what an
    earlier audit has proven. ``processes``: how many segments side by side; None takes one per processor.
    Raises :class:`JournalError` only when the journal cannot be read as one at all.
    """
    found = Found()
    writer = writer_of(path)
    lowest = 2 if journal_name(path) != path.name else SCHEMA_VERSION
    files = segment_files(path)
    _require_any(path, files)
    indexed = path.exists() or not files
    with closing(connect_readonly(path if indexed else files[max(files)], lowest=lowest)) as one:
        alone, journal_id = indexed and not is_index(one), read_meta(one, "journal_id")
    side = None if alone else _side_head(path, found)  # before the snapshots: it can only be older
    known = [] if alone or not indexed else read_index(path)[1]
    files = {1: path} if alone else files
    if not files:
        raise JournalError(
            f"journal {path}: all its segments are missing: put {segment_file(path, 1).name} and those "
            "after it back from the archive or a backup"
        )
    if not indexed:
        found.add("file", f"{path.name}, the index, is missing: the next start of the station makes it again")
    proofs: dict[int, SegmentProof] = {}
    unreadable: list[JournalError] = []
    for number, proof in _proofs(path, files, known, again, processes, progress):
        if isinstance(proof, JournalError):
            found.add("file", str(proof))
            unreadable.append(proof)
        else:
            proofs[number] = proof
    if not proofs:
        raise unreadable[0]
    if not alone:
        _require_row(path, files, known, proofs, found)
    _join(proofs, journal_id, alone, found)
    _digests(proofs, files, expect_head, side, journal_id, path, found)
    last = proofs[max(proofs)]
    ends = sum(last.totals.values()) + last.open
    if last.records != ends:
        found.add("conservation", f"{last.records} triggers, but {ends} ends")
    for proof in proofs.values():
        found.extend(proof.findings, proof.findings_total)
    if not alone:
        _remember(path, journal_id, proofs)
    return _report(path, journal_id, proofs, found, writer)


def _report(
    path: Path, journal_id: str, proofs: dict[int, SegmentProof], found: Found, writer: str
) -> AuditReport:
    last = proofs[max(proofs)]
    recovered = sum(one.recovered for one in proofs.values())
    unacknowledged = sum(one.unacknowledged for one in proofs.values())
    withdrawn = sum(one.withdrawn for one in proofs.values())
    notes: list[str] = []
    if last.open and writer:
        notes.append(f"{last.open} parts are in hand of the running station (process {writer})")
    elif last.open:
        notes.append(f"{last.open} records are in doubt: the next start of the station faults and lists them")
    if recovered:
        notes.append(f"{recovered} records were closed after the station had ended too early")
    if unacknowledged:
        notes.append(f"{unacknowledged} verdicts were not acknowledged by the cell")
    if withdrawn:
        notes.append(
            f"{withdrawn} verdicts were withdrawn and sent as faults: written too late, or by an engine that "
            "failed a golden part"
        )
    if path.exists() and segment_files(path) and not head_file(path).exists():
        notes.append(f"{head_file(path).name} is missing: only a head noted elsewhere shows a cut end")
    notes += [loss for one in proofs.values() for loss in one.losses]
    if min(proofs) > 1:
        notes.append(f"the segments before {proofs[min(proofs)].file} were removed by the policy")
    return AuditReport(
        path=path,
        journal_id=journal_id,
        segments=len(proofs),
        remembered=sum(one.remembered for one in proofs.values()),
        events=sum(one.events for one in proofs.values()),
        head=last.head,
        triggers=last.records,
        accepted=last.totals[ACCEPT],
        rejected=last.totals[REJECT],
        faulted=last.totals[FAULT],
        open=last.open,
        recovered=recovered,
        unacknowledged=unacknowledged,
        findings=found.all(),
        notes=tuple(notes),
        findings_total=found.kinds.total(),
    )


def _require_any(path: Path, files: dict[int, Path]) -> None:
    """Say how much is missing where nothing but the note of the last event is left."""
    side = None if path.exists() or files else read_head_file(path)
    if side is not None and side.seq:
        raise JournalError(
            f"journal {path}: all its files are missing, and {head_file(path).name} says that {side.seq} "
            "events were written: put them back from the archive or a backup"
        )


def _require_row(
    path: Path,
    files: dict[int, Path],
    known: list[Segment],
    proofs: dict[int, SegmentProof],
    found: Found,
) -> None:
    """No file missing between the first and the last one that there are, or that the index knows.

    But those that a person has acknowledged as lost, or that the policy removed.
    """
    wanted = {*range(min(files), max(files) + 1)} | {one.number for one in known}
    excused = {number for one in proofs.values() for number in one.lost}
    excused |= {one.number for one in known if one.removed_at}
    for number in sorted(wanted - excused - files.keys()):
        name = segment_file(path, number).name
        found.add("file", f"{name} is missing: put it back from the archive or a backup")


def _proofs(
    path: Path,
    files: dict[int, Path],
    known: list[Segment],
    again: bool,
    processes: int | None,
    progress: Callable[[int, int], None] | None,
) -> Iterator[tuple[int, SegmentProof | JournalError]]:
    """What is proven of each file, or why it cannot be read, in order; side by side where that pays."""
    memory = {} if again else _memory(path)
    events = {one.number: one.last_seq - one.first_seq + 1 for one in known}
    of, done = sum(events.values()), 0
    jobs = {number: (file, memory.get(file.name)) for number, file in files.items()}
    processes = min(processes or cores(), len(jobs))
    if processes < 2 or sum(file.stat().st_size for file in files.values()) < WORTH_PROCESSES:
        for number, (file, earlier) in jobs.items():
            try:
                yield number, prove(file, earlier, progress if len(jobs) == 1 else None)
            except JournalError as error:
                yield number, error
            done += events.get(number, 0)
            if progress is not None and len(jobs) > 1:
                progress(done, max(of, done))
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        running = {number: pool.submit(prove, *job) for number, job in jobs.items()}
        for number, future in running.items():
            try:
                yield number, future.result()
            except JournalError as error:
                yield number, error
            done += events.get(number, 0)
            if progress is not None:
                progress(done, max(of, done))


def _join(proofs: dict[int, SegmentProof], journal_id: str, alone: bool, found: Found) -> None:
    """Each segment goes on where the one before ended; the first begins the chain or follows a removal."""
    before: SegmentProof | None = None
    for number, proof in proofs.items():
        where = proof.file
        if proof.journal_id != journal_id:
            found.add("chain", f"{where} belongs to another journal")
        if proof.number != number and not alone:
            found.add("chain", f"{where} says that it is segment {proof.number}")
        if before is None or before.number + 1 != proof.number:
            before = proof
            continue
        if (proof.before, proof.first_seq) != (before.head, before.seq + 1):
            found.add("chain", f"{where} does not begin with the head of {before.file}")
        if not before.sealed:
            found.add("chain", f"{before.file} is not sealed, and {where} follows it")
        if proof.carried != before.in_hand:
            found.add("record", f"{where} does not go on with the records that {before.file} left in hand")
        ended = {outcome: before.totals[outcome] for outcome in (ACCEPT, REJECT, FAULT)}
        for _, outcome in before.in_hand_outcomes:
            if outcome is not None:
                ended[outcome] -= 1
        if proof.base != ended or proof.records_before != before.records:
            found.add("conservation", f"{where} does not go on with the sums of {before.file}")
        before = proof
    first = proofs[min(proofs)]
    if alone or first.number == 1:
        if first.number == 1 and first.before != genesis(journal_id).hex():
            found.add("chain", f"{first.file} does not begin this journal's chain")
        return
    lost = {number for one in proofs.values() for number in one.lost}
    gone = [number for number in range(1, first.number) if number not in lost]
    if gone and max(one.removed_through for one in proofs.values()) < max(gone):
        found.add("file", f"the segments before {first.file} are missing, and no policy has removed them")


def _digests(
    proofs: dict[int, SegmentProof],
    files: dict[int, Path],
    expect_head: str | None,
    side: Head | None,
    journal_id: str,
    path: Path,
    found: Found,
) -> None:
    """The heads that are known from elsewhere are in the chain."""
    if side is not None and side.journal_id != journal_id:
        found.add("chain", f"{head_file(path).name} belongs to another journal: the file was replaced")
    elif side is not None and side.seq:
        what = f"event {side.seq}, known to be written ({head_file(path).name}),"
        _require_digest(proofs, files, side.digest, what, found)
    if expect_head is not None:
        _require_digest(proofs, files, expect_head.strip().lower(), "the head that was expected", found)


def _require_digest(
    proofs: dict[int, SegmentProof], files: dict[int, Path], digest: str, what: str, found: Found
) -> None:
    for number in reversed(proofs):
        if digest in (proofs[number].head, proofs[number].before):
            return
        with closing(connect_readonly(files[number], lowest=2)) as connection:
            legacy = connection.execute("PRAGMA user_version").fetchone()[0] < SCHEMA_VERSION
            try:
                stored = digest if legacy else bytes.fromhex(digest)
            except ValueError:
                break
            if connection.execute("SELECT 1 FROM events WHERE digest = ?", (stored,)).fetchone():
                return
    found.add("chain", f"{what} is not in the chain: it was cut, or changed and chained anew")


# ---------------------------------------------------------------------- what earlier audits have proven


def memory_file(journal: Path) -> Path:
    """Where the audit remembers the sealed segments that it has proven."""
    return journal.with_name(journal.name + ".audit")


def _memory(path: Path) -> dict[str, SegmentProof]:
    """File name -> what was proven of it; nothing where there is no memory, or none that can be read."""
    try:
        content = json.loads(memory_file(path).read_text())
        return {name: SegmentProof.from_json(values) for name, values in content["segments"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _remember(path: Path, journal_id: str, proofs: dict[int, SegmentProof]) -> None:
    """Note what is proven; a folder where this user may not write is no reason to fail."""
    proven = {
        one.file: one.to_json()
        for one in proofs.values()
        if one.sealed and one.file_digest and not one.findings_total
    }
    if not proven or all(one.remembered for one in proofs.values() if one.file in proven):
        return
    try:
        write_json(memory_file(path), {"journal_id": journal_id, "segments": proven})
    except OSError:
        return


def _side_head(path: Path, found: Found) -> Head | None:
    try:
        return read_head_file(path)
    except JournalError as error:
        found.add("file", str(error))
        return None
