"""Every command ends with a code of one table; only an error of this software shows a traceback."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from drivers.errors import InspectionError, explain_os_error
from retraining.cli import app as retrain
from station.cli import app as station
from station.cli.ending import MEANINGS, ExitCode, run

ROOT = Path(__file__).parents[3]


def ended_by(error: BaseException) -> int:
    def command() -> None:
        raise error

    with pytest.raises(SystemExit) as end:
        run("station", command)
    return int(end.value.code or 0)


def test_a_run_that_ended_leaves_the_signals_of_its_process_as_they_were(tmp_path: Path) -> None:
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    assert CliRunner().invoke(station, ["run", "--config", str(tmp_path / "none.yaml")]).exit_code
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InspectionError("the camera is gone: plug it in"), ExitCode.NOT_DONE),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.yaml"), ExitCode.NOT_DONE),
        (OSError(errno.ENOSPC, "No space left on device"), ExitCode.NOT_DONE),
        (OSError("something else"), ExitCode.CRASHED),
        (ValueError("a mistake of ours"), ExitCode.CRASHED),
        (RecursionError(), ExitCode.CRASHED),
        (SystemExit(1), ExitCode.FINDINGS),
    ],
    ids=repr,
)
def test_an_error_of_this_software_has_an_exit_code_of_its_own(
    error: BaseException, code: ExitCode, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended_by(error) == code
    said = capsys.readouterr().err
    assert ("Traceback" in said) == (code is ExitCode.CRASHED)
    assert ("please report" in said) == (code is ExitCode.CRASHED)


def test_a_reader_that_has_ended_is_not_taken_for_rejected_parts() -> None:
    keys = [sys.executable, "-m", "station.cli", "config", "keys"]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as output:
        done = subprocess.run(keys, stdout=output, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    assert done.returncode == ExitCode.PIPE_CLOSED
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("app", [station, retrain], ids=["station", "retrain"])
def test_the_help_and_the_documents_have_the_same_table(app: typer.Typer) -> None:
    shown = " ".join(CliRunner().invoke(app, ["--help"], env={"COLUMNS": "500"}).output.split())
    table = (ROOT / "docs" / "exit-codes.md").read_text()
    for code, meaning in MEANINGS.items():
        assert f"{code.value} {meaning}" in shown
        assert f"| {code.value} | {meaning} |" in table


def test_no_command_ends_with_a_number_that_is_not_in_the_table() -> None:
    known = {str(code.value) for code in ExitCode}
    for folder in ("station/cli", "retraining/cli"):
        for file in (ROOT / folder).glob("*.py"):
            ends = re.findall(r"(?:typer\.Exit|sys\.exit)\((\d+)", file.read_text())
            assert set(ends) <= known, file


@pytest.mark.parametrize(
    "words",
    [
        ("station", "journal", "list", "--since", "99999999d"),
        ("station", "journal", "list", "--since", "9" * 400 + "w"),
        ("station", "journal", "list", "--until", "0001-01-01T00:00+14:00"),
        ("station", "journal", "list", "--until", "10000-01-01"),
        ("station", "journal", "list", "--part", "9" * 30),
        ("station", "journal", "show", "9" * 30),
        ("station", "journal", "events", "--limit", "9" * 30),
        ("station", "bench", "--seconds", "inf"),
        ("station", "bench", "--seconds", "1e300"),
        ("station", "bench", "--rounds", "999999999"),
        ("station", "engines", "backends", "--threads", "999999999"),
        ("retrain", "classifier", "--dataset", "there", "--threads", "999999999"),
        ("station", "engines", "backends", "--seconds", "nan"),
        ("retrain", "classifier", "--dataset", "there", "--epochs", "inf"),
        ("retrain", "classifier", "--dataset", "there", "--learning-rate", "nan"),
    ],
    ids=lambda words: " ".join(words)[:60],
)
def test_an_absurd_number_or_time_is_refused(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke({"station": station, "retrain": retrain}[words[0]], [*words[1:]])
    assert done.exit_code == ExitCode.NOT_DONE, done.output
    assert "Invalid value" in done.output


def test_a_full_disk_is_told_from_used_up_inodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    assert "free some space" in explain_os_error(full, tmp_path / "a")
    found = os.statvfs(tmp_path)
    used_up = os.statvfs_result((*found[:5], 1000, 0, 0, *found[8:]))
    monkeypatch.setattr(os, "statvfs", lambda path: used_up)
    assert "inodes are used up" in explain_os_error(full, tmp_path / "a")


def test_a_thread_that_was_given_up_is_not_torn_out_of_its_library_at_the_end() -> None:
    script = """
import atexit, threading
from station.cli.ending import leave_threads
atexit.register(print, "Python ends the thread")
leave_threads(1)
threading.Thread(target=threading.Event().wait, daemon=True).start()
print("stopped")
leave_threads(3)
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "stopped\n", "")
