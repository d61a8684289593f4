"""One part from trigger to acknowledged bin.

Read :class:`Line` downward once to follow a part: a cell asks (``_take``) and is answered (``_welcome``),
the camera looks (``_expose``), the surface is cut into patches (``_cut``), the engine scores them
(``_classify``), one decision is taken (``_decide``), written and sent (``_settle``), and acknowledged
(``_receive``). Each stage is one thread with a bounded queue before it, so that the slowest stage sets the
pace and not their sum. It takes a frozen :class:`PartInHand` and hands on one that knows more. Whatever
happens on the way, a part is settled exactly once, and by nothing but ``_settle``: the first verdict counts,
and only ``_decide`` can ever bring an accept. Observers are shown the part after that.

A part takes what is prepared (recipe, engine) when it is triggered and keeps it to its end, so that the line
changes over between two parts without stopping.

Free running, there is no trigger: every frame is a part, and so is every frame that was lost.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

from drivers import heartbeat
from drivers.cameras.interface import Camera, CameraConfigError, Frame
from drivers.cameras.settings import Mode
from drivers.settings import accepted_risks
from drivers.sorters.interface import Outcome, Receipt, Result, Sorter, Trigger
from station.acquisition import FROZEN, Acquisition, NoFrameError
from station.decision import Verdict, decide, fault
from station.engines.interface import Engine, EngineDeadlineError, EngineError
from station.exposing import Exposing, Triggers
from station.faults import Code, code_of, code_of_problem
from station.journal import Journal, JournalError, PartMarks
from station.lighting import Lighting
from station.line_values import LineSettings, LineStatus
from station.observers import Observers
from station.part import InspectedPart, PartInHand
from station.parts_in_hand import PartsInHand
from station.patching import PatchingError, cut_part
from station.prepared import Preparation, Prepared
from station.queues import BoundedQueue
from station.statistics import Settled, Statistics
from station.supervision import Readiness

log = logging.getLogger(__name__)

POLL_S = 0.1
"""How long a stage sleeps at most before it looks whether the line is stopping."""
NOT_TRUSTED = Code.NOT_TRUSTED.of("the engine no longer reproduces its golden parts")


class Line:
    """The loop. Everything it works with is passed in, open or not: it opens camera and sorter itself."""

    def __init__(
        self,
        *,
        camera: Camera,
        sorter: Sorter,
        prepared: Prepared,
        journal: Journal,
        settings: LineSettings,
        observers: Observers | None = None,
        lighting: Lighting | None = None,
        is_simulated: bool = False,
    ) -> None:
        self._sorter = sorter
        self._preparation = Preparation(prepared)
        self._journal = journal
        self._settings = settings
        self._observers = observers or Observers()
        self._is_simulated = is_simulated

        self._statistics = Statistics(settings.deadline_s)
        self._readiness = Readiness(self._announce)
        self._acquisition = Acquisition(
            camera, self._readiness, settings.grab_timeout_s, settings.reopen_after_s
        )
        capacity = settings.queue_capacity
        self._frames: BoundedQueue[PartInHand] = BoundedQueue("frames", capacity)
        self._patches: BoundedQueue[PartInHand] = BoundedQueue("patches", capacity)
        self._scores: BoundedQueue[PartInHand] = BoundedQueue("scores", capacity)
        self._parts = PartsInHand()
        self._triggers = Triggers(sorter)
        self._exposing = Exposing(
            self._acquisition, self._triggers, lighting, settings.in_place_s, self._calling
        )
        self._next_part_id = 1
        self._parts_wanted: int | None = None
        self._engine_failures = 0
        self._marks = PartMarks()
        """Lot, shift and operator, as they were given last."""
        self._halted_ns = 0
        """When the station was halted last; parts triggered before are finished."""
        self._at_work: dict[str, int] = {}
        """The record of the part that the stage behind each queue took last."""
        self._overloaded = 0
        self._calls_ns: dict[str, int] = {}
        """Calls into foreign code that are under way: what, and since when."""
        self._failure = ""
        self._died = False
        self._stopping = threading.Event()
        """No new part from now on."""
        self._ended = threading.Event()
        """The stages may leave."""
        self._received = threading.Event()
        """No more receipts are waited for."""
        self._stages: list[threading.Thread] = []
        """In the order of a part's way."""

    # ------------------------------------------------------------------ running

    def start(self, parts: int | None = None) -> None:
        """Open camera and sorter and begin; after ``parts`` triggers the line stops by itself.

        Raises :class:`CameraError`, :class:`LightError`, :class:`SorterError` or :class:`JournalError` when
        the station cannot begin; nothing is left running then.
        """
        self._parts_wanted = parts
        try:
            self._acquisition.run_at(self.prepared.recipe.product.line_rate_hz)
            self._exposing.require_fits(self.prepared.recipe, self._settings.mode)
            self._exposing.begin(self.prepared.recipe)
            self._sorter.prepare(self.prepared.announced_as)
            self._sorter.open()
            self._journal.write_event("start", self.prepared.names())
            self._next_part_id = self._journal.counts().triggers + 1
        except Exception:
            self._sorter.close()
            self._exposing.close()
            raise
        free_running = self._settings.mode is Mode.FREE_RUNNING
        acquire = self._acquire_freely if free_running else self._acquire_on_trigger
        for stage in (acquire, self._cut, self._classify, self._decide, self._receive, self._watch):
            thread = threading.Thread(target=self._guard, args=(stage,), name=stage.__name__.strip("_"))
            thread.daemon = True  # a call that never comes back must not keep the process alive
            self._stages.append(thread)
        self._readiness.clear(Readiness.STARTING)
        for thread in self._stages:
            thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the line to want to end (parts done, or halted); True when it does."""
        return self._stopping.wait(timeout_s)

    def stop(self) -> None:
        """No new part; finish or fault the ones in hand; wait for receipts; give everything back.

        From the front to the back: each stage ends after the one before it, so that no part comes to a stage
        that is gone.
        """
        if self._ended.is_set():
            return
        # Nine waits at most: for six stages, parts, receipts, and what the devices' own ends take.
        heartbeat.ending(9 * self._settings.stop_timeout_s + 10)
        self._readiness.block(Readiness.STOPPING, "the station is stopping")
        self._stopping.set()
        acquire, *inspecting, receive, watch = self._stages or (None, None, None)
        self._leave(acquire)
        self._parts.close()
        self._fault_late_triggers()
        self._wait_until(self._parts.are_none)
        self._fault_what_is_in_hand()
        self._ended.set()
        for thread in (*inspecting, watch):
            self._leave(thread)
        self._fault_what_is_in_hand()
        self._wait_until(lambda: not self._parts.await_receipts())
        self._received.set()
        self._leave(receive)
        if not any(thread.is_alive() for thread in self._stages):
            self._preparation.close_unused()
        self._sorter.close()
        self._take_last_receipts()
        self._exposing.close()
        if self._stages:
            try:
                self._journal.write_event("stop", {"failure": self._failure})
            except JournalError as error:
                log.error("the stop cannot be written to the journal: %s", error)

    @property
    def prepared(self) -> Prepared:
        """What the next part will be judged with."""
        return self._preparation.now

    def prepare(self, prepared: Prepared) -> None:
        """Change over between two parts: those in hand finish with what they began with.

        The line closes the engine of before when its last part is done; the one prepared last is closed by
        whoever opened it. Raises :class:`JournalError`, and nothing is changed, when the journal does not
        take the changeover; :class:`EngineError` for an engine that has failed its golden parts;
        :class:`LightError` for a recipe whose lamps cannot be lit here.
        """
        if prepared.doubt:
            raise EngineError(_distrusted(prepared))
        self._exposing.require_fits(prepared.recipe, self._settings.mode)
        self._journal.write_event("changeover", prepared.names())
        self._preparation.change(prepared)
        self._readiness.clear(Readiness.DISTRUST)
        self._engine_failures = 0
        self._sorter.prepare(prepared.announced_as)
        self._readiness.clear(Readiness.UNPREPARED)

    def unprepare(self, reason: str) -> None:
        """No part from now on, until :meth:`prepare`: the next parts are of another recipe."""
        self._readiness.block(Readiness.UNPREPARED, reason)

    @property
    def unprepared(self) -> str:
        """Why no recipe is prepared for the next parts; empty while one is."""
        return self._readiness.why(Readiness.UNPREPARED)

    def halt(self, reason: str) -> None:
        """No part from now on, until :meth:`resume`; those in hand are finished.

        Raises :class:`JournalError`, the line being halted, when the journal does not take it.
        """
        self._halted_ns = time.monotonic_ns()
        self._readiness.block(Readiness.HALTED, reason)
        self._journal.write_event("halt", {"reason": reason})

    def resume(self) -> None:
        """Parts are welcome again, unless something else speaks against it.

        Raises :class:`JournalError`, and the line stays halted, when the journal does not take it;
        :class:`EngineError` while the engine is not trusted.
        """
        if self.prepared.doubt:
            raise EngineError(_distrusted(self.prepared))
        if not self._halted:
            return
        self._journal.write_event("resume", {})
        self._readiness.clear(Readiness.HALTED)

    def mark(self, marks: PartMarks) -> None:
        """Write lot, shift and operator into the record of every part from now on.

        Raises :class:`JournalError`, and nothing is changed, when the journal does not take it.
        """
        self._journal.write_event("marks", asdict(marks))
        self._marks = marks

    @property
    def marks(self) -> PartMarks:
        """What stands in the record of the next part beside what the cell says of it."""
        return self._marks

    def give_up(self, reason: str) -> None:
        """A thread is dead: not ready from now on, and the process ends, to be started afresh."""
        self._died = True
        self._fail(Code.THREAD_DEAD, reason)

    def status(self) -> LineStatus:
        """A snapshot of the whole line, from any thread."""
        statistics = self._statistics.snapshot()
        prepared, observers = self.prepared, self._observers.status()
        waits = [] if prepared.challenge is None else [prepared.challenge.waits_for]
        first = [Code.KNOWN_BAD_FIRST.of(f"place the known-bad part ({one})") for one in waits if one]
        losing = [Code.LOSING.of(f"{one.name} are lost: {one.losing}") for one in observers if one.losing]
        return LineStatus(
            recipe=prepared.announced_as,
            recipe_digest=prepared.recipe_digest,
            engine=prepared.engine.info,
            state=self._readiness.state(
                parts_in_hand=statistics.in_hand,
                free_running=self._settings.mode is Mode.FREE_RUNNING,
                is_degraded=bool(losing),
            ),
            reason="; ".join(filter(None, [self._readiness.reason, *first, *losing])),
            statistics=statistics,
            camera=self._acquisition.health(),
            sorter=self._sorter.health(),
            queues=(self._frames.status(), self._patches.status(), self._scores.status()),
            observers=observers,
            failure=self._failure,
            codes=self._readiness.codes.union(
                [Code.LOSING] * bool(losing), [Code.KNOWN_BAD_FIRST] * bool(first)
            ),
            overloaded=self._overloaded,
            died=self._died,
            canary=prepared.canary.status() if prepared.canary is not None else None,
            risks=tuple(accepted_risks(prepared.recipe)),
        )

    # ------------------------------------------------------------------ the part's way

    def _acquire_on_trigger(self) -> None:
        """Cell mode: a trigger, then its frame."""
        while not self._stopping.is_set():
            heartbeat.beat()
            if not self._acquisition.is_there(self._stopping):
                continue
            trigger = self._triggers.next(POLL_S)
            if trigger is None:
                with self._calling("camera"):
                    self._acquisition.probe()
                continue
            part = self._take(trigger)
            if part is None:
                return
            prepared = part.prepared.recipe.name
            if trigger.recipe.partition("@")[0] not in ("", prepared):
                asked = f"the cell asked for recipe {trigger.recipe!r}, {prepared!r} is prepared"
                self._settle(part, self._fault(part, Code.OTHER_RECIPE.of(asked)))
            elif self._halted and trigger.received_ns > self._halted_ns:
                halted = Code.TRIGGERED_WHILE_HALTED.of("the cell triggered while the station was halted")
                self._settle(part, self._fault(part, halted))
            elif not self._acquisition.by_wire and self._parts.came_early(trigger.received_ns):
                early = "the cell triggered it while the part before had to lie before the camera"
                early = Code.TRIGGERED_EARLY.of(f"{early}: the frame would show either")
                self._settle(part, self._fault(part, early))
            elif (acknowledged_ns := self._welcome(part)) is not None:
                self._expose(part, acknowledged_ns)
            self._exposing.rest(part.prepared.recipe)
            self._count_down()

    def _acquire_freely(self) -> None:
        """Free running: every frame is a part, every lost one a faulted part.

        At a changeover the camera is emptied: what waits there shows parts of before. A frame that came
        meanwhile may be of either side: its part is a fault.
        """
        before = self.prepared
        while not self._stopping.is_set():
            heartbeat.beat()
            if not self._acquisition.is_there(self._stopping) or not self._takes_frames():
                continue
            prepared = self.prepared
            self._acquisition.run_at(prepared.recipe.product.line_rate_hz)
            with self._calling("camera"):
                if prepared is not before:
                    self._acquisition.discard()
                    before = prepared
                frame = self._acquisition.following()
            if frame is None:
                if self._acquisition.ended:
                    self._stopping.set()
                continue
            if self._stopping.is_set():
                return  # the cell knew that nobody looks when this frame came
            for _ in range(frame.lost_before):
                lost = self._take_frame(frame)
                if lost is None:
                    return
                why = Code.FRAME_LOST.of("the frame of this part was lost by the camera")
                self._settle(lost, self._fault(lost, why))
                self._count_down()
            part = self._take_frame(frame)
            if part is None:
                return
            if part.prepared is prepared:
                self._look(part, frame)
            else:
                why = Code.FRAME_OF_ANOTHER.of("the recipe was changed while this frame came")
                self._settle(part, self._fault(part, why))
            self._count_down()

    def _takes_frames(self) -> bool:
        """Free running: whether frames are parts now; during a halt they are discarded."""
        if not self._halted:
            return True
        while self._halted and not self._stopping.wait(POLL_S):
            heartbeat.beat()
            with self._calling("camera"):
                self._acquisition.probe()
        with self._calling("camera"):
            self._acquisition.discard()
        return False

    def _take(self, trigger: Trigger, *, at_the_end: bool = False) -> PartInHand | None:
        """Make the part's record durable, once and before anything else; None when the line has closed."""
        with self._parts.entering(at_the_end=at_the_end) as may_enter:
            if not may_enter:
                return None
            prepared = self._preparation.take()
            record_id = self._journal.open_part(
                trigger,
                recipe=prepared.recipe,
                mode=self._settings.mode,
                is_simulated=self._is_simulated,
                camera=self._acquisition.used,
                marks=replace(self._marks, lot=trigger.lot) if trigger.lot else self._marks,
            )
            deadline_ns = trigger.received_ns + int(self._settings.deadline_s * 1e9)
            part = PartInHand(trigger, prepared, record_id, deadline_ns, {"trigger": trigger.received_ns})
            self._statistics.trigger()
            self._parts.enter(part)
        return part

    def _welcome(self, part: PartInHand) -> int | None:
        """Make the camera ready for the part, then tell the cell that a verdict will come; return when.

        In this order: a cell that triggers the camera by wire does so as soon as it knows, and from then on
        the part's time before the camera runs. A part that cannot be exposed is not acknowledged; its verdict
        gives the reason.
        """
        try:
            self._exposing.prepare(part.prepared.recipe)
        except NoFrameError as error:
            self._settle(part, self._fault(part, str(error)))
        if part.claimed:
            return None
        acknowledged_ns = time.monotonic_ns()
        self._parts.lies_until(part, acknowledged_ns + int(self._settings.in_place_s * 1e9))
        self._sorter.acknowledge(part.trigger)
        return acknowledged_ns

    def _expose(self, part: PartInHand, acknowledged_ns: int) -> None:
        """One trigger, one frame, or one per lamp: surely this part's, or a fault."""
        try:
            for frame in self._exposing.frames(part.prepared.recipe, acknowledged_ns):
                part = self._parts.known(part.seen(frame))
                if part.claimed:  # too late: nobody looks at further frames
                    break
        except NoFrameError as error:
            seen = part.unseen(error.lost_before) if error.frame is None else part.seen(error.frame)
            part = self._parts.known(seen)
            self._settle(part, self._fault(part, str(error)))
        else:
            self._parts.may_leave(part)
            self._sorter.acquisition_done(part.trigger)
            self._pass_on(part, self._frames)

    def _look(self, part: PartInHand, frame: Frame) -> None:
        """Free running: hand a frame on; only a complete one may be classified."""
        part = self._parts.known(part.seen(frame))
        if frame.complete:
            self._pass_on(part, self._frames)
        else:
            why = Code.FROZEN if frame.problem == FROZEN else Code.INCOMPLETE
            self._settle(part, self._fault(part, why.of(f"incomplete frame: {frame.problem}")))

    def _cut(self) -> None:
        """Background off, resize, patches."""
        while (part := self._next(self._frames)) is not None:
            if part.claimed or not part.frames:
                continue
            try:
                width_px = part.prepared.width_of(part.trigger.recipe)
                patches = cut_part([one.pixels for one in part.frames], part.prepared.recipe, width_px)
            except PatchingError as error:
                self._settle(part, self._fault(part, error.code.of(str(error))))
            except Exception as error:
                log.exception("part %d: cutting failed", part.trigger.part_id)
                self._settle(part, self._fault(part, Code.CUTTING_FAILED.of(f"cutting failed: {error!r}")))
            else:
                part = self._parts.known(part.cut(patches, keep_frame=self._observers.need_frames))
                self._pass_on(part, self._patches)

    def _classify(self) -> None:
        """Probabilities of every patch, within what is left of the part's time."""
        while (part := self._next(self._patches, meanwhile=self._between_parts)) is not None:
            if part.claimed or part.patches is None:
                continue
            engine, left_s = part.prepared.engine, part.left_s
            try:
                with self._calling("engine"):
                    scores = engine.scores(part.patches.pixels, timeout_s=max(left_s, 0.001))
            except EngineDeadlineError as error:
                if left_s < self._settings.deadline_s / 2:  # most of its time it waited for other parts
                    self._settle_overloaded(part, "patches")
                else:
                    self._settle(part, self._fault(part, Code.SCORES_TOO_LATE.of(f"no scores: {error}")))
                    self._count_engine_failure(engine, error)
            except EngineError as error:
                self._settle(part, self._fault(part, Code.NO_SCORES.of(f"no scores: {error}")))
                self._count_engine_failure(engine, error)
            except Exception as error:
                log.exception("part %d: classification failed", part.trigger.part_id)
                self._settle(part, self._fault(part, Code.ENGINE_ERROR.of(f"no scores: {error!r}")))
                self._count_engine_failure(engine, error)
            else:
                self._engine_failures = 0
                self._pass_on(self._parts.known(part.scored(scores)), self._scores)

    def _decide(self) -> None:
        """One decision per part, and none that comes too late."""
        while (part := self._next(self._scores)) is not None:
            if part.claimed or part.scores is None:
                continue
            try:
                verdict = decide(part.scores.probabilities, part.prepared.recipe, part.scores.novelty)
            except Exception as error:
                log.exception("part %d: decision failed", part.trigger.part_id)
                verdict = self._fault(part, Code.NO_DECISION.of(f"no decision: {error!r}"))
            if (challenge := part.prepared.challenge) is not None:
                verdict = challenge.judged(verdict)
            part = self._parts.known(part.decided())
            if part.stages_ns["decided"] > part.deadline_ns:
                verdict = self._too_late(part)
            if self._failure:
                verdict = self._fault(part, Code.LINE_HALTED.of(f"the line has halted: {self._failure}"))
            if part.prepared.doubt:
                verdict = self._fault(part, NOT_TRUSTED)
            self._settle(part, verdict)

    def _settle(self, part: PartInHand, verdict: Verdict) -> None:
        """The part's one verdict: durable first, then sent in time. A second one for the part is ignored."""
        if not part.claim():
            return
        try:
            self._journal.write_verdict(part.record_id, verdict, part.details())
            verdict = self._withdraw_if_wrong_by_now(part, verdict)
        except JournalError as error:
            # Not durable, so not sent: the cell's own time-out puts the part on the reject side and the
            # record, still open, is faulted at the next start.
            self._fail(Code.JOURNAL_FAILED, f"the journal cannot be written: {error}")
            return
        handed_ns = time.monotonic_ns()
        self._parts.settle(part, handed_ns)
        self._preparation.give_back(part.prepared)
        result = Result(
            part_id=part.trigger.part_id,
            outcome=verdict.outcome,
            bin=verdict.bin,
            class_index=verdict.class_index,
            reason=verdict.reason,
        )
        try:
            self._sorter.send(result)
        finally:  # the record has its verdict, whatever becomes of the sorter
            verdict_ms = (time.monotonic_ns() - part.trigger.received_ns) / 1e6
            received_ns = part.trigger.received_ns
            stages_ms = {stage: (at_ns - received_ns) / 1e6 for stage, at_ns in part.stages_ns.items()}
            self._statistics.verdict(Settled(part.trigger.part_id, verdict, verdict_ms, stages_ms))
            _log_part(part, verdict, verdict_ms)
        self._observers.offer(InspectedPart(part, verdict, handed_ns))

    def _withdraw_if_wrong_by_now(self, part: PartInHand, verdict: Verdict) -> Verdict:
        """What may be sent now that the verdict is on the disk: a disk that stalls makes it a fault.

        The part has waited all that time, and nobody knows any more what the cell has done with it. An engine
        that has failed a golden part meanwhile makes it a fault, too.
        """
        if verdict.outcome is Outcome.FAULT:
            return verdict
        if part.prepared.doubt:
            instead = self._fault(part, NOT_TRUSTED)
        elif time.monotonic_ns() > part.deadline_ns:
            instead = self._too_late(part)
        else:
            return verdict
        self._journal.withdraw_verdict(part.record_id, instead)
        log.warning("part %d: withdrawn and sent as a fault: %s", part.trigger.part_id, instead.reason)
        return instead

    def _receive(self) -> None:
        """What the cell says it did with the part, added to the record."""
        while not self._received.is_set():
            heartbeat.beat()
            receipt = self._sorter.wait_receipt(POLL_S)
            if receipt is not None:
                self._note(receipt)

    def _note(self, receipt: Receipt) -> None:
        """Add one receipt to the record that it belongs to."""
        sent = self._parts.sent(receipt.part_id)
        if sent is None:
            log.error("a receipt for part %d, for which no result was sent", receipt.part_id)
            return
        self._journal.write_receipt(sent.record_id, receipt, told_ns=sent.handed_ns)
        self._statistics.receipt(receipt, (receipt.at_ns - sent.received_ns) / 1e6)
        if not receipt.acknowledged:
            known = Code.MISPLACED if receipt.bin else Code.UNACKNOWLEDGED
            code = code_of_problem(receipt.problem) or known
            log.warning("part %d: %s", receipt.part_id, code.of(receipt.problem))
        self._parts.receive(receipt.part_id)

    def _watch(self) -> None:
        """Fault what passes its deadline, whatever stage it hangs in; halt when a call never ends."""
        while not self._ended.wait(0.01):
            heartbeat.beat()
            if self._journal.problem:
                self._fail(Code.JOURNAL_FAILED, f"the journal cannot be written: {self._journal.problem}")
            now = time.monotonic_ns()
            for called, since_ns in list(self._calls_ns.items()):
                if now - since_ns > self._settings.hung_after_s * 1e9 and not self._failure:
                    hung_s = self._settings.hung_after_s
                    self._fail(Code.CALL_HANGS, f"a call to the {called} has not returned for {hung_s:g} s")
            in_hand = self._parts.all()
            for part in in_hand:
                if now > part.deadline_ns and not part.claimed:
                    if part.is_exposed and part.record_id not in self._at_work.values():
                        self._settle_overloaded(part, "of the next stage")
                    else:
                        self._settle(part, self._too_late(part))
            if not in_hand:
                self._readiness.clear(Readiness.OVERLOAD)

    # ------------------------------------------------------------------ helpers, in the order of use

    def _guard(self, stage: Callable[[], None]) -> None:
        """A stage that dies takes the line down: no part may wait for a stage that is gone."""
        heartbeat.begin(stage.__name__.strip("_"))
        try:
            stage()
        except CameraConfigError as error:
            self._fail(Code.CAMERA_REFUSES, f"camera: {error}; correct this, then start the station again")
            self._readiness.clear(Readiness.CAMERA)  # which says the same, without what to do
        except Exception as error:
            log.exception("stage %s ended with an error", stage.__name__)
            self._fail(Code.STAGE_FAILED, f"stage {stage.__name__.strip('_')} ended with an error: {error!r}")

    @contextmanager
    def _calling(self, what: str) -> Iterator[None]:
        """Let ``_watch`` see how long a call into foreign code takes."""
        heartbeat.beat()
        self._calls_ns[what] = time.monotonic_ns()
        try:
            yield
        finally:
            del self._calls_ns[what]

    def _announce(self, ready: bool, reason: str) -> None:
        log.info("ready" if ready else f"not ready: {reason}")
        if self._readiness.only_overloaded:
            self._sorter.set_busy(reason)
        else:
            self._sorter.set_ready(ready, reason)

    @property
    def _halted(self) -> bool:
        return any(map(self._readiness.blocked_by, (Readiness.HALTED, Readiness.DISTRUST)))

    def _take_frame(self, frame: Frame) -> PartInHand | None:
        """Free running: the part that a frame shows, or that a lost one would have shown."""
        part_id, self._next_part_id = self._next_part_id, self._next_part_id + 1
        part = self._take(Trigger(part_id=part_id, recipe="", received_ns=frame.arrived_ns))
        if part is not None:
            self._sorter.entered(part.trigger)
        return part

    def _fault(self, part: PartInHand, reason: str) -> Verdict:
        return fault(reason, part.prepared.recipe)

    def _count_down(self) -> None:
        if self._parts_wanted is not None:
            self._parts_wanted -= 1
            if self._parts_wanted <= 0:
                self._readiness.block(Readiness.STOPPING, "the parts asked for are done")
                self._stopping.set()

    def _pass_on(self, part: PartInHand, queue: BoundedQueue[PartInHand]) -> None:
        """Wait for room in the next stage's queue, but not past the part's deadline."""
        heartbeat.beat(part.left_s)
        if not queue.put(part, part.left_s):
            self._settle_overloaded(part, queue.name)

    def _next(
        self, queue: BoundedQueue[PartInHand], meanwhile: Callable[[], None] = lambda: None
    ) -> PartInHand | None:
        """The next part of a stage; None when the line ends. ``meanwhile`` is called between two looks."""
        while not self._ended.is_set():
            heartbeat.beat()
            meanwhile()
            part = queue.get(POLL_S)
            if part is not None:
                self._at_work[queue.name] = part.record_id
                return part
        return None

    def _between_parts(self) -> None:
        """What the thread that uses the engines does while no part waits for it; and what is overdue."""
        self._preparation.close_unused()
        prepared = self.prepared
        while (canary := prepared.canary) is not None and not (prepared.doubt or self._ended.is_set()):
            part_waits = self._patches.status().length > 0
            try:
                with self._calling("engine"):
                    worked = canary.step(part_waits)
            except Exception as error:
                log.exception("engine: no scores for a golden part")
                if canary.failures >= self._settings.engine_failures_allowed and prepared is self.prepared:
                    self._fail(
                        Code.ENGINE_FAILED,
                        f"the engine failed {canary.failures} golden parts in a row: {error}",
                    )
                return
            if prepared.doubt:
                self._distrust(prepared)
            if part_waits or not worked:
                return

    def _distrust(self, prepared: Prepared) -> None:
        """The engine no longer reproduces a golden part: nothing is accepted by it any more.

        Parts in hand are faulted; ready is withdrawn until another engine is prepared, which is proven first.
        """
        self._halted_ns = time.monotonic_ns()
        reason = _distrusted(prepared)
        log.critical("halted: %s", reason)
        self._readiness.block(Readiness.DISTRUST, reason)
        if self.prepared is not prepared:  # another one was prepared at this moment
            self._readiness.clear(Readiness.DISTRUST)
        try:
            self._journal.write_event("canary", prepared.names() | {"problem": prepared.doubt})
        except JournalError as error:
            self._fail(Code.JOURNAL_FAILED, f"the journal cannot be written: {error}")
        for part in self._parts.all():
            if part.prepared is prepared:
                self._settle(part, self._fault(part, NOT_TRUSTED))

    def _settle_overloaded(self, part: PartInHand, queue: str) -> None:
        """A part that waited for others until its deadline: no failure of a device, but too many parts.

        Triggers are refused as busy until all parts in hand are done.
        """
        if part.claimed:
            return
        self._overloaded += 1
        self._readiness.block(Readiness.OVERLOAD, "overload: parts come faster than they can be judged")
        waited = Code.OVERLOAD.of(f"overload: the part waited in the queue {queue} until its deadline")
        self._settle(part, self._fault(part, waited))

    def _count_engine_failure(self, engine: Engine, error: Exception) -> None:
        if engine is not self.prepared.engine:
            return  # one that has been replaced is no reason to halt
        self._engine_failures += 1
        if self._engine_failures >= self._settings.engine_failures_allowed:
            failures = self._engine_failures
            self._fail(Code.ENGINE_FAILED, f"the engine failed {failures} times in a row: {error}")

    def _too_late(self, part: PartInHand) -> Verdict:
        deadline_ms = self._settings.deadline_s * 1000
        return self._fault(part, Code.TOO_LATE.of(f"no verdict within the deadline of {deadline_ms:.0f} ms"))

    def _leave(self, stage: threading.Thread | None) -> None:
        """Wait for a stage to end, which it does when nothing hangs."""
        if stage is None:
            return
        stage.join(self._settings.stop_timeout_s)
        if stage.is_alive():
            log.error("stage %s does not end; the stop goes on without it", stage.name)

    def _fault_late_triggers(self) -> None:
        """Triggers that came before the cell knew of the stop get record and fault.

        A line that has failed leaves them unanswered, as a killed one does: the cell's own time-out counts.
        """
        try:
            while not self._failure and (trigger := self._triggers.next(0)):
                part = self._take(trigger, at_the_end=True)
                if part is not None:
                    why = Code.STOPPING.of("the station was stopping when the trigger came")
                    self._settle(part, self._fault(part, why))
        except JournalError as error:
            self._fail(Code.JOURNAL_FAILED, f"the journal cannot be written: {error}")

    def _fault_what_is_in_hand(self) -> None:
        for part in self._parts.all():
            why = Code.STOPPED.of("the station stopped before the part was done")
            self._settle(part, self._fault(part, why))

    def _take_last_receipts(self) -> None:
        """What the sorter says at its own end of the results that nobody acknowledged."""
        try:
            while self._parts.await_receipts() and (receipt := self._sorter.wait_receipt(0)) is not None:
                self._note(receipt)
        except JournalError as error:
            log.error("receipts are not in the journal: %s", error)

    def _wait_until(self, done: Callable[[], bool]) -> None:
        until = time.monotonic() + self._settings.stop_timeout_s
        while not done() and not self._failure and time.monotonic() < until:
            time.sleep(0.005)

    def _fail(self, code: Code, detail: str) -> None:
        """The line cannot go on: not ready, and the process ends so that systemd starts it afresh."""
        reason = code.of(detail)
        if not self._failure:
            self._failure = reason
            log.critical("halted: %s", reason)
        self._readiness.block(Readiness.FAILED, reason)
        self._stopping.set()


