"""The checks of every back end before and after its inference: of patches and of scores."""

from __future__ import annotations

import time
from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray

from station.decision import SUM_TOLERANCE
from station.engines.interface import Engine, EngineDeadlineError, EngineError, EngineInfo, Scores
from station.engines.manifest import FEATURES, NOVELTY, PROBABILITIES

LOW_PRECISION_SUM_TOLERANCE = 0.02
"""The decision's tolerance for bf16 and fp16, where a softmax of a few classes is rounded to 8 or 11 bits."""
GRACE_S = 2.0
"""How long an inference that missed its deadline has to stop before the engine counts as broken."""


def outputs(info: EngineInfo) -> list[str]:
    """The outputs of an engine's networks, by the names that they have in the ONNX file and in Scores."""
    optional = {FEATURES: info.features > 0, NOVELTY: info.novelty}
    return [PROBABILITIES, *(name for name, given in optional.items() if given)]


def output_shapes(info: EngineInfo, patches: int) -> dict[str, tuple[int, ...]]:
    """The shapes of what an engine says of some patches, by output; each is float32."""
    shapes: dict[str, tuple[int, ...]] = {
        PROBABILITIES: (patches, len(info.classes)),
        FEATURES: (patches, info.features),
        NOVELTY: (patches,),
    }
    return {name: shapes[name] for name in outputs(info)}


def empty_outputs(info: EngineInfo, patches: int) -> dict[str, NDArray[np.float32]]:
    """Memory for what an engine says of some patches, by output."""
    return {name: np.empty(shape, np.float32) for name, shape in output_shapes(info, patches).items()}


class CheckedEngine(Engine):
    """An engine whose patches and scores are checked here; a back end implements :meth:`_infer`."""

    def __init__(self, info: EngineInfo) -> None:
        self.info = info
        self._broken = ""
        self._rounds_sums = info.precision in ("bf16", "fp16")
        """Whether probabilities of a patch add up to 1 only nearly, so that they are divided by their sum."""

    def scores(self, patches: NDArray[np.uint8], timeout_s: float | None = None) -> Scores:
        """See :class:`Engine`. After a deadline the engine is usable again, or says that it is broken."""
        if self._broken:
            raise EngineError(self._broken)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        side = self.info.patch_px
        if (
            not isinstance(patches, np.ndarray)
            or patches.dtype != np.uint8
            or patches.ndim != 4
            or patches.shape[1:] != (side, side, self.info.channels)
            or not len(patches)
        ):
            given = f"{getattr(patches, 'dtype', type(patches))} {getattr(patches, 'shape', '')}"
            raise EngineError(
                f"engine {self.info.name} takes uint8 (N, {side}, {side}, {self.info.channels}), not {given}"
                "; check patch size and channels of the recipe against engine.yaml"
            )
        return self._checked(self._infer(np.ascontiguousarray(patches), deadline), len(patches))

    @abstractmethod
    def _infer(self, patches: NDArray[np.uint8], deadline: float | None) -> Scores:
        """Scores of checked patches; ``deadline`` in ``time.monotonic()`` seconds."""

    def _late(self, patches: int, stopped: bool) -> EngineDeadlineError:
        """The error of a missed deadline; an inference that could not be stopped breaks the engine."""
        if not stopped:
            self._broken = (
                f"engine {self.info.name} on {self.info.backend} hangs since a missed deadline; "
                "restart the station, and check the device when it happens again"
            )
        return EngineDeadlineError(
            f"{self.info.backend} {self.info.precision} did not score {patches} patches in time; "
            "raise limits.part_deadline_ms or choose a faster back end with `station bench`"
        )

    def _checked(self, found: Scores, patches: int) -> Scores:
        scores = np.array(found.probabilities, dtype=np.float32)
        wanted = (patches, len(self.info.classes))
        if scores.shape != wanted:
            raise EngineError(
                f"engine {self.info.name} gave scores of shape {scores.shape}, not {wanted}; "
                "the ONNX file does not belong to this engine.yaml"
            )
        sums = scores.sum(axis=1, dtype=np.float64)
        tolerance = LOW_PRECISION_SUM_TOLERANCE if self._rounds_sums else SUM_TOLERANCE
        if not (np.isfinite(scores).all() and (scores >= 0).all() and (np.abs(sums - 1) <= tolerance).all()):
            raise EngineError(
                f"{self.info.backend} {self.info.precision} gave scores that are not probabilities; "
                "run `station engines backends --prove` and choose a back end that passes"
            )
        if self._rounds_sums:
            scores = (scores / sums[:, None]).astype(np.float32)
        features = self._checked_features(found.features, patches)
        return Scores(scores, features, self._checked_novelty(found.novelty, patches))

    def _checked_features(
        self, found: NDArray[np.float32] | None, patches: int
    ) -> NDArray[np.float32] | None:
        if not self.info.features:
            return None
        features = np.array(found, dtype=np.float32)
        if features.shape != (patches, self.info.features) or not np.isfinite(features).all():
            raise EngineError(
                f"{self.info.backend} {self.info.precision} gave features of shape {features.shape}, not "
                f"finite ones of shape {(patches, self.info.features)}; run "
                "`station engines backends --prove` and choose a back end that passes"
            )
        return features

    def _checked_novelty(self, found: NDArray[np.float32] | None, patches: int) -> NDArray[np.float32] | None:
        if not self.info.novelty:
            return None
        novelty = np.array(found, dtype=np.float32)
        right = novelty.shape == (patches,) and np.isfinite(novelty).all() and (novelty >= 0).all()
        if not right:
            raise EngineError(
                f"{self.info.backend} {self.info.precision} gave novelty of shape {novelty.shape}, not "
                f"numbers from 0 on of shape {(patches,)}; run `station engines backends --prove` and "
                "choose a back end that passes"
            )
        return novelty
