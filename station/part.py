"""One part in hand: what is known of it so far. Its values are made once and never changed."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from drivers.cameras.interface import Frame
from drivers.sorters.interface import Trigger
from station.engines.interface import EngineInfo, Scores
from station.journal.values import PartDetails
from station.patching import Patches


@dataclass(slots=True)
class PartInHand:
    """Each field is written by one stage of the line and read by those behind it."""

    trigger: Trigger
    record_id: int
    deadline_ns: int
    """``time.monotonic_ns()`` after which the part is a fault."""
    stages_ns: dict[str, int] = field(default_factory=dict)
    """When the part was through each stage, ``time.monotonic_ns()``."""
    frame: Frame | None = None
    """Held until it is cut, and no longer: a frame is 20 MB."""
    frame_id: int | None = None
    lost_before: int | None = None
    frame_complete: bool | None = None
    patches: Patches | None = None
    scores: Scores | None = None
    told_ns: int | None = None
    """When the cell was told, ``time.monotonic_ns()``."""
    truth: object | None = None
    """What a simulated plant knows of the part."""
    _claim: threading.Lock = field(default_factory=threading.Lock)

    def claim(self) -> bool:
        """True for the first caller only: whoever gets it writes the part's verdict."""
        return self._claim.acquire(blocking=False)

    @property
    def claimed(self) -> bool:
        """Whether the part has its verdict, or is just getting it."""
        return self._claim.locked()

    @property
    def left_s(self) -> float:
        """Seconds to the deadline, at least 0."""
        return max(self.deadline_ns - time.monotonic_ns(), 0) / 1e9

    def reached(self, stage: str) -> None:
        """Note the time."""
        self.stages_ns[stage] = time.monotonic_ns()

    def details(self, engine: EngineInfo) -> PartDetails:
        """What the journal keeps of the part beside its verdict."""
        patches = self.patches
        return PartDetails(
            stages_ns=dict(self.stages_ns),
            frame_id=self.frame_id,
            lost_before=self.lost_before,
            frame_complete=self.frame_complete,
            region=patches.surface.region if patches is not None else None,
            scores=None if self.scores is None else self.scores.probabilities,
            engine_digest=engine.digest,
            backend=engine.backend,
            precision=engine.precision,
        )

    def seen_by(self, frame: Frame) -> None:
        """Note which frame is the part's."""
        self.reached("frame")
        self.frame_id, self.lost_before, self.frame_complete = (
            frame.frame_id,
            frame.lost_before,
            frame.complete,
        )
