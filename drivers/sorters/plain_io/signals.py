"""What the lines say and what they are told, as a pure state machine over the handshake.

Edges and the clock in, levels out. A part is a rising edge of ``trigger``; the station numbers the parts. A
result is ``ok`` or ``ng``, then ``valid``; the lines are free again before the next result. Nothing tells
two results apart but their order: they are shown in the order of their parts. Nothing is on that was not
decided: no result is no level, and ``ok`` is never on together with ``ng``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from drivers.sorters.handshake import Announcement, Decided, Handshake, Reply
from drivers.sorters.interface import JobChange, Outcome, Receipt, Result, Trigger
from drivers.sorters.plain_io.settings import PlainSettings
from drivers.sorters.plain_io.tracking import Action, Passed, SetGate, Tracker

log = logging.getLogger(__name__)

Delivery: TypeAlias = Trigger | Receipt
MS = 1_000_000
"""Nanoseconds."""


@dataclass(frozen=True, slots=True)
class Edge:
    """An input has changed."""

    key: str
    rising: bool
    at_ns: int
    """``time.monotonic_ns()`` when the kernel saw it."""


class _Phase(Enum):
    FREE = auto()
    SETUP = auto()
    VALID = auto()
    GAP = auto()


class Signals:
    """The station's end of the lines."""

    def __init__(self, settings: PlainSettings) -> None:
        self._settings = settings
        self.handshake: Handshake[Reply] = Handshake(settings, lambda reply: reply)
        self.levels = dict.fromkeys(settings.outputs, False)
        """What each output must be now."""
        self._tracker = None if settings.gate is None else Tracker(settings.gate.belt(settings.max_in_hand))
        self._parts = self._position = 0
        """Parts so far; the belt's position."""
        self._begun_ns = 0
        """The time of position 0, where there is no encoder."""
        self._results: list[Decided] = []
        self._shown: Decided | None = None
        self._phase, self._until_ns = _Phase.FREE, 0
        self._gone: dict[int, str] = {}
        """Parts that have passed the gate before their result, and how they did."""

    # -- the application's calls

    def set_ready(self, ready: bool, reason: str, *, busy: bool = False) -> list[Delivery]:
        """Whether triggers are taken."""
        return self._do(self.handshake.set_ready(ready, reason, busy=busy))

    def acknowledge(self, part_id: int) -> None:
        """The trigger's record is durable; ``busy`` says so."""
        self.handshake.acknowledge(part_id)

    def acquisition_done(self, part_id: int) -> None:
        """The part may leave the camera."""
        if self.handshake.acquisition_done(part_id):
            self._set("acquired", True)

    def send(self, result: Result, now_ns: int) -> list[Delivery]:
        """Show the result as soon as the lines are free."""
        found = self._do(self.handshake.send(result, now_ns))
        if self._tracker is not None and self.handshake.awaits(result.part_id):
            late = self._gone.pop(result.part_id, "")
            if late or not self._tracker.judged(result.part_id, result.outcome is Outcome.ACCEPT):
                late = late or "the part has passed the gate"
                found += self._do(self.handshake.passed(result.part_id, late, now_ns))
        return found + self.tick(now_ns)

    def arrived(self, part_id: int, now_ns: int) -> list[Delivery]:
        """Free running: a part without a trigger, whose number is the station's and grows.

        Who reads the lines knows a part by the time of its result. So one that comes before the result of
        the part before is over ends that result; where that had not begun, neither of the two gets one.
        """
        if part_id <= self._parts:
            return []
        found: list[Delivery] = []
        if self.handshake.in_hand:
            why = f"part {part_id} came before the result of the part before was over; let parts come slower"
            found = self.lost(why, now_ns)
        self._parts = part_id
        self.handshake.triggered(part_id, part_id, "", now_ns)
        return found

    def close(self, now_ns: int) -> list[Delivery]:
        """All lines off."""
        found = self._do(self.handshake.close(now_ns))
        self.levels = dict.fromkeys(self.levels, False)
        return found

    def lost(self, why: str, now_ns: int) -> list[Delivery]:
        """Edges were missed, or the lines were gone: nothing that is in hand can be trusted."""
        self.handshake.unexpected(why)
        found = self._do(self.handshake.begin_anew(self._parts, now_ns, why))
        self._results.clear()
        self._shown, self._phase = None, _Phase.FREE
        for key in ("ok", "ng", "valid"):
            self._set(key, False)
        if self._tracker is not None:
            found += self._tracked(self._tracker.lost(self._at(now_ns), why), now_ns)
        return found

    # -- what happens on the lines, and the clock

    def edges(self, batch: list[Edge], now_ns: int) -> Iterator[list[Delivery]]:
        """Edges that waited together: the belt is ahead of all but the last by what came since."""
        ahead = sum(edge.rising and edge.key == "encoder" for edge in batch)
        for edge in batch:
            ahead -= edge.rising and edge.key == "encoder"
            if self._tracker is not None:
                self._tracker.is_behind(max(0, now_ns - edge.at_ns) // MS if self._by_time else ahead)
            yield self.edge(edge)
        if self._tracker is not None:
            self._tracker.is_behind(0)

    def edge(self, edge: Edge) -> list[Delivery]:
        """An input has changed; edges come in their order."""
        if not edge.rising:
            return []
        if edge.key == "encoder":
            self._position += 1
            return self.tick(edge.at_ns)
        found = self.tick(edge.at_ns)
        if edge.key == "trigger":
            self._parts += 1
            if self._tracker is not None:
                at, ago = self._at(edge.at_ns), self._ago(edge)
                found += self._tracked(self._tracker.entered(self._parts, at, ago), edge.at_ns)
            self._set("acquired", False)
            found += self._do(self.handshake.triggered(self._parts, self._parts, "", edge.at_ns))
        elif edge.key == "sensor" and self._tracker is not None:
            at, ago = self._at(edge.at_ns), self._ago(edge)
            found += self._tracked(self._tracker.sensed(at, ago=ago), edge.at_ns)
        elif edge.key == "ack":
            if self._phase is _Phase.VALID:
                found += self._end_of_result(edge.at_ns)
            else:
                self.handshake.unexpected("the cell acknowledged while no result was valid")
        return found

    def tick(self, now_ns: int) -> list[Delivery]:
        """What the clock and the belt demand."""
        found: list[Delivery] = []
        if self._tracker is not None:
            found += self._tracked(self._tracker.advance(self._at(now_ns)), now_ns)
        found += self._do([one for one in self.handshake.tick(now_ns) if isinstance(one, Receipt)])
        while self._phase is not _Phase.FREE or self._results:
            if self._phase is _Phase.FREE:
                decided = min(self._results, key=lambda one: one.number)
                if not self.handshake.is_first(decided.number) and self.handshake.awaits(decided.number):
                    break  # the part before has no result yet
                self._results.remove(decided)
                if self.handshake.awaits(decided.number):  # else it is too old to be read as anybody's
                    self._begin_result(decided, now_ns)
            elif self._phase is _Phase.VALID and self._settings.waits_for_ack:
                if self._shown is None or self.handshake.awaits(self._shown.number):
                    break
                found += self._end_of_result(now_ns)  # given up
            elif now_ns < self._until_ns:
                break
            elif self._phase is _Phase.SETUP:
                self._set("valid", True)
                self._phase, self._until_ns = _Phase.VALID, now_ns + _ns(self._settings.pulse_ms)
            elif self._phase is _Phase.VALID:
                found += self._end_of_result(now_ns)
            else:
                self._phase, self._shown = _Phase.FREE, None
        self._show_readiness()
        return found

    def next_due_ns(self) -> int:
        """When :meth:`tick` must be called next; far away while nothing waits."""
        due = self.handshake.next_due_ns()
        waits_for_ack = self._phase is _Phase.VALID and self._settings.waits_for_ack
        if self._phase is not _Phase.FREE and not waits_for_ack:
            due = min(due, self._until_ns)
        if self._tracker is not None and self._by_time and (at := self._tracker.next_position()) is not None:
            due = min(due, self._begun_ns + at * MS)
        return due

    # -- helpers

    @property
    def _by_time(self) -> bool:
        return self._settings.gate is not None and self._settings.gate.encoder is None

    def _at(self, now_ns: int) -> int:
        """The belt's position; an edge may be told a little after the clock was looked at."""
        if self._by_time:
            self._begun_ns = self._begun_ns or now_ns
            self._position = max(self._position, (now_ns - self._begun_ns) // MS)
        return self._position

    def _ago(self, edge: Edge) -> int:
        """How far the belt has come since the edge, where the clock was looked at before it was told."""
        return self._position - max(0, edge.at_ns - self._begun_ns) // MS if self._by_time else 0

    def _tracked(self, actions: list[Action], now_ns: int) -> list[Delivery]:
        found: list[Delivery] = []
        for action in actions:
            if isinstance(action, SetGate):
                self._set("gate", action.to_good)
            elif isinstance(action, Passed):
                if self.handshake.awaits(action.part_id):
                    found += self._do(self.handshake.passed(action.part_id, action.problem, now_ns))
                else:
                    self._gone[action.part_id] = action.problem or "it has passed the gate without a result"
                    while len(self._gone) > self._settings.memory:
                        del self._gone[next(iter(self._gone))]
            else:
                stray = f"{action.trouble}: something {action.problem}; it is rejected"
                log.warning("belt: %s", stray)
                self.handshake.unexpected(stray)
        return found

    def _begin_result(self, decided: Decided, now_ns: int) -> None:
        self._shown = decided
        accepted = decided.result.outcome is Outcome.ACCEPT
        self._set("ok", accepted)
        self._set("ng", not accepted)
        self._phase, self._until_ns = _Phase.SETUP, now_ns + _ns(self._settings.setup_ms)

    def _end_of_result(self, now_ns: int) -> list[Delivery]:
        """``valid`` goes first, so that nobody reads the two others while they change."""
        for key in ("valid", "ok", "ng"):
            self._set(key, False)
        self._phase, self._until_ns = _Phase.GAP, now_ns + _ns(self._settings.gap_ms)
        shown, self._shown = self._shown, None
        if shown is None or self._tracker is not None or not self.handshake.awaits(shown.number):
            return []
        return self._do(self.handshake.passed(shown.number, "", now_ns))

    def _do(self, actions: Iterable[Reply | Trigger | Receipt | Announcement | JobChange]) -> list[Delivery]:
        found: list[Delivery] = []
        for action in actions:
            if isinstance(action, Trigger | Receipt):
                found.append(action)
            elif isinstance(action, Decided):
                self._results.append(action)
        self._show_readiness()
        return found

    def _show_readiness(self) -> None:
        now = self.handshake.announcement()
        self._set("ready", now.ready)
        self._set("busy", self.handshake.in_hand > 0)

    def _set(self, key: str, on: bool) -> None:
        if key in self.levels:
            self.levels[key] = on


def _ns(milliseconds: float) -> int:
    return round(milliseconds * MS)
