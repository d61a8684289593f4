"""Station and cell machines over a channel that drops, repeats, reorders and garbles; hypothesis drives.

Each new session of either end speaks version 1, 2 or 3 of the protocol, so that old and new ones meet.
"""

from __future__ import annotations

import collections
import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from drivers.sorters.handshake import HandshakeSettings
from drivers.sorters.interface import Outcome, Receipt, Result, Trigger
from drivers.sorters.serial import frames as wire
from drivers.sorters.session import StationSession
from simulation.cell.protocol import CellProtocol, CellRules, Part

MS = 1_000_000
GOOD_BIN = 0
SETTINGS = HandshakeSettings(max_in_hand=3, memory=8, ack_timeout_ms=800)
RULES = CellRules(verdict_ms=600)
BINS = {Outcome.ACCEPT: GOOD_BIN, Outcome.REJECT: 3, Outcome.FAULT: 8}
LATER = st.integers(0, 30)
WAITS = (1, 5, 20, 20, 60, 300, 700, 1100)
NEWEST = (2, 1, 3, 2, 3, 3, 1)
"""The newest version that a session speaks, by its number."""
ACCIDENTS = ("line", "line", "line", "station", "cell", "unready", "ready", "ready")


class Plant:
    """Parts are known to the test by a number of their own, because their ids are reused."""

    def start(self) -> None:
        self.now = 1_000 * MS
        self.line = False
        self.to_station: list[bytes] = []
        self.to_cell: list[bytes] = []
        self.old: list[tuple[bytes, bool]] = []
        self.delivered_again = 0
        """Ids that were inspected a second time, as another part."""
        self.ids_seen: set[int] = set()
        self.sessions = 0
        self.pieces = 0
        self.piece_of_part: dict[int, int] = {}
        self.keep: list[Part] = []
        self.piece_of_trigger: dict[tuple[int, int], int] = {}
        self.told_accept: set[int] = set()
        self.acquired: set[int] = set()
        """Parts whose frame the station has, and has said so."""
        self.left_early = 0
        """Parts that left the camera before their result."""
        self.sorted: dict[int, int] = {}
        self.new_station()
        self.new_cell()
        self.flip_line()
        self.say_ready(True)
        self.deliver_all(4)
        assert self.cell.station_ready

    # -- both ends

    def new_station(self) -> None:
        self.sessions += 1
        newest = NEWEST[self.sessions % len(NEWEST)]
        self.station = StationSession(SETTINGS, self.sessions, newest=newest)
        self.station_decoder = wire.Decoder(newest)
        self.delivered: set[tuple[int, int]] = set()
        self.open: list[tuple[Trigger, int]] = []
        self.tells: collections.Counter[int] = collections.Counter()
        self.receipts: collections.Counter[int] = collections.Counter()

    def new_cell(self) -> None:
        self.sessions += 1
        newest = NEWEST[self.sessions % len(NEWEST)]
        self.cell = CellProtocol(self.sessions, RULES, newest=newest)
        self.cell_decoder = wire.Decoder(newest)

    def station_does(self, actions: list[Any], cause: wire.Message | None = None) -> None:
        for action in actions:
            if isinstance(action, Trigger):
                assert cause is not None
                key = (cause.sender, cause.sequence)
                assert key not in self.delivered, "a trigger was delivered twice"
                self.delivered.add(key)
                self.delivered_again += action.part_id in self.ids_seen
                self.ids_seen.add(action.part_id)
                self.open.append((action, self.piece_of_trigger[key]))
            elif isinstance(action, Receipt):
                self.receipts[action.part_id] += 1
                assert self.receipts[action.part_id] <= self.tells[action.part_id]
            elif self.line:
                self.to_cell.append(wire.encode(action))

    def cell_does(self, messages: list[wire.Message]) -> None:
        for message in messages:
            if isinstance(message.body, wire.TriggerBody):
                part = self.cell.waiting[message.body.part_id]
                self.piece_of_trigger[message.sender, message.sequence] = self.piece_of_part[id(part)]
            if self.line:
                self.to_station.append(wire.encode(message))
        for part in self.cell.sorted_parts:
            self.leaves(part, part.bin)
        self.cell.sorted_parts.clear()

    def leaves(self, part: Part, bin_: int | None) -> None:
        piece = self.piece_of_part[id(part)]
        assert bin_ is not None
        assert piece not in self.sorted, "a part was sorted twice"
        self.sorted[piece] = bin_
        if bin_ == GOOD_BIN:
            assert piece in self.told_accept, "a part went to the good bin without a verdict"

    # -- what people and the plant do

    def place(self, part_id: int) -> None:
        if part_id in self.cell.waiting:
            return
        self.pieces += 1
        messages = self.cell.place(part_id, "", self.now)
        part = self.cell.waiting[part_id]
        self.keep.append(part)
        self.piece_of_part[id(part)] = self.pieces
        self.cell_does(messages)

    def record_is_durable(self, which: int) -> None:
        if not self.open:
            return
        trigger, _ = self.open[which % len(self.open)]
        self.station_does(self.station.acknowledge(trigger.part_id))

    def frame_is_here(self, which: int) -> None:
        if not self.open:
            return
        trigger, piece = self.open[which % len(self.open)]
        actions = self.station.acquisition_done(trigger.part_id)
        assert not actions or self.station.link.version >= 2
        if actions:
            self.acquired.add(piece)
        self.station_does(actions)

    def decide(self, which: int, outcome: Outcome) -> None:
        if not self.open:
            return
        trigger, piece = self.open.pop(which % len(self.open))
        self.tells[trigger.part_id] += 1
        if outcome is Outcome.ACCEPT:
            self.told_accept.add(piece)
        result = Result(trigger.part_id, outcome, BINS[outcome], 0, "as decided")
        self.station_does(self.station.send(result, self.now))

    def tell_out_of_the_blue(self, part_id: int) -> None:
        if any(trigger.part_id == part_id for trigger, _ in self.open):
            return
        self.tells[part_id] += 1
        before = self.receipts[part_id]
        result = Result(part_id, Outcome.ACCEPT, GOOD_BIN, 0, "")
        self.station_does(self.station.send(result, self.now))
        assert self.receipts[part_id] == before + 1

    def say_ready(self, ready: bool) -> None:
        self.station_does(self.station.set_ready(ready, "" if ready else "no camera", self.now))

    # -- what the line does

    def pick(self, which: int, to_station: bool) -> tuple[list[bytes], int] | None:
        channel = self.to_station if to_station else self.to_cell
        return (channel, which % len(channel)) if channel else None

    def hand_over(self, data: bytes, to_station: bool) -> None:
        if to_station:
            for message in self.station_decoder.feed(data):
                self.station_does(self.station.received(message, self.now), message)
        else:
            for message in self.cell_decoder.feed(data):
                self.cell_does(self.cell.received(message, self.now))
            for part in self.cell.waiting.values():
                if part.left_camera_ns is not None:
                    assert self.piece_of_part[id(part)] in self.acquired, "a part left without its frame"
                    self.left_early += 1

    def deliver_any(self, which: int, to_station: bool) -> None:
        picked = self.pick(which, to_station)
        if picked is not None:
            self.hand_over(picked[0].pop(picked[1]), to_station)

    def deliver_all(self, rounds: int) -> None:
        for _ in range(rounds):
            for to_station in (True, False):
                channel = self.to_station if to_station else self.to_cell
                waiting = channel[:]
                channel.clear()
                for data in waiting:
                    self.hand_over(data, to_station)

    def lose(self, which: int, to_station: bool) -> None:
        picked = self.pick(which, to_station)
        if picked is not None:
            picked[0].pop(picked[1])

    def repeat_late(self, which: int, to_station: bool) -> None:
        picked = self.pick(which, to_station)
        if picked is not None:
            self.hand_over(picked[0][picked[1]], to_station)

    def garble(self, which: int, to_station: bool, where: int, flip: int) -> None:
        picked = self.pick(which, to_station)
        if picked is not None:
            data = bytearray(picked[0].pop(picked[1]))
            data[where % len(data)] ^= flip
            self.hand_over(bytes(data), to_station)

    def keep_for_later(self, which: int, to_station: bool) -> None:
        """A copy that turns up when nobody expects it any more."""
        picked = self.pick(which, to_station)
        if picked is not None:
            self.old.append((picked[0][picked[1]], to_station))

    def bring_back(self, which: int) -> None:
        if self.old:
            self.hand_over(*self.old[which % len(self.old)])

    def flip_line(self) -> None:
        self.line = not self.line
        if self.line:
            self.station_does(self.station.line_up(self.now))
            self.cell_does(self.cell.line_up(self.now))
        else:
            self.station_does(self.station.line_down(self.now))
            self.cell.line_down()

    def wait(self, ms: int) -> None:
        self.now += ms * MS
        self.station_does(self.station.tick(self.now))
        self.cell_does(self.cell.scan(self.now))

    def accident(self, kind: str) -> None:
        if kind == "station":
            self.kill_station()
        elif kind == "cell":
            self.kill_cell()
        elif kind == "line":
            self.flip_line()
        elif kind != "nothing":
            self.say_ready(kind == "ready")

    def kill_station(self) -> None:
        self.new_station()
        if self.line:
            self.station_does(self.station.line_up(self.now))

    def kill_cell(self) -> None:
        for part in self.cell.waiting.values():
            self.leaves(part, RULES.reject_bin)
        self.new_cell()
        if self.line:
            self.cell_does(self.cell.line_up(self.now))

    def memory_is_bounded(self) -> None:
        assert len(self.station.handshake._parts) <= SETTINGS.memory
        assert (
            len(self.station.handshake._in_hand) + len(self.station.handshake._orphans)
            <= SETTINGS.max_in_hand
        )

    def versions_agree(self) -> None:
        newest = min(self.station.link.newest, self.cell.newest)
        assert self.station.link.version <= newest
        assert self.cell.version <= newest

    def heals(self) -> None:
        """The channel heals: everything settles, and the next part is inspected as if nothing had been."""
        if not self.line:
            self.flip_line()
        self.say_ready(True)
        self.settle(160)
        assert not self.cell.waiting
        assert not self.station.handshake._in_hand
        assert not self.station.handshake._orphans
        assert self.tells == self.receipts
        assert set(self.sorted) == set(range(1, self.pieces + 1))
        self.place(1)
        self.settle(20, Outcome.ACCEPT)
        assert self.sorted[self.pieces] == GOOD_BIN
        self.versions_agree()
        assert self.station.link.version == self.cell.version

    def settle(self, steps: int, outcome: Outcome = Outcome.REJECT) -> None:
        for _ in range(steps):
            self.deliver_all(2)
            while self.open:
                self.record_is_durable(0)
                self.frame_is_here(0)
                self.decide(0, outcome)
            self.wait(20)


