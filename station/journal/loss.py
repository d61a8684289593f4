"""What a journal's files no longer hold of what was surely written, compared at every start.

Known from the file ``.head`` (the last event that was written), from the index (which segments there are),
and from how a segment was made. A start that finds a loss goes no further: a person puts the files back, or
acknowledges the loss with ``station journal accept-loss``, which is an event of the chain.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from station.journal.errors import JournalError
from station.journal.events import ChainError
from station.journal.schema import (
    SCHEMA_VERSION,
    Head,
    connect_readonly,
    problem_of_tail,
    read_head,
    read_head_file,
    read_meta,
)
from station.journal.segments import (
    Segment,
    describe,
    first_values,
    read_index,
    require_as_sealed,
    segment_file,
    segment_files,
)
from station.journal.shape import changes_of_shape


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A person's word that a loss is known and that the station shall go on."""

    by: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What is missing, and what is there."""

    problems: tuple[str, ...]
    """In words."""
    events: int
    """Events known to be written that no file holds any more."""
    after_seq: int
    """The last event that is there."""
    known: Head | None
    """The last event known to be written; None where no file says so."""
    segments: tuple[int, ...]
    """Numbers of files that are missing."""

    def refusal(self, journal: Path) -> JournalError:
        """Why the station does not start, and what to do."""
        return JournalError(
            f"journal {journal}: {'; '.join(self.problems)}: put it back from the archive or a backup, and "
            "see `station journal audit`; if it is lost for ever, `station journal accept-loss` writes that "
            "into the chain, and the station starts again"
        )

    def values(self, accepted: Acceptance) -> dict[str, Any]:
        """The payload of the event ``loss``."""
        known = self.known or Head("", 0, "")
        return {
            "by": accepted.by,
            "why": accepted.why,
            "found": list(self.problems),
            "events": self.events,
            "after_seq": self.after_seq,
            "known_seq": known.seq,
            "known_digest": known.digest,
            "known_journal_id": known.journal_id,
            "segments": list(self.segments),
        }


def find_loss(journal: Path) -> Loss | None:
    """Compare the files with what is known of them; None when nothing is missing.

    Raises :class:`JournalError` for files that cannot be gone on with, whoever acknowledges what.
    """
    side, files = read_head_file(journal), segment_files(journal)
    journal_id, known = _index(journal)
    if known:
        require_as_sealed(journal, known)
    missing = _missing(journal, known, files)
    problems = [f"its segment {segment_file(journal, one).name} is missing" for one in missing]
    events = _events_between(files, known, missing)
    seq = 0
    if files:
        last = files[max(files)]
        with closing(connect_readonly(last, lowest=2, sealed=False)) as connection:
            seq = read_head(connection)[0]
            _require_ours(connection, journal, last, journal_id, side)
            problem, behind = _behind(connection, side)
            if connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION:
                changes = changes_of_shape(connection)
                problems += [f"another program changed {last.name}: {one}" for one in changes]
        if problem and not missing:
            problems.append(f"{last.name} {problem}")
        events += behind
    elif side is not None and side.seq:
        missing = missing or [1]
        problems.append(f"all its segments are missing, and {side.seq} events were written")
        events = side.seq
    if not problems:
        return None
    return Loss(problems=tuple(problems), events=events, after_seq=seq, known=side, segments=tuple(missing))


def station_of(journal: Path) -> str:
    """Who wrote the latest file that is left; empty where none is. Raises :class:`JournalError`."""
    files = segment_files(journal)
    if not files:
        return ""
    with closing(connect_readonly(files[max(files)], lowest=2)) as connection:
        return read_meta(connection, "station")


def _index(journal: Path) -> tuple[str, list[Segment]]:
    """The journal's identity and its segments as the index knows them; nothing where it is missing."""
    return read_index(journal) if journal.is_file() and journal.stat().st_size else ("", [])


def _missing(journal: Path, known: list[Segment], files: dict[int, Path]) -> list[int]:
    """Numbers of segments that must be there and are not."""
    wanted = {one.number for one in known if not one.removed_at}
    if files:
        wanted |= set(range(min(files), max(files) + 1)) - {one.number for one in known if one.removed_at}
    indexed = journal.is_file() and journal.stat().st_size > 0
    following = known[-1].number + 1 if known else 1
    legacy_only = bool(known) and known[-1].schema < SCHEMA_VERSION
    if indexed and not legacy_only and (known or not files):
        wanted.add(following)  # the index lists a segment when the next one has begun
    return sorted(wanted - files.keys())


def _events_between(files: dict[int, Path], known: list[Segment], missing: list[int]) -> int:
    """Events of missing segments that stood before one that is there."""
    if not files or not missing:
        return 0
    before_first = [one for one in known if one.number in missing and one.number < min(files)]
    lost = sum(one.last_seq - one.first_seq + 1 for one in before_first)
    numbers = sorted(files)
    for one, following in pairwise(numbers):
        if following > one + 1 and any(one < number < following for number in missing):
            ends = describe(files[one], one, counted=False).last_seq
            lost += describe(files[following], following, counted=False).first_seq - ends - 1
    return lost


def _require_ours(
    connection: sqlite3.Connection, journal: Path, last: Path, journal_id: str, side: Head | None
) -> None:
    """Refuse a last segment that is another journal's, or that does not end as it says itself."""
    if read_meta(connection, "journal_id") != journal_id and journal_id:
        other = " (it is not the journal that was written here last)" if side else ""
        raise JournalError(
            f"journal {journal}: its segment {last.name} belongs to another journal{other}: move it away, "
            "and put the right one back from the archive or a backup"
        )
    problem = ""
    if connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION:
        problem = problem_of_tail(connection)
        try:
            first_values(connection)
        except ChainError as error:
            problem = problem or f"its first event {error}"
    if problem:
        raise JournalError(
            f"journal {last}: {problem}: run `station journal audit`; then put it back from a backup, or "
            f"move {journal.name}* away to begin a new journal"
        )


def _behind(connection: sqlite3.Connection, side: Head | None) -> tuple[str, int]:
    """Why the last segment is not the one that was written last, and how many events it lacks."""
    if side is None or not side.seq:
        return "", 0
    seq, _ = read_head(connection)
    if side.journal_id != read_meta(connection, "journal_id"):
        return f"is not the journal that was written here last, which had {side.seq} events", side.seq
    first = connection.execute("SELECT min(seq) FROM events").fetchone()[0] or 1
    if side.seq < first:
        return "", 0
    stored = connection.execute("SELECT digest FROM events WHERE seq = ?", (side.seq,)).fetchone()
    digest = "" if stored is None else stored[0].hex() if isinstance(stored[0], bytes) else str(stored[0])
    if digest == side.digest:
        return "", 0
    lost = max(0, side.seq - seq)
    what = f"; {lost} events are gone" if lost else ""
    return (
        f"does not hold event {side.seq} as written: it was cut, changed or put back from a copy{what}",
        lost,
    )
