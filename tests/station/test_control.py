"""The control socket: what can be asked, who may ask, and callers that mean no good."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from drivers import heartbeat
from drivers.sorters.interface import Outcome
from station.config import load_config
from station.control import ControlError, ask
from station.control.server import CALLERS, PATIENCE_S, ControlServer
from station.journal.reading import JournalReader
from station.observers import Observers
from station.running import Station
from station.watcher import Thread, threads

if TYPE_CHECKING:
    from station.line import Line
    from tests.station.conftest import Plant

DEMO = Path(__file__).parents[2] / "config" / "demo.yaml"


@dataclass
class Controlled:
    plant: Plant
    line: Line
    server: ControlServer
    path: Path

    def get(self) -> dict[str, Any]:
        return ask(self.path, "GET", "/status")

    def post(self, what: str, **body: object) -> dict[str, Any]:
        return ask(self.path, "POST", what, body)

    def raw(self) -> socket.socket:
        caller = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        caller.settimeout(8)
        while True:
            try:
                caller.connect(str(self.path))
            except BlockingIOError:  # the backlog is full
                time.sleep(0.001)
            else:
                return caller

    def inspect(self, *parts: int) -> float:
        """Inspect parts, and say how long it took, s."""
        done = len(self.plant.sorter.told) + len(parts)
        begun = time.monotonic()
        self.plant.sorter.ask(*parts)
        while len(self.plant.sorter.told) < done:
            assert time.monotonic() < begun + 30, "the line stands still"
            time.sleep(0.002)
        return time.monotonic() - begun


@pytest.fixture
def path() -> Iterator[Path]:
    """Short: a socket's path may have 107 characters."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "control.sock"


def a_station(plant: Plant) -> Station:
    line = plant.line(deadline_s=20)
    text = DEMO.read_text().replace("../", f"{plant.journal.path.parent}/")
    file = plant.journal.path.with_name("station.yaml")
    file.write_text(text)
    return Station(line, load_config(file), plant.journal, Observers(), [])


@pytest.fixture
def controlled(plant: Plant, path: Path) -> Iterator[Controlled]:
    station = a_station(plant)
    with ControlServer(station, path) as server:
        station.line.start()
        yield Controlled(plant, station.line, server, path)
        station.line.stop()


def test_the_status_says_what_a_person_wants_to_know(controlled: Controlled) -> None:
    controlled.inspect(1, 2, 3)
    found = controlled.get()
    assert found["state"] == "ready"
    assert found["prepared"]["recipe"] == "strip"
    assert found["prepared"]["engine_digest"] == "0" * 64
    assert (found["parts"]["triggers"], found["parts"]["accepted"]) == (3, 3)
    assert found["trigger_to_ms"]["verdict"]["count"] == 3
    assert [queue["name"] for queue in found["queues"]] == ["frames", "patches", "scores"]
    assert found["camera"]["connected"]
    assert found["sorter"]["description"] == "scripted"
    assert found["journal"]["records"] == 3
    assert len(found["journal"]["head"]["digest"]) == 64
    assert found["disk_free_mb"]["journal"] > 0


def test_halt_and_resume_take_effect_and_carry_the_reason(controlled: Controlled) -> None:
    assert controlled.post("/halt", reason="tool change")["state"] == "halted"
    assert controlled.plant.sorter.ready[-1] == (False, "F603 tool change")
    assert controlled.post("/resume")["state"] == "ready"
    controlled.inspect(1)
    assert controlled.plant.outcomes() == {1: Outcome.ACCEPT}


def test_marks_stand_in_the_record_of_every_part_from_then_on(controlled: Controlled) -> None:
    controlled.inspect(1)
    assert controlled.post("/marks", lot="4711-B", operator="J. Novak")["marks"]["lot"] == "4711-B"
    controlled.inspect(2)
    controlled.post("/marks")
    controlled.inspect(3)
    lots = {record.part_id: (record.lot, record.operator) for record in controlled.plant.records().values()}
    assert lots == {1: (None, None), 2: ("4711-B", "J. Novak"), 3: (None, None)}


