"""The handshake of one station with one cell as a pure state machine (docs/serial-protocol.md).

Events in (messages, line up and down, the clock, what the application says), actions out: messages to
send, triggers and receipts to deliver. The rules, in order:

1. A trigger is the pair of the cell's session and the TRIGGER's sequence number. A repetition has the
   same number; the same part id under a new number is a new part, unless the id is still in hand.
2. A repetition is answered with what was last said about it, and never delivered again. Once the part
   is closed (acknowledged, or given up) a repetition is not answered at all: an old verdict is never
   said about a new part.
3. A trigger is refused, on the wire, while the station is not ready.
4. A RESULT is repeated until its RESULT-ACK or until its time is over. Every ``send`` ends in exactly
   one receipt, and in a good one only if the cell names the bin that it was told.
5. When the cell restarts, its old parts are nobody's: results for them are not sent, their receipts
   are bad, and their ids are refused until the application has told what it still has in hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from drivers.sorters.interface import Outcome, Receipt, Result, SorterError, Trigger
from drivers.sorters.serial import frames as wire
from drivers.sorters.serial.link import Link

Action: TypeAlias = wire.Message | Trigger | Receipt

_OUTCOMES = {
    Outcome.ACCEPT: wire.WireOutcome.ACCEPT,
    Outcome.REJECT: wire.WireOutcome.REJECT,
    Outcome.FAULT: wire.WireOutcome.FAULT,
}


@dataclass(frozen=True, slots=True)
class HandshakeSettings:
    """Times and limits of the station's side; the defaults are those of the protocol document."""

    heartbeat_s: float = 0.25
    """A HEARTBEAT is sent at least this often."""
    link_timeout_s: float = 1.0
    """So long a silence means that the cell is gone."""
    resend_s: float = 0.05
    """A RESULT without RESULT-ACK is sent again after this time."""
    ack_timeout_s: float = 2.0
    """A RESULT without RESULT-ACK is given up after this time."""
    max_in_hand: int = 8
    """Parts triggered and not yet closed; more are refused as busy."""
    memory: int = 256
    """Triggers remembered to recognise repetitions; older numbers are ignored."""
    name: str = "station"
    """Said in HELLO, at most 32 ASCII characters."""


@dataclass(slots=True)
class Counts:
    """What happened on the line since the start."""

    received: int = 0
    resent: int = 0
    duplicates: int = 0
    refused: int = 0
    unexpected: int = 0
    """Messages that fit no part: unknown ids, conflicts, triggers older than the memory."""
    misplaced: int = 0
    """Parts that went to another bin than told."""
    unacknowledged: int = 0
    """Tells that ended in a bad receipt."""
    cell_restarts: int = 0


class _Stage(Enum):
    DELIVERED = auto()
    ACKNOWLEDGED = auto()
    TOLD = auto()
    REFUSED = auto()
    CLOSED = auto()


@dataclass(slots=True)
class _Part:
    trigger: int
    part_id: int
    recipe: str
    stage: _Stage
    answer: wire.Message | None = None
    """What was last said about this trigger."""
    bin: int = 0
    resend_ns: int = 0
    give_up_ns: int = 0


