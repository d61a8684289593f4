"""The station's machine, one rule a test; the cell is played by hand."""

from __future__ import annotations

import pytest

from drivers.sorters.handshake import HandshakeSettings
from drivers.sorters.interface import JobChange, Outcome, Receipt, Result, SorterError, Trigger
from drivers.sorters.messages import JobBody
from drivers.sorters.serial import frames as wire
from drivers.sorters.session import Action, StationSession

MS = 1_000_000
STATION, CELL = 500, 7


class Hand:
    """Plays the cell against a machine; time stands still unless moved."""

    def __init__(
        self, settings: HandshakeSettings | None = None, *, ready: bool = True, version: int = 1
    ) -> None:
        self.version = version
        self.machine = StationSession(settings or HandshakeSettings(), STATION)
        self.now = 10_000 * MS
        self.cell = CELL
        self.number = 0
        self.machine.line_up(self.now)
        self.heartbeat()
        self.machine.set_ready(ready, "" if ready else "no camera", self.now)

    def send(self, body: wire.Body, number: int | None = None, receiver: int = STATION) -> list[Action]:
        if number is None:
            self.number += 1
            number = self.number
        message = wire.Message(self.cell, receiver, number, body, self.version)
        return self.machine.received(message, self.now)

    def heartbeat(self) -> list[Action]:
        return self.send(wire.Heartbeat(True, wire.EndState.READY))

    def trigger(self, part_id: int, recipe: str = "") -> tuple[int, list[Action]]:
        actions = self.send(wire.TriggerBody(part_id, recipe))
        return self.number, actions

    def tell(self, part_id: int, outcome: Outcome = Outcome.REJECT, bin_: int = 3) -> list[Action]:
        return self.machine.send(Result(part_id, outcome, bin_, 1, "scratch"), self.now)

    def wait(self, ms: float) -> list[Action]:
        self.now += int(ms * MS)
        return self.machine.tick(self.now)


def bodies(actions: list[Action], kind: type[wire.Body]) -> list[wire.Body]:
    return [a.body for a in actions if isinstance(a, wire.Message) and isinstance(a.body, kind)]


def receipts(actions: list[Action]) -> list[Receipt]:
    return [a for a in actions if isinstance(a, Receipt)]


def test_a_part_runs_from_trigger_to_receipt() -> None:
    hand = Hand()
    number, actions = hand.trigger(5, "housing")
    assert actions == [Trigger(5, "housing", hand.now)]
    assert bodies(hand.machine.acknowledge(5), wire.TriggerAck) == [wire.TriggerAck(number, 5)]
    told = bodies(hand.tell(5), wire.ResultBody)
    assert told == [wire.ResultBody(number, 5, wire.WireOutcome.REJECT, 3, 1, "scratch")]
    actions = hand.send(wire.ResultAck(number, 5, wire.Sorted.IN_BIN, 3))
    assert actions == [Receipt(5, True, 3, hand.now)]


def test_a_repeated_trigger_is_acknowledged_again_and_not_delivered_again() -> None:
    hand = Hand()
    number, _ = hand.trigger(5)
    assert hand.send(wire.TriggerBody(5), number) == []
    hand.machine.acknowledge(5)
    assert bodies(hand.send(wire.TriggerBody(5), number), wire.TriggerAck) == [wire.TriggerAck(number, 5)]
    assert hand.machine.handshake.counts.duplicates == 2


def test_a_repeated_trigger_gets_the_result_when_it_is_known() -> None:
    hand = Hand()
    number, _ = hand.trigger(5)
    hand.tell(5)
    assert len(bodies(hand.send(wire.TriggerBody(5), number), wire.ResultBody)) == 1


