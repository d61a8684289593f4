"""Records over a real mosquitto: outages, kills, late subscribers, strangers, and brokers that are none."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from station.journal.cursors import cursors
from station.journal.reading import JournalReader
from station.journal.writing import JournalSettings
from station.telemetry.lag import delivered
from station.telemetry.schema import schema_text
from station.telemetry.sender import TelemetrySender
from tests.station.telemetry.conftest import TOPIC, Bench
from tests.station.telemetry.test_sparkplug import status
from tests.waiting import PATIENCE_S, wait_for

REQUIRED = {"receipts": "required", "consumers": ("historian",)}


def lacks(sender: TelemetrySender) -> int:
    return sum(one.waiting for one in sender.status().lags if one.stream == "records")


def held(sender: TelemetrySender) -> int:
    return next((one.held for one in sender.status().lags if one.stream == "records"), -1)


def crash(sender: TelemetrySender) -> None:
    """The process is killed: the thread ends and nothing is said, sent or written any more."""
    from drivers.mqtt import abandon

    sender._stop.set()
    if sender._client is not None:
        abandon(sender._client)
        sender._client = None
    sender._move_cursors = lambda: None  # type: ignore[method-assign]
    sender._thread.join(10)


def test_records_arrive_in_order_with_their_numbers_and_fit_their_schema(bench: Bench) -> None:
    dashboard = bench.subscriber("dashboard")
    sender = bench.sender()
    wait_for(lambda: sender.status().connected)
    bench.parts(30)
    bench.journal.write_event("halt", {"reason": "tool change"})
    wait_for(lambda: dashboard.numbers() == list(range(1, 31)) and dashboard.of("events"))
    wait_for(lambda: held(sender) == 30)
    with JournalReader(bench.journal.path) as reader:
        for message, record in zip(dashboard.of("records"), reader.records(scores=False), strict=True):
            assert message["number"] == record.record_id
            for name in ("part_id", "outcome", "bin", "reason", "opened_at", "acknowledged", "frame_ms"):
                assert message["record"][name] == getattr(record, name)
    (*_, halt) = dashboard.of("events")
    assert (halt["event"]["kind"], halt["event"]["values"]) == ("halt", {"reason": "tool change"})
    schemas = {"records": "record-1", "events": "event-1", "station": "presence-1"}
    for one in dashboard.messages:
        jsonschema.validate(one.words, json.loads(schema_text(schemas[one.topic])))
    assert not any(one["repeat"] for one in dashboard.of("records"))


def test_events_name_the_one_before_them_so_that_a_gap_shows(bench: Bench) -> None:
    dashboard = bench.subscriber("dashboard")
    bench.sender()
    for number in range(5):
        bench.parts(20)
        bench.journal.write_event("halt", {"reason": str(number)})
    wait_for(lambda: [one["event"]["values"].get("reason") for one in dashboard.of("events")][-1:] == ["4"])
    events = dashboard.of("events")
    for before, one in pairwise(events):
        assert one["previous"] == before["number"]


def test_nobody_subscribed_is_not_delivered_and_a_late_subscriber_gets_everything(bench: Bench) -> None:
    sender = bench.sender()
    wait_for(lambda: sender.status().connected)
    bench.parts(25)
    wait_for(lambda: "nobody is subscribed" in sender.status().problem)
    wait_for(lambda: lacks(sender) == 25)
    dashboard = bench.subscriber("dashboard")
    wait_for(lambda: set(dashboard.numbers()) == set(range(1, 26)))
    assert dashboard.numbers() == sorted(dashboard.numbers())
    wait_for(lambda: lacks(sender) == 0)
    assert sender.status().problem == ""


def test_a_broker_that_is_killed_twice_loses_nothing_that_a_consumer_must_confirm(bench: Bench) -> None:
    consumer = bench.subscriber("historian-client", "records")
    sender = bench.sender(**REQUIRED)
    wait_for(lambda: sender.status().connected)
    for _ in range(2):
        bench.parts(40)
        wait_for(lambda: len(consumer.numbers()) > 5)
        bench.broker.kill()
        bench.parts(40)
        bench.broker.start()
        assert consumer.subscribed.wait(PATIENCE_S)
    wait_for(lambda: set(consumer.numbers()) == set(range(1, 161)))
    fresh = consumer.numbers(repeats=False)
    assert fresh == sorted(set(fresh))
    assert held(sender) == 0
    consumer.holds("historian", bench.journal_id, 160)
    wait_for(lambda: lacks(sender) == 0)


def test_after_each_reconnect_the_last_seconds_are_sent_again_and_marked(bench: Bench) -> None:
    dashboard = bench.subscriber("dashboard", "records")
    sender = bench.sender(replay_s=60.0)
    bench.parts(30)
    wait_for(lambda: held(sender) == 30)
    bench.broker.kill()
    bench.broker.start()
    wait_for(lambda: dashboard.numbers(repeats=True) == list(range(1, 31)))
    bench.parts(1)
    wait_for(lambda: dashboard.numbers()[-1] == 31)
    assert dashboard.numbers(repeats=False) == list(range(1, 32))


def test_a_station_that_is_killed_sends_again_what_it_cannot_know_to_be_held(bench: Bench) -> None:
    consumer = bench.subscriber("historian-client", "records")
    first = bench.sender(**REQUIRED)
    bench.parts(50)
    wait_for(lambda: consumer.numbers() == list(range(1, 51)))
    consumer.holds("historian", bench.journal_id, 30)
    wait_for(lambda: delivered(bench.journal.path, bench.settings(**REQUIRED))[0].held == 30)
    crash(first)
    bench.parts(10)
    second = bench.sender(replay_s=0.0, **REQUIRED)
    wait_for(lambda: consumer.numbers()[50:] == list(range(31, 61)))
    assert consumer.numbers(repeats=True)[:20] == list(range(31, 51))
    consumer.holds("historian", bench.journal_id, 60)
    wait_for(lambda: lacks(second) == 0)


def test_a_range_that_a_consumer_misses_is_sent_again(bench: Bench) -> None:
    consumer = bench.subscriber("historian-client", "records")
    bench.sender(**REQUIRED)
    bench.parts(20)
    wait_for(lambda: len(consumer.numbers()) == 20)
    consumer.holds("historian", bench.journal_id, 4, [5, 7])
    wait_for(lambda: consumer.numbers(repeats=True) == [5, 6, 7])
    consumer.holds("historian", bench.journal_id, 17, [18, None])
    wait_for(lambda: consumer.numbers(repeats=True) == [5, 6, 7, 18, 19, 20])


def test_one_consumer_that_is_behind_holds_its_own_cursor_only(bench: Bench) -> None:
    consumer = bench.subscriber("both", "records")
    sender = bench.sender(receipts="required", consumers=("historian", "quality"))
    bench.parts(20)
    wait_for(lambda: len(consumer.numbers()) == 20)
    consumer.holds("historian", bench.journal_id, 20)
    consumer.holds("quality", bench.journal_id, 5)
    wait_for(lambda: {one.holder: one.waiting for one in sender.status().lags if one.stream == "records"} == {
        "historian": 0, "quality": 15,
    })  # fmt: skip
    settings = bench.settings(receipts="required", consumers=("historian", "quality"))
    wait_for(lambda: [one.held for one in delivered(bench.journal.path, settings)[:2]] == [20, 5])


def test_strangers_and_nonsense_on_the_topic_of_receipts_move_nothing_and_are_shown(bench: Bench) -> None:
    consumer = bench.subscriber("historian-client", "records")
    receipt = {"schema": "receipt/1", "journal": bench.journal_id, "stream": "records"}
    receipt |= {"held": 10, "missing": None}
    consumer.publish("receipts/historian", json.dumps(receipt), retain=True)  # before the station comes
    sender = bench.sender(**REQUIRED)
    wait_for(lambda: "the broker keeps it" in sender.status().problem)
    bench.parts(10)
    wait_for(lambda: len(consumer.numbers()) == 10)
    consumer.publish("receipts/stranger", json.dumps(receipt))
    for nonsense in (
        b"", b"\xff", b"[" * 1000, b"{}",
        json.dumps(receipt | {"held": 99}), json.dumps(receipt | {"held": True}),
        json.dumps(receipt | {"journal": "another"}), json.dumps(receipt | {"missing": [None, 3]}),
        json.dumps(receipt | {"more": 1}),
    ):  # fmt: skip
        consumer.publish("receipts/historian", nonsense)
    wait_for(lambda: sender.status().receipts_ignored == 10)
    consumer.publish("receipts/historian", b"x" * 10_000_000)
    consumer.holds("historian", bench.journal_id, 3)
    wait_for(lambda: held(sender) == 3)
    assert sender.status().connected


def test_a_clock_that_jumps_an_hour_back_changes_no_order(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    from station.journal import events

    dashboard = bench.subscriber("dashboard", "records")
    sender = bench.sender()
    bench.parts(10)
    wait_for(lambda: held(sender) == 10)
    real = events.datetime

    class Back(real):  # type: ignore[valid-type, misc]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return real.now(tz) - timedelta(hours=1)

    monkeypatch.setattr(events, "datetime", Back)
    bench.parts(10)
    wait_for(lambda: held(sender) == 20)
    assert dashboard.numbers() == list(range(1, 21))
    times = [one["record"]["opened_at"] for one in dashboard.of("records")]
    assert times != sorted(times)
    bench.broker.kill()
    bench.broker.start()
    wait_for(lambda: len(dashboard.numbers(repeats=True)) == 20)
    assert dashboard.numbers(repeats=True) == list(range(1, 21))


def test_records_that_the_journal_has_removed_are_said_to_be_gone(tmp_path: Path, bench: Bench) -> None:
    bench.journal.close()
    from station.journal import Journal

    settings = JournalSettings(segment_parts=100, keep_gb=0.000001)
    with Journal(tmp_path / "small.db", station="station 4", settings=settings) as journal:
        bench.journal = journal
        for _ in range(4):
            bench.parts(100)
        with JournalReader(journal.path) as reader:
            wait_for(lambda: len(reader.segments()) == 1)
        consumer = bench.subscriber("historian-client")
        sender = bench.sender(**REQUIRED)
        wait_for(lambda: sender.status().connected)
        consumer.holds("historian", journal.head.journal_id, 0, [1, None])
        wait_for(lambda: consumer.of("gone"))
        gone = consumer.of("gone")[0]
        assert (gone["stream"], gone["first"], gone["last"]) == ("records", 1, 400)
        bench.parts(5)
        wait_for(lambda: consumer.numbers() == list(range(401, 406)))
        sender.close()


def test_birth_and_last_will_are_retained_and_a_goodbye_is_said(bench: Bench) -> None:
    sender = bench.sender()
    wait_for(lambda: sender.status().connected)
    late = bench.subscriber("late", "station")
    wait_for(lambda: [one.words["online"] for one in late.messages] == [True])
    assert late.messages[0].retained
    sender._client.socket().close()  # type: ignore[union-attr]  # as when a cable is cut
    wait_for(lambda: [one.words["online"] for one in late.messages] == [True, False, True])
    sender.close()
    wait_for(lambda: late.messages[-1].words["online"] is False)
    last = bench.subscriber("last", "station")
    wait_for(lambda: [one.words["online"] for one in last.messages] == [False])
    assert last.messages[0].retained


class Deaf:
    """Takes connections, reads, and answers with nothing, or with what it is given at first."""

    def __init__(self, answer: bytes = b"") -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.taken = 0
        self._answer = answer
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                one, _ = self._listening.accept()
            except OSError:
                return
            self.taken += 1
            threading.Thread(target=self._keep, args=(one,), daemon=True).start()

    def _keep(self, one: socket.socket) -> None:
        with one:
            one.recv(4096)
            one.sendall(self._answer)
            while one.recv(4096):
                pass

    def close(self) -> None:
        self._listening.close()


def test_a_broker_that_accepts_and_never_answers_holds_nobody(bench: Bench) -> None:
    deaf = Deaf()
    sender = bench.sender(port=deaf.port, connect_timeout_s=0.3)
    wait_for(lambda: "does not answer as a broker" in sender.status().problem)
    begun = time.monotonic()
    bench.parts(100)
    assert time.monotonic() - begun < 5
    wait_for(lambda: deaf.taken > 1)
    wait_for(lambda: lacks(sender) == 100)
    deaf.close()
    begun = time.monotonic()
    sender.close()
    assert time.monotonic() - begun < 5


def test_a_broker_that_welcomes_and_confirms_nothing_is_connected_to_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("station.telemetry.outbox.CONFIRMED_S", 0.3)
    deaf = Deaf(answer=b"\x20\x03\x00\x00\x00")  # CONNACK, success
    sender = bench.sender(port=deaf.port)
    bench.parts(5)
    wait_for(lambda: deaf.taken > 2)
    wait_for(lambda: lacks(sender) == 5)
    deaf.close()


def test_a_cursor_that_is_moved_by_another_program_is_shown(bench: Bench) -> None:
    dashboard = bench.subscriber("dashboard")
    sender = bench.sender(history=True)
    bench.parts(5)
    wait_for(lambda: held(sender) == 5)
    wait_for(lambda: lacks(sender) == 0)
    file = next(one.file for one in cursors(bench.journal.path) if one.name == "telemetry-records-broker")
    file.write_text("{}")
    bench.parts(5)
    wait_for(lambda: "is not a cursor" in sender.status().problem)
    file.unlink()
    bench.parts(5)
    wait_for(lambda: dashboard.numbers()[-1] == 15)
    assert set(dashboard.numbers(repeats=False)) == set(range(1, 16))


def test_mosquittos_own_client_reads_the_records(bench: Bench) -> None:
    command = ["mosquitto_sub", "-p", str(bench.broker.port), "-V", "5", "-q", "1", "-C", "3"]
    heard = subprocess.Popen([*command, "-t", f"{TOPIC}/records"], stdout=subprocess.PIPE, text=True)
    wait_for(lambda: f"{TOPIC}/records" in (bench.folder / "mosquitto.log").read_text())
    bench.sender()
    bench.parts(3)
    out, _ = heard.communicate(timeout=20)
    assert [json.loads(line)["number"] for line in out.splitlines()] == [1, 2, 3]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_is_noticed(bench: Bench) -> None:
    sender = bench.sender()
    wait_for(lambda: sender.status().connected)

    def dies() -> int:
        raise SystemExit

    sender._head = dies
    wait_for(lambda: "its thread is dead" in sender.status().problem)


def test_how_far_the_trial_of_an_engine_is_is_sent_when_it_changes(bench: Bench) -> None:
    dashboard = bench.subscriber("dashboard")
    said: dict[str, Any] | None = {
        "active": "a" * 64, "state": "trial", "candidate": None,
        "trial": {"digest": "a" * 64, "parts": 40, "of": 300, "not_compared": ()}, "problems": {},
    }  # fmt: skip
    sender = bench.sender(gauges_s=0.2)
    sender.watch(status, lambda: said)
    wait_for(lambda: bool(dashboard.of("engines")))
    said = {**said, "trial": {**said["trial"], "parts": 41}, "problems": {"trial": "cannot be read"}}
    wait_for(lambda: len(dashboard.of("engines")) == 2)
    said = {"problem": "state.json is damaged", "trial": None, "problems": {}}
    wait_for(lambda: len(dashboard.of("engines")) == 3)
    said = None
    wait_for(lambda: len(dashboard.of("engines")) == 4)
    assert [(one["state"], one["trial_parts"], one["problem"]) for one in dashboard.of("engines")] == [
        ("trial", 40, ""),
        ("trial", 41, "trial: cannot be read"),
        ("unknown", None, "state.json is damaged"),
        ("factory", None, ""),
    ]
