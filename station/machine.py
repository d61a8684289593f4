"""The processor this runs on: its model, its cores and its instructions, read once."""

from __future__ import annotations

import logging
import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_log = logging.getLogger(__name__)
_USEFUL = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
"""Instructions that decide how fast a network is."""


@dataclass(frozen=True, slots=True)
class Processor:
    """The processor, as the operating system describes it."""

    model: str
    flags: frozenset[str]
    """Instruction sets, by the names of /proc/cpuinfo; empty where it does not list them (arm64, macOS)."""

    @property
    def multiplies_bf16(self) -> bool:
        """Whether bf16 products are computed by the hardware; emulated, they are slower than fp32."""
        return bool(self.flags & {"amx_bf16", "avx512_bf16"})

    @property
    def useful_flags(self) -> tuple[str, ...]:
        """The instruction sets that decide how fast a network is."""
        return tuple(name for name in _USEFUL if name in self.flags)

    def __str__(self) -> str:
        known = " ".join(self.useful_flags) or "no vector extensions known"
        return f"{self.model}, {cores()} cores, {known}"


@cache
def processor() -> Processor:
    """The processor; its name alone where /proc/cpuinfo cannot be read."""
    model = platform.processor() or platform.machine()
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return Processor(model, frozenset())
    pairs = (line.partition(":") for line in text.splitlines())
    told = {key.strip(): value.strip() for key, _, value in pairs}
    return Processor(told.get("model name", model), frozenset(told.get("flags", "").split()))


def cores(root: Path = Path("/")) -> int:
    """The cores that this process may use: by its affinity, and by the quota of its control groups.

    A container with a quota of 2 on a machine of 64 cores may use 2: with 64 threads, it would compute for
    some milliseconds and then stand still until the next period. Part of a core counts for nothing, for the
    same reason; one core is the least. ``root``: where ``proc`` and ``sys`` are found.
    """
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(root)
    return mine if quota is None else max(1, min(mine, int(quota)))


def within_cores(threads: int) -> int:
    """``threads``, or as many as there are cores for them; OpenVINO itself looks at no quota."""
    found = min(threads, cores())
    if found < threads:
        _log.warning(
            "%d threads are asked for, and %d cores may be used (affinity, quota of the control group): "
            "computing on %d threads",
            threads,
            found,
            found,
        )
    return found


def _quota(root: Path) -> float | None:
    """The smallest quota of this process's control group and of those above it, in cores; None: no quota."""
    quotas: list[float] = []
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounted = root / "sys/fs/cgroup" / controllers
        inside = Path(group.lstrip("/"))
        for folder in (
            inside,
            *inside.parents,
        ):  # a group of a container may begin above its mount: not found
            quotas += _quota_v1(mounted / folder) if controllers else _quota_v2(mounted / folder)
    return min(quotas, default=None)


def _quota_v2(folder: Path) -> list[float]:
    """From ``cpu.max``: quota and period, microseconds; ``max``: no quota."""
    return _cores_of(" ".join(_lines(folder / "cpu.max")).split())


def _quota_v1(folder: Path) -> list[float]:
    """From ``cpu.cfs_quota_us`` and ``cpu.cfs_period_us``; a quota of -1: none."""
    return _cores_of([*_lines(folder / "cpu.cfs_quota_us"), *_lines(folder / "cpu.cfs_period_us")])


def _cores_of(words: list[str]) -> list[float]:
    if len(words) != 2 or not all(word.isdigit() for word in words) or int(words[1]) == 0:
        return []
    return [int(words[0]) / int(words[1])]


def _lines(path: Path) -> list[str]:
    """The lines of a file of the kernel; none where it is not there."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
