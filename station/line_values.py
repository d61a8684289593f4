"""The settings of the line, and the status that it shows while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from drivers.cameras.interface import CameraHealth
from drivers.cameras.settings import Mode
from drivers.sorters.interface import SorterHealth
from station.engines.canary import CanaryStatus
from station.engines.interface import EngineInfo
from station.faults import Code
from station.observers import ObserverStatus
from station.queues import QueueStatus
from station.statistics import RunStatistics
from station.supervision import State


@dataclass(frozen=True, slots=True)
class LineSettings:
    """Times and sizes of the line; see the ``limits`` section of the configuration."""

    mode: Mode = Mode.CELL
    deadline_s: float = 1.0
    """From trigger to verdict; later is a fault."""
    grab_timeout_s: float = 0.5
    in_place_s: float = 0.1
    """For this time after TRIGGER-ACK a part is surely in place; a later exposure may show the next one."""
    stop_timeout_s: float = 5.0
    """How long a clean stop waits for parts in hand and for receipts."""
    queue_capacity: int = 4
    reopen_after_s: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0, 5.0)
    """Waiting times between attempts to reopen a lost camera; the last one repeats."""
    engine_failures_allowed: int = 3
    """The number of consecutive parts without scores that halts the line; systemd then restarts it."""
    hung_after_s: float = 10.0
    """A camera or engine call that takes longer than this halts the line."""


@dataclass(frozen=True, slots=True)
class LineStatus:
    """The state of the line, for people and dashboards; reading it does not stop the line."""

    state: State
    reason: str
    recipe: str
    """The prepared one."""
    recipe_digest: str
    """SHA-256 of its file, hexadecimal."""
    engine: EngineInfo
    statistics: RunStatistics
    camera: CameraHealth
    sorter: SorterHealth
    queues: tuple[QueueStatus, ...]
    """The line's own, in the order of a part's way."""
    observers: tuple[ObserverStatus, ...]
    failure: str
    """Why the line halted by itself; empty while it runs or was asked to stop."""
    canary: CanaryStatus | None = None
    """What the engine's golden parts have said since it was opened."""
    risks: tuple[str, ...] = ()
    """Settings of the prepared recipe that are legal and dangerous, and why they were accepted."""
    codes: frozenset[Code] = frozenset()
    """The codes of everything that ``reason`` names."""
    overloaded: int = 0
    """Parts that waited for others until their deadline."""
    died: bool = False
    """A thread is dead, and so the line has halted."""
