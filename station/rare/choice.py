"""Which items stay: what is like a kept item is not kept; the least informative makes room. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

AUDIT_SHARE = 0.1
"""The share of the quota that audit items may fill; up to there, other items do not drop them."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the choice needs to know of an item."""

    item_id: str
    size: int
    """Bytes."""
    worth: float
    order: int
    """A later item has a higher one."""
    audit: bool
    stays: bool
    """Never dropped."""
    handed: bool = False
    """The workshop has it, by its receipt: it is the first to go."""


def nearest(vector: NDArray[np.float32], others: NDArray[np.float32]) -> tuple[int, float]:
    """The row of ``others`` ``(N, F)`` next to ``vector`` ``(F,)``, and its cosine distance, 0 to 2.

    -1 and infinity where there is none. A vector of zeros has distance 1 to everything but its like.
    """
    if not len(others):
        return -1, float("inf")
    lengths = np.sqrt(np.einsum("nf,nf->n", others, others)) * float(np.linalg.norm(vector))
    products = others @ vector
    distances = 1.0 - np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    row = int(np.argmin(distances))
    return row, max(float(distances[row]), 0.0)


def make_room(there: Sequence[Standing], new: Standing | None, quota: int) -> list[Standing] | None:
    """The items to drop, in order, so that all that is left and ``new`` fit into ``quota`` bytes.

    None: ``new`` is not worth it, or what may never be dropped fills the quota. Audit items give way to each
    other, oldest first, once they fill :data:`AUDIT_SHARE` of the quota; below that, they displace others. No
    item gives way to a less informative one, unless the workshop has it: what it has goes first. A
    person's word displaces anything but another person's word. Without ``new``, as much as must go goes.
    """
    total = sum(one.size for one in there) + (new.size if new else 0)
    if total <= quota:
        return []
    left = sorted(there, key=lambda one: (not one.handed, one.worth, one.order))
    audits = sum(one.size for one in left if one.audit) + (new.size if new and new.audit else 0)
    dropped: list[Standing] = []
    while total > quota:
        crowded = audits > AUDIT_SHARE * quota
        first = next((one for one in left if _gives_way(one, new, crowded)), None)
        if first is None and (new is None or new.stays):
            first = next((one for one in left if not one.stays), None)
        if first is None:
            return dropped if new is None else None
        left.remove(first)
        dropped.append(first)
        total -= first.size
        audits -= first.size if first.audit else 0
    return dropped


def _gives_way(one: Standing, new: Standing | None, crowded: bool) -> bool:
    if one.stays:
        return False
    if one.handed:
        return True
    if one.audit or (new is not None and new.audit and crowded):
        return one.audit and crowded
    return new is None or new.stays or new.audit or one.worth <= new.worth
