"""Every series, and its values from one snapshot of the station. Pure; docs/metrics.md has the same list.

The values of a label are bounded: they come from the station's own lists, or are cut after :data:`MOST` with
the rest counted as ``other``. No label bears the id of a part.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from station.engine_keeper import DUTIES
from station.faults import Code
from station.journal.values import software_version
from station.supervision import State

if TYPE_CHECKING:
    from station.disk_budget import DiskUse
    from station.engine_keeper import Keeping
    from station.engines.states import Engines
    from station.line_values import LineStatus
    from station.statistics import Times
    from station.telemetry.status import TelemetryStatus

MOST = 64
"""Values of one label, where they come from outside: classes of recipes, counters of a camera."""
LONGEST = 64
"""Characters of such a value."""
OTHER = "other"

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at a station: all that a scrape is made from."""

    name: str
    status: LineStatus
    disks: tuple[DiskUse, ...] = ()
    open_records: int = 0
    """Records of the journal without verdict or acknowledgement."""
    machine_c: Mapping[str, float] | None = None
    """Sensor -> degrees Celsius, where the kernel says."""
    telemetry: TelemetryStatus | None = None
    engines: Engines | None = None
    """Those that came home; None where none did, or where the store cannot be read."""
    keeping: Keeping | None = None
    """What is said of them."""


@dataclass(frozen=True, slots=True)
class Series:
    """One metric: its name has the unit, as Prometheus wants it."""

    name: str
    kind: str
    """``gauge``, ``counter`` or ``histogram``."""
    labels: Labels
    meaning: str


SERIES = (
    Series(
        "station_info",
        "gauge",
        ("station", "version", "recipe", "engine", "backend", "precision"),
        "1; the labels say what is prepared",
    ),
    Series("station_state", "gauge", ("state",), "1 for the state of the station, 0 for every other state"),
    Series("station_ready", "gauge", (), "1 while the station takes the next trigger"),
    Series(
        "station_condition",
        "gauge",
        ("code",),
        "1 while the code (docs/faults.md) is a reason why the station is not ready or is degraded",
    ),
    Series("station_triggers_total", "counter", (), "parts that were triggered"),
    Series("station_parts_in_hand", "gauge", (), "parts without a verdict"),
    Series("station_verdicts_total", "counter", ("outcome",), "verdicts: accept, reject, fault"),
    Series("station_rejects_total", "counter", ("class",), "rejected parts by class"),
    Series("station_faults_total", "counter", ("code",), "faulted parts by code (docs/faults.md)"),
    Series("station_overloaded_total", "counter", (), "parts that waited for others until their deadline"),
    Series("station_receipts_total", "counter", ("acknowledged",), "answers of the cell to results"),
    Series("station_deadline_seconds", "gauge", (), "the time limit from trigger to verdict"),
    Series(
        "station_verdict_seconds",
        "histogram",
        (),
        "from trigger to verdict sent; one bucket ends at the deadline",
    ),
    Series(
        "station_stage_seconds",
        "histogram",
        ("stage",),
        "from trigger to the end of a stage: frame, cut, scored, decided; one bucket ends at the deadline",
    ),
    Series(
        "station_acknowledged_seconds",
        "histogram",
        (),
        "from trigger to the cell's acknowledgement; one bucket ends at the deadline",
    ),
    Series("station_queue_length", "gauge", ("queue",), "items that wait in a queue"),
    Series("station_queue_capacity", "gauge", ("queue",), "items that a queue can hold"),
    Series("station_queue_shed_total", "counter", ("queue",), "items dropped because a queue was full"),
    Series("station_observer_parts_total", "counter", ("observer",), "parts that an observer has looked at"),
    Series("station_observer_failures_total", "counter", ("observer",), "parts on which an observer failed"),
    Series(
        "station_observer_losing", "gauge", ("observer",), "1 while an observer loses what it should keep"
    ),
    Series(
        "station_drift_ratio",
        "gauge",
        ("measure",),
        "how far parts have moved from training, in units of the alarm: above 1 is drift (docs/engines.md)",
    ),
    Series("station_camera_connected", "gauge", (), "1 while the camera is there"),
    Series(
        "station_camera_frames_total",
        "counter",
        ("end",),
        "frames of the camera: delivered (incomplete ones among them), lost, incomplete, discarded",
    ),
    Series("station_camera_reopened_total", "counter", (), "times that the camera was lost and opened again"),
    Series("station_camera_temperature_celsius", "gauge", (), "of the camera, where it measures it"),
    Series(
        "station_camera_detail",
        "gauge",
        ("name",),
        "settings and counters of the transport that are numbers, as the camera's driver names them",
    ),
    Series("station_sorter_connected", "gauge", (), "1 while the cell answers"),
    Series("station_sorter_messages_total", "counter", ("direction",), "messages sent and received"),
    Series(
        "station_sorter_problems_total",
        "counter",
        ("problem",),
        "resent, garbled, duplicates, reconnects, refused, misplaced, unacknowledged, unexpected, "
        "cell_restarts, failures",
    ),
    Series("station_journal_open_records", "gauge", (), "records without verdict or acknowledgement"),
    Series("station_golden_parts_passed_total", "counter", (), "golden parts judged right since the start"),
    Series("station_engine_trusted", "gauge", (), "0 after the engine has failed a golden part"),
    Series(
        "station_installed_engines_info",
        "gauge",
        ("role", "digest", "state"),
        "1; active and candidate among the engines that came home, with the first 12 digits of the digest",
    ),
    Series("station_trial_parts", "gauge", (), "parts that the engine in trial has judged; none without one"),
    Series("station_trial_parts_wanted", "gauge", (), "parts that its trial takes"),
    Series(
        "station_new_engines_problem",
        "gauge",
        ("duty",),
        "1 while a duty of the keeper of engines cannot be done: trial, steps, proof, shadow",
    ),
    Series("station_telemetry_connected", "gauge", (), "1 while the broker of the telemetry is there"),
    Series(
        "station_telemetry_waiting",
        "gauge",
        ("stream", "holder"),
        "messages of a stream that a holder does not have yet",
    ),
    Series("station_telemetry_repeats_total", "counter", (), "messages that were sent again"),
    Series("station_telemetry_dropped_total", "counter", (), "gauges that were dropped; never a record"),
    Series("station_store_used_bytes", "gauge", ("store",), "what a store takes on its disk"),
    Series("station_store_limit_bytes", "gauge", ("store",), "what a store may take, where it is limited"),
    Series("station_disk_free_bytes", "gauge", ("store",), "free space on the disk of a store"),
    Series("station_disk_size_bytes", "gauge", ("store",), "size of the disk of a store"),
    Series(
        "station_machine_temperature_celsius", "gauge", ("sensor",), "of the machine, where the kernel says"
    ),
)

