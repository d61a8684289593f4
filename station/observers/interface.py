"""The interface of an observer, and what it receives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from drivers.errors import InspectionError
from drivers.sorters.interface import Outcome
from station.part import InspectedPart
from station.queues import QueueStatus

if TYPE_CHECKING:
    from station.config import StationConfig
    from station.journal import Journal
    from station.simulated_plant import Plant


class ObserverError(InspectionError):
    """An observer cannot start; the message names it and says what to do about it."""


@dataclass(frozen=True, slots=True)
class ObserverSetup:
    """What an observer may be made from."""

    config: StationConfig
    plant: Plant
    """The simulated plant, which may know the truth; empty where everything is real."""
    journal: Journal


class Observer(ABC):
    """Looks at inspected parts, in a thread of its own, and may take its time or fail."""

    name: str
    """Its name in the status and the log."""
    capacity: int = 8
    """Parts that can wait for it; when there are more, good ones are dropped first."""
    outcomes: frozenset[Outcome] = frozenset(Outcome)
    """The outcomes of the parts that it is offered."""
    needs_frame: bool = False
    """Whether it looks at the whole frame; else it is offered the surface and its patches alone."""
    uncut_frames: bool = False
    """Whether it is offered the frame of a part that was never cut, so that it can show why."""
    keeps: str = ""
    """What is lost when it fails, hangs or is too slow, such as "pictures"; the station is *degraded* then.
    Empty where nobody misses anything."""
    spare_time: bool = False
    """Whether it works in spare time only: a part that it has no time for is no loss."""
    end_s: float = 10.0
    """How long the end of the run waits for it, seconds."""
    note: str = ""
    """A note about itself, one line for people; it sets this, others read it."""
    trouble: str = ""
    """Why it cannot keep anything now, where parts that it need not keep do not say so; it sets this."""
    stored_bytes: int | None = None
    """What it stores on the disk, where it stores something; it sets this, others read it."""
    drift: Mapping[str, float] = MappingProxyType({})
    """How far parts have moved from training, by measure, above 1 = too far; it sets this, others read it."""

    def wants(self, part: InspectedPart) -> bool:
        """Whether to offer it this part, where it looks at a share of them only.

        Called on the decision path: it must be quick and wait for nothing.
        """
        return True

    @abstractmethod
    def observe(self, part: InspectedPart) -> None:
        """Look at one part. An exception is counted and shown, and only this part's observation is lost."""

    def idle(self) -> None:
        """Nothing waits; called up to ten times a second, so it must look quickly whether there is work."""
        return

    def probe(self) -> None:
        """Find out, while no part waits, whether it can keep anything now.

        Called at the start and every few seconds, where it :attr:`keeps` something. Raises what
        :meth:`observe` would raise.
        """
        return

    def close(self) -> None:
        """The end of the run: nothing waits any more, and no part comes after this."""
        return


@dataclass(frozen=True, slots=True)
class ObserverStatus:
    """A snapshot of one observer."""

    name: str
    queue: QueueStatus
    """Parts that wait for it, and parts that were dropped because it was too slow."""
    observed: int
    failed: int
    """Parts on which it raised."""
    busy_s: float
    """How long it has been busy with one part; 0 while it waits for the next."""
    last_error: str
    note: str
    """A note of the observer about itself."""
    stored_bytes: int | None = None
    """What it stores on the disk; None: nothing, or not known yet."""
    losing: str = ""
    """Why it loses what it is there to keep, now; empty while it does not, or keeps nothing."""
    spare_time: bool = False
    """Whether parts that it has no time for are no loss."""
    drift: Mapping[str, float] = field(default_factory=dict)
    """How far parts have moved from training, by measure; empty where it does not look, or not enough."""

    @property
    def problem(self) -> str:
        """Its problems, for the operator; empty when there is none."""
        troubles = []
        if self.queue.shed and not self.spare_time:
            troubles.append(f"{self.queue.shed} dropped")
        if self.failed:
            troubles.append(f"{self.failed} failed: {self.last_error}")
        if self.busy_s > HANGING_S:
            troubles.append(f"busy with one part for {self.busy_s:.0f} s")
        return ", ".join(troubles)


HANGING_S = 5.0
"""An observer that is busy with one part for this long is shown as hanging."""
