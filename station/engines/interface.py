"""The small interface every inference back end stands behind.

An engine takes uint8 patches and returns probabilities and, where its network gives them, the features
that they are computed from and the novelty of each patch. Scaling to 0..1, the softmax and the distances
are inside the graph, so that no back end can compute them differently from the others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivers.errors import InspectionError

Scorer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""uint8 patches ``(N, patch, patch, C)`` -> probabilities ``(N, classes)``."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The output of an engine for the patches of one part."""

    probabilities: NDArray[np.float32]
    """``(N, classes)``."""
    features: NDArray[np.float32] | None = None
    """``(N, features)``, the pooled features that the network's head is given; None where it gives none."""
    novelty: NDArray[np.float32] | None = None
    """``(N,)``, how far a patch is from what the engine was trained on, in units of the engine's own
    threshold: above 1 is far. None where the engine gives none."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What is loaded, as the journal and the log name it."""

    name: str
    """The engine folder's name, e.g. ``servo-motor-housing``."""
    digest: str
    """SHA-256 of the model file in use, hexadecimal."""
    backend: str
    """``openvino``, ``openvino-fused``, ``onnxruntime-cpu``, ``onnxruntime-cuda``, ``onnxruntime-tensorrt``
    or ``tensorrt``."""
    precision: str
    """``fp32``, ``bf16``, ``fp16`` or ``int8``."""
    device: str
    """Processor or GPU, as the back end calls it."""
    classes: tuple[str, ...]
    patch_px: int
    channels: int
    load_ms: float
    features: int = 0
    """Features of a patch; 0: the engine gives none."""
    novelty: bool = False
    """Whether it says how far a patch is from what it was trained on."""


class EngineError(InspectionError):
    """An engine cannot be loaded, proved or run; the message says what to do about it."""


class ChangeoverUnderWayError(EngineError):
    """Another changeover has begun and is not done; nothing was changed."""


class EngineDeadlineError(EngineError):
    """The scores did not come in time."""


class Engine(ABC):
    """One loaded network. Used by one thread at a time."""

    info: EngineInfo

    @abstractmethod
    def scores(self, patches: NDArray[np.uint8], timeout_s: float | None = None) -> Scores:
        """The scores of uint8 patches ``(N, patch, patch, channels)``.

        Any ``N`` >= 1, whatever batch the graph was built for. Raises :class:`EngineDeadlineError`
        after ``timeout_s``, :class:`EngineError` on anything else.
        """

    def probabilities(
        self, patches: NDArray[np.uint8], timeout_s: float | None = None
    ) -> NDArray[np.float32]:
        """The probabilities of :meth:`scores` alone: the engine as a :data:`Scorer`."""
        return self.scores(patches, timeout_s).probabilities

    @abstractmethod
    def close(self) -> None:
        """Free the device. Never raises, may be called twice."""


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """Whether a back end can be used on this machine."""

    name: str
    present: bool
    reason: str
    """Why it is absent and what to install; empty when present."""
    version: str
    """Version of the SDK; empty when absent."""
    device: str
    """Processor or GPU, as the SDK calls it; empty when absent."""
    precisions: tuple[str, ...]
    """What this machine computes at full speed, best first; empty when absent."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How an engine uses the machine."""

    threads: int = 2
    """Processor threads for one part."""
    chunk: int = 0
    """Patches computed at a time by one thread; 0 lets the back end choose."""
    cache: Path | None = None
    """Folder for what is built or measured on this machine; None: everything is built and measured again."""
    rebuild: bool = False
    """Whether what was built before is built again, because it did not reproduce the golden parts."""
