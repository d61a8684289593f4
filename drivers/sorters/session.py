"""The station's end of a wire that carries messages: the link, the handshake, and what lies between them.

Pure: messages and the clock in, messages, triggers and receipts out. The rules of a part are in
:mod:`drivers.sorters.handshake`, those of sessions and heartbeats in :mod:`drivers.sorters.link`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from drivers.sorters import messages as wire
from drivers.sorters.handshake import (
    Accepted,
    Acquired,
    Activity,
    Announcement,
    Conflict,
    Decided,
    Handshake,
    HandshakeSettings,
    Refusal,
    Refused,
    Reply,
)
from drivers.sorters.interface import JobChange, Outcome, Receipt, Result, Trigger
from drivers.sorters.job_change import JobReply, JobStatus
from drivers.sorters.link import Link

log = logging.getLogger(__name__)

Action: TypeAlias = wire.Message | Trigger | Receipt | JobChange

_OUTCOMES = {
    Outcome.ACCEPT: wire.WireOutcome.ACCEPT,
    Outcome.REJECT: wire.WireOutcome.REJECT,
    Outcome.FAULT: wire.WireOutcome.FAULT,
}
_REFUSALS = {
    Refusal.NOT_READY: wire.RefusalCode.NOT_READY,
    Refusal.UNKNOWN_RECIPE: wire.RefusalCode.UNKNOWN_RECIPE,
    Refusal.BUSY: wire.RefusalCode.BUSY,
    Refusal.PART_IN_HAND: wire.RefusalCode.PART_IN_HAND,
}
_STATES = {
    Activity.PREOPERATIONAL: wire.EndState.PREOPERATIONAL,
    Activity.INITIALIZED: wire.EndState.INITIALIZED,
    Activity.READY: wire.EndState.READY,
    Activity.EXECUTING: wire.EndState.EXECUTING,
    Activity.HALTED: wire.EndState.HALTED,
}
_JOBS = {
    JobStatus.UNDER_WAY: wire.JobCode.UNDER_WAY,
    JobStatus.PREPARED: wire.JobCode.PREPARED,
    JobStatus.REFUSED: wire.JobCode.REFUSED,
}


class StationSession:
    """One session of the station. ``session`` (1..65535) must differ from that of the run before."""

    def __init__(
        self,
        settings: HandshakeSettings,
        session: int,
        name: str = "station",
        newest: int = wire.VERSION,
    ) -> None:
        """``name`` is said in HELLO, at most 32 ASCII characters; ``newest`` version of the protocol."""
        self._settings, self._name, self._newest = settings, name, newest
        self.link = self._new_link(session)
        self.handshake: Handshake[wire.Message] = Handshake(
            settings, lambda reply: self.link.message(_body(reply))
        )
        self.received_messages = 0
        """Intact messages of the present cell to this session."""

    # -- the application's calls

    def set_ready(self, ready: bool, reason: str, now_ns: int, *, busy: bool = False) -> list[Action]:
        """Say to the cell at once whether triggers are welcome, or that the station is ``busy``."""
        return self._in_full(self.handshake.set_ready(ready, reason, busy=busy), now_ns) + self.tick(now_ns)

    def prepare(self, recipe: str, now_ns: int) -> list[Action]:
        """Another recipe from now on: say so at once."""
        return self._in_full(self.handshake.prepare(recipe), now_ns)

    def acknowledge(self, part_id: int) -> list[Action]:
        """The trigger's record is durable: TRIGGER-ACK."""
        return list(self.handshake.acknowledge(part_id))

    def acquisition_done(self, part_id: int) -> list[Action]:
        """ACQUISITION-DONE, to a cell that knows it."""
        return list(self.handshake.acquisition_done(part_id)) if self.link.version >= 2 else []

    def job_done(self, job: JobChange, problem: str, now_ns: int) -> list[Action]:
        """JOB-ANSWER, and readiness at once."""
        return self._in_full(self.handshake.job_done(job, problem), now_ns)

    def send(self, result: Result, now_ns: int) -> list[Action]:
        """RESULT, or a bad receipt at once. Raises :class:`SorterError`."""
        return list(self.handshake.send(result, now_ns))

    def close(self, now_ns: int) -> list[Action]:
        """Say "not ready" and give a bad receipt for every result that nobody acknowledged."""
        return self._in_full(self.handshake.close(now_ns), now_ns)

    def begin_anew(self, session: int, now_ns: int, why: str) -> list[Receipt]:
        """A new session, as after a restart of the station; results that were sent get bad receipts."""
        self.link = self._new_link(session)
        return self.handshake.begin_anew(0, now_ns, why)

    # -- the line's events

    def line_up(self, now_ns: int) -> list[Action]:
        """The line was opened."""
        self.link.line_up(now_ns)
        return self.tick(now_ns)

    def line_down(self, now_ns: int) -> list[Action]:
        """The line was lost; what is in hand stays in hand."""
        self.link.line_down()
        return self.tick(now_ns)

    def other_version(self, version: int) -> list[Action]:
        """An intact frame of another protocol version arrived."""
        spoken = f"versions {wire.OLDEST} to {self.link.newest}"
        self.handshake.problem = (
            f"the cell speaks protocol version {version}, this station {spoken}; update one of them"
        )
        text = f"this station speaks {spoken}"
        fault = wire.Fault(wire.FaultCode.PROTOCOL_VERSION, text)
        return [self.link.message(fault, receiver=0, version=wire.OLDEST)]

    def received(self, message: wire.Message, now_ns: int) -> list[Action]:
        """One intact message arrived."""
        arrival = self.link.receive(message, now_ns)
        actions: list[Action] = list(arrival.answers)
        if arrival.restarted:
            actions += self.handshake.cell_restarted(self.link.floor, now_ns)
        if arrival.ours:
            self.received_messages += 1
            actions += self._understood(message, now_ns)
        if arrival.came_up or arrival.restarted or isinstance(message.body, wire.Hello):
            actions += self.tick(now_ns)
        return actions

    def tick(self, now_ns: int) -> list[Action]:
        """What the clock demands: HELLO, HEARTBEAT, repetitions, ends of time."""
        beat = self._heartbeat(self.handshake.announcement())
        return [*self.link.tick(now_ns, beat), *self.handshake.tick(now_ns)]

    def next_due_ns(self) -> int:
        """When :meth:`tick` must be called next."""
        return min(self.link.next_due_ns(), self.handshake.next_due_ns())

    # -- between the two

    def _new_link(self, session: int) -> Link:
        beat_ns = round(self._settings.heartbeat_ms * 1e6)
        timeout_ns = round(self._settings.link_timeout_ms * 1e6)
        return Link(session, self._name, beat_ns, beat_ns, timeout_ns, self._newest)

    def _understood(self, message: wire.Message, now_ns: int) -> list[Action]:
        match message.body:
            case wire.TriggerBody(part_id, recipe, lot):
                asked = self.handshake.triggered(message.sequence, part_id, recipe, now_ns, lot)
                return self._in_full(asked, now_ns)
            case wire.JobBody(recipe):
                return self._in_full(self.handshake.job_asked(message.sequence, recipe), now_ns)
            case wire.ResultAck(trigger, part_id, status, bin_):
                known = status is wire.Sorted.IN_BIN
                done = self.handshake.sorted_into(trigger, part_id, bin_ if known else None, now_ns)
                return self._in_full(done, now_ns)
            case wire.Fault(code, reason):
                self.handshake.problem = f"the cell reports {code.name}: {reason}"
                log.warning("sorter: %s", self.handshake.problem)
            case wire.Hello() | wire.Heartbeat():
                pass
            case _:
                self.handshake.unexpected("the cell sent a message that only a station sends")
        return []

    def _in_full(self, actions: Sequence[Action | Announcement], now_ns: int) -> list[Action]:
        """The actions, an announcement as the HEARTBEAT that is sent at once."""
        spoken: list[Action] = []
        for action in actions:
            if isinstance(action, Announcement):
                self.link.beat_now(now_ns)
                spoken += self.link.tick(now_ns, self._heartbeat(action))
            else:
                spoken.append(action)
        return spoken

    def _heartbeat(self, now: Announcement) -> wire.Heartbeat:
        beat = wire.Heartbeat(now.ready, _STATES[now.activity], wire.plain_text(now.reason))
        if (
            wire.first_version(beat) > self.link.version
        ):  # a cell that does not know the state reads the next one
            return replace(beat, state=wire.EndState.PREOPERATIONAL)
        return beat


def _body(reply: Reply) -> wire.Body:
    match reply:
        case Accepted(number, part_id):
            return wire.TriggerAck(number, part_id)
        case Acquired(number, part_id):
            return wire.AcquisitionDone(number, part_id)
        case Refused(number, part_id, refusal, reason):
            return wire.TriggerRefused(number, part_id, _REFUSALS[refusal], wire.plain_text(reason))
        case Decided(number, result):
            return wire.ResultBody(
                number,
                result.part_id,
                _OUTCOMES[result.outcome],
                result.bin,
                result.class_index,
                wire.plain_text(result.reason),
            )
        case JobReply(number, status, text):
            return wire.JobAnswer(number, _JOBS[status], wire.plain_text(text))
        case Conflict(problem):
            return wire.Fault(wire.FaultCode.TRIGGER_CONFLICT, wire.plain_text(problem))
