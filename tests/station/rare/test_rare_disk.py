"""A disk that is full, broken, slow, read-only or gone costs rare parts, for all to see, and no verdict."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.station.rare.spoiled_disk import PARTS, SLOW_S

ROOT = Path(__file__).parents[3]


def test_a_spoiled_disk_costs_rare_parts_and_neither_verdicts_nor_time_and_heals_by_itself(
    tmp_path: Path,
) -> None:
    if shutil.which("cc") is None or shutil.which("unshare") is None:
        pytest.skip("no C compiler, or no unshare, here")
    shim = tmp_path / "disk.so"
    source = ROOT / "simulation" / "campaign" / "disk.c"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(shim), str(source), "-ldl"], check=True)
    done = subprocess.run(
        ["unshare", "-r", "-m", sys.executable, "-m", "tests.station.rare.spoiled_disk", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        env={
            **os.environ,
            "LD_PRELOAD": str(shim),
            "FAULT_SWITCHES": str(tmp_path / "switches"),
            "FAULT_JOURNAL": "disk/rare",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
    )
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mounts of its own here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr
    *seen, end = map(json.loads, done.stdout.splitlines())
    words = {
        "full": "the disk is full",
        "broken": "check the disk",
        "slow": "faster than they can be written",
        "really full": "the disk is full",
        "read-only": "permission",
        "gone": "the folder is there",
    }
    assert [one["fault"] for one in seen] == list(words)
    for one in seen:
        assert words[one["fault"]] in one["reason"] or "does not answer" in one["reason"], one
        assert one["p99_s"] < SLOW_S, "no verdict waited for the disk of the log"
        assert (one["state"], one["state_after"] != "degraded") == ("degraded", True), one
        assert 0 < one["lost"] <= PARTS, one
        assert one["said_lost"] == one["lost"], "the journal's event says how many"
    assert end["told"] == end["triggers"] == end["records"] == end["accepted"]
    assert end["outcomes"] == ["accept"]