PROBLEMS = (
    "resent", "garbled", "duplicates", "reconnects", "refused", "misplaced", "unacknowledged", "unexpected",
    "cell_restarts", "failures",
)  # fmt: skip
"""Counters of a sorter."""


def families(seen: Seen) -> Iterator[Metric]:
    """Every series with its values, in the order of :data:`SERIES`; one without values is left out."""
    run = seen.status.statistics
    times: dict[str, dict[Labels, Times]] = {
        "station_verdict_seconds": {(): run.verdict_times},
        "station_stage_seconds": {(stage,): found for stage, found in run.stage_times.items()},
        "station_acknowledged_seconds": {(): run.acknowledged_times},
    }
    values: defaultdict[str, list[tuple[Labels, float]]] = defaultdict(list)
    for name, labels, value in _values(seen):
        values[name].append((labels, value))
    for one in SERIES:
        if one.kind == "histogram":
            yield _histogram(one, times[one.name])
        elif values[one.name]:
            family = (CounterMetricFamily if one.kind == "counter" else GaugeMetricFamily)(
                one.name, one.meaning, labels=one.labels
            )
            for labels, value in values[one.name]:
                family.add_metric(labels, value)
            yield family


def bounded(counts: Mapping[str, float], most: int = MOST) -> dict[str, float]:
    """At most ``most`` values of a label; those beyond the first ones are added up as ``other``."""
    kept: dict[str, float] = {}
    for name, count in counts.items():
        known = name[:LONGEST] if name[:LONGEST] in kept or len(kept) < most - 1 else OTHER
        kept[known] = kept.get(known, 0.0) + count
    return kept


