"""Memory for pictures that is used again once nobody looks at it: a part then allocates nothing.

Fresh memory of some megabytes costs time: the operating system clears it page by page as it is first written.

**Who gives a buffer back.** Nobody calls anything. An array of :meth:`Buffers.empty`, and every view of it,
however it was made, refers to a *lease*. The buffer is free when the last of these references is gone,
whoever holds it: a stage of the line, an observer, an inference that is still running. So nobody can give
back what another still reads, which is how pixels of the next part would come into the verdict of this one.
A copy does not hold the buffer.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray


class _Lease:
    """One use of a buffer; numpy's views keep it alive, and its end gives the buffer back."""

    __slots__ = ("_free", "_memory", "_most")

    def __init__(self, memory: NDArray[np.uint8], free: deque[NDArray[np.uint8]], most: int) -> None:
        self._memory, self._free, self._most = memory, free, most

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """The buffer as numpy reads it from a foreign object, to which its arrays then refer."""
        return self._memory.__array_interface__

    def __del__(self) -> None:
        # Any thread may come here at any moment: a deque needs no lock, which a thread could already hold.
        if len(self._free) < self._most:
            self._free.append(self._memory)


class Buffers:
    """Buffers of any sizes, for any threads. Where none is free, one is allocated and counted."""

    def __init__(self, most: int = 8) -> None:
        """``most``: free buffers of one size that are kept; more than these are given back to the system."""
        self._most = most
        self._free: dict[int, deque[NDArray[np.uint8]]] = {}
        self.allocated = 0
        """How often no buffer was free; it stands still once as many are there as are held at a time."""

    def empty(self, *shape: int) -> NDArray[np.uint8]:
        """A C-contiguous array of ``shape`` with whatever was in the buffer before: write all of it."""
        size = int(np.prod(shape))
        free = self._free.setdefault(size, deque())
        try:
            memory = free.pop()
        except IndexError:
            self.allocated += 1
            memory = np.empty(size, np.uint8)
        return np.asarray(_Lease(memory, free, self._most)).reshape(shape)

    def copy(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A C-contiguous copy of ``pixels``."""
        into = self.empty(*pixels.shape)
        np.copyto(into, pixels)
        return into


FRAMES = Buffers(most=4)
"""Of the frames of all cameras, about 20 MB each."""