def test_a_part_that_cannot_be_exposed_gets_its_result_and_no_permission_to_pulse_the_wire() -> None:
    hand = Hand()
    number, _ = hand.trigger(5)
    assert len(bodies(hand.tell(5, Outcome.FAULT), wire.ResultBody)) == 1
    assert hand.machine.acknowledge(5) == []
    again = hand.send(wire.TriggerBody(5), number)
    assert bodies(again, wire.TriggerAck) == []
    assert len(bodies(again, wire.ResultBody)) == 1
    assert receipts(hand.send(wire.ResultAck(number, 5, wire.Sorted.IN_BIN, 3)))[0].acknowledged


def test_an_old_result_is_never_said_about_a_new_part_of_the_same_id() -> None:
    hand = Hand()
    first, _ = hand.trigger(5)
    hand.tell(5, Outcome.ACCEPT, 0)
    hand.send(wire.ResultAck(first, 5, wire.Sorted.IN_BIN, 0))
    assert hand.send(wire.TriggerBody(5), first) == []
    second, actions = hand.trigger(5)
    assert actions == [Trigger(5, "", hand.now)]
    assert bodies(hand.tell(5), wire.ResultBody)[0] == wire.ResultBody(
        second, 5, wire.WireOutcome.REJECT, 3, 1, "scratch"
    )


def test_a_result_is_resent_with_the_same_number_until_its_time_is_over() -> None:
    hand = Hand(HandshakeSettings(resend_ms=50, ack_timeout_ms=200))
    hand.trigger(5)
    first = next(a for a in hand.tell(5) if isinstance(a, wire.Message))
    assert first in hand.wait(51)
    assert first in hand.wait(51)
    assert hand.machine.handshake.counts.resent == 2
    (receipt,) = receipts(hand.wait(100))
    assert not receipt.acknowledged
    assert "RESULT-ACK" in receipt.problem
    assert receipts(hand.wait(10_000)) == []


def test_an_acknowledgement_of_another_bin_gives_a_bad_receipt_and_counts() -> None:
    hand = Hand()
    number, _ = hand.trigger(5)
    hand.tell(5)
    (receipt,) = receipts(hand.send(wire.ResultAck(number, 5, wire.Sorted.IN_BIN, 9)))
    assert (receipt.acknowledged, receipt.bin) == (False, 9)
    assert hand.machine.handshake.counts.misplaced == 1


def test_an_acknowledgement_of_an_unknown_part_is_counted_and_closes_nothing() -> None:
    hand = Hand()
    number, _ = hand.trigger(5)
    hand.tell(5)
    assert receipts(hand.send(wire.ResultAck(number, 6, wire.Sorted.IN_BIN, 3))) == []
    assert receipts(hand.send(wire.ResultAck(99, 5, wire.Sorted.IN_BIN, 3))) == []
    assert hand.machine.handshake.counts.unexpected == 2
    assert len(receipts(hand.send(wire.ResultAck(number, 5, wire.Sorted.IN_BIN, 3)))) == 1


def test_a_cell_that_does_not_know_the_part_gives_a_bad_receipt() -> None:
    hand = Hand()
    number, _ = hand.trigger(5)
    hand.tell(5)
    (receipt,) = receipts(hand.send(wire.ResultAck(number, 5, wire.Sorted.UNKNOWN_PART, 0)))
    assert not receipt.acknowledged


def test_an_acknowledgement_before_the_result_is_not_believed() -> None:
    hand = Hand()
    number, _ = hand.trigger(5)
    assert hand.send(wire.ResultAck(number, 5, wire.Sorted.IN_BIN, 3)) == []
    assert len(bodies(hand.tell(5), wire.ResultBody)) == 1


