"""What is sent next, and what counts as delivered: every rule, without a broker."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.mqtt import NOBODY
from station.telemetry.outbox import CONFIRMED_S, PROBE_S, Outbox

RESEND_S, REPLAY_S = 10.0, 5.0


def outbox(*, receipts: bool = False, window: int = 4, held: int = 0, **values: int) -> Outbox:
    who = {"historian": held} if receipts else {"broker": held}
    starts = {"sent": held, "replay_from": held + 1} | values
    return Outbox(who, receipts=receipts, replay_s=REPLAY_S, resend_s=RESEND_S, window=window, **starts)  # type: ignore[arg-type]


def send(box: Outbox, newest: int, now: float) -> list[tuple[int, bool]]:
    """Send what may go; the number is its own ``mid``, and whether it is marked as a repeat."""
    went = []
    while (batch := box.wants(now)) is not None:
        if batch.first > min(newest, batch.last or newest):
            if batch.last is None:
                break
            box.range_ends()
            continue
        went.append((batch.first, box.is_repeat(batch.first)))
        box.went(batch, batch.first, batch.first, now)
    return went


def test_a_confirmation_moves_the_broker_and_a_later_one_waits_for_the_earlier() -> None:
    box = outbox()
    assert send(box, 3, 0.0) == [(1, False), (2, False), (3, False)]
    box.confirmed(2, 0, 0.1)
    assert box.held == {"broker": 0}
    box.confirmed(1, 0, 0.2)
    assert box.held == {"broker": 2}


def test_nobody_subscribed_is_not_delivered_and_the_same_number_is_tried_again_alone() -> None:
    box = outbox()
    send(box, 9, 0.0)
    box.confirmed(1, 0, 0.1)
    box.confirmed(2, NOBODY, 0.1)
    box.confirmed(3, 0, 0.1)
    assert box.held == {"broker": 1}
    assert "nobody" in box.trouble
    assert send(box, 9, 0.2) == []
    assert send(box, 9, 0.1 + PROBE_S) == [(2, True)]
    box.confirmed(2, 0, 2.0)
    assert box.trouble == ""
    assert send(box, 9, 2.0) == [(3, True), (4, True), (5, False), (6, False)]


def test_a_refusal_is_not_delivered_either() -> None:
    box = outbox()
    send(box, 1, 0.0)
    box.confirmed(1, 0x87, 0.1)
    assert box.held == {"broker": 0}
    assert "0x87" in box.trouble


def test_after_a_loss_the_last_seconds_go_again_marked() -> None:
    box = outbox(window=100)
    for number in range(1, 21):
        send(box, number, float(number))
        box.confirmed(number, 0, float(number))
    box.connected(20.0)
    went = send(box, 22, 21.0)
    assert went[:1] == [(16, True)]
    assert [number for number, _ in went] == list(range(16, 23))
    assert [repeat for _, repeat in went] == [True] * 5 + [False] * 2


def test_what_was_not_confirmed_goes_again_however_long_the_outage() -> None:
    box = outbox(window=100)
    send(box, 50, 0.0)
    box.connected(1000.0)
    assert send(box, 50, 1000.0)[0] == (1, True)


def test_with_receipts_only_the_consumer_moves_its_cursor() -> None:
    box = outbox(receipts=True)
    send(box, 4, 0.0)
    for mid in range(1, 5):
        box.confirmed(mid, 0, 0.1)
    assert box.held == {"historian": 0}
    assert box.receipt("historian", 3, None, 4, 0.2) == ""
    assert box.held == {"historian": 3}
    box.receipt("historian", 2, None, 4, 0.3)
    assert box.held == {"historian": 3}


@pytest.mark.parametrize(
    ("consumer", "held", "said"), [("stranger", 1, "none of"), ("historian", 9, "newest")]
)
def test_a_receipt_that_cannot_be_is_refused(consumer: str, held: int, said: str) -> None:
    box = outbox(receipts=True)
    send(box, 4, 0.0)
    assert said in box.receipt(consumer, held, None, 4, 0.2)
    assert box.held == {"historian": 0}


def test_a_range_that_is_missed_goes_before_what_is_new() -> None:
    box = outbox(receipts=True, window=100)
    send(box, 10, 0.0)
    for mid in range(1, 11):
        box.confirmed(mid, 0, 0.1)
    box.receipt("historian", 3, (4, 6), 10, 1.0)
    assert send(box, 11, 1.0) == [(4, True), (5, True), (6, True), (11, False)]
    box.receipt("historian", 8, (9, None), 11, 1.1)
    assert [number for number, _ in send(box, 12, 1.1)] == [9, 10, 11, 12]


def test_what_waits_too_long_for_a_receipt_goes_again() -> None:
    box = outbox(receipts=True)
    send(box, 4, 0.0)
    for mid in range(1, 5):
        box.confirmed(mid, 0, 0.1)
    assert send(box, 4, RESEND_S / 2) == []
    assert send(box, 4, RESEND_S + 1) == [(number, True) for number in range(1, 5)]


def test_a_broker_that_confirms_nothing_is_given_up() -> None:
    box = outbox()
    send(box, 1, 0.0)
    assert not box.is_stuck(CONFIRMED_S)
    assert box.is_stuck(CONFIRMED_S + 0.1)


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.booleans())
def test_whatever_broker_and_network_do_a_consumer_with_receipts_gets_everything(
    seed: int, late: bool
) -> None:
    """The broker confirms and loses, or says that nobody listens; the connection is lost."""
    dice = random.Random(seed)
    box, now, newest = outbox(receipts=True, window=5), 0.0, 0
    got: set[int] = set()
    listening = not late
    flying: list[tuple[int, int]] = []
    for step in range(400):
        now += 1.0
        calm = step > 250
        newest += not calm
        listening = True if calm else listening ^ (dice.random() < 0.05)
        if not calm and dice.random() < 0.03:
            box.connected(now)
            flying = []
        while (batch := box.wants(now)) is not None:
            if batch.first > min(newest, batch.last or newest):
                if batch.last is None:
                    break
                box.range_ends()
                continue
            mid = dice.randrange(2**31)
            if batch.first <= max(got, default=0):
                assert box.is_repeat(batch.first)
            box.went(batch, batch.first, mid, now)
            flying.append((mid, batch.first))
        for mid, number in flying:
            if listening and (calm or dice.random() > 0.1):
                got.add(number)
            box.confirmed(mid, 0 if listening else NOBODY, now)
        flying = []
        held = next(number for number in range(newest + 2) if number + 1 not in got)
        if listening and dice.random() < 0.5:
            gap = (held + 1, None) if got and max(got) > held else None
            assert box.receipt("historian", held, gap, newest, now) == ""
    assert got == set(range(1, newest + 1))
    assert box.lowest_held <= newest
