"""The plant's look at its stations: hostile manifests are refused by name, journals are witnessed."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.fleet.rollout import STAGES, Next, decide, next_stage
from deploy.fleet.witness import FleetError, Memory, Seen, begin_anew, enrolled, look, read_memory, watch
from deploy.repository.orders import Order
from station.fleet.manifest import LARGEST_BYTES, PURPOSE, StationManifest
from station.signing import own_key

NOW = datetime(2026, 11, 27, 12, 0, 0, tzinfo=UTC)
NEW, OLD = "a" * 64, "b" * 64
NAMES = ("line-1", "line-2", "line-3")


def manifest(station: str, minutes: int = 0, seq: int = 100, **changed: Any) -> dict[str, Any]:
    """What a station says, as JSON; ``minutes`` after noon."""
    at = NOW + timedelta(minutes=minutes)
    return {
        "format": 1, "station": station, "number": int(at.timestamp()), "at": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "software_version": "1.0.0", "is_simulated": False, "state": "ready", "reason": "",
        "recipe": "housing", "product": "housing", "engine": OLD, "version": 1, "engine_state": "good",
        "model": "c" * 64, "installed": [OLD], "candidate": "", "trial": None, "bad": [], "proof": None,
        "parts": {"triggers": 5, "accepted": 4, "rejected": 1, "faulted": 0}, "problems": [],
        "journal": "j1", "heads": [{"seq": seq, "digest": f"{seq:064x}"}],
    } | changed  # fmt: skip


@dataclass
class Hall:
    """A folder of manifests, the keys of three stations, and what the plant remembers."""

    place: Path
    memory: Memory = field(default_factory=Memory)

    @property
    def folder(self) -> Path:
        return self.place / "fleet"

    def file(self, station: str) -> Path:
        return self.folder / f"{station}.manifest"

    def write(self, content: dict[str, Any], *, key: str = "", into: str = "") -> None:
        """As a station signs and writes it; ``key``: with another station's key."""
        name = str(content["station"])
        text = json.dumps(content)
        signature = own_key(self.place / f"{key or name}.pem").sign(PURPOSE, text.encode()).hex()
        self.file(into or name).write_text(json.dumps({"manifest": text, "signature": signature}))

    def look(self, minutes: float = 0) -> dict[str, Seen]:
        at = NOW + timedelta(minutes=minutes)
        seen, self.memory = look(self.folder, enrolled(self.place / "keys"), self.memory, at, 3600)
        return {one.station: one for one in seen}


@pytest.fixture
def hall(tmp_path: Path) -> Hall:
    (tmp_path / "fleet").mkdir()
    (tmp_path / "keys").mkdir()
    for name in NAMES:
        (tmp_path / "keys" / f"{name}.pub").write_text(own_key(tmp_path / f"{name}.pem").public.pem())
    return Hall(tmp_path)


def test_a_good_manifest_counts_until_it_is_too_old(hall: Hall) -> None:
    hall.write(manifest("line-1"))
    seen = hall.look(2)
    assert (seen["line-1"].trouble, seen["line-1"].age_s) == ("", 120)
    assert seen["line-2"].trouble == "has never written a manifest"
    assert hall.look(61)["line-1"].trouble == "silent for 3660 s"


def forged(hall: Hall) -> None:
    own_key(hall.place / "thief.pem")
    hall.write(manifest("line-1", 1), key="thief")


def changed_on_the_way(hall: Hall) -> None:
    hall.write(manifest("line-1", 1))
    hall.file("line-1").write_text(hall.file("line-1").read_text().replace("good", "proven"))


def replayed(hall: Hall) -> None:
    hall.write(manifest("line-1", -1))


def two_machines(hall: Hall) -> None:
    hall.write(manifest("line-1", 0, state="halted"))


def of_another_station(hall: Hall) -> None:
    hall.write(manifest("line-2", 1), into="line-1")


def says_another_name(hall: Hall) -> None:
    hall.write(manifest("line-2", 1), key="line-1", into="line-1")


def oversized(hall: Hall) -> None:
    hall.write(manifest("line-1", 1))
    with hall.file("line-1").open("r+b") as file:
        file.truncate(10_000_000_000)


