"""What the journal says of the trial of an engine: its parts, held against those of the engine before."""

from __future__ import annotations

from dataclasses import replace

from drivers.sorters.interface import Outcome
from station.engines.health import Baseline, Beside, Health, Judged, health_of
from station.engines.states import Entry
from station.faults import code_of
from station.journal.reading import JournalReader
from station.journal.record import PartRecord
from station.journal.selection import Selection
from station.recipe import UNKNOWN

LOOKED_AT = 3
"""Times the parts of a baseline are looked at to find those of the engine before."""
SHADOWED = 500
"""Parts that an engine judged in the shadow last, by which its own reject rate is known."""
SLOW = 0.8
"""A part is slow whose decision came after this share of its deadline."""


class Trial:
    """What the journal says of one trial, read onwards."""

    def __init__(self, entry: Entry, model: str, recipe: str, slow_ms: float) -> None:
        """``model``: SHA-256 of what judges. ``slow_ms``: a decision that took longer is counted as slow."""
        self.subject = (entry.digest, entry.after_record, model, recipe)
        self._entry, self._model, self._recipe, self._slow_ms = entry, model, recipe, slow_ms
        self._baseline: Baseline | None = None
        self._known: frozenset[str] = frozenset()
        """The classes of the engine before."""
        self._parts: dict[int, Judged] = {}
        self._settled_to = entry.after_record
        """Every record up to here has its verdict."""
        self._disagrees: dict[int, bool] = {}
        self._heard_to = 0

    def health(self, journal: JournalReader, before: str, baseline_parts: int, trial_parts: int) -> Health:
        """What it says so far; ``before``: the digest of what may shadow. Raises ``JournalError``."""
        if self._baseline is None:
            self._baseline = self._usual(journal, baseline_parts)
        is_settled = True
        for record in journal.records(Selection(after_record=self._settled_to), scores=False):
            is_settled &= record.outcome is not None
            if is_settled:
                self._settled_to = record.record_id
            if record.outcome is not None and self._is_of(record, self._model):
                part = judged(record, self._slow_ms)
                is_new = bool(self._known) and record.class_name not in self._known
                self._parts[record.record_id] = replace(part, excused=bool(part.rejected) and is_new)
        head = journal.head().seq
        said = shadowed(journal, before, self._heard_to)
        self._disagrees |= {number: not one.agrees for number, one in said.items()}
        self._heard_to = head
        parts = [
            replace(self._parts[number], disagrees=self._disagrees.get(number))
            for number in sorted(self._parts)
        ]
        return health_of(self._baseline, parts, trial_parts)

    def _usual(self, journal: JournalReader, parts: int) -> Baseline:
        """By the latest parts of the engine before, and what this one said of them when it shadowed."""
        found: list[PartRecord] = []
        latest = journal.records(Selection(newest_first=True, limit=LOOKED_AT * parts), scores=False)
        for record in latest:
            is_before = record.record_id <= self._entry.after_record and record.outcome is not None
            if is_before and self._is_of(record, self._entry.before):
                found.append(record)
            if len(found) == parts:
                break
        self._known = frozenset(name for one in found for name in (*(one.classes or "").split(","), UNKNOWN))
        said = shadowed(journal, self._entry.digest, 0)
        before = []
        for one in reversed(found):
            part = judged(one, self._slow_ms)
            beside = said.get(one.record_id)
            before.append(part if beside is None else replace(part, disagrees=not beside.agrees))
        # What it said beside another engine, or of another recipe's parts, says nothing of this trial.
        own = [
            said[number]
            for number in sorted(said)[-SHADOWED:]
            if (about := journal.record(number)) is not None and self._is_of(about, self._entry.before)
        ]
        return Baseline.of(before, own)

    def _is_of(self, record: PartRecord, model: str) -> bool:
        """Whether a part was judged by this model, for the recipe of the trial: others have other rates."""
        return record.engine_digest == model and record.recipe == self._recipe


def judged(record: PartRecord, slow_ms: float) -> Judged:
    """What a record says of the engine that judged it; faults of camera, cell and station are none of its."""
    code = code_of(record.reason or "") if record.outcome == "fault" else None
    return Judged(
        faulted=code is not None and code.code in ENGINES_FAULTS,
        slow=(record.decided_ms or 0.0) > slow_ms,
        rejected=None if record.outcome == "fault" else record.outcome == "reject",
    )


ENGINES_FAULTS = frozenset({"F301", "F302", "F303", "F304", "F305", "F401", "F402"})
"""The codes of faults that an engine is to blame for: no scores, no decision, or too late."""


def shadowed(journal: JournalReader, shadow: str, after_seq: int) -> dict[int, Beside]:
    """Record -> what an engine that shadows said of it.

    ``shadow``: its digest in the store, or ``factory``. Only events after ``after_seq``. Raises
    ``JournalError``.
    """
    return {
        event.record_id: Beside(
            agrees=bool(event.values["agrees"]),
            rejected=Outcome(event.values["outcome"]) is Outcome.REJECT,
            active_rejected=Outcome(event.values["verdict_outcome"]) is Outcome.REJECT,
        )
        for event in journal.station_events(("shadow",), after_seq=after_seq)
        if event.record_id and event.values.get("candidate") == shadow
    }
