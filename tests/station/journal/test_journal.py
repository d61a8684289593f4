"""The writer: one record a trigger, one verdict, one receipt, durable, and closed after a crash."""

from __future__ import annotations

import hashlib
import json
import runpy
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.sorters.interface import Outcome, Trigger
from station.decision import Verdict
from station.journal import JournalError, PartDetails
from station.journal.audit import audit
from station.journal.reading import JournalReader
from station.journal.schema import SCHEMA_VERSION
from tests.waiting import wait_for

PLANT = Path(__file__).with_name("journal_plant.py")
plant = SimpleNamespace(**runpy.run_path(str(PLANT)))
ACCEPT, REJECT, FAULT, SCORES, CLASSES = plant.ACCEPT, plant.REJECT, plant.FAULT, plant.SCORES, plant.CLASSES
make, details, receipt, open_part, whole_part = (
    plant.make, plant.details, plant.receipt, plant.open_part, plant.whole_part
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def test_a_part_becomes_one_record_with_everything_known_of_it(path: Path) -> None:
    with make(path) as journal:
        received = time.monotonic_ns()
        record_id = journal.open_part(
            Trigger(4711, "strip", received), recipe=plant.RECIPE, mode="free-running", is_simulated=False
        )
        stages = {"trigger": received, "frame": received + 10_000_000, "decided": received + 40_000_000}
        journal.write_verdict(record_id, REJECT, details(stages_ns=stages))
        journal.write_receipt(
            record_id, receipt(4711, 2, at_ns=received + 80_000_000), told_ns=received + 50_000_000
        )
    with JournalReader(path) as reader:
        record = reader.record(record_id)
    assert record is not None
    assert (record.part_id, record.station, record.mode, record.is_simulated) == (
        4711,
        "test",
        "free-running",
        False,
    )
    assert (record.recipe, record.recipe_version, record.recipe_digest) == ("strip", 3, "d" * 64)
    assert (record.frame_id, record.lost_before, record.frame_complete) == (7, 0, True)
    assert record.region == (10, 20, 1065, 3584)
    assert (record.engine_digest, record.backend, record.precision) == ("e" * 64, "openvino", "int8")
    assert (record.outcome, record.class_name, record.patch, record.bin) == ("reject", "pits", 0, 2)
    assert (record.acknowledged, record.ack_bin, record.recovered) == (True, 2, False)
    assert record.classes == ",".join(CLASSES)
    assert record.scores is not None
    assert record.scores.dtype == np.float32
    assert np.array_equal(record.scores, SCORES)
    times = record.stages_ms
    assert list(times) == ["frame", "decided", "written", "told", "acknowledged"]
    assert (times["frame"], times["decided"], times["told"], times["acknowledged"]) == (
        10.0,
        40.0,
        50.0,
        80.0,
    )


def test_counts_balance_while_parts_are_open(path: Path) -> None:
    with make(path) as journal:
        whole_part(journal, 1)
        whole_part(journal, 2, REJECT)
        whole_part(journal, 3, FAULT)
        open_part(journal, 4)
        counts = journal.counts()
    assert (counts.triggers, counts.accepted, counts.rejected, counts.faulted, counts.open) == (4, 1, 1, 1, 1)


def test_a_second_verdict_is_refused_and_the_first_one_stays(path: Path) -> None:
    with make(path) as journal:
        record_id = open_part(journal, 1)
        journal.write_verdict(record_id, REJECT, details())
        with pytest.raises(JournalError, match="a second verdict"):
            journal.write_verdict(record_id, ACCEPT, details())
        journal.write_receipt(record_id, receipt(1, 2))
        journal.flush()
        with pytest.raises(JournalError, match="closed already"):
            journal.write_verdict(record_id, ACCEPT, details())
    report = audit(path)
    assert report.passed
    assert (report.rejected, report.accepted) == (1, 0)


def test_a_second_receipt_or_one_without_a_verdict_is_refused(path: Path) -> None:
    with make(path) as journal:
        record_id = open_part(journal, 1)
        with pytest.raises(JournalError, match="receipt came before the verdict"):
            journal.write_receipt(record_id, receipt(1, 2))
        journal.write_verdict(record_id, REJECT, details())
        journal.write_receipt(record_id, receipt(1, 2))
        with pytest.raises(JournalError, match=r"second receipt came|closed already"):
            journal.write_receipt(record_id, receipt(1, 2))
        with pytest.raises(JournalError, match="never opened"):
            journal.write_receipt(99, receipt(1, 2))


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ({"frame_complete": False}, "complete frame"),
        ({"frame_id": None}, "complete frame"),
        ({"lost_before": 1}, "another part's"),
        ({"region": None}, "region"),
        ({"scores": None}, "scores"),
        ({"scores": np.full((2, 3), np.nan, np.float32)}, "scores"),
        ({"engine_digest": None}, "engine"),
        ({"engine_digest": ""}, "engine"),
    ],
)
def test_an_accept_without_its_evidence_is_refused(path: Path, missing: dict[str, Any], named: str) -> None:
    with make(path) as journal:
        record_id = open_part(journal, 1)
        with pytest.raises(JournalError, match=named):
            journal.write_verdict(record_id, ACCEPT, details(**missing))
        assert journal.counts().open == 1
        journal.write_verdict(record_id, FAULT, details(**missing))
        assert journal.counts().faulted == 1


