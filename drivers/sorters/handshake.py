"""The handshake of one station with one cell as a pure state machine, whatever wire lies between them.

Events in (triggers and sorted parts as the cell reports them, the clock, what the application says), actions
out: replies to send, triggers and receipts to deliver. The rules, in order:

1. A trigger is the pair of the cell's session and the trigger's number. A repetition has the same number; the
   same part id under a new number is a new part, unless the id is still in hand.
2. A repetition is answered with what was last said about it, and never delivered again. Once the part
   is closed (acknowledged, or given up) a repetition is not answered at all: an old verdict is never
   said about a new part.
3. A trigger is refused while the station is not ready.
4. A result is repeated until the cell acknowledges it or until its time is over. Every ``send`` ends in
   exactly one receipt, and in a good one only if the cell names the bin of the result.
5. A cell may ask for another recipe; the rules are in :mod:`drivers.sorters.job_change`.
6. When the cell restarts, its old parts are nobody's: results for them are not sent, their receipts
   are bad, and their ids are refused until the application has sent what it still has in hand.

A protocol passes in how a reply is spelled on its wire, and gets its own messages back: ``M`` below. A
message that is sent again is the same object, with the number that it had. What every wire of messages adds,
sessions and heartbeats, is in :mod:`drivers.sorters.session`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Annotated, ClassVar, Generic, Self, TypeAlias, TypeVar

from pydantic import Field, model_validator

from drivers.settings import Milliseconds, mistake
from drivers.sorters.interface import JobChange, Receipt, Result, SorterError, Trigger
from drivers.sorters.job_change import JobReply, Jobs
from drivers.sorters.settings import SorterSettings


class HandshakeSettings(SorterSettings):
    """Times and limits of the station's side; the defaults are those of docs/serial-protocol.md."""

    sorts_triggered_parts_only: ClassVar[bool] = True
    resend_ms: Milliseconds = 50.0
    """the time after which a result without acknowledgement is sent again, ms"""
    ack_timeout_ms: Milliseconds = 2000.0
    """the time after which a result without acknowledgement is given up, ms"""
    max_in_hand: Annotated[int, Field(ge=1, le=64)] = 8
    """the most parts in hand (triggered, not yet closed); further triggers are refused as busy"""
    memory: Annotated[int, Field(ge=1, le=65_536)] = 256
    """triggers remembered to recognise repetitions; older ones are ignored"""

    @model_validator(mode="after")
    def _results_can_be_repeated(self) -> Self:
        if self.ack_timeout_ms < 2 * self.resend_ms:
            raise mistake(
                "ack_timeout_ms",
                f"is {self.ack_timeout_ms:g}, too short to send again after {self.resend_ms:g}",
                "write at least twice resend_ms",
            )
        if self.memory < 2 * self.max_in_hand:
            raise mistake(
                "memory",
                f"is {self.memory}, and {self.max_in_hand} parts may be in hand",
                "write at least twice max_in_hand",
            )
        return self


class Refusal(StrEnum):
    """Why a trigger does not start an inspection."""

    NOT_READY = "not ready"
    UNKNOWN_RECIPE = "unknown recipe"
    BUSY = "busy"
    PART_IN_HAND = "part in hand"
    """This part id is still being inspected under another trigger."""


def may_be_the_same(asked: str, prepared: str) -> bool:
    """Whether a trigger's ``recipe`` or ``recipe@size`` does not contradict the prepared one; "" fits all."""
    pairs = zip(asked.partition("@")[::2], prepared.partition("@")[::2], strict=True)
    return all(one == other or not one or not other for one, other in pairs)


class Activity(StrEnum):
    """What the station is doing (OPC 40100-1's words)."""

    PREOPERATIONAL = "preoperational"
    INITIALIZED = "initialized"
    """No recipe is prepared."""
    READY = "ready"
    EXECUTING = "executing"
    HALTED = "halted"


@dataclass(frozen=True, slots=True)
class Accepted:
    """Reply: the trigger is recorded; a result follows."""

    number: int
    """The trigger's, here and below."""
    part_id: int


