"""An ONNX classifier as a function, by ONNX Runtime on the processor: what other back ends are held to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from station.engines.graph import require_plain
from station.engines.interface import EngineError, Scorer
from station.engines.manifest import FEATURES, NOVELTY, PATCHES, PROBABILITIES


def onnx_scorer(model: Path | bytes, threads: int = 2, optimised: bool = True) -> Scorer:
    """A function from uint8 patches to probabilities; not ``optimised``: node by node, as it is written.

    Raises :class:`EngineError`.
    """
    return onnx_output(model, PROBABILITIES, threads, optimised)


def onnx_features(model: Path | bytes, threads: int = 2) -> Scorer:
    """A function from uint8 patches to features ``(N, features)`` of a network that gives them."""
    return onnx_output(model, FEATURES, threads)


def onnx_novelty(model: Path | bytes, threads: int = 2, optimised: bool = True) -> Scorer:
    """A function from uint8 patches to the novelty ``(N,)`` of a network that gives it."""
    return onnx_output(model, NOVELTY, threads, optimised)


def onnx_output(model: Path | bytes, name: str, threads: int = 2, optimised: bool = True) -> Scorer:
    """A function from uint8 patches to the output ``name`` of a network. Raises :class:`EngineError`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.load_model_format", "ONNX")
    content = model if isinstance(model, bytes) else _network(model)
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common class
        what = "the ONNX model" if isinstance(model, bytes) else str(model)
        raise EngineError(
            f"{what} cannot be loaded ({error}); name an ONNX file or an engine folder"
        ) from None

    def score(patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        (found,) = session.run([name], {PATCHES: patches})
        return np.asarray(found, np.float32)

    return score


def _network(path: Path) -> bytes:
    """The bytes of an ONNX file that is a plain network, complete in itself. Raises :class:`EngineError`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EngineError(
            f"{path} cannot be read ({error.strerror}); name an ONNX file or an engine folder"
        ) from None
    require_plain(content, path)
    return content
