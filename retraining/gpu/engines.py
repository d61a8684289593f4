"""How fast the shipped network is on a GPU: by torch as well as it can, and by the product's own back end."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PART = 16
"""Patches of a part."""
_COPY_BYTES = 1 << 29


def torch_figures(engine: Path, batch: int, calls: int, device: torch.device) -> dict[str, Any]:
    """The network in bf16, channels last, uint8 patches in, on a GPU as one CUDA graph.

    Every call copies ``batch`` patches to the device and the probabilities back. The floor is what the
    device's memory needs to write and read every layer's result once, and the weights, as fast as a copy.
    """
    from deploy.scoring import onnx_scorer
    from models.classifiers import CLASSIFIERS
    from retraining.shipping.export import Deployable, fold_batch_norm
    from retraining.shipping.fine_tuning import weights_of_engine
    from station.engines.folder import load_manifest

    manifest = load_manifest(engine)
    side, classes = manifest.patch_px, len(manifest.classes)
    network = CLASSIFIERS[manifest.network](classes, manifest.channels, side, 0.0)
    rng = np.random.default_rng(0)
    patches = rng.integers(60, 180, (batch, side, side, manifest.channels), dtype=np.uint8)
    weights_of_engine(manifest.files["fp32"], network, patches[:8])
    deployed = _InBf16(Deployable(fold_batch_norm(network)).eval().requires_grad_(False)).to(device)
    host = torch.from_numpy(patches)
    given = host.to(device)
    compute = _captured(deployed, given) if device.type == "cuda" else lambda: deployed(given)
    if device.type == "cuda":
        host = host.pin_memory()

    def call() -> Tensor:
        given.copy_(host, non_blocking=True)
        return compute().to("cpu")

    with torch.inference_mode():
        expected = onnx_scorer(manifest.files["fp32"])(patches[:PART])
        apart = float(np.abs(call().numpy()[: len(expected)] - expected).max())
        seconds = timed(call, calls)
        moved = _bytes_moved(deployed, given)
    p50 = statistics.median(seconds)
    return {
        "parts/s": batch / PART / p50,
        "ms": 1e3 * p50,
        "p99 ms": 1e3 * float(np.quantile(seconds, 0.99)),
        "floor ms": 1e3 * moved / _copy_speed(device),
        "largest difference of a probability": apart,
    }


class _InBf16(nn.Module):
    """uint8 patches ``(N, H, W, C)`` to probabilities float32; everything between in bf16."""

    def __init__(self, whole: nn.Module) -> None:
        super().__init__()
        network = whole.network
        assert isinstance(network, nn.Module)
        self.network = network.to(torch.bfloat16)
        for weight in self.network.parameters():
            if weight.dim() == 4:
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)

    def forward(self, patches: Tensor) -> Tensor:
        """``(N, H, W, C)`` uint8 -> ``(N, classes)`` float32."""
        scaled = patches.permute(0, 3, 1, 2).to(torch.bfloat16, memory_format=torch.channels_last) / 255.0
        return torch.softmax(self.network(scaled).float(), dim=1)


def _captured(network: nn.Module, given: Tensor) -> Callable[[], Tensor]:
    """The network's work on ``given`` as one CUDA graph."""
    with torch.inference_mode():
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                network(given)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found: Tensor = network(given)

    def compute() -> Tensor:
        graph.replay()
        return found

    return compute


def timed(call: Callable[[], object], calls: int) -> list[float]:
    """Seconds of each of ``calls`` calls, after a tenth as many to warm up."""
    for _ in range(max(2, calls // 10)):
        call()
    seconds = []
    for _ in range(calls):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return seconds


def _bytes_moved(network: nn.Module, given: Tensor) -> int:
    """Bytes where no layer is fused with the next: each result twice, weights and patches once."""
    moved = given.numel() + sum(p.numel() * p.element_size() for p in network.parameters())

    def count(module: nn.Module, before: object, after: Tensor) -> None:
        nonlocal moved
        moved += 2 * after.numel() * after.element_size()

    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    network(given)
    for hook in hooks:
        hook.remove()
    return moved


def _copy_speed(device: torch.device) -> float:
    """Bytes per second, read and written, of a copy within the device's memory."""
    source = torch.zeros(
        _COPY_BYTES // (1 if device.type == "cuda" else 32), dtype=torch.uint8, device=device
    )
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return 2 * source.numel() / statistics.median(timed(copy, 10))


def onnxruntime_figures(engine: Path, calls: int, backend: str) -> dict[str, Any]:
    """The product's own back end, proven by the golden parts of the engine, one part per call."""
    from station.engines import open_engine

    opened = open_engine(engine, backend=backend, precision="fp32")
    try:
        info = opened.info
        side = info.patch_px
        rng = np.random.default_rng(0)
        patches = rng.integers(60, 180, (PART, side, side, info.channels), dtype=np.uint8)
        seconds = timed(lambda: opened.probabilities(patches, timeout_s=60), calls)
    finally:
        opened.close()
    p50 = statistics.median(seconds)
    return {
        "parts/s": 1 / p50, "ms": 1e3 * p50, "p99 ms": 1e3 * float(np.quantile(seconds, 0.99)),
        "device": info.device, "golden parts": "proven",
    }  # fmt: skip
