"""Golden parts: an engine is a claim until it reproduces them on this very device.

fp32, bf16 and fp16 must name the same most probable class for every patch as was recorded, with every
probability within the manifest's tolerance (0.02) of the fp32 one. INT8 is another network: it must give
every part the class that fp32 gives it, and be within its own tolerance of its own recorded scores.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from station.decision import part_class
from station.engines.folder import EngineManifest, GoldenSurface, read_golden
from station.engines.interface import Engine, EngineError


@dataclass(frozen=True, slots=True)
class GoldenReport:
    """What the golden parts said of an engine; ``passed`` only if every part was right."""

    backend: str
    precision: str
    parts: int
    right: int
    largest_difference: float
    """Largest difference of a probability from the recorded one."""
    tolerance: float
    failures: tuple[str, ...]
    """One sentence a part that was not reproduced."""
    median_ms: float
    """Median time of a part, milliseconds."""

    @property
    def passed(self) -> bool:
        """Whether the engine may be trusted."""
        return self.parts > 0 and self.right == self.parts and not self.failures

    @property
    def summary(self) -> str:
        """One line for a table."""
        line = f"{self.right} of {self.parts} reproduced, off by {self.largest_difference:.4f} at most"
        return line if self.passed else f"{line}; {self.failures[0] if self.failures else 'no golden part'}"


def prove(engine: Engine, manifest: EngineManifest, parts: int | None = None) -> GoldenReport:
    """Run the golden parts (the first ``parts`` of them). Engine failures are reported, not raised."""
    golden = manifest.golden[:parts]
    precision = engine.info.precision
    tolerance = manifest.int8_tolerance if precision == "int8" else manifest.tolerance
    failures: list[str] = []
    times: list[float] = []
    largest = 0.0
    for part in golden:
        try:
            patches = read_golden(manifest, part)
            started = time.perf_counter()
            scores = engine.probabilities(patches)
            times.append((time.perf_counter() - started) * 1000)
            difference, problem = _compare(scores, part, manifest, precision, tolerance)
        except EngineError as error:
            difference, problem = 1.0, str(error)
        largest = max(largest, difference)
        if problem:
            failures.append(f"{part.name}: {problem}")
    return GoldenReport(
        backend=engine.info.backend,
        precision=precision,
        parts=len(golden),
        right=len(golden) - len(failures),
        largest_difference=largest,
        tolerance=tolerance,
        failures=tuple(failures),
        median_ms=float(np.median(times)) if times else 0.0,
    )


def require_proof(engine: Engine, manifest: EngineManifest, parts: int | None = None) -> GoldenReport:
    """The report of an engine that passed. Raises :class:`EngineError` when it did not."""
    report = prove(engine, manifest, parts)
    if not report.passed:
        raise EngineError(
            f"{report.backend} {report.precision} does not reproduce the golden parts of {manifest.name}: "
            f"{report.summary}; choose another back end or precision (`station engines --prove` shows all)"
        )
    return report


def golden_patches(manifest: EngineManifest, index: int = 0) -> NDArray[np.uint8]:
    """The patches of one golden part, uint8 ``(N, patch, patch, channels)``."""
    return read_golden(manifest, manifest.golden[index])


def _compare(
    scores: NDArray[np.float32],
    part: GoldenSurface,
    manifest: EngineManifest,
    precision: str,
    tolerance: float,
) -> tuple[float, str]:
    """Largest difference from the recorded scores, and what is wrong (empty when nothing is)."""
    fp32 = part.scores["fp32"]
    recorded = part.scores.get("int8", fp32) if precision == "int8" else fp32
    if scores.shape != recorded.shape:
        return 1.0, f"scores have shape {scores.shape}, recorded were {recorded.shape}"
    difference = float(np.abs(scores - recorded).max())
    if not difference <= tolerance:
        return difference, f"a probability is off by {difference:.4f}, more than {tolerance}"
    if precision == "int8":
        found, wanted = part_class(scores), part_class(fp32)
        if found != wanted:
            names = manifest.classes
            return difference, f"taken for {names[found]}, fp32 takes it for {names[wanted]}"
    else:
        other = np.flatnonzero(scores.argmax(axis=1) != fp32.argmax(axis=1))
        if other.size:
            return difference, f"patch {other[0]} has another most probable class"
    return difference, ""