@pytest.mark.parametrize(
    ("settings", "ready", "recipe", "refusal"),
    [
        (HandshakeSettings(), False, "", wire.RefusalCode.NOT_READY),
        (HandshakeSettings(), True, "commutator", wire.RefusalCode.UNKNOWN_RECIPE),
        (HandshakeSettings(max_in_hand=1), True, "", wire.RefusalCode.BUSY),
    ],
)
def test_triggers_are_refused_on_the_wire_with_the_reason(
    settings: HandshakeSettings, ready: bool, recipe: str, refusal: wire.RefusalCode
) -> None:
    hand = Hand(settings, ready=ready)
    hand.machine.prepare("housing", hand.now)
    if refusal is wire.RefusalCode.BUSY:
        hand.trigger(4)
    number, actions = hand.trigger(5, recipe)
    (said,) = bodies(actions, wire.TriggerRefused)
    assert isinstance(said, wire.TriggerRefused)
    assert (said.trigger, said.part_id, said.refusal) == (number, 5, refusal)
    assert said.reason
    assert not [a for a in actions if isinstance(a, Trigger)]
    hand.machine.set_ready(True, "", hand.now)
    again = hand.send(wire.TriggerBody(5, recipe), number)
    assert bodies(again, wire.TriggerRefused) == [said], "a refusal stands, also when the reason has gone"


def test_the_cell_hears_at_once_which_recipe_is_prepared() -> None:
    hand = Hand()
    for recipe in ("housing", "commutator"):
        (beat,) = bodies(hand.machine.prepare(recipe, hand.now), wire.Heartbeat)
        assert beat == wire.Heartbeat(True, wire.EndState.READY, recipe)
    assert hand.machine.prepare("commutator", hand.now) == []
    _, actions = hand.trigger(5, "commutator")
    assert actions == [Trigger(5, "commutator", hand.now)]


def test_the_same_part_under_a_new_number_is_refused_while_it_is_in_hand() -> None:
    hand = Hand()
    hand.trigger(5)
    _, actions = hand.trigger(5)
    (said,) = bodies(actions, wire.TriggerRefused)
    assert isinstance(said, wire.TriggerRefused)
    assert said.refusal is wire.RefusalCode.PART_IN_HAND


def test_a_number_that_comes_again_with_another_part_is_a_fault_and_no_trigger() -> None:
    hand = Hand()
    number, _ = hand.trigger(5)
    actions = hand.send(wire.TriggerBody(6), number)
    assert [type(a) for a in actions] == [wire.Message]
    assert len(bodies(actions, wire.Fault)) == 1


def test_the_cell_is_told_at_once_when_the_station_is_not_ready_any_more() -> None:
    hand = Hand()
    (beat,) = bodies(hand.machine.set_ready(False, "camera lost", hand.now), wire.Heartbeat)
    assert beat == wire.Heartbeat(False, wire.EndState.HALTED, "camera lost")


def test_the_cell_is_told_when_no_more_parts_fit_and_when_they_do_again() -> None:
    hand = Hand(HandshakeSettings(max_in_hand=1))
    number, actions = hand.trigger(5)
    assert bodies(actions, wire.Heartbeat) == [wire.Heartbeat(False, wire.EndState.EXECUTING, "busy")]
    hand.tell(5)
    actions = hand.send(wire.ResultAck(number, 5, wire.Sorted.IN_BIN, 3))
    assert bodies(actions, wire.Heartbeat) == [wire.Heartbeat(True, wire.EndState.READY)]


def test_a_silent_cell_is_gone_and_a_heartbeat_brings_it_back() -> None:
    hand = Hand()
    assert hand.machine.link.up
    assert bodies(hand.wait(1001), wire.Hello)
    assert not hand.machine.link.up
    hand.heartbeat()
    assert hand.machine.link.up


def test_a_restarted_cell_ends_what_was_told_and_blocks_the_ids_still_in_hand() -> None:
    hand = Hand()
    told, _ = hand.trigger(5)
    hand.trigger(6)
    hand.tell(5)
    hand.cell, hand.number = CELL + 1, 0
    (receipt,) = receipts(hand.heartbeat())
    assert (receipt.part_id, receipt.acknowledged) == (5, False)
    _, actions = hand.trigger(6)
    assert bodies(actions, wire.TriggerRefused), "the verdict on the old part 6 must not meet the new one"
    assert not bodies(hand.tell(6, Outcome.ACCEPT, 0), wire.ResultBody)
    _, actions = hand.trigger(6)
    assert actions == [Trigger(6, "", hand.now)]
    assert hand.send(wire.ResultAck(told, 5, wire.Sorted.IN_BIN, 3)) == []


