"""Wherever an updater is killed, what it trusts never goes back, and the next update ends its work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("step", [37, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(1300)])])
def test_killed_before_any_of_its_writes_an_updater_goes_on(
    tmp_path: Path, memory: Path, tiny_engine_master: Path, step: int
) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here")
    shim = tmp_path / "disk.so"
    source = ROOT / "simulation" / "campaign" / "disk.c"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(shim), str(source), "-ldl"], check=True)
    module = (sys.executable, "-m", "tests.deploy.killed_updater")
    done = subprocess.run(
        [*module, str(memory), str(tiny_engine_master), str(step)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280 if step > 1 else 1200,
        env={
            **os.environ,
            "LD_PRELOAD": str(shim),
            "FAULT_JOURNAL": f"{memory}/struck",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > 100, "roots, metadata, a bundle of 20 files, and the store"
