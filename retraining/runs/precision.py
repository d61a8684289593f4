"""The arithmetic that a training runs with."""

from __future__ import annotations

import torch

from station.machine import processor


def resolve_precision(asked: str, device: torch.device | None = None) -> str:
    """``fp32`` or ``bf16``; bf16 without hardware for it is about half as fast as fp32. Default: the CPU."""
    if asked != "auto":
        return asked
    if device is not None and device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if processor().multiplies_bf16 else "fp32"