def test_an_overtaken_session_does_not_come_back_while_its_successor_lives() -> None:
    hand = Hand()
    hand.cell = CELL + 1
    hand.heartbeat()
    hand.cell = CELL
    hand.heartbeat()
    assert hand.machine.link.peer == CELL + 1


def test_messages_to_a_former_session_of_the_station_are_ignored() -> None:
    hand = Hand()
    assert hand.send(wire.TriggerBody(5), receiver=STATION - 1) == []
    answers = hand.send(wire.Hello(wire.Role.CELL, "cell"), receiver=STATION - 1)
    assert bodies(answers, wire.Hello)


def test_an_overtaken_heartbeat_is_no_sign_of_life() -> None:
    hand = Hand()
    hand.wait(900)
    hand.send(wire.Heartbeat(True, wire.EndState.READY), number=1)
    hand.wait(101)
    assert not hand.machine.link.up


def test_a_cell_that_counts_from_one_again_in_the_same_session_is_named() -> None:
    hand = Hand()
    hand.trigger(5)
    hand.wait(2000)
    hand.number = 0
    hand.send(wire.Hello(wire.Role.CELL, "lazy"))
    assert "new session" in hand.machine.link.problem


@pytest.mark.parametrize("part_id", [5, 6])
def test_every_tell_gets_one_receipt_also_the_senseless_ones(part_id: int) -> None:
    hand = Hand()
    hand.trigger(5)
    hand.tell(5)
    (receipt,) = receipts(hand.tell(part_id, Outcome.ACCEPT, 0))
    assert not receipt.acknowledged


def test_a_bin_that_does_not_fit_the_wire_is_refused_before_anything_is_sent() -> None:
    hand = Hand()
    hand.trigger(5)
    with pytest.raises(SorterError, match="recipe"):
        hand.tell(5, Outcome.REJECT, 256)
    assert bodies(hand.tell(5), wire.ResultBody)


def test_closing_says_not_ready_and_gives_the_open_results_their_receipts() -> None:
    hand = Hand()
    hand.trigger(5)
    hand.trigger(6)
    hand.tell(5)
    actions = hand.machine.close(hand.now)
    assert not bodies(actions, wire.Heartbeat)[0].ready  # type: ignore[union-attr]
    assert [r.part_id for r in receipts(actions)] == [5]
    assert [r.part_id for r in receipts(hand.tell(6))] == [6]


def test_memory_is_bounded_and_older_triggers_are_not_taken_for_new_ones() -> None:
    hand = Hand(HandshakeSettings(memory=16))
    for part_id in range(1, 101):
        number, _ = hand.trigger(part_id)
        hand.tell(part_id)
        hand.send(wire.ResultAck(number, part_id, wire.Sorted.IN_BIN, 3))
    assert hand.send(wire.TriggerBody(1), 2) == []
    assert hand.machine.handshake.counts.unexpected == 1


def test_another_protocol_version_is_answered_with_a_fault_that_says_so() -> None:
    hand = Hand()
    (fault,) = bodies(hand.machine.other_version(2), wire.Fault)
    assert isinstance(fault, wire.Fault)
    assert fault.code is wire.FaultCode.PROTOCOL_VERSION
    assert "version 2" in hand.machine.handshake.problem


def test_hello_is_said_in_every_version_the_newest_first() -> None:
    machine = StationSession(HandshakeSettings(), STATION)
    hellos = [message for message in machine.line_up(0) if isinstance(message, wire.Message)]
    assert [(message.version, type(message.body)) for message in hellos] == [
        (version, wire.Hello) for version in (3, 2, 1)
    ]


