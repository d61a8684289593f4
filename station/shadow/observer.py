"""The candidate judges parts beside the active engine, in spare time; no cell hears of it.

Each of its verdicts is an event of the journal about the record (``shadow``). The rare-defect log hears it
there and keeps the parts on which the two engines differ, with both verdicts; so a person can say who is
right, and the workshop gets the parts that decide. What the verdicts prove so far is a test that may be
looked at at any time (:mod:`station.shadow.evidence`).

While a new engine is in its trial, the one before it shadows in the same way, so that the trial sees on how
many parts the two disagree.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from drivers.sorters.interface import Outcome
from station.decision import FAR, UNKNOWN_CLASS
from station.engines.states import EngineState
from station.observers.beside import END_S, Beside
from station.observers.interface import Observer
from station.rare.reasons import draw_of
from station.rare.second_opinion import opinion_of
from station.shadow.evidence import Finding
from station.shadow.ledger import SHADOW, Ledger

if TYPE_CHECKING:
    from station.config import Shadow as Settings
    from station.engines.interface import Engine
    from station.engines.store import Installed
    from station.journal import Journal
    from station.part import InspectedPart
    from station.prepared import Prepared
    from station.shadow.side import Side

LOOK_EVERY_S = 2.0
"""How often the store is asked for the candidate, and the journal for what was said."""


class Shadow(Observer):
    """Judges parts with the candidate, writes down what it says, and knows what that proves."""

    name = "shadow"
    capacity = 2
    outcomes = frozenset({Outcome.ACCEPT, Outcome.REJECT})
    spare_time = True
    end_s = END_S

    def __init__(
        self,
        journal: Journal,
        find: Callable[[str], Installed | None],
        opened: Callable[[Prepared, Installed], Side],
        settings: Settings,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """``find``: the candidate beside an engine of this name. ``opened``: opens it, for the active one."""
        self._journal, self._journal_id = journal, journal.head.journal_id
        self._find, self._open, self._settings = find, opened, settings
        self._beside: Beside[Side] = Beside()
        self._active: Engine | None = None
        """What judged the part before."""
        self._found: Installed | None = None
        self._look_every_s = look_every_s
        self._looked = float("-inf")
        self.ledger: Ledger | None = None
        """What the candidate has said so far; None without one."""
        self._finding = Finding.OPEN
        self.ready: tuple[str, str] | None = None
        """The digest of a candidate that is good enough, and why; another thread may make it active."""

    def wants(self, part: InspectedPart) -> bool:
        """Whether the part is one of the share."""
        return draw_of(self._journal_id, part.part.record_id, self.name) < self._settings.share

    def observe(self, part: InspectedPart) -> None:
        """Judge a part. Raises ``ObserverError``, ``EngineError`` or ``JournalError``."""
        in_hand, prepared = part.part, part.part.prepared
        if prepared.engine is not self._active:  # who shadows may be another one from now on
            self._active, self._looked = prepared.engine, float("-inf")
        self._look()
        installed = self._found
        if installed is None or in_hand.patches is None:
            return
        opened = self._beside.using(
            lambda: self._open(prepared, installed), prepared.engine, installed.digest
        )
        with opened as candidate:
            scores = candidate.engine.scores(in_hand.patches.pixels)
        if self.ledger is None:
            self.ledger = Ledger(installed.digest, candidate.recipe.classes[0].name)
        said = candidate.decide(scores)
        values = opinion_of(candidate.engine, said, part.verdict) | {
            "candidate": installed.digest,
            "verdict_outcome": str(part.verdict.outcome),
            "far": _was_far(part),
        }
        self._journal.write_event(SHADOW, values, record_id=in_hand.record_id)

    def idle(self) -> None:
        """Nothing waits: hear what was said meanwhile."""
        if self._active is not None:
            self._look()

    def close(self) -> None:
        """Say what is proven by now, and give the candidate back."""
        self._conclude()
        self._beside.close()

    def _look(self) -> None:
        """Every few seconds: which engine is the candidate, and what its verdicts prove."""
        now = time.monotonic()
        if now < self._looked + self._look_every_s:
            return
        self._looked = now
        self._found = None if self._active is None else self._find(self._active.info.name)
        digest = "" if self._found is None else self._found.digest
        if self.ledger is not None and self.ledger.candidate != digest:
            self._beside.close()
            self.ledger, self.note, self._finding, self.ready = None, "", Finding.OPEN, None
        self._conclude()

    def _conclude(self) -> None:
        """Show what is proven, and write it down when it is enough for a finding."""
        ledger = self.ledger
        if ledger is None or not ledger.hear(self._journal.path):
            return
        entry = None if self._found is None else self._found.entry
        if entry is None or entry.state is not EngineState.SHADOWING:
            self.note = f"the engine before, {ledger.candidate[:12]}: {ledger.in_words()}"
            return
        evidence = ledger.evidence(self._settings.worse_below, self._settings.risk)
        if evidence.finding not in (self._finding, Finding.OPEN, ledger.found):
            self._journal.write_event(SHADOW, {"candidate": ledger.candidate, **ledger.finding_of(evidence)})
        self._finding = evidence.finding
        good_enough = evidence.finding is Finding.BETTER
        self.ready = (ledger.candidate, evidence.in_words()) if good_enough else None
        self.note = f"candidate {ledger.candidate[:12]}: {evidence.in_words()}; better on {ledger.better}"


def _was_far(part: InspectedPart) -> bool:
    """Whether the active engine found the part far from its training."""
    scores = part.part.scores
    far = scores is not None and scores.novelty is not None and bool(scores.novelty.max() > FAR)
    return far or part.verdict.class_index == UNKNOWN_CLASS
