"""The status of a station as one JSON document: what ``GET /status`` answers and ``station status`` shows."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivers.settings import accepted_risks
from station.disk_budget import budget_problems, disk_uses
from station.engines.states import StoreError
from station.journal.values import software_version
from station.observers.telemetry import TelemetryObserver
from station.preparing import store_of

if TYPE_CHECKING:
    from station.running import Station


def status_document(station: Station) -> dict[str, Any]:
    """State, reason, what is prepared, counts, times, queues, observers, devices, journal and disk."""
    status, config, journal = station.line.status(), station.config, station.journal
    run = status.statistics
    head, kept = journal.head, journal.counts()
    uses = disk_uses(config, status.observers)
    return {
        "station": config.station.name,
        "software_version": software_version(),
        "is_simulated": config.is_simulated,
        "state": status.state.value,
        "reason": status.reason,
        "codes": sorted(map(str, status.codes)),
        "failure": status.failure,
        "prepared": station.line.prepared.names(),
        "new_engines": new_engines(station),
        "canary": asdict(status.canary) if status.canary is not None else None,
        "marks": asdict(station.line.marks),
        "accepted_risks": accepted_risks(config) + accepted_risks(station.line.prepared.recipe),
        "parts": {
            "triggers": run.triggers,
            "accepted": run.accepted,
            "rejected": run.rejected,
            "faulted": run.faulted,
            "in_hand": run.in_hand,
            "acknowledged": run.acknowledged,
            "unacknowledged": run.unacknowledged,
            "yield": run.yield_fraction,
            "per_second": run.parts_per_s,
            "rejected_by_class": run.classes,
            "faulted_by_reason": run.faults,
            "faulted_by_code": run.fault_codes,
            "overloaded": status.overloaded,
        },
        "trigger_to_ms": {"verdict": asdict(run.to_verdict), "acknowledged": asdict(run.to_acknowledged)},
        "queues": [asdict(queue) for queue in status.queues],
        "observers": [{**asdict(one), "problem": one.problem} for one in status.observers],
        "telemetry": _telemetry(station),
        "camera": asdict(status.camera),
        "sorter": asdict(status.sorter),
        "journal": {
            "path": str(journal.path),
            "records": kept.triggers,
            "open": kept.open,
            "head": {"journal_id": head.journal_id, "seq": head.seq, "digest": head.digest},
        },
        "disk": [asdict(use) for use in uses],
        "disk_problems": budget_problems(uses),
        "disk_free_mb": {
            "journal": _free_mb(config.paths.journal.parent),
            "images": _free_mb(config.paths.images),
        },
    }


def new_engines(station: Station) -> dict[str, Any] | None:
    """What the store of engines says, and its keeper; None where no engine ever came home."""
    store, keeping = store_of(station.config, station.line.prepared.engine.info.name), station.keeping
    if not store.is_there:
        return None
    said = {
        "trial": None if keeping.trial is None else asdict(keeping.trial),
        "problems": dict(keeping.problems),
    }
    try:
        known = store.engines()
    except StoreError as error:
        return {"problem": str(error), **said}
    active = known.entries.get(known.active)
    return {
        "active": known.active,
        "previous": known.previous,
        "candidate": known.candidate or None,
        "state": None if active is None else str(active.state),
        "since": None if active is None else active.at,
        "why": None if active is None else active.why,
        "starts_in_trial": 0 if active is None else active.starts,
        **said,
    }


def _telemetry(station: Station) -> dict[str, Any] | None:
    """How far the consumers of records are; None without telemetry."""
    found = station.observers.find(TelemetryObserver)
    if found is None:
        return None
    sparkplug = None if found.sparkplug is None else asdict(found.sparkplug.status())
    return asdict(found.sender.status()) | {"sparkplug": sparkplug}


def _free_mb(folder: Path) -> int | None:
    """The free space on the disk of a folder, MB; None where it is unknown."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free // 1_000_000
    except OSError:
        return None
