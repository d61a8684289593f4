"""Segments: closed, sealed and chained, carried over, removed by the policy; missing and damaged ones."""

from __future__ import annotations

import hashlib
import json
import os
import runpy
import sqlite3
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from station.journal import Journal, JournalError, JournalSettings
from station.journal.audit import audit
from station.journal.cursors import advance, cursors, delete_cursor, open_cursor
from station.journal.policy import finish_all
from station.journal.reading import JournalReader
from station.journal.record import COLUMNS
from station.journal.schema import HEAD_PERIOD_S, head_file
from station.journal.segments import catalogue, segment_file
from station.journal.selection import Selection
from tests.waiting import wait_for

PLANT = Path(__file__).with_name("journal_plant.py")
plant = SimpleNamespace(**runpy.run_path(str(PLANT)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def three_segments(path: Path, parts: int = 4) -> None:
    """Three segments with ``parts`` whole parts each, numbered 1, 2, 3 …, all sealed files finished."""
    with plant.make(path) as journal:
        for number in range(3 * parts):
            if number and number % parts == 0:
                journal.change_segment()
            plant.whole_part(journal, number + 1, plant.VERDICTS[number % 3])
        journal.flush()
    assert finish_all(path, "test")


# ---------------------------------------------------------------------- closing a segment


def test_a_closed_segment_is_sealed_and_its_head_stands_in_the_next_ones_first_event(path: Path) -> None:
    three_segments(path)
    first, second, third = catalogue(path)
    assert (first.sealed, second.sealed, third.sealed) == (True, True, False)
    database = sqlite3.connect(segment_file(path, 2))
    kind, payload = database.execute("SELECT kind, payload FROM events ORDER BY seq LIMIT 1").fetchone()
    last = database.execute("SELECT kind FROM events ORDER BY seq DESC LIMIT 1").fetchone()[0]
    database.close()
    assert (kind, last) == ("segment", "sealed")
    assert json.loads(payload)["head"] == first.head
    assert second.first_seq == first.last_seq + 1
    assert audit(path).passed


def test_sealed_segments_are_plain_sqlite_files_that_standard_tools_read(path: Path) -> None:
    three_segments(path)
    file = segment_file(path, 1)
    assert not file.with_name(file.name + "-wal").exists()
    assert not file.stat().st_mode & 0o222
    database = sqlite3.connect(f"{file.as_uri()}?mode=ro&immutable=1", uri=True)
    query = "SELECT part_id, outcome, station, recipe, engine_digest, scores FROM records ORDER BY record_id"
    rows = database.execute(query).fetchall()
    database.close()
    assert [row[:4] for row in rows[:2]] == [(1, "accept", "test", "strip"), (2, "reject", "test", "strip")]
    scores = np.frombuffer(rows[0][5], "<f4", offset=8).reshape(2, 3)
    assert np.array_equal(scores, plant.SCORES)


def test_parts_in_hand_go_on_in_the_next_segment_and_are_counted_once(path: Path) -> None:
    with plant.make(path) as journal:
        plant.whole_part(journal, 1)
        opened, told = plant.open_part(journal, 2), plant.open_part(journal, 3)
        journal.write_verdict(told, plant.ACCEPT, plant.details())
        journal.change_segment()
        journal.change_segment()  # carried twice
        journal.write_receipt(told, plant.receipt(3, 1))
        journal.write_verdict(opened, plant.REJECT, plant.details())
        journal.write_receipt(opened, plant.receipt(2, 2))
        plant.whole_part(journal, 4, plant.FAULT)
        journal.flush()
        counts = journal.counts()
        report = audit(path)
    assert report.passed, report.findings
    assert (counts.triggers, counts.accepted, counts.rejected, counts.faulted) == (4, 2, 1, 1)
    assert (report.triggers, report.accepted, report.rejected, report.faulted) == (4, 2, 1, 1)
    with JournalReader(path) as reader:
        records = list(reader.records())
        assert [record.record_id for record in records] == [1, 2, 3, 4]
        assert all(record.acknowledged for record in records)
        for outcomes, wanted in ((("reject",), [2]), (("accept",), [3, 1]), (("open",), [])):
            chosen = Selection(outcomes=outcomes, newest_first=True)
            assert [record.record_id for record in reader.records(chosen)] == wanted
        carried = reader.record(told)
        assert carried is not None
        assert carried.scores is not None
        assert np.array_equal(carried.scores, plant.SCORES)
        assert carried.stages_ms["acknowledged"] > 0
        assert reader.counts()["triggers"] == 4


def test_a_segment_is_closed_when_it_holds_enough_parts(path: Path) -> None:
    settings = JournalSettings(segment_parts=3)
    with Journal(path, station="test", settings=settings) as journal:
        for number in range(4):
            plant.whole_part(journal, number + 1)
        wait_for(lambda: len(catalogue(path)) >= 2)
        plant.whole_part(journal, 9)
    assert len(catalogue(path)) == 2
    assert audit(path).passed


def test_threads_that_find_a_segment_full_close_it_once(path: Path) -> None:
    with Journal(path, station="test", settings=JournalSettings(segment_parts=3)) as journal:
        for number in range(3):
            plant.whole_part(journal, number + 1)
        threads = [threading.Thread(target=journal.change_segment_when_full) for _ in range(8)]
        with journal._write_lock:
            for thread in threads:
                thread.start()
            time.sleep(0.1)
        for thread in threads:
            thread.join()
        assert len(catalogue(path)) == 2


def test_a_station_killed_between_sealing_and_beginning_begins_the_next_one_at_its_start(path: Path) -> None:
    with plant.make(path) as journal:
        plant.whole_part(journal, 1)
        plant.open_part(journal, 2)
        journal.change_segment()
    segment_file(path, 2).unlink()
    head_file(path).unlink()
    with plant.make(path) as journal:
        assert [record.part_id for record in journal.recover()] == [2]
        plant.whole_part(journal, 3)
        assert journal.counts().triggers == 3
    report = audit(path)
    assert report.passed, report.findings


def test_a_lost_index_is_made_again_from_the_segments(path: Path) -> None:
    three_segments(path)
    path.unlink()
    with plant.make(path) as journal:
        assert journal.counts().triggers == 12
    assert audit(path).passed
    with JournalReader(path) as reader:
        assert len(list(reader.records())) == 12


def test_recipe_and_configuration_stand_in_each_segment_as_text_once(path: Path) -> None:
    text = "name: strip\nversion: 3\n"
    recipe = SimpleNamespace(
        **vars(plant.RECIPE) | {"text": text, "digest": hashlib.sha256(text.encode()).hexdigest()}
    )
    with Journal(path, station="test", configuration="station: {name: test}\n") as journal:
        for number in range(4):
            trigger = plant.Trigger(number + 1, "", time.monotonic_ns())
            record_id = journal.open_part(trigger, recipe=recipe, mode="cell", is_simulated=True)
            journal.write_verdict(record_id, plant.FAULT, plant.PartDetails())
            journal.write_receipt(record_id, plant.receipt(number + 1, 9))
            if number == 1:
                journal.change_segment()
    assert audit(path).passed
    with JournalReader(path) as reader:
        assert sorted((what, text) for _, what, text in reader.texts()) == [
            ("configuration", "station: {name: test}\n"),
            ("recipe", text),
        ]
        kinds = [event.kind for event in reader.events()]
    assert kinds.count("text") == 4


def test_readers_beside_a_station_that_changes_files_miss_nothing(path: Path) -> None:
    ended, problems = threading.Event(), []
    with plant.make(path) as journal:

        def write() -> None:
            while not ended.is_set():
                if plant.whole_part(journal, 1) % 10 == 0:
                    journal.change_segment()

        threads = [threading.Thread(target=write) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            seq, until = 0, time.monotonic() + 2.0
            while time.monotonic() < until or len(catalogue(path)) < 3:
                with JournalReader(path) as reader:
                    numbers = [record.record_id for record in reader.records(scores=False)]
                    events = [event.seq for event in reader.events(seq)]
                if numbers != list(range(1, len(numbers) + 1)):
                    problems.append(f"records {numbers}")
                if events != list(range(seq + 1, seq + 1 + len(events))):
                    problems.append(f"events {events} after {seq}")
                seq += len(events)
                problems += [str(one) for one in audit(path).findings]
        finally:
            ended.set()
            for thread in threads:
                thread.join()
    assert problems == []


# ---------------------------------------------------------------------- selections over segments


def test_records_are_selected_over_segments_in_both_directions(path: Path) -> None:
    three_segments(path)

    def chosen(**selection: object) -> list[int]:
        with JournalReader(path) as reader:
            chosen = Selection(**selection)  # type: ignore[arg-type]
            found = [one.record_id for one in reader.records(chosen)]
            assert chosen.limit is not None or reader.count(chosen) == len(found)
            return found

    assert chosen() == list(range(1, 13))
    assert chosen(newest_first=True, limit=7) == list(range(12, 5, -1))
    assert chosen(outcomes=("reject", "fault")) == [2, 3, 5, 6, 8, 9, 11, 12]
    assert chosen(class_names=("pits", "defect-free"), newest_first=True, limit=3) == [11, 10, 8]
    assert chosen(part_id=6) == [6]
    with JournalReader(path) as reader:
        assert reader.record(5) is not None
        assert reader.record(13) is None


def test_a_segment_may_be_read_and_audited_alone(path: Path) -> None:
    three_segments(path)
    file = segment_file(path, 2)
    report = audit(file)
    assert report.passed, report.findings
    with JournalReader(file) as reader:
        assert [record.record_id for record in reader.records()] == [5, 6, 7, 8]


# ---------------------------------------------------------------------- the audit over segments


def test_a_segment_that_was_proven_is_remembered_and_proven_again_when_it_changes(path: Path) -> None:
    three_segments(path)
    assert audit(path).remembered == 0
    assert audit(path).remembered == 2
    assert audit(path, again=True).remembered == 0
    tamper(segment_file(path, 1), "UPDATE parts SET bin = 77 WHERE record_id = 2")
    report = audit(path)
    assert report.remembered == 1
    assert [(one.kind, one.record_id) for one in report.findings] == [("record", 2)]


def test_segments_side_by_side_are_proven_as_one_after_the_other(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three_segments(path)
    monkeypatch.setattr("station.journal.audit.WORTH_PROCESSES", 0)
    done: list[tuple[int, int]] = []
    report = audit(path, processes=2, progress=lambda *so_far: done.append(so_far), again=True)
    assert report.passed, report.findings
    assert (report.triggers, report.segments) == (12, 3)
    assert done


def test_a_missing_segment_is_named_by_every_door(path: Path) -> None:
    three_segments(path)
    segment_file(path, 2).rename(path.with_name("elsewhere"))
    report = audit(path)
    assert any("journal.db.000002 is missing" in one.text for one in report.findings)
    with pytest.raises(JournalError, match=r"journal.db.000002 is missing: put it back"):
        plant.make(path)
    with JournalReader(path) as reader, pytest.raises(JournalError, match=r"000002 is missing"):
        list(reader.records())
    with JournalReader(path) as reader:
        assert [one.record_id for one in reader.records(Selection(newest_first=True, limit=4))] == [
            12,
            11,
            10,
            9,
        ]
    path.with_name("elsewhere").rename(segment_file(path, 2))
    plant.make(path).close()


def test_the_file_that_is_written_is_missed_by_every_reader(path: Path) -> None:
    three_segments(path)
    segment_file(path, 3).unlink()
    for door in (lambda reader: list(reader.records()), lambda reader: reader.head()):
        with JournalReader(path) as reader, pytest.raises(JournalError, match="000003 is missing"):
            door(reader)
    with pytest.raises(JournalError, match="000003 is missing"):
        plant.make(path)
    assert any("known to be written" in one.text for one in audit(path).findings)


def test_segments_missing_at_the_beginning_are_no_removal(path: Path) -> None:
    three_segments(path)
    segment_file(path, 1).unlink()
    assert any("missing" in one.text for one in audit(path).findings)


def test_a_damaged_sealed_segment_is_named_with_its_remedy(path: Path) -> None:
    three_segments(path, parts=20)
    file = segment_file(path, 2)
    content = bytearray(file.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    replace_content(file, bytes(content))
    report = audit(path)
    assert not report.passed
    assert any("journal.db.000002" in one.text for one in report.findings)
    with JournalReader(path) as reader, pytest.raises(JournalError, match=r"000002.*put its copy"):
        list(reader.records())
    replace_content(file, bytes(content[:8192]))
    with pytest.raises(JournalError, match=r"000002 has 8192 bytes, not"):
        plant.make(path)


def test_a_segment_of_another_journal_is_refused(path: Path, tmp_path: Path) -> None:
    three_segments(path)
    other = tmp_path / "other" / "journal.db"
    three_segments(other)
    replace_content(segment_file(path, 2), segment_file(other, 2).read_bytes())
    assert any("another journal" in one.text for one in audit(path).findings)


def test_a_head_noted_in_an_old_segment_is_still_in_the_chain(path: Path) -> None:
    with plant.make(path) as journal:
        plant.whole_part(journal, 1)
        journal.flush()
        noted = journal.head.digest
        plant.whole_part(journal, 2)
        journal.change_segment()
        plant.whole_part(journal, 3)
    assert audit(path, expect_head=noted).passed
    assert not audit(path, expect_head="ab" * 32).passed


# ---------------------------------------------------------------------- cursors


def test_a_cursor_reads_on_where_it_was_left_through_segments_and_restarts(path: Path) -> None:
    three_segments(path)
    cursor = open_cursor(path, "telemetry")
    seen = 0
    with JournalReader(path) as reader:
        head = reader.head().seq
        while batch := list(reader.events(cursor.seq, limit=7)):
            assert [event.seq for event in batch] == list(range(cursor.seq + 1, batch[-1].seq + 1))
            seen += len(batch)
            cursor = advance(cursor, batch[-1].seq)
            assert open_cursor(path, "telemetry") == cursor
    assert (seen, cursor.seq) == (head, head)


def test_events_come_with_every_value_by_name(path: Path) -> None:
    three_segments(path)
    with JournalReader(path) as reader:
        events = list(reader.events())
    opened = next(event for event in events if event.kind == "opened")
    verdict = next(event for event in events if event.kind == "verdict")
    assert (opened.values["recipe"], opened.values["station"], opened.values["part_id"]) == (
        "strip",
        "test",
        1,
    )
    assert (verdict.values["outcome"], verdict.values["engine_digest"]) == ("accept", "e" * 64)
    assert verdict.scores is not None
    assert np.array_equal(verdict.scores, plant.SCORES)


def test_a_cursor_moves_only_forward_and_never_past_the_head(path: Path) -> None:
    three_segments(path)
    cursor = advance(open_cursor(path, "log"), 5)
    with pytest.raises(JournalError, match="cannot go back to 4"):
        advance(cursor, 4)
    with pytest.raises(JournalError, match="there is no event 100000 yet"):
        advance(cursor, 100_000)
    assert [(one.name, one.seq) for one in cursors(path)] == [("log", 5)]
    stale = cursor
    cursor = advance(cursor, 6)
    with pytest.raises(JournalError, match="moved by another process"):
        advance(stale, 7)
    delete_cursor(path, "log")
    assert cursors(path) == []
    with pytest.raises(JournalError, match="has no cursor 'log'"):
        delete_cursor(path, "log")
    with pytest.raises(JournalError, match="was deleted"):
        advance(cursor, 8)


def test_a_cursor_of_another_journal_or_a_damaged_one_is_an_error(path: Path, tmp_path: Path) -> None:
    three_segments(path)
    other = tmp_path / "other" / "journal.db"
    three_segments(other)
    foreign = advance(open_cursor(other, "mqtt"), 3)
    mine = foreign.file.read_bytes()
    path.with_name("journal.db.cursor.mqtt").write_bytes(mine)
    with pytest.raises(JournalError, match=r"journal.db.cursor.mqtt: belongs to another journal"):
        open_cursor(path, "mqtt")
    path.with_name("journal.db.cursor.mqtt").write_text("{half")
    with pytest.raises(JournalError, match=r"is not a cursor of a journal"):
        open_cursor(path, "mqtt")
    with pytest.raises(JournalError, match="write a name"):
        open_cursor(path, "../x")


# ---------------------------------------------------------------------- the policy


def test_the_policy_archives_and_removes_old_segments_but_none_that_a_cursor_needs(
    path: Path, tmp_path: Path
) -> None:
    three_segments(path)
    original = segment_file(path, 1).read_bytes()
    cursor = open_cursor(path, "telemetry")
    settings = JournalSettings(keep_gb=1e-9, archive=tmp_path / "archive")
    with Journal(path, station="test", settings=settings) as journal:
        journal._keeper.remove_old()
        assert segment_file(path, 1).exists()
        first = catalogue(path)[0]
        cursor = advance(cursor, first.last_seq)
        journal._keeper.remove_old()
        assert not segment_file(path, 1).exists()
        assert segment_file(path, 2).exists(), "the cursor still needs it"
        assert journal.counts().triggers == 12
    assert (tmp_path / "archive" / "journal.db.000001").read_bytes() == original
    report = audit(path)
    assert report.passed, report.findings
    assert report.triggers == 12
    assert any("removed by the policy" in note for note in report.notes)
    with plant.make(path) as journal:
        assert journal.counts().triggers == 12
    assert open_cursor(path, "telemetry") == cursor
    with JournalReader(path) as reader:
        assert next(reader.events(cursor.seq)).seq == cursor.seq + 1
        with pytest.raises(JournalError, match="removed by the policy"):
            list(reader.events(3))


def test_a_segment_that_was_read_when_the_policy_looked_is_removed_soon_after(path: Path) -> None:
    settings = JournalSettings(keep_gb=1e-9)
    with Journal(path, station="test", settings=settings) as journal:
        plant.whole_part(journal, 1)
        journal.flush()
        reader = sqlite3.connect(segment_file(path, 1), isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM parts").fetchone()
        journal.change_segment()
        time.sleep(3 * HEAD_PERIOD_S)  # the policy has looked
        assert segment_file(path, 1).exists()
        reader.close()
        wait_for(lambda: not segment_file(path, 1).exists(), 10.0)


def test_segments_are_kept_for_so_many_days(path: Path) -> None:
    three_segments(path)
    with Journal(path, station="test", settings=JournalSettings(keep_days=1.0)) as journal:
        journal._keeper.remove_old()
    assert len([one for one in catalogue(path) if not one.removed_at]) == 3


# ---------------------------------------------------------------------- older and newer releases


def test_a_journal_of_schema_2_becomes_the_first_segment_as_it_is(path: Path) -> None:
    noted = plant.legacy_journal(path)
    before = dump(path)
    with pytest.raises(JournalError, match="older schema 2: start this release once"):
        JournalReader(path)
    with plant.make(path) as journal:
        doubtful = journal.recover()
        assert [(one.part_id, one.outcome) for one in doubtful] == [(4, "reject"), (5, "fault")]
        plant.whole_part(journal, 6)
        counts = journal.counts()
    assert (counts.triggers, counts.accepted, counts.rejected, counts.faulted) == (6, 2, 2, 2)
    assert dump(segment_file(path, 1)) == before, "not a byte of what was written is changed"
    report = audit(path, expect_head=noted)
    assert report.passed, report.findings
    assert (report.triggers, report.recovered, report.segments) == (6, 2, 2)
    with JournalReader(path) as reader:
        records = list(reader.records())
        events = list(reader.events())
    assert [record.record_id for record in records] == [1, 2, 3, 4, 5, 6]
    assert records[0].scores is not None
    assert np.array_equal(records[0].scores, plant.SCORES)
    assert records[3].scores is not None, "carried over with its scores"
    assert (records[0].software_version, records[3].recovered) == (None, True)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))


def test_a_migration_that_is_killed_in_the_middle_is_done_at_the_next_start(path: Path) -> None:
    plant.legacy_journal(path)
    os.link(path, segment_file(path, 1))
    with plant.make(path) as journal:
        assert len(journal.recover()) == 2
    assert audit(path).passed


def test_a_journal_of_schema_2_cut_short_is_refused_and_left_as_it_is(path: Path) -> None:
    plant.legacy_journal(path)
    database = sqlite3.connect(path)
    database.execute("DROP TRIGGER events_are_not_deleted")
    database.execute("DELETE FROM events WHERE seq > 9")
    database.commit()
    database.close()
    before = path.read_bytes()
    with pytest.raises(JournalError, match=r"journal.db: ends with event 9, not with event 12"):
        plant.make(path)
    assert path.read_bytes() == before
    path.unlink()
    plant.legacy_journal(path)
    path.write_bytes(path.read_bytes()[: 3 * 4096])
    with pytest.raises(JournalError, match="damaged"):
        plant.make(path)


def test_an_older_release_refuses_this_journal_with_a_clear_sentence(path: Path) -> None:
    """What the release before does: it knows schema 2, and looks at application_id and user_version."""
    three_segments(path)
    assert set(json.loads(head_file(path).read_text())) == {"journal_id", "seq", "digest"}
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA application_id").fetchone()[0] == 0x5354_4A4C
    assert database.execute("PRAGMA journal_mode=WAL").fetchone()[0] == "wal"
    version = database.execute("PRAGMA user_version").fetchone()[0]
    database.close()
    assert version > 2, "it says: written by a newer station (schema 3, this one knows up to 2)"
    with plant.make(path) as journal:  # and what it did to the index does no harm
        journal.change_segment()
        plant.whole_part(journal, 13)
    assert audit(path).passed
    assert catalogue(path)[-1].number == 4


def test_a_changed_setup_engine_or_text_is_found(path: Path) -> None:
    text = "name: strip\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    recipe = SimpleNamespace(**vars(plant.RECIPE) | {"text": text, "digest": digest})
    with plant.make(path) as journal:
        trigger = plant.Trigger(1, "", time.monotonic_ns())
        record_id = journal.open_part(trigger, recipe=recipe, mode="cell", is_simulated=True)
        journal.write_verdict(record_id, plant.ACCEPT, plant.details())
        journal.write_receipt(record_id, plant.receipt(1, 1))
    file = plant.active(path)
    original = file.read_bytes()
    for statement in (
        "UPDATE setups SET good_bin = 2",
        "UPDATE engines SET precision = 'fp32'",
        "UPDATE texts SET text = 'name: other'",
        "DELETE FROM texts",
    ):
        tamper(file, statement)
        assert [one.kind for one in audit(path).findings] == ["record"], statement
        replace_content(file, original)


def test_a_removal_needs_its_event(path: Path) -> None:
    """Who deletes the oldest files cannot say that the policy did."""
    three_segments(path)
    segment_file(path, 1).unlink()
    path.unlink()
    plant.make(path).close()  # the index is made again, and knows nothing of the file
    assert any("no policy has removed them" in one.text for one in audit(path).findings)


def test_the_document_describes_every_column() -> None:
    document = (Path(__file__).parents[3] / "docs" / "journal.md").read_text()
    between = {"region_y", "region_width"}  # "region_x … region_height"
    assert [name for name in COLUMNS if name not in between and f"`{name}`" not in document] == []


# ---------------------------------------------------------------------- helpers


def tamper(file: Path, statement: str) -> None:
    file.chmod(0o644)
    database = sqlite3.connect(file)
    database.execute(statement)
    database.commit()
    database.close()
    file.chmod(0o444)


def replace_content(file: Path, content: bytes) -> None:
    file.unlink()
    file.write_bytes(content)
    file.chmod(0o444)


def dump(file: Path) -> list[str]:
    database = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)
    try:
        return list(database.iterdump())
    finally:
        database.close()
