"""Cells on single lines: what a PLC reads is always one result, whole, or none."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers.cameras.interface import CameraLostError
from drivers.cameras.pylon import PylonCamera, PylonSettings
from drivers.cameras.settings import Mode
from drivers.sorters.interface import Outcome, Receipt, Result, SorterError, Trigger
from drivers.sorters.plain_io import CameraLinesSettings, CameraLinesSorter, GpioSettings, GpioSorter
from drivers.sorters.plain_io.lines import EdgesLostError, GpioLines, Lines
from drivers.sorters.plain_io.signals import MS, Edge, Signals
from tests.waiting import PATIENCE_S

LINES: dict[str, Any] = {
    "trigger": 1, "ready": 2, "ok": 3, "ng": 4, "valid": 5, "busy": 6, "acquired": 7,
    "setup_ms": 1.0, "pulse_ms": 20.0, "gap_ms": 1.0,
}  # fmt: skip
BELT = {
    "gate": 9,
    "gate_at": 100,
    "gate_span": 20,
    "encoder": 10,
    "sensor": 11,
    "sensor_at": 40,
    "tolerance": 4,
}


FAR = {"gate": 9, "gate_at": 600, "gate_span": 20}
"""A gate by time; parts are at it long after their results are shown."""


def result(part_id: int, outcome: Outcome) -> Result:
    return Result(part_id, outcome, 1 if outcome is Outcome.ACCEPT else 9, 0, "")


def check(levels: Mapping[str, bool]) -> None:
    """What must hold at every moment on the lines."""
    assert not (levels["ok"] and levels["ng"])
    assert not levels["valid"] or levels["ok"] or levels["ng"]


class Pins(Lines):
    """Both ends of the lines, in memory: the edge of the product where a PLC is wired."""

    def __init__(self, wired: GpioSettings) -> None:
        self.levels = dict.fromkeys(wired.outputs, False)
        self.seen: list[dict[str, bool]] = []
        self.edges: list[Edge] = []
        self.broken: OSError | None = None
        self._lock = threading.Lock()
        self._readable, self._poke = os.pipe2(os.O_NONBLOCK)

    def rise(self, key: str) -> None:
        with self._lock:
            self.edges.append(Edge(key, True, time.monotonic_ns()))
        os.write(self._poke, b"x")

    def fail(self, error: OSError) -> None:
        self.broken = error
        os.write(self._poke, b"x")

    def fileno(self) -> int:
        return self._readable

    def read(self) -> list[Edge]:
        os.read(self._readable, 100)
        if self.broken is not None:
            broken, self.broken = self.broken, None
            raise broken
        with self._lock:
            found, self.edges = self.edges, []
        return found

    def set(self, levels: Mapping[str, bool]) -> None:
        self.levels |= levels
        check(self.levels)
        self.seen.append(dict(self.levels))

    def close(self) -> None:
        for descriptor in (self._readable, self._poke):
            os.close(descriptor)


@dataclass
class Cell:
    """A sorter and the pins it has opened, one after the other."""

    opened: list[Pins] = field(default_factory=list)
    sorters: list[GpioSorter] = field(default_factory=list)

    def sorter(self, **more: Any) -> GpioSorter:
        made = GpioSorter(GpioSettings(**(LINES | more)), "press", self._open)
        self.sorters.append(made)
        made.open()
        made.set_ready(True)
        return made

    def _open(self, wired: GpioSettings) -> Lines:
        self.opened.append(Pins(wired))
        return self.opened[-1]

    @property
    def pins(self) -> Pins:
        return self.opened[-1]

    def wait(self, condition: Callable[[dict[str, bool]], bool]) -> None:
        until = time.monotonic() + 10
        while not condition(self.pins.levels):
            assert time.monotonic() < until, self.pins.levels
            time.sleep(0.001)


@pytest.fixture
def cell() -> Iterator[Cell]:
    made = Cell()
    yield made
    for sorter in made.sorters:
        sorter.close()


def triggered(cell: Cell, sorter: GpioSorter) -> Trigger:
    cell.pins.rise("trigger")
    found = sorter.wait_trigger(PATIENCE_S)
    assert found is not None
    return found


def receipt(sorter: GpioSorter) -> Receipt:
    found = sorter.wait_receipt(PATIENCE_S)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("outcome", "line"), [(Outcome.ACCEPT, "ok"), (Outcome.REJECT, "ng"), (Outcome.FAULT, "ng")]
)
def test_a_part_goes_from_its_edge_to_one_pulse_of_valid(cell: Cell, outcome: Outcome, line: str) -> None:
    sorter = cell.sorter()
    assert cell.pins.levels["ready"]
    trigger = triggered(cell, sorter)
    assert trigger.part_id == 1
    cell.wait(lambda levels: levels["busy"])
    sorter.acknowledge(trigger)
    sorter.acquisition_done(trigger)
    assert cell.pins.levels["acquired"]
    sorter.send(result(1, outcome))
    assert receipt(sorter).acknowledged
    cell.wait(lambda levels: not levels["busy"])
    valid = [levels for levels in cell.pins.seen if levels["valid"]]
    assert all(levels[line] for levels in valid)
    before = cell.pins.seen[cell.pins.seen.index(valid[0]) - 1]
    assert before[line], "the result stands before `valid` does"
    assert not any(cell.pins.levels[key] for key in ("ok", "ng", "valid"))


def test_a_trigger_of_a_station_that_is_not_ready_gets_no_result(cell: Cell) -> None:
    sorter = cell.sorter()
    sorter.set_ready(False, "the disk is full")
    assert not cell.pins.levels["ready"]
    cell.pins.rise("trigger")
    assert sorter.wait_trigger(0.2) is None
    assert sorter.health().refused == 1
    assert not any(levels["valid"] for levels in cell.pins.seen)


def test_results_come_one_after_the_other_with_a_gap(cell: Cell) -> None:
    sorter = cell.sorter(belt=FAR)
    for _ in range(3):
        sorter.acknowledge(triggered(cell, sorter))
    for part_id, outcome in ((1, Outcome.ACCEPT), (2, Outcome.REJECT), (3, Outcome.ACCEPT)):
        sorter.send(result(part_id, outcome))
    assert [receipt(sorter).part_id for _ in range(3)] == [1, 2, 3]
    shown = [("ok" if levels["ok"] else "ng") if levels["valid"] else "" for levels in cell.pins.seen]
    changes = [one for before, one in zip(["", *shown], shown, strict=False) if one != before]
    assert changes == ["ok", "", "ng", "", "ok", ""]


def test_a_fault_that_is_known_early_waits_for_the_result_of_the_part_before(cell: Cell) -> None:
    """Nothing but their order tells two results apart: part 2 must not get the OK of part 1."""
    sorter = cell.sorter(belt=FAR)
    for _ in range(2):
        sorter.acknowledge(triggered(cell, sorter))
    sorter.send(result(2, Outcome.FAULT))
    time.sleep(0.05)
    sorter.send(result(1, Outcome.ACCEPT))
    assert [receipt(sorter).part_id for _ in range(2)] == [1, 2]
    shown = [("ok" if levels["ok"] else "ng") if levels["valid"] else "" for levels in cell.pins.seen]
    changes = [one for before, one in zip(["", *shown], shown, strict=False) if one != before]
    assert changes == ["ok", "", "ng", ""]


def test_with_an_acknowledgement_valid_waits_for_it(cell: Cell) -> None:
    sorter = cell.sorter(ack=8)
    sorter.acknowledge(triggered(cell, sorter))
    sorter.send(result(1, Outcome.ACCEPT))
    cell.wait(lambda levels: levels["valid"])
    assert sorter.wait_receipt(0.1) is None
    assert cell.pins.levels["valid"]
    cell.pins.rise("ack")
    assert receipt(sorter).acknowledged
    cell.wait(lambda levels: not levels["valid"])
    cell.pins.rise("ack")
    sorter.acknowledge(triggered(cell, sorter))
    assert sorter.health().unexpected == 1


def test_without_the_acknowledgement_the_receipt_is_bad_and_the_lines_are_free(cell: Cell) -> None:
    sorter = cell.sorter(ack=8, ack_timeout_ms=120.0)
    sorter.acknowledge(triggered(cell, sorter))
    sorter.send(result(1, Outcome.ACCEPT))
    found = receipt(sorter)
    assert not found.acknowledged
    cell.wait(lambda levels: not levels["valid"] and not levels["ok"])


@pytest.mark.parametrize(
    "error", [OSError(19, "No such device"), EdgesLostError("3 edges were lost by the kernel")]
)
def test_lines_or_edges_that_are_lost_give_up_what_is_in_hand_and_go_on(cell: Cell, error: OSError) -> None:
    sorter = cell.sorter(ack=8, belt=FAR | {"gate_at": 1800})
    sorter.acknowledge(triggered(cell, sorter))
    sorter.acknowledge(triggered(cell, sorter))
    sorter.send(result(1, Outcome.ACCEPT))
    cell.wait(lambda levels: levels["valid"])
    pins = cell.pins
    pins.fail(error)
    assert not receipt(sorter).acknowledged
    sorter.send(result(2, Outcome.ACCEPT))
    assert not receipt(sorter).acknowledged, "an old verdict is never shown to a new part"
    until = time.monotonic() + 10
    while not sorter.health().connected or not cell.pins.levels["ready"]:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert not any(cell.pins.levels[key] for key in ("ok", "ng", "valid"))
    trigger = triggered(cell, sorter)
    assert trigger.part_id == 3
    sorter.acknowledge(trigger)
    sorter.send(result(3, Outcome.REJECT))
    cell.wait(lambda levels: levels["valid"] and levels["ng"])
    assert sorter.health().reconnects == (0 if isinstance(error, EdgesLostError) else 1)


def test_a_closed_sorter_leaves_every_line_off(cell: Cell) -> None:
    sorter = cell.sorter(ack=8)
    sorter.acknowledge(triggered(cell, sorter))
    sorter.send(result(1, Outcome.ACCEPT))
    cell.wait(lambda levels: levels["valid"])
    sorter.close()
    assert not any(cell.pins.levels.values())
    assert not receipt(sorter).acknowledged


def test_a_chip_that_is_not_there_is_named_with_what_to_do() -> None:
    """The real libgpiod; this machine has no chip of this name."""
    sorter = GpioSorter(GpioSettings(chip="/dev/gpiochip-none", **LINES))
    with pytest.raises(SorterError, match=r"/dev/gpiochip-none: No such file or directory; `gpiodetect`"):
        sorter.open()
    sorter.close()


def test_edges_that_the_kernel_lost_are_said_once_and_those_that_follow_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel in place of a chip: it numbers edges, and drops them where its buffer is full."""
    import gpiod

    batches = [[1, 2], [3, 1030, 1031], [1032]]

    class Kernel:
        path, fd = "/dev/gpiochip9", 0

        def __enter__(self) -> Kernel:
            return self

        def __exit__(self, *exception: object) -> None: ...

        def line_offset_from_id(self, line: int) -> int:
            return line

        def read_edge_events(self, most: int) -> list[Any]:
            kind = gpiod.EdgeEvent.Type.RISING_EDGE
            return [gpiod.EdgeEvent(kind, 5, LINES["trigger"], number, number) for number in batches.pop(0)]

    monkeypatch.setattr(gpiod, "Chip", lambda path: Kernel())
    monkeypatch.setattr(gpiod, "request_lines", lambda path, **how: Kernel())
    lines = GpioLines(GpioSettings(**LINES))
    assert len(lines.read()) == 2
    with pytest.raises(EdgesLostError, match="1026 edges were lost"):
        lines.read()
    assert lines.read() == [Edge("trigger", True, 5)]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ng": 3}, "is line 3, as `ok`"),
        ({"inverted": ("button",)}, "names 'button', which is no line here"),
        ({"resend_ms": 10.0}, "has no meaning on single lines"),
        ({"heartbeat_ms": 100.0}, "has no meaning on single lines"),
        ({"pulse_ms": 5000.0}, "is 2000, and one part takes 5002"),
        ({"belt": {"gate": 9, "gate_at": 3000, "gate_span": 20}}, "is 2000, and one part takes 3020"),
        ({"belt": BELT | {"sensor_at": 0}}, "and `sensor` need each other"),
        ({"belt": BELT | {"gate_at": 60}}, "is 60: from the sensor to the gate there must be 24 more"),
        ({"belt": BELT | {"gate": 5}}, "is line 5, as `valid`"),
    ],
)
def test_lines_and_times_that_cannot_work_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        GpioSettings(**(LINES | changes))
    assert says in str(caught.value)


