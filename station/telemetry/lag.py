"""How far each consumer is, read from the disk: also while no station runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from station.journal.cursors import cursors
from station.journal.following import JournalFollower
from station.telemetry.settings import Telemetry
from station.telemetry.streams import PREFIX, cursor_name, streams_of


@dataclass(frozen=True, slots=True)
class Delivered:
    """One consumer on one stream."""

    stream: str
    consumer: str
    held: int
    waiting: int
    moved_at: str
    """When its cursor was moved last: UTC, ISO 8601; empty where it has none yet."""
    note: str = ""


def delivered(journal: Path, settings: Telemetry) -> list[Delivered]:
    """Every consumer of the configuration, then those whose cursors were left behind.

    Raises ``JournalError``.
    """
    found = {one.name: one for one in cursors(journal) if one.name.startswith(f"{PREFIX}-")}
    rows: list[Delivered] = []
    with JournalFollower(journal) as reader:
        for stream in streams_of(reader):
            for holder in settings.holders_of(stream.name):
                cursor = found.pop(cursor_name(stream.name, holder), None)
                if cursor is None:
                    rows.append(Delivered(stream.name, holder, 0, 0, "", "nothing was ever sent to it"))
                    continue
                held = stream.held_at(cursor)
                rows.append(Delivered(stream.name, holder, held, stream.waiting(held), cursor.moved_at))
            for name in [one for one in found if one.startswith(f"{PREFIX}-{stream.name}-")]:
                cursor = found.pop(name)
                held, consumer = stream.held_at(cursor), name.removeprefix(f"{PREFIX}-{stream.name}-")
                note = (
                    "is not in the configuration and keeps old files of the journal: "
                    f"`station journal cursors --delete {name}`"
                )
                waiting = stream.waiting(held)
                rows.append(Delivered(stream.name, consumer, held, waiting, cursor.moved_at, note))
    return rows
