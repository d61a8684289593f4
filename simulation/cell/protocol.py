"""The cell's side of docs/serial-protocol.md, as a PLC programmer would write it: a table of parts, a scan.

Pure: time is passed in, in nanoseconds; messages go out as values. It shares nothing with the station's
side but the frame codec, so that the two prove the document against each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from drivers.sorters.messages import (
    MAX_NAME,
    MAX_TEXT,
    OLDEST,
    VERSION,
    AcquisitionDone,
    Body,
    EndState,
    Fault,
    FaultCode,
    Heartbeat,
    Hello,
    JobAnswer,
    JobBody,
    JobCode,
    Message,
    RefusalCode,
    ResultAck,
    ResultBody,
    Role,
    Sorted,
    TriggerAck,
    TriggerBody,
    TriggerRefused,
    WireOutcome,
    plain_text,
)

_REMEMBERED_PARTS = 256
_REMEMBERED_SESSIONS = 64
_MS = 1_000_000
_LOTS_SINCE = _JOBS_SINCE = 3
"""The first version of the protocol that knows them."""
_ASK_AGAIN_MS = 500.0
"""How often the cell asks how far a job change is."""


class Why(StrEnum):
    """Why a part went where it went."""

    VERDICT = "verdict"
    TIMEOUT = "no verdict in time"
    STATION_RESTARTED = "station restarted"
    REFUSED = "trigger refused"
    CONTRADICTION = "outcome and bin contradict"
    STOPPED = "cell stopped"
    CELL = "fault of the cell"


@dataclass(frozen=True, slots=True)
class CellRules:
    """Bins and times of the cell."""

    good_bin: int = 0
    reject_bin: int = 9
    """Where parts without a verdict go."""
    verdict_ms: float = 1500.0
    """From the first TRIGGER; then the part goes to ``reject_bin``."""
    resend_ms: float = 50.0
    retrigger_ms: float = 100.0
    """Pause after a refusal."""
    heartbeat_ms: float = 250.0
    link_timeout_ms: float = 1000.0
    take_away_ms: float = 0.0
    """So long after TRIGGER-ACK a part leaves the camera; 0 waits until the protocol allows it."""
    most_refusals: int = 100
    """So many refusals of one part, and it goes to ``reject_bin``."""


@dataclass(slots=True)
class Part:
    """One part in the cell; ``bin`` is final once set."""

    part_id: int
    recipe: str
    placed_ns: int
    trigger: int = 0
    """Sequence number of the open TRIGGER; 0 while there is none."""
    triggered_ns: int = 0
    """First sending of the open TRIGGER."""
    acknowledged_ns: int | None = None
    left_camera_ns: int | None = None
    """When the place before the camera was free for the next part."""
    result_ns: int | None = None
    sorted_ns: int = 0
    bin: int | None = None
    outcome: str = ""
    class_index: int = 255
    reason: str = ""
    why: Why | None = None
    refusals: int = 0
    next_ns: int = 0
    """When the TRIGGER is sent next, for the first time or again."""
    lot: str = ""
    cell_fault: str = ""
    """What the cell itself did wrong with it: then its verdict counts for nothing."""


@dataclass(slots=True)
class Job:
    """A recipe that the cell has asked for."""

    recipe: str
    number: int = 0
    """Sequence number of the JOB-CHANGE; 0 before it was sent."""
    status: JobCode | None = None
    """What the station has said last."""
    reason: str = ""
    next_ns: int = 0
    """When the JOB-CHANGE is sent next."""

    @property
    def is_over(self) -> bool:
        """Whether the station has prepared or refused it."""
        return self.status in (JobCode.PREPARED, JobCode.REFUSED)


def _as_set(bin_: int) -> int:
    return bin_


@dataclass
class CellProtocol:
    """The cell. Feed it messages and the time, send what it returns, read ``sorted_parts``."""

    session: int
    rules: CellRules = field(default_factory=CellRules)
    name: str = "cell"
    gate: Callable[[int], int] = _as_set
    """The bin where the part really lands when the gate is set to the given one."""

    newest: int = VERSION
    """The newest version of the protocol that this cell speaks."""
    version: int = OLDEST
    """The newest one that the present station is known to read."""
    station: int = 0
    """The station's session; 0 before the first contact."""
    trigger_ready: bool = False
    station_state: EndState = EndState.PREOPERATIONAL
    station_restarts: int = 0
    operating: bool = True
    waiting: dict[int, Part] = field(default_factory=dict)
    """Parts in place, by id."""
    job: Job | None = None
    """The last recipe that was asked for; meanwhile no part is triggered."""
    sorted_parts: list[Part] = field(default_factory=list)
    """Taken away by the reader."""
    faults: list[str] = field(default_factory=list)
    last_heard_ns: int = 0
    _sequence: int = 0
    _highest: int = 0
    _beat_seen: int = 0
    _alive: bool = False
    _open_line: bool = False
    _beat_ns: int = 0
    _hello_ns: int = 0
    _old_stations: dict[int, int] = field(default_factory=dict)
    """Replaced sessions of the station -> the highest number heard from them."""
    _done: dict[int, Part] = field(default_factory=dict)

    @property
    def linked(self) -> bool:
        """The station was heard within the link timeout."""
        return self._alive

    @property
    def before_camera(self) -> Part | None:
        """The part that lies before the camera."""
        return next((part for part in self.waiting.values() if part.left_camera_ns is None), None)

    @property
    def station_ready(self) -> bool:
        """The station lives and says *trigger ready*."""
        return self.linked and self.trigger_ready

    def line_up(self, now: int) -> list[Message]:
        """The line can be used."""
        self._open_line = True
        self._hello_ns = self._beat_ns = now
        return self.scan(now)

    def line_down(self) -> None:
        """The line cannot be used; waiting parts keep their time."""
        self._open_line = self._alive = False

    def place(self, part_id: int, recipe: str, now: int, lot: str = "") -> list[Message]:
        """A part is in position: trigger as soon as the station is ready."""
        if part_id in self.waiting:
            raise ValueError(
                f"part {part_id} is already in place; use an id that no other part in the plant has"
            )
        self.waiting[part_id] = Part(part_id, recipe, placed_ns=now, next_ns=now, lot=lot)
        return self.scan(now)

    def ask_job(self, recipe: str, now: int) -> list[Message]:
        """Ask for another recipe; parts that are not triggered yet wait for it."""
        self.job = Job(recipe, next_ns=now)
        return self.scan(now)

    def spoil(self, part_id: int, reason: str) -> list[Message]:
        """A fault of the cell's own: the part goes to ``reject_bin``, whatever its verdict."""
        if part_id in self.waiting:
            self.waiting[part_id].cell_fault = reason
        self.faults = [*self.faults, f"{FaultCode.DEVICE.name}: {reason}"][-20:]
        if not self.station:
            return []
        return [self._message(Fault(FaultCode.DEVICE, plain_text(reason, MAX_TEXT)))]

    def stop(self, now: int) -> list[Message]:
        """No more parts; those without a verdict go to the reject bin."""
        for part in list(self.waiting.values()):
            self._sort(part, self.rules.reject_bin, Why.STOPPED, now)
        self.operating = False
        self._beat_ns = now
        return self.scan(now)

    def next_due(self) -> int:
        """When :meth:`scan` has something to do."""
        times = [now for part in self.waiting.values() for now in self._times(part)]
        if self._open_line:
            times.append(self._beat_ns)
            if not self._alive:
                times.append(self._hello_ns)
            elif self.job is not None and self._changing and self.version >= _JOBS_SINCE:
                times.append(self.job.next_ns)
        return min(times, default=1 << 62)

    def _times(self, part: Part) -> list[int]:
        if part.trigger:
            times = [part.next_ns, part.triggered_ns + int(self.rules.verdict_ms * _MS)]
            return [*times, self._leaves_ns(part)] if self._leaves_ns(part) else times
        return [part.next_ns] if self.station_ready else []

    def _leaves_ns(self, part: Part) -> int:
        """When an impatient cell takes the part from the camera; 0 when nobody knows yet."""
        if not self.rules.take_away_ms or part.acknowledged_ns is None or part.left_camera_ns is not None:
            return 0
        return part.acknowledged_ns + int(self.rules.take_away_ms * _MS)

    # -- one scan

    def scan(self, now: int) -> list[Message]:
        """What the clock demands."""
        rules = self.rules
        out: list[Message] = []
        if self._alive and now - self.last_heard_ns >= rules.link_timeout_ms * _MS:
            self._alive = False
            self._hello_ns = now
        for part in list(self.waiting.values()):
            if 0 < self._leaves_ns(part) <= now:
                part.left_camera_ns = now
            if part.trigger and now >= part.triggered_ns + rules.verdict_ms * _MS:
                self._sort(part, rules.reject_bin, Why.TIMEOUT, now)
            elif part.trigger and part.acknowledged_ns is None and now >= part.next_ns:
                part.next_ns = now + int(rules.resend_ms * _MS)
                out.append(self._message(self._trigger(part), part.trigger))
            elif part.trigger and now >= part.next_ns:
                part.next_ns = part.triggered_ns + int(rules.verdict_ms * _MS)
            elif not part.trigger and self.station_ready and now >= part.next_ns and not self._changing:
                out.append(self._first_trigger(part, now))
        job = self.job if self._changing and self._alive and self.version >= _JOBS_SINCE else None
        if job is not None and now >= job.next_ns:
            out.append(self._job_change(job, now))
        if self._open_line:
            if not self._alive and now >= self._hello_ns:
                self._hello_ns = now + int(rules.heartbeat_ms * _MS)
                for version in range(self.newest, OLDEST - 1, -1):
                    out.append(self._message(self._hello(), version=version))
            if now >= self._beat_ns:
                self._beat_ns = now + int(rules.heartbeat_ms * _MS)
                if self.station:
                    out.append(self._message(self._heartbeat()))
        return out

    def _first_trigger(self, part: Part, now: int) -> Message:
        message = self._message(self._trigger(part))
        part.trigger = message.sequence
        part.triggered_ns = now
        part.next_ns = now + int(self.rules.resend_ms * _MS)
        return message

    def _trigger(self, part: Part) -> TriggerBody:
        """A station of an earlier version knows no lots."""
        return TriggerBody(part.part_id, part.recipe, part.lot if self.version >= _LOTS_SINCE else "")

    @property
    def _changing(self) -> bool:
        return self.job is not None and not self.job.is_over

    def _job_change(self, job: Job, now: int) -> Message:
        job.next_ns = now + int((self.rules.resend_ms if job.status is None else _ASK_AGAIN_MS) * _MS)
        message = self._message(JobBody(job.recipe), job.number)
        job.number = message.sequence
        return message

    def _heartbeat(self) -> Heartbeat:
        if not self.operating:
            return Heartbeat(False, EndState.HALTED, "the cell has stopped")
        return Heartbeat(True, EndState.EXECUTING if self.waiting else EndState.READY)

    # -- one message

    def received(self, message: Message, now: int) -> list[Message]:
        """One intact message from the line."""
        out = self.scan(now)
        body = message.body
        if message.sender == 0 or (isinstance(body, Hello) and body.role is not Role.STATION):
            return out
        if message.receiver != self.session:
            if isinstance(body, Hello):
                answer = self._message(self._hello(), version=message.version)
                out.append(replace(answer, receiver=message.sender))
            return out
        if message.sender != self.station and not self._meet(message, now):
            return out
        self.version = max(self.version, message.version)
        if isinstance(body, Heartbeat):
            if message.sequence <= self._beat_seen:
                return out
            self._beat_seen = message.sequence
            self.trigger_ready, self.station_state = body.ready, body.state
        if message.sequence > self._highest:
            self._highest = message.sequence
            self.last_heard_ns = now
            if not self._alive:
                self._alive = True
                self._beat_ns = now
        match body:
            case Hello():
                self._beat_ns = now
            case TriggerAck(trigger, part_id):
                part = self._open(trigger, part_id)
                if part is not None and part.acknowledged_ns is None:
                    part.acknowledged_ns = now
            case AcquisitionDone(trigger, part_id):
                part = self._open(trigger, part_id)
                if part is not None and part.left_camera_ns is None:
                    part.acknowledged_ns = part.acknowledged_ns or now
                    part.left_camera_ns = now
            case TriggerRefused(trigger, part_id, refusal, reason):
                self._refused(trigger, part_id, refusal, reason, now)
            case JobAnswer(number, status, reason):
                if self.job is not None and self.job.number == number and not self.job.is_over:
                    self.job.status, self.job.reason = status, reason
            case ResultBody():
                out.append(self._result(body, now))
            case Fault(code, reason):
                self.faults = [*self.faults, f"{code.name}: {reason}"][-20:]
            case _:
                pass
        return out + self.scan(now)

    def _meet(self, message: Message, now: int) -> bool:
        """A session that is not the present one: a restarted station, or an echo of an old one."""
        if not isinstance(message.body, Hello | Heartbeat):
            return False
        old = self._old_stations.get(message.sender)
        if old is not None and (self._alive or message.sequence <= old):
            return False
        if self.station:
            self.station_restarts += 1
            self._old_stations[self.station] = self._highest
        self._highest = self._beat_seen = self._old_stations.pop(message.sender, 0)
        if len(self._old_stations) > _REMEMBERED_SESSIONS:
            del self._old_stations[next(iter(self._old_stations))]
        self.station = message.sender
        self.version = OLDEST
        self._alive = self.trigger_ready = False
        for part in [p for p in self.waiting.values() if p.trigger]:
            self._sort(part, self.rules.reject_bin, Why.STATION_RESTARTED, now)
        if self.job is not None:
            self.job = Job(self.job.recipe, next_ns=now)  # the station prepares another one when it starts
        return True

    def _open(self, trigger: int, part_id: int) -> Part | None:
        part = self.waiting.get(part_id)
        return part if part is not None and part.trigger == trigger else None

    def _refused(self, trigger: int, part_id: int, refusal: RefusalCode, reason: str, now: int) -> None:
        part = self._open(trigger, part_id)
        if part is None:
            return
        part.refusals += 1
        part.reason = reason
        if refusal is RefusalCode.UNKNOWN_RECIPE or part.refusals >= self.rules.most_refusals:
            self._sort(part, self.rules.reject_bin, Why.REFUSED, now)
            return
        part.trigger = 0
        part.acknowledged_ns = None
        part.next_ns = now + int(self.rules.retrigger_ms * _MS)

    def _result(self, result: ResultBody, now: int) -> Message:
        part = self._open(result.trigger, result.part_id)
        if part is not None:
            part.result_ns = now
            part.outcome = result.outcome.name.lower()
            part.class_index = result.class_index
            part.reason = result.reason
            is_good_bin = result.bin == self.rules.good_bin
            if part.cell_fault:
                self._sort(part, self.rules.reject_bin, Why.CELL, now)
            elif (result.outcome is WireOutcome.ACCEPT) == is_good_bin:
                self._sort(part, self.gate(result.bin), Why.VERDICT, now)
            else:
                self._sort(part, self.rules.reject_bin, Why.CONTRADICTION, now)
        done = self._done.get(result.trigger)
        if done is None or done.part_id != result.part_id or done.bin is None:
            return self._message(ResultAck(result.trigger, result.part_id, Sorted.UNKNOWN_PART, 0))
        return self._message(ResultAck(result.trigger, result.part_id, Sorted.IN_BIN, done.bin))

    def _sort(self, part: Part, bin_: int, why: Why, now: int) -> None:
        part.bin = bin_
        part.why = why
        part.left_camera_ns = part.left_camera_ns or now
        part.sorted_ns = now
        del self.waiting[part.part_id]
        self.sorted_parts.append(part)
        if part.trigger:
            self._done[part.trigger] = part
            while len(self._done) > _REMEMBERED_PARTS:
                del self._done[min(self._done)]

    def _hello(self) -> Hello:
        return Hello(Role.CELL, plain_text(self.name, MAX_NAME))

    def _message(self, body: Body, repeated: int = 0, version: int = 0) -> Message:
        if not repeated:
            self._sequence += 1
        number = repeated or self._sequence
        return Message(self.session, self.station, number, body, version or self.version)
