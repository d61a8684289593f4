"""Gardasoft's text commands (RT, PP, TR and VTR series), from the public user manuals of the RT 20 series.

``RSc,s`` continuous, ``RTc,p,d,s`` pulse of p ms after d ms, ``TRc`` trigger by software, ``STc`` settings of
an output, ``VR`` version; each command ends with a carriage return, each answer with ``>``. Settings are not
kept over a power cycle, because ``AW`` is never sent.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from drivers.lights import CONTROLLERS
from drivers.lights.interface import LightController, LightLostError, LightRefusedError, Output
from drivers.lights.settings import LightSettings
from drivers.lights.wire import Wire
from drivers.settings import mistake

_ERRORS = {
    "1": "a parameter value is invalid",
    "2": "command not recognised",
    "3": "a number is in the wrong format",
    "4": "wrong number of parameters",
    "5": "a time was out of range and has been adjusted",
}
_ERROR = re.compile(r"(?:Err|Evt)\s*([\d,]+)")
_UNITS_US = {"us": 1.0, "ms": 1e3, "s": 1e6}
_NUMBER = r"\s*([\d.]+)"
_CHANNEL = re.compile(r"\bCH\s*(\d+)")
_MODE, _PERCENT = re.compile(rf"\bMD{_NUMBER}"), re.compile(rf"\bS{_NUMBER}%")
_PULSE, _DELAY = (re.compile(rf"\b{name}{_NUMBER}(us|ms|s)\b") for name in ("PU", "DL"))
_CONTINUOUS, _PULSED = "0", "1"


class GardasoftSettings(LightSettings):
    """A Gardasoft light controller, docs/lights.md."""

    default_baud: ClassVar[int] = 115_200

    kind: Literal["gardasoft"] = "gardasoft"
    """the protocol"""
    reply_port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    """the port of this machine that answers come to, with `udp://` only; 30312 without it, 0 for any"""

    @model_validator(mode="after")
    def _reply_port_is_used(self) -> Self:
        if self.reply_port is not None and not self.address.startswith("udp://"):
            raise mistake("reply_port", "is used with udp:// only", "remove the key")
        return self


@CONTROLLERS.register(GardasoftSettings)
class GardasoftController(LightController):
    """A Gardasoft controller on TCP (port 30313), UDP or RS-232."""

    percent_step = 0.5
    can_strobe = True

    def __init__(self, settings: GardasoftSettings) -> None:
        super().__init__(settings)
        port = 30312 if settings.reply_port is None else settings.reply_port
        self._wire = Wire(settings, b">", local_port=port)

    def close(self) -> None:
        """Leave the line; the lamps stay as they are."""
        self._wire.close()

    def _identity(self) -> str:
        return self._ask("VR").strip()

    def _write(self, channel: int, wanted: Output) -> None:
        if wanted.pulse_us is None:
            self._ask(f"RS{channel},{wanted.percent:.1f}")
        else:
            times = f"{wanted.pulse_us / 1e3:.3f},{wanted.delay_us / 1e3:.3f}"
            self._ask(f"RT{channel},{times},{wanted.percent:.1f}")

    def _read(self, channel: int) -> Output:
        answer = self._ask(f"ST{channel}")
        other = _CHANNEL.search(answer)
        if other is not None and int(other[1]) != channel:
            raise self._not_understood(answer)
        mode, percent = _MODE.search(answer), _PERCENT.search(answer)
        if mode is None or percent is None or mode[1] not in (_CONTINUOUS, _PULSED):
            raise self._not_understood(answer)
        if mode[1] == _CONTINUOUS:
            return Output(float(percent[1]))
        pulse, delay = _PULSE.search(answer), _DELAY.search(answer)
        if pulse is None or delay is None:
            raise self._not_understood(answer)
        in_us = [float(one[1]) * _UNITS_US[one[2]] for one in (pulse, delay)]
        return Output(float(percent[1]), *in_us)

    def _flash(self, channel: int) -> None:
        self._ask(f"TR{channel}")

    def _ask(self, command: str) -> str:
        answer = self._wire.ask(f"{command}\r".encode("ascii"))
        error = _ERROR.search(answer)
        if error is not None:
            name = _ERRORS.get(error[1], f"event {error[1]}, see the controller's manual")
            raise LightRefusedError(f"{self}: answers {command} with {error[0]}: {name}")
        return answer

    def _not_understood(self, answer: str) -> LightLostError:
        return LightLostError(
            f"{self}: its settings cannot be understood: {answer!r}; set the output to continuous or pulse "
            "mode, and compare with docs/lights.md"
        )