@pytest.mark.parametrize("verdict", [REJECT, FAULT])
def test_nothing_but_an_accept_may_go_to_the_bin_of_good_parts(path: Path, verdict: Verdict) -> None:
    into_good = Verdict(verdict.outcome, verdict.class_index, verdict.class_name, 0.5, None, 1, "wrong")
    with make(path) as journal:
        record_id = open_part(journal, 1)
        with pytest.raises(JournalError, match="bin of good parts"):
            journal.write_verdict(record_id, into_good, details())


def test_strange_values_of_a_fault_are_kept_and_do_no_harm(path: Path) -> None:
    strange = Verdict(
        Outcome.FAULT, 255, "fault", 0.0, None, 9, "half a character \udc80, a quote ', 'x'); DROP"
    )
    with make(path) as journal:
        record_id = open_part(journal, 1, recipe="ümläut\ud800")
        odd = np.array([np.nan, np.inf, -np.inf, 1e-38], np.float32)
        journal.write_verdict(record_id, strange, details(scores=odd))
        journal.write_receipt(record_id, receipt(1, 9))
    with JournalReader(path) as reader:
        record = reader.record(record_id)
    assert record is not None
    assert record.scores is not None
    assert np.array_equal(record.scores, odd, equal_nan=True)
    assert audit(path).passed


def test_numbers_that_the_file_cannot_hold_are_an_error_for_that_part_only(path: Path) -> None:
    with make(path) as journal:
        record_id = open_part(journal, 1)
        with pytest.raises(JournalError, match="larger than the journal can hold"):
            journal.write_verdict(record_id, REJECT, details(frame_id=2**64 - 1))
        journal.write_verdict(record_id, FAULT, PartDetails())
        whole_part(journal, 2)
    assert audit(path).passed


@given(scores=st.lists(st.floats(0, 1, width=32), min_size=6, max_size=6))
@settings(max_examples=40, deadline=None)
def test_scores_come_back_bit_for_bit(scores: list[float]) -> None:
    from station.journal.packing import pack_scores, scores_from_json, scores_to_json, unpack_scores

    table = np.array(scores, np.float32).reshape(2, 3)
    back = scores_from_json(json.loads(json.dumps(scores_to_json(table))))
    assert back is not None
    assert back.tobytes() == table.tobytes()
    packed = unpack_scores(pack_scores(table))
    assert packed is not None
    assert (packed.tobytes(), packed.shape) == (table.tobytes(), table.shape)


def test_the_verdict_is_in_the_file_when_the_call_returns(path: Path) -> None:
    with make(path) as journal:
        record_id = open_part(journal, 1)
        with JournalReader(path) as reader:
            assert reader.counts()["open"] == 1
            journal.write_verdict(record_id, REJECT, details())
            assert reader.counts()["reject"] == 1


def test_a_receipt_is_in_the_file_soon_without_another_write(path: Path) -> None:
    with make(path) as journal:
        record_id = whole_part(journal, 1)
        with JournalReader(path) as reader:
            until = time.monotonic() + 10
            while time.monotonic() < until:
                record = reader.record(record_id)
                if record is not None and record.acknowledged:
                    return
                time.sleep(0.01)
    pytest.fail("the receipt was not written")


def test_many_threads_share_the_file_and_every_record_is_right(path: Path) -> None:
    problems: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            for number in range(12):
                whole_part(journal, 1 + thread * 100 + number, (ACCEPT, REJECT, FAULT)[number % 3])
        except BaseException as error:
            problems.append(error)

    with make(path) as journal:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counts = journal.counts()
    assert not problems
    assert (counts.triggers, counts.accepted, counts.rejected, counts.faulted) == (96, 32, 32, 32)
    report = audit(path)
    assert report.passed
    assert report.events == 3 * 96 + 3  # the segment, the setup, the engine
    with JournalReader(path) as reader:
        assert len({record.part_id for record in reader.records()}) == 96


