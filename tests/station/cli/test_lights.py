"""A light controller by hand: `station lights` against a simulated one."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulation.lights import SimulatedLights
from station.cli import app
from station.cli.ending import ExitCode, run


def station(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["station", "lights", *words])
    with pytest.raises(SystemExit) as ended:
        run("station", app)
    return int(ended.value.code or 0), "".join(capsys.readouterr())


def file_for(folder: Path, address: str, kind: str = "gardasoft") -> str:
    file = folder / "lights.yaml"
    file.write_text(f"lights:\n  kind: {kind}\n  address: {address}\n  channels: 2\n  timeout_ms: 200\n")
    return str(file)


def test_outputs_are_set_read_and_flashed(tmp_path: Path, capsys, monkeypatch) -> None:
    with SimulatedLights("gardasoft") as lights:
        file = file_for(tmp_path, lights.address)
        code, said = station(
            capsys, monkeypatch, "set", file, "2", "80", "--pulse-us", "250", "--delay-us", "40"
        )
        assert (code, said) == (0, "output 2: 80 % for 250 us after 40 us\n")
        code, said = station(capsys, monkeypatch, "read", file)
        assert code == 0
        assert said.splitlines()[-2:] == [
            "output 1: 0 % all the time",
            "output 2: 80 % for 250 us after 40 us",
        ]
        assert station(capsys, monkeypatch, "flash", file, "2") == (0, "output 2: flashed\n")
        assert lights.lamps[2].flashes == 1


def test_a_controller_that_does_not_answer_ends_with_an_error(tmp_path: Path, capsys, monkeypatch) -> None:
    with SimulatedLights("ccs") as lights:
        lights.faults.silent = True
        code, said = station(capsys, monkeypatch, "set", file_for(tmp_path, lights.address, "ccs"), "1", "10")
    assert code == ExitCode.NOT_DONE
    assert "nothing within 200 ms" in said


def test_a_file_that_cannot_be_used_is_refused_by_line_and_key(tmp_path: Path, capsys, monkeypatch) -> None:
    file = file_for(tmp_path, "tcp://lamp:1")
    code, said = station(capsys, monkeypatch, "read", file)
    assert code == ExitCode.NOT_DONE
    assert "lights.yaml:3: lights.address" in said
    code, said = station(capsys, monkeypatch, "read", file_for(tmp_path, "tcp://10.0.0.1:1", "gardasft"))
    assert code == ExitCode.NOT_DONE
    assert "gardasoft" in said
