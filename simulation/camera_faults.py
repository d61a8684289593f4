"""What goes wrong with the simulated camera, by number or by share, and reproducibly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from drivers.cameras.interface import CameraConfigError


@dataclass(frozen=True, slots=True)
class CameraFaults:
    """What goes wrong, by the number of the exposure or by a share of all.

    Exposures are counted from 1 since the camera was first opened, 0 is never. Shares are drawn from
    ``seed`` and the exposure's number alone, so that a run can be repeated.
    """

    drop_every: int = 0
    """Every so many exposures the frame never arrives; the next one reports it lost."""
    incomplete_every: int = 0
    """The lower half of the frame is missing."""
    late_every: int = 0
    late_s: float = 1.0
    lose_at: int = 0
    """At this exposure the camera is gone."""
    lost_for_s: float = 2.0
    """So long after the loss it can be opened again."""
    hang_at: int = 0
    """The grab of this exposure does not come back in time, as a hung driver's would not."""
    hang_for_s: float = math.inf
    drop_share: float = 0.0
    incomplete_share: float = 0.0
    late_share: float = 0.0
    lose_share: float = 0.0
    seed: int = 1

    def drops(self, number: int) -> bool:
        """Whether the frame of this exposure never arrives."""
        return _every(number, self.drop_every) or self._drawn(number, 0, self.drop_share)

    def cuts(self, number: int) -> bool:
        """Whether half of the frame is missing."""
        return _every(number, self.incomplete_every) or self._drawn(number, 1, self.incomplete_share)

    def delays(self, number: int) -> bool:
        """Whether the frame comes late."""
        return _every(number, self.late_every) or self._drawn(number, 2, self.late_share)

    def loses(self, number: int) -> bool:
        """Whether the camera is gone at this exposure."""
        return number == self.lose_at or self._drawn(number, 3, self.lose_share)

    def _drawn(self, number: int, what: int, share: float) -> bool:
        return share > 0 and float(np.random.default_rng([self.seed, number, what]).random()) < share

    def __post_init__(self) -> None:
        for name in ("drop_share", "incomplete_share", "late_share", "lose_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise CameraConfigError(f"simulated: {name} {getattr(self, name):g} must be between 0 and 1")
        for name in ("drop_every", "incomplete_every", "late_every", "lose_at", "hang_at"):
            if getattr(self, name) < 0:
                raise CameraConfigError(f"simulated: {name} {getattr(self, name)} must be 0 (never) or more")


def _every(number: int, period: int) -> bool:
    return period > 0 and number % period == 0
