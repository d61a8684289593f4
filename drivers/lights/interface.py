"""A light controller as the station uses it: set an output, have it confirmed, flash it.

Nothing is believed unless the controller says it when it is asked again: :meth:`LightController.set` writes,
reads back and compares. Whatever is not confirmed raises a :class:`LightError`; a part whose lamps raised one
was not lit as its recipe asks, and must be faulted by whoever lights it.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self, TypeVar

from drivers.errors import InspectionError
from drivers.lights.settings import LightSettings

Answer = TypeVar("Answer")


class LightError(InspectionError):
    """A lamp is not as it should be; the message names the controller and says what to do."""


class LightConfigError(LightError):
    """What is asked for can never be; nothing was sent."""


class LightLostError(LightError):
    """The controller does not answer, or its answer cannot be understood; the next call connects again."""


class LightRefusedError(LightError):
    """The controller understood and refused; the message has its error by name."""


class LightNotConfirmedError(LightError):
    """The controller took a setting and shows another one when it is asked."""


@dataclass(frozen=True, slots=True)
class Output:
    """How one output lights: all the time, or one pulse per trigger."""

    percent: float
    """Brightness, percent of the lamp's rating; 0 is off."""
    pulse_us: float | None = None
    """Length of the pulse at each trigger, us; None: the lamp lights all the time."""
    delay_us: float = 0.0
    """From trigger to pulse, us; 0 without a pulse."""

    def __str__(self) -> str:
        if self.pulse_us is None:
            return f"{self.percent:.4g} % all the time"
        return f"{self.percent:.4g} % for {self.pulse_us:.4g} us after {self.delay_us:.4g} us"


@dataclass(frozen=True, slots=True)
class LightHealth:
    """A snapshot of a controller; counts since ``open``."""

    connected: bool
    """The last question was answered."""
    description: str
    """What the controller says it is."""
    asked: int = 0
    lost: int = 0
    """Questions without an answer that can be understood."""
    refused: int = 0
    unconfirmed: int = 0
    last_error: str = ""


class LightController(ABC):
    """One controller with its outputs, numbered from 1. Thread-safe: one question at a time."""

    percent_step: float
    """The finest step of brightness, percent; what is read back may differ by as much."""
    can_strobe: bool
    """Whether pulses can be set by the wire; otherwise they are set at the controller."""

    def __init__(self, settings: LightSettings) -> None:
        self._settings = settings
        self._lock = threading.RLock()
        self._health = LightHealth(False, "")

    @property
    def outputs(self) -> range:
        """The numbers of its outputs."""
        return range(1, self._settings.channels + 1)

    def open(self) -> None:
        """Connect and ask who is there. Raises :class:`LightLostError`."""
        with self._lock:
            self._health = LightHealth(False, "")
            description = self._counted(self._identity)
            self._health = replace(self._health, description=description)

    def set(self, channel: int, wanted: Output) -> Output:
        """Set an output, ask for it again, and return what the controller says.

        Raises :class:`LightConfigError` for what cannot be, :class:`LightRefusedError`,
        :class:`LightNotConfirmedError` where the answer differs from ``wanted`` by more than a step, and
        :class:`LightLostError`. After any of them the lamp's state is not known.
        """
        self._check(channel, wanted)
        with self._lock:
            self._counted(lambda: self._write(channel, wanted))
            return self._counted(lambda: self._confirmed(channel, wanted))

    def read(self, channel: int) -> Output:
        """What the controller says of an output. Raises :class:`LightError`."""
        self._check_channel(channel)
        with self._lock:
            return self._counted(lambda: self._read(channel))

    def flash(self, channel: int) -> None:
        """Pulse an output once, as a trigger on its input would. Raises :class:`LightError`."""
        self._check_channel(channel)
        with self._lock:
            if self.can_strobe and self._counted(lambda: self._read(channel)).pulse_us is None:
                raise LightConfigError(
                    f"{self} output {channel}: lights all the time; set a pulse before it is flashed"
                )
            self._counted(lambda: self._flash(channel))

    def health(self) -> LightHealth:
        """A snapshot; asks nothing."""
        return self._health

    @abstractmethod
    def close(self) -> None:
        """Leave the line; the lamps stay as they are."""

    @abstractmethod
    def _identity(self) -> str:
        """What the controller says it is."""

    @abstractmethod
    def _write(self, channel: int, wanted: Output) -> None:
        """Send a setting; raises what the controller answers."""

    @abstractmethod
    def _read(self, channel: int) -> Output:
        """Ask for a setting."""

    def _flash(self, channel: int) -> None:
        """Send one software trigger; a wire that has none refuses."""
        raise LightConfigError(f"{self}: pulses are not set by this wire; set them at the controller")

    def _confirmed(self, channel: int, wanted: Output) -> Output:
        found = self._read(channel)
        same = (found.pulse_us is None) == (wanted.pulse_us is None)
        near = abs(found.percent - wanted.percent) <= self.percent_step
        if wanted.pulse_us is not None and found.pulse_us is not None:
            near &= abs(found.pulse_us - wanted.pulse_us) <= 1 + 0.01 * wanted.pulse_us
            near &= abs(found.delay_us - wanted.delay_us) <= 1 + 0.01 * wanted.delay_us
        if not (same and near):
            raise LightNotConfirmedError(
                f"{self} output {channel}: was set to {wanted} and says {found}; check "
                "whether somebody else sets it, and the limits at the controller"
            )
        return found

    def _counted(self, ask: Callable[[], Answer]) -> Answer:
        """One question; its end in the health."""
        health = replace(self._health, asked=self._health.asked + 1)
        try:
            answer = ask()
        except LightError as error:
            lost = isinstance(error, LightLostError)
            self._health = replace(
                health,
                connected=not lost,
                lost=health.lost + lost,
                refused=health.refused + isinstance(error, LightRefusedError),
                unconfirmed=health.unconfirmed + isinstance(error, LightNotConfirmedError),
                last_error=str(error),
            )
            raise
        self._health = replace(health, connected=True)
        return answer

    def _check_channel(self, channel: int) -> None:
        if not 1 <= channel <= self._settings.channels:
            raise LightConfigError(
                f"{self}: has outputs 1 to {self._settings.channels}, and {channel} was asked for"
            )

    def _check(self, channel: int, wanted: Output) -> None:
        self._check_channel(channel)
        if not 0 <= wanted.percent <= self._settings.max_percent:
            raise LightConfigError(
                f"{self} output {channel}: {wanted.percent:g} % is outside 0 to "
                f"{self._settings.max_percent:g} (`max_percent`)"
            )
        if wanted.pulse_us is not None and not self.can_strobe:
            raise LightConfigError(f"{self}: pulses are not set by this wire; set them at the controller")
        if wanted.pulse_us is not None and not (0 < wanted.pulse_us <= 1e6 and 0 <= wanted.delay_us <= 1e6):
            raise LightConfigError(f"{self} output {channel}: {wanted} is no pulse of 0 to 1 s")
        if wanted.pulse_us is None and wanted.delay_us:
            raise LightConfigError(f"{self} output {channel}: a delay without a pulse; leave it out")

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __str__(self) -> str:
        return f"{type(self).__name__} {self._settings.address}"
