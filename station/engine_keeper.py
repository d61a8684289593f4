"""Looks after the engines that come home, beside the line: lets them prove themselves, and watches a trial.

Once a second it writes what became of engines into the journal's chain (event ``store``), lets an installed
engine prove itself in a process of its own, lets the newest proven one shadow (``station/shadow``), and holds
the parts of a trial, as the journal has them, against
those of the engine before (``station/engines/health.py``). It counts nothing itself: a station that was
killed in the middle of a trial goes on with it, because the parts are in the journal and the rest is in the
store.

Each of these duties is done whatever becomes of the others. What cannot be done stands in the status, with
its reason. An engine in trial that could not be watched for :data:`BLIND_ROUNDS` rounds in a row goes back;
where even that fails, no further part is taken: an engine that nobody watches judges nothing for long.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from drivers import heartbeat
from drivers.errors import InspectionError
from station.engine_trial import SLOW, Trial
from station.engines.health import Health
from station.engines.interface import ChangeoverUnderWayError
from station.engines.states import Engines, EngineState, Entry
from station.engines.store import Store
from station.journal.reading import JournalReader
from station.proof_process import ProofProcess
from station.shadow.observer import Shadow
from station.shadow.promotion import next_candidate

if TYPE_CHECKING:
    from station.config import StationConfig
    from station.journal import Journal
    from station.line import Line
    from station.observers import Observers

log = logging.getLogger(__name__)

ROUND_S = 1.0
CHANGEOVER_S = 600.0
"""What loading and proving the engine before may take, s; later the watcher says where the thread is."""
BLIND_ROUNDS = 10
"""Rounds in a row in which a trial could not be watched, after which its engine goes back."""
STATION = "station"
"""Who does what nobody has asked for."""


def note_steps(store: Store, journal: Journal) -> None:
    """Write the steps that the journal does not have yet; one twice where a kill came between.

    Each has its number, by which two of one step are known. Raises ``JournalError``, ``StoreError``.
    """
    if not store.is_there:
        return
    steps = store.engines().not_in_journal
    for step in steps:
        values = {"engine": store.name, "number": step.number, "digest": step.digest, "step": step.step}
        journal.write_event("store", values | {"why": step.why, "by": step.by, "since": step.at})
    if steps:
        store.change(lambda known: known.written(steps[-1].number))


@dataclass(frozen=True, slots=True)
class TrialSoFar:
    """How far the trial of the engine that judges is."""

    digest: str
    """Of the engine in the store."""
    parts: int
    """Judged in the trial, as far as it could be read."""
    of: int
    """Parts that a trial takes."""
    not_compared: tuple[str, ...] = ()
    """What cannot be compared with the engine before, and why."""


@dataclass(slots=True)
class Keeping:
    """What the keeper has to say; it alone writes, anybody reads."""

    trial: TrialSoFar | None = None
    """None where no engine is in trial."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """Duty (:data:`DUTIES`) -> why it cannot be done now; replaced whole."""


DUTIES = ("trial", "steps", "proof", "shadow")
"""What the keeper does in each round: watch the trial, write steps into the journal, prove, shadow."""


class _Station(Protocol):
    """What the keeper needs of :class:`station.running.Station`, which starts it."""

    @property
    def line(self) -> Line: ...
    @property
    def config(self) -> StationConfig: ...
    @property
    def journal(self) -> Journal: ...
    @property
    def observers(self) -> Observers: ...
    @property
    def keeping(self) -> Keeping: ...
    def activate_installed(self, digest: str, *, why: str, by: str) -> None: ...
    def roll_back(self, *, why: str, by: str) -> None: ...
    def follow_store(self) -> None: ...


class EngineKeeper:
    """The thread that does so, until it is left."""

    def __init__(self, station: _Station, configuration: Path) -> None:
        """``configuration``: its file, for the process in which an engine proves itself."""
        self._station = station
        self._trial: Trial | None = None
        self._proof = ProofProcess(configuration, STATION)
        self._not_again: set[str] = set()
        """Engines whose proof came to no result, which was said."""
        self._blind = 0
        """Rounds in a row in which the trial could not be watched."""
        self._seen = 0
        """The journal's last record when the trial was looked at last."""
        self.health: Health | None = None
        """Of the engine in trial; None where none is."""
        begun_with = station.line.prepared.installed
        entry = None if begun_with is None else begun_with.entry
        if entry is not None and entry.state is EngineState.TRIAL:  # known before the first look
            wanted = station.config.new_engines.trial_parts
            station.keeping.trial = TrialSoFar(entry.digest, 0, wanted)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="engines", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join(5.0)
        self._proof.close()

    def _serve(self) -> None:
        heartbeat.begin("engines", vital=False)
        while not self._stop.wait(ROUND_S):
            heartbeat.beat()
            self.look()
        heartbeat.end()

    def look(self) -> None:
        """One round of all duties; what one of them cannot do is said once, and stands in the status."""
        keeping, before = self._station.keeping, self._station.keeping.problems
        duties = dict(
            zip(DUTIES, (self._watch, self._note, self._let_prove, self._shadow), strict=True)
        )  # fmt: skip
        problems = {name: why for name, duty in duties.items() if (why := _problem_of(name, duty, before))}
        keeping.problems = problems
        blind = problems.get("trial", "") if keeping.trial is not None else ""
        self._blind = self._blind + 1 if blind else 0
        if self._blind >= BLIND_ROUNDS:
            why = f"its health could not be read {self._blind} times in a row: {blind}"
            if failed := _problem_of("trial", lambda: self._go_back(why), problems):
                keeping.problems = {**problems, "trial": failed}

    def _store(self) -> Store:
        return Store(self._station.config.paths.engines, self._station.line.prepared.engine.info.name)

    def _note(self) -> None:
        """Write the steps that the journal does not have. Raises ``InspectionError``."""
        note_steps(self._store(), self._station.journal)

    # ------------------------------------------------------------------ proof

    def _let_prove(self) -> None:
        """Let one installed engine after the other prove itself; a crash of the proof is the engine's.

        Raises ``InspectionError``, OSError.
        """
        store = self._store()
        if not (self._station.config.new_engines.prove and store.is_there):
            return
        if (ended := self._proof.look()) is not None:
            entry = store.engines().entries.get(ended.digest)
            if ended.is_engines and entry is not None and entry.state is EngineState.INSTALLED:
                store.change(lambda known: known.failed(ended.digest, ended.problem, by=STATION))
            elif ended.problem:
                self._not_again.add(ended.digest)
                log.error(
                    "engines: the proof of %s came to no result: %s; put this right, then `station engines "
                    "prove %s`", ended.digest[:12], ended.problem, ended.digest[:12],
                )  # fmt: skip
            note_steps(store, self._station.journal)
        installed = [one for one in store.engines().entries.values() if one.state is EngineState.INSTALLED]
        waiting = [one for one in installed if one.digest not in self._not_again]
        if waiting and not self._proof.is_at_work:
            self._proof.begin(store.name, min(waiting, key=lambda one: one.at).digest)

    # ------------------------------------------------------------------ shadow

    def _shadow(self) -> None:
        """Let the newest proven engine shadow, and one that is good enough judge where a rule may say so.

        Raises ``InspectionError``.
        """
        station, shadow, store = self._station, self._station.observers.find(Shadow), self._store()
        if shadow is None or not store.is_there:
            return
        known = store.engines()
        if digest := next_candidate(known):
            why = "it is proven, and newer than the active one"
            store.change(lambda now: now.shadowing(digest, why, by=STATION) if now == known else now)
            note_steps(store, station.journal)
        ready = shadow.ready
        if station.config.shadow.promote == "rule" and ready is not None and ready[0] == known.candidate:
            heartbeat.beat(CHANGEOVER_S)
            station.activate_installed(ready[0], why=f"in the shadow: {ready[1]}", by="rule")

    # ------------------------------------------------------------------ trial

    def _watch(self) -> None:
        """Let an engine go back that is no better than its predecessor; it is good when its trial is over.

        An engine that became bad otherwise, by a proof, judges no longer. Raises ``InspectionError``.
        """
        line, journal, keeping, store = (
            self._station.line, self._station.journal, self._station.keeping, self._store()
        )  # fmt: skip
        known = store.engines()
        trial = known.entries.get(known.active)
        now = line.prepared
        if now.installed is not None and not line.unprepared and _is_bad(known, now.installed.digest):
            self.health = keeping.trial = None
            heartbeat.beat(CHANGEOVER_S)
            with suppress(ChangeoverUnderWayError):  # which may be its own going back
                self._station.follow_store()
            return
        if trial is None or trial.state is not EngineState.TRIAL or line.unprepared:
            self.health = keeping.trial = None
            return
        if now.installed is None or now.installed.digest != trial.digest:
            return  # a changeover is under way
        wanted = self._station.config.new_engines.trial_parts
        if keeping.trial is None or keeping.trial.digest != trial.digest:
            keeping.trial = TrialSoFar(trial.digest, 0, wanted)
        if doubt := now.doubt:
            self._go_back(f"it does not reproduce a golden part any more: {doubt}")
            return
        last = journal.last_record
        if last != self._seen or self.health is None:
            self.health = self._health(trial)
            self._seen = last
        health = self.health
        keeping.trial = TrialSoFar(trial.digest, health.parts, wanted, health.not_compared)
        canary = line.status().canary
        if health.problem:
            self._go_back(health.problem)
        elif health.is_good and canary is not None and canary.passed >= canary.golden:
            why = "; ".join([f"{health.parts} parts in trial", *health.not_compared])
            store.change(lambda known: known.good(why, by=STATION) if known.active == trial.digest else known)
            self.health = keeping.trial = None

    def _go_back(self, why: str) -> None:
        """Let the engine before judge; where it cannot be had, no further part is taken.

        Raises ``InspectionError``.
        """
        log.error("engines: the engine in trial goes back: %s", why)
        heartbeat.beat(CHANGEOVER_S)
        self.health = None
        try:
            self._station.roll_back(why=why, by=STATION)
        except ChangeoverUnderWayError:
            raise  # the next round tries again
        except Exception as error:
            if not self._station.line.unprepared:
                self._station.line.unprepare(
                    f"the engine in trial must not go on ({why}), and the one before it cannot judge: "
                    f"{error}; put this right, then `station prepare` the recipe"
                )
            raise

    def _health(self, active: Entry) -> Health:
        settings = self._station.config.new_engines
        now = self._station.line.prepared
        if active.after_record > self._station.journal.last_record:  # a journal that began after the trial
            active = replace(active, after_record=0)
        subject = (active.digest, active.after_record, now.engine_digest, now.recipe.name)
        if self._trial is None or self._trial.subject != subject:
            slow_ms = self._station.config.limits.part_deadline_ms * SLOW
            self._trial = Trial(active, now.engine_digest, now.recipe.name, slow_ms)
        before = Store(self._station.config.paths.engines, now.engine.info.name).engines().previous
        with JournalReader(self._station.journal.path) as journal:
            return self._trial.health(journal, before, settings.baseline_parts, settings.trial_parts)


def _is_bad(known: Engines, digest: str) -> bool:
    return digest in known.entries and known.entries[digest].state is EngineState.BAD


def _problem_of(name: str, duty: Callable[[], None], before: Mapping[str, str]) -> str:
    """Do a duty; why it could not be done, empty where it was. What was not said ``before`` is logged."""
    try:
        duty()
        return ""
    except (InspectionError, OSError) as error:
        problem = str(error)
        unforeseen = None
    except Exception as error:
        problem = f"an error of this software ({error!r}); please report it; the next round tries again"
        unforeseen = error
    if problem != before.get(name):  # once, and not every second
        log.error("engines: %s: %s", name, problem, exc_info=unforeseen)
    return problem
