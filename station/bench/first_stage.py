"""What the first stage of an INT8 network costs: in OpenVINO, by our kernel, and by plain loops.

``python -m station.bench.first_stage`` prints microseconds of one patch on one thread, and the processor time
of one part by both back ends, in turn. Processor time hardly changes when other processes run beside it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from station.quiet import switch_off


def main() -> None:
    """Measure in turn; medians and the shortest times of all rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", type=Path, default=Path("engines/servo-motor-housing"))
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    switch_off()
    from station.engines.backends import fused_engine, openvino_engine
    from station.engines.first_stage import vnni
    from station.engines.first_stage.recognise import take_out
    from station.engines.folder import load_manifest, model_bytes
    from station.engines.interface import EngineOptions
    from station.engines.prove import golden_patches
    from station.machine import processor

    print(f"{processor()}; 1 thread")
    manifest = load_manifest(given.engine)
    patches = golden_patches(manifest)
    patch = np.ascontiguousarray(patches[0, :, :, 0])
    core = openvino_engine.core_of_this_process()
    model = openvino_engine.read_network(core, model_bytes(manifest, "int8"), manifest, 1)
    request = _counting(core, model)
    stage, _ = take_out(openvino_engine.read_network(core, model_bytes(manifest, "int8"), manifest, 1))
    loops = _plain_loops()
    half = stage.side // 2
    by_loops = np.empty((half, half, stage.channels), np.uint8)
    sums = np.empty((2, stage.side), np.float32)
    padded = np.pad(patch, 2).astype(np.float32)
    of_loops = (padded, stage.weights.astype(np.float32), stage.bias.astype(np.float32), stage.factors)
    ways: dict[str, Callable[[], float]] = {
        "OpenVINO, until the first pool": lambda: _until_first_pool(request, patches[:1]),
        "plain loops, compiled by numba": lambda: _wall_us(lambda: loops(*of_loops, sums, by_loops)),
    }
    engines = {"openvino": openvino_engine.load(manifest, "int8", EngineOptions(threads=1, chunk=1))}
    if reason := vnni.refusal():
        print(f"{fused_engine.NAME}: not run, {reason}")
    else:
        from station.engines.first_stage.kernel import Kernel, Memory

        kernel, memory = Kernel(stage), Memory(stage)
        out, again = kernel.output(2)
        ways["our kernel"] = lambda: _wall_us(lambda: kernel.run(patch, memory, out))
        if stage.pooled_again:
            ways["our kernel, 3 x 3 pool behind it"] = lambda: _wall_us(
                lambda: kernel.pool_again(out, memory, again)
            )
        engines[fused_engine.NAME] = fused_engine.load(manifest, "int8", EngineOptions(threads=1, chunk=1))
    for name, engine in engines.items():
        ways[f"one part by {name}, processor time"] = partial(_processor_us, engine, patches)
    for way in ways.values():
        way()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, way in ways.items():
            times[name].append(way())
    for name, found in times.items():
        print(f"{name}: {np.median(found):.0f} us, shortest {min(found):.0f} us")
    for engine in engines.values():
        engine.close()


def _counting(core: Any, model: Any) -> Any:
    """A request of a network that counts what each of its nodes takes."""
    settings = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    return core.compile_model(model, "CPU", settings | {"PERF_COUNT": True}).create_infer_request()


def _until_first_pool(request: Any, patch: NDArray[np.uint8]) -> float:
    request.infer({0: patch}, share_inputs=True)
    total = 0.0
    for node in request.profiling_info:
        total += float(node.real_time.total_seconds()) * 1e6
        if node.node_type == "MaxPool" and node.status.name == "EXECUTED":
            return total
    raise RuntimeError("OpenVINO ran no pool; measure an engine whose network begins with one")


def _wall_us(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e6


def _processor_us(engine: Any, patches: NDArray[np.uint8]) -> float:
    started = time.process_time()
    engine.scores(patches)
    return (time.process_time() - started) * 1e6


def _plain_loops() -> Any:
    """The stage as one would write it, channel by channel; sums in float32, which holds them exactly."""
    import numba

    @numba.njit(nogil=True, error_model="numpy", fastmath=True)
    def plain(padded: Any, weights: Any, bias: Any, factors: Any, sums: Any, out: Any) -> None:
        side = sums.shape[1]
        for top in range(0, side, 2):
            for channel in range(bias.size):
                for row in range(2):
                    own = sums[row]
                    own[:] = bias[channel]
                    for tap in range(5):
                        line, w = padded[top + row + tap], weights[channel, tap]
                        a, b, c, d, e = line[0:], line[1:], line[2:], line[3:], line[4:]
                        for x in range(side):
                            own[x] += w[0] * a[x] + w[1] * b[x] + w[2] * c[x] + w[3] * d[x] + w[4] * e[x]
                upper, lower = sums[0], sums[1]
                for x in range(side >> 1):
                    largest = max(max(upper[2 * x], upper[2 * x + 1]), max(lower[2 * x], lower[2 * x + 1]))
                    scaled = min(max(largest * factors[channel], np.float32(0.0)), np.float32(255.0))
                    out[top >> 1, x, channel] = np.uint8(np.int32(np.rint(scaled)))

    return plain


if __name__ == "__main__":
    main()
