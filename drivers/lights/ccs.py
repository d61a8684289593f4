"""The text commands of CCS's digital power supplies (PD3 and PDS families), as public programs use them.

``@ccFddd00ss`` brightness 0 to 255, ``@ccL100ss`` on, ``@ccL000ss`` off, ``@ccM0000ss`` state; cc is the
channel from 00, ss the checksum (the sum of all bytes before it, two hexadecimal digits), CR LF the end.
Answers: ``@ccO..ss`` done, ``@ccN01..ss`` to ``N03`` refused; to a question for the state,
``@4c.VVss`` with the brightness VV in hexadecimal. CCS's own manual was not at hand: docs/lights.md names
what is not certain.
"""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from drivers.lights import CONTROLLERS
from drivers.lights.interface import LightController, LightLostError, LightRefusedError, Output
from drivers.lights.settings import LightSettings
from drivers.lights.wire import Wire

_ERRORS = {"01": "command error", "02": "checksum error", "03": "value out of range"}
_DONE, _REFUSED = re.compile(r"@(\d\d)O\w*"), re.compile(r"@\d\dN(\d\d)\w*")
_STATE = re.compile(r"@4(\d).([0-9A-F]{2})")
_BRIGHTEST = 255


class CcsSettings(LightSettings):
    """A CCS light controller, docs/lights.md."""

    default_baud: ClassVar[int] = 38_400

    kind: Literal["ccs"] = "ccs"
    """the protocol"""


@CONTROLLERS.register(CcsSettings)
class CcsController(LightController):
    """A CCS controller on TCP, UDP or RS-232. Its strobe is set at the controller."""

    percent_step = 100 / _BRIGHTEST
    can_strobe = False

    def __init__(self, settings: CcsSettings) -> None:
        super().__init__(settings)
        self._wire = Wire(settings, b"\r\n")

    def close(self) -> None:
        """Leave the line; the lamps stay as they are."""
        self._wire.close()

    def _identity(self) -> str:
        self._read(1)  # there is no question for a name
        return f"CCS, {self._settings.channels} outputs"

    def _write(self, channel: int, wanted: Output) -> None:
        self._done(channel, f"F{round(wanted.percent / 100 * _BRIGHTEST):03d}")
        self._done(channel, f"L{int(wanted.percent > 0)}")

    def _read(self, channel: int) -> Output:
        answer = self._ask(channel, "M00")
        state = _STATE.fullmatch(answer)
        if state is None or int(state[1]) != channel - 1:
            raise self._not_understood(answer)
        return Output(int(state[2], 16) / _BRIGHTEST * 100)

    def _done(self, channel: int, command: str) -> None:
        answer = self._ask(channel, command)
        done = _DONE.fullmatch(answer)
        if done is None or int(done[1]) != channel - 1:
            raise self._not_understood(answer)

    def _ask(self, channel: int, command: str) -> str:
        """The answer without its checksum. Raises :class:`LightError`."""
        text = f"@{channel - 1:02d}{command}00"
        answer = self._wire.ask(f"{text}{checksum(text)}\r\n".encode("ascii"))
        if len(answer) < 4 or checksum(answer[:-2]) != answer[-2:]:
            raise self._not_understood(answer)
        refused = _REFUSED.fullmatch(answer[:-2])
        if refused is not None:
            name = _ERRORS.get(refused[1], f"error {refused[1]}, see the controller's manual")
            raise LightRefusedError(f"{self}: answers {command} for output {channel} with: {name}")
        return answer[:-2]

    def _not_understood(self, answer: str) -> LightLostError:
        return LightLostError(
            f"{self}: its answer cannot be understood: {answer!r}; compare the controller's manual with "
            "docs/lights.md"
        )


def checksum(text: str) -> str:
    """The sum of the bytes, the lowest two hexadecimal digits."""
    return f"{sum(text.encode('ascii', 'replace')) & 0xFF:02X}"
