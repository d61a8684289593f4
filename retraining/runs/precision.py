"""The arithmetic that a training runs with."""

from __future__ import annotations

from pathlib import Path

import torch


def resolve_precision(asked: str, device: torch.device | None = None) -> str:
    """``fp32`` or ``bf16``; bf16 without hardware for it is about half as fast as fp32. Default: the CPU."""
    if asked != "auto":
        return asked
    if device is not None and device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "fp32"
    return "bf16" if "amx_bf16" in flags or "avx512_bf16" in flags else "fp32"
