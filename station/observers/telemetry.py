"""Telemetry while the station runs, see ``station/telemetry``: a thread of its own that reads the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from station.observers.interface import Observer

if TYPE_CHECKING:
    from station.observers.interface import ObserverSetup
    from station.part import InspectedPart
    from station.telemetry.sender import TelemetrySender


class TelemetryObserver(Observer):
    """Starts the sender with the run and ends it with the run."""

    name = "telemetry"
    outcomes = frozenset()

    def __init__(self, sender: TelemetrySender) -> None:
        self.sender = sender

    def observe(self, part: InspectedPart) -> None:
        """Nothing: records are read from the journal."""

    def idle(self) -> None:
        """Show how far the consumers are."""
        self.note = str(self.sender.status())

    def close(self) -> None:
        """Send what is left, for a moment."""
        self.sender.close()


def make_observer(setup: ObserverSetup) -> Observer | None:
    """Telemetry; None where the configuration names no broker for it."""
    settings = setup.config.telemetry
    if settings is None:
        return None
    from station.telemetry.sender import TelemetrySender

    journal = setup.journal
    return TelemetryObserver(
        TelemetrySender(
            settings,
            setup.config.station.name,
            journal.path,
            lambda: journal.head.seq,
            is_simulated=setup.config.is_simulated,
        )
    )