def test_a_persons_word_stands_in_the_chain_and_the_record_stays(controlled: Controlled) -> None:
    controlled.inspect(7)
    controlled.post("/review", part=7, class_name="scratches", by="J. Novak")
    with JournalReader(controlled.plant.journal.path) as reader:
        (said,) = reader.station_events(kinds=("review",))
        assert said.values == {"class_name": "scratches", "by": "J. Novak", "verdict": "defect-free"}
        assert said.record_id == 1
    assert controlled.plant.outcomes() == {7: Outcome.ACCEPT}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"record": 99, "class_name": "scratches", "by": "A"}, "no record 99"),
        ({"part": 99, "class_name": "scratches", "by": "A"}, "no part 99"),
        ({"record": 1, "class_name": "rust", "by": "A"}, "the classes defect-free, scratches"),
        ({"class_name": "scratches", "by": "A"}, "either the record's number or the part id"),
        ({"record": 1, "class_name": "scratches", "by": ""}, "by: "),
    ],
)
def test_a_review_that_cannot_be_right_is_refused(
    controlled: Controlled, body: dict[str, Any], problem: str
) -> None:
    controlled.inspect(1)
    with pytest.raises(ControlError, match=problem):
        controlled.post("/review", **body)
    with JournalReader(controlled.plant.journal.path) as reader:
        assert not list(reader.station_events(kinds=("review",)))


def test_what_cannot_be_prepared_is_refused_and_changes_nothing(controlled: Controlled) -> None:
    for what, body, problem in (
        ("/prepare", {"recipe": "no-such-recipe"}, "no-such-recipe"),
        ("/activate", {"engine": "no-such-engine"}, "no-such-engine"),
    ):
        with pytest.raises(ControlError, match=problem):
            controlled.post(what, **body)
    assert controlled.get()["prepared"]["recipe"] == "strip"


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("/prepare", {}),
        ("/prepare", {"recipe": "../../etc/passwd"}),
        ("/prepare", {"recipe": 7}),
        ("/activate", {"engine": "/tmp"}),
        ("/halt", {"reason": "two\nlines"}),
        ("/halt", {"reason": "x" * 300}),
        ("/halt", {"why": "unknown key"}),
        ("/explode", {}),
        ("/status", {}),
    ],
)
def test_an_order_that_is_no_order_is_refused_in_words(
    controlled: Controlled, what: str, body: dict[str, Any]
) -> None:
    with pytest.raises(ControlError):
        controlled.post(what, **body)
    assert controlled.get()["state"] == "ready"


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\xff nonsense \r\n\r\n",
        b"GET /nowhere HTTP/9.9\r\n\r\n",
        b"GET /status HTTP/1.1\r\n" + b"x" * 100_000,
        b"POST /halt HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n{{{",
        b"POST /halt HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n" + b"y" * 40_000,
        b"POST /halt HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_nonsense_is_answered_or_dropped_and_touches_nothing(controlled: Controlled, sent: bytes) -> None:
    with controlled.raw() as caller:
        try:
            caller.sendall(sent)
            answer = caller.recv(4096)
        except (ConnectionResetError, BrokenPipeError):
            answer = b""
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert controlled.get()["state"] == "ready"
    assert controlled.inspect(1, 2, 3) < 5


def test_callers_in_crowds_that_say_nothing_or_never_read_hold_nobody_up(controlled: Controlled) -> None:
    silent = [controlled.raw() for _ in range(100)]
    for caller in silent[::2]:
        try:
            caller.sendall(b"GET /status HTTP/1.1\r\nhost: x\r\n\r\n" * 50)
        except OSError:
            continue
    assert controlled.inspect(*range(1, 41)) < 10
    until = time.monotonic() + 20
    while True:
        try:
            assert controlled.get()["parts"]["accepted"] == 40
            break
        except ControlError:
            assert time.monotonic() < until, "those who say nothing are never dropped"
            time.sleep(0.1)
    for caller in silent:
        caller.close()


def test_whoever_says_nothing_is_dropped_and_makes_room(controlled: Controlled) -> None:
    silent = [controlled.raw() for _ in range(CALLERS)]
    time.sleep(PATIENCE_S + 0.5)
    assert controlled.get()["state"] == "ready"
    for caller in silent:
        caller.close()


def test_the_end_waits_for_no_caller(plant: Plant, path: Path) -> None:
    with ControlServer(a_station(plant), path):
        caller = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        caller.connect(str(path))
        caller.sendall(b"POST /halt HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n")
        time.sleep(0.2)
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    assert not path.exists()
    caller.close()


