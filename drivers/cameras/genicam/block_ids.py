"""Lost exposures, counted from the gaps in the numbers that a camera gives its frames.

Basler's block ids by transport (``CGrabResultData::GetBlockID``): USB counts from 0 in 64 bits; GigE counts
from 1, wraps from 65535 to 1 unless the camera has extended ids, and gives 0 when it numbers nothing;
2**64 - 1 is invalid everywhere. The emulator counts from 0.
"""

from __future__ import annotations

from dataclasses import dataclass

INVALID_ID = 2**64 - 1
GIGE_PERIOD = 65535
"""16-bit GigE Vision ids run 1..65535; 0 is skipped."""


class BlockOrderError(Exception):
    """The camera's frame counter went back or stood still: it was restarted meanwhile."""


@dataclass(slots=True)
class BlockIds:
    """Turns block ids, in the order of arrival, into ``(frame_id, lost_before)``; one object per ``arm``."""

    gige: bool
    one_or_zero: bool = False
    """Whether the first number may be 0 or 1: a producer of another transport does not say which."""
    goes_on: bool = False
    """Whether the numbers may go on from an earlier start: then the first one says nothing of losses."""
    _last: int | None = None
    _frame_id: int = -1

    def usable(self, block_id: int) -> bool:
        """Whether this id says anything about the frame's place."""
        return block_id != INVALID_ID and not (self.gige and block_id == 0)

    def place(self, block_id: int) -> tuple[int, int]:
        """Frame id counted from 0 and exposures missed before it.

        An unusable id is taken for the one that was due. Raises :class:`BlockOrderError` when the ids do
        not increase.
        """
        first = 1 if self.gige or (self.one_or_zero and block_id > 0) else 0
        due = first if self._last is None else self._last + 1
        current = block_id if self.usable(block_id) else due
        step = current - due + 1
        if self._last is None and self.goes_on:
            step = 1
        if step < 1 and self.gige and self._last is not None and self._last <= GIGE_PERIOD:
            wrapped = (current - self._last) % GIGE_PERIOD
            step = wrapped if 0 < wrapped <= GIGE_PERIOD // 2 else step
        if step < 1:
            raise BlockOrderError(f"frame counter went from {self._last} to {block_id}")
        self._last = current
        self._frame_id += step
        return self._frame_id, step - 1