def _values(seen: Seen) -> Iterator[tuple[str, Labels, float]]:
    """Series, labels, value."""
    status = seen.status
    run, camera, sorter = status.statistics, status.camera, status.sorter
    engine = status.engine
    prepared = (seen.name, software_version(), status.recipe, engine.name, engine.backend, engine.precision)
    yield "station_info", prepared, 1
    for state in State:
        yield "station_state", (state.value,), state is status.state
    yield "station_ready", (), not any(code.code[1] == "6" for code in status.codes)
    for code in Code:
        if code.code[1] in "69":
            yield "station_condition", (code.code,), code in status.codes
    yield "station_triggers_total", (), run.triggers
    yield "station_parts_in_hand", (), run.in_hand
    for outcome, count in (("accept", run.accepted), ("reject", run.rejected), ("fault", run.faulted)):
        yield "station_verdicts_total", (outcome,), count
    yield from _each("station_rejects_total", bounded(run.classes))
    codes = {code.code: 0 for code in Code if code.code[1] in "12345"}  # from 0, so that the first one shows
    yield from _each("station_faults_total", codes | run.fault_codes)
    yield "station_overloaded_total", (), status.overloaded
    yield from _each("station_receipts_total", {"true": run.acknowledged, "false": run.unacknowledged})
    yield "station_deadline_seconds", (), run.deadline_s
    for queue in (*status.queues, *(one.queue for one in status.observers)):
        yield "station_queue_length", (queue.name,), queue.length
        yield "station_queue_capacity", (queue.name,), queue.capacity
        yield "station_queue_shed_total", (queue.name,), queue.shed
    for one in status.observers:
        yield "station_observer_parts_total", (one.name,), one.observed
        yield "station_observer_failures_total", (one.name,), one.failed
        yield "station_observer_losing", (one.name,), bool(one.losing)
        yield from _each("station_drift_ratio", one.drift)
    yield "station_camera_connected", (), camera.connected
    yield from _each(
        "station_camera_frames_total",
        {
            "delivered": camera.delivered,
            "lost": camera.lost,
            "incomplete": camera.incomplete,
            "discarded": camera.discarded,
        },
    )
    yield "station_camera_reopened_total", (), camera.reopened
    if camera.temperature_c is not None:
        yield "station_camera_temperature_celsius", (), camera.temperature_c
    yield from _each("station_camera_detail", {**_numbers(camera.details), **camera.transport})
    yield "station_sorter_connected", (), sorter.connected
    yield from _each("station_sorter_messages_total", {"sent": sorter.sent, "received": sorter.received})
    yield from _each("station_sorter_problems_total", {name: getattr(sorter, name) for name in PROBLEMS})
    yield "station_journal_open_records", (), seen.open_records
    if status.canary is not None:
        yield "station_golden_parts_passed_total", (), status.canary.passed
        yield "station_engine_trusted", (), not status.canary.problem
    yield from _of_engines(seen)
    if (sent := seen.telemetry) is not None:
        yield "station_telemetry_connected", (), sent.connected
        for lag in sent.lags[:MOST]:
            yield "station_telemetry_waiting", (lag.stream, lag.holder[:LONGEST]), lag.waiting
        yield "station_telemetry_repeats_total", (), sent.repeats
        yield "station_telemetry_dropped_total", (), sent.gauges_dropped
    yield from _of_disks(seen.disks)
    yield from _each("station_machine_temperature_celsius", seen.machine_c or {})


def _of_engines(seen: Seen) -> Iterator[tuple[str, Labels, float]]:
    if (known := seen.engines) is not None:
        for role, digest in (("active", known.active), ("candidate", known.candidate)):
            if digest:
                entry = known.entries.get(digest)
                state = "factory" if entry is None else str(entry.state)
                yield "station_installed_engines_info", (role, digest[:12], state), 1
    if (keeping := seen.keeping) is not None:
        if (trial := keeping.trial) is not None:
            yield "station_trial_parts", (), trial.parts
            yield "station_trial_parts_wanted", (), trial.of
        for duty in DUTIES:
            yield "station_new_engines_problem", (duty,), duty in keeping.problems


def _of_disks(disks: Iterable[DiskUse]) -> Iterator[tuple[str, Labels, float]]:
    for use in disks:
        megabytes = {
            "station_store_used_bytes": use.used_mb,
            "station_store_limit_bytes": use.limit_mb,
            "station_disk_free_bytes": use.free_mb,
            "station_disk_size_bytes": use.size_mb,
        }
        for name, value in megabytes.items():
            if value is not None:
                yield name, (use.name,), value * 1e6


def _each(name: str, values: Mapping[str, float]) -> Iterator[tuple[str, Labels, float]]:
    for label, value in values.items():
        yield name, (label,), value


def _numbers(details: Mapping[str, str]) -> dict[str, float]:
    """What a driver says of its camera, as far as it is numbers."""
    found: dict[str, float] = {}
    for name, text in details.items():
        try:
            value = float(text)
        except ValueError:
            continue
        if math.isfinite(value) and len(found) < MOST:
            found[name[:LONGEST]] = value
    return found


def _histogram(one: Series, by_labels: Mapping[Labels, Times]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(one.name, one.meaning, labels=one.labels)
    for labels, times in by_labels.items():
        edges = [*(f"{edge:.10g}" for edge in times.edges_s), "+Inf"]
        family.add_metric(labels, list(zip(edges, times.cumulative, strict=True)), times.sum_s)
    return family


def markdown() -> str:
    """The list of all series as a table."""
    rows = [
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{name}`' for name in one.labels) or '-'} "
        f"| {one.meaning} |"
        for one in SERIES
    ]
    return "\n".join(["| series | kind | labels | meaning |", "|---|---|---|---|", *rows]) + "\n"
