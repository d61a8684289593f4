"""What the plant orders: which engine for which station. Pure: made of the director's signed targets.

An order is a target of the director's top-level role: the path, length and hashes of a bundle in the image
repository, and as ``custom`` the product, ``stations`` (names) or ``percent`` (0 to 100), and ``halted``. A
percentage takes a station by the SHA-256 of its name, so that a station that was in the first 1 % is in the
10 % too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuf.api.metadata import TargetFile

from deploy.updater.errors import UpdateError

PATH = re.compile(
    r"(?P<product>[A-Za-z0-9][A-Za-z0-9._-]{0,63})/(?P<channel>stable|canary)/(?P<digest>[0-9a-f]{64})\.bundle"
)
KEYS = {"product", "stations", "percent", "halted"}


@dataclass(frozen=True, slots=True)
class Order:
    """One engine for some stations."""

    target: TargetFile
    product: str
    channel: str
    digest: str
    """The engine's digest, 64 hex digits."""
    stations: tuple[str, ...]
    """Names; empty where ``percent`` counts."""
    percent: float
    """Of all stations; 0 where ``stations`` counts."""
    halted: bool

    def is_for(self, station: str) -> bool:
        """Whether this station should have the engine."""
        return station in self.stations or percentile(station) < self.percent

    @property
    def breadth(self) -> float:
        """0 where stations are named, else the percentage: the narrower of two orders counts."""
        return 0.0 if self.stations else self.percent


def percentile(station: str) -> float:
    """The station's place among all, 0 to below 100, from the SHA-256 of its name."""
    return int.from_bytes(hashlib.sha256(station.encode()).digest()[:6]) / 2**48 * 100


def read_orders(targets: Mapping[str, TargetFile]) -> list[Order]:
    """Every order of the director. Raises :class:`UpdateError`, naming all that cannot be read."""
    orders, problems = [], []
    for path, target in targets.items():
        custom = target.custom or {}
        name = PATH.fullmatch(path)
        if name is None:
            problems.append(f"{path!r} is no <product>/<channel>/<engine digest>.bundle")
            continue
        wrong = _wrong(custom, name["product"])
        if wrong:
            problems.append(f"{path}: {wrong}")
            continue
        orders.append(
            Order(
                target,
                name["product"],
                name["channel"],
                name["digest"],
                tuple(custom.get("stations", ())),
                float(custom.get("percent", 0)),
                custom.get("halted", False),
            )
        )
    if problems:
        raise UpdateError(
            f"the repository `director` has orders that cannot be read: {'; '.join(problems)}: sign them "
            "again with "
            "`retrain sign --director`"
        )
    return orders


def choose(orders: list[Order], station: str, product: str, channel: str) -> Order | None:
    """The order for this station, or None. Raises :class:`UpdateError` where two contradict each other."""
    mine = [o for o in orders if (o.product, o.channel) == (product, channel) and o.is_for(station)]
    narrowest = min((order.breadth for order in mine), default=0.0)
    found = [order for order in mine if order.breadth == narrowest]
    if len(found) > 1:
        digests = " and ".join(sorted(order.digest[:12] for order in found))
        raise UpdateError(
            f"the repository `director` orders two engines for {product}, {channel}, of this station: "
            f"{digests}: "
            "withdraw one with `retrain sign --director`"
        )
    return found[0] if found else None


def _wrong(custom: Mapping[str, Any], product: str) -> str:
    """What is wrong with an order's custom part; empty where nothing is."""
    if unknown := sorted(set(custom) - KEYS):
        return f"{', '.join(unknown)} is not known"
    stations, percent = custom.get("stations"), custom.get("percent")
    if custom.get("product") != product:
        return f"product is {custom.get('product')!r}, and the path says {product}"
    if (stations is None) == (percent is None):
        return "give one of stations and percent"
    if stations is not None and not (
        isinstance(stations, list) and stations and all(isinstance(one, str) for one in stations)
    ):
        return "stations is no list of names"
    if percent is not None and (
        isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100
    ):
        return f"percent is {percent!r} and not 0 to 100"
    return "" if isinstance(custom.get("halted", False), bool) else "halted is neither true nor false"
