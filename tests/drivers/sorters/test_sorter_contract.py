"""What every wire promises, each against the simulated cell on a real counterpart."""

import random
import time
from dataclasses import replace
from typing import Any

import pytest

from drivers.sorters.interface import Outcome, Receipt, Result, Trigger
from drivers.sorters.messages import (
    EndState,
    Heartbeat,
    Hello,
    JobBody,
    JobCode,
    Message,
    ResultAck,
    TriggerBody,
)
from tests.waiting import PATIENCE_S

SLOW = [pytest.param(wire, marks=pytest.mark.slow) for wire in ("modbus-rtu", "opcua")]
"""A bus and the start of a server need seconds; test_modbus.py and test_opcua.py have a fast part on each."""
EVERY = ["frames", "lines", "mqtt", "modbus", *SLOW]
every = pytest.mark.parametrize("wire", EVERY, indirect=True)
Wire = Any
"""The fixture of conftest.py: a sorter and the cell at the other end."""


def triggered(wire: Wire, part_id: int) -> Trigger:
    wire.cell.place(part_id)
    trigger = wire.sorter.wait_trigger(PATIENCE_S)
    assert trigger is not None
    assert trigger.part_id == part_id
    return trigger


def accept(part_id: int) -> Result:
    return Result(part_id, Outcome.ACCEPT, 0, 0, "")


def reject(part_id: int) -> Result:
    return Result(part_id, Outcome.REJECT, 9, 2, "scratch 0.98")


def receipt(wire: Wire) -> Receipt:
    found = wire.sorter.wait_receipt(PATIENCE_S)
    assert found is not None
    return found


def of(part: Any) -> tuple[int, int, str]:
    return part.part_id, part.bin, str(part.why)


@every
def test_a_part_goes_from_its_trigger_to_its_bin_and_the_receipt_names_it(wire: Wire) -> None:
    for part_id, result in (
        (1, accept(1)),
        (2, reject(2)),
        (3, Result(3, Outcome.FAULT, 9, 255, "no frame")),
    ):
        trigger = triggered(wire, part_id)
        wire.sorter.acknowledge(trigger)
        wire.cell.wait(lambda cell, i=part_id: cell.waiting[i].acknowledged_ns is not None)
        wire.sorter.acquisition_done(trigger)
        wire.cell.wait(lambda cell, i=part_id: cell.waiting[i].left_camera_ns is not None)
        wire.sorter.send(result)
        assert receipt(wire).acknowledged
    parts = wire.cell.sorted(3)
    assert [of(part) for part in parts] == [(1, 0, "verdict"), (2, 9, "verdict"), (3, 9, "verdict")]
    assert [part.outcome for part in parts] == ["accept", "reject", "fault"]
    assert parts[1].reason == "scratch 0.98"


@every
def test_a_station_that_is_not_ready_refuses_and_says_why(wire: Wire) -> None:
    wire.sorter.set_ready(False, "the disk is full")
    wire.cell.wait(lambda cell: not cell.trigger_ready)
    with wire.cell.lock:
        wire.cell.protocol.trigger_ready = True  # a cell that does not look
    wire.cell.place(5)
    wire.cell.wait(lambda cell: cell.waiting[5].refusals > 0)
    with wire.cell.lock:
        assert wire.cell.protocol.waiting[5].reason == "the disk is full"
    assert wire.sorter.wait_trigger(0.05) is None
    assert wire.sorter.health().refused == 1


@every
def test_another_recipe_is_refused_and_the_part_goes_to_the_reject_side(wire: Wire) -> None:
    wire.cell.place(6, "gear")
    (part,) = wire.cell.sorted(1)
    assert of(part) == (6, 9, "trigger refused")
    assert "housing" in part.reason
    assert wire.sorter.wait_trigger(0.0) is None


@every
def test_a_trigger_names_recipe_and_lot(wire: Wire) -> None:
    wire.cell.place(6, "housing", "lot 4711;B")
    trigger = wire.sorter.wait_trigger(PATIENCE_S)
    assert trigger is not None
    assert (trigger.part_id, trigger.recipe, trigger.lot) == (6, "housing", "lot 4711;B")


