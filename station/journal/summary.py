"""What a shift leader asks of a journal: how many parts, how good, what was wrong, when it began and ended.

- **yield**: accepted / (accepted + rejected + faulted). A part that could not be inspected is no good part.
- **ppm**: rejected per million inspected parts, rejected * 1,000,000 / (accepted + rejected). Faults are no
  defects and do not count.
- **Pareto**: the defect classes of the rejected parts, the most frequent first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from station.journal.events import ACCEPT, FAULT, REJECT
from station.journal.reading import JournalReader
from station.journal.selection import Selection

KEYS = {
    "hour": "strftime('%Y-%m-%d %H:00', parts.opened_at, 'localtime')",
    "day": "strftime('%Y-%m-%d', parts.opened_at, 'localtime')",
    "shift": "coalesce(shift, '')",
    "recipe": "recipe || ' ' || recipe_version",
    "lot": "coalesce(lot, '')",
}
"""What parts are grouped by -> the SQL that says it; hours and days are local."""


@dataclass(slots=True)
class Group:
    """The parts of one hour, day, shift, recipe or lot; None as a key stands for all of them."""

    key: str | None
    accepted: int = 0
    rejected: int = 0
    faulted: int = 0
    open: int = 0
    """In hand, or in doubt."""
    defects: Counter[str] = field(default_factory=Counter)
    """Rejected parts by class."""
    first_record: int = 0
    last_record: int = 0
    first_part: int = 0
    first_at: str = ""
    """UTC, ISO 8601."""
    last_part: int = 0
    last_at: str = ""

    @property
    def triggers(self) -> int:
        """All parts."""
        return self.accepted + self.rejected + self.faulted + self.open

    @property
    def yield_share(self) -> float | None:
        """Accepted of all that have a verdict, 0 to 1; None where none has."""
        decided = self.accepted + self.rejected + self.faulted
        return self.accepted / decided if decided else None

    @property
    def ppm(self) -> float | None:
        """Rejected per million inspected; None where none was inspected."""
        inspected = self.accepted + self.rejected
        return self.rejected * 1e6 / inspected if inspected else None

    @property
    def pareto(self) -> list[tuple[str, int]]:
        """Defect classes of the rejected parts, the most frequent first."""
        return sorted(self.defects.items(), key=lambda entry: (-entry[1], entry[0]))

    def add(self, outcome: str | None, class_name: str | None, count: int, low: int, high: int) -> None:
        """Count records between two record numbers."""
        if outcome == ACCEPT:
            self.accepted += count
        elif outcome == REJECT:
            self.rejected += count
            self.defects[class_name or ""] += count
        elif outcome == FAULT:
            self.faulted += count
        else:
            self.open += count
        self.first_record = min(self.first_record or low, low)
        self.last_record = max(self.last_record, high)


def summarise(reader: JournalReader, by: str, selection: Selection | None = None) -> list[Group]:
    """The groups in order of their first part, and all parts as the last one.

    ``selection``: a span of time; what else it names is not looked at. Raises :class:`JournalError`.
    """
    groups: dict[str | None, Group] = {}
    whole = Group(None)
    for key, outcome, class_name, count, low, high in reader.grouped(KEYS[by], selection or Selection()):
        for group in (groups.setdefault(key, Group(key)), whole):
            group.add(outcome, class_name, count, low, high)
    found = [*sorted(groups.values(), key=lambda group: group.first_record), whole]
    ends = reader.ends({one for group in found for one in (group.first_record, group.last_record)})
    for group in found:
        group.first_part, group.first_at = ends.get(group.first_record, (0, ""))
        group.last_part, group.last_at = ends.get(group.last_record, (0, ""))
    return found


def plain(groups: Iterable[Group]) -> list[dict[str, Any]]:
    """The groups as JSON and CSV have them."""
    return [
        {
            "group": group.key,
            "triggers": group.triggers,
            "accepted": group.accepted,
            "rejected": group.rejected,
            "faulted": group.faulted,
            "open": group.open,
            "yield": group.yield_share,
            "ppm": group.ppm,
            "pareto": dict(group.pareto),
            "first_part": group.first_part,
            "first_at": group.first_at,
            "last_part": group.last_part,
            "last_at": group.last_at,
        }
        for group in groups
    ]
