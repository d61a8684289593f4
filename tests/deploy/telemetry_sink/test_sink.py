"""The reference consumer against a real PostgreSQL and Parquet, a real broker, and a station that sends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from deploy.telemetry_sink.__main__ import app
from deploy.telemetry_sink.holding import ASK_AGAIN_S, Fate, Holding
from deploy.telemetry_sink.stores import Batch, Gone, Parquet, Postgres, StoreError, shown
from simulation.broker import free_port
from station.journal.following import JournalFollower
from station.telemetry.lag import delivered
from station.telemetry.messages import Sender, numbered
from station.telemetry.streams import streams_of
from tests.station.telemetry.conftest import TOPIC, Bench, bench
from tests.waiting import wait_for

__all__ = ["bench"]

ROOT = Path(__file__).parents[3]
REQUIRED = {"receipts": "required", "consumers": ("historian",)}


@dataclass
class Server:
    """A PostgreSQL of its own, which can be killed."""

    folder: Path
    programs: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://plant@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        command = [str(self.programs / "postgres"), "-D", str(self.folder), "-p", str(self.port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.folder}"]
        self.process = subprocess.Popen(
            command, **_somebody(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

        def answers() -> bool:
            try:
                Postgres(self.url).close()
            except StoreError:
                return False
            return True

        wait_for(answers, 30)

    def kill(self) -> None:
        """The server and what it started; nothing is finished."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()
            self.process = None

    def rows(self, sql: str) -> list[list[Any]]:
        import pg8000.native

        with pg8000.native.Connection("plant", host="127.0.0.1", port=self.port, database="postgres") as one:
            return list(one.run(sql))


def _somebody() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not programs:
        pytest.skip("postgresql is not installed")
    folder = Path("/tmp") / f"station-postgres-{os.getpid()}"
    folder.mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody", "nogroup")
    made = Server(folder, programs[-1].parent, free_port())
    initdb = [str(made.programs / "initdb"), "-D", str(folder), "-U", "plant", "--auth", "trust", "-N"]
    subprocess.run(initdb, check=True, **_somebody(), stdout=subprocess.DEVNULL)
    made.start()
    yield made
    made.kill()
    shutil.rmtree(folder)


@pytest.fixture
def sinks(bench: Bench) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    made: list[subprocess.Popen[str]] = []

    def start(*options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "deploy.telemetry_sink", "--port", str(bench.broker.port)]
        command += ["--topic", TOPIC, *options]
        made.append(subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True))
        return made[-1]

    yield start
    for one in made:
        one.kill()
        one.communicate()


def waits(bench: Bench) -> list[int]:
    """Messages that the historian does not have, by stream, from the disk."""
    return [one.waiting for one in delivered(bench.journal.path, bench.settings(**REQUIRED))]


def test_a_sink_that_is_killed_loses_nothing_and_keeps_nothing_twice(
    bench: Bench, server: Server, sinks: Callable[..., subprocess.Popen[str]]
) -> None:
    bench.sender(**REQUIRED)
    first = sinks("--postgres", server.url, "--commit-s", "0.05")
    of_this = f"WHERE journal = '{bench.journal_id}'"
    count = f"SELECT count(*), count(DISTINCT number), max(number) FROM inspection_records {of_this}"
    bench.parts(100)
    wait_for(lambda: server.rows(count)[0][0] > 0, 30)
    first.kill()
    first.wait()
    bench.parts(100)
    sinks("--postgres", server.url)
    bench.journal.write_event("halt", {"reason": "tool change"})
    wait_for(lambda: waits(bench) == [0, 0], 30)
    assert server.rows(count) == [[200, 200, 200]]
    columns = "outcome, message->'record'->>'reason' = reason"
    found = server.rows(f"SELECT {columns} FROM inspection_records {of_this}")
    assert all(outcome in ("accept", "reject", "fault") and same for outcome, same in found)
    kinds = server.rows(f"SELECT kind FROM inspection_events {of_this} ORDER BY number")
    assert kinds[-1] == ["halt"]


@pytest.mark.slow
def test_a_database_that_is_killed_is_waited_for(
    bench: Bench, server: Server, sinks: Callable[..., subprocess.Popen[str]]
) -> None:
    bench.sender(**REQUIRED)
    sinks("--postgres", server.url)
    bench.parts(50)
    wait_for(lambda: waits(bench)[0] == 0, 30)
    server.kill()
    bench.parts(50)
    time.sleep(1.0)
    assert waits(bench)[0] == 50
    server.start()
    wait_for(lambda: waits(bench)[0] == 0, 30)
    sql = f"SELECT count(*), max(number) FROM inspection_records WHERE journal = '{bench.journal_id}'"
    assert server.rows(sql) == [[100, 100]]


