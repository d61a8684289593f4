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
from station.journal.values import PartDetails
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
    frame: Frame | None = None
    """Held until it is cut, and longer only for an observer that needs it: a frame is 20 MB."""
    frame_id: int | None = None
    lost_before: int | None = None
    frame_complete: bool | None = None
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

    def seen(self, frame: Frame) -> PartInHand:
        """The part with its frame."""
        return replace(
            self._reached("frame"),
            frame=frame,
            frame_id=frame.frame_id,
            lost_before=frame.lost_before,
            frame_complete=frame.complete,
        )

    def unseen(self, lost_before: int | None) -> PartInHand:
        """The part that got no frame, and how many exposures the camera lost before that was known."""
        return replace(self, lost_before=lost_before)

    def cut(self, patches: Patches, *, keep_frame: bool) -> PartInHand:
        """The part with its patches."""
        return replace(self._reached("cut"), patches=patches, frame=self.frame if keep_frame else None)

    def scored(self, scores: Scores) -> PartInHand:
        """The part with the probabilities of its patches."""
        return replace(self._reached("scored"), scores=scores)

    def decided(self) -> PartInHand:
        """The part with its decision, which is not yet written."""
        return self._reached("decided")

    def details(self) -> PartDetails:
        """What the journal keeps of the part beside its verdict."""
        engine = self.prepared.engine.info
        return PartDetails(
            stages_ns=self.stages_ns,
            frame_id=self.frame_id,
            lost_before=self.lost_before,
            frame_complete=self.frame_complete,
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
        """The same without the 20 MB of its frame."""
        return self if self.part.frame is None else replace(self, part=replace(self.part, frame=None))
