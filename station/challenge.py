"""The known-bad part: until it was rejected, the line accepts nothing.

A plant that must show at each start that its inspection rejects (as with the test pieces of a metal detector)
keeps a known-bad part at the line. The recipe's ``decision.known_bad_first`` names its class. After a start
and after each changeover, every part that would be accepted is a fault, until one was rejected as this class.
"""

from __future__ import annotations

import threading

from drivers.sorters.interface import Outcome
from station.decision import Verdict, fault
from station.faults import Code
from station.recipe import Recipe


class Challenge:
    """What one engine has to show before it may accept. Thread-safe."""

    def __init__(self, recipe: Recipe) -> None:
        """``recipe``: by which the engine judges; without ``known_bad_first`` there is nothing to show."""
        self._recipe = recipe
        self._class = recipe.decision.known_bad_first
        self._shown = threading.Event()

    @property
    def waits_for(self) -> str:
        """The class of the part that is still to be rejected; empty when nothing is."""
        return "" if self._class is None or self._shown.is_set() else self._class

    def judged(self, verdict: Verdict) -> Verdict:
        """What becomes of a verdict: an accept that comes too early is a fault, a reject may end this."""
        if not (wanted := self.waits_for):
            return verdict
        if verdict.outcome is Outcome.REJECT and verdict.class_name == wanted:
            self._shown.set()
        if verdict.outcome is not Outcome.ACCEPT:
            return verdict
        why = f"the known-bad part ({wanted}) has not been rejected yet since the start or the changeover"
        return fault(Code.KNOWN_BAD_FIRST.of(why), self._recipe)