class StationHandshake:
    """One session of the station. ``session`` (1..65535) must differ from that of the run before."""

    def __init__(self, settings: HandshakeSettings, session: int) -> None:
        self.settings = settings
        self.recipe = ""
        """The prepared recipe; triggers that name another are refused. "" refuses none."""
        beat = _ns(settings.heartbeat_s)
        self.link = Link(session, settings.name, beat, beat, _ns(settings.link_timeout_s))
        self.counts = Counts()
        self.problem = ""
        """The last thing that a person may have to look at."""
        self._ready = False
        self._was_ready = False
        self._closed = False
        self._reason = "the station is starting"
        self._parts: dict[int, _Part] = {}
        self._in_hand: dict[int, _Part] = {}
        self._orphans: set[int] = set()
        self._floor = 0

    # -- the application's calls

    def set_ready(self, ready: bool, reason: str, now_ns: int) -> list[Action]:
        """Tell the cell at once whether triggers are welcome."""
        reason = wire.plain_text(reason)
        if (ready, reason) != (self._ready, self._reason):
            self._ready, self._reason = ready, reason
            self._was_ready = self._was_ready or ready
            self.link.beat_now(now_ns)
        return self.tick(now_ns)

    def prepare(self, recipe: str, now_ns: int) -> list[Action]:
        """Another recipe from now on: say so at once."""
        if recipe == self.recipe:
            return []
        self.recipe = recipe
        self.link.beat_now(now_ns)
        return self.tick(now_ns)

    def acknowledge(self, part_id: int, now_ns: int) -> list[Action]:
        """The trigger's record is durable."""
        part = self._in_hand.get(part_id)
        if part is None or part.stage is not _Stage.DELIVERED:
            return []
        part.stage = _Stage.ACKNOWLEDGED
        part.answer = self.link.message(wire.TriggerAck(part.trigger, part_id))
        return [part.answer]

    def send(self, result: Result, now_ns: int) -> list[Action]:
        """Send a result; a bad receipt at once where the cell cannot be told. Raises :class:`SorterError`."""
        if not (0 <= result.bin <= 255 and 0 <= result.class_index <= 255):
            raise SorterError(
                f"part {result.part_id}: bin {result.bin} and class {result.class_index} must be 0..255; "
                "correct the recipe"
            )
        if result.part_id in self._orphans:
            self._orphans.discard(result.part_id)
            return [self._bad(result.part_id, now_ns, "the cell restarted while the part was in hand")]
        part = self._in_hand.get(result.part_id)
        if part is None:
            return [self._bad(result.part_id, now_ns, "no trigger of this part is open")]
        if part.stage is _Stage.TOLD:
            return [self._bad(result.part_id, now_ns, "a result was already told; the first one stands")]
        if self._closed:
            self._close(part)
            return [self._bad(result.part_id, now_ns, "the sorter is closed")]
        part.stage = _Stage.TOLD
        part.bin = result.bin
        part.answer = self.link.message(
            wire.Result(
                part.trigger,
                part.part_id,
                _OUTCOMES[result.outcome],
                result.bin,
                result.class_index,
                wire.plain_text(result.reason),
            )
        )
        part.resend_ns = now_ns + _ns(self.settings.resend_s)
        part.give_up_ns = now_ns + _ns(self.settings.ack_timeout_s)
        return [part.answer]

    def close(self, now_ns: int) -> list[Action]:
        """Say "not ready" and give a bad receipt for every result that nobody acknowledged."""
        self._closed = True
        actions = self.set_ready(False, "the station is closed", now_ns)
        for part in [p for p in self._in_hand.values() if p.stage is _Stage.TOLD]:
            self._close(part)
            actions.append(self._bad(part.part_id, now_ns, "closed before the cell acknowledged"))
        return actions

    # -- the line's events

    def line_up(self, now_ns: int) -> list[Action]:
        """The line was opened."""
        self.link.line_up(now_ns)
        return self.tick(now_ns)

    def line_down(self, now_ns: int) -> list[Action]:
        """The line was lost; what is in hand stays in hand."""
        self.link.line_down()
        return self.tick(now_ns)

    def other_version(self, version: int, now_ns: int) -> list[Action]:
        """An intact frame of another protocol version arrived."""
        self.problem = (
            f"the cell speaks protocol version {version}, this station {wire.VERSION}; update one of them"
        )
        text = f"this station speaks version {wire.VERSION}"
        return [self.link.message(wire.Fault(wire.FaultCode.PROTOCOL_VERSION, text), receiver=0)]

    def received(self, message: wire.Message, now_ns: int) -> list[Action]:
        """One intact message arrived."""
        arrival = self.link.receive(message, now_ns)
        actions: list[Action] = list(arrival.answers)
        if arrival.restarted:
            actions += self._cell_restarted(now_ns)
        if arrival.ours:
            self.counts.received += 1
            match message.body:
                case wire.Trigger() as body:
                    actions += self._trigger(message.sequence, body, now_ns)
                case wire.ResultAck() as body:
                    actions += self._result_ack(body, now_ns)
                case wire.Fault(code, reason):
                    self.problem = f"the cell reports {code.name}: {reason}"
                case wire.Hello() | wire.Heartbeat():
                    pass
                case _:
                    self._unexpected("the cell sent a message that only a station sends")
        if arrival.came_up or arrival.restarted:
            actions += self.tick(now_ns)
        return actions

    def tick(self, now_ns: int) -> list[Action]:
        """What the clock demands: HELLO, HEARTBEAT, repetitions, ends of time."""
        actions: list[Action] = list(self.link.tick(now_ns, self._heartbeat()))
        for part in list(self._in_hand.values()):
            if part.stage is not _Stage.TOLD or part.answer is None:
                continue
            if now_ns >= part.give_up_ns:
                self._close(part)
                seconds = f"{self.settings.ack_timeout_s:g} s"
                actions.append(self._bad(part.part_id, now_ns, f"no RESULT-ACK within {seconds}"))
            elif now_ns >= part.resend_ns:
                part.resend_ns = now_ns + _ns(self.settings.resend_s)
                self.counts.resent += 1
                actions.append(part.answer)
        return actions

    def next_due_ns(self) -> int:
        """When :meth:`tick` must be called next."""
        told = (p for p in self._in_hand.values() if p.stage is _Stage.TOLD)
        return min([self.link.next_due_ns(), *(min(p.resend_ns, p.give_up_ns) for p in told)])

    # -- one message

    def _trigger(self, sequence: int, body: wire.Trigger, now_ns: int) -> list[Action]:
        known = self._parts.get(sequence)
        if known is not None:
            if (known.part_id, known.recipe) != (body.part_id, body.recipe):
                text = f"trigger {sequence} came as part {known.part_id} and as part {body.part_id}"
                self._unexpected(text)
                return [self.link.message(wire.Fault(wire.FaultCode.TRIGGER_CONFLICT, text))]
            self.counts.duplicates += 1
            return [known.answer] if known.answer is not None else []
        if sequence <= self._floor:
            self._unexpected(f"trigger {sequence} is older than the last {self.settings.memory}")
            return []
        part = _Part(sequence, body.part_id, body.recipe, _Stage.DELIVERED)
        self._remember(part)
        refusal = self._why_refuse(body)
        if refusal is not None:
            self.counts.refused += 1
            part.stage = _Stage.REFUSED
            code, reason = refusal
            part.answer = self.link.message(
                wire.TriggerRefused(sequence, body.part_id, code, wire.plain_text(reason))
            )
            return [part.answer]
        before = self._welcome()
        self._in_hand[body.part_id] = part
        delivered: list[Action] = [Trigger(body.part_id, body.recipe, now_ns)]
        return delivered + self._welcome_changed(before, now_ns)

    def _why_refuse(self, body: wire.Trigger) -> tuple[wire.Refusal, str] | None:
        if not self._ready:
            return wire.Refusal.NOT_READY, self._reason
        if body.part_id in self._in_hand or body.part_id in self._orphans or body.part_id == 0:
            return wire.Refusal.PART_IN_HAND, "this part id is not free"
        if body.recipe and self.recipe and body.recipe != self.recipe:
            return wire.Refusal.UNKNOWN_RECIPE, f"prepared is {self.recipe}"
        if len(self._in_hand) + len(self._orphans) >= self.settings.max_in_hand:
            return wire.Refusal.BUSY, f"{self.settings.max_in_hand} parts are in hand"
        return None

    def _result_ack(self, body: wire.ResultAck, now_ns: int) -> list[Action]:
        part = self._parts.get(body.trigger)
        if part is None or part.part_id != body.part_id:
            self._unexpected(
                f"RESULT-ACK of trigger {body.trigger} names part {body.part_id}, which it was not"
            )
            return []
        if part.stage is _Stage.CLOSED:
            self.counts.duplicates += 1
            return []
        if part.stage is not _Stage.TOLD:
            self._unexpected(f"RESULT-ACK of part {body.part_id} came before its RESULT")
            return []
        before = self._welcome()
        self._close(part)
        changed = self._welcome_changed(before, now_ns)
        if body.status is wire.Sorted.UNKNOWN_PART:
            return [self._bad(part.part_id, now_ns, "the cell does not know this part"), *changed]
        if body.bin != part.bin:
            self.counts.misplaced += 1
            problem = f"told bin {part.bin}, the cell put the part into bin {body.bin}"
            return [self._bad(part.part_id, now_ns, problem, body.bin), *changed]
        return [Receipt(part.part_id, acknowledged=True, bin=body.bin, at_ns=now_ns), *changed]

    def _cell_restarted(self, now_ns: int) -> list[Action]:
        self.counts.cell_restarts += 1
        actions: list[Action] = []
        for part in self._in_hand.values():
            if part.stage is _Stage.TOLD:
                actions.append(self._bad(part.part_id, now_ns, "the cell restarted before it acknowledged"))
            else:
                self._orphans.add(part.part_id)
        self._in_hand.clear()
        self._parts.clear()
        self._floor = self.link.floor
        return actions

    # -- small helpers

    def _heartbeat(self) -> wire.Heartbeat:
        if self._ready:
            state = wire.EndState.EXECUTING if self._in_hand else wire.EndState.READY
            text = wire.plain_text(self.recipe) if self._welcome() else "busy"
            return wire.Heartbeat(self._welcome(), state, text)
        state = wire.EndState.HALTED if self._was_ready or self._closed else wire.EndState.PREOPERATIONAL
        return wire.Heartbeat(False, state, self._reason)

    def _welcome(self) -> bool:
        return self._ready and len(self._in_hand) + len(self._orphans) < self.settings.max_in_hand

    def _welcome_changed(self, before: bool, now_ns: int) -> list[Action]:
        if self._welcome() == before:
            return []
        self.link.beat_now(now_ns)
        return list(self.link.tick(now_ns, self._heartbeat()))

    def _remember(self, part: _Part) -> None:
        self._parts[part.trigger] = part
        while len(self._parts) > self.settings.memory:
            closed = [n for n, p in self._parts.items() if p.stage in (_Stage.CLOSED, _Stage.REFUSED)]
            oldest = min(closed)
            self._floor = max(self._floor, oldest)
            del self._parts[oldest]

    def _close(self, part: _Part) -> None:
        part.stage = _Stage.CLOSED
        part.answer = None
        self._in_hand.pop(part.part_id, None)

    def _bad(self, part_id: int, now_ns: int, problem: str, bin_: int = 0) -> Receipt:
        self.counts.unacknowledged += 1
        self.problem = f"part {part_id}: {problem}"
        return Receipt(part_id, acknowledged=False, bin=bin_, at_ns=now_ns, problem=problem)

    def _unexpected(self, problem: str) -> None:
        self.counts.unexpected += 1
        self.problem = problem


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
