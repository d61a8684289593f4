"""The messages as JSON, each checked against its schema; and the receipts of consumers, which are hostile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from station.journal.events import utc_ago
from station.journal.values import software_version
from station.telemetry.schema import problems, require
from station.telemetry.settings import EVENTS, RECORDS
from station.telemetry.streams import Numbered

if TYPE_CHECKING:
    from station.line_values import LineStatus

LONGEST_RECEIPT = 1024
"""Bytes."""
STREAM_SCHEMAS = {RECORDS: "record-1", EVENTS: "event-1"}


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends."""

    station: str
    journal: str
    """The journal's identity, which the numbers are of."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a consumer says that it holds."""

    stream: str
    held: int
    missing: tuple[int, int | None] | None


class NoReceiptError(ValueError):
    """What arrived is no receipt; the text says why."""


def encoded(name: str, message: Mapping[str, Any]) -> bytes:
    """The payload of a message that fits its schema. Raises ``SchemaError``."""
    whole = {"schema": name.replace("-", "/"), **message}
    require(name, whole)
    return json.dumps(whole, separators=(",", ":"), allow_nan=False).encode("ascii")


def numbered(sender: Sender, stream: str, message: Numbered, *, repeat: bool) -> bytes:
    """A record or an event. Raises ``SchemaError``."""
    head = {
        "station": sender.station,
        "journal": sender.journal,
        "number": message.number,
        "repeat": repeat,
        "sent_at": utc_ago(0),
    }
    return encoded(STREAM_SCHEMAS[stream], head | message.body)


def gone(sender: Sender, stream: str, first: int, last: int) -> bytes:
    """Numbers that the journal no longer has."""
    head = {"station": sender.station, "journal": sender.journal, "stream": stream}
    return encoded("gone-1", head | {"first": first, "last": last, "sent_at": utc_ago(0)})


def presence(
    sender: Sender,
    *,
    online: bool,
    session: str,
    receipts: str,
    consumers: tuple[str, ...],
    is_simulated: bool,
) -> bytes:
    """Birth, goodbye and last will."""
    return encoded(
        "presence-1",
        {
            "station": sender.station,
            "online": online,
            "session": session,
            "software_version": software_version(),
            "journal": sender.journal,
            "receipts": receipts,
            "consumers": list(consumers),
            "is_simulated": is_simulated,
        },
    )


def state(sender: Sender, status: LineStatus) -> dict[str, Any]:
    """What the station does now, but for the time."""
    return {
        "station": sender.station,
        "state": status.state.value,
        "reason": status.reason,
        "recipe": status.recipe,
        "recipe_digest": status.recipe_digest,
        "engine_digest": status.engine.digest,
        "backend": status.engine.backend,
        "precision": status.engine.precision,
    }


def engines_home(said: Mapping[str, Any] | None) -> dict[str, Any]:
    """Which engine judges, which one shadows, and how far a trial is.

    ``said``: ``new_engines`` of the status document; None where no engine came home.
    """
    said = said or {"active": "factory", "state": None, "trial": None, "problems": {}}
    trial = said["trial"] or {"parts": None, "of": None}
    problems = ([said["problem"]] if "problem" in said else []) + [
        f"{duty}: {why}" for duty, why in said["problems"].items()
    ]
    return {
        "active": said.get("active", ""),
        "state": "unknown" if "problem" in said else said["state"] or "factory",
        "candidate": said.get("candidate") or "",
        "trial_parts": trial["parts"],
        "trial_of": trial["of"],
        "problem": "; ".join(problems),
    }


def gauges(sender: Sender, status: LineStatus, telemetry: Mapping[str, Any]) -> bytes:
    """Counts and times since the start."""
    run, camera, sorter = status.statistics, status.camera, status.sorter
    queues = [*status.queues, *(one.queue for one in status.observers)]
    return encoded(
        "gauges-1",
        {
            "station": sender.station,
            "sent_at": utc_ago(0),
            "parts": {
                "triggers": run.triggers,
                "accepted": run.accepted,
                "rejected": run.rejected,
                "faulted": run.faulted,
                "in_hand": run.in_hand,
                "acknowledged": run.acknowledged,
                "unacknowledged": run.unacknowledged,
                "overloaded": status.overloaded,
            },
            "yield": run.yield_fraction,
            "parts_per_s": run.parts_per_s,
            "rejected_by_class": run.classes,
            "faulted_by_reason": run.faults,
            "verdict_ms": {name: getattr(run.to_verdict, name) for name in ("p50", "p95", "p99")},
            "queues": [
                {"name": one.name, "length": one.length, "capacity": one.capacity, "shed": one.shed}
                for one in queues
            ],
            "camera": {
                name: getattr(camera, name)
                for name in ("connected", "delivered", "lost", "incomplete", "reopened", "temperature_c")
            },
            "sorter": {
                name: getattr(sorter, name)
                for name in ("connected", "resent", "garbled", "misplaced", "unacknowledged")
            },
            "telemetry": dict(telemetry),
        },
    )


def read_receipt(payload: bytes, journal: str) -> Receipt:
    """A consumer's receipt for this journal. Raises :class:`NoReceiptError`."""
    if len(payload) > LONGEST_RECEIPT:
        raise NoReceiptError(f"it has {len(payload)} bytes; at most {LONGEST_RECEIPT} are read")
    try:
        words = json.loads(payload.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise NoReceiptError(f"it is no JSON in ASCII ({type(error).__name__})") from None
    if found := problems("receipt-1", words):
        raise NoReceiptError(found[0])
    if words["journal"] != journal:
        raise NoReceiptError(f"it is for another journal ({words['journal']})")
    missing = words["missing"]
    if missing is not None and missing[0] is None:
        raise NoReceiptError("missing has no first number")
    return Receipt(words["stream"], words["held"], None if missing is None else (missing[0], missing[1]))