def test_a_part_may_leave_the_camera_when_its_frame_is_here_and_a_repetition_says_so_again() -> None:
    hand = Hand(version=2)
    number, _ = hand.trigger(5)
    assert hand.machine.acquisition_done(5) == [], "it is not acknowledged"
    hand.machine.acknowledge(5)
    done = wire.Message(STATION, CELL, 1, wire.AcquisitionDone(number, 5), 2)
    (said,) = hand.machine.acquisition_done(5)
    assert isinstance(said, wire.Message)
    assert (said.body, said.version) == (done.body, 2)
    assert hand.machine.acquisition_done(5) == []
    assert hand.send(wire.TriggerBody(5), number) == [said]
    hand.tell(5)
    assert hand.machine.acquisition_done(5) == []


def test_a_cell_of_version_1_never_sees_a_frame_of_version_2_once_it_is_known() -> None:
    hand = Hand(version=1)
    number, _ = hand.trigger(5)
    actions = [*hand.machine.acknowledge(5), *hand.machine.acquisition_done(5), *hand.tell(5)]
    assert [message.version for message in actions if isinstance(message, wire.Message)] == [1, 1]
    assert bodies(hand.send(wire.TriggerBody(5), number), wire.AcquisitionDone) == []


def test_the_version_is_that_of_the_session_and_begins_anew_with_the_next_one() -> None:
    hand = Hand(version=2)
    assert hand.machine.link.version == 2
    hand.cell, hand.number, hand.version = CELL + 1, 0, 1
    hand.heartbeat()
    assert hand.machine.link.version == 1


def test_what_a_cell_says_about_the_version_is_a_problem_that_is_shown() -> None:
    machine = StationSession(HandshakeSettings(), STATION)
    machine.line_up(0)
    says = wire.Fault(wire.FaultCode.PROTOCOL_VERSION, "this cell speaks version 7")
    machine.received(wire.Message(CELL, 0, 1, says), 0)
    assert "this cell speaks version 7" in machine.link.problem


# ---------------------------------------------------------------------- what the document settles


def test_a_hello_that_names_the_station_is_answered_with_a_heartbeat_also_while_the_link_is_up() -> None:
    hand = Hand()
    for _ in range(2):
        actions = hand.send(wire.Hello(wire.Role.CELL, "cell"))
        assert bodies(actions, wire.Heartbeat)
        assert not bodies(actions, wire.Hello)


def test_a_hello_that_does_not_name_the_station_is_answered_with_a_hello_to_its_sender() -> None:
    hand = Hand()
    actions = hand.send(wire.Hello(wire.Role.CELL, "cell"), receiver=0)
    assert bodies(actions, wire.Hello)
    assert not bodies(actions, wire.Heartbeat)


@pytest.mark.parametrize("same", [True, False])
def test_a_repeated_result_ack_may_bear_its_first_number_or_a_new_one(same: bool) -> None:
    hand = Hand()
    number, _ = hand.trigger(5)
    hand.tell(5)
    ack = wire.ResultAck(number, 5, wire.Sorted.IN_BIN, 3)
    assert receipts(hand.send(ack))[0].acknowledged
    assert hand.send(ack, hand.number if same else None) == []
    assert hand.machine.handshake.counts.duplicates == 1
    assert hand.machine.handshake.counts.unexpected == 0


def test_without_a_recipe_a_cell_of_version_3_reads_initialized_and_an_older_one_preoperational() -> None:
    for version, state in ((2, wire.EndState.PREOPERATIONAL), (3, wire.EndState.INITIALIZED)):
        hand = Hand(version=3)
        hand.send(JobBody("shaft"))
        hand.machine.tick(hand.now)
        hand.machine.job_done(JobChange(hand.number, "shaft"), "no engine", hand.now)
        if version == 2:
            hand.cell, hand.number, hand.version = CELL + 1, 0, 2
        hand.heartbeat()
        (beat,) = bodies(hand.wait(300), wire.Heartbeat)
        assert isinstance(beat, wire.Heartbeat)
        assert (beat.ready, beat.state, beat.reason) == (False, state, "no engine")
