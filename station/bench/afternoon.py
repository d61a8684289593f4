"""The honest rival: what a good engineer writes in an afternoon for the same INT8 file.

OpenCV finds and resizes the product, the surface is sliced, OpenVINO runs with its own hints, and the surest
defective patch names the class. No record, no check of the frame, no deadline, no proof.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from station.bench.verdicts import Contender
from station.engines.backends.openvino_engine import core_of_this_process
from station.engines.folder import load_manifest, model_bytes
from station.engines.interface import EngineError
from station.recipe import Recipe

NEEDS_OPENVINO = "the rival needs OpenVINO; pip install 'inspection-station[openvino]'"
_BACKGROUND = 40
"""Grey level that divides the product from the dark background."""


class Afternoon:
    """The rival, for grey products on a dark background. Raises :class:`EngineError`."""

    def __init__(self, folder: Path, recipe: Recipe, threads: int) -> None:
        manifest = load_manifest(folder)
        if "int8" not in manifest.files:
            raise EngineError(f"engine {manifest.name} has no INT8 file, which the rival is measured with")
        if recipe.surface.channels != 1 or recipe.product.background == "none" or recipe.patch.overlap_px:
            raise EngineError("the rival finds grey products on a dark background and cuts without overlap")
        try:
            import openvino
        except ImportError:
            raise EngineError(NEEDS_OPENVINO) from None
        self._size = (recipe.surface.width, recipe.surface.height)
        self._patch = recipe.patch.size
        self._classes = tuple(entry.name for entry in recipe.classes)
        core = core_of_this_process()
        model = core.read_model(model_bytes(manifest, "int8"))
        patches = (self._size[0] // self._patch) * (self._size[1] // self._patch)
        model.reshape([patches, self._patch, self._patch, 1])

        def compiled(hint: str) -> Any:
            settings = {"PERFORMANCE_HINT": hint, "INFERENCE_NUM_THREADS": threads}
            return core.compile_model(model, "CPU", settings)

        latency = compiled("LATENCY")
        self._request = latency.create_infer_request()
        self._place = next(
            place for place, output in enumerate(latency.outputs) if "probabilities" in output.get_names()
        )
        self._queue = openvino.AsyncInferQueue(compiled("THROUGHPUT"))

    def patches(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The sixteen slices of a frame ``(H, W)``: uint8 ``(N, patch, patch, 1)``."""
        _, mask = cv2.threshold(frame, _BACKGROUND, 255, cv2.THRESH_BINARY)
        x, y, width, height = cv2.boundingRect(mask)
        product = frame[y : y + height, x : x + width]
        surface = cv2.resize(product, self._size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        side = self._patch
        slices = [
            surface[top : top + side, left : left + side]
            for top in range(0, surface.shape[0], side)
            for left in range(0, surface.shape[1], side)
        ]
        return np.stack(slices)[..., None]

    def judge(self, frame: NDArray[np.uint8]) -> str:
        """The class of one part, as fast as it goes with the LATENCY hint."""
        self._request.infer({0: self.patches(frame)})
        return self._class_of(self._request.get_output_tensor(self._place).data)

    def pace(self, frames: Sequence[NDArray[np.uint8]], seconds: float) -> float:
        """Parts per second with the THROUGHPUT hint: a part per request, and the next ones cut meanwhile."""
        judged: list[str] = []

        def done(request: Any, _: object) -> None:
            judged.append(self._class_of(request.get_output_tensor(self._place).data))

        self._queue.set_callback(done)
        started, number = time.perf_counter(), 0
        while time.perf_counter() - started < seconds or number < 2:
            self._queue.start_async({0: self.patches(frames[number % len(frames)])})
            number += 1
        self._queue.wait_all()
        return len(judged) / (time.perf_counter() - started)

    def _class_of(self, probabilities: NDArray[np.float32]) -> str:
        """The most probable class of each patch; of the defective patches the surest one's."""
        found = probabilities.argmax(axis=1)
        if not found.any():
            return self._classes[0]
        surest = int(np.where(found > 0, probabilities.max(axis=1), 0).argmax())
        return self._classes[int(found[surest])]


def afternoon(folder: Path, recipe: Recipe, threads: int) -> Contender:
    """The rival, ready to be measured. Raises :class:`EngineError`."""
    rival = Afternoon(folder, recipe, threads)
    return Contender("afternoon's rival int8", rival.judge, rival.pace)
