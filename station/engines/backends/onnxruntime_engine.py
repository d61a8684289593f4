"""ONNX Runtime: on the processor, on CUDA, and through its TensorRT provider.

The packages ``onnxruntime`` and ``onnxruntime-gpu`` install the same module; with both installed the one
installed last wins. Which providers there are says which it was (docs/engines.md).
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from station.engines.backends.checked import GRACE_S, CheckedEngine, outputs
from station.engines.cached import own_folder
from station.engines.folder import EngineManifest, model_bytes
from station.engines.interface import BackendStatus, EngineError, EngineInfo, EngineOptions, Scores
from station.engines.manifest import INT8_SIGNED, PATCHES, Variant

CPU, CUDA, TENSORRT = "onnxruntime-cpu", "onnxruntime-cuda", "onnxruntime-tensorrt"
PROVIDERS = {
    CPU: "CPUExecutionProvider",
    CUDA: "CUDAExecutionProvider",
    TENSORRT: "TensorrtExecutionProvider",
}
PRECISIONS = {CPU: ("int8", "fp32"), CUDA: ("fp32",), TENSORRT: ("int8", "fp16", "fp32")}
LARGEST_BATCH = {CPU: 16, CUDA: 64, TENSORRT: 64}
"""Patches in one run, more are run in several: the first layers need 8 MB per patch in fp32."""


def status(name: str) -> BackendStatus:
    """Whether ONNX Runtime is installed with the provider of back end ``name``."""
    try:
        import onnxruntime
    except ImportError:
        remedy = "not installed; pip install onnxruntime (or 'inspection-station[gpu]' on a GPU)"
        return BackendStatus(name, False, remedy, "", "", ())
    if PROVIDERS[name] not in onnxruntime.get_available_providers():
        remedy = (
            f"this onnxruntime has no {PROVIDERS[name]}; pip uninstall onnxruntime, then "
            "pip install 'inspection-station[gpu]'"
        )
        return BackendStatus(name, False, remedy, "", "", ())
    device = "CPU" if name == CPU else "GPU 0"
    return BackendStatus(name, True, "", str(onnxruntime.__version__), device, PRECISIONS[name])


def load(name: str, manifest: EngineManifest, precision: str, options: EngineOptions) -> OnnxRuntimeEngine:
    """Load the network with the provider of back end ``name``. Raises :class:`EngineError`."""
    return OnnxRuntimeEngine(name, manifest, precision, options)


class OnnxRuntimeEngine(CheckedEngine):
    """One session; runs happen on a thread of their own, so that a late one can be told to stop."""

    def __init__(self, name: str, manifest: EngineManifest, precision: str, options: EngineOptions) -> None:
        started = time.perf_counter()
        if precision not in PRECISIONS[name]:
            raise EngineError(f"{name} computes {', '.join(PRECISIONS[name])}, not {precision}")
        here = status(name)
        if not here.present:
            raise EngineError(f"{name}: {here.reason}")
        import onnxruntime

        variant: Variant = "fp32"
        if precision == "int8":
            variant = INT8_SIGNED if name == TENSORRT else "int8"
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3
        settings.intra_op_num_threads = options.threads
        settings.inter_op_num_threads = 1
        # A waiting pool must not spin: the other stages of the line need the cores.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Or bytes that look like ONNX Runtime's own format are loaded as such, unchecked.
        settings.add_session_config_entry("session.load_model_format", "ONNX")
        content = model_bytes(manifest, variant)
        try:
            self._session: Any = onnxruntime.InferenceSession(
                content, settings, providers=_providers(name, manifest, variant, precision, options)
            )
        except Exception as problem:  # ONNX Runtime's errors have no common base class
            raise EngineError(
                f"{name} cannot load {manifest.files[variant]} ({_first_line(problem)}); "
                "see docs/engines.md for the libraries that its provider needs"
            ) from problem
        if PROVIDERS[name] not in self._session.get_providers():
            raise EngineError(
                f"{name}: ONNX Runtime fell back to {', '.join(self._session.get_providers())}; its "
                "libraries (CUDA, cuDNN, TensorRT) are missing or of another version, see docs/engines.md"
            )
        self._new_run = onnxruntime.RunOptions
        self._batch = min(options.chunk or LARGEST_BATCH[name], LARGEST_BATCH[name])
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=name)
        super().__init__(
            EngineInfo(
                name=manifest.name,
                digest=manifest.digests[variant],
                backend=name,
                precision=precision,
                device=here.device,
                classes=manifest.classes,
                patch_px=manifest.patch_px,
                channels=manifest.channels,
                load_ms=(time.perf_counter() - started) * 1000,
                features=manifest.features,
                novelty=manifest.novelty is not None,
            )
        )

    def _infer(self, patches: NDArray[np.uint8], deadline: float | None) -> Scores:
        run = self._new_run()
        try:
            job: Future[Scores] = self._worker.submit(self._run, patches, run)
        except RuntimeError:
            raise EngineError(f"engine {self.info.name} is closed; open it again") from None
        try:
            return job.result(None if deadline is None else max(0.0, deadline - time.monotonic()))
        except FutureTimeoutError:
            run.terminate = True
            try:
                job.result(GRACE_S)
            except FutureTimeoutError:
                raise self._late(len(patches), stopped=False) from None
            except Exception:
                pass  # the run ended with "terminated", which was asked for
            raise self._late(len(patches), stopped=True) from None
        except Exception as problem:  # ONNX Runtime's errors have no common base class
            raise EngineError(
                f"{self.info.backend} failed on {len(patches)} patches ({_first_line(problem)}); "
                "restart the station"
            ) from problem

    def _run(self, patches: NDArray[np.uint8], run: Any) -> Scores:
        wanted = outputs(self.info)
        batches = [
            self._session.run(wanted, {PATCHES: patches[start : start + self._batch]}, run)
            for start in range(0, len(patches), self._batch)
        ]
        joined = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        return Scores(**dict(zip(wanted, joined, strict=True)))

    def close(self) -> None:
        """End the worker and free the session."""
        self._worker.shutdown(wait=not self._broken, cancel_futures=True)
        self._session = None


def _providers(
    name: str, manifest: EngineManifest, variant: Variant, precision: str, options: EngineOptions
) -> list[Any]:
    if name == CPU:
        return [PROVIDERS[CPU]]
    cuda = (PROVIDERS[CUDA], {"device_id": 0, "cudnn_conv_algo_search": "HEURISTIC"})
    if name == CUDA:
        return [cuda]
    side = manifest.patch_px
    shape = f"{side}x{side}x{manifest.channels}"
    settings: dict[str, Any] = {
        "device_id": 0,
        "trt_fp16_enable": precision != "fp32",
        "trt_int8_enable": precision == "int8",
        # One profile for every batch, or a new number of patches would build a new plan in mid-line.
        "trt_profile_min_shapes": f"{PATCHES}:1x{shape}",
        "trt_profile_opt_shapes": f"{PATCHES}:16x{shape}",
        "trt_profile_max_shapes": f"{PATCHES}:{LARGEST_BATCH[TENSORRT]}x{shape}",
    }
    if options.cache is not None:
        named = options.cache / "onnxruntime-tensorrt" / f"{manifest.digests[variant][:16]}-{precision}"
        if (folder := own_folder(named, empty=options.rebuild)) is None:
            return [(PROVIDERS[TENSORRT], settings), cuda]
        settings |= {
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": str(folder),
        }
    return [(PROVIDERS[TENSORRT], settings), cuda]


def _first_line(problem: Exception) -> str:
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(problem).__name__
