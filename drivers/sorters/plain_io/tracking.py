"""Which part is at the gate: a shift register between camera and gate, as a pure state machine.

Parts lie on a belt. The camera sees a part, and the gate meets it a known way later. The way is counted in
encoder ticks, or in milliseconds where the belt never changes its speed; it is called *position* here and
only grows. Nothing on the belt says which part it is, so that the tracker opens the way to the good side only
for a part that it can surely tell from all others. The rules, in order:

1. The gate stands on the reject side. It opens for the good side for one part alone: one that was judged
   *accept* before it came to the gate. All else is rejected: no verdict, a late one, a reject, a fault.
2. The gate acts on a piece of the belt, its *span*. Two things that are nearer to each other at the gate than
   the span, or that could be either at the sensor, cannot be told apart: both are rejected.
3. A second sensor between camera and gate looks whether each part comes when it should, give or take the
   *tolerance*. From there the part's way is counted anew. A part that does not come is *missing*; something
   that comes when no part should is *extra*; where the sensor reads the part's id, another one than the next
   is *overtaken*. What is missing or extra may be somewhere else on the belt, as an extra part: rejected.
4. When the position jumps back, or is not known for a while, nothing that is on the belt then is accepted.
5. Every part that entered ends in exactly one :class:`Passed`, and is accepted there only without a problem.

What no sensor can see stays unseen: a part that is exchanged by hand for another one at the same place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias


class Trouble(StrEnum):
    """Why a part was rejected whatever its verdict."""

    NO_VERDICT = "no verdict"
    """None had come when the part was at the gate."""
    TOO_CLOSE = "too close"
    MISSING = "missing"
    """It did not come to the second sensor."""
    EXTRA = "extra"
    """Something that the camera has not seen."""
    OVERTAKEN = "overtaken"
    GATE_LATE = "gate late"
    """The gate was not set in time: the machine was held up."""
    POSITION_LOST = "position lost"
    TOO_MANY = "too many"
    """More parts are between camera and gate than the tracker holds."""


@dataclass(frozen=True, slots=True)
class Belt:
    """Distances in one unit: encoder ticks, or milliseconds at a constant speed."""

    gate_at: int
    """From the camera to the gate."""
    gate_span: int
    """What the gate acts on: the longest part, how far it may slip, and the way while the gate moves."""
    sensor_at: int = 0
    """From the camera to the second sensor; 0: there is none."""
    tolerance: int = 0
    """How much earlier or later than expected a part may come to the sensor."""
    most: int = 64
    """Parts between camera and gate."""

    @property
    def apart(self) -> int:
        """Parts that come to the camera at least this far from each other can be told apart."""
        return max(self.gate_span, 2 * self.tolerance + 1 if self.sensor_at else 0)

    @property
    def problem(self) -> str:
        """Why nothing can be tracked with these distances; empty where it can."""
        if min(self.gate_at, self.gate_span) < 1 or min(self.sensor_at, self.tolerance) < 0 or self.most < 1:
            return "distances are above 0"
        last = self.sensor_at + self.tolerance
        if self.gate_at - last < 2 * self.apart:
            where = "the sensor" if self.sensor_at else "the camera"
            return f"from {where} to the gate there must be {last + 2 * self.apart - self.gate_at} more"
        return ""


@dataclass(frozen=True, slots=True)
class SetGate:
    """Set the gate now."""

    to_good: bool
    """Whether parts go to the good side."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A part has passed the gate; every part does, once."""

    part_id: int
    accepted: bool
    trouble: Trouble | None = None
    problem: str = ""
    """For people; empty where the part went where its verdict said."""


@dataclass(frozen=True, slots=True)
class Stray:
    """Something that is no known part was seen; it is rejected."""

    trouble: Trouble
    problem: str


Action: TypeAlias = SetGate | Passed | Stray


@dataclass(slots=True, eq=False)
class _Thing:
    """A part, or something that the camera has not seen (``part_id`` 0)."""

    part_id: int
    due: int
    """The position at which its middle is at the gate."""
    verdict: bool | None = None
    trouble: Trouble | None = None
    problem: str = ""
    is_confirmed: bool = False
    is_at_gate: bool = False
    is_accepted: bool = False


