"""What the log does for a part that it does not keep: in calls, because milliseconds depend on the day."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from types import FrameType

    from station.part import InspectedPart
    from station.rare.log import RareLog
    from tests.station.rare.conftest import Bench

ALIKE = np.eye(4, dtype=np.float32)[:2]
PICTURE, DISK = "imencode", {"imencode", "connect", "open", "fsync", "replace", "unlink", "stat"}


def calls_for(log: RareLog, part: InspectedPart) -> Counter[str]:
    """How often each function is called, of Python and of C, while the log looks at the part."""
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, what: Any) -> None:
        if event == "call":
            calls[frame.f_code.co_name] += 1
        elif event == "c_call":
            calls[what.__name__] += 1

    sys.setprofile(count)
    try:
        log.observe(part)
    finally:
        sys.setprofile(None)
    return calls


def test_a_part_without_a_reason_costs_few_calls_and_none_to_the_disk_however_full_the_log_is(
    bench: Bench,
) -> None:
    log = bench.log()
    log.observe(bench.part())  # the first one looks for reviews
    before = calls_for(log, bench.part())
    for _ in range(30):
        log.observe(bench.part("pits", p=0.6))
    after = calls_for(log, bench.part())
    log.close()
    assert len(bench.kept()) == 30
    assert not DISK & set(after)
    assert after.total() <= 250
    assert after.total() <= before.total() + 10, "what is kept already does not make a part dearer"


def test_no_picture_is_made_of_a_part_that_is_like_one_in_the_log(bench: Bench) -> None:
    log = bench.log()
    first = calls_for(log, bench.part("pits", p=0.6, features=ALIKE))
    again = calls_for(log, bench.part("pits", p=0.6, features=ALIKE))
    log.close()
    assert (first[PICTURE], again[PICTURE]) == (1, 0)
    assert bench.store.entries()[0].times_seen == 2


def test_no_picture_is_made_of_a_part_for_which_a_full_log_has_no_room(bench: Bench) -> None:
    log = bench.log(quota_mb=0.05)
    for _ in range(10):
        log.observe(bench.part("pits", p=0.45))
    kept = set(bench.kept())
    calls = calls_for(log, bench.part("pits", p=0.69))
    log.close()
    assert "1 less informative than all kept" in log.note
    assert calls[PICTURE] == 0
    assert set(bench.kept()) == kept
