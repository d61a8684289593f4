"""What is known of one part, from its trigger to its verdict: frozen, and replaced by each stage.

A stage takes a :class:`PartInHand`, and hands on a new one that knows more. All that are made of one part
share its claim, so that whoever claims first - a stage, or the watch over the deadline - writes its verdict.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from drivers.cameras.interface import Frame
from drivers.sorters.interface import Trigger
from station.decision import Verdict
from station.engines.interface import Scores
from station.journal.values import Exposed, PartDetails
from station.patching import Patches
from station.prepared import Prepared


@dataclass(frozen=True, slots=True, eq=False)
class PartInHand:
    """A part without a verdict, at its present stage."""

    trigger: Trigger
    prepared: Prepared
    """What was prepared when the part was triggered."""
    record_id: int
    deadline_ns: int
    """``time.monotonic_ns()`` after which the part is a fault."""
    stages_ns: Mapping[str, int] = field(default_factory=dict)
    """When the part finished each stage, ``time.monotonic_ns()``."""
    frames: tuple[Frame, ...] = ()
    """One, or one per lamp of the recipe, in the lamps' order. Held until they are cut, and longer only for
    an observer that needs them: a frame is 20 MB."""
    exposures: tuple[Exposed, ...] = ()
    """What is known of each exposure, also of one that made no frame."""
    patches: Patches | None = None
    scores: Scores | None = None
    _claim: threading.Lock = field(default_factory=threading.Lock)

    def claim(self) -> bool:
        """True for the first caller only, who then writes the part's verdict."""
        return self._claim.acquire(blocking=False)

    @property
    def claimed(self) -> bool:
        """Whether the part has its verdict, or is just getting it."""
        return self._claim.locked()

    @property
    def left_s(self) -> float:
        """Seconds to the deadline, at least 0."""
        return max(self.deadline_ns - time.monotonic_ns(), 0) / 1e9

    @property
    def frame(self) -> Frame | None:
        """The last one that came; None before the first, and when it is not held any more."""
        return self.frames[-1] if self.frames else None

    @property
    def is_exposed(self) -> bool:
        """Whether all its frames came."""
        ids = [one.frame_id for one in self.exposures]
        return len(ids) == self.prepared.recipe.frames and None not in ids

    def seen(self, frame: Frame) -> PartInHand:
        """The part with its next frame, or the only one."""
        exposed = Exposed(frame.frame_id, frame.lost_before, frame.complete)
        return replace(
            self._reached("frame"),
            frames=(*self.frames, frame),
            exposures=(*self.exposures, exposed),
        )

    def unseen(self, lost_before: int | None) -> PartInHand:
        """The part without its next frame, and how many exposures were lost before that was known."""
        return replace(self, exposures=(*self.exposures, Exposed(lost_before=lost_before)))

    def cut(self, patches: Patches, *, keep_frame: bool) -> PartInHand:
        """The part with its patches."""
        return replace(self._reached("cut"), patches=patches, frames=self.frames if keep_frame else ())

    def scored(self, scores: Scores) -> PartInHand:
        """The part with the probabilities of its patches."""
        return replace(self._reached("scored"), scores=scores)

    def decided(self) -> PartInHand:
        """The part with its decision, which is not yet written."""
        return self._reached("decided")

    def details(self) -> PartDetails:
        """What the journal keeps of the part beside its verdict."""
        engine, exposures = self.prepared.engine.info, self.exposures
        last = exposures[-1] if exposures else Exposed()
        # Of several, the last one is where it ended: with what is unknown of it, all is unknown.
        lost, whole = last.lost_before, last.complete
        return PartDetails(
            stages_ns=self.stages_ns,
            frame_id=last.frame_id,
            lost_before=None if lost is None else sum(one.lost_before or 0 for one in exposures),
            frame_complete=None if whole is None else all(one.complete for one in exposures),
            exposures=exposures if self.prepared.recipe.stereo is not None else (),
            region=self.patches.surface.region if self.patches is not None else None,
            scores=self.scores.probabilities if self.scores is not None else None,
            engine_digest=engine.digest,
            backend=engine.backend,
            precision=engine.precision,
        )

    def _reached(self, stage: str) -> PartInHand:
        return replace(self, stages_ns={**self.stages_ns, stage: time.monotonic_ns()})


@dataclass(frozen=True, slots=True)
class SentResult:
    """A result on its way to the cell: what its receipt belongs to."""

    record_id: int
    received_ns: int
    """``time.monotonic_ns()`` of the part's trigger."""
    handed_ns: int
    """``time.monotonic_ns()`` when the result was handed to the sorter."""


@dataclass(frozen=True, slots=True, eq=False)
class InspectedPart:
    """A part whose verdict is in the journal and on its way to the cell; what observers are offered."""

    part: PartInHand
    """The part at its last stage: one that was faulted early has no frame, no patches or no scores."""
    verdict: Verdict
    sent_ns: int
    """``time.monotonic_ns()`` when the verdict was handed to the sorter."""

    @property
    def part_id(self) -> int:
        """The cell's number of the part."""
        return self.part.trigger.part_id

    def without_frame(self) -> InspectedPart:
        """The same without the 20 MB of each frame."""
        return self if not self.part.frames else replace(self, part=replace(self.part, frames=()))
