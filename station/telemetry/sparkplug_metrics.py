"""What Sparkplug B calls metrics: of the station, which is the node, and of its line, which is the device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, get_type_hints

from station.journal.record import COLUMNS, PartRecord
from station.journal.values import software_version
from station.telemetry.sparkplug_payload import Datatype, Metric, Value
from station.telemetry.streams import LEFT_OUT

if TYPE_CHECKING:
    from station.line_values import LineStatus

BD_SEQ = "bdSeq"
REBIRTH = "Node Control/Rebirth"
PARTS = "parts"
RECORD = "Record"
NUMBER = f"{RECORD}/number"
_PRIVATE = ("operator",)
"""Columns that name a person."""
_TYPES = {int: Datatype.INT64, float: Datatype.DOUBLE, bool: Datatype.BOOLEAN, str: Datatype.STRING}
_UNITS = {"_ms": "ms", "_us": "µs", "_x": "px", "_y": "px", "_width": "px", "_height": "px"}


def _datatype(column: str, hint: Any) -> Datatype:
    if column.endswith("_at"):
        return Datatype.DATETIME
    kinds = [one for one in (hint, *getattr(hint, "__args__", ())) if one in _TYPES]
    return _TYPES[kinds[0]]


def _unit(column: str) -> str:
    return next((unit for end, unit in _UNITS.items() if column.endswith(end)), "")


_HINTS = get_type_hints(PartRecord)
RECORD_COLUMNS = {
    name: (_datatype(name, _HINTS[name]), _unit(name))
    for name in COLUMNS
    if name not in (*LEFT_OUT, *_PRIVATE)
}
"""Every column of a record that is sent: datatype and unit."""


def milliseconds(moment: str) -> int:
    """A moment of the journal (UTC, ISO 8601) as milliseconds since 1970."""
    return int(datetime.fromisoformat(moment).timestamp() * 1000)


def stamped(metrics: Iterable[Metric], at: int) -> tuple[Metric, ...]:
    """The same metrics, taken at a time: milliseconds since 1970, UTC."""
    return tuple(replace(one, timestamp=at) for one in metrics)


def node_metrics(station: str, journal: str, *, is_simulated: bool, waiting: int) -> tuple[Metric, ...]:
    """The station. ``journal``: its identity. ``waiting``: records that were not sent yet."""
    return (
        Metric("Station/Name", Datatype.STRING, station),
        Metric("Station/Software Version", Datatype.STRING, software_version()),
        Metric("Station/Simulated", Datatype.BOOLEAN, is_simulated),
        Metric("Station/Journal", Datatype.STRING, journal),
        Metric("Station/Records Waiting", Datatype.INT64, waiting, unit="records"),
    )


def line_metrics(status: LineStatus, home: Mapping[str, Any]) -> tuple[Metric, ...]:
    """The line now, and its counts since the start; ``home``: :func:`messages.engines_home`."""
    run, camera, sorter, engine = status.statistics, status.camera, status.sorter, status.engine

    def count(name: str, value: int, unit: str = PARTS) -> Metric:
        return Metric(name, Datatype.INT64, value, unit=unit)

    def text(name: str, value: str) -> Metric:
        return Metric(name, Datatype.STRING, value)

    def measured(name: str, value: Value, unit: str = "") -> Metric:
        return Metric(name, Datatype.DOUBLE, value, unit=unit)

    return (
        text("Line/State", status.state.value),
        text("Line/Reason", status.reason),
        text("Line/Fault Codes", ",".join(sorted(one.code for one in status.codes))),
        text("Recipe/Name", status.recipe),
        text("Recipe/Digest", status.recipe_digest),
        text("Engine/Digest", engine.digest),
        text("Engine/Backend", engine.backend),
        text("Engine/Precision", engine.precision),
        text("Engine/Installed", home["active"]),
        text("Engine/Trust", home["state"]),
        text("Engine/Candidate", home["candidate"]),
        text("Engine/Problem", home["problem"]),
        Metric("Engine/Trial Parts", Datatype.INT64, home["trial_parts"], unit=PARTS),
        Metric("Engine/Trial Wanted", Datatype.INT64, home["trial_of"], unit=PARTS),
        count("Parts/Triggers", run.triggers),
        count("Parts/Accepted", run.accepted),
        count("Parts/Rejected", run.rejected),
        count("Parts/Faulted", run.faulted),
        count("Parts/In Hand", run.in_hand),
        count("Parts/Acknowledged", run.acknowledged),
        count("Parts/Unacknowledged", run.unacknowledged),
        count("Parts/Overloaded", status.overloaded),
        *(count(f"Rejected/{name}", number) for name, number in sorted(run.classes.items())),
        *(count(f"Faulted/{code}", number) for code, number in sorted(run.fault_codes.items())),
        measured("Line/Yield", run.yield_fraction),
        measured("Line/Parts per Second", run.parts_per_s, "1/s"),
        measured("Line/Verdict p50", run.to_verdict.p50, "ms"),
        measured("Line/Verdict p95", run.to_verdict.p95, "ms"),
        measured("Line/Verdict p99", run.to_verdict.p99, "ms"),
        Metric("Camera/Connected", Datatype.BOOLEAN, camera.connected),
        count("Camera/Delivered", camera.delivered, "frames"),
        count("Camera/Lost", camera.lost, "frames"),
        count("Camera/Incomplete", camera.incomplete, "frames"),
        measured("Camera/Temperature", camera.temperature_c, "°C"),
        Metric("Sorter/Connected", Datatype.BOOLEAN, sorter.connected),
    )


def record_metrics(
    number: int | None, record: Mapping[str, Any], *, at: int, is_historical: bool
) -> tuple[Metric, ...]:
    """One record, or what the births say before there is one: every value null.

    ``at``: its time where it has none of its own, milliseconds since 1970.
    """
    if record:
        at = milliseconds(record["opened_at"])
    numbered = Metric(NUMBER, Datatype.INT64, number, at, is_historical)
    return (
        numbered,
        *(
            Metric(f"{RECORD}/{name}", kind, _value(kind, record.get(name)), at, is_historical, unit)
            for name, (kind, unit) in RECORD_COLUMNS.items()
        ),
    )


def _value(kind: Datatype, value: Any) -> Value:
    if value is None:
        return None
    if kind is Datatype.DATETIME:
        return milliseconds(value)
    return bool(value) if kind is Datatype.BOOLEAN else value
