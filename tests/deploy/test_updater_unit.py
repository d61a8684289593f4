"""The updater's unit and timer, as systemd itself reads them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SYSTEMD = ROOT / "systemd"


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The unit with a program that is there, its timer, and what `updates on` adds."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = (SYSTEMD / "station-updater.service").read_text()
    (tmp_path / "station-updater.service").write_text(re.sub(r"ExecStart=\S+", f"ExecStart={program}", unit))
    shutil.copy(SYSTEMD / "station-updater.timer", tmp_path)
    (tmp_path / "station-updater.service.d").mkdir()
    drop_in = (
        (SYSTEMD / "drop-ins" / "repositories.conf").read_text().replace("ADDRESSES", "10.1.2.7 fd00::7")
    )
    (tmp_path / "station-updater.service.d" / "repositories.conf").write_text(drop_in)
    return tmp_path


def systemd_says(*command: str) -> subprocess.CompletedProcess[str]:
    assert shutil.which(command[0]), f"{command[0]} is missing: bash deploy/system-packages.sh tests"
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", ["station-updater.service", "station-updater.timer"])
def test_systemd_has_nothing_to_say_about_the_updater(units: Path, name: str) -> None:
    found = systemd_says("systemd-analyze", "verify", "--man=no", str(units / name))
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize(("allowed", "most"), [(False, 1.2), (True, 1.5)])
def test_the_updater_exposes_little(units: Path, allowed: bool, most: float) -> None:
    unit = units / "station-updater.service"
    if allowed:
        unit.write_text(unit.read_text() + (units / f"{unit.name}.d" / "repositories.conf").read_text())
    found = systemd_says("systemd-analyze", "security", "--no-pager", "--offline=true", str(unit))
    score = re.search(r"Overall exposure level for station-updater\.service: ([\d.]+)", found.stdout)
    assert score, found.stdout + found.stderr
    assert float(score[1]) <= most


def test_the_updater_is_no_other_user_and_writes_only_engines_and_its_own_folder() -> None:
    unit = (SYSTEMD / "station-updater.service").read_text()
    assert "\nUser=station-updater\nGroup=station\n" in unit
    assert re.findall(r"^ReadWritePaths=(.*)$", unit, re.MULTILINE) == ["/var/lib/station/engines"]
