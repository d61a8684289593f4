"""How many cores this process may use, by files as the kernel writes them."""

import os
from pathlib import Path

import pytest

from station.machine import cores, within_cores


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))


def _machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    """A root whose /proc/self/cgroup has the lines of ``groups``, and files below /sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return root


@pytest.mark.parametrize(
    ("groups", "files", "wanted"),
    [
        ("0::/station\n", {"station/cpu.max": "200000 100000"}, 2),
        ("0::/station\n", {"station/cpu.max": "max 100000"}, 8),
        ("0::/\n", {"cpu.max": "300000 100000"}, 3),
        # Part of a core is none; one is the least.
        ("0::/station\n", {"station/cpu.max": "250000 100000"}, 2),
        ("0::/station\n", {"station/cpu.max": "50000 100000"}, 1),
        # The smallest quota on the way up counts.
        (
            "0::/plant/cell/station\n",
            {"plant/cpu.max": "300000 100000", "plant/cell/station/cpu.max": "600000 100000"},
            3,
        ),
        # A quota beyond the machine changes nothing.
        ("0::/station\n", {"station/cpu.max": "6400000 100000"}, 8),
        # Version 1, also with its two controllers in one folder, and beside version 2.
        (
            "3:memory:/a\n2:cpu:/a\n0::/\n",
            {"cpu/a/cpu.cfs_quota_us": "150000", "cpu/a/cpu.cfs_period_us": "50000"},
            3,
        ),
        (
            "4:cpu,cpuacct:/a\n",
            {"cpu,cpuacct/a/cpu.cfs_quota_us": "-1", "cpu,cpuacct/a/cpu.cfs_period_us": "100000"},
            8,
        ),
        (
            "4:cpu,cpuacct:/docker/1f\n",  # of the host; inside, the container's own group is the top
            {"cpu,cpuacct/cpu.cfs_quota_us": "400000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            4,
        ),
        ("1:cpuset:/a\n", {"cpuset/a/cpu.cfs_quota_us": "1", "cpuset/a/cpu.cfs_period_us": "100000"}, 8),
        # What is no quota is none.
        ("0::/station\n", {"station/cpu.max": "junk"}, 8),
        ("0::/station\n", {"station/cpu.max": "100000 0"}, 8),
        ("nonsense\n\n", {}, 8),
    ],
)
def test_the_quota_of_control_groups_limits_the_cores(
    tmp_path: Path, groups: str, files: dict[str, str], wanted: int
) -> None:
    assert cores(_machine(tmp_path, groups, files)) == wanted


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert cores(tmp_path) == 8


def test_an_engine_computes_on_no_more_threads_than_there_are_cores(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    assert within_cores(1) == 1
    assert not caplog.records
    assert within_cores(64) == 1
    assert "64 threads are asked for" in caplog.text
