"""How long to wait for a process that computes in spare time. No I/O.

Seconds on a clock say nothing of it: on a machine that is busy it may get a hundredth of a processor, and a
part for which it has no time is no loss. What tells one that hangs from one that waits its turn is the
processor time that it has used: one that has work and uses none at all is stopped, hangs, or waits for a
disk; one that uses more than the work can need goes round in circles.
"""

from __future__ import annotations

from dataclasses import dataclass

LOOK_S = 0.2
"""How often a process that has work is looked at."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a process may use; times are seconds."""

    silent_s: float = 30.0
    """How long it may use no processor time while it has work. Linux gives a thread of the lowest priority
    about 0.3 % of a processor that other threads fill: 0.1 s of these."""
    opening_s: float = 1800.0
    """The processor time to open and prove a network: plans of TensorRT are built in minutes."""
    scoring_s: float = 120.0
    """The processor time to score a part."""
    gives_way: bool = True
    """Whether everything else goes first. Only a test, which cannot wait on a busy machine, says no."""


USUAL = Limits()


class Patience:
    """One piece of work, looked at now and then."""

    def __init__(self, silent_s: float, at_most_s: float, now_s: float, used_s: float) -> None:
        """``used_s``: the processor time that the process has used so far."""
        self._silent_s, self._at_most_s = silent_s, at_most_s
        self._looked_s, self._begun_s = now_s, used_s
        self._used_s = used_s
        self._idle_s = 0.0

    def look(self, now_s: float, used_s: float) -> str:
        """Why to wait no longer; empty while there is hope.

        Time in which nobody looked does not count: the station was stopped then, perhaps with the process.
        """
        elapsed_s, self._looked_s = min(now_s - self._looked_s, 2 * LOOK_S), now_s
        self._idle_s = 0.0 if used_s > self._used_s else self._idle_s + elapsed_s
        self._used_s = used_s
        if self._idle_s > self._silent_s:
            return f"used no processor time for {self._silent_s:g} s: it hangs, or it was stopped"
        if used_s - self._begun_s > self._at_most_s:
            return f"came to no end within {self._at_most_s:g} s of processor time"
        return ""