@pytest.mark.slow
def test_parquet_files_hold_every_record_once_also_after_a_kill(
    bench: Bench, tmp_path: Path, sinks: Callable[..., subprocess.Popen[str]]
) -> None:
    bench.sender(**REQUIRED)
    folder = tmp_path / "parquet"
    first = sinks("--parquet", str(folder), "--commit-s", "0.2")
    bench.parts(80)
    wait_for(lambda: waits(bench)[0] == 0, 30)
    first.kill()
    first.wait()
    bench.parts(40)
    sinks("--parquet", str(folder), "--commit-s", "0.2")
    wait_for(lambda: waits(bench)[0] == 0, 30)
    files = sorted(folder.glob("records-*.parquet"), key=lambda file: int(file.stem.split("-")[2]))
    numbers = [number for file in files for number in pq.read_table(file)["number"].to_pylist()]
    assert numbers == list(range(1, 121))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give one of --postgres and --parquet"),
        (["--parquet", "x", "--postgres", "y"], "give one of"),
        (["--postgres", "mysql://a/b"], "write postgresql://user@host:5432/database"),
        (["--postgres", "postgresql://plant:secret@127.0.0.1:1/x"], "plant:***@127.0.0.1:1"),
        (["--parquet", "x", "--name", "a/b"], "write letters"),
        (["--parquet", "x", "--topic", "plant/#"], "names no one station"),
    ],
)
def test_what_a_sink_cannot_use_is_refused(
    options: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(app, ["--topic", TOPIC, *options], env={"COLUMNS": "300"})
    words = ended.output + str(ended.exception)
    assert ended.exit_code in (1, 2)
    assert said in words
    assert "secret" not in words


def test_a_password_is_never_shown() -> None:
    assert shown("postgresql://a:b:c@host/db") == "postgresql://a:***@host/db"


def test_a_folder_of_parquet_files_knows_what_it_holds_and_has_one_type_per_column(
    bench: Bench,
    tmp_path: Path,
) -> None:
    bench.parts(30)
    bench.journal.write_event("halt", {"reason": "tool change"})
    sent = Sender("station 4", bench.journal_id)
    store = Parquet(tmp_path / "parquet")
    with JournalFollower(bench.journal.path) as reader:
        read = {
            stream.name: [
                json.loads(numbered(sent, stream.name, one, repeat=False)) for one in stream.read(0, 100)
            ]
            for stream in streams_of(reader)
        }
    for low in (0, 10, 20):
        store.commit(Batch({"records": read["records"][low : low + 10]}, []))
    store.commit(Batch({"events": read["events"]}, [Gone(bench.journal_id, "records", 31, 40)]))
    (tmp_path / "parquet" / ".half.part").write_text("killed in the middle")
    again = Parquet(tmp_path / "parquet")
    assert again.held(bench.journal_id, "records") == 40
    assert again.held(bench.journal_id, "events") == read["events"][-1]["number"]
    assert again.held("another", "records") == 0
    files = sorted((tmp_path / "parquet").glob("records-*.parquet"))
    assert len({pq.read_schema(file) for file in files}) == 1
    numbers = [number for file in files for number in pq.read_table(file)["number"].to_pylist()]
    assert sorted(numbers) == list(range(1, 31))


# ---------------------------------------------------------------------- what is held


def test_a_gap_is_asked_for_once_and_again_later() -> None:
    holding = Holding("j", "records", 4)
    assert holding.take({"number": 6}) is Fate.GAP
    assert holding.asks(0.0)
    assert not holding.asks(ASK_AGAIN_S / 2)
    assert holding.asks(ASK_AGAIN_S)
    assert holding.receipt(asks=True)["missing"] == [5, None]
    assert [holding.take({"number": number}) for number in (5, 6, 6)] == [Fate.STORE, Fate.STORE, Fate.REPEAT]


@given(st.lists(st.integers(1, 12), max_size=60))
def test_whatever_comes_in_whatever_order_numbers_are_stored_once_and_in_order(came: list[int]) -> None:
    holding = Holding("j", "records", 0)
    stored = [number for number in came if holding.take({"number": number}) is Fate.STORE]
    assert stored == list(range(1, len(stored) + 1))
    assert holding.held == len(stored)


@given(st.permutations([(3, 0), (7, 3), (8, 7), (20, 8)]))
def test_events_are_stored_along_their_chain(came: list[tuple[int, int]]) -> None:
    holding = Holding("j", "events", 0)
    for _ in range(4):
        for number, previous in came:
            holding.take({"number": number, "previous": previous})
    assert holding.held == 20


def test_numbers_that_are_gone_are_passed_over() -> None:
    holding = Holding("j", "records", 4)
    assert not holding.skip(7, 9)
    assert holding.skip(1, 9)
    assert holding.take({"number": 10}) is Fate.STORE
