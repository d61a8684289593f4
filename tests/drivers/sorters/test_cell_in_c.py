"""The example cell in C, which shares no code with the station: two ptys, and a wire between them."""

import os
import pty
import select
import subprocess
import threading
import tty
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from drivers.sorters.interface import Outcome, Receipt, Result
from drivers.sorters.serial import SerialSettings, SerialSorter
from tests.waiting import PATIENCE_S

SOURCE = Path(__file__).parents[3] / "docs" / "examples" / "cell.c"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("cell") / "cell"
    strict = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-fsanitize=undefined"]
    subprocess.run(["cc", *strict, "-o", str(made), str(SOURCE)], check=True)
    return made


@dataclass
class Line:
    """Two ends by name, and a thread that copies between them."""

    ends: tuple[int, int] = (-1, -1)
    names: tuple[str, str] = ("", "")
    stop: threading.Event = field(default_factory=threading.Event)

    def serve(self) -> None:
        one, other = self.ends
        while not self.stop.is_set():
            for end in select.select([one, other], [], [], 0.05)[0]:
                os.write(other if end == one else one, os.read(end, 4096))


@pytest.fixture
def line() -> Iterator[Line]:
    pairs = [pty.openpty() for _ in range(2)]
    for _, slave in pairs:
        tty.setraw(slave)
    made = Line((pairs[0][0], pairs[1][0]), (os.ttyname(pairs[0][1]), os.ttyname(pairs[1][1])))
    thread = threading.Thread(target=made.serve)
    thread.start()
    yield made
    made.stop.set()
    thread.join()
    for pair in pairs:
        for end in pair:
            os.close(end)


@pytest.fixture
def sorter(line: Line) -> Iterator[SerialSorter]:
    made = SerialSorter(SerialSettings(port=line.names[0], ack_timeout_ms=3000))
    made.open()
    yield made
    made.close()


def run(program: Path, line: Line, *words: object) -> subprocess.Popen[str]:
    command = [str(program), line.names[1], *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(cell: subprocess.Popen[str]) -> list[str]:
    said, complaints = cell.communicate(timeout=60)
    assert (cell.returncode, complaints) == (0, "")
    return said.splitlines()


def judge(sorter: SerialSorter, parts: int) -> list[Receipt]:
    """Reject every third part, accept the others."""
    receipts: list[Receipt] = []
    for _ in range(parts):
        trigger = sorter.wait_trigger(PATIENCE_S)
        assert trigger is not None
        sorter.acknowledge(trigger)
        bad = trigger.part_id % 3 == 0
        outcome, bin_ = (Outcome.REJECT, 9) if bad else (Outcome.ACCEPT, 0)
        sorter.send(Result(trigger.part_id, outcome, bin_, int(bad), "scratch" if bad else ""))
        receipt = sorter.wait_receipt(PATIENCE_S)
        assert receipt is not None
        receipts.append(receipt)
    return receipts


def expected(parts: int) -> list[str]:
    return [
        f"part {i} bin {9 if i % 3 == 0 else 0} {'accept' if i % 3 else 'reject'}"
        for i in range(1, parts + 1)
    ]


def test_a_cell_in_c_sorts_every_part_into_the_bin_of_its_verdict(
    program: Path, line: Line, sorter: SerialSorter
) -> None:
    sorter.set_ready(True)
    cell = run(program, line, 20)
    assert all(receipt.acknowledged for receipt in judge(sorter, 20))
    assert ended(cell) == expected(20)
    assert sorter.health().garbled == 0
    assert "cell.c" in sorter.health().description


def test_a_cell_in_c_loses_and_spoils_messages_and_sorts_every_part_once_all_the_same(
    program: Path, line: Line, sorter: SerialSorter
) -> None:
    sorter.set_ready(True)
    cell = run(program, line, 30, 11)
    judge(sorter, 30)
    assert ended(cell) == expected(30)
    assert sorter.health().garbled > 0


def test_without_a_verdict_in_time_the_cell_in_c_rejects(
    program: Path, line: Line, sorter: SerialSorter
) -> None:
    sorter.set_ready(True)
    cell = run(program, line, 1)
    trigger = sorter.wait_trigger(PATIENCE_S)
    assert trigger is not None
    sorter.acknowledge(trigger)
    assert ended(cell) == ["part 1 bin 9 no verdict in time"]
    sorter.send(Result(1, Outcome.ACCEPT, 0, 0, ""))
    receipt = sorter.wait_receipt(PATIENCE_S)
    assert receipt is not None
    assert not receipt.acknowledged


def test_an_accept_into_the_reject_bin_is_no_accept_for_the_cell_in_c(
    program: Path, line: Line, sorter: SerialSorter
) -> None:
    sorter.set_ready(True)
    cell = run(program, line, 1)
    trigger = sorter.wait_trigger(PATIENCE_S)
    assert trigger is not None
    sorter.send(Result(1, Outcome.ACCEPT, 5, 0, ""))
    assert ended(cell) == ["part 1 bin 9 outcome and bin contradict"]
    receipt = sorter.wait_receipt(PATIENCE_S)
    assert receipt is not None
    assert receipt.bin == 9


def test_a_station_that_is_restarted_makes_the_cell_in_c_reject_what_it_asked_before(
    program: Path, line: Line, sorter: SerialSorter
) -> None:
    sorter.set_ready(True)
    cell = run(program, line, 2)
    assert sorter.wait_trigger(PATIENCE_S) is not None
    sorter.close()
    after = SerialSorter(SerialSettings(port=line.names[0]))
    after.open()
    after.set_ready(True)
    trigger = after.wait_trigger(10.0)
    assert trigger is not None
    after.send(Result(trigger.part_id, Outcome.ACCEPT, 0, 0, ""))
    assert ended(cell)[-1] == "part 2 bin 0 accept"
    after.close()