# ------------------------------------------------------------------ behind a belt


@dataclass
class Line:
    """The machine alone, with a clock and an encoder of ours."""

    signals: Signals = field(default_factory=lambda: Signals(GpioSettings(**(LINES | {"belt": BELT}))))
    now_ns: int = MS
    receipts: dict[int, Receipt] = field(default_factory=dict)
    triggers: list[int] = field(default_factory=list)
    gate: list[bool] = field(default_factory=list)
    """The gate's level at each tick."""

    def __post_init__(self) -> None:
        self.take(self.signals.set_ready(True, ""))

    def take(self, found: list[Any]) -> None:
        check(self.signals.levels)
        for one in found:
            if isinstance(one, Trigger):
                self.triggers.append(one.part_id)
                self.signals.acknowledge(one.part_id)
            else:
                assert one.part_id not in self.receipts
                self.receipts[one.part_id] = one

    def tick(self, *keys: str) -> None:
        """One tick of the encoder, 2 ms; then edges of other inputs."""
        self.now_ns += 2 * MS
        for key in ("encoder", *keys):
            self.take(self.signals.edge(Edge(key, True, self.now_ns)))
        self.take(self.signals.tick(self.now_ns))
        self.gate.append(self.signals.levels["gate"])

    def send(self, part_id: int, outcome: Outcome) -> None:
        self.take(self.signals.send(result(part_id, outcome), self.now_ns))