def of_the_future(hall: Hall) -> None:
    hall.write(manifest("line-1", 60))


def a_number_of_the_future(hall: Hall) -> None:
    hall.write(manifest("line-1", 1, number=2**62))


def named_outside(hall: Hall) -> None:
    hall.write(manifest("../../etc", 1), key="line-1", into="line-1")


def an_engine_named_outside(hall: Hall) -> None:
    hall.write(manifest("line-1", 1, engine="../../etc"))


def unknown_key(hall: Hall) -> None:
    hall.write(manifest("line-1", 1, surprise=1))


def no_time(hall: Hall) -> None:
    hall.write(manifest("line-1", 1, at="2026-99-27T12:00:00Z"))


def a_pipe(hall: Hall) -> None:
    hall.file("line-1").unlink()
    os.mkfifo(hall.file("line-1"))


def nested(hall: Hall) -> None:
    hall.file("line-1").write_text("[" * 60_000)


def removed(hall: Hall) -> None:
    hall.file("line-1").unlink()


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        (forged, "is forged, or was changed on the way"),
        (changed_on_the_way, "is forged, or was changed on the way"),
        (replayed, "is an older one again"),
        (two_machines, "is the second one with the number"),
        (of_another_station, "is of another station: line-2 signed it"),
        (says_another_name, "is of another station: it says 'line-2'"),
        (oversized, f"is larger than {LARGEST_BYTES} bytes"),
        (of_the_future, "is of the future"),
        (a_number_of_the_future, "is of the future"),
        (named_outside, "cannot be used: station:"),
        (an_engine_named_outside, "cannot be used: engine:"),
        (unknown_key, "cannot be used: surprise:"),
        (no_time, "cannot be used: time data"),
        (a_pipe, "is a pipe or a device"),
        (nested, "is no manifest"),
        (removed, "is gone"),
    ],
)
def test_a_hostile_manifest_is_refused_by_name_and_the_last_good_one_stays(
    hall: Hall, attack: Any, said: str
) -> None:
    hall.write(manifest("line-1"))
    hall.look()
    before = hall.memory
    attack(hall)
    seen = hall.look(2)["line-1"]
    assert said in seen.refused
    assert seen.manifest is not None
    assert seen.manifest.number == int(NOW.timestamp())
    assert hall.memory == before


def test_a_station_that_nobody_enrolled_is_named(hall: Hall) -> None:
    own_key(hall.place / "line-9.pem")
    hall.write(manifest("line-9"))
    assert "no key is enrolled for this station" in hall.look()["line-9"].refused


def test_every_bad_key_is_named_at_once(hall: Hall) -> None:
    (hall.place / "keys" / "line-4.pub").write_text("no key")
    (hall.place / "keys" / "line-5.pub").write_bytes((hall.place / "keys" / "line-1.pub").read_bytes())
    with pytest.raises(FleetError, match=r"line-4\.pub: is no .*\n.*line-5\.pub: is the key of line-1"):
        enrolled(hall.place / "keys")


@pytest.mark.parametrize(
    ("later", "said"),
    [
        ({"seq": 90}, "went back from event 100 to 90"),
        ({"heads": [{"seq": 100, "digest": "f" * 64}]}, "is forked: event 100"),
        (
            {"heads": [{"seq": 200, "digest": "e" * 64}, {"seq": 100, "digest": "f" * 64}]},
            "is forked: event 100",
        ),
        ({"journal": "j2"}, "another journal than before (j2, was j1)"),
    ],
)
def test_a_journal_that_contradicts_what_was_seen_is_an_alarm_until_a_person_ends_it(
    hall: Hall, later: dict[str, Any], said: str
) -> None:
    hall.write(manifest("line-1"))
    hall.look()
    hall.write(manifest("line-1", 1, **later))
    assert said in hall.look(1)["line-1"].alarm
    hall.write(manifest("line-1", 2, seq=300))
    assert said in hall.look(2)["line-1"].alarm, "it does not end by itself"
    hall.memory = begin_anew(hall.memory, "line-1", "M. Ito", "disk replaced", NOW)
    assert hall.look(2)["line-1"].trouble == ""
    assert hall.memory.said[0]["by"] == "M. Ito"
    assert said in hall.memory.said[0]["alarm"]
    with pytest.raises(FleetError, match="has no alarm"):
        begin_anew(hall.memory, "line-1", "M. Ito", "again", NOW)


