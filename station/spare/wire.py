"""The messages between the station and a process beside it, and the memory that both have mapped.

A message is a kind, the number of its question and a size, :data:`MESSAGE`, sent as one datagram of exactly
this length. What is longer lies in the memory: texts from its beginning on, or the patches of a part, with
room for their scores behind them. Sizes follow from what both sides know of the network, and nothing is
unpickled.

The memory cannot shrink (memfd_create(2), F_SEAL_SHRINK): whoever reads what the other side has cut off would
be ended by the kernel.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from enum import IntEnum
from math import prod

import numpy as np
from numpy.typing import NDArray

from station.engines.backends.checked import output_shapes
from station.engines.interface import EngineInfo

MESSAGE = struct.Struct("<BIQ")
TEXT_BYTES = 4 << 20
"""The longest text: a job has a recipe of up to 1 MB in it."""
PART_BYTES = 1 << 30
"""The most that the patches of a part and their scores may take."""


class Kind(IntEnum):
    """What a message says; its size is that of a text, bytes, or a number of patches."""

    OPEN = 1
    """To the process: open what the text describes."""
    SCORE = 2
    """To the process: score these patches."""
    OPENED = 3
    """The text says what is open now."""
    NOTHING = 4
    """There is no such network. Size 0."""
    SCORED = 5
    """The scores of these patches are there."""
    REFUSED = 6
    """The text is that of an ``EngineError``."""


class SizeError(Exception):
    """What was said does not fit what is known."""


class Memory:
    """The shared memory, as one side has mapped it."""

    def __init__(self, file: int | None = None) -> None:
        """``file``: the other side's memory; None: new memory. It owns the file."""
        self.file = file if file is not None else _new_memory()
        self._mapped = mmap.mmap(self.file, os.fstat(self.file).st_size)

    def write_text(self, text: bytes) -> int:
        """Put a text there; its length. What is too long is cut off."""
        text = text[:TEXT_BYTES]
        self._mapped[: len(text)] = text
        return len(text)

    def read_text(self, size: int) -> bytes:
        """A copy of the text. Raises :class:`SizeError`."""
        if size > TEXT_BYTES:
            raise SizeError(f"a text of {size} bytes, more than {TEXT_BYTES}")
        return self._mapped[:size]

    def part(
        self, info: EngineInfo, count: int, *, grow: bool = False
    ) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.float32]]]:
        """The places of ``count`` patches and of their scores by output.

        ``grow``: make the memory as large as they need. Raises :class:`SizeError` where it is too small, or
        would become too large.
        """
        shape = (count, info.patch_px, info.patch_px, info.channels)
        shapes = output_shapes(info, count)
        outputs_at = -(-prod(shape) // 8) * 8
        needed = outputs_at + sum(4 * prod(one) for one in shapes.values())
        if needed > PART_BYTES:
            raise SizeError(f"{count} patches take {needed} bytes, more than {PART_BYTES}")
        if needed > len(self._mapped):
            if grow:
                os.ftruncate(self.file, needed)
            there = os.fstat(self.file).st_size
            if needed > there:
                raise SizeError(f"{count} patches take {needed} bytes, and {there} are shared")
            self._mapped = mmap.mmap(self.file, there)
        patches = np.frombuffer(self._mapped, np.uint8, prod(shape)).reshape(shape)
        places: dict[str, NDArray[np.float32]] = {}
        for name, one in shapes.items():
            places[name] = np.frombuffer(self._mapped, np.float32, prod(one), outputs_at).reshape(one)
            outputs_at += 4 * prod(one)
        return patches, places

    def close(self) -> None:
        """Give the file back; what is mapped goes with the last array that looks at it."""
        file, self.file = self.file, -1
        if file >= 0:
            os.close(file)


def _new_memory() -> int:
    file = os.memfd_create("station-spare", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(file, TEXT_BYTES)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    return file