def run(line: Line, ticks: int, sensed: Mapping[int, str] = {}) -> None:
    for tick in range(1, ticks + 1):
        line.tick(*([sensed[tick]] if tick in sensed else []))


def test_the_gate_opens_around_the_good_part_and_the_receipt_comes_behind_it() -> None:
    line = Line()
    line.tick("trigger")
    line.send(1, Outcome.ACCEPT)
    run(line, 89, {40: "sensor"})
    assert not any(line.gate)
    assert line.receipts == {}
    run(line, 20)
    assert line.gate[-20:] == [True] * 20
    run(line, 2)
    assert not line.gate[-1]
    assert line.receipts[1].acknowledged


@pytest.mark.parametrize("outcome", [Outcome.REJECT, Outcome.FAULT])
def test_the_gate_stays_closed_for_everything_else(outcome: Outcome) -> None:
    line = Line()
    line.tick("trigger")
    line.send(1, outcome)
    run(line, 150, {40: "sensor"})
    assert not any(line.gate)
    assert line.receipts[1].acknowledged


def test_a_late_verdict_opens_nothing_and_its_receipt_is_bad() -> None:
    line = Line()
    line.tick("trigger")
    run(line, 150, {40: "sensor"})
    line.send(1, Outcome.ACCEPT)
    run(line, 150)
    assert not any(line.gate)
    assert line.receipts[1].problem.startswith("no verdict")


