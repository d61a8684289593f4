"""What the first stage of an INT8 network computes, as the numbers of its ONNX file say it.

For every channel c, with the pixels p (uint8; 0 outside of the patch), the weights w (int8) and the bias b
(int32) of the convolution::

    sum[y, x, c] = b[c] + sum over 5 x 5 of p * w[c]                    exact, 32 bits
    out[y, x, c] = clip(rint(float32(largest of 2 x 2 sums) * factor[c]), 0, 255)

This is QLinearConv of ONNX Runtime, the reference that golden parts are recorded with, followed by the pool:
``factor`` is (scale of the picture * scale of the weights) / scale of the output in float32, and ties are
rounded to even. The pool comes first, because all that follows a sum is monotone where the factor is
positive; the clip at 0 is the ReLU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from station.engines.interface import EngineError

KERNEL = 5
"""Side of the convolution, px."""
BORDER = KERNEL // 2
"""Zeros around the patch, px."""
CHANNELS = 32
"""The channels of the output are a multiple of it."""
SIDE = 4
"""The side of a patch is a multiple of it, px."""
LARGEST_BIAS = 2**31 - 1 - KERNEL * KERNEL * 255 * 128
"""Steps; with it, no sum leaves 32 bits."""
_MONOTONE = "the pool may come before the rounding only where it is monotone"


@dataclass(frozen=True, slots=True, eq=False)
class FirstStage:
    """The numbers of a first stage; whoever makes one asks :meth:`require_computable`."""

    side: int
    """Of a patch, px."""
    weights: NDArray[np.int8]
    """``(channels, 5, 5)``."""
    bias: NDArray[np.int32]
    """``(channels,)``, in steps of the sums."""
    factors: NDArray[np.float32]
    """``(channels,)``, steps of the output for one step of the sums."""
    scale: np.float32
    """What one step of the output is worth."""
    pooled_again: bool
    """Whether the network also reads the output through a 3 x 3 pool with steps of 1."""

    @property
    def channels(self) -> int:
        """The channels of the output."""
        return len(self.bias)

    def require_computable(self) -> None:
        """Raise :class:`EngineError` for numbers with which the arithmetic above is not exact."""
        wrong = []
        if self.channels % CHANNELS or not self.channels:
            wrong.append(f"{self.channels} channels are no multiple of {CHANNELS}")
        if self.side % SIDE or not self.side:
            wrong.append(f"patches of {self.side} px are no multiple of {SIDE} px")
        if self.weights.shape != (self.channels, KERNEL, KERNEL):
            wrong.append(f"the weights are {self.weights.shape}, not {KERNEL} x {KERNEL} for each channel")
        positive = np.isfinite(self.factors) & (self.factors > 0)
        if self.factors.shape != self.bias.shape or not positive.all():
            wrong.append(f"not every scale is a positive number; {_MONOTONE}")
        if self.channels and int(np.abs(self.bias.astype(np.int64)).max()) > LARGEST_BIAS:
            wrong.append("a bias is so large that a sum may not fit into 32 bits")
        if wrong:
            raise EngineError("its first stage is not one that the kernel computes: " + "; ".join(wrong))
