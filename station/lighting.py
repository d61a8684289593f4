"""The station's lamps, of which one lights at a time: set, confirmed by the controller, then trusted.

Before each exposure every output is asked for, so that a lamp that somebody else has switched on, or that a
controller lights after a power cycle, is found. What is not confirmed is a :class:`LightError`.
"""

from __future__ import annotations

import logging
import time

from drivers.lights.interface import LightController, LightError, Output
from station.stereo.rig import LitLamp, Stereo

log = logging.getLogger(__name__)

OFF = Output(0.0)


class Lighting:
    """The outputs of one controller, driven by one thread."""

    def __init__(self, controller: LightController) -> None:
        self._controller = controller
        self._used = False
        """Whether a lamp may be lit; a controller that no recipe needs is left alone."""

    @property
    def description(self) -> str:
        """What the controller says it is, in one line."""
        return " ".join(self._controller.health().description.split())

    def open(self) -> None:
        """Connect, and switch off every output, whatever it says. Raises :class:`LightError`."""
        self._used = True
        self._controller.open()
        for output in self._controller.outputs:
            self._controller.set(output, OFF)

    def only(self, lamp: LitLamp, stereo: Stereo) -> None:
        """Light this lamp of a rig, and no other output, and wait until it is bright.

        Raises :class:`LightError`; which lamps are lit is then not known.
        """
        self._used = True
        self._darken(besides=lamp.output)
        self._controller.set(lamp.output, Output(lamp.percent))
        time.sleep(stereo.settle_ms / 1000)

    def rest(self) -> None:
        """Every output off; where that fails, the next :meth:`only` says so. Never raises."""
        try:
            self._darken()
        except LightError as error:
            log.warning("lamps: %s", error)

    def close(self) -> None:
        """Every output off, and leave the line. Never raises."""
        if self._used:
            self.rest()
        self._controller.close()

    def _darken(self, besides: int | None = None) -> None:
        for output in self._controller.outputs:
            if output != besides and self._controller.read(output).percent > 0:
                self._controller.set(output, OFF)
