"""`kill -9` at any moment: no verdict that was sent is lost, every trigger has one end."""

from __future__ import annotations

import os
import random
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from station.journal.audit import audit
from station.journal.reading import JournalReader

PLANT = Path(__file__).with_name("journal_plant.py")
plant = SimpleNamespace(**runpy.run_path(str(PLANT)))


def kill_at_random_moments(path: Path, rounds: int, seed: int) -> None:
    """Kill a station under load again and again, on one journal; after each kill hold it to its words."""
    moments = random.Random(seed)
    opened: set[int] = set()
    told: dict[int, tuple[str, int]] = {}
    program = subprocess.Popen(
        [sys.executable, str(PLANT), "again-and-again", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert program.stdin is not None
    assert program.stdout is not None
    with program:
        for number in range(rounds):
            program.stdin.write("go\n")
            pid = int(program.stdout.readline().split()[1])
            # Every fifth one while the file is being opened and recovered, the others under load.
            if number % 5:
                assert program.stdout.readline().startswith("recovered")
                time.sleep(moments.uniform(0.0, 0.12))
            else:
                time.sleep(moments.uniform(0.0, 0.02))
            os.kill(pid, signal.SIGKILL)
            for line in program.stdout:
                word, *rest = line.split()
                if word == "died":
                    break
                if word == "opened":
                    assert int(rest[0]) not in opened, "a record number was given twice"
                    opened.add(int(rest[0]))
                elif word == "told":
                    told[int(rest[0])] = rest[1], int(rest[2])
            if not path.exists():
                assert not opened
                continue
            if number % 10 == 9 or number == rounds - 1:
                hold_to_its_words(path, opened, told)
        program.stdin.close()
    assert told, "the station was never under load"
    with plant.make(path) as journal:
        journal.recover()
        counts = journal.counts()
    assert counts.open == 0
    assert counts.triggers == counts.accepted + counts.rejected + counts.faulted >= len(opened)
    assert audit(path).passed
    hold_to_its_words(path, opened, told)


def hold_to_its_words(path: Path, opened: set[int], told: dict[int, tuple[str, int]]) -> None:
    report = audit(path)
    assert report.passed, report.findings
    assert report.conserved
    with JournalReader(path) as reader:
        records = {record.record_id: record for record in reader.records(scores=False)}
    assert opened <= records.keys()
    for record_id, (outcome, bin_) in told.items():
        assert (records[record_id].outcome, records[record_id].bin) == (outcome, bin_)
    for record in records.values():
        assert record.outcome == "accept" or record.bin != plant.ACCEPT.bin


def test_no_verdict_that_was_told_is_lost_by_a_kill_at_a_random_moment(tmp_path: Path) -> None:
    kill_at_random_moments(tmp_path / "journal.sqlite", rounds=30, seed=1)


@pytest.mark.slow
def test_two_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    kill_at_random_moments(tmp_path / "journal.sqlite", rounds=200, seed=2)
