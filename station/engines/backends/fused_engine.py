"""OpenVINO with a first stage of our own: INT8, one pass from a patch to the pooled 128 x 128 map.

No run time fuses a convolution and the pool behind it (oneDNN#183). The network is cut in memory, behind its
first pool, once the bytes of its file are checked; the file, its digest and the golden parts stay as they
are. The thread that asks for scores computes the first stage of one patch, while OpenVINO's streams compute
the rest of the patches before it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from station.engines.backends import openvino_engine as openvino
from station.engines.first_stage import vnni
from station.engines.first_stage.recognise import take_out
from station.engines.folder import EngineManifest, model_bytes
from station.engines.interface import BackendStatus, EngineError, EngineOptions

if TYPE_CHECKING:
    from station.engines.first_stage.kernel import Kernel, Memory

NAME = "openvino-fused"
CHUNKS = (1,)
"""A chunk's first stage must still be in the processor's cache when OpenVINO reads it."""


def status() -> BackendStatus:
    """Whether OpenVINO is installed, and this processor has the instructions of the kernel."""
    here = openvino.status()
    reason = here.reason or vnni.refusal()
    if reason:
        return BackendStatus(NAME, False, reason, "", "", ())
    return replace(here, name=NAME, precisions=("int8",))


def refusal(manifest: EngineManifest) -> str:
    """Why the kernel cannot compute the first stage of this engine, or an empty string."""
    try:
        take_out(_whole(manifest, 1))
    except EngineError as problem:
        return str(problem)
    except RuntimeError as problem:  # OpenVINO's own error
        return f"OpenVINO cannot read {manifest.files['int8'].name} ({openvino.first_line(problem)})"
    return ""


def load(manifest: EngineManifest, precision: str, options: EngineOptions) -> FusedEngine:
    """Compile kernel and network for this processor. Raises :class:`EngineError`."""
    if precision != "int8":
        raise EngineError(f"{NAME} computes int8, not {precision}")
    if reason := vnni.refusal():
        raise EngineError(f"{NAME}: {reason}")
    return FusedEngine(manifest, precision, options)


class FusedEngine(openvino.OpenVinoEngine):
    """One compiled network without its first stage, and the kernel of that."""

    name = NAME
    requests_per_stream = 2

    def _network(self, core: Any, content: bytes, manifest: EngineManifest) -> Any:
        from station.engines.first_stage.kernel import Kernel

        stage, rest = take_out(super()._network(core, content, manifest))
        self._kernel = Kernel(stage)
        self._slots: dict[int, _Slot] = {}
        return rest

    def _inputs(self, slot: int, chunk: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        if slot not in self._slots:
            self._slots[slot] = _Slot(self._kernel, self._chunk)
        return self._slots[slot].filled(chunk)


class _Slot:
    """The memory of one request: what the network reads of a chunk."""

    def __init__(self, kernel: Kernel, chunk: int) -> None:
        from station.engines.first_stage.kernel import Memory

        self._kernel = kernel
        self._memory: Memory = Memory(kernel.stage)
        self._outputs = [kernel.output(chunk) for _ in range(2 if kernel.stage.pooled_again else 1)]

    def filled(self, chunk: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """The inputs of the network for ``chunk``, uint8 ``(N, side, side, 1)``."""
        for number, patch in enumerate(chunk):
            self._kernel.run(patch[:, :, 0], self._memory, self._outputs[0][number])
            for again in self._outputs[1:]:
                self._kernel.pool_again(self._outputs[0][number], self._memory, again[number])
        return self._outputs


def _whole(manifest: EngineManifest, chunk: int) -> Any:
    core = openvino.core_of_this_process()
    return openvino.read_network(core, model_bytes(manifest, "int8"), manifest, chunk)
