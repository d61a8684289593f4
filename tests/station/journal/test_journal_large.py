"""How the journal behaves when it is large: size per part, lists, start, audit, memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from station.bench.journal import JournalFigures, measure


def hold_to_targets(found: JournalFigures) -> None:
    assert found.bytes_per_part <= 1500
    assert found.bulk_bytes_per_part <= 1500
    assert found.start_s <= 1.0
    assert max(found.list_ms, found.filtered_ms, found.show_ms) <= 200
    assert found.audit_mb <= 150


def test_a_part_takes_at_most_one_and_a_half_kilobytes(tmp_path: Path) -> None:
    found = measure(tmp_path / "journal.db", 600)
    hold_to_targets(found)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_million_parts_are_listed_shown_and_audited_in_time(tmp_path: Path) -> None:
    found = measure(tmp_path / "journal.db", 1_000_000)
    print(found)
    hold_to_targets(found)
    assert 1_000_000 / found.audit_cpu_s * 2 >= 30_000, "parts per second on two cores that do nothing else"
