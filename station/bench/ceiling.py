"""The most that this processor multiplies and adds in INT8, measured, and what a network needs of it.

The limit is what OpenVINO reaches on layers that suit a processor best: a chain of wide 3 x 3 convolutions
and a chain of wide 1 x 1 convolutions, 8-bit from end to end, with nothing else to do. The better one counts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from station.engines.backends.openvino_engine import core_of_this_process
from station.engines.folder import EngineManifest, load_manifest, model_bytes

_CHAINS = ((128, 32, 3), (512, 16, 1))
"""Channels, height and width (px), and side of the kernel, of each chain."""
_LAYERS = 24
"""So many that what comes before the first one costs little beside them."""


@dataclass(frozen=True, slots=True)
class _Chain:
    compiled: Any
    macs: float
    """Multiply-accumulates of one inference."""


class Ceiling:
    """Measures the limit with as many one-thread streams as there are threads. Raises ImportError."""

    def __init__(self, threads: int) -> None:
        settings = {"NUM_STREAMS": threads, "INFERENCE_NUM_THREADS": threads}
        core = core_of_this_process()
        self._threads = threads
        self._chains = [
            _Chain(core.compile_model(chain(*shape), "CPU", settings), macs_of(chain(*shape)))
            for shape in _CHAINS
        ]

    def gmacs_per_s(self, seconds: float = 0.25) -> float:
        """10^9 multiply-accumulates per second; each chain is run for ``seconds``."""
        return max(self._measured(one, seconds) for one in self._chains)

    def _measured(self, one: _Chain, seconds: float) -> float:
        import openvino

        queue = openvino.AsyncInferQueue(one.compiled, 2 * self._threads)
        shape = one.compiled.input(0).shape
        picture = np.random.default_rng(0).random(tuple(shape), np.float32)
        for _ in range(len(queue)):  # the first inference of a request plans its memory
            queue.start_async({0: picture})
        queue.wait_all()
        started, number = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            queue.start_async({0: picture})
            number += 1
        queue.wait_all()
        return number * one.macs / (time.perf_counter() - started) / 1e9


def chain(channels: int, side: int, kernel: int) -> Any:
    """An OpenVINO model of equal INT8 convolutions, one behind the other. Raises ImportError."""
    import openvino
    from openvino import opset13 as ops

    rng = np.random.default_rng(1)
    given = ops.parameter([1, channels, side, side], np.float32)
    node = ops.fake_quantize(given, 0.0, 1.0, 0.0, 1.0, 256)
    pad = [kernel // 2] * 2
    for _ in range(_LAYERS):
        integers = rng.integers(-127, 128, (channels, channels, kernel, kernel), np.int8)
        step = np.float32(1 / (127 * channels * kernel))
        weights = ops.multiply(ops.convert(ops.constant(integers), "f32"), ops.constant(step))
        node = ops.convolution(node, weights, [1, 1], pad, pad, [1, 1])
        node = ops.fake_quantize(ops.relu(node), 0.0, 1.0, 0.0, 1.0, 256)
    return openvino.Model([ops.reduce_max(node, [2, 3])], [given])


def macs_per_patch(manifest: EngineManifest) -> float:
    """Multiply-accumulates of an engine's network for one patch. Raises :class:`EngineError`, ImportError."""
    model = core_of_this_process().read_model(model_bytes(manifest, "fp32"))
    model.reshape([1, manifest.patch_px, manifest.patch_px, manifest.channels])
    return macs_of(model)


def macs_of(model: Any) -> float:
    """Multiply-accumulates of the convolutions and matrix products of an OpenVINO model of fixed shapes."""
    total = 0.0
    for node in model.get_ops():
        kind = node.get_type_name()
        if kind not in ("Convolution", "GroupConvolution", "MatMul"):
            continue
        values = float(np.prod(tuple(node.output(0).shape)))
        first, second = (tuple(node.input_value(place).shape) for place in (0, 1))
        if kind == "MatMul":
            depth = first[-2] if node.get_attributes()["transpose_a"] else first[-1]
        else:
            depth = np.prod(second[1 if kind == "Convolution" else 2 :])
        total += values * float(depth)
    return total


class Limit:
    """The limit during a run, and which share of it a path reaches; says so where it cannot be measured."""

    def __init__(self, folder: Path, threads: int) -> None:
        """Of the engine in ``folder``. Raises :class:`EngineError`."""
        self.found: list[float] = []
        """One figure per round, 10^9 multiply-accumulates per second; empty without OpenVINO."""
        self._ceiling: Ceiling | None = None
        try:
            self._ceiling = Ceiling(threads)
            self._macs = macs_per_patch(load_manifest(folder))
        except ImportError:
            return

    def measure(self) -> None:
        """Measure once; between the paths of a run."""
        if self._ceiling is not None:
            self.found.append(self._ceiling.gmacs_per_s())

    def share(self, patches_per_s: float) -> str:
        """The share of the limit at this pace, in words."""
        if not self.found:
            return "not run"
        return f"{patches_per_s * self._macs / 1e9 / float(np.median(self.found)):.0%}"

    def said(self) -> str:
        """The limit in one sentence."""
        if not self.found:
            return "limit of the processor: not run, OpenVINO is not installed"
        return (
            f"limit of the processor, measured: {np.median(self.found):.0f} ({min(self.found):.0f} to "
            f"{max(self.found):.0f}) x 10^9 INT8 multiply-accumulates per second; a patch needs "
            f"{self._macs / 1e9:.3f} x 10^9"
        )
