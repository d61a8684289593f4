"""The gate opens for the good side for exactly the part that was judged good, whatever the belt does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.sorters.plain_io.tracking import Action, Belt, Passed, SetGate, Stray, Tracker, Trouble

PLAIN = Belt(gate_at=1000, gate_span=100)
WATCHED = Belt(gate_at=1000, gate_span=100, sensor_at=500, tolerance=40)


@dataclass
class Gate:
    """What the tracker did, and where the gate stood."""

    to_good: bool = False
    passed: dict[int, Passed] = field(default_factory=dict)
    strays: list[Stray] = field(default_factory=list)

    def do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, SetGate):
                assert action.to_good != self.to_good
                self.to_good = action.to_good
            elif isinstance(action, Passed):
                assert action.part_id not in self.passed, "a part passes once"
                self.passed[action.part_id] = action
            else:
                self.strays.append(action)

    def troubles(self) -> dict[int, Trouble | None]:
        return {part_id: one.trouble for part_id, one in self.passed.items()}


def test_the_gate_is_open_while_the_good_part_passes_and_only_then() -> None:
    tracker, gate = Tracker(PLAIN), Gate()
    gate.do(tracker.entered(1, 0))
    assert tracker.judged(1, accept=True)
    gate.do(tracker.advance(949))
    assert not gate.to_good
    gate.do(tracker.advance(950))
    assert gate.to_good
    gate.do(tracker.advance(1049))
    assert gate.to_good
    gate.do(tracker.advance(1050))
    assert not gate.to_good
    assert gate.passed == {1: Passed(1, accepted=True)}
    assert tracker.next_position() is None


@pytest.mark.parametrize("verdict", [False, None])
def test_a_reject_and_a_missing_verdict_leave_the_gate_closed(verdict: bool | None) -> None:
    tracker, gate = Tracker(PLAIN), Gate()
    gate.do(tracker.entered(1, 0))
    if verdict is not None:
        assert tracker.judged(1, verdict)
    for position in range(0, 1100, 10):
        gate.do(tracker.advance(position))
        assert not gate.to_good
    assert gate.troubles() == {1: None if verdict is False else Trouble.NO_VERDICT}


def test_a_late_verdict_opens_nothing_for_nobody() -> None:
    tracker, gate = Tracker(PLAIN), Gate()
    gate.do(tracker.entered(1, 0))
    gate.do(tracker.entered(2, 120))
    gate.do(tracker.advance(950))
    assert not tracker.judged(1, accept=True)
    for position in range(951, 1200):
        gate.do(tracker.advance(position))
        assert not gate.to_good
    assert gate.troubles() == {1: Trouble.NO_VERDICT, 2: Trouble.NO_VERDICT}


def test_the_first_verdict_of_a_part_stands() -> None:
    tracker = Tracker(PLAIN)
    tracker.entered(1, 0)
    assert tracker.judged(1, accept=False)
    assert not tracker.judged(1, accept=True)
    assert not tracker.judged(2, accept=True)
    assert tracker.advance(2000) == [
        Passed(
            1,
            accepted=False,
            trouble=Trouble.GATE_LATE,
            problem="gate late: the gate was set 1050 late: it was rejected",
        )
    ]


def test_two_parts_that_the_gate_cannot_part_are_both_rejected() -> None:
    tracker, gate = Tracker(PLAIN), Gate()
    for part_id, at in ((1, 0), (2, 99)):
        gate.do(tracker.entered(part_id, at))
        tracker.judged(part_id, accept=True)
    for position in range(99, 1300):
        gate.do(tracker.advance(position))
        assert not gate.to_good
    assert gate.troubles() == {1: Trouble.TOO_CLOSE, 2: Trouble.TOO_CLOSE}


def run(tracker: Tracker, gate: Gate, until: int, sensed: dict[int, int | None]) -> None:
    """Move the belt tick by tick; ``sensed``: position -> the id that the sensor reads, or None."""
    for position in range(200, until):
        if position in sensed:
            gate.do(tracker.sensed(position, sensed[position]))
        gate.do(tracker.advance(position))


def both_good(tracker: Tracker, gate: Gate) -> None:
    gate.do(tracker.entered(1, 0))
    gate.do(tracker.entered(2, 200))
    tracker.judged(1, accept=True)
    tracker.judged(2, accept=True)


def test_a_part_that_comes_to_the_sensor_in_time_is_accepted_where_it_really_is() -> None:
    tracker, gate = Tracker(WATCHED), Gate()
    both_good(tracker, gate)
    run(tracker, gate, 980, {540: None, 690: None})
    assert not gate.to_good, "the part has slipped back by 40"
    gate.do(tracker.advance(990))
    assert gate.to_good
    run_on = [tracker.advance(position) for position in range(991, 1400)]
    for actions in run_on:
        gate.do(actions)
    assert gate.troubles() == {1: None, 2: None}
    assert all(one.accepted for one in gate.passed.values())


@pytest.mark.parametrize(
    ("sensed", "troubles", "strays"),
    [
        ({500: None}, {1: None, 2: Trouble.MISSING}, []),
        ({700: None}, {1: Trouble.MISSING, 2: None}, []),
        ({500: None, 600: None, 700: None}, {1: None, 2: None}, [Trouble.EXTRA]),
        ({500: None, 599: None, 700: None}, {1: Trouble.TOO_CLOSE, 2: None}, [Trouble.EXTRA]),
        ({500: None, 560: None, 700: None}, {1: Trouble.TOO_CLOSE, 2: None}, [Trouble.EXTRA]),
        ({541: None, 700: None}, {1: Trouble.MISSING, 2: None}, [Trouble.EXTRA]),
        ({500: 2, 700: 1}, {1: Trouble.OVERTAKEN, 2: Trouble.OVERTAKEN}, []),
        ({500: 1, 700: 9}, {1: None, 2: Trouble.MISSING}, [Trouble.EXTRA]),
    ],
    ids=[
        "missing",
        "first missing",
        "extra",
        "extra near",
        "extra at its heels",
        "too late",
        "swapped",
        "foreign",
    ],
)
def test_missing_extra_and_overtaking_parts_are_faults(
    sensed: dict[int, int | None], troubles: dict[int, Trouble | None], strays: list[Trouble]
) -> None:
    tracker, gate = Tracker(WATCHED), Gate()
    both_good(tracker, gate)
    run(tracker, gate, 1400, sensed)
    assert gate.troubles() == troubles
    assert [one.trouble for one in gate.strays] == strays
    assert all(one.accepted == (one.trouble is None) for one in gate.passed.values())


def test_a_gate_that_is_set_late_says_that_a_bad_part_may_have_slipped_through() -> None:
    tracker, gate = Tracker(PLAIN), Gate()
    gate.do(tracker.entered(1, 0))
    gate.do(tracker.entered(2, 100))
    tracker.judged(1, accept=True)
    tracker.judged(2, accept=False)
    gate.do(tracker.advance(950))
    gate.do(tracker.advance(1100))
    assert not gate.to_good
    gate.do(tracker.advance(1200))
    assert gate.passed[2].trouble is Trouble.GATE_LATE
    assert "may have gone to the good side" in gate.passed[2].problem


@pytest.mark.parametrize("jump", ["back", "lost"])
def test_after_the_position_was_lost_only_new_parts_are_accepted(jump: str) -> None:
    tracker, gate = Tracker(PLAIN), Gate()
    gate.do(tracker.entered(1, 10_000))
    tracker.judged(1, accept=True)
    gate.do(tracker.advance(10_960))
    assert gate.to_good
    gate.do(tracker.advance(5) if jump == "back" else tracker.lost(10_960, "the encoder was silent"))
    assert not gate.to_good
    now = 5 if jump == "back" else 10_960
    for part_id, at in ((2, now + 50), (3, now + 200)):
        gate.do(tracker.entered(part_id, at))
        tracker.judged(part_id, accept=True)
    for position in range(now + 200, now + 2000):
        gate.do(tracker.advance(position))
    assert gate.troubles() == {1: Trouble.POSITION_LOST, 2: Trouble.POSITION_LOST, 3: None}


def test_more_parts_than_can_be_held_are_rejected_and_so_are_those_before_them() -> None:
    belt = Belt(gate_at=1000, gate_span=10, most=3)
    tracker, gate = Tracker(belt), Gate()
    for part_id in range(1, 6):
        gate.do(tracker.entered(part_id, part_id * 20))
        tracker.judged(part_id, accept=True)
    assert tracker.held == 3
    for position in range(100, 3000):
        gate.do(tracker.advance(position))
        assert not gate.to_good
    assert gate.troubles() == dict.fromkeys(range(1, 6), Trouble.TOO_MANY)


@pytest.mark.parametrize(
    "belt",
    [
        Belt(gate_at=100, gate_span=60),
        Belt(gate_at=0, gate_span=1),
        Belt(gate_at=1000, gate_span=100, sensor_at=800, tolerance=10),
        Belt(gate_at=1000, gate_span=10, sensor_at=100, tolerance=400),
    ],
    ids=str,
)
def test_distances_at_which_nothing_can_be_told_apart_are_refused(belt: Belt) -> None:
    assert belt.problem
    with pytest.raises(ValueError, match=r"must be|above 0"):
        Tracker(belt)


# ------------------------------------------------------------------ a simulated belt


@dataclass(frozen=True)
class Thing:
    """A part as it really moves: where it enters, how it slips before the sensor, whether it falls off."""

    gap: int
    slip: int
    falls_off: bool
    verdict: bool | None
    verdict_after: int


def things(belt: Belt, reach: int) -> st.SearchStrategy[list[Thing]]:
    return st.lists(
        st.builds(
            Thing,
            gap=st.integers(1, 400),
            slip=st.integers(-reach, reach),
            falls_off=st.booleans() if belt.sensor_at else st.just(False),
            verdict=st.sampled_from([True, True, False, None]),
            verdict_after=st.integers(0, 1200),
        ),
        min_size=1,
        max_size=6,
    )


def simulate(belt: Belt, made: list[Thing], strays: list[int], every: int) -> tuple[Gate, dict[int, bool]]:
    """Run the belt; ``every``: ticks between two looks. Part -> whether it really went to the good side.

    Which thing is where is known here alone: the tracker gets trigger, verdicts and sensor edges.
    """
    entries, at = [], 0
    for one in made:
        at += one.gap
        entries.append(at)
    end = at + belt.gate_at + 3 * belt.gate_span + 1000
    events: dict[int, list[tuple[str, int]]] = {}
    for part_id, (one, enters) in enumerate(zip(made, entries, strict=True), start=1):
        events.setdefault(enters, []).append(("enters", part_id))
        events.setdefault(enters + one.verdict_after, []).append(("judged", part_id))
        if not one.falls_off:
            events.setdefault(enters + belt.sensor_at + one.slip, []).append(("sensor", part_id))
            events.setdefault(enters + belt.gate_at + one.slip, []).append(("gate", part_id))
    for stray in strays:
        events.setdefault(stray + belt.sensor_at, []).append(("sensor", 0))
        events.setdefault(stray + belt.gate_at, []).append(("gate", -stray))
    tracker, gate, good_side = Tracker(belt), Gate(), {}
    for position in range(end):
        happening = events.get(position, ())
        for what, part_id in happening:
            if what == "enters":
                gate.do(tracker.entered(part_id, position))
            elif what == "judged" and (verdict := made[part_id - 1].verdict) is not None:
                tracker.judged(part_id, verdict)
            elif what == "sensor" and belt.sensor_at:
                gate.do(tracker.sensed(position))
        if position % every == 0:
            gate.do(tracker.advance(position))
        for what, part_id in happening:
            if what == "gate":
                good_side[part_id] = gate.to_good
    gate.do(tracker.advance(end))
    return gate, good_side


@settings(max_examples=120, deadline=None)
@given(things(PLAIN, reach=20), st.integers(1, 20))
def test_without_a_sensor_nothing_but_good_parts_reaches_the_good_side(made: list[Thing], every: int) -> None:
    """Slips of less than a quarter of the span: what the gate's setting promises without a sensor."""
    gate, good_side = simulate(PLAIN, made, [], every)
    assert gate.passed.keys() == set(range(1, len(made) + 1)), "every part passes once"
    for part_id, went in good_side.items():
        assert not went or made[part_id - 1].verdict is True
        if gate.passed[part_id].accepted:
            assert went


