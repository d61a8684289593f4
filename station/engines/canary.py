"""Golden parts judged again while the station runs: an engine is proven now, not only when it started.

A start proves one golden part of every class, and a network in memory, a driver or a processor may go wrong
at any time after it. So the thread that uses the engine judges a golden part, a few patches at a time, while
no part waits for it. All golden parts follow the start as soon as there is time; then each is judged once in
every period, spread evenly. Where parts leave no time, the canary takes it: what is overdue is done between
two parts, a few patches at a time, so that no part waits longer than one such step.

One deviation, and the engine is never trusted again: another start or activation opens a new one. An engine
that gives no scores at all has accepted nothing: that is a failure, as with any part.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from station.decision import Rules
from station.engines.folder import EngineManifest, GoldenSurface, read_golden
from station.engines.interface import Engine, Scores
from station.engines.prove import deviation
from station.recipe import Recipe

STEP_PATCHES = 4
"""Patches of one step: what a part that comes meanwhile waits for."""
ALL_WITHIN_S = 60.0
"""The longest time after a start in which every golden part has been judged."""


@dataclass(frozen=True, slots=True)
class CanaryStatus:
    """What the golden parts have said since the engine was opened."""

    golden: int
    """Golden parts of the engine."""
    passed: int
    """How many were judged right, each time counted."""
    last_passed_s: float | None
    """Seconds since the last one that was right; None before the first."""
    period_s: float
    """Within this time each golden part is judged again."""
    longest_step_ms: float
    """The longest time of a step, ms: what a part may have waited."""
    problem: str
    """Why the engine is not trusted any more; empty while it is."""


class Canary:
    """The golden parts of one opened engine, and when the next is due.

    :meth:`step` is called by the thread that uses the engine, :meth:`status` by any.
    """

    def __init__(
        self,
        engine: Engine,
        manifest: EngineManifest,
        recipe: Recipe,
        period_s: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read all golden parts into memory, 1 MB each for a surface of 2048 x 512.

        ``period_s``: each golden part is judged once in this time. Raises :class:`EngineError`.
        """
        self._engine, self._manifest, self._rules, self._now = engine, manifest, Rules.of(recipe), now
        self._golden = [(part, read_golden(manifest, part)) for part in manifest.golden]
        self._period_s = period_s
        # One place more than parts: a part may be late by one place and still in time.
        self._places = len(self._golden) + 1
        self._begun = self._grid = now()
        self._passed = 0
        self._scored: list[Scores] = []
        """Of the golden part in hand, step by step."""
        self._last = 0.0
        self._longest_ms = 0.0
        self.problem = ""
        """Why the engine is not trusted any more; empty while it is."""
        self.failures = 0
        """How many times in a row a golden part could not be judged, because the engine gave no scores."""

    @property
    def manifest(self) -> EngineManifest:
        """The engine's own description."""
        return self._manifest

    @property
    def golden(self) -> tuple[tuple[GoldenSurface, NDArray[np.uint8]], ...]:
        """The golden parts with their patches, ``(N, patch, patch, C)``."""
        return tuple(self._golden)

    def step(self, part_waits: bool) -> bool:
        """Score a few patches of a golden part if it is due, or overdue where ``part_waits``; whether it did.

        A wrong answer is said by :attr:`problem`. Raises what the engine raises; the golden part is then
        begun again, and :attr:`failures` counts how often in a row.
        """
        due, overdue = self._due()
        if self.problem or self._now() < (overdue if part_waits else due):
            return False
        part, patches = self._golden[self._passed % len(self._golden)]
        at = len(self._scored) * STEP_PATCHES
        started = self._now()
        try:
            self._scored.append(self._engine.scores(patches[at : at + STEP_PATCHES]))
        except Exception:
            self._scored = []
            self.failures += 1
            raise
        finally:
            self._longest_ms = max(self._longest_ms, (self._now() - started) * 1000)
        if at + STEP_PATCHES < len(patches):
            return True
        self.failures = 0
        problem = self._wrong_in(part)
        if problem:
            self.problem = f"golden part {part.name}: {problem}"
            return True
        self._passed += 1
        self._last = self._now()
        if self._passed == len(self._golden):
            self._grid = self._last
        return True

    def _wrong_in(self, part: GoldenSurface) -> str:
        """What is wrong with the scores of a golden part, all of which are there; empty if they are right."""
        scored, self._scored = self._scored, []
        try:
            return deviation(_joined(scored), part, self._manifest, self._engine.info, self._rules)[1]
        except Exception as error:  # scores of odd shapes
            return f"scores that make no sense: {error!r}"

    def _due(self) -> tuple[float, float]:
        """When the golden part in turn may be judged, and when no part may keep it from being judged."""
        again = self._passed - len(self._golden)
        if again < 0:
            place_s = min(self._period_s, ALL_WITHIN_S) / self._places
            return self._begun, self._begun + (self._passed + 0.5) * place_s
        place_s = self._period_s / self._places
        due = self._grid + (again + 1) * place_s
        return due, due + 0.5 * place_s

    def status(self) -> CanaryStatus:
        """A snapshot, from any thread."""
        return CanaryStatus(
            golden=len(self._golden),
            passed=self._passed,
            last_passed_s=round(self._now() - self._last, 1) if self._passed else None,
            period_s=self._period_s,
            longest_step_ms=round(self._longest_ms, 1),
            problem=self.problem,
        )


def _joined(steps: list[Scores]) -> Scores:
    features = [step.features for step in steps if step.features is not None]
    novelty = [step.novelty for step in steps if step.novelty is not None]
    return Scores(
        np.concatenate([step.probabilities for step in steps]),
        np.concatenate(features) if len(features) == len(steps) else None,
        np.concatenate(novelty) if len(novelty) == len(steps) else None,
    )
