"""The audit: whatever is changed after it was written shows."""

from __future__ import annotations

import hashlib
import random
import runpy
import shutil
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from station.journal.audit import audit
from station.journal.errors import JournalError
from station.journal.events import Event, Row, apply, chained, genesis
from station.journal.packing import pack, unpack
from station.journal.record import PART_COLUMNS
from station.journal.schema import GET_EVENTS, PUT_PART, head_file

plant = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("journal_plant.py"))))
EVENT_COLUMNS = ("seq", "record_id", "kind", "at", "payload", "scores", "digest")
EVENTS = 37
"""Three events per part but the open one, and the segment, the setup and the engine."""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve parts, one of them still open, as a killed station leaves them."""
    path = tmp_path_factory.mktemp("journal") / "journal.sqlite"
    with plant.make(path) as journal:
        for number in range(11):
            plant.whole_part(journal, 100 + number, plant.VERDICTS[number % 3])
        plant.open_part(journal, 111)
    return path


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return copied(original, tmp_path)


def copied(original: Path, folder: Path) -> Path:
    path = folder / "journal.sqlite"
    for file in (original, plant.active(original), head_file(original)):
        shutil.copy(file, path.with_name(file.name))
    return path


def tamper(path: Path, *statements: str, values: tuple[object, ...] = ()) -> int:
    """What somebody with an SQLite shell can do who leaves no trace; how many rows the last one changed."""
    with forged(path) as database:
        for statement in statements[:-1]:
            database.execute(statement)
        return database.execute(statements[-1], values).rowcount


@contextmanager
def forged(path: Path) -> Iterator[sqlite3.Connection]:
    """The file without its triggers, which are there again afterwards."""
    with closing(sqlite3.connect(plant.active(path))) as database:
        triggers = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            database.execute(f"DROP TRIGGER {name}")
        yield database
        for _, sql in triggers:
            database.execute(sql)
        database.commit()


def test_an_untouched_journal_passes_and_balances(original: Path) -> None:
    report = audit(original)
    assert report.passed, report.findings
    assert (report.triggers, report.accepted, report.rejected, report.faulted, report.open) == (
        12,
        4,
        4,
        3,
        1,
    )
    assert report.conserved
    assert report.events == EVENTS
    assert "in doubt" in report.notes[0]


def test_anybody_can_recompute_the_chain_from_its_description(original: Path) -> None:
    database = sqlite3.connect(plant.active(original))
    journal_id = database.execute("SELECT value FROM meta WHERE key = 'journal_id'").fetchone()[0]
    digest = hashlib.sha256(f"station journal {journal_id}".encode()).digest()
    events = database.execute("SELECT * FROM events ORDER BY seq")
    for seq, record_id, kind, at, payload, scores, stored in events:
        head = f"{seq},{record_id},{kind},{at},{len(payload)},"
        digest = hashlib.sha256(digest + (head + payload).encode() + (scores or b"")).digest()
        assert digest == stored
    found = database.execute("SELECT scores FROM records WHERE outcome = 'accept'").fetchone()[0]
    assert struct.unpack("<II3f", found[:20]) == (2, 3, *plant.SCORES[0].tolist())
    database.close()


def test_events_cannot_be_edited_or_deleted_by_accident(copy: Path) -> None:
    database = sqlite3.connect(plant.active(copy))
    for statement in ("UPDATE events SET at = 'x'", "DELETE FROM events"):
        with pytest.raises(sqlite3.IntegrityError, match="only ever appended"):
            database.execute(statement)
    database.close()


@given(seq=st.integers(1, EVENTS), column=st.sampled_from(EVENT_COLUMNS), pick=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_any_changed_character_of_any_event_is_found(
    original: Path, tmp_path_factory: pytest.TempPathFactory, seq: int, column: str, pick: int
) -> None:
    path = copied(original, tmp_path_factory.mktemp("edit"))
    database = sqlite3.connect(plant.active(path))
    value = database.execute(f"SELECT {column} FROM events WHERE seq = ?", (seq,)).fetchone()[0]
    database.close()
    changed: object
    if value is None:
        changed = b"1"
    elif isinstance(value, int):
        changed = value + 1000 + pick
    elif isinstance(value, bytes):
        at = pick % len(value)
        changed = value[:at] + bytes([value[at] ^ (1 + pick % 7)]) + value[at + 1 :]
    else:
        at = pick % len(value)
        changed = value[:at] + chr((ord(value[at]) ^ (1 + pick % 7)) or 65) + value[at + 1 :]
    assert tamper(path, f"UPDATE events SET {column} = ? WHERE seq = ?", values=(changed, seq)) == 1
    assert not audit(path).passed


@given(
    record_id=st.integers(1, 12),
    column=st.sampled_from(PART_COLUMNS),
    value=st.sampled_from([1, 2, 77, "x", None, 0.5]),
)
@settings(max_examples=60, deadline=None)
def test_any_changed_field_of_any_record_is_found(
    original: Path, tmp_path_factory: pytest.TempPathFactory, record_id: int, column: str, value: object
) -> None:
    path = copied(original, tmp_path_factory.mktemp("field"))
    before = sqlite3.connect(plant.active(path))
    stored = before.execute(f"SELECT {column} FROM parts WHERE record_id = ?", (record_id,)).fetchone()[0]
    before.close()
    try:
        tamper(path, f"UPDATE parts SET {column} = ? WHERE record_id = ?", values=(value, record_id))
    except sqlite3.IntegrityError:
        return  # the table itself refuses it
    after = sqlite3.connect(plant.active(path))
    rows = after.execute(f"SELECT {column} FROM parts WHERE record_id = ?", (record_id,)).fetchall()
    after.close()
    unchanged = rows == [(stored,)]
    assert audit(path).passed is unchanged


@given(first=st.integers(1, EVENTS), last=st.integers(1, EVENTS))
@settings(max_examples=40, deadline=None)
def test_any_deleted_run_of_events_is_found(
    original: Path, tmp_path_factory: pytest.TempPathFactory, first: int, last: int
) -> None:
    path = copied(original, tmp_path_factory.mktemp("delete"))
    first, last = min(first, last), max(first, last)
    tamper(path, f"DELETE FROM events WHERE seq BETWEEN {first} AND {last}")
    assert not audit(path).passed


@given(one=st.integers(1, EVENTS), other=st.integers(1, EVENTS))
@settings(max_examples=40, deadline=None)
def test_two_swapped_events_are_found(
    original: Path, tmp_path_factory: pytest.TempPathFactory, one: int, other: int
) -> None:
    path = copied(original, tmp_path_factory.mktemp("swap"))
    tamper(
        path,
        f"UPDATE events SET seq = -1 WHERE seq = {one}",
        f"UPDATE events SET seq = {one} WHERE seq = {other}",
        f"UPDATE events SET seq = {other} WHERE seq = -1",
    )
    assert audit(path).passed is (one == other)


def test_an_inserted_record_is_found_wherever_it_is_put(copy: Path) -> None:
    columns = ", ".join(PART_COLUMNS[1:])
    tamper(
        copy, f"INSERT INTO parts (record_id, {columns}) SELECT 500, {columns} FROM parts WHERE record_id = 1"
    )
    report = audit(copy)
    assert any(one.record_id == 500 and one.kind == "conservation" for one in report.findings)
    tamper(
        copy,
        f"INSERT INTO events SELECT {EVENTS + 1}, 500, kind, at, payload, scores, digest FROM events "
        "WHERE kind = 'opened' LIMIT 1",
    )
    assert any(one.kind == "chain" for one in audit(copy).findings)


@pytest.mark.parametrize("parts", [1, 3])
def test_a_whole_record_deleted_everywhere_is_found(copy: Path, parts: int) -> None:
    last = f"record_id > {12 - parts}"
    tamper(copy, f"DELETE FROM events WHERE {last}", f"DELETE FROM parts WHERE {last}")
    assert not audit(copy).passed


def test_a_cut_end_that_was_covered_up_in_the_file_shows_by_the_head_beside_it(copy: Path) -> None:
    cut(copy)
    report = audit(copy)
    assert [one.kind for one in report.findings] == ["chain"]
    assert "known to be written" in report.findings[0].text


def test_a_cut_end_covered_up_everywhere_shows_only_by_a_head_noted_elsewhere(
    original: Path, copy: Path
) -> None:
    noted = audit(original).head
    cut(copy)
    head_file(copy).unlink()
    assert audit(copy).passed, "this is what a chain alone cannot show"
    report = audit(copy, expect_head=noted)
    assert "the head that was expected is not in the chain" in report.findings[0].text
    assert audit(original, expect_head=noted.upper()).passed


def test_a_head_noted_earlier_is_still_in_the_chain_of_a_journal_that_went_on(copy: Path) -> None:
    noted = audit(copy).head
    with plant.make(copy) as journal:
        journal.recover()
        plant.whole_part(journal, 200)
    assert audit(copy, expect_head=noted).passed


def test_an_accept_without_evidence_and_parts_in_wrong_bins_are_listed_with_their_records(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.sqlite"
    with plant.make(path) as journal:
        good, bad, lost = (plant.open_part(journal, part) for part in (1, 2, 3))
        journal.write_verdict(good, plant.ACCEPT, plant.details())
        journal.write_receipt(good, plant.receipt(1, 1))
        journal.write_verdict(bad, plant.REJECT, plant.details())
        journal.write_receipt(bad, plant.receipt(2, 1))
        journal.write_verdict(lost, plant.REJECT, plant.details())
        journal.write_receipt(lost, plant.receipt(3, 0, acknowledged=False, problem="no answer for 2 s"))
    report = audit(path)
    assert [(one.kind, one.record_id) for one in report.findings] == [("bin", bad)]
    assert "bin of good parts" in report.findings[0].text
    assert report.unacknowledged == 1
    rechain(path, lambda values: values | ({"frame_complete": False} if "frame_complete" in values else {}))
    report = audit(path)
    assert ("law", good) in [(one.kind, one.record_id) for one in report.findings]


def test_the_audit_runs_beside_a_station_and_says_that_parts_are_in_hand(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with plant.make(path) as journal:
        plant.whole_part(journal, 1)
        plant.open_part(journal, 2)
        report = audit(path)
        assert report.passed
        assert "in hand of the running station" in report.notes[0]


def test_random_bytes_over_the_file_never_pass_unseen_and_never_crash_the_audit(
    original: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    content, dice = plant.active(original).read_bytes(), random.Random(5)
    path = copied(original, folder)
    connection = sqlite3.connect(plant.active(original))
    page, events = (
        4096,
        connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events'").fetchone()[0],
    )
    connection.close()
    for _ in range(25):
        damaged = bytearray(content)
        start = dice.randrange((events - 1) * page, events * page - 64)
        damaged[start : start + 64] = dice.randbytes(64)
        plant.active(path).write_bytes(bytes(damaged))
        try:
            passed = audit(path).passed
        except JournalError:
            passed = False
        changed = not same_tables(original, path)
        assert not (passed and changed)


def test_findings_are_limited_but_counted(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with plant.make(path) as journal:
        for part in range(1, 230):
            plant.open_part(journal, part)
        journal._in_doubt = frozenset(journal._ledger.live)
        journal.recover()
    tamper(path, "UPDATE parts SET class_name = 'x'")
    report = audit(path)
    assert report.findings_total == 229
    assert len(report.findings) == 201
    assert "29 more" in report.findings[-1].text


# ---------------------------------------------------------------------- helpers


def cut(path: Path) -> None:
    """Take the end out from the tenth record on, and make everything in the file agree with that."""
    tamper(
        path,
        "DELETE FROM events WHERE seq >= (SELECT min(seq) FROM events WHERE record_id = 10)",
        "UPDATE head SET seq = (SELECT max(seq) FROM events)",
        "UPDATE head SET digest = (SELECT digest FROM events WHERE events.seq = head.seq)",
    )
    database = sqlite3.connect(plant.active(path))
    rebuild_parts(database)
    database.commit()
    database.close()


def rechain(path: Path, change: Callable[[dict[str, object]], dict[str, object]]) -> None:
    """What a forger does who knows the chain: change values, then chain everything anew."""
    with forged(path) as database:
        chain_anew(database, change)


def chain_anew(
    database: sqlite3.Connection, change: Callable[[dict[str, object]], dict[str, object]]
) -> None:
    """Every event changed, and the chain and the records made from them."""
    journal_id = database.execute("SELECT value FROM meta WHERE key = 'journal_id'").fetchone()[0]
    before = genesis(journal_id)
    for values in database.execute(f"{GET_EVENTS} ORDER BY seq").fetchall():
        old = Event(*values)
        payload = pack(old.kind, change(unpack(old.kind, old.payload)))
        event = chained(before, old.seq, old.record_id, old.kind, old.at, payload, old.scores)
        before = event.digest
        database.execute(
            "UPDATE events SET payload = ?, digest = ? WHERE seq = ?", (payload, before, event.seq)
        )
    database.execute("UPDATE head SET digest = ?", (before,))
    rebuild_parts(database)


def rebuild_parts(database: sqlite3.Connection) -> None:
    """The table ``parts`` as the events make it."""
    rows: dict[int, Row] = {}
    for values in database.execute(f"{GET_EVENTS} ORDER BY seq").fetchall():
        event = Event(*values)
        if event.record_id:
            packed = unpack(event.kind, event.payload)
            row = rows.get(event.record_id)
            rows[event.record_id] = apply(row, event.kind, event.seq, event.record_id, packed)
    database.execute("DELETE FROM parts")
    database.executemany(PUT_PART, rows.values())


def same_tables(one: Path, other: Path) -> bool:
    def content(path: Path) -> object:
        database = sqlite3.connect(plant.active(path))
        try:
            return [
                database.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall()
                for name in ("events", "parts")
            ]
        except sqlite3.Error as error:
            return str(error)
        finally:
            database.close()

    return content(one) == content(other)