@settings(max_examples=200, deadline=None)
@given(things(WATCHED, reach=40), st.lists(st.integers(0, 2000), max_size=2), st.integers(1, 20))
def test_with_a_sensor_neither_lost_nor_strange_parts_reach_the_good_side(
    made: list[Thing], strays: list[int], every: int
) -> None:
    """A stray that lies exactly where a part was taken away cannot be seen: no such exchange here."""
    at, places = 0, []
    for one in made:
        at += one.gap
        places.append((at, one))
    strays = [s for s in strays if all(abs(s - p) > 40 for p, one in places if one.falls_off)]
    gate, good_side = simulate(WATCHED, made, strays, every)
    assert gate.passed.keys() == set(range(1, len(made) + 1))
    for thing, went in good_side.items():
        if went:
            assert thing > 0, "a stray went to the good side"
            assert made[thing - 1].verdict is True
    for part_id, one in enumerate(made, start=1):
        if gate.passed[part_id].accepted:
            assert good_side[part_id], "said to be accepted, and it was not"
        if one.falls_off:
            assert not gate.passed[part_id].accepted


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(200, 400), st.integers(-40, 40), st.booleans()), min_size=1, max_size=6)
)
def test_parts_at_their_distance_go_where_their_verdict_says(parts: list[tuple[int, int, bool]]) -> None:
    made = [Thing(gap, slip, False, verdict, 300) for gap, slip, verdict in parts]
    gate, good_side = simulate(WATCHED, made, [], 1)
    assert good_side == {n: one.verdict for n, one in enumerate(made, start=1)}
    assert all(one.trouble is None for one in gate.passed.values())
