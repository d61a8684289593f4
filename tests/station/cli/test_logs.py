"""The log: one line per event, in the form its reader wants, and never in the line's way."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from station.cli.logs import (
    OFTEN,
    WAITING,
    WINDOW_S,
    ForJournald,
    Json,
    LogFormat,
    Plain,
    Repeats,
    ThreadedHandler,
    written_by_a_thread,
)
from station.cli.logs import formatter as formatter_for
from tests.station.conftest import Plant


def record(message: str, level: int = logging.WARNING, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("station.line", level, "", 0, message, None, None)
    made.fields = fields
    return made


def with_traceback() -> logging.LogRecord:
    try:
        raise ValueError("first line\nsecond line")
    except ValueError:
        return logging.LogRecord("station.line", logging.ERROR, "", 0, "part 3: failed", None, sys.exc_info())


def test_journald_gets_a_priority_on_every_line_and_no_time() -> None:
    lines = ForJournald().format(with_traceback()).splitlines()
    assert lines[0] == "<3>station.line: part 3: failed"
    assert len(lines) > 3
    assert all(line.startswith("<3>") for line in lines)
    for level, priority in ((10, 7), (20, 6), (30, 4), (35, 4), (40, 3), (50, 2)):
        assert ForJournald().format(record("x", level)) == f"<{priority}>station.line: x"


def test_json_is_one_object_per_line_with_fields_and_code() -> None:
    line = Json().format(record("part 7: fault: F106 incomplete frame", part=7, outcome="fault"))
    assert "\n" not in line
    found = json.loads(line)
    assert found["code"] == "F106"
    assert (found["part"], found["outcome"], found["level"], found["priority"]) == (7, "fault", "warning", 4)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", found["time"])
    assert "ValueError: first line" in json.loads(Json().format(with_traceback()))["traceback"]
    assert "code" not in json.loads(Json().format(record("F999 is nobody's code")))


@pytest.mark.parametrize("form", [Plain(), ForJournald(), Json()])
def test_what_comes_from_outside_neither_ends_a_line_nor_colours_it(form: logging.Formatter) -> None:
    said = form.format(record("camera 'a\x1b[31mred\r\n<0>station: all is well\x07' is lost"))
    assert "\n" not in said
    assert "\x1b" not in said
    assert "\r" not in said
    assert "\x07" not in said


@pytest.mark.parametrize("form", [Plain(), ForJournald(), Json()])
def test_a_password_in_a_url_is_not_written(form: logging.Formatter) -> None:
    said = form.format(record("sftp://station:s3cret@workshop/in and mqtt://tok3n@broker: refused"))
    assert "s3cret" not in said
    assert "tok3n" not in said
    assert "sftp://***@workshop/in" in said


def test_a_message_that_repeats_is_written_a_few_times_and_then_counted() -> None:
    repeats = Repeats()
    looks = [repeats.look(record("camera still lost: %s"), n * 0.1) for n in range(50)]
    assert [written for written, _ in looks] == [True] * OFTEN + [False] * (50 - OFTEN)
    assert repeats.look(record("another"), 5.0) == (True, 0)
    assert repeats.look(record("camera still lost: %s"), WINDOW_S + 0.1) == (True, 50 - OFTEN)


def test_faults_repeat_by_their_code_and_good_parts_never() -> None:
    repeats = Repeats()
    faults = [repeats.look(record("part %d", part=n, code=f"F10{n % 2}"), 0.0)[0] for n in range(100)]
    assert sum(faults) == 2 * OFTEN
    assert all(repeats.look(record("part %d", logging.INFO, part=n), 0.0)[0] for n in range(100))


class Blocked(io.StringIO):
    """A terminal that takes nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def write(self, text: str) -> int:
        self.go_on.wait(20)
        return super().write(text)


@pytest.fixture
def blocked() -> Iterator[tuple[logging.Logger, Blocked, ThreadedHandler]]:
    stream, logger = Blocked(), logging.Logger("test", logging.INFO)
    handler = ThreadedHandler(stream, Plain())
    logger.addHandler(handler)
    yield logger, stream, handler
    stream.go_on.set()
    handler.close()


def test_a_reader_that_takes_nothing_keeps_nobody_waiting_and_what_is_lost_is_counted(
    blocked: tuple[logging.Logger, Blocked, ThreadedHandler],
) -> None:
    logger, stream, handler = blocked
    begun = time.monotonic()
    for n in range(3 * WAITING):
        logger.info("line %d", n)
    assert time.monotonic() < begun + 5
    stream.go_on.set()
    handler.close()
    lines = stream.getvalue().splitlines()
    lost = sum(int(found[1]) for line in lines if (found := re.search(r"(\d+) lines were lost", line)))
    assert lost + sum("line " in line for line in lines) == 3 * WAITING
    assert lost > WAITING


def test_a_station_writes_one_line_per_part_with_the_fields_of_its_verdict(
    plant: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "station.line")
    plant.run(1, 2, 3)
    parts = [one for one in caplog.records if "part" in getattr(one, "fields", {})]
    assert [one.fields["part"] for one in parts] == [1, 2, 3]  # type: ignore[attr-defined]
    assert {one.levelname for one in parts} == {"INFO"}
    assert parts[0].fields["outcome"] == "accept"  # type: ignore[attr-defined]
    assert "part 1: accept to bin" in parts[0].getMessage()


def test_under_systemd_lines_are_for_journald_and_elsewhere_for_people() -> None:
    program = (
        "import logging, sys; from station.cli.ending import run\n"
        "run('station', lambda: logging.getLogger('x').warning('hello'))"
    )
    read_end, write_end = os.pipe()
    try:
        there = os.fstat(write_end)
        for journal, said in (
            (f"{there.st_dev}:{there.st_ino}", "<4>x: hello\n"),
            ("0:0", " WARNING x: hello\n"),
        ):
            environment = os.environ | {"JOURNAL_STREAM": journal, "FORCE_COLOR": "1"}
            subprocess.run([sys.executable, "-c", program], stderr=write_end, env=environment, check=True)
            assert os.read(read_end, 4096).decode().endswith(said)
    finally:
        os.close(read_end)
        os.close(write_end)


def test_after_a_run_the_log_goes_where_it_went_before(capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogger().handlers[:]
    with written_by_a_thread(LogFormat.JSON):
        logging.getLogger("station.line").warning("F102 camera lost")
    assert logging.getLogger().handlers == before
    assert json.loads(capsys.readouterr().err)["code"] == "F102"


def test_a_stream_without_a_file_is_no_journal() -> None:
    assert isinstance(formatter_for(LogFormat.AUTO, io.StringIO()), Plain)
