"""The camera's own clock, which distinguishes an earlier frame from the present one.

A camera that was stopped may still finish the exposure under way and send it from a memory of its own
(pypylon#559), even after it was started again. A wire makes such exposures unasked; after a software trigger
it is the exposure whose frame did not come in time. So the clock is read while the camera stands still, just
before it is started: what began earlier was exposed before.
"""

from __future__ import annotations

from drivers.cameras.genicam.features import Nodes

CLOCKS = (("TimestampLatch", "TimestampLatchValue"), ("GevTimestampControlLatch", "GevTimestampValue"))
"""Command that notes the time and feature that holds it: SFNC 2.x first, then older GigE cameras."""


class CameraClock:
    """The moment of the last :meth:`note`, in ticks of the camera; a camera without a clock notes nothing."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._names = next((names for names in CLOCKS if all(nodes.find(name) for name in names)), None)
        self._noted: int | None = None

    @property
    def there(self) -> bool:
        """Whether the camera has a clock that can be read."""
        return self._names is not None

    def now(self) -> int | None:
        """The camera's time, ticks; None for a camera without a clock."""
        if self._names is None:
            return None
        latch, value = self._names
        self._nodes.execute("its clock", latch)
        return self._nodes.integer_now(value)

    def note(self) -> None:
        """Remember this moment."""
        self._noted = self.now()

    def began_before(self, timestamp: int) -> bool:
        """Whether a frame's exposure started before the moment noted.

        ``timestamp``: the grab result's (``GetTimeStamp``: when the exposure was started); 0 where the
        camera does not date its frames, which says nothing.
        """
        return self._noted is not None and 0 < timestamp < self._noted
