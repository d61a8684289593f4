"""OpenVINO on the processor: INT8 from explicit Q/DQ, bf16 where the processor has it, fp32 elsewhere.

A part's patches are dealt out in chunks to as many one-thread streams as there are threads: that is faster
than all threads on one batch, and any number of patches fits. Shapes are fixed to the chunk, because
OpenVINO plans memory better for them; a last chunk is filled up.
"""

from __future__ import annotations

import functools
import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from station.engines.backends.checked import GRACE_S, CheckedEngine, empty_outputs, outputs
from station.engines.folder import EngineManifest, model_bytes
from station.engines.interface import BackendStatus, EngineError, EngineInfo, EngineOptions, Scores
from station.engines.manifest import Variant
from station.machine import processor

NAME = "openvino"
CHUNKS = (1, 4)
"""Chunk sizes worth timing: 1 wins on AVX-512, 4 reads the fully connected weights less often."""
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


_Job = tuple[Any, int, list[NDArray[np.uint8]]]
"""A request that runs, its first patch, and the memory that it reads."""


def status() -> BackendStatus:
    """Whether OpenVINO is installed and drives this processor."""
    try:
        import openvino
    except ImportError:
        remedy = "not installed; pip install 'inspection-station[openvino]'"
        return BackendStatus(NAME, False, remedy, "", "", ())
    core = core_of_this_process()
    if "CPU" not in core.available_devices:
        reason = "OpenVINO found no processor it supports; use the onnxruntime-cpu back end"
        return BackendStatus(NAME, False, reason, "", "", ())
    device = str(core.get_property("CPU", "FULL_DEVICE_NAME")).strip()
    precisions = ("int8", "bf16", "fp32") if processor().multiplies_bf16 else ("int8", "fp32")
    return BackendStatus(NAME, True, "", str(openvino.__version__).partition("-")[0], device, precisions)


def load(manifest: EngineManifest, precision: str, options: EngineOptions) -> OpenVinoEngine:
    """Compile the network for this processor. Raises :class:`EngineError`."""
    return OpenVinoEngine(manifest, precision, options)


