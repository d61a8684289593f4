"""A running station asked from other processes, while a cell brings parts."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

from station.journal import STATION_EVENTS
from station.journal.reading import JournalReader


def ask(plant: Any, *arguments: str) -> Any:
    return plant.station_command(*arguments, "--config", str(plant.folder / "station.yaml"))


def wait_for(plant: Any, parts: int) -> None:
    until = time.monotonic() + 90
    while len(plant.cell.parts()) < parts:
        assert time.monotonic() < until, "the cell gets no parts done"
        time.sleep(0.02)


def test_a_station_is_asked_halted_resumed_and_changed_over_under_load(small_plant: Any) -> None:
    recipes = small_plant.folder / "recipes"
    tiny = (recipes / "tiny.yaml").read_text()
    (recipes / "second.yaml").write_text(tiny.replace("name: tiny", "name: second"))
    small_plant.start_cell(rate_hz=20, recipe="")
    station = small_plant.start_station()
    wait_for(small_plant, 5)

    shown = ask(small_plant, "status")
    assert shown.returncode == 0, shown.stderr
    assert "tiny" in shown.stdout
    assert "onnxruntime-cpu fp32" in shown.stdout

    halted = ask(small_plant, "halt", "--reason", "tool change")
    assert "halted (F603 tool change)" in halted.stdout, halted.stderr
    found = json.loads(ask(small_plant, "status", "--json").stdout)
    assert (found["state"], found["parts"]["in_hand"]) == ("halted", 0)
    before = len(small_plant.cell.parts())
    assert ask(small_plant, "resume").returncode == 0
    wait_for(small_plant, before + 5)

    refused = ask(small_plant, "prepare", "third")
    assert refused.returncode == 2
    assert "third" in refused.stderr
    changed = ask(small_plant, "prepare", "second")
    assert changed.returncode == 0, changed.stderr
    assert "recipe second" in changed.stdout
    wait_for(small_plant, len(small_plant.cell.parts()) + 5)
    activated = ask(small_plant, "activate", "tiny")
    assert activated.returncode == 0, activated.stderr
    wait_for(small_plant, len(small_plant.cell.parts()) + 5)

    code, out = small_plant.stop_station(station)
    assert code == 0, out
    records = small_plant.records()
    used = [records[part]["recipe"] for part in sorted(records)]
    assert used == sorted(used, reverse=True), "tiny first, then second, and never back"
    assert set(used) == {"tiny", "second"}
    assert {record["outcome"] for record in records.values()} == {"accept", "reject"}, "no part paid for it"
    audit = small_plant.station_command("journal", "audit", "--journal", str(small_plant.journal))
    assert audit.returncode == 0, audit.stdout + audit.stderr
    gone = ask(small_plant, "status")
    assert gone.returncode == 2
    assert "no station runs here" in gone.stderr


def test_after_a_kill_the_socket_says_so_and_the_next_start_takes_it_over(small_plant: Any) -> None:
    small_plant.start_cell(rate_hz=20)
    station = small_plant.start_station()
    wait_for(small_plant, 1)
    station.send_signal(signal.SIGKILL)
    station.communicate()
    gone = ask(small_plant, "halt")
    assert gone.returncode == 2
    assert "has ended; start it again" in gone.stderr
    again = small_plant.start_station()
    until = time.monotonic() + 90
    # parts of the killed station still end at the cell, so a further one says nothing about the new station
    while (answer := ask(small_plant, "status")).returncode != 0:
        assert time.monotonic() < until, answer.stderr
    code, out = small_plant.stop_station(again)
    assert code == 0, out


def test_a_configuration_that_was_changed_is_an_event_of_the_chain(small_plant: Any) -> None:
    config = small_plant.folder / "station.yaml"
    small_plant.start_cell()
    for text in (config.read_text(), config.read_text(), config.read_text() + "# a change\n"):
        config.write_text(text)
        code, out = small_plant.station_to_its_end("--parts", "1")
        assert code == 0, out
    with JournalReader(small_plant.journal) as reader:
        kinds = [one.kind for one in reader.events() if one.kind in STATION_EVENTS]
    assert kinds == ["start", "stop", "start", "stop", "configuration", "start", "stop"]