@every
def test_a_job_change_waits_for_the_part_in_hand_and_is_answered(wire: Wire) -> None:
    dice = random.Random(7)
    wire.cell.spoil = lambda message: dice.choice(
        ([], [message], [message, message]) if isinstance(message.body, JobBody) else ([message],)
    )
    wire.sorter.acknowledge(triggered(wire, 1))
    wire.cell.ask_job("gear")
    wire.cell.place(2)
    wire.cell.wait(lambda cell: cell.job.status is JobCode.UNDER_WAY)
    assert wire.sorter.wait_job(0.1) is None
    wire.sorter.send(accept(1))
    assert receipt(wire).acknowledged
    job = wire.sorter.wait_job(10.0)
    assert job is not None
    assert job.recipe == "gear"
    wire.cell.wait(lambda cell: cell.station_state is EndState.INITIALIZED)
    assert wire.sorter.wait_trigger(0.0) is None
    wire.sorter.prepare("gear")
    wire.sorter.job_done(job)
    wire.cell.wait(lambda cell: cell.job.status is JobCode.PREPARED)
    trigger = wire.sorter.wait_trigger(PATIENCE_S)
    assert trigger is not None
    assert trigger.part_id == 2
    assert wire.sorter.wait_job(0.0) is None


@every
def test_after_a_job_change_that_failed_the_cell_knows_why_and_no_part_is_taken(wire: Wire) -> None:
    wire.cell.ask_job("gear")
    job = wire.sorter.wait_job(10.0)
    assert job is not None
    wire.sorter.job_done(job, "gear has no engine")
    wire.cell.wait(lambda cell: cell.job.is_over)
    with wire.cell.lock:
        asked = wire.cell.protocol.job
        assert (asked.status, asked.reason) == (JobCode.REFUSED, "gear has no engine")
    wire.cell.wait(lambda cell: cell.station_state is EndState.INITIALIZED and not cell.trigger_ready)
    wire.cell.ask_job("housing")
    job = wire.sorter.wait_job(10.0)
    assert job is not None
    wire.sorter.prepare("housing")
    wire.sorter.job_done(job)
    assert triggered(wire, 3).recipe == ""


@every
def test_triggers_and_acknowledgements_that_come_twice_are_one_part(wire: Wire) -> None:
    wire.cell.spoil = lambda message: [message, message]
    for part_id in range(1, 9):
        wire.sorter.acknowledge(triggered(wire, part_id))
        wire.sorter.send(accept(part_id))
        assert receipt(wire).acknowledged
    assert wire.sorter.wait_trigger(0.2) is None
    assert wire.sorter.wait_receipt(0.0) is None
    assert [of(part) for part in wire.cell.sorted(8)] == [(i, 0, "verdict") for i in range(1, 9)]


@every
def test_triggers_and_acknowledgements_that_are_lost_are_repeated_until_they_arrive(wire: Wire) -> None:
    dice = random.Random(4)
    wire.cell.spoil = lambda message: (
        [] if isinstance(message.body, TriggerBody | ResultAck) and dice.random() < 0.5 else [message]
    )
    for part_id in range(1, 9):
        wire.sorter.acknowledge(triggered(wire, part_id))
        wire.sorter.send(reject(part_id))
        assert receipt(wire).acknowledged
    assert [of(part) for part in wire.cell.sorted(8)] == [(i, 9, "verdict") for i in range(1, 9)]
    assert wire.sorter.health().resent > 0


@every
def test_late_and_reordered_messages_end_in_one_verdict_per_part(wire: Wire) -> None:
    held: list[Message] = []

    def shuffle(message: Message) -> list[Message]:
        if isinstance(message.body, Hello | Heartbeat):
            out = [*reversed(held), message]
            held.clear()
            return out
        held.append(message)
        return []

    wire.cell.spoil = shuffle
    for part_id in range(1, 4):
        wire.cell.place(part_id)
    for _ in range(3):
        trigger = wire.sorter.wait_trigger(PATIENCE_S)
        assert trigger is not None
        wire.sorter.acknowledge(trigger)
        wire.sorter.send(accept(trigger.part_id))
    assert {receipt(wire).part_id for _ in range(3)} == {1, 2, 3}
    assert sorted(of(part) for part in wire.cell.sorted(3)) == [(i, 0, "verdict") for i in (1, 2, 3)]


