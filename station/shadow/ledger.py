"""What a candidate said of parts, read from the journal: its verdicts, and what people said of them later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivers.sorters.interface import Outcome
from station.journal.reading import JournalReader
from station.shadow.changes import Change, Judged
from station.shadow.evidence import Evidence, Finding

if TYPE_CHECKING:
    from station.journal.reading import JournalEvent

SHADOW = "shadow"
"""The kind of event that holds a candidate's verdict on a record."""
KINDS = (SHADOW, "review")


class Ledger:
    """The parts that one candidate has judged. Heard twice, an event changes nothing."""

    def __init__(self, candidate: str, good: str) -> None:
        """``candidate``: its digest in the store. ``good``: the name of the good class."""
        self.candidate = candidate
        self._good = good
        self._parts: set[int] = set()
        self.changed: dict[int, Judged] = {}
        """The parts on which it differs, by their record."""
        self._said: dict[int, str] = {}
        self._seq = 0
        self.found: Finding = Finding.OPEN
        """The last finding that was written down."""

    def hear(self, journal: Path) -> bool:
        """Take what was written since the last time; whether there was anything. Raises ``JournalError``."""
        before = self._seq
        with JournalReader(journal) as reader:
            head = reader.head().seq
            for event in reader.station_events(KINDS, after_seq=self._seq):
                self.take(event)
        self._seq = max(self._seq, head)
        return self._seq > before

    def take(self, event: JournalEvent) -> None:
        """One event of the journal."""
        record = event.record_id
        if event.kind == "review":
            self._said[record] = str(event.values["class_name"])
        elif event.values["candidate"] != self.candidate:
            pass
        elif not record:
            self.found = Finding(event.values["finding"])
        elif record not in self._parts:
            self._parts.add(record)
            one = judged_of(record, event.values)
            if one.change is not Change.SAME:
                self.changed[record] = one
        if record in self.changed and record in self._said:
            said = self._said[record]
            self.changed[record] = replace(self.changed[record], said=said, said_good=said == self._good)
        self._seq = event.seq

    @property
    def parts(self) -> int:
        """How many parts it has judged."""
        return len(self._parts)

    @property
    def changes(self) -> Counter[Change]:
        """How many of its verdicts differ, and how."""
        return Counter(one.change for one in self.changed.values())

    @property
    def better(self) -> int:
        """On how many parts its verdict is the better one."""
        return sum(one.is_better for one in self.changed.values())

    @property
    def worse(self) -> int:
        """On how many parts its verdict is worse, or must be taken for it."""
        return sum(one.is_worse for one in self.changed.values())

    def in_words(self) -> str:
        """How many of its verdicts differ, and how, for people."""
        changes = ", ".join(f"{count} {change}" for change, count in sorted(self.changes.items()))
        return f"differs on {len(self.changed)} of {self.parts} parts" + (f" ({changes})" if changes else "")

    def evidence(self, limit: float, risk: float) -> Evidence:
        """What the parts so far prove; see :class:`Evidence`."""
        return Evidence(self.parts, self.worse, limit, risk)

    def finding_of(self, evidence: Evidence) -> dict[str, object]:
        """The values of the station's event ``shadow``, which says that a finding was come to."""
        return {
            "finding": str(evidence.finding),
            "parts": evidence.parts,
            "worse": evidence.worse,
            "better": self.better,
            "limit": evidence.limit,
            "risk": evidence.risk,
            "changes": {str(change): count for change, count in sorted(self.changes.items())},
        }


def judged_of(record_id: int, values: Mapping[str, Any]) -> Judged:
    """A part by the values of its event ``shadow``."""
    return Judged(
        record_id,
        Outcome(values["verdict_outcome"]),
        str(values["verdict"]),
        Outcome(values["outcome"]),
        str(values["class_name"]),
        bool(values["far"]),
    )
