"""What a consumer holds of one stream of one journal without a gap. No I/O; time is passed in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

ASK_AGAIN_S = 3.0
"""The time after which a range that did not come is asked for again."""


class Fate(Enum):
    """What to do with a message."""

    STORE = "store"
    """It is the next one."""
    REPEAT = "repeat"
    """It is held."""
    GAP = "gap"
    """Others are missing before it: it comes again when they are asked for."""


@dataclass(slots=True)
class Holding:
    """One stream of one journal."""

    journal: str
    stream: str
    held: int
    """The highest number without a gap that was taken; it is durable after the next commit."""
    missed: int = 0
    """Gaps that were found."""
    repeats: int = 0
    asked_at: float | None = None
    """When the range after ``held`` was asked for; None while nothing is missing."""

    def take(self, message: dict[str, Any]) -> Fate:
        """A record or an event came."""
        number = int(message["number"])
        previous = int(message["previous"]) if "previous" in message else number - 1
        if number <= self.held:
            self.repeats += 1
            return Fate.REPEAT
        if previous > self.held:
            return Fate.GAP
        self.held, self.asked_at = number, None
        return Fate.STORE

    def skip(self, first: int, last: int) -> bool:
        """The station no longer has these numbers; whether this concerns what comes next."""
        if not first <= self.held + 1 <= last:
            return False
        self.held, self.asked_at = last, None
        return True

    def asks(self, now: float) -> bool:
        """Whether to ask for what is missing now."""
        if self.asked_at is not None and now < self.asked_at + ASK_AGAIN_S:
            return False
        self.missed += self.asked_at is None
        self.asked_at = now
        return True

    def receipt(self, *, asks: bool) -> dict[str, Any]:
        """What to say to the station; ``asks``: for everything after what is held."""
        return {
            "schema": "receipt/1",
            "journal": self.journal,
            "stream": self.stream,
            "held": self.held,
            "missing": [self.held + 1, None] if asks else None,
        }
