"""The connection between the station and the robot or PLC: triggers in, results out, receipts back.

The order of one part, which every protocol keeps: the cell asks (``wait_trigger``); the station makes
its record durable and its camera ready and then says so (``acknowledge``); the station has the part's frame
and says that the part may leave the camera (``acquisition_done``); the station decides, makes the verdict
durable and then sends it (``send``, which implies both); the cell says into which bin the part went
(``wait_receipt``). A sorter never invents a result, never delivers one trigger twice, and
reports every ``send`` with exactly one :class:`Receipt`, good or bad.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from drivers.errors import InspectionError

if TYPE_CHECKING:
    from drivers.cameras.interface import Camera


class Outcome(StrEnum):
    """How a trigger ends; there is no fourth way."""

    ACCEPT = "accept"
    REJECT = "reject"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Trigger:
    """A cell's request: a part is in place, inspect it."""

    part_id: int
    """1..4294967295, given by the cell, unique while the part is in the plant."""
    recipe: str
    """The recipe the cell believes to be prepared; "" where the protocol does not carry one."""
    received_ns: int
    """``time.monotonic_ns()`` when the whole message was in this process."""
    lot: str = ""
    """The lot that the cell names; "" where it names none."""


@dataclass(frozen=True, slots=True)
class JobChange:
    """A cell's request: prepare another recipe for its next parts."""

    number: int
    recipe: str
    """``NAME`` or ``NAME@WIDTH``."""


@dataclass(frozen=True, slots=True)
class Result:
    """What the cell must do with one part."""

    part_id: int
    outcome: Outcome
    bin: int
    """0..255, as the recipe names them."""
    class_index: int
    """Index in the recipe's classes; 254 for a part rejected as unknown, 255 for a fault."""
    reason: str
    """For people, at most 64 ASCII characters on the wire; that of a fault begins with its code."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The end of one ``send``: the cell's acknowledgement, or why there is none."""

    part_id: int
    acknowledged: bool
    bin: int
    """Where the cell says the part went; meaningless when not acknowledged."""
    at_ns: int
    """``time.monotonic_ns()``."""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class SorterHealth:
    """A snapshot of a sorter's link; counts since ``open``."""

    connected: bool
    """The line is open and the other end answered within its heartbeat time."""
    description: str
    sent: int
    received: int
    resent: int
    garbled: int
    duplicates: int
    reconnects: int
    last_error: str = ""
    refused: int = 0
    """Triggers refused on the wire, and so not delivered."""
    misplaced: int = 0
    """Parts that the cell put into another bin than the result named."""
    unacknowledged: int = 0
    """Results that ended in a bad receipt, misplaced ones among them."""
    unexpected: int = 0
    """Messages that fitted no part or no session, and were ignored."""
    cell_restarts: int = 0
    failures: int = 0
    """Errors of this software in the thread of the line; each begins a new session with the cell."""

    @property
    def counted(self) -> str:
        """The counters for people: messages, and those of problems that are not 0."""
        troubles = {
            "resent": self.resent,
            "garbled": self.garbled,
            "duplicates": self.duplicates,
            "refused": self.refused,
            "misplaced": self.misplaced,
            "unacknowledged": self.unacknowledged,
            "unexpected": self.unexpected,
            "reconnects": self.reconnects,
            "restarts of the cell": self.cell_restarts,
            "failures": self.failures,
        }
        words = [f"{self.sent} messages sent, {self.received} received"]
        return ", ".join(words + [f"{name}: {count}" for name, count in troubles.items() if count])


class SorterError(InspectionError):
    """The sorter cannot be used as configured; the message says what to do about it."""


class Sorter(ABC):
    """One link to a cell. Thread-safe; a lost line is no exception but ``health().connected`` False."""

    is_simulated = False
    """Whether the station's parts are simulated: set before :meth:`open`; results say it where a wire can."""

    def use(self, camera: Camera) -> None:
        """The station's camera, before both are opened: a sorter may speak by the camera's own lines."""
        return

    @abstractmethod
    def open(self) -> None:
        """Start serving the line. Raises :class:`SorterError` only for errors that do not pass with time."""

    @abstractmethod
    def set_ready(self, ready: bool, reason: str = "") -> None:
        """Tell the cell whether the station takes triggers; a sorter begins not ready.

        Triggers that come all the same are refused on the wire and not delivered.
        """

    def set_busy(self, reason: str) -> None:
        """Tell the cell that the station takes triggers again soon; until then they are refused as busy.

        A protocol that has no word for it says "not ready".
        """
        self.set_ready(False, reason)

    @abstractmethod
    def prepare(self, recipe: str) -> None:
        """Name the prepared recipe, from now on and to the cell; may be called before :meth:`open`.

        Triggers that name another recipe are refused on the wire and not delivered; "" refuses none.
        """

    @abstractmethod
    def wait_trigger(self, timeout_s: float) -> Trigger | None:
        """The next trigger, or None after ``timeout_s``. A repeated trigger is delivered once."""

    def entered(self, trigger: Trigger) -> None:
        """Free running: a part was seen, and its result follows.

        Results that nothing but their order tells apart are said in the order of these calls.
        """
        return

    @abstractmethod
    def acknowledge(self, trigger: Trigger) -> None:
        """The trigger's record is durable and the camera ready: tell the cell that a verdict will come.

        Where the cell triggers the camera by wire, it does so now, and not before.
        """

    def wait_job(self, timeout_s: float) -> JobChange | None:
        """The next job change, or None after ``timeout_s``; it comes when no part is in hand any more.

        Until :meth:`job_done` no trigger is accepted. A protocol without job changes has none.
        """
        time.sleep(max(0.0, timeout_s))
        return None

    def job_done(self, job: JobChange, problem: str = "") -> None:
        """Tell the cell that the recipe is prepared, or the ``problem`` for which nothing is prepared now."""
        return

    def acquisition_done(self, trigger: Trigger) -> None:
        """The part's frame is here, complete and surely its own: tell the cell that the part may leave.

        Nothing where the protocol has no such message; the result says the same.
        """
        return

    @abstractmethod
    def send(self, result: Result) -> None:
        """Send a result, and again until it is acknowledged or its time is over; returns at once."""

    @abstractmethod
    def wait_receipt(self, timeout_s: float) -> Receipt | None:
        """The next receipt, or None after ``timeout_s``."""

    @abstractmethod
    def health(self) -> SorterHealth:
        """Counters, without waiting for the line."""

    @abstractmethod
    def close(self) -> None:
        """Say "not ready" to the cell, stop serving, release the line. Never raises, may be called twice."""
