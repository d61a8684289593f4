"""The processor this runs on: its model, its cores and its instructions, read once."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

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


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
