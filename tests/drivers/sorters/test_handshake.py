"""The rules of a part on no wire at all: a reply is its own message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers.sorters.handshake import (
    Accepted,
    Acquired,
    Activity,
    Announcement,
    Conflict,
    Decided,
    Handshake,
    HandshakeSettings,
    Refusal,
    Refused,
    Reply,
)
from drivers.sorters.interface import JobChange, Outcome, Receipt, Result, Trigger
from drivers.sorters.job_change import JobReply, JobStatus

MS = 1_000_000
REJECT = Result(5, Outcome.REJECT, 3, 1, "scratch")


def ready(**settings: int) -> Handshake[Reply]:
    made: Handshake[Reply] = Handshake(HandshakeSettings(**settings), lambda reply: reply)
    made.set_ready(True, "")
    return made


def test_a_part_runs_from_trigger_to_receipt() -> None:
    rules = ready()
    assert rules.triggered(1, 5, "", 0) == [Trigger(5, "", 0)]
    assert rules.acknowledge(5) == [Accepted(1, 5)]
    assert rules.acquisition_done(5) == [Acquired(1, 5)]
    assert rules.send(REJECT, 0) == [Decided(1, REJECT)]
    assert rules.sorted_into(1, 5, 3, 7) == [Receipt(5, True, 3, 7)]


def test_what_is_said_again_is_the_very_message_that_was_said_before() -> None:
    rules = ready()
    rules.triggered(1, 5, "", 0)
    (said,) = rules.acknowledge(5)
    assert rules.triggered(1, 5, "", 0)[0] is said
    (sent,) = rules.send(REJECT, 0)
    assert rules.tick(51 * MS)[0] is sent
    assert rules.triggered(1, 5, "", 0)[0] is sent


def test_a_refusal_names_its_reason_and_is_no_trigger() -> None:
    rules = ready()
    rules.prepare("housing")
    assert rules.triggered(1, 5, "commutator", 0) == [
        Refused(1, 5, Refusal.UNKNOWN_RECIPE, "prepared is housing")
    ]
    assert isinstance(rules.triggered(1, 6, "commutator", 0)[0], Conflict)
    rules.set_ready(False, "no camera")
    assert rules.triggered(2, 5, "", 0) == [Refused(2, 5, Refusal.NOT_READY, "no camera")]


def test_readiness_and_recipe_are_announced_when_they_change_and_not_again() -> None:
    rules: Handshake[Reply] = Handshake(HandshakeSettings(), lambda reply: reply)
    assert rules.announcement() == Announcement(False, Activity.PREOPERATIONAL, "the station is starting")
    assert rules.set_ready(True, "") == [Announcement(True, Activity.READY, "")]
    assert rules.prepare("housing") == [Announcement(True, Activity.READY, "housing")]
    assert rules.prepare("housing") == rules.set_ready(True, "") == []
    assert rules.set_ready(False, "no camera") == [Announcement(False, Activity.HALTED, "no camera")]


@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from(Outcome)), max_size=40), st.data())
def test_every_result_that_is_sent_ends_in_exactly_one_receipt(
    parts: list[tuple[int, Outcome]], data: st.DataObject
) -> None:
    rules, receipts, sent = ready(max_in_hand=2, memory=8), 0, 0
    for number, (part_id, outcome) in enumerate(parts, start=1):
        rules.triggered(number, part_id, "", number)
        actions = rules.send(Result(part_id, outcome, 3, 1, ""), number)
        sent += 1
        if data.draw(st.booleans()):
            actions += rules.sorted_into(number, part_id, data.draw(st.sampled_from((3, 9, None))), number)
        if data.draw(st.integers(0, 9)) == 0:
            actions += rules.cell_restarted(number, number)
        receipts += sum(isinstance(action, Receipt) for action in actions)
    last = [*rules.tick(10_000 * MS), *rules.close(10_000 * MS)]
    assert receipts + sum(isinstance(action, Receipt) for action in last) == sent


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"ack_timeout_ms": 60}, "too short to send again after 50"),
        ({"memory": 15}, "8 parts may be in hand"),
        ({"heartbeat_ms": 501}, "less than two heartbeats"),
    ],
)
def test_times_and_limits_that_contradict_each_other_are_refused(wrong: dict[str, int], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        HandshakeSettings(**wrong)


# ---------------------------------------------------------------------- another job


def changing(rules: Handshake[Reply], number: int = 2, recipe: str = "shaft") -> list[object]:
    return list(rules.job_asked(number, recipe))


def test_parts_in_hand_finish_before_the_recipe_is_changed() -> None:
    rules = ready()
    rules.prepare("housing")
    rules.triggered(1, 5, "", 0)
    answer, beat = changing(rules)
    assert answer == JobReply(2, JobStatus.UNDER_WAY, "shaft")
    assert beat == Announcement(False, Activity.EXECUTING, "changing over to shaft")
    assert rules.tick(0) == []
    rules.send(REJECT, 0)
    rules.sorted_into(1, 5, 3, 0)
    assert rules.next_due_ns() == 0
    assert rules.tick(0) == [JobChange(2, "shaft")]
    assert rules.tick(0) == [], "it is handed over once"
    assert rules.announcement().activity is Activity.INITIALIZED
    rules.prepare("shaft")
    assert not rules.announcement().ready, "until the cell has its answer"
    assert rules.job_done(JobChange(2, "shaft"), "") == [
        JobReply(2, JobStatus.PREPARED, "shaft"),
        Announcement(True, Activity.READY, "shaft"),
    ]


def test_no_part_is_taken_while_the_recipe_is_changed_nor_after_a_change_that_failed() -> None:
    rules = ready()
    rules.prepare("housing")
    changing(rules)
    (refused,) = rules.triggered(3, 5, "", 0)
    assert isinstance(refused, Refused)
    assert (refused.refusal, refused.reason) == (Refusal.BUSY, "changing over to shaft")
    rules.tick(0)
    answer, beat = rules.job_done(JobChange(2, "shaft"), "shaft has no engine")
    assert answer == JobReply(2, JobStatus.REFUSED, "shaft has no engine")
    assert beat == Announcement(False, Activity.INITIALIZED, "shaft has no engine")
    (refused,) = rules.triggered(4, 5, "housing", 0)
    assert isinstance(refused, Refused)
    assert refused.refusal is Refusal.NOT_READY
    rules.prepare("housing")
    assert isinstance(rules.triggered(5, 5, "housing", 0)[0], Trigger)


def test_a_trigger_of_before_the_job_change_that_comes_late_is_not_judged_by_the_next_recipe() -> None:
    rules = ready()
    rules.prepare("housing")
    changing(rules, 4)
    rules.tick(0)
    rules.prepare("shaft")
    rules.job_done(JobChange(4, "shaft"), "")
    (refused,) = rules.triggered(3, 5, "", 0)
    assert isinstance(refused, Refused)
    assert refused.refusal is Refusal.UNKNOWN_RECIPE
    assert isinstance(rules.triggered(5, 5, "", 0)[0], Trigger)


def test_a_request_that_comes_again_is_answered_with_what_was_said_last() -> None:
    rules = ready()
    answer, _ = changing(rules)
    assert changing(rules) == [answer]
    assert rules.tick(0) == [JobChange(2, "shaft")]
    done, _ = rules.job_done(JobChange(2, "shaft"), "")
    assert changing(rules) == [done]
    assert rules.tick(0) == []
    assert changing(rules, 1) == [], "an older one"
    assert isinstance(changing(rules, 2, "gear")[0], Conflict)
    assert rules.job_done(JobChange(2, "shaft"), "") == []


def test_a_second_change_is_refused_while_one_is_under_way_and_stays_refused() -> None:
    rules = ready()
    changing(rules)
    (refused,) = changing(rules, 3, "gear")
    assert isinstance(refused, JobReply)
    assert refused.status is JobStatus.REFUSED
    rules.tick(0)
    rules.job_done(JobChange(2, "shaft"), "")
    assert changing(rules, 3, "gear") == [refused]
    assert changing(rules, 4, "gear")[0] == JobReply(4, JobStatus.UNDER_WAY, "gear")


def test_the_recipe_that_is_prepared_already_needs_no_change() -> None:
    rules = ready()
    rules.prepare("shaft")
    assert changing(rules) == [JobReply(2, JobStatus.PREPARED, "shaft")]
    assert changing(rules, 3, "")[0] == JobReply(3, JobStatus.REFUSED, "it names no recipe")
    assert rules.announcement().ready


def test_a_cell_that_restarts_gets_no_answer_to_what_its_earlier_session_asked() -> None:
    rules = ready()
    rules.triggered(1, 5, "", 0)
    changing(rules)
    rules.cell_restarted(0, 0)
    assert not rules.announcement().ready
    assert rules.tick(0) == [], "a part of before is still being inspected"
    rules.send(REJECT, 0)
    assert rules.tick(0) == [JobChange(2, "shaft")]
    (refused,) = changing(rules, 2, "shaft")
    assert isinstance(refused, JobReply)
    assert refused.status is JobStatus.REFUSED
    (beat,) = rules.job_done(JobChange(2, "shaft"), "")
    assert beat == Announcement(True, Activity.READY, "")
