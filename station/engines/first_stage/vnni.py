"""Whether the kernel of a first stage can be compiled here: asked of the compiler, not of the system.

LLVM ends the process when it is to write an instruction that the processor it compiles for does not have.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import binding  # type: ignore[import-untyped]


def lanes() -> int:
    """Channels that one instruction computes: 16 with AVX-512 VNNI, 8 with AVX VNNI, 0 with neither."""
    if _told():
        return 0
    try:
        known = binding.get_host_cpu_features()
    except RuntimeError:  # LLVM does not know this processor
        return 0
    if known.get("avx512vnni") and known.get("avx512bw") and known.get("avx512vl"):
        return 16
    return 8 if known.get("avxvnni") and known.get("avx2") else 0


def refusal() -> str:
    """Why there is no kernel here; empty where there is one."""
    if setting := _told():
        return f"{setting} is set, so that numba does not compile for this processor; unset it"
    return "" if lanes() else "this processor has no VNNI (avx512_vnni or avx_vnni); use openvino"


def _told() -> str:
    """The setting by which numba compiles for another processor than this one, or not at all; or nothing."""
    config: Any = numba.config
    asked = {
        "NUMBA_CPU_NAME": config.CPU_NAME,
        "NUMBA_CPU_FEATURES": config.CPU_FEATURES,
        "NUMBA_ENABLE_AVX=0": not config.ENABLE_AVX,
        "NUMBA_DISABLE_JIT": config.DISABLE_JIT,
    }
    return next((name for name, is_set in asked.items() if is_set), "")
