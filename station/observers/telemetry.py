"""Telemetry while the station runs, see ``station/telemetry``: a thread of its own that reads the journal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from station.observers.interface import Observer

if TYPE_CHECKING:
    from station.line_values import LineStatus
    from station.observers.interface import ObserverSetup
    from station.part import InspectedPart
    from station.telemetry.sender import TelemetrySender
    from station.telemetry.sparkplug import SparkplugSender


class TelemetryObserver(Observer):
    """Starts the senders with the run and ends them with the run."""

    name = "telemetry"
    outcomes = frozenset()

    def __init__(self, sender: TelemetrySender, sparkplug: SparkplugSender | None = None) -> None:
        self.sender, self.sparkplug = sender, sparkplug

    def watch(self, status: Callable[[], LineStatus], engines: Callable[[], dict[str, Any] | None]) -> None:
        """Send state and counts of a line from now on, and what is said of ``engines`` that came home."""
        self.sender.watch(status, engines)
        if self.sparkplug is not None:
            self.sparkplug.watch(status, engines)

    def observe(self, part: InspectedPart) -> None:
        """Nothing: records are read from the journal."""

    def idle(self) -> None:
        """Show how far the consumers are."""
        self.note = str(self.sender.status())
        if self.sparkplug is not None:
            self.note += f"; {self.sparkplug.status()}"

    def close(self) -> None:
        """Send what is left, for a moment."""
        self.sender.close()
        if self.sparkplug is not None:
            self.sparkplug.close()


def make_observer(setup: ObserverSetup) -> Observer | None:
    """Telemetry; None where the configuration names no broker for it."""
    settings = setup.config.telemetry
    if settings is None:
        return None
    from station.telemetry.sender import TelemetrySender
    from station.telemetry.sparkplug import SparkplugSender

    journal, station, is_simulated = setup.journal, setup.config.station.name, setup.config.is_simulated

    def head() -> int:
        return journal.head.seq

    sender = TelemetrySender(settings, station, journal.path, head, is_simulated=is_simulated)
    if settings.sparkplug is None:
        return TelemetryObserver(sender)
    try:
        sparkplug = SparkplugSender(
            settings, settings.sparkplug, station, journal.path, head, is_simulated=is_simulated
        )
    except BaseException:
        sender.close()
        raise
    return TelemetryObserver(sender, sparkplug)