def test_a_part_that_is_taken_away_and_one_that_is_put_on_are_not_accepted() -> None:
    line = Line()
    line.tick("trigger")
    line.send(1, Outcome.ACCEPT)
    run(line, 150, {60: "sensor"})
    assert not any(line.gate)
    assert line.receipts[1].problem.startswith("missing")
    assert line.signals.handshake.counts.unexpected == 1


def test_a_trigger_that_is_refused_is_a_strange_part_on_the_belt() -> None:
    line = Line()
    line.tick("trigger")
    line.send(1, Outcome.ACCEPT)
    line.take(line.signals.set_ready(False, "tool change"))
    run(line, 5)
    line.tick("trigger")
    run(line, 150, {34: "sensor", 40: "sensor"})
    assert line.triggers == [1]
    assert not any(line.gate), "the two cannot be told apart"


def caught_up(line: Line, batch: list[Edge]) -> None:
    """The process was held up, and finds all edges at once."""
    line.now_ns = batch[-1].at_ns
    for found in line.signals.edges(batch, line.now_ns):
        line.take(found)
    line.take(line.signals.tick(line.now_ns))


def test_after_the_process_was_held_up_the_encoder_says_that_a_bad_part_may_have_slipped_through() -> None:
    belt = BELT | {"sensor": None, "sensor_at": 0}
    line = Line(Signals(GpioSettings(**(LINES | {"belt": belt}))))
    line.tick("trigger")
    line.send(1, Outcome.ACCEPT)
    run(line, 24)
    line.tick("trigger")
    line.send(2, Outcome.REJECT)
    run(line, 80)
    assert line.gate[-1], "part 1 passes"
    caught_up(line, [Edge("encoder", True, line.now_ns + tick * 2 * MS) for tick in range(1, 21)])
    run(line, 50)
    assert "it may have gone to the good side" in line.receipts[2].problem
    assert not line.receipts[2].acknowledged


