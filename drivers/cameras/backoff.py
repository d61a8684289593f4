"""Getting a lost camera back: how long to wait between attempts, and the loop of attempts.

The schedule has no jitter: one station talks to one camera, so nobody else is knocking at the same time,
and a person who watches the log can tell when the next attempt comes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from drivers.cameras.interface import Camera, CameraConfigError, CameraError


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waiting times in seconds between attempts: ``first_s``, growing by ``factor`` up to ``longest_s``."""

    first_s: float = 0.2
    factor: float = 2.0
    longest_s: float = 5.0

    def __post_init__(self) -> None:
        if not (0 < self.first_s <= self.longest_s and self.factor >= 1):
            raise ValueError(
                f"backoff {self.first_s:g} s, x{self.factor:g}, up to {self.longest_s:g} s: "
                "needs 0 < first <= longest and factor >= 1"
            )

    def wait_s(self, attempt: int) -> float:
        """Seconds to wait after failed attempt number ``attempt``, counted from 0."""
        wait = self.first_s
        for _ in range(attempt):
            if wait >= self.longest_s:
                break
            wait *= self.factor
        return min(wait, self.longest_s)


def reopen(
    camera: Camera,
    backoff: Backoff,
    stopped_within: Callable[[float], bool],
    on_failure: Callable[[int, CameraError], None] | None = None,
) -> bool:
    """Close the camera, then open and arm it again until that works; True when it is armed.

    ``stopped_within(seconds)`` waits that long and returns True when the caller wants to end
    (``threading.Event.wait``); then the camera is left closed and False comes back. ``on_failure`` hears of
    each attempt that failed, counted from 0. A :class:`CameraConfigError` is raised at once: waiting does
    not mend it.
    """
    attempt = 0
    while True:
        camera.close()
        try:
            camera.open()
            camera.arm()
        except CameraConfigError:
            camera.close()
            raise
        except CameraError as error:
            if on_failure is not None:
                on_failure(attempt, error)
            camera.close()
            if stopped_within(backoff.wait_s(attempt)):
                return False
            attempt += 1
        else:
            return True