def _log_part(part: PartInHand, verdict: Verdict, verdict_ms: float) -> None:
    """One line per part: a fault is a warning, all else for whoever wants to know."""
    level = logging.WARNING if verdict.outcome is Outcome.FAULT else logging.INFO
    if not log.isEnabledFor(level):
        return
    code = code_of(verdict.reason)
    fields = {
        "part": part.trigger.part_id,
        "record": part.record_id,
        "recipe": part.prepared.recipe.name,
        "outcome": verdict.outcome.value,
        "class": verdict.class_name,
        "bin": verdict.bin,
        "verdict_ms": round(verdict_ms, 3),
    } | ({"code": code.code} if code is not None else {})
    log.log(
        level,
        "part %d: %s to bin %d after %.1f ms: %s",
        part.trigger.part_id, verdict.outcome.value, verdict.bin, verdict_ms, verdict.reason,
        extra={"fields": fields},
    )  # fmt: skip


def _distrusted(prepared: Prepared) -> str:
    """What is wrong with an engine that failed a golden part, and what to do."""
    engine = prepared.engine.info
    return (
        f"engine {engine.name} ({engine.backend} {engine.precision}) is not trusted any more: "
        f"{prepared.doubt}; "
        f"check the machine, then prove the engine again: `station activate {engine.name}`"
    )