def test_without_an_encoder_a_part_is_where_its_edge_says_and_not_where_it_was_told() -> None:
    belt = {"gate": 9, "gate_at": 100, "gate_span": 20}
    line = Line(Signals(GpioSettings(**(LINES | {"belt": belt}))))
    at_ns = line.now_ns
    line.take(line.signals.edge(Edge("trigger", True, at_ns)))
    line.take(line.signals.tick(at_ns + 60 * MS))  # another thread looked at the clock first
    line.take(line.signals.edge(Edge("trigger", True, at_ns + 10 * MS)))  # 10 ms behind the first one
    for part_id in (1, 2):
        line.now_ns = at_ns + 60 * MS
        line.send(part_id, Outcome.ACCEPT)
    for ms in range(61, 300):
        line.take(line.signals.tick(at_ns + ms * MS))
        assert not line.signals.levels["gate"], "the two are nearer than the gate can part them"
    assert all(line.receipts[one].problem.startswith("too close") for one in (1, 2))


STEPS = st.lists(
    st.one_of(
        st.sampled_from(["tick", "trigger", "sensor", "ack", "lost", "not ready", "ready"]),
        st.tuples(st.integers(1, 8), st.sampled_from(list(Outcome))),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.booleans(), st.booleans())
def test_whatever_happens_every_result_gets_one_receipt_and_no_line_lies(
    steps: list[Any], has_belt: bool, has_ack: bool
) -> None:
    more = ({"belt": BELT} if has_belt else {}) | ({"ack": 8} if has_ack else {})
    line = Line(Signals(GpioSettings(**(LINES | more))))
    line.signals.levels.setdefault("gate", False)
    sent: set[int] = set()
    good: set[int] = set()
    for step in steps:
        if isinstance(step, tuple):
            if step[0] in line.triggers and step[0] not in sent:
                sent.add(step[0])
                good |= {step[0]} if step[1] is Outcome.ACCEPT else set()
                line.send(*step)
        elif step == "lost":
            line.take(line.signals.lost("edges were lost", line.now_ns))
            assert not line.signals.levels["valid"]
        elif step in ("ready", "not ready"):
            line.take(line.signals.set_ready(step == "ready", ""))
        else:
            line.tick(*([] if step == "tick" else [step]))
        if any(line.gate) or line.signals.levels["ok"]:
            assert good
    for _ in range(1500):
        line.tick()
    assert line.receipts.keys() == sent
    line.take(line.signals.close(line.now_ns))
    assert not any(line.signals.levels.values())


# ------------------------------------------------------------------ on the lines of a camera


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[PylonCamera]:
    """Pylon's emulator, which has the nodes of a Basler camera's lines."""
    cv2.imwrite(str(tmp_path / "frame.png"), np.full((64, 64), 90, np.uint8))
    made = PylonCamera(PylonSettings(emulation=tmp_path, mode=Mode.FREE_RUNNING, trigger="off"))
    made.open()
    made.arm()
    yield made
    made.close()


def on_camera(camera: PylonCamera, **more: Any) -> CameraLinesSorter:
    sorter = CameraLinesSorter(CameraLinesSettings(ok="Line2", ng="Line3", pulse_ms=300.0, **more))
    sorter.use(camera)
    sorter.open()
    sorter.set_ready(True)
    return sorter


def line_of(camera: PylonCamera, line: str) -> tuple[str, str, bool]:
    """Mode, source, and the level of the user output that it follows, as the camera itself says."""
    with camera._selecting:
        nodes = camera.device.GetNodeMap()
        nodes.GetNode("LineSelector").SetValue(line)
        source = nodes.GetNode("LineSource").GetValue()
        nodes.GetNode("UserOutputSelector").SetValue(source)
        return nodes.GetNode("LineMode").GetValue(), source, nodes.GetNode("UserOutputValue").GetValue()


def wait_for_line(camera: PylonCamera, line: str, on: bool) -> None:
    until = time.monotonic() + 10
    while line_of(camera, line)[2] is not on:
        assert time.monotonic() < until
        time.sleep(0.002)


@pytest.mark.parametrize(("outcome", "line"), [(Outcome.ACCEPT, "Line2"), (Outcome.FAULT, "Line3")])
def test_a_basler_cameras_own_lines_carry_the_result_while_it_grabs(
    camera: PylonCamera, outcome: Outcome, line: str
) -> None:
    sorter = on_camera(camera)
    frame = camera.grab(5.0)
    sorter.send(result(7, outcome))
    other = {"Line2": "Line3", "Line3": "Line2"}[line]
    wait_for_line(camera, line, True)
    assert line_of(camera, line)[0] == "Output"
    assert not line_of(camera, other)[2]
    found = receipt(sorter)
    assert (found.part_id, found.acknowledged) == (7, True)
    wait_for_line(camera, line, False)
    assert not line_of(camera, other)[2]
    assert camera.grab(5.0).frame_id > frame.frame_id
    sorter.close()


def test_a_line_that_the_camera_does_not_have_ends_the_start(camera: PylonCamera) -> None:
    sorter = CameraLinesSorter(CameraLinesSettings(ok="Line9"))
    sorter.use(camera)
    with pytest.raises(SorterError, match=r"sorter\.ok: .*Line9.*Line1.*check the camera"):
        sorter.open()
    sorter.close()


def test_while_the_camera_is_lost_results_get_bad_receipts_and_then_pulses_come_again(
    camera: PylonCamera,
) -> None:
    sorter = on_camera(camera)
    camera.close()
    sorter.send(result(1, Outcome.ACCEPT))
    assert not receipt(sorter).acknowledged
    assert not sorter.health().connected
    camera.open()
    until = time.monotonic() + 10
    while not sorter.health().connected:
        assert time.monotonic() < until
        time.sleep(0.05)
    sorter.send(result(2, Outcome.REJECT))
    assert receipt(sorter).acknowledged
    sorter.close()


def test_a_result_that_comes_while_the_camera_is_lost_is_never_shown_to_a_later_part(
    camera: PylonCamera,
) -> None:
    sorter = on_camera(camera)
    camera.close()
    sorter.send(result(1, Outcome.ACCEPT))  # the sorter sees by this one that the camera is lost
    assert not receipt(sorter).acknowledged
    sorter.send(result(2, Outcome.ACCEPT))
    found = sorter.wait_receipt(0.2)
    assert found is not None
    assert not found.acknowledged
    camera.open()
    until = time.monotonic() + 10
    while not sorter.health().connected:
        assert time.monotonic() < until
        time.sleep(0.001)
    for _ in range(10):
        assert not line_of(camera, "Line2")[2]
        time.sleep(0.01)
    sorter.close()


def test_free_running_a_result_ends_when_the_next_part_comes(camera: PylonCamera) -> None:
    """Whoever reads the lines knows a part by the time of its result alone."""
    sorter = on_camera(camera, ack_timeout_ms=30_000, setup_ms=10_000)
    sorter.entered(Trigger(7, "", 0))
    sorter.send(result(7, Outcome.ACCEPT))
    wait_for_line(camera, "Line2", True)
    sorter.entered(Trigger(8, "", 0))
    found = receipt(sorter)
    assert (found.part_id, found.acknowledged) == (7, False)
    assert "part 8 came before the result of the part before was over" in found.problem
    wait_for_line(camera, "Line2", False)
    sorter.send(result(8, Outcome.REJECT))
    wait_for_line(camera, "Line3", True)
    sorter.close()


def test_free_running_two_parts_without_a_result_get_none_and_the_third_gets_its_own(
    camera: PylonCamera,
) -> None:
    sorter = on_camera(camera)
    for part_id in (7, 8):
        sorter.entered(Trigger(part_id, "", 0))
    for part_id in (8, 7):
        sorter.send(result(part_id, Outcome.ACCEPT))
        found = receipt(sorter)
        assert (found.part_id, found.acknowledged) == (part_id, False)
    assert not line_of(camera, "Line2")[2]
    sorter.entered(Trigger(9, "", 0))
    sorter.send(result(9, Outcome.ACCEPT))
    assert receipt(sorter).acknowledged
    sorter.close()


class FrozenCamera:
    """A camera that has just gone: it answers nothing until a time-out is over."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.is_gone = False

    def set_output(self, line: str, on: bool) -> None:
        self.answers.wait(30)
        if self.is_gone:
            raise CameraLostError("it does not answer")


def test_no_call_of_the_application_waits_for_a_camera_that_answers_nothing() -> None:
    camera = FrozenCamera()
    sorter = on_camera(camera)
    camera.answers.clear()
    begun = time.monotonic()
    sorter.entered(Trigger(1, "", 0))
    sorter.send(result(1, Outcome.ACCEPT))
    sorter.set_busy("a changeover")
    sorter.set_ready(True)
    assert sorter.health().sent == 1
    assert sorter.wait_receipt(0.0) is None
    assert time.monotonic() - begun < 5, "30 if it waited for the camera"
    camera.is_gone = True
    camera.answers.set()
    assert not receipt(sorter).acknowledged
    camera.is_gone = False
    sorter.close()


def test_more_than_one_part_in_hand_needs_a_belt() -> None:
    for kind, keys in ((GpioSettings, LINES), (CameraLinesSettings, {"ok": "Line2"})):
        assert kind(**keys).max_in_hand == 1
        with pytest.raises(ValidationError, match="results on lines bear no id"):
            kind(**keys, max_in_hand=2)
    assert GpioSettings(**LINES, belt=BELT).max_in_hand == 8
    assert GpioSettings(**LINES, belt=BELT, max_in_hand=16).max_in_hand == 16


def test_ok_is_required_so_that_a_missing_signal_is_no_good_part() -> None:
    with pytest.raises(ValidationError, match="a missing NG would pass for a good part"):
        CameraLinesSettings(ng="Line3")