@dataclass(frozen=True, slots=True)
class Acquired:
    """Reply: the part's frame is here, the part may leave the camera; a result follows."""

    number: int
    part_id: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Reply: no result follows; the cell may send a new trigger, under a new number."""

    number: int
    part_id: int
    refusal: Refusal
    reason: str


@dataclass(frozen=True, slots=True)
class Decided:
    """Reply: what to do with the part."""

    number: int
    result: Result


@dataclass(frozen=True, slots=True)
class Conflict:
    """Reply: the cell used one number for two parts."""

    problem: str


Reply: TypeAlias = Accepted | Acquired | Refused | Decided | Conflict | JobReply


@dataclass(frozen=True, slots=True)
class Announcement:
    """Readiness as the cell should know it; to be sent at once when it changes."""

    ready: bool
    activity: Activity
    reason: str = ""
    """Why not ready; when ready, the prepared recipe."""


M = TypeVar("M")


@dataclass(slots=True)
class HandshakeCounts:
    """What happened with the cell since the start."""

    duplicates: int = 0
    refused: int = 0
    resent: int = 0
    unexpected: int = 0
    """Events that fit no part: unknown ids, conflicts, triggers older than the memory."""
    misplaced: int = 0
    """Parts that went to another bin than the result named."""
    unacknowledged: int = 0
    """Results that ended in a bad receipt."""
    cell_restarts: int = 0


class _Stage(Enum):
    DELIVERED = auto()
    ACKNOWLEDGED = auto()
    ACQUIRED = auto()
    SENT = auto()
    REFUSED = auto()
    CLOSED = auto()


@dataclass(slots=True)
class _Part(Generic[M]):
    number: int
    part_id: int
    recipe: str
    lot: str
    stage: _Stage
    answer: M | None = None
    """What was last said about this trigger."""
    bin: int = 0
    resend_ns: int = 0
    give_up_ns: int = 0


class Handshake(Generic[M]):
    """One run of the station. ``spell`` makes a reply a new message of the wire."""

    def __init__(self, settings: HandshakeSettings, spell: Callable[[Reply], M]) -> None:
        self.settings = settings
        self.recipe = ""
        """The prepared recipe; triggers that name another are refused. "" refuses none."""
        self.counts = HandshakeCounts()
        self.problem = ""
        """The last thing that a person may have to look at."""
        self._spell = spell
        self._jobs: Jobs[M] = Jobs(spell)
        self._ready = False
        self._was_ready = self._busy = False
        self._closed = False
        self._reason = "the station is starting"
        self._parts: dict[int, _Part[M]] = {}
        self._in_hand: dict[int, _Part[M]] = {}
        self._orphans: set[int] = set()
        self._floor = 0

    # -- the application's calls

    def set_ready(self, ready: bool, reason: str, *, busy: bool = False) -> list[Announcement]:
        """Tell the cell at once whether the station takes triggers, or that it is ``busy``."""
        if (ready, reason, busy) == (self._ready, self._reason, self._busy):
            return []
        self._ready, self._reason, self._busy = ready, reason, busy
        self._was_ready = self._was_ready or ready
        return [self.announcement()]

    def prepare(self, recipe: str) -> list[Announcement]:
        """Another recipe from now on: say so at once."""
        before = self.announcement()
        self.recipe = recipe
        self._jobs.prepared()
        return [self.announcement()] if self.announcement() != before else []

    def job_done(self, job: JobChange, problem: str) -> list[M | Announcement]:
        """The recipe of a job change is prepared, or nothing is, because of a ``problem``."""
        said = self._jobs.done(job, problem)
        return [] if said is None else [*said, self.announcement()]

    def acknowledge(self, part_id: int) -> list[M]:
        """The trigger's record is durable."""
        part = self._in_hand.get(part_id)
        if part is None or part.stage is not _Stage.DELIVERED:
            return []
        part.stage = _Stage.ACKNOWLEDGED
        part.answer = self._spell(Accepted(part.number, part_id))
        return [part.answer]

    def acquisition_done(self, part_id: int) -> list[M]:
        """The part's frame is here, it may leave: sent once, between acknowledgement and result."""
        part = self._in_hand.get(part_id)
        if part is None or part.stage is not _Stage.ACKNOWLEDGED:
            return []
        part.stage = _Stage.ACQUIRED
        part.answer = self._spell(Acquired(part.number, part_id))
        return [part.answer]

    def send(self, result: Result, now_ns: int) -> list[M | Receipt]:
        """Send a result; a bad receipt at once where it cannot be sent. Raises :class:`SorterError`."""
        if not (0 <= result.bin <= 255 and 0 <= result.class_index <= 255):
            raise SorterError(
                f"part {result.part_id}: bin {result.bin} and class {result.class_index} must be 0..255; "
                "correct the recipe"
            )
        if result.part_id in self._orphans:
            self._orphans.discard(result.part_id)
            return [
                self._bad(result.part_id, now_ns, "the cell or the link restarted while the part was in hand")
            ]
        part = self._in_hand.get(result.part_id)
        if part is None:
            return [self._bad(result.part_id, now_ns, "no trigger of this part is open")]
        if part.stage is _Stage.SENT:
            return [self._bad(result.part_id, now_ns, "a result was already sent; the first one stands")]
        if self._closed:
            self._close(part)
            return [self._bad(result.part_id, now_ns, "the sorter is closed")]
        part.stage = _Stage.SENT
        part.bin = result.bin
        part.answer = self._spell(Decided(part.number, result))
        part.resend_ns = now_ns + _ns(self.settings.resend_ms)
        part.give_up_ns = now_ns + _ns(self.settings.ack_timeout_ms)
        return [part.answer]

    def close(self, now_ns: int) -> list[Announcement | Receipt]:
        """Say "not ready" and give a bad receipt for every result that nobody acknowledged."""
        self._closed = True
        actions: list[Announcement | Receipt] = [*self.set_ready(False, "the station is closed")]
        for part in [p for p in self._in_hand.values() if p.stage is _Stage.SENT]:
            self._close(part)
            actions.append(self._bad(part.part_id, now_ns, "closed before the cell acknowledged"))
        return actions

    # -- what the cell does, and the clock

    def triggered(
        self, number: int, part_id: int, recipe: str, now_ns: int, lot: str = ""
    ) -> list[M | Trigger | Announcement]:
        """The cell asks; ``number`` grows with every new trigger of its session."""
        known = self._parts.get(number)
        if known is not None:
            if (known.part_id, known.recipe, known.lot) != (part_id, recipe, lot):
                text = f"trigger {number} came as part {known.part_id} and as part {part_id}"
                self.unexpected(text)
                return [self._spell(Conflict(text))]
            self.counts.duplicates += 1
            return [known.answer] if known.answer is not None else []
        if number <= self._floor:
            self.unexpected(f"trigger {number} is older than the last {self.settings.memory}")
            return []
        part: _Part[M] = _Part(number, part_id, recipe, lot, _Stage.DELIVERED)
        self._remember(part)
        refusal = self._why_refuse(number, part_id, recipe)
        if refusal is not None:
            self.counts.refused += 1
            part.stage = _Stage.REFUSED
            part.answer = self._spell(Refused(number, part_id, *refusal))
            return [part.answer]
        before = self._welcome()
        self._in_hand[part_id] = part
        return [Trigger(part_id, recipe, now_ns, lot), *self._if_changed(before)]

    def job_asked(self, number: int, recipe: str) -> list[M | Announcement]:
        """The cell asks for another recipe; ``number`` grows as with triggers."""
        known = self._jobs.known(number)
        if known is not None:
            if known[0] == recipe:
                self.counts.duplicates += 1
                return [known[1]]
            text = f"job change {number} came for {known[0]} and for {recipe}"
            self.unexpected(text)
            return [self._spell(Conflict(text))]
        if number <= max(self._floor, self._jobs.last_number()):
            self.unexpected(f"job change {number} is older than what the cell said since")
            return []
        refusal = "the station is closed" if self._closed else "" if recipe else "it names no recipe"
        is_prepared = self._ready and recipe == self.recipe
        before = self.announcement()
        answer = self._jobs.ask(number, recipe, is_prepared=is_prepared, refusal=refusal)
        changed = [self.announcement()] if self.announcement() != before else []
        return [answer, *changed]

    @property
    def in_hand(self) -> int:
        """Parts that were triggered and are not closed."""
        return len(self._in_hand)

    def awaits(self, number: int) -> bool:
        """Whether the result of this trigger waits for its acknowledgement."""
        part = self._parts.get(number)
        return part is not None and part.stage is _Stage.SENT

    def is_first(self, number: int) -> bool:
        """Whether no part that was triggered before this one still waits for its result."""
        return all(part.number >= number or part.stage is _Stage.SENT for part in self._in_hand.values())

    def sorted_into(
        self, number: int, part_id: int, bin_: int | None, now_ns: int
    ) -> list[Receipt | Announcement]:
        """The cell acknowledges the result of a trigger; ``bin_`` is None where it does not know the part."""
        part = self._parts.get(number)
        if part is None or part.part_id != part_id:
            self.unexpected(f"the acknowledgement of trigger {number} names part {part_id}, which it was not")
            return []
        if part.stage is _Stage.CLOSED:
            self.counts.duplicates += 1
            return []
        if part.stage is not _Stage.SENT:
            self.unexpected(f"the acknowledgement of part {part_id} came before its result")
            return []
        before = self._welcome()
        self._close(part)
        changed = self._if_changed(before)
        if bin_ is None:
            return [self._bad(part_id, now_ns, "the cell does not know this part"), *changed]
        if bin_ != part.bin:
            self.counts.misplaced += 1
            problem = f"the result said bin {part.bin}, the cell put the part into bin {bin_}"
            return [self._bad(part_id, now_ns, problem, bin_), *changed]
        return [Receipt(part_id, acknowledged=True, bin=bin_, at_ns=now_ns), *changed]

    def passed(self, number: int, problem: str, now_ns: int) -> list[Receipt | Announcement]:
        """The part is in the bin of its result, or ``problem`` says why not: where no cell names a bin."""
        part = self._parts.get(number)
        if part is None or part.stage is not _Stage.SENT:
            return []
        before = self._welcome()
        self._close(part)
        good = Receipt(part.part_id, acknowledged=True, bin=part.bin, at_ns=now_ns)
        return [self._bad(part.part_id, now_ns, problem) if problem else good, *self._if_changed(before)]

    def cell_restarted(self, floor: int, now_ns: int) -> list[Receipt]:
        """The cell restarted; triggers numbered up to ``floor`` belong to its earlier session."""
        self.counts.cell_restarts += 1
        return self.begin_anew(floor, now_ns, "the cell restarted before it acknowledged")

    def begin_anew(self, floor: int, now_ns: int, why: str) -> list[Receipt]:
        """Give up every earlier part: bad receipts for results that were sent, no results for the others."""
        receipts: list[Receipt] = []
        for part in self._in_hand.values():
            if part.stage is _Stage.SENT:
                receipts.append(self._bad(part.part_id, now_ns, why))
            else:
                self._orphans.add(part.part_id)
        self._in_hand.clear()
        self._parts.clear()
        self._floor = floor
        self._jobs.begin_anew()
        return receipts

    def unexpected(self, problem: str) -> None:
        """A message fits no part; count it and remember why."""
        self.counts.unexpected += 1
        self.problem = problem

    def tick(self, now_ns: int) -> list[M | Receipt | JobChange]:
        """What the clock demands: repetitions, ends of time; and a job change once no part is in hand."""
        actions: list[M | Receipt | JobChange] = []
        for part in list(self._in_hand.values()):
            if part.stage is not _Stage.SENT or part.answer is None:
                continue
            if now_ns >= part.give_up_ns:
                self._close(part)
                seconds = f"{self.settings.ack_timeout_ms / 1000:g} s"
                actions.append(self._bad(part.part_id, now_ns, f"no RESULT-ACK within {seconds}"))
            elif now_ns >= part.resend_ns:
                part.resend_ns = now_ns + _ns(self.settings.resend_ms)
                self.counts.resent += 1
                actions.append(part.answer)
        if self._job_is_due:
            actions.append(self._jobs.deliver())
        return actions

    def next_due_ns(self) -> int:
        """When :meth:`tick` must be called next; far away while nothing waits."""
        if self._job_is_due:
            return 0
        waiting = (p for p in self._in_hand.values() if p.stage is _Stage.SENT)
        return min((min(p.resend_ns, p.give_up_ns) for p in waiting), default=1 << 62)

    def announcement(self) -> Announcement:
        """Whether the station takes triggers now."""
        if self._jobs.held and not self._closed:
            activity = Activity.EXECUTING if self._in_hand else Activity.INITIALIZED
            return Announcement(False, activity, self._jobs.held if self._ready else self._reason)
        if self._ready:
            activity = Activity.EXECUTING if self._in_hand else Activity.READY
            return Announcement(self._welcome(), activity, self.recipe if self._welcome() else "busy")
        if self._busy and not self._closed:
            return Announcement(False, Activity.EXECUTING, self._reason)
        halted = self._was_ready or self._closed
        return Announcement(False, Activity.HALTED if halted else Activity.PREOPERATIONAL, self._reason)

    # -- small helpers

    def _why_refuse(self, number: int, part_id: int, recipe: str) -> tuple[Refusal, str] | None:
        if not self._ready:
            return Refusal.BUSY if self._busy else Refusal.NOT_READY, self._reason
        if self._jobs.held:
            return Refusal.BUSY if self._jobs.under_way else Refusal.NOT_READY, self._jobs.held
        if part_id in self._in_hand or part_id in self._orphans or part_id == 0:
            return Refusal.PART_IN_HAND, "this part id is not free"
        if number < self._jobs.changed_at:
            return Refusal.UNKNOWN_RECIPE, "it is older than the job change; trigger the part anew"
        if not may_be_the_same(recipe, self.recipe):
            return Refusal.UNKNOWN_RECIPE, f"prepared is {self.recipe}"
        if len(self._in_hand) + len(self._orphans) >= self.settings.max_in_hand:
            return Refusal.BUSY, f"{self.settings.max_in_hand} parts are in hand"
        return None

    @property
    def _job_is_due(self) -> bool:
        return self._jobs.waits and not self._in_hand and not self._orphans

    def _welcome(self) -> bool:
        return (
            self._ready
            and not self._jobs.held
            and len(self._in_hand) + len(self._orphans) < self.settings.max_in_hand
        )

    def _if_changed(self, before: bool) -> list[Announcement]:
        return [self.announcement()] if self._welcome() != before else []

    def _remember(self, part: _Part[M]) -> None:
        self._parts[part.number] = part
        while len(self._parts) > self.settings.memory:
            closed = [n for n, p in self._parts.items() if p.stage in (_Stage.CLOSED, _Stage.REFUSED)]
            oldest = min(closed)
            self._floor = max(self._floor, oldest)
            del self._parts[oldest]

    def _close(self, part: _Part[M]) -> None:
        part.stage = _Stage.CLOSED
        part.answer = None
        self._in_hand.pop(part.part_id, None)

    def _bad(self, part_id: int, now_ns: int, problem: str, bin_: int = 0) -> Receipt:
        self.counts.unacknowledged += 1
        self.problem = f"part {part_id}: {problem}"
        return Receipt(part_id, acknowledged=False, bin=bin_, at_ns=now_ns, problem=problem)


def _ns(milliseconds: float) -> int:
    return round(milliseconds * 1e6)