@every
def test_what_is_garbled_is_counted_and_hurts_nobody(wire: Wire) -> None:
    wire.sorter.acknowledge(triggered(wire, 1))
    for _ in range(3):
        wire.cell.garble()
    wire.sorter.send(accept(1))
    assert receipt(wire).acknowledged
    until = time.monotonic() + 10
    while wire.sorter.health().garbled == 0:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert wire.sorter.health().connected
    assert wire.sorter.wait_trigger(0.0) is None


@pytest.mark.parametrize("ack_timeout_ms", [700.0])
@every
def test_an_acknowledgement_for_another_part_is_no_receipt(wire: Wire) -> None:
    def other_part(message: Message) -> list[Message]:
        body = message.body
        return [replace(message, body=replace(body, part_id=99)) if isinstance(body, ResultAck) else message]

    wire.cell.spoil = other_part
    wire.sorter.acknowledge(triggered(wire, 1))
    wire.sorter.send(accept(1))
    found = receipt(wire)
    assert not found.acknowledged
    assert "no RESULT-ACK within 0.7 s" in found.problem
    assert wire.sorter.health().unexpected > 0


@pytest.mark.parametrize(("ack_timeout_ms", "link_timeout_ms"), [(700.0, 1200.0)])
@every
def test_a_cell_that_is_silent_makes_bad_receipts_and_no_acknowledged_part(wire: Wire) -> None:
    trigger = triggered(wire, 1)
    wire.sorter.acknowledge(trigger)
    wire.cell.hears = False
    wire.cell.spoil = lambda message: []
    wire.sorter.send(accept(1))
    assert not receipt(wire).acknowledged
    wire.connected(False)
    assert wire.sorter.health().last_error
    wire.cell.hears = True
    wire.cell.spoil = lambda message: [message]
    wire.connected()
    wire.sorter.acknowledge(triggered(wire, 2))
    wire.sorter.send(accept(2))
    assert receipt(wire).acknowledged


@every
def test_parts_of_a_cell_that_restarted_are_nobodys(wire: Wire) -> None:
    wire.sorter.acknowledge(triggered(wire, 1))
    wire.cell.restart(8)
    wire.cell.wait(lambda cell: cell.station_ready)
    until = time.monotonic() + 10
    while wire.sorter.health().cell_restarts == 0:
        assert time.monotonic() < until
        time.sleep(0.01)
    wire.sorter.send(accept(1))
    found = receipt(wire)
    assert not found.acknowledged
    assert "restarted" in found.problem
    wire.sorter.acknowledge(triggered(wire, 2))
    wire.sorter.send(accept(2))
    assert receipt(wire).acknowledged
    assert [of(part) for part in wire.cell.sorted(1)] == [(2, 0, "verdict")]


@every
def test_a_wire_that_is_cut_and_mended_is_served_again_by_itself(wire: Wire) -> None:
    wire.sorter.acknowledge(triggered(wire, 1))
    wire.cell.cut()
    wire.connected(False)
    before = time.monotonic()
    wire.sorter.send(accept(1))
    assert time.monotonic() - before < 0.5
    assert not receipt(wire).acknowledged
    wire.cell.mend()
    wire.connected()
    wire.sorter.acknowledge(triggered(wire, 2))
    wire.sorter.send(accept(2))
    assert receipt(wire).acknowledged
    health = wire.sorter.health()
    # On a bus only the cell is gone; test_modbus.py pulls out the station's own device.
    assert health.reconnects == (0 if "RTU" in health.description else 1)
    assert health.failures == 0


@every
def test_closing_says_not_ready_and_ends_open_results_in_bad_receipts(wire: Wire) -> None:
    wire.sorter.acknowledge(triggered(wire, 1))
    wire.cell.hears = False
    wire.sorter.send(accept(1))
    wire.cell.hears = True
    wire.sorter.close()
    assert receipt(wire).part_id == 1
    wire.cell.wait(lambda cell: not cell.trigger_ready or not cell.linked)
    wire.sorter.close()