def test_what_was_seen_is_remembered_in_a_file_and_a_damaged_one_is_said(hall: Hall) -> None:
    keys, file = enrolled(hall.place / "keys"), hall.place / "plant" / "fleet.json"
    hall.write(manifest("line-1"))
    watch(hall.folder, keys, file, 3600, NOW)
    hall.write(manifest("line-1", 1, seq=90))
    (seen, *_) = watch(hall.folder, keys, file, 3600, NOW + timedelta(minutes=1))
    assert "went back" in seen.alarm
    assert read_memory(file).stations["line-1"].heads == {100: f"{100:064x}"}
    file.write_text("{}")
    with pytest.raises(FleetError, match="is no memory of a witness"):
        watch(hall.folder, keys, file, 3600, NOW)


# ---------------------------------------------------------------- orders


def said(name: str, **changed: Any) -> Seen:
    return Seen(name, StationManifest.model_validate_json(json.dumps(manifest(name, **changed))), age_s=5.0)


GOOD = {"engine": NEW, "version": 2, "installed": [NEW, OLD]}
FIRST = Order("housing", 2, ("line-1",))


def test_an_order_goes_further_only_when_every_station_found_the_engine_good() -> None:
    others = [said("line-2"), said("line-3")]
    assert decide(FIRST, NEW, [said("line-1", **GOOD), *others]).next is Next.ADVANCE
    for state, words in (
        ({}, "does not have it yet"),
        ({"installed": [NEW, OLD]}, "has it, and does not use it yet"),
        ({"installed": [NEW, OLD], "candidate": NEW}, "shadowing"),
        ({**GOOD, "engine_state": "trial", "trial": {"parts": 40, "of": 300}}, "trial, 40 of 300 parts"),
        ({**GOOD, "product": "other"}, "has other prepared"),
    ):
        decision = decide(FIRST, NEW, [said("line-1", **state), *others])
        assert (decision.next, decision.why) == (Next.WAIT, (f"line-1: {words}",))


@pytest.mark.parametrize("trouble", [{"refused": "is forged"}, {"alarm": "went back"}, {"is_silent": True}])
def test_a_station_whose_word_does_not_count_holds_the_order_back(trouble: dict[str, Any]) -> None:
    good = said("line-1", **GOOD)
    decision = decide(FIRST, NEW, [Seen("line-1", good.manifest, age_s=1.0, **trouble)])
    assert decision.next is Next.WAIT


def test_one_bad_engine_halts_the_order_whatever_all_others_say() -> None:
    bad = {"bad": [{"digest": NEW, "version": 2, "why": "rejected parts: 25 of 25"}]}
    decision = decide(FIRST, NEW, [said("line-1", **GOOD), said("line-2", **bad)])
    assert (decision.next, decision.why) == (Next.HALT, ("line-2: rejected parts: 25 of 25",))
    halted = Order("housing", 2, None, 100, halted=True)
    assert decide(halted, NEW, [said("line-1", **GOOD)]).next is Next.WAIT


def test_an_order_that_takes_nobody_proves_nothing() -> None:
    assert decide(Order("housing", 2, None, 0), NEW, [said("line-1", **GOOD)]).next is Next.WAIT
    assert decide(Order("housing", 2, None, 100), NEW, [said("line-1", **GOOD)]).next is Next.DONE


@given(st.sets(st.from_regex(r"[a-z]{1,8}", fullmatch=True), min_size=1, max_size=40), st.integers(0, 100))
def test_every_stage_takes_all_stations_of_the_one_before_and_the_last_one_takes_all(
    names: set[str], percent: int
) -> None:
    order, stages = Order("housing", 2, None, percent), []
    while (larger := next_stage(order, sorted(names))) is not None:
        before = {name for name in names if order.takes(name)}
        order = Order("housing", 2, None, larger)
        assert before <= {name for name in names if order.takes(name)}
        stages.append(larger)
    assert stages == sorted(set(stages))
    assert set(stages) <= set(STAGES)
    assert all(order.takes(name) for name in names)
