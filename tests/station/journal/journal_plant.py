"""A station as the journal sees it: helpers of the journal's tests, and a program that gets killed.

Run as ``python journal_plant.py SCENARIO JOURNAL``; the tests load it with ``runpy``.
"""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from drivers.sorters.interface import Outcome, Receipt, Trigger
from station.decision import Verdict
from station.journal import CameraUsed, Journal, JournalError, PartDetails, PartMarks
from station.journal.audit import audit
from station.journal.segments import segment_files

__all__ = ["CameraUsed", "PartMarks"]

CLASSES = ("defect-free", "pits", "scratches")
RECIPE: Any = SimpleNamespace(
    name="strip",
    version=3,
    digest="d" * 64,
    text="",
    fault_bin=9,
    classes=[SimpleNamespace(name=name, bin=number + 1) for number, name in enumerate(CLASSES)],
)
REGION: Any = SimpleNamespace(x=10, y=20, width=1065, height=3584, lean_x=0, lean_y=0)
SCORES = np.array([[0.9, 0.06, 0.04], [0.8, 0.1, 0.1]], np.float32)
ACCEPT = Verdict(Outcome.ACCEPT, 0, "defect-free", 0.8, 1, 1, "all 2 patches defect-free")
REJECT = Verdict(Outcome.REJECT, 1, "pits", 0.93, 0, 2, "patch 0: pits 0.930 (most probable class)")
FAULT = Verdict(Outcome.FAULT, 255, "fault", 0.0, None, 9, "no frame: nothing for 0.5 s")
VERDICTS = (ACCEPT, REJECT, FAULT)


def active(path: Path) -> Path:
    """The file of the segment that is written."""
    files = segment_files(path)
    return files[max(files)]


def legacy_journal(path: Path, *, schema: int = 2) -> str:
    """A journal as the release before segments left it, killed with two parts in doubt; its head.

    Parts 1 to 3 are accepted, rejected and faulted, 4 was sent and not acknowledged, 5 has no verdict.
    """
    database = sqlite3.connect(path)
    database.executescript(Path(__file__).with_name("schema-2.sql").read_text())
    head = database.execute("SELECT digest FROM head").fetchone()[0]
    if schema == 1:  # no head, no view, fewer columns in parts
        database.executescript(
            """
            DROP VIEW records;
            DROP TABLE head;
            ALTER TABLE parts DROP COLUMN written_ms;
            ALTER TABLE parts DROP COLUMN told_ms;
            ALTER TABLE parts DROP COLUMN region_lean_x;
            ALTER TABLE parts DROP COLUMN region_lean_y;
            PRAGMA user_version = 1;
            """
        )
    database.close()
    return str(head)


def make(path: Path) -> Journal:
    return Journal(path, station="test")


def details(**changes: Any) -> PartDetails:
    now = time.monotonic_ns()
    values: dict[str, Any] = {
        "stages_ns": dict.fromkeys(("trigger", "frame", "cut", "scored", "decided"), now),
        "frame_id": 7,
        "lost_before": 0,
        "frame_complete": True,
        "region": REGION,
        "scores": SCORES,
        "engine_digest": "e" * 64,
        "backend": "openvino",
        "precision": "int8",
    }
    return PartDetails(**(values | changes))


def receipt(part_id: int, bin_: int, **changes: Any) -> Receipt:
    now = time.monotonic_ns()
    return Receipt(**({"part_id": part_id, "acknowledged": True, "bin": bin_, "at_ns": now} | changes))


def open_part(journal: Journal, part_id: int, *, recipe: str = "") -> int:
    trigger = Trigger(part_id, recipe, time.monotonic_ns())
    return journal.open_part(trigger, recipe=RECIPE, mode="cell", is_simulated=True)


def whole_part(journal: Journal, part_id: int, verdict: Verdict = ACCEPT) -> int:
    record_id = open_part(journal, part_id)
    journal.write_verdict(record_id, verdict, PartDetails() if verdict is FAULT else details())
    journal.write_receipt(record_id, receipt(part_id, verdict.bin))
    return record_id


def say(*words: object) -> None:
    """One line in one write, so that a kill cannot tear it."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def _die_in_doubt(path: Path) -> None:
    """Killed with one part closed, one told but not acknowledged, one without a verdict."""
    journal = make(path)
    whole_part(journal, 1)
    journal.flush()
    told = open_part(journal, 2)
    open_part(journal, 3)
    journal.write_verdict(told, REJECT, details())
    os.kill(os.getpid(), signal.SIGKILL)


def _load(path: Path) -> None:
    """Under load from three threads until killed; says what it was promised, the moment it was."""
    journal = make(path)
    say("recovered", len(journal.recover()))

    def work() -> None:
        for number in range(1, 1_000_000):
            verdict = VERDICTS[number % 3]
            record_id = open_part(journal, number)
            say("opened", record_id)
            journal.write_verdict(record_id, verdict, details())
            say("told", record_id, verdict.outcome, verdict.bin)
            journal.write_receipt(record_id, receipt(number, verdict.bin))
            if record_id % 10 == 0:
                journal.change_segment()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _again_and_again(path: Path) -> None:
    """For every line on standard input a fresh process under load, which the test kills."""
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            say("pid", os.getpid())
            _load(path)
        os.waitpid(child, 0)
        say("died")


def _steady(path: Path) -> None:
    """One part after the other until killed or refused; says what was promised, and when."""
    journal = make(path)
    journal.recover()
    say("begun")
    try:
        for number in range(1, 1_000_000):
            record_id = open_part(journal, number)
            journal.write_verdict(record_id, REJECT, details())
            say("told", record_id, journal.head.seq, time.monotonic())
            journal.write_receipt(record_id, receipt(number, REJECT.bin))
            time.sleep(0.002)
    except JournalError as error:
        say("refused", time.monotonic(), error)
        time.sleep(60)


def _idle(path: Path) -> None:
    """One part, then nothing; says when the journal itself finds that something is wrong."""
    journal = make(path)
    journal.recover()
    whole_part(journal, 1)
    journal.flush()
    say("begun")
    while not journal.problem:
        time.sleep(0.01)
    say("found", time.monotonic(), journal.problem)
    time.sleep(60)


def _fill(path: Path) -> None:
    """Until the disk does not take more."""
    journal = make(path)
    told = 0
    try:
        for part in range(1, 10_000):
            whole_part(journal, part)
            told += 1
    except JournalError as error:
        say(error)
    counts = journal.counts()
    say(told, counts.triggers, counts.accepted, counts.open)
    journal.close()
    report = audit(path)
    say(report.findings, report.accepted, report.open)


def _fill_and_go_on(path: Path) -> None:
    """The disk refuses, then takes again: nothing more may be written to this opened file."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    journal = make(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    told = 0
    try:
        for part in range(1, 10_000):
            whole_part(journal, part)
            told += 1
    except JournalError as error:
        say(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    try:
        open_part(journal, 1)
    except JournalError as error:
        say(error)
    say(told)


if __name__ == "__main__":
    scenarios = {
        "die-in-doubt": _die_in_doubt,
        "again-and-again": _again_and_again,
        "steady": _steady,
        "idle": _idle,
        "fill": _fill,
        "fill-and-go-on": _fill_and_go_on,
    }
    scenarios[sys.argv[1]](Path(sys.argv[2]))
