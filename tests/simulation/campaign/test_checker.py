"""The checker of the fault campaign: a plant in order passes, and every forged file is found."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from simulation.campaign.checker import Violation, check, clean_outcomes, read_evidence

CLEAN = ("accept", "accept", "reject")
GOOD_BIN, FAULT_BIN = 1, 6
PARTS = 12


class Files:
    """The files of a plant that sorted twelve parts, every third one defective."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = folder / "journal.db"
        for name in ("journal.db.000001", "journal.db.000002"):
            with closing(sqlite3.connect(folder / name)) as base, base:
                base.execute(
                    "CREATE TABLE parts (record_id INTEGER PRIMARY KEY, part_id, outcome, bin, frame_id,"
                    " written_ms, recovered)"
                )
                base.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, record_id, kind)")
        self.cell: list[dict[str, Any]] = []
        self.wire: list[dict[str, Any]] = []
        self.camera: list[dict[str, Any]] = []
        for part in range(1, PARTS + 1):
            outcome = CLEAN[(part - 1) % len(CLEAN)]
            bin_ = GOOD_BIN if outcome == "accept" else 3
            self.sql(
                part, "INSERT INTO parts VALUES (?, ?, ?, ?, ?, 90.0, 0)", part, part, outcome, bin_, part
            )
            for kind in ("opened", "verdict", "receipt"):
                self.sql(part, "INSERT INTO events (record_id, kind) VALUES (?, ?)", part, kind)
            on_wire = {"part_id": part, "session": 7, "trigger": 100 + part}
            for what in ("trigger", "trigger-ack"):
                self.wire.append({"what": what, **on_wire})
            self.wire.append({"what": "result", "outcome": outcome, "bin": bin_, **on_wire})
            self.cell.append(
                {
                    "part_id": part,
                    "trigger": 100 + part,
                    "triggered_ns": part,
                    "outcome": outcome,
                    "bin": bin_,
                }
            )
            self.camera.append({"part_id": part, "frame_id": part, "spoilt": ""})

    def sql(self, part: int, statement: str, *values: object) -> None:
        """In the segment that has the part's record: the first six are in the first one."""
        name = "journal.db.000001" if part <= PARTS // 2 else "journal.db.000002"
        with closing(sqlite3.connect(self.folder / name)) as base, base:
            base.execute(statement, values)

    def sets(self, part: int, **values: object) -> None:
        for name, value in values.items():
            self.sql(part, f"UPDATE parts SET {name} = ? WHERE part_id = ?", value, part)

    def violations(self) -> list[Violation]:
        logs = {"cell-0001.jsonl": self.cell, "wire.jsonl": self.wire, "camera.jsonl": self.camera}
        for name, lines in logs.items():
            (self.folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
        evidence = read_evidence(self.folder, self.journal, CLEAN, deadline_ms=2000, good_bin=GOOD_BIN)
        assert evidence.records, "nothing was read"
        return check(evidence, all_settled=True)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_a_plant_in_order_breaks_no_law(files: Files) -> None:
    assert files.violations() == []


def _record_gone(files: Files) -> None:
    files.sql(5, "DELETE FROM parts WHERE part_id = 5")
    files.sql(5, "DELETE FROM events WHERE record_id = 5")


def _last_record_gone(files: Files) -> None:
    files.sql(12, "DELETE FROM parts WHERE part_id = 12")


def _record_twice(files: Files) -> None:
    files.sql(12, "INSERT INTO parts VALUES (13, 12, 'reject', 3, 12, 90.0, 0)")
    files.sql(12, "INSERT INTO events (record_id, kind) VALUES (13, 'opened'), (13, 'verdict')")


def _two_verdicts(files: Files) -> None:
    files.sql(8, "INSERT INTO events (record_id, kind) VALUES (8, 'verdict')")


def _never_opened(files: Files) -> None:
    files.sql(8, "DELETE FROM events WHERE record_id = 8 AND kind = 'opened'")


def _no_outcome(files: Files) -> None:
    files.sets(7, outcome=None, bin=None)


def _sorted_twice(files: Files) -> None:
    files.cell.append(dict(files.cell[4]))


def _record_without_trigger(files: Files) -> None:
    files.wire = [line for line in files.wire if line["part_id"] != 9]


def _two_results(files: Files) -> None:
    files.wire.append({**next(line for line in files.wire if line["what"] == "result"), "outcome": "fault"})


def _defective_accepted(files: Files) -> None:
    files.sets(3, outcome="accept", bin=GOOD_BIN)
    for line in (files.cell[2], next(x for x in files.wire if x["part_id"] == 3 and x["what"] == "result")):
        line.update(outcome="accept", bin=GOOD_BIN)


def _accepted_on_a_spoilt_frame(files: Files) -> None:
    files.camera[3]["spoilt"] = "camera-black"


def _accepted_on_a_frame_that_lost_packets(files: Files) -> None:
    files.camera[3]["spoilt"] = "packets-lost"


def _accepted_on_the_next_ones_frame(files: Files) -> None:
    files.camera[3]["part_id"] = 5


def _accepted_without_a_frame(files: Files) -> None:
    files.sets(4, frame_id=None)


def _accepted_too_late(files: Files) -> None:
    files.sets(4, written_ms=2001.0)


def _accept_in_a_reject_bin(files: Files) -> None:
    files.sets(4, bin=3)


def _in_the_good_bin_by_itself(files: Files) -> None:
    files.cell[2]["bin"] = GOOD_BIN


def _sent_otherwise_than_written(files: Files) -> None:
    files.sets(4, outcome="fault", bin=FAULT_BIN)


FORGED: dict[Callable[[Files], None], tuple[str, int]] = {
    _record_gone: ("conservation", 5),
    _last_record_gone: ("nothing lost", 12),
    _record_twice: ("conservation", 12),
    _two_verdicts: ("conservation", 8),
    _never_opened: ("conservation", 8),
    _no_outcome: ("conservation", 7),
    _sorted_twice: ("conservation", 5),
    _record_without_trigger: ("conservation", 9),
    _two_results: ("conservation", 1),
    _defective_accepted: ("fail closed", 3),
    _accepted_on_a_spoilt_frame: ("fail closed", 4),
    _accepted_on_a_frame_that_lost_packets: ("fail closed", 4),
    _accepted_on_the_next_ones_frame: ("fail closed", 4),
    _accepted_without_a_frame: ("fail closed", 4),
    _accepted_too_late: ("fail closed", 4),
    _accept_in_a_reject_bin: ("fail closed", 4),
    _in_the_good_bin_by_itself: ("fail closed", 3),
    _sent_otherwise_than_written: ("nothing lost", 4),
}


@pytest.mark.parametrize("forge", FORGED, ids=lambda forge: forge.__name__.strip("_"))
def test_a_forged_file_is_found_with_its_law_and_its_part(
    files: Files, forge: Callable[[Files], None]
) -> None:
    forge(files)
    found = {(one.law, one.part_id) for one in files.violations()}
    assert FORGED[forge] in found


def test_a_part_that_goes_on_in_the_next_segment_has_one_record(files: Files) -> None:
    with closing(sqlite3.connect(files.folder / "journal.db.000001")) as base, base:
        base.execute("INSERT INTO parts VALUES (7, 7, NULL, NULL, NULL, NULL, 0)")
    assert files.violations() == []


def test_the_last_line_of_a_log_that_a_kill_cut_short_is_no_line(files: Files) -> None:
    files.violations()
    with (files.folder / "camera.jsonl").open("a") as log:
        log.write('{"part_id": 1')
    evidence = read_evidence(files.folder, files.journal, CLEAN, deadline_ms=2000, good_bin=GOOD_BIN)
    assert len(evidence.camera) == PARTS


def test_pictures_without_a_steady_outcome_are_named() -> None:
    lines = [{"part_id": 1, "outcome": "accept"}, {"part_id": 3, "outcome": "reject"}]
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        clean_outcomes(lines, 2)
    assert clean_outcomes([*lines[:1], {"part_id": 2, "outcome": "reject"}], 2) == ["accept", "reject"]
