"""What another engine's verdict would change for a part, and whether that is worse. No I/O.

A person's word decides where there is one. Without it, a change counts against the new engine unless the old
one was itself in doubt: a part that would be *released* may be an escape, and a part that would be *stopped*
is overkill, except where the old engine found it far from what it was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from drivers.sorters.interface import Outcome


class Change(StrEnum):
    """How the verdict of the new engine differs from that of the old one."""

    SAME = "same"
    RENAMED = "renamed"
    """Rejected by both, as another class."""
    STOPPED = "stopped"
    """Accepted by the old one, rejected by the new one."""
    RELEASED = "released"
    """Rejected by the old one, accepted by the new one: perhaps an escape."""
    FAILED = "failed"
    """The new engine gives no verdict."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One part by two engines."""

    record_id: int
    old: Outcome
    old_class: str
    new: Outcome
    new_class: str
    far: bool = False
    """Whether the old engine found the part far from what it was trained on."""
    said: str | None = None
    """The class that a person named; None where nobody did."""
    said_good: bool = False
    """Whether that class is the good one."""

    @property
    def change(self) -> Change:
        """What would change."""
        if self.new is Outcome.FAULT:
            return Change.FAILED
        if (self.old, self.old_class) == (self.new, self.new_class):
            return Change.SAME
        if self.old is self.new:
            return Change.RENAMED
        return Change.RELEASED if self.new is Outcome.ACCEPT else Change.STOPPED

    @property
    def is_worse(self) -> bool:
        """Whether the new verdict counts against the new engine."""
        match self.change:
            case Change.FAILED:
                return True
            case Change.RELEASED:
                return not (self.said is not None and self.said_good)
            case Change.STOPPED:
                return self.said_good if self.said is not None else not self.far
            case Change.RENAMED:
                return self.said == self.old_class
        return False

    @property
    def is_better(self) -> bool:
        """Whether a person's word, or the old engine's own doubt, speaks for the new verdict."""
        match self.change:
            case Change.RELEASED:
                return self.said is not None and self.said_good
            case Change.STOPPED:
                return not self.is_worse
            case Change.RENAMED:
                return self.said == self.new_class
        return False