class OpenVinoEngine(CheckedEngine):
    """One compiled network with its streams.

    A back end that computes a part of the network itself overrides :meth:`_network` and :meth:`_inputs`.
    """

    name = NAME
    requests_per_stream = 4

    def __init__(self, manifest: EngineManifest, precision: str, options: EngineOptions) -> None:
        started = time.perf_counter()
        if precision not in _HINTS:
            raise EngineError(f"openvino computes {', '.join(_HINTS)} on a processor, not {precision}")
        try:
            core = core_of_this_process()
        except ImportError:
            raise EngineError(f"{NAME}: {status().reason}") from None
        variant: Variant = "int8" if precision == "int8" else "fp32"
        content = model_bytes(manifest, variant)
        self._chunk = options.chunk or CHUNKS[0]
        info = EngineInfo(
            name=manifest.name,
            digest=manifest.digests[variant],
            backend=self.name,
            precision=precision,
            device=str(core.get_property("CPU", "FULL_DEVICE_NAME")).strip(),
            classes=manifest.classes,
            patch_px=manifest.patch_px,
            channels=manifest.channels,
            load_ms=0.0,
            features=manifest.features,
            novelty=manifest.novelty is not None,
        )
        try:
            compiled = core.compile_model(
                self._network(core, content, manifest),
                "CPU",
                {
                    "NUM_STREAMS": options.threads,
                    "INFERENCE_NUM_THREADS": options.threads,
                    "INFERENCE_PRECISION_HINT": _HINTS[precision],
                },
            )
            self._outputs = [compiled.output(name) for name in outputs(info)]
            self._requests = [
                compiled.create_infer_request() for _ in range(options.threads * self.requests_per_stream)
            ]
        except RuntimeError as problem:
            raise EngineError(
                f"OpenVINO cannot load {manifest.files[variant]} ({first_line(problem)}); "
                "prove the folder with another back end, or update openvino"
            ) from problem
        super().__init__(info)
        self._abandoned: object = None
        self.info = _loaded(self.info, started)

    def _network(self, core: Any, content: bytes, manifest: EngineManifest) -> Any:
        """The model that is compiled. Raises :class:`EngineError`, RuntimeError."""
        return read_network(core, content, manifest, self._chunk)

    def _inputs(self, slot: int, chunk: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """What the model reads for ``chunk``; ``slot`` is the request that reads it, and it is free."""
        return [chunk]

    def _infer(self, patches: NDArray[np.uint8], deadline: float | None) -> Scores:
        requests = self._requests
        if not requests:
            raise EngineError(f"engine {self.info.name} is closed; open it again")
        found = empty_outputs(self.info, len(patches))
        running: list[_Job] = []
        try:
            for number, start in enumerate(range(0, len(patches), self._chunk)):
                if len(running) == len(requests):
                    self._collect(running[0], found, deadline)
                    del running[0]
                chunk = patches[start : start + self._chunk]
                if len(chunk) < self._chunk:
                    chunk = np.concatenate(
                        [chunk, np.zeros((self._chunk - len(chunk), *chunk.shape[1:]), np.uint8)]
                    )
                slot = number % len(requests)
                inputs = self._inputs(slot, chunk)
                requests[slot].start_async(dict(enumerate(inputs)), share_inputs=True)
                running.append((requests[slot], start, inputs))
            while running:
                self._collect(running[0], found, deadline)
                del running[0]
        except TimeoutError:
            stopped = _stop([request for request, _, _ in running])
            if not stopped:
                self._abandoned = (running, patches)  # memory that the hung requests still read
            raise self._late(len(patches), stopped) from None
        except RuntimeError as problem:
            _stop([request for request, _, _ in running])
            raise EngineError(
                f"OpenVINO failed on {len(patches)} patches ({first_line(problem)}); restart the station"
            ) from problem
        return Scores(**found)

    def _collect(
        self,
        job: _Job,
        found: dict[str, NDArray[np.float32]],
        deadline: float | None,
    ) -> None:
        """Wait for a chunk and put its scores in place; the job holds the memory the request reads."""
        request, start, _ = job
        if deadline is None:
            request.wait()
        elif not request.wait_for(max(0, int((deadline - time.monotonic()) * 1000))):
            raise TimeoutError
        for whole, output in zip(found.values(), self._outputs, strict=True):
            rows = whole[start : start + self._chunk]
            rows[:] = request.get_tensor(output).data[: len(rows)]

    def close(self) -> None:
        """Free the processor's memory; of a hung inference, only when it ends."""
        self._requests = []


def read_network(core: Any, content: bytes, manifest: EngineManifest, chunk: int) -> Any:
    """An OpenVINO model of an ONNX file, its shapes fixed to a chunk. Raises RuntimeError."""
    model = core.read_model(content)
    model.reshape([chunk, manifest.patch_px, manifest.patch_px, manifest.channels])
    return model


@functools.cache
def core_of_this_process() -> Any:
    """The one Core of this process, never freed.

    Its CPU plug-in gives the thread that first compiles a signal stack that holds AMX's registers, and takes
    it back when it is freed. Of two, the one that goes last puts back the stack of the one that went first,
    which is no longer memory: the next SIGTERM is a segmentation fault.
    """
    import openvino

    return openvino.Core()


def _stop(requests: list[Any]) -> bool:
    """Cancel what runs; whether all of it has stopped."""
    for request in requests:
        request.cancel()
    until = time.monotonic() + GRACE_S
    stopped = True
    for request in requests:
        try:
            stopped &= bool(request.wait_for(max(1, int((until - time.monotonic()) * 1000))))
        except RuntimeError:  # "was canceled": it has stopped
            continue
    return stopped


def _loaded(info: EngineInfo, started: float) -> EngineInfo:
    return replace(info, load_ms=(time.perf_counter() - started) * 1000)


def first_line(problem: Exception) -> str:
    """What an error of OpenVINO says in its last line, which is the first thing that went wrong."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(problem).__name__
