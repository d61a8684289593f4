"""The log of rare parts is whole wherever its process was killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def test_killed_before_any_of_its_writes_the_log_has_whole_items_and_drops_none_for_nothing(
    tmp_path: Path,
) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here")
    shim = tmp_path / "disk.so"
    source = ROOT / "simulation" / "campaign" / "disk.c"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(shim), str(source), "-ldl"], check=True)
    done = subprocess.run(
        [sys.executable, "-m", "tests.station.rare.killed_anywhere", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        env={
            **os.environ,
            "LD_PRELOAD": str(shim),
            "FAULT_JOURNAL": f"{tmp_path}/rare",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > 20, "the file, its folder, the row, the items that make room, the word"