class LossyPlant(RuleBasedStateMachine, Plant):
    """The same plant, with hypothesis choosing and shrinking."""

    start = initialize()(Plant.start)
    place = rule(part_id=st.integers(1, 4))(Plant.place)
    record_is_durable = rule(which=LATER)(Plant.record_is_durable)
    frame_is_here = rule(which=LATER)(Plant.frame_is_here)
    decide = rule(which=LATER, outcome=st.sampled_from(Outcome))(Plant.decide)
    tell_out_of_the_blue = rule(part_id=st.integers(1, 5))(Plant.tell_out_of_the_blue)
    deliver_any = rule(which=LATER, to_station=st.booleans())(Plant.deliver_any)
    deliver_all = rule(rounds=st.integers(1, 4))(Plant.deliver_all)
    lose = rule(which=LATER, to_station=st.booleans())(Plant.lose)
    repeat_late = rule(which=LATER, to_station=st.booleans())(Plant.repeat_late)
    garble = rule(
        which=LATER, to_station=st.booleans(), where=st.integers(0, 10_000), flip=st.integers(1, 255)
    )(Plant.garble)
    wait = rule(ms=st.sampled_from(WAITS))(Plant.wait)
    accident = rule(kind=st.sampled_from(ACCIDENTS))(Plant.accident)

    @invariant()
    def bounded(self) -> None:
        if hasattr(self, "station"):
            self.memory_is_bounded()

    def teardown(self) -> None:
        if hasattr(self, "station"):
            self.heals()


