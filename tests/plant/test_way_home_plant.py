"""An engine comes home to a station that is a process of its own, and that is killed while it does."""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from station.control import ControlError, ask
from station.engines.adapted import recipe_for
from station.engines.folder import load_manifest
from station.engines.states import FACTORY, EngineState, StoreError
from station.engines.store import Store
from station.journal.audit import audit
from station.journal.reading import JournalReader
from station.recipe import load_recipe
from tests.station.engines.engine_store import opened_bundle
from tests.waiting import wait_for

INSTALL = """
import sys
from pathlib import Path
from station.engines.states import Provenance
from station.engines.store import install
install(Path(sys.argv[1]), "tiny", Path(sys.argv[2]), Provenance("in a test"))
"""


def store_of(plant: Any) -> Store:
    return Store(plant.folder / "engines", "tiny")


def bring_home(plant: Any, version: int, patience_s: float = 60) -> int:
    """Install a version by a process of its own, killed after ``patience_s``; its exit code."""
    opened = plant.folder / f"opened-{version}"
    if not opened.exists():
        opened_bundle(plant.folder / "engines" / "tiny", opened, f"version {version}", version)
    updater = subprocess.Popen(
        [sys.executable, "-c", INSTALL, str(plant.folder / "engines"), str(opened)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        updater.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired:
        updater.kill()
        updater.communicate()
    return updater.returncode


def command(plant: Any, *words: str) -> Any:
    return plant.station_command("engines", *words, "--config", str(plant.folder / "station.yaml"))


@pytest.mark.slow
def test_an_engine_comes_home_proves_itself_is_activated_and_is_rolled_back_by_commands(
    small_plant: Any,
) -> None:
    with (small_plant.folder / "station.yaml").open("a") as file:
        file.write("new_engines: {trial_parts: 100000}\n")
    small_plant.start_cell(rate_hz=20)
    station = small_plant.start_station()
    wait_for(lambda: len(small_plant.cell.parts()) > 5)
    assert bring_home(small_plant, 2) == 0
    (digest,) = store_of(small_plant).engines().entries
    wait_for(lambda: store_of(small_plant).engines().entry(digest).state is EngineState.PROVEN)
    done = command(small_plant, "activate", digest[:8], "--why", "knows more", "--by", "J. Novak")
    assert done.returncode == 0, done.stderr
    seen = len(small_plant.cell.parts())
    wait_for(lambda: len(small_plant.cell.parts()) > seen + 5)
    status = small_plant.station_command(
        "status", "--config", str(small_plant.folder / "station.yaml")
    ).stdout
    assert f"{digest[:12]} judges, trial since" in status
    assert "back to factory if need be" in status
    listed = command(small_plant, "list").stdout
    assert f"active   │ {digest[:12]}" in listed
    assert "trial" in listed
    assert "version" in command(small_plant, "diff", "factory", digest[:8]).stdout
    done = command(small_plant, "rollback", "--why", "too many rejects", "--by", "J. Novak")
    assert done.returncode == 0, done.stderr
    refused = command(small_plant, "activate", digest[:8])
    assert refused.returncode == 2
    assert "is bad (too many rejects)" in refused.stderr
    code, out = small_plant.stop_station(station)
    assert code == 0, out
    history = command(small_plant, "history").stdout
    for step in ("installed", "proven", "trial", "bad"):
        assert step in history
    assert "J. Novak" in history
    assert "not in the journal" not in history
    assert command(small_plant, "prove", digest[:8], "--by", "A. Ito").returncode == 0
    assert "1 starts" not in command(small_plant, "list").stdout
    assert command(small_plant, "activate", digest[:8]).returncode == 0, (
        "without a station, for its next start"
    )
    assert store_of(small_plant).engines().active == digest
    with JournalReader(small_plant.journal) as reader:
        steps = [one.values["step"] for one in reader.station_events(("store",))]
    shadowed = [step for step in steps if step != "shadowing"]  # begins in spare time, if there was any
    assert shadowed == ["installed", "proven", "trial", "bad", "active"]
    assert audit(small_plant.journal).findings == ()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_100_times_each_start_has_a_proven_engine_and_each_part_one_engine(small_plant: Any) -> None:
    """In update and activation. tests/station/engines/test_store_kill.py strikes each write of the store."""
    dice = random.Random(100)
    kills = 0
    small_plant.start_cell(rate_hz=30)
    store, socket = store_of(small_plant), small_plant.journal.with_suffix(".sock")
    station = small_plant.start_station()
    for number in itertools.count():
        if kills >= 100:
            break
        running = station
        wait_for(lambda running=running: is_ready(socket) or running.poll() is not None)
        assert running.poll() is None, running.communicate()[0]
        seen = len(small_plant.cell.parts())
        wait_for(lambda seen=seen: len(small_plant.cell.parts()) > seen + 1)
        version = number + 2
        if number % 2:  # the updater is killed
            kills += bring_home(small_plant, version, dice.uniform(0.0, 1.5)) == -signal.SIGKILL
        elif bring_home(small_plant, version) == 0:  # the station is killed as it changes over
            digest = newest(store)
            store.change(lambda known, one=digest: known.proven(one, "a test", by="station"))
            order(socket, "/engines/activate", {"engine": digest, "why": "a test", "by": "x"})
            if dice.random() < 0.3:
                order(socket, "/engines/rollback", {"why": "a test", "by": "x"})
        time.sleep(dice.uniform(0.0, 0.4))
        station.send_signal(signal.SIGKILL)
        station.communicate()
        kills += 1
        for engine in store.in_order():
            load_manifest(engine.folder, engine.name)
        station = small_plant.start_station()
    wait_for(lambda: is_ready(socket))
    code, out = small_plant.stop_station(station)
    assert code == 0, out
    gave_up = "was put into bin 9"  # the cell's own for faults, after it has waited for its time
    found = [one.text for one in audit(small_plant.journal).findings]
    assert [text for text in found if not text.endswith(gave_up)] == []
    look_at_records(small_plant, store)


def order(socket: Path, what: str, body: dict[str, str]) -> None:
    """Ask for a changeover and do not wait for it."""
    try:
        ask(socket, "POST", what, body, timeout_s=0.05)
    except (ControlError, StoreError):
        return


def is_ready(socket: Path) -> bool:
    try:
        return bool(ask(socket, "GET", "/status", timeout_s=5)["state"] in ("ready", "single execution"))
    except ControlError:
        return False


def newest(store: Store) -> str:
    return max(store.engines().entries.values(), key=lambda one: one.version).digest


def look_at_records(plant: Any, store: Store) -> None:
    """Every trigger ended in one record, and every verdict on a part is one engine's with its own recipe."""
    recipe = load_recipe(plant.folder / "recipes" / "tiny.yaml")
    model = load_manifest(store.factory).digests["fp32"]
    lawful = {recipe.digest}
    for digest in store.engines().entries:
        if store.folder_of(digest).is_dir():
            lawful.add(recipe_for(recipe, store.find(digest)).digest)
    with JournalReader(plant.journal) as reader:
        counts = reader.counts()
        records = list(reader.records(scores=False))
        texts = {digest: text for digest, what, text in reader.texts() if what == "recipe"}
    assert counts["triggers"] == counts["accept"] + counts["reject"] + counts["fault"]
    assert counts["open"] == 0
    for record in records:
        if record.outcome != "fault":
            assert record.engine_digest == model
            text = texts[record.recipe_digest]
            named = [digest for digest in store.engines().entries if digest in text]
            assert record.recipe_digest in lawful or len(named) == 1
    by_part = {record.part_id for record in records if record.outcome != "fault"}
    assert len(by_part) == sum(record.outcome != "fault" for record in records), "judged twice"
    assert any(FACTORY not in text for text in texts.values())
