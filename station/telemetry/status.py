"""How the sending goes, for the status document and for people."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lag:
    """How far one holder is behind on one stream."""

    stream: str
    holder: str
    """A consumer; `broker` where no receipts are required."""
    held: int
    waiting: int
    """Messages that it does not have yet."""


@dataclass(frozen=True, slots=True)
class TelemetryStatus:
    """A snapshot, for any thread."""

    connected: bool
    broker: str
    topic: str
    receipts: str
    problem: str
    """Why nothing is delivered now; empty while all is well."""
    lags: tuple[Lag, ...]
    repeats: int
    """Messages that were sent again."""
    receipts_ignored: int
    """Messages on the topics of receipts that are none."""
    gauges_dropped: int

    @property
    def waiting(self) -> dict[str, int]:
        """``stream/holder`` -> messages that it does not have yet."""
        return {f"{one.stream}/{one.holder}": one.waiting for one in self.lags}

    def __str__(self) -> str:
        """One line for people."""
        behind = max((one.waiting for one in self.lags if one.stream == "records"), default=0)
        link = "connected" if self.connected else "not connected"
        return f"{link}, {behind} records wait" + (f"; {self.problem}" if self.problem else "")


@dataclass(frozen=True, slots=True)
class SparkplugStatus:
    """How Sparkplug B goes; a snapshot, for any thread."""

    connected: bool
    born: bool
    """The births were sent: the broker is there, and the primary host where there is one."""
    node: str
    """The topic of NBIRTH."""
    problem: str
    """Why nothing is sent now; empty while all is well."""
    waiting: int
    """Records that were not sent yet."""
    repeats: int
    births: int
    ignored: int
    """Messages of hosts that mean nothing."""

    def __str__(self) -> str:
        """One line for people."""
        link = "connected" if self.connected else "not connected"
        words = f"Sparkplug B {link}, {self.waiting} records wait"
        return words + (f"; {self.problem}" if self.problem else "")
