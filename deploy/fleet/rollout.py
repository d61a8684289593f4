"""What the health of the stations says of an order: go further, wait, or stop. No I/O.

An order for an engine grows by stages (:data:`STAGES`). It goes further only when every station that it takes
has the engine and found it *good*, which only a trial on the line does. While one of them is on its way, or
says nothing that counts, the rollout waits. When one found the engine *bad*, it is halted. Nothing goes
further by itself: each stage is an order that somebody signs, a person or a rule with a key of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from deploy.fleet.witness import Seen
from deploy.repository.orders import Order, share_of

STAGES = (1, 10, 100)
"""Percent of the stations."""


class Next(Enum):
    """What is to be done with an order."""

    HALT = "halt"
    WAIT = "wait"
    ADVANCE = "may advance"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done, and why."""

    next: Next
    why: tuple[str, ...]
    percent: int = 0
    """Of the stations, to advance to."""


def decide(order: Order, digest: str, stations: Sequence[Seen]) -> Decision:
    """What the stations say of the engine ``digest`` that was ordered.

    ``stations``: every enrolled station of the plant.
    """
    bad = [
        f"{one.station}: {found.why}"
        for one in stations
        if one.manifest is not None and order.product == one.manifest.product
        for found in one.manifest.bad
        if found.digest == digest
    ]
    if bad:
        return Decision(Next.HALT, tuple(bad))
    if order.halted:
        return Decision(Next.WAIT, ("the order is halted: order another engine, or this one again",))
    taken = [one for one in stations if order.takes(one.station)]
    if not taken:
        return Decision(
            Next.WAIT,
            ("the order takes none of the stations: name one first (`retrain sign order --stations`)",),
        )
    waits = [f"{one.station}: {words}" for one in taken if (words := _waits(one, order.product, digest))]
    if waits:
        return Decision(Next.WAIT, tuple(waits))
    said = (f"good on all {len(taken)} stations that it was ordered for",)
    percent = next_stage(order, [one.station for one in stations])
    return Decision(Next.DONE, said) if percent is None else Decision(Next.ADVANCE, said, percent)


def next_stage(order: Order, stations: Sequence[str]) -> int | None:
    """The next percentage that takes a station more; 100 at the end, None where the order has it."""
    if order.stations is None and order.percent >= STAGES[-1]:
        return None
    now = {name for name in stations if order.takes(name)}
    for percent in STAGES:
        larger = order.stations is not None or percent > order.percent
        if larger and {name for name in stations if share_of(name) < percent} - now:
            return percent
    return STAGES[-1]


def _waits(one: Seen, product: str, digest: str) -> str:
    """Why a station says nothing good of the engine yet; empty where it does."""
    found = one.manifest
    if one.trouble or found is None:
        return one.trouble
    if found.product != product:
        return f"has {found.product} prepared"
    if found.engine == digest:
        if found.engine_state == "good":
            return ""
        trial = f", {found.trial.parts} of {found.trial.of} parts" if found.trial else ""
        return f"{found.engine_state}{trial}"
    if found.candidate == digest:
        return "shadowing"
    return "has it, and does not use it yet" if digest in found.installed else "does not have it yet"