LossyPlant.TestCase.settings = settings(
    max_examples=100, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
TestNoFaultOfTheLineSortsWrongly = LossyPlant.TestCase


def storm(seed: int, steps: int = 400) -> Plant:
    """A busy plant on a bad line: mostly work, often faults, sometimes an accident."""
    rng = random.Random(seed)
    plant = Plant()
    plant.start()
    calm = rng.choice((2, 10, 40))

    def some() -> int:
        return rng.randrange(1000)

    faults = (
        lambda: plant.lose(some(), rng.random() < 0.5),
        lambda: plant.repeat_late(some(), rng.random() < 0.5),
        lambda: plant.garble(some(), rng.random() < 0.5, some(), rng.randint(1, 255)),
        lambda: plant.deliver_any(some(), rng.random() < 0.5),
        lambda: plant.keep_for_later(some(), rng.random() < 0.5),
        lambda: plant.bring_back(some()),
        lambda: plant.tell_out_of_the_blue(rng.randint(1, 5)),
    )
    work = (
        lambda: plant.place(rng.randint(1, 4)),
        lambda: plant.deliver_all(1),
        lambda: plant.deliver_all(1),
        lambda: plant.record_is_durable(some()),
        lambda: plant.frame_is_here(some()),
        lambda: plant.decide(some(), rng.choice(list(Outcome))),
        lambda: plant.wait(rng.choice((1, 1, 5, 20, 60))),
    )
    for _ in range(steps):
        rng.choice(faults if rng.randrange(calm) == 0 else work)()
        if rng.randrange(40) == 0:
            plant.accident(rng.choice(ACCIDENTS))
        if rng.randrange(40) == 0:
            plant.wait(rng.choice((300, 700, 1100)))
        if not plant.line and rng.randrange(10) == 0:
            plant.flip_line()
        if rng.randrange(20) == 0:
            plant.say_ready(True)
        plant.memory_is_bounded()
    return plant


@given(st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_a_busy_plant_on_a_bad_line_sorts_nothing_twice_and_nothing_good_unproven(seed: int) -> None:
    storm(seed).heals()


def test_the_storms_reach_the_corners_that_they_are_for() -> None:
    plants = [storm(seed) for seed in range(25)]
    assert sum(v == GOOD_BIN for plant in plants for v in plant.sorted.values()) > 100
    assert sum(plant.delivered_again for plant in plants) > 5
    assert sum(plant.left_early for plant in plants) > 20
    assert {min(plant.station.link.newest, plant.cell.newest) for plant in plants} == {1, 2, 3}
    for name in (
        "duplicates",
        "resent",
        "refused",
        "unexpected",
        "misplaced",
        "unacknowledged",
        "cell_restarts",
    ):
        assert sum(getattr(plant.station.handshake.counts, name) for plant in plants) > 0, name
