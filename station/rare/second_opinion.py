"""A second opinion on a share of the parts: the same engine on another back end or in another precision.

Its verdict is an event of the journal about the record (``opinion``). It is never sent to the cell and
changes no record. The rare-defect log reads it there, as it reads a person's word, and keeps the parts on
which the two disagree. It judges in spare time; parts for which there is none are not judged a second time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from drivers.sorters.interface import Outcome
from station.decision import Verdict, decide
from station.observers.beside import END_S, Beside
from station.observers.interface import Observer, ObserverError
from station.rare.reasons import draw_of

if TYPE_CHECKING:
    from station.engines.interface import Engine
    from station.journal import Journal
    from station.part import InspectedPart
    from station.prepared import Prepared

Opener = Callable[["Prepared"], "Engine"]
"""Opens the second engine for what a part was judged with. Raises ``EngineError``."""


class SecondOpinion(Observer):
    """Judges parts again and writes down what it finds."""

    name = "second opinion"
    capacity = 2
    outcomes = frozenset({Outcome.ACCEPT, Outcome.REJECT})
    spare_time = True
    end_s = END_S

    def __init__(self, journal: Journal, open_engine: Opener, share: float) -> None:
        """``share``: of the parts, drawn by the record's number. The engine is opened at the first part."""
        self._journal = journal
        self._journal_id = journal.head.journal_id
        self._open_engine = open_engine
        self._share = share
        self._second: Beside[Engine] = Beside()
        self._counts: Counter[str] = Counter()

    def wants(self, part: InspectedPart) -> bool:
        """Whether the part is one of the share; the queue is for these alone."""
        return draw_of(self._journal_id, part.part.record_id, "second opinion") < self._share

    def observe(self, part: InspectedPart) -> None:
        """Judge a part again. Raises :class:`ObserverError`, ``EngineError`` or ``JournalError``."""
        in_hand, verdict = part.part, part.verdict
        if in_hand.patches is None or in_hand.scores is None:
            return
        prepared = in_hand.prepared
        with self._second.using(lambda: self._opened(prepared), prepared.engine) as engine:
            scores = engine.scores(in_hand.patches.pixels)
        second = decide(scores.probabilities, prepared.recipe, scores.novelty)
        values = opinion_of(engine, second, verdict)
        self._journal.write_event("opinion", values, record_id=in_hand.record_id)
        self._counts["agree" if values["agrees"] else "differ"] += 1
        self.note = f"{self._counts.total()} judged a second time, {self._counts['differ']} differently"

    def close(self) -> None:
        """Give the second engine back."""
        self._second.close()

    def _opened(self, prepared: Prepared) -> Engine:
        engine, first = self._open_engine(prepared), prepared.engine.info
        if (engine.info.digest, engine.info.backend, engine.info.precision) != (
            first.digest,
            first.backend,
            first.precision,
        ):
            return engine
        engine.close()
        raise ObserverError(
            f"the line itself uses {first.name} on {first.backend} {first.precision}: name another back end "
            "or precision under rare.second_opinion"
        )


def opinion_of(engine: Engine, said: Verdict, verdict: Verdict) -> dict[str, object]:
    """The values of an event ``opinion``: what ``engine`` says of a part that another one judged."""
    info = engine.info
    return {
        "outcome": str(said.outcome),
        "class_name": said.class_name,
        "confidence": round(float(said.confidence), 6),
        "patch": said.patch,
        "reason": said.reason,
        "engine": info.name,
        "engine_digest": info.digest,
        "backend": info.backend,
        "precision": info.precision,
        "verdict": verdict.class_name,
        "agrees": (said.outcome, said.class_name) == (verdict.outcome, verdict.class_name),
    }
