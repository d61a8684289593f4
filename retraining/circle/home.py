"""The way home: ship, sign, order, fetch; then the running line proves the engine, tries it and keeps it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from retraining.circle.commands import RETRAIN, STATION, UPDATER, StepError, call
from retraining.circle.line import Line, as_json
from retraining.circle.lots import Lot, rendered_lot
from retraining.circle.plan import PRODUCT, Plan
from retraining.data.manifest import file_digest
from station.engines.states import EngineState
from station.engines.store import Store
from station.files import write_file
from station.journal.reading import JournalReader
from station.recipe import load_recipe

BY = "script of the circle"
PROOF_S, TRIAL_S, STOP_S = 900.0, 3600.0, 120.0
"""How long the proof, the trial and a stop may take."""


def publish(plan: Plan) -> None:
    """Sign the new engine into the workshop's repository, and order it in the plant's."""
    place, keys = plan.out / "repositories", plan.out / "keys"
    for begun in (place, keys):
        shutil.rmtree(begun, ignore_errors=True)
    images, director = place / "images", place / "director"
    call(RETRAIN, "keys", "make", keys, "workshop", "plant", log=plan.log)
    workshop, boss = keys / "workshop.pem", keys / "plant.pem"
    call(
        RETRAIN, "sign", "new", images, "--people", keys / "workshop.pub", "--threshold", 1, "--online",
        keys / "workshop.pub", "--key", workshop, log=plan.log,
    )  # fmt: skip
    call(
        RETRAIN, "sign", "product", images, PRODUCT, "--canary", keys / "workshop.pub", "--stable",
        keys / "workshop.pub", "--key", workshop, log=plan.log,
    )  # fmt: skip
    call(
        RETRAIN, "sign", "new", director, "--director", "--people", keys / "plant.pub", "--threshold", 1,
        "--online", keys / "plant.pub", "--key", boss, log=plan.log,
    )  # fmt: skip
    call(
        RETRAIN, "ship", plan.engine_of("next"), images, "--recipe",
        plan.tuned_of("next"), "--licence", "Apache-2.0", "--key", workshop,
        log=plan.log,
    )  # fmt: skip
    call(RETRAIN, "sign", "promote", images, "--product", PRODUCT, "--key", workshop, log=plan.log)
    call(
        RETRAIN, "sign", "order", director, "--repository", images, "--product", PRODUCT, "--stations",
        "circle-good", "--key", boss, log=plan.log,
    )  # fmt: skip


def usual_lot(plan: Plan) -> Lot:
    """Good parts, and parts with one defect of any class."""
    return rendered_lot(
        plan.out / "lots" / "good", load_recipe(plan.recipe_of("next")), frames=plan.line_parts,
        seed=plan.known_seed + 3, good_share=0.5, kinds=(plan.unknown, *plan.known),
        processes=plan.processes, margin_px=plan.frame_margin_px,
    )  # fmt: skip


def go_home(plan: Plan) -> dict[str, Any]:
    """Run a line of unseen parts throughout: with the first engine, then with the one that comes home."""
    line = Line(plan.out / "lines" / "good", usual_lot(plan))
    line.clear()
    line.write_config(
        recipe=PRODUCT, recipes=plan.tuned_of("first").parent, engines=line.folder / "engines", target=None,
        rate_hz=plan.rate_hz,
        new_engines={"trial_parts": plan.usual_parts, "baseline_parts": plan.usual_parts},
    )  # fmt: skip
    shutil.copytree(plan.engine_of("first"), line.folder / "engines" / PRODUCT)
    store = Store(line.folder / "engines", PRODUCT)
    with (line.folder / "run.log").open("ab") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "station.cli", "run", "--config", str(line.config), "--plain"],
            stdout=log,
            stderr=log,
        )
    try:
        _wait(running, lambda: line.count() > 0, TRIAL_S, "the line did not start")
        fetch(plan, line.folder / "engines")
        waiting = (EngineState.INSTALLED, EngineState.PROVEN)
        _wait(running, lambda: _state(store) not in waiting, PROOF_S, "the proof did not end")
        digest = next(iter(store.engines().entries))
        if _state(store) is EngineState.BAD:
            raise StepError(f"the engine failed its proof: {store.engines().entries[digest].why}")
        _wait(running, lambda: line.count() >= plan.usual_parts, TRIAL_S, "the line judged too few parts")
        _wait(
            running, lambda: _shadowed(line) >= plan.shadow_parts, TRIAL_S, "the shadow judged too few parts"
        )
        call(
            STATION, "engines", "activate", digest[:12], "--config", line.config, "--by", BY, "--why",
            f"knows {plan.unknown}", log=plan.log,
        )  # fmt: skip
        ended = (EngineState.GOOD, EngineState.BAD)
        _wait(running, lambda: _state(store) in ended, TRIAL_S, "the trial did not end")
    finally:
        running.send_signal(signal.SIGINT)
        code = running.wait(STOP_S)
    if code:
        raise StepError(f"the running line ended with {code}; see {line.folder / 'run.log'}")
    entry = store.engines().entries[digest]
    answered = line.answered(plan.log)
    seen = line.seen()
    write_file(line.folder / "parts.jsonl", as_json(seen))
    return {
        "answered": answered, "state": entry.state.value, "why": entry.why, "digest": digest,
        "steps": [step.step for step in store.engines().steps], "line": _counted(plan, line),
    }  # fmt: skip


def fetch(plan: Plan, engines: Path) -> None:
    """Let the updater take the engine from both repositories, as from a stick."""
    place = plan.out / "repositories"
    settings = plan.out / "lines" / "good" / "updater.yaml"
    write_file(
        settings,
        yaml.safe_dump(
            {
                "station": "circle-good", "engines": str(engines.absolute()),
                "state": str((plan.out / "lines" / "good" / "updater").absolute()),
                "images": {
                    "url": "https://images.invalid/images",
                    "root": str((place / "images" / "metadata" / "1.root.json").absolute()),
                },
                "director": {
                    "url": "https://director.invalid/director",
                    "root": str((place / "director" / "metadata" / "1.root.json").absolute()),
                },
                "products": [{"product": PRODUCT, "channel": "stable"}],
            }
        ),
    )  # fmt: skip
    call(UPDATER, "--config", settings, "--from", place, log=plan.log)


def _shadowed(line: Line) -> int:
    """Parts that the new engine judged beside the line: accepted or rejected ones, whichever are fewer."""
    with JournalReader(line.folder / "journal.db") as reader:
        said = [
            str(event.values["verdict_outcome"]) == "reject"
            for event in reader.station_events(("shadow",))
            if event.record_id
        ]
    return min(sum(said), len(said) - sum(said))


def _state(store: Store) -> EngineState:
    entries = list(store.engines().entries.values())
    if not entries:
        raise StepError("the updater installed nothing")
    return entries[0].state


def _wait(running: subprocess.Popen[bytes], done: Callable[[], bool], patience_s: float, what: str) -> None:
    until = time.monotonic() + patience_s
    while not done():
        if running.poll() is not None:
            raise StepError(f"{what}: the station ended with {running.returncode}; see run.log")
        if time.monotonic() > until:
            raise StepError(f"{what} within {patience_s:g} s")
        time.sleep(0.2)


def _counted(plan: Plan, line: Line) -> dict[str, dict[str, int]]:
    """Verdicts by engine and truth: every trigger has one."""
    newer = {file_digest(file) for file in plan.engine_of("next").glob("*.onnx")}
    counts: dict[str, Counter[str]] = {}
    with JournalReader(line.folder / "journal.db") as reader:
        for record in reader.records():
            truth = line.lot.part(record.part_id).label
            kind = truth if truth in (plan.unknown, line.lot.good) else "another defect"
            engine = "next" if record.engine_digest in newer else "first"
            found = counts.setdefault(engine, Counter())
            found[f"{kind}: {record.outcome} {record.class_name or ''}".strip()] += 1
    return {engine: dict(found) for engine, found in counts.items()}