def test_waiting_threads_share_one_disk_write(path: Path) -> None:
    """With the writer's lock held, all callers pile up; one commit takes them all."""
    with make(path) as journal:
        reader = sqlite3.connect(plant.active(path))
        threads = [threading.Thread(target=open_part, args=(journal, number)) for number in range(1, 11)]
        before = reader.execute("PRAGMA data_version").fetchone()[0]
        with journal._write_lock:
            for thread in threads:
                thread.start()
            wait_for(lambda: len(journal._waiting) >= 10)
        for thread in threads:
            thread.join()
        assert journal.counts().open == 10
        assert (
            reader.execute("SELECT count(DISTINCT at) FROM events WHERE kind = 'opened'").fetchone()[0] <= 10
        )
        assert reader.execute("PRAGMA data_version").fetchone()[0] == before + 1
        reader.close()


def test_events_of_the_station_stand_in_the_chain_beside_the_parts(path: Path) -> None:
    with make(path) as journal:
        journal.write_event("start", {"software": "1.0"})
        record_id = whole_part(journal, 1)
        journal.write_event("review", {"by": "Ana", "verdict": "good"}, record_id=record_id)
        with pytest.raises(JournalError, match="not an event of a station"):
            journal.write_event("opened", {})
        with pytest.raises(JournalError, match="never opened"):
            journal.write_event("review", {}, record_id=7)
        journal.write_event("stop", {})
    report = audit(path)
    assert report.passed, report.findings
    assert report.triggers == 1


def test_a_record_names_its_lot_camera_software_and_configuration(path: Path) -> None:
    with plant.Journal(path, station="test", configuration="station: {name: test}") as journal:
        record_id = journal.open_part(
            Trigger(1, "", time.monotonic_ns()),
            recipe=plant.RECIPE,
            mode="cell",
            is_simulated=True,
            camera=plant.CameraUsed("raL8192", "40012345", 120.0),
            marks=plant.PartMarks(lot="L7", serial_number="SN-1", shift="early", operator="Ana"),
        )
        journal.write_verdict(record_id, REJECT, details())
    with JournalReader(path) as reader:
        record = reader.record(record_id)
    assert record is not None
    assert (record.camera_model, record.camera_serial, record.exposure_us) == ("raL8192", "40012345", 120.0)
    assert (record.lot, record.serial_number, record.shift, record.operator) == ("L7", "SN-1", "early", "Ana")
    assert record.config_digest == hashlib.sha256(b"station: {name: test}").hexdigest()
    assert record.software_version


# ---------------------------------------------------------------------- after a crash


def test_after_a_crash_open_records_are_faulted_and_untold_receipts_closed(path: Path) -> None:
    die_in_doubt(path)
    report = audit(path)
    assert report.passed, report.findings
    assert report.open == 1
    with make(path) as journal:
        with pytest.raises(JournalError, match="recover"):
            open_part(journal, 50)
        doubtful = journal.recover()
        assert [record.part_id for record in doubtful] == [2, 3]
        assert [record.outcome for record in doubtful] == ["reject", "fault"]
        assert doubtful[1].bin == 9
        assert "in doubt" in str(doubtful[1])
        assert "acknowledgement" in str(doubtful[0])
        assert journal.recover() == []
        counts = journal.counts()
        assert (counts.triggers, counts.open, counts.faulted) == (3, 0, 1)
        whole_part(journal, 51)
    report = audit(path)
    assert report.passed, report.findings
    assert (report.recovered, report.open) == (2, 0)


def test_a_killed_journal_can_be_audited_and_read_without_being_changed(path: Path) -> None:
    die_in_doubt(path)
    file = plant.active(path)
    before = file.read_bytes(), file.with_name(file.name + "-wal").read_bytes()
    assert audit(path).passed
    with JournalReader(path) as reader:
        assert reader.counts()["triggers"] == 3
    assert (file.read_bytes(), file.with_name(file.name + "-wal").read_bytes()) == before


def test_a_torn_end_of_the_write_ahead_log_loses_only_what_was_never_confirmed(path: Path) -> None:
    die_in_doubt(path)
    file = plant.active(path)
    with file.with_name(file.name + "-wal").open("ab") as wal:
        wal.write(b"\x00\x17 half a frame that the power cut off" * 40)
    with make(path) as journal:
        assert len(journal.recover()) == 2
    assert audit(path).passed


def test_two_stations_cannot_write_one_journal(path: Path) -> None:
    with make(path), pytest.raises(JournalError, match="already writes it"):
        make(path)
    make(path).close()


