"""The hand-off of rare parts to the workshop while the station runs, see ``station/handoff``."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from drivers import heartbeat
from drivers.errors import InspectionError
from station.observers.interface import Observer

if TYPE_CHECKING:
    from station.config import StationConfig
    from station.observers.interface import ObserverSetup
    from station.part import InspectedPart

log = logging.getLogger(__name__)


class _StopAskedError(BaseException):
    """The station ends; what was sent so far stays, and the next round goes on there."""


class HandOffThread(Observer):
    """Hands over in a thread of its own: a target that does not answer keeps nobody waiting."""

    name = "hand-off"
    outcomes = frozenset()

    def __init__(self, config: StationConfig) -> None:
        self._config = config
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="hand-off", daemon=True)
        self._thread.start()

    def observe(self, part: InspectedPart) -> None:
        """Nothing: it reads the log of rare parts."""

    def close(self) -> None:
        """End a round that is under way, between two chunks."""
        self._stop.set()
        self._thread.join(5.0)

    def _beat(self) -> None:
        heartbeat.beat()
        if self._stop.is_set():
            raise _StopAskedError

    def _work(self) -> None:
        from station.handoff.sender import Sender

        heartbeat.begin("hand-off", vital=False)
        assert self._config.handoff is not None
        sender = Sender(self._config, beat=self._beat)
        while not self._stop.is_set():
            try:
                found = sender.round()
                self.stored_bytes = int(found.bundles_mb * 1e6)
                said = found.problem or "everything is handed over"
            except _StopAskedError:
                break
            except (InspectionError, OSError) as error:
                said = str(error)
            except Exception as error:
                said = f"an error of this software ({error!r}); please report it; the next round tries again"
                if said != self.note:  # once, and not in every round
                    log.error("hand-off: %s", said, exc_info=error)
            if said != self.note:
                log.info("hand-off: %s", said)
            self.note = said
            left = self._config.handoff.interval_s
            while left > 0 and not self._stop.wait(min(left, 0.5)):
                left -= 0.5
                heartbeat.beat()
        heartbeat.end()


def make_observer(setup: ObserverSetup) -> Observer | None:
    """The hand-off; None where the configuration names no target."""
    return None if setup.config.handoff is None else HandOffThread(setup.config)