@dataclass(slots=True)
class Tracker:
    """One belt. Every call says the position; they may come late, but in order."""

    belt: Belt
    _position: int = 0
    _things: list[_Thing] = field(default_factory=list)
    _to_good: bool = False
    _doubtful: tuple[int, Trouble, str] = (-1, Trouble.POSITION_LOST, "")
    """Nothing that is due before this position is accepted, and why."""
    _behind: int = 0
    """How much farther the belt is than the position that is told."""
    _stood: bool = False
    """How the gate stood when that began."""

    def __post_init__(self) -> None:
        if self.belt.problem:
            raise ValueError(self.belt.problem)

    @property
    def held(self) -> int:
        """Things between camera and the end of the gate."""
        return len(self._things)

    def is_behind(self, by: int) -> None:
        """The positions that are told now are old: the belt, and what is on it, is ``by`` farther."""
        if not self._behind:
            self._stood = self._to_good
        self._behind = by

    def entered(self, part_id: int, at: int, ago: int = 0) -> list[Action]:
        """The camera has seen a part, ``ago`` before the position ``at``."""
        actions = self.advance(at)
        if len(self._things) >= self.belt.most:
            said = f"{self.belt.most} parts are between camera and gate already"
            self._doubt_all(Trouble.TOO_MANY, said)
            return [*actions, *self._set(False), Passed(part_id, False, Trouble.TOO_MANY, said)]
        self._things.append(_Thing(part_id, at - ago + self.belt.gate_at))
        return actions

    def judged(self, part_id: int, accept: bool) -> bool:
        """The part's verdict; the first one counts. False: too late, or no such part."""
        for thing in self._things:
            if thing.part_id == part_id and not thing.is_at_gate and thing.verdict is None:
                thing.verdict = accept
                return True
        return False

    def sensed(self, at: int, part_id: int | None = None, ago: int = 0) -> list[Action]:
        """Something has passed the second sensor, which may read the id, ``ago`` before ``at``."""
        actions = self.advance(at)
        due = at - ago + self.belt.gate_at - self.belt.sensor_at
        here = [thing for thing in self._things if self._may_be(thing, due)]
        if part_id is not None:
            return actions + self._read(part_id, due, here)
        if len(here) == 1:
            here[0].is_confirmed, here[0].due = True, due
            return actions
        if here:
            for thing in here:
                self._doubt(thing, Trouble.TOO_CLOSE, "two parts are expected at the sensor at once")
            return actions
        return [*actions, self._stray(due, Trouble.EXTRA, "came to the sensor when no part should")]

    def lost(self, at: int, why: str) -> list[Action]:
        """Where things are is not known any more: nothing that is on the belt is accepted."""
        actions = self.advance(at)
        self._doubt_all(Trouble.POSITION_LOST, why)
        return actions + self._set(False)

    def advance(self, at: int) -> list[Action]:
        """The belt has moved on to ``at``: the gate is set, and what has passed is said."""
        if at < self._position:
            back, self._position = self._position - at, at
            for thing in self._things:
                thing.due = min(thing.due, at + self.belt.gate_at)
            self._doubt_all(Trouble.POSITION_LOST, f"the position jumped back by {back}")
            return self._set(False)
        actions: list[Action] = []
        was_to_good = self._stood if self._behind else self._to_good
        while (event := self._next_event()) is not None and event[0] <= at:
            when, thing = event
            if thing.is_at_gate:
                self._things.remove(thing)
                actions += self._set(any(one.is_accepted for one in self._things))
                if thing.part_id:
                    actions.append(_passed(thing))
            else:
                thing.is_at_gate = True
                self._decide(thing, at - when + self._behind, was_to_good)
                if thing.is_accepted:
                    actions += self._set(True)
        self._position = at
        return actions

    def next_position(self) -> int | None:
        """Where :meth:`advance` has something to do next; None while nothing is on the belt."""
        event = self._next_event()
        return None if event is None else event[0]

    # -- helpers

    def _next_event(self) -> tuple[int, _Thing] | None:
        """The nearest begin or end of a thing's way past the gate; an end comes before a begin."""
        half = self.belt.gate_span // 2
        events = (
            (thing.due + half, 0, thing) if thing.is_at_gate else (thing.due - half, 1, thing)
            for thing in self._things
        )
        first = min(events, key=lambda one: one[:2], default=None)
        return None if first is None else (first[0], first[2])

    def _decide(self, thing: _Thing, late: int, was_to_good: bool) -> None:
        """What becomes of a thing that is at the gate now.

        ``late``: how long it has been there already; ``was_to_good``: how the gate stood meanwhile.
        """
        if late > self.belt.gate_span // 4:
            where = "it may have gone to the good side" if was_to_good else "it was rejected"
            self._doubt(thing, Trouble.GATE_LATE, f"the gate was set {late} late: {where}")
        if thing.due < self._doubtful[0]:
            self._doubt(thing, *self._doubtful[1:])
        if self.belt.sensor_at and not thing.is_confirmed:
            self._doubt(thing, Trouble.MISSING, "did not come to the second sensor in time")
        others = (other for other in self._things if other is not thing)
        if any(abs(other.due - thing.due) < self.belt.gate_span for other in others):
            self._doubt(thing, Trouble.TOO_CLOSE, f"another one is nearer than {self.belt.gate_span}")
        if thing.verdict is None:
            self._doubt(thing, Trouble.NO_VERDICT, "no verdict had come when the part was at the gate")
        thing.is_accepted = bool(thing.verdict) and thing.trouble is None

    def _may_be(self, thing: _Thing, due: int) -> bool:
        expected = not thing.is_confirmed and thing.part_id and not thing.is_at_gate
        return bool(expected) and abs(thing.due - due) <= self.belt.tolerance

    def _read(self, part_id: int, due: int, here: list[_Thing]) -> list[Action]:
        """The sensor has read an id."""
        thing = next((one for one in self._things if one.part_id == part_id and not one.is_confirmed), None)
        if thing is None:
            return [
                self._stray(due, Trouble.EXTRA, f"part {part_id} came to the sensor and is not on its way")
            ]
        if thing not in here:
            said = f"part {part_id} came to the sensor {due - thing.due:+d} from where it should be"
            self._doubt(thing, Trouble.OVERTAKEN, said)
            for other in here:
                self._doubt(other, Trouble.OVERTAKEN, f"part {part_id} came to the sensor in its place")
        thing.is_confirmed, thing.due = True, due
        return []

    def _stray(self, due: int, trouble: Trouble, problem: str) -> Stray:
        self._things.append(_Thing(0, due, trouble=trouble, problem=problem, is_confirmed=True))
        return Stray(trouble, problem)

    def _doubt_all(self, trouble: Trouble, problem: str) -> None:
        """Nothing that is on the belt now is accepted, nor what comes to the camera just behind it."""
        self._doubtful = (self._position + self.belt.gate_at + self.belt.apart, trouble, problem)
        for thing in self._things:
            self._doubt(thing, trouble, problem)
            thing.is_accepted = False

    @staticmethod
    def _doubt(thing: _Thing, trouble: Trouble, problem: str) -> None:
        """The first doubt is the one that is said."""
        if thing.trouble is None:
            thing.trouble, thing.problem = trouble, problem

    def _set(self, to_good: bool) -> list[Action]:
        if to_good == self._to_good:
            return []
        self._to_good = to_good
        return [SetGate(to_good)]


def _passed(thing: _Thing) -> Passed:
    """A part that was to be rejected is where it should be, whatever else is wrong with it."""
    if thing.verdict is False and thing.trouble not in (Trouble.MISSING, Trouble.GATE_LATE):
        return Passed(thing.part_id, False)
    problem = "" if thing.trouble is None else f"{thing.trouble}: {thing.problem}"
    return Passed(thing.part_id, thing.is_accepted, thing.trouble, problem)