def test_after_close_nothing_can_be_written(path: Path) -> None:
    journal = make(path)
    record_id = open_part(journal, 1)
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.write_verdict(record_id, REJECT, details())


# ---------------------------------------------------------------------- files that cannot be used


def test_a_file_of_another_kind_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"a letter to the plant manager " * 100)
    with pytest.raises(JournalError, match="damaged or not a journal"):
        make(path)
    assert path.read_bytes().startswith(b"a letter")
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE recipes (cake TEXT)")
    other.commit()
    other.close()
    with pytest.raises(JournalError, match="not a journal of a station"):
        make(path)
    with pytest.raises(JournalError, match="not a journal of a station"):
        JournalReader(path)


def test_a_damaged_file_is_a_clear_error(path: Path) -> None:
    with make(path) as journal:
        for part in range(1, 30):
            whole_part(journal, part)
    file = plant.active(path)
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    file.write_bytes(content)
    with pytest.raises(JournalError, match="move journal"):
        make(path)


def test_a_journal_of_a_newer_station_is_refused(path: Path) -> None:
    make(path).close()
    edit(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(JournalError, match="newer station"):
        make(path)
    with pytest.raises(JournalError, match="newer station"):
        JournalReader(path)


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(JournalError, match="journal"):
        make(tmp_path / "file" / "journal.sqlite")
    with pytest.raises(JournalError, match="is a folder"):
        make(tmp_path)


def test_a_cut_or_replaced_journal_is_not_continued(path: Path, tmp_path: Path) -> None:
    with make(path) as journal:
        whole_part(journal, 1)
    file = plant.active(path)
    old = file.read_bytes()
    with make(path) as journal:
        whole_part(journal, 2)
    file.write_bytes(old)
    with pytest.raises(JournalError, match="does not hold event 9"):
        make(path)
    file.unlink()
    with pytest.raises(JournalError, match="is missing"):
        make(path)
    with make(tmp_path / "other.sqlite") as other:
        whole_part(other, 1)
    file.write_bytes(plant.active(tmp_path / "other.sqlite").read_bytes())
    with pytest.raises(JournalError, match="not the journal"):
        make(path)


def test_a_journal_taken_away_while_the_station_runs_stops_it(path: Path) -> None:
    with make(path) as journal:
        record_id = open_part(journal, 1)
        path.rename(path.with_name("elsewhere.sqlite"))
        with pytest.raises(JournalError, match="removed or replaced"):
            journal.write_verdict(record_id, REJECT, details())
        with pytest.raises(JournalError, match="removed or replaced"):
            open_part(journal, 2)


def test_a_journal_of_schema_1_is_migrated_with_its_chain_untouched(path: Path) -> None:
    head = plant.legacy_journal(path, schema=1)
    with pytest.raises(JournalError, match="older schema 1"):
        JournalReader(path)
    with make(path) as journal:
        assert [record.part_id for record in journal.recover()] == [4, 5]
        whole_part(journal, 6)
    report = audit(path, expect_head=head)
    assert report.passed, report.findings
    assert (report.triggers, report.accepted, report.rejected, report.faulted) == (6, 2, 2, 2)
    with JournalReader(path) as reader:
        first = reader.record(1)
    assert first is not None
    assert "written" in first.stages_ms


def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    plant.legacy_journal(path, schema=1)
    edit(path, "DROP TRIGGER events_are_not_edited", "UPDATE events SET kind = 'verdict' WHERE seq = 3")
    with pytest.raises(JournalError, match="cannot be migrated"):
        make(path)
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA user_version").fetchone()[0] == 1
    assert database.execute("SELECT count(*) FROM parts").fetchone()[0] == 5
    database.close()


# ---------------------------------------------------------------------- disks that do not take it


def test_a_full_disk_fails_the_write_and_nothing_is_half_applied(tmp_path: Path) -> None:
    """On a small file system of its own, in a child with its own mounts."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = (
        f"mount -t tmpfs -o size=1m none {disk} && exec {sys.executable} {PLANT} fill {disk}/journal.sqlite"
    )
    try:
        done = run("unshare", "-r", "-m", "sh", "-c", script)
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"no mounts of its own here: {done.stderr.strip()}")
    lines = done.stdout.splitlines()
    assert "the disk is full" in lines[0], done.stdout + done.stderr
    told, triggers, accepted, still_open = map(int, lines[1].split())
    assert triggers == accepted + still_open
    assert accepted >= told > 5
    assert lines[2] == f"() {accepted} {still_open}"


def test_after_a_write_error_nothing_more_is_written_until_the_file_is_opened_again(path: Path) -> None:
    done = run(sys.executable, str(PLANT), "fill-and-go-on", str(path))
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stdout + done.stderr
    assert all("did not store the data" in line for line in lines[:2])
    report = audit(path)
    assert report.passed, report.findings
    assert report.accepted >= int(lines[2]) > 5
    with make(path) as journal:
        journal.recover()
        whole_part(journal, 1)
    assert audit(path).passed


# ---------------------------------------------------------------------- conservation under any order

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["open", "accept", "reject", "fault", "receipt", "reopen"]), st.integers(0, 30)
    ),
    max_size=40,
)


@given(steps=STEPS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_trigger_has_one_end_whatever_the_order(
    tmp_path_factory: pytest.TempPathFactory, steps: Any
) -> None:
    path = tmp_path_factory.mktemp("order") / "journal.sqlite"
    journal = make(path)
    verdicts = {"accept": ACCEPT, "reject": REJECT, "fault": FAULT}
    state: dict[int, str] = {}
    try:
        for step, pick in steps:
            if step == "open":
                state[open_part(journal, 1 + pick)] = "open"
            elif step == "reopen":
                journal.close()
                journal = make(path)
                doubtful = {record.record_id for record in journal.recover()}
                assert doubtful == {one for one, how in state.items() if how != "closed"}
                state = dict.fromkeys(state, "closed")
            elif state:
                record_id = sorted(state)[pick % len(state)]
                wanted = "decided" if step == "receipt" else "open"
                try:
                    if step == "receipt":
                        journal.write_receipt(record_id, receipt(1, 1))
                    else:
                        journal.write_verdict(record_id, verdicts[step], details())
                except JournalError:
                    assert state[record_id] != wanted
                else:
                    assert state[record_id] == wanted
                    state[record_id] = "closed" if step == "receipt" else "decided"
            counts = journal.counts()
            assert counts.triggers == len(state)
            assert counts.triggers == counts.accepted + counts.rejected + counts.faulted + counts.open
            assert counts.open == sum(how == "open" for how in state.values())
    finally:
        journal.close()
    report = audit(path)
    assert report.conserved
    assert not [one for one in report.findings if one.kind != "bin"]


# ---------------------------------------------------------------------- helpers


def edit(path: Path, *statements: str) -> None:
    database = sqlite3.connect(path)
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def die_in_doubt(path: Path) -> None:
    """A station killed with one part closed, one told but not acknowledged, one without a verdict."""
    done = run(sys.executable, str(PLANT), "die-in-doubt", str(path))
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_only_a_verdict_that_is_no_fault_can_be_withdrawn_once_and_before_its_receipt(path: Path) -> None:
    with make(path) as journal:
        record = open_part(journal, 1)
        with pytest.raises(JournalError, match="neither an accept nor a reject"):
            journal.withdraw_verdict(record, FAULT)
        journal.write_verdict(record, ACCEPT, details())
        with pytest.raises(JournalError, match="does not make the record a fault"):
            journal.withdraw_verdict(record, REJECT)
        journal.withdraw_verdict(record, FAULT)
        with pytest.raises(JournalError, match="neither an accept nor a reject"):
            journal.withdraw_verdict(record, FAULT)
        with pytest.raises(JournalError, match="second verdict"):
            journal.write_verdict(record, ACCEPT, details())
        assert (journal.counts().accepted, journal.counts().faulted) == (0, 1)


@pytest.mark.parametrize("segments", [1, 2])
def test_a_withdrawn_verdict_is_a_fault_for_every_reader_and_passes_the_audit(
    path: Path, segments: int
) -> None:
    with make(path) as journal:
        record_id = open_part(journal, 1)
        journal.write_verdict(record_id, ACCEPT, details())
        if segments == 2:
            journal.change_segment()
        journal.withdraw_verdict(record_id, FAULT)
        journal.write_receipt(record_id, receipt(1, 9))
    report = audit(path)
    assert report.findings == ()
    assert (report.accepted, report.faulted, report.segments) == (0, 1, segments)
    assert any("1 verdicts were withdrawn" in note for note in report.notes)
    with JournalReader(path) as reader:
        record = reader.record(record_id)
    assert record is not None
    assert (record.outcome, record.bin, record.acknowledged) == ("fault", 9, True)
    assert record.scores is not None, "what was measured stays"


def test_a_fault_that_replaces_a_verdict_is_not_sent_to_the_bin_of_good_parts(path: Path) -> None:
    with make(path) as journal:
        record_id = open_part(journal, 1)
        journal.write_verdict(record_id, ACCEPT, details())
        with pytest.raises(JournalError, match="the bin of good parts"):
            journal.withdraw_verdict(record_id, replace(FAULT, bin=1))