def test_only_owner_and_group_may_use_the_socket_whatever_the_mask_is(plant: Plant, path: Path) -> None:
    before = os.umask(0)
    try:
        with ControlServer(a_station(plant), path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
    finally:
        os.umask(before)


def test_the_signal_handlers_of_the_process_are_left_alone(controlled: Controlled) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    controlled.get()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert signal.SIG_DFL in handlers or signal.default_int_handler in handlers


def test_the_socket_of_a_killed_station_is_replaced_and_a_living_ones_is_respected(
    plant: Plant, path: Path
) -> None:
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    dead.bind(str(path))
    dead.close()
    station = a_station(plant)
    with ControlServer(station, path):
        assert ask(path, "GET", "/status")["state"] == "preoperational"
        with pytest.raises(ControlError, match="another station uses it"):
            ControlServer(station, path).open()
        assert ask(path, "GET", "/status")["state"] == "preoperational"


def test_a_file_that_is_no_socket_is_never_taken_away(plant: Plant, path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(ControlError, match="another file exists there"):
        ControlServer(a_station(plant), path).open()
    assert path.read_text() == "precious"


def test_a_path_that_is_too_long_for_a_socket_is_said(plant: Plant, path: Path) -> None:
    with pytest.raises(ControlError, match=r"too long: name another path, `paths.control`"):
        ControlServer(a_station(plant), path.with_name("x" * 150)).open()


def test_whoever_asks_where_no_station_runs_is_told_so(path: Path) -> None:
    with pytest.raises(ControlError, match="no station runs here"):
        ask(path, "GET", "/status")
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    dead.bind(str(path))
    dead.close()
    with pytest.raises(ControlError, match=r"has ended; start it again"):
        ask(path, "GET", "/status")


def test_what_does_not_answer_like_a_station_is_said(path: Path) -> None:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))
    listening.listen()

    def answer() -> None:
        answers = [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", b"220 mail here\r\n"]
        while answers:
            caller, _ = listening.accept()
            with caller:
                if caller.recv(1000):  # else somebody only looked whether we are here
                    caller.sendall(answers.pop())

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    for _ in range(2):
        with pytest.raises(ControlError, match="does not answer like a station"):
            ask(path, "GET", "/status")
    with pytest.raises(ControlError, match=r"did not answer within 0\.2 s"):
        ask(path, "GET", "/status", timeout_s=0.2)
    thread.join()
    listening.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_who_may_not_ask_is_told_who_may(controlled: Controlled) -> None:
    controlled.path.parent.chmod(0o755)
    program = (
        "import sys; from pathlib import Path; from station.control import ControlError, ask\n"
        "try: ask(Path(sys.argv[1]), 'GET', '/status')\n"
        "except ControlError as error: print(error)"
    )
    os_level = f"import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n{program}"
    prelude = "import station.control, httpx\n"  # before the rights to read it are given up
    done = subprocess.run(
        [sys.executable, "-c", prelude + os_level, str(controlled.path)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=DEMO.parents[1],
        check=False,
    )
    assert "may be used by its owner and group only, user 0 and group 0" in done.stdout, done.stderr


def test_a_changeover_that_takes_its_time_holds_up_neither_the_status_nor_the_end(
    plant: Plant, path: Path
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @dataclass(frozen=True)
    class Slow(Station):
        def prepare(self, recipe: str) -> None:
            begun.set()
            go_on.wait(30)

    station = a_station(plant)
    slow = Slow(station.line, station.config, station.journal, station.observers, [])
    refused: list[ControlError] = []

    def prepare() -> None:
        try:
            ask(path, "POST", "/prepare", {"recipe": "shaft"})
        except ControlError as error:
            refused.append(error)

    asking = threading.Thread(target=prepare)
    with ControlServer(slow, path):
        asking.start()
        assert begun.wait(60)
        assert ask(path, "GET", "/status")["state"] == "preoperational"
        ending = time.monotonic()
    assert time.monotonic() - ending < 5
    go_on.set()
    asking.join()
    assert refused, "whoever asked is not left without an answer"


def test_the_control_thread_gives_signs_of_life_and_no_part_needs_it(controlled: Controlled) -> None:
    def seen() -> list[Thread]:
        memory = os.pread(heartbeat.file_descriptor(), heartbeat.SIZE, 0)
        return [one for one in threads(memory) if one.name == "control"]

    (first,) = seen()
    assert not first.vital
    until = time.monotonic() + 5
    while seen()[0].deadline_ns == first.deadline_ns:
        assert time.monotonic() < until, "it is not heard of again"
        time.sleep(0.05)
    controlled.server.close()
    assert seen() == []
