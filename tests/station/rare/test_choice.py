"""Which items of the rare-defect log stay, whatever comes in whatever order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from station.rare.choice import AUDIT_SHARE, Standing, make_room, nearest

SIZES, WORTHS = st.integers(1, 50), st.integers(1, 5)


@st.composite
def standing(draw: st.DrawFn, order: int = 0) -> Standing:
    kind = draw(st.sampled_from(["plain", "plain", "audit", "said"]))
    worth = {"audit": 0.0, "said": 5.0}.get(kind, draw(WORTHS))
    return Standing(f"{order}", draw(SIZES), float(worth), order, kind == "audit", kind == "said")


@st.composite
def logs(draw: st.DrawFn) -> list[Standing]:
    return [draw(standing(order=order)) for order in range(draw(st.integers(0, 12)))]


def size_of(items: list[Standing]) -> int:
    return sum(one.size for one in items)


@given(arrivals=logs(), quota=st.integers(1, 200))
def test_the_log_is_never_above_its_quota_and_what_a_person_named_is_never_dropped(
    arrivals: list[Standing], quota: int
) -> None:
    there: list[Standing] = []
    for new in arrivals:
        leaving = make_room(there, new, quota)
        if leaving is None:
            continue
        assert not any(one.stays for one in leaving)
        there = [one for one in there if one not in leaving] + [new]
        assert size_of(there) <= quota


@given(there=logs(), new=standing(order=99), quota=st.integers(1, 300))
def test_nothing_gives_way_to_a_less_informative_item(
    there: list[Standing], new: Standing, quota: int
) -> None:
    leaving = make_room(there, new, quota)
    if leaving is None or new.stays or new.audit:
        return
    assert all(one.audit or one.worth <= new.worth for one in leaving)
    plain = [one for one in there if not one.audit and not one.stays]
    dropped = [one for one in leaving if not one.audit]
    stayed = [one for one in plain if one not in dropped]
    assert all((one.worth, one.order) < (other.worth, other.order) for one in dropped for other in stayed)


@given(there=logs(), new=standing(order=99), quota=st.integers(1, 300))
def test_nothing_is_dropped_while_there_is_room_and_no_more_than_needed(
    there: list[Standing], new: Standing, quota: int
) -> None:
    leaving = make_room(there, new, quota)
    if leaving:
        assert size_of(there) + new.size - size_of(leaving[:-1]) > quota
    elif leaving is not None:
        assert size_of(there) + new.size <= quota


@given(there=logs(), new=standing(order=99), quota=st.integers(1, 300))
def test_audit_items_keep_their_share_against_everything_but_a_persons_word(
    there: list[Standing], new: Standing, quota: int
) -> None:
    leaving = make_room(there, new, quota)
    if leaving is None or new.stays:
        return
    audits = [one for one in there if one.audit]
    gone = [one for one in leaving if one.audit]
    assert gone == audits[: len(gone)], "the oldest first"
    if gone:
        before = size_of([one for one in audits if one not in gone[:-1]]) + (new.size if new.audit else 0)
        assert before > AUDIT_SHARE * quota


@given(there=logs(), quota=st.integers(0, 200))
def test_a_purge_reaches_its_size_unless_only_peoples_items_are_left(
    there: list[Standing], quota: int
) -> None:
    leaving = make_room(there, None, quota)
    assert leaving is not None
    left = [one for one in there if one not in leaving]
    assert size_of(left) <= quota or all(one.stays for one in left)


@given(
    st.integers(0, 2**32 - 1),
    st.floats(0.125, 100.0),
)
def test_the_distance_does_not_depend_on_the_length_and_a_copy_has_none(seed: int, gain: float) -> None:
    vectors = np.random.default_rng(seed).normal(size=(6, 8)).astype(np.float32)
    row, distance = nearest(vectors[3] * np.float32(gain), vectors)
    assert (row, round(distance, 5)) == (3, 0.0)
    assert 0 <= nearest(vectors[0], vectors[1:])[1] <= 2.0 + 1e-6
    assert nearest(vectors[0], vectors[:0]) == (-1, float("inf"))
    assert nearest(np.zeros(8, np.float32), vectors)[1] == 1.0
