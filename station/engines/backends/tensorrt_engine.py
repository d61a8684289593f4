"""TensorRT, native: the plan is built on the device from ONNX and kept for the next start.

One path for TensorRT 10, TensorRT 11 and TensorRT for RTX: networks are strongly typed, so the precision
lives in the ONNX file and no builder flag changes it. int8 is the file with explicit Q/DQ, signed
activations and floating-point biases; fp32 is the fp32 file, whose products TensorRT may round to TF32 (10
bits). The flag that asks for strong typing is needed by 10 and ignored by 11 (NVIDIA, "Migrating from
TensorRT 10.x to 11.x").

TensorRT for RTX parses and builds every shipped graph in the tests, without a GPU. No plan was run by us:
docs/engines.md says with which command a device proves it.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from station.engines.backends.checked import GRACE_S, CheckedEngine, empty_outputs
from station.engines.cached import own_folder
from station.engines.folder import EngineManifest, model_bytes
from station.engines.interface import BackendStatus, EngineError, EngineInfo, EngineOptions, Scores
from station.engines.manifest import INT8_SIGNED, PATCHES, Variant
from station.files import write_file

NAME = "tensorrt"
MODULES = ("tensorrt", "tensorrt_rtx")
"""The SDKs that it can use, the first one that is installed."""
PRECISIONS = ("int8", "fp32")
LARGEST_BATCH = 64
"""Patches in one run; more are run in several batches."""
_USUAL_BATCH = 16
_log = logging.getLogger(__name__)


def status() -> BackendStatus:
    """Whether a TensorRT, cuda-python and a GPU are here."""
    version = ""
    try:
        cuda = _cuda()
        sdk = _sdk()
        version = _version(sdk)
        device = _gpu_name(cuda)
    except EngineError as problem:
        return BackendStatus(NAME, False, str(problem), version, "", ())
    return BackendStatus(NAME, True, "", version, device, PRECISIONS)


def plan_path(cache: Path, gpu: str, version: str, digest: str, precision: str) -> Path:
    """Where the plan of a network for a GPU is kept: a plan is valid for exactly these four."""
    key = hashlib.sha256("\0".join((gpu, version, digest, precision)).encode()).hexdigest()[:24]
    return cache / "tensorrt" / f"{key}.plan"


def load(manifest: EngineManifest, precision: str, options: EngineOptions) -> TensorRtEngine:
    """Read the plan of this device from the cache or build it (minutes). Raises :class:`EngineError`."""
    return TensorRtEngine(manifest, precision, options)


class TensorRtEngine(CheckedEngine):
    """One plan, one execution context, one stream, and memory for the largest batch on both sides."""

    def __init__(self, manifest: EngineManifest, precision: str, options: EngineOptions) -> None:
        started = time.perf_counter()
        if precision not in PRECISIONS:
            raise EngineError(f"tensorrt computes {', '.join(PRECISIONS)}, not {precision}")
        here = status()
        if not here.present:
            raise EngineError(f"{NAME}: {here.reason}")
        sdk = _sdk()
        self._cuda = _cuda()
        variant: Variant = INT8_SIGNED if precision == "int8" else "fp32"
        digest = manifest.digests.get(variant, "")
        content = model_bytes(manifest, variant)
        logger = sdk.Logger(sdk.Logger.WARNING)
        side, channels = manifest.patch_px, manifest.channels
        path = None
        if options.cache is not None:
            path = plan_path(options.cache, here.device, here.version, digest, precision)
            path = path if own_folder(path.parent) else None
        runtime = sdk.Runtime(logger)
        plan = path.read_bytes() if path is not None and path.is_file() and not options.rebuild else b""
        engine = runtime.deserialize_cuda_engine(plan) if plan else None
        if engine is None:
            if plan:
                _log.warning("the plan %s cannot be read by this TensorRT; it is built again", path)
            _log.warning("building the TensorRT plan of %s (%s); it is kept", manifest.name, precision)
            plan = build_plan(sdk, content, (side, side, channels))
            if path is not None:
                write_file(path, plan)
            engine = runtime.deserialize_cuda_engine(plan)
            if engine is None:
                raise EngineError(f"TensorRT cannot read the plan it built; update TensorRT ({here.version})")
        context = engine.create_execution_context()
        if context is None:
            raise EngineError("the GPU has no memory left for the network; close other programs that use it")
        self._runtime, self._engine, self._context = runtime, engine, context
        self._stream = _call(self._cuda.cudaStreamCreate())
        self._patches = _Buffer(self._cuda, (LARGEST_BATCH, side, side, channels), np.dtype(np.uint8))
        info = EngineInfo(
            name=manifest.name,
            digest=digest,
            backend=NAME,
            precision=precision,
            device=here.device,
            classes=manifest.classes,
            patch_px=side,
            channels=channels,
            load_ms=0.0,
            features=manifest.features,
            novelty=manifest.novelty is not None,
        )
        self._outputs = {
            name: _Buffer(self._cuda, empty.shape, empty.dtype)
            for name, empty in empty_outputs(info, LARGEST_BATCH).items()
        }
        for name, buffer in {PATCHES: self._patches, **self._outputs}.items():
            if not context.set_tensor_address(name, buffer.device):
                raise EngineError(
                    f"the network has no {name!r}; the ONNX file does not belong to this engine.yaml"
                )
        super().__init__(replace(info, load_ms=(time.perf_counter() - started) * 1000))

    def _infer(self, patches: NDArray[np.uint8], deadline: float | None) -> Scores:
        if self._context is None:
            raise EngineError(f"engine {self.info.name} is closed; open it again")
        found: list[list[NDArray[np.float32]]] = []
        for start in range(0, len(patches), LARGEST_BATCH):
            batch = patches[start : start + LARGEST_BATCH]
            self._launch(batch)
            if not self._finished(deadline):
                stopped = self._finished(time.monotonic() + GRACE_S)
                raise self._late(len(patches), stopped)
            found.append([buffer.host[: len(batch)].copy() for buffer in self._outputs.values()])
        joined = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return Scores(**dict(zip(self._outputs, joined, strict=True)))

    def _launch(self, batch: NDArray[np.uint8]) -> None:
        """Copy in, compute, copy out; all on the stream, nothing waits."""
        cuda, kinds = self._cuda, self._cuda.cudaMemcpyKind
        self._patches.host[: len(batch)] = batch
        if not self._context.set_input_shape(PATCHES, batch.shape):
            raise EngineError(
                f"the plan does not take patches of shape {batch.shape}; delete it and start again"
            )
        _call(
            cuda.cudaMemcpyAsync(
                self._patches.device,
                self._patches.host.ctypes.data,
                batch.nbytes,
                kinds.cudaMemcpyHostToDevice,
                self._stream,
            )
        )
        if not self._context.execute_async_v3(int(self._stream)):
            raise EngineError("TensorRT refused to run the network; its log above says why")
        for buffer in self._outputs.values():
            rows = buffer.host[: len(batch)]
            _call(
                cuda.cudaMemcpyAsync(
                    rows.ctypes.data, buffer.device, rows.nbytes, kinds.cudaMemcpyDeviceToHost, self._stream
                )
            )

    def _finished(self, deadline: float | None) -> bool:
        """Wait for the stream, by polling where there is a deadline: CUDA has no timed wait."""
        if deadline is None:
            _call(self._cuda.cudaStreamSynchronize(self._stream))
            return True
        while True:
            (state,) = self._cuda.cudaStreamQuery(self._stream)
            if state == self._cuda.cudaError_t.cudaSuccess:
                return True
            if state != self._cuda.cudaError_t.cudaErrorNotReady:
                _call((state,))
            if time.monotonic() > deadline:
                return False
            time.sleep(0.0001)

    def close(self) -> None:
        """Free the GPU; a hung stream is left alone."""
        if self._context is None or self._broken:
            return
        self._context = self._engine = self._runtime = None
        self._patches.free()
        for buffer in self._outputs.values():
            buffer.free()
        self._cuda.cudaStreamDestroy(self._stream)


class _Buffer:
    """Page-locked host memory with device memory of the same size."""

    def __init__(self, cuda: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        size = int(np.prod(shape)) * dtype.itemsize
        self._cuda = cuda
        self._address = int(_call(cuda.cudaMallocHost(size)))
        self.device = int(_call(cuda.cudaMalloc(size)))
        memory = (ctypes.c_uint8 * size).from_address(self._address)
        self.host: NDArray[Any] = np.ctypeslib.as_array(memory).view(dtype).reshape(shape)

    def free(self) -> None:
        self.host = np.empty(0, self.host.dtype)
        self._cuda.cudaFree(self.device)
        self._cuda.cudaFreeHost(self._address)


def build_plan(sdk: Any, content: bytes, patch: tuple[int, int, int]) -> bytes:
    """The plan of an ONNX network for patches ``(side, side, channels)``, by one of :data:`MODULES`.

    Raises :class:`EngineError` with the parser's reasons.
    """
    logger = sdk.Logger(sdk.Logger.WARNING)
    builder = sdk.Builder(logger)
    network = builder.create_network(1 << int(sdk.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = sdk.OnnxParser(network, logger)
    if not parser.parse(content):
        reasons = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise EngineError(
            f"TensorRT does not read the network ({reasons[:400]}); its INT8 is the file int8-signed "
            "(docs/engines.md, On a GPU and on a Jetson)"
        )
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    profile.set_shape(PATCHES, (1, *patch), (_USUAL_BATCH, *patch), (LARGEST_BATCH, *patch))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError("TensorRT built no plan; its log above says why; another back end may still run it")
    return bytes(plan)


def _sdk() -> Any:
    """The module of the TensorRT that is installed. Raises :class:`EngineError`."""
    for name in MODULES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise EngineError(
        "not installed; pip install 'inspection-station[tensorrt]' (on a Jetson it comes with JetPack)"
    )


def _version(sdk: Any) -> str:
    """The version of an SDK, which a plan is valid for. Raises :class:`EngineError` for one before 10."""
    version = str(getattr(sdk, "__version__", ""))
    major = version.partition(".")[0]
    if sdk.__name__ == "tensorrt" and not (major.isdecimal() and int(major) >= 10):
        raise EngineError(
            f"TensorRT {version or 'of unknown version'} is installed, which is too old for strongly typed "
            "networks; pip install 'tensorrt>=10'"
        )
    return version if sdk.__name__ == "tensorrt" else f"RTX {version}"


def _cuda() -> Any:
    """cuda-python's runtime API, under either of its names."""
    try:
        from cuda.bindings import runtime

        return runtime
    except ImportError:
        pass
    try:
        from cuda import cudart

        return cudart
    except ImportError:
        raise EngineError(
            "cuda-python is not installed; pip install 'inspection-station[tensorrt]'"
        ) from None


def _gpu_name(cuda: Any) -> str:
    properties = _call(cuda.cudaGetDeviceProperties(0))
    name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
    return f"{name} sm_{properties.major}{properties.minor}"


def _call(answer: tuple[Any, ...]) -> Any:
    """The result of a CUDA call, whose first element is its error."""
    error, *results = answer
    if int(error) != 0:
        name = getattr(error, "name", str(error))
        raise EngineError(
            f"CUDA: {name}; check the GPU with nvidia-smi, and its driver against docs/engines.md"
        )
    return results[0] if results else None
