"""What stands beside a target's length and hash: an engine's version, or an order of the plant.

The workshop's repository has the engines, the plant's (the director's) the orders. Both list a target under
the same path, ``PRODUCT/CHANNEL/DIGEST.bundle``.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from deploy.bundle import bundle_name
from deploy.repository.errors import RepositoryError

CHANNELS = ("canary", "stable")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Of a station, a product or a key."""


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """What the workshop says of an engine: the ``custom`` of its target."""

    product: str
    """The engine's name."""
    version: int
    minimum_version: str
    """The oldest release of the station that can use it."""

    def custom(self) -> dict[str, Any]:
        """As it stands in the metadata."""
        return {
            "product": self.product, "version": self.version, "minimum_version": self.minimum_version
        }  # fmt: skip

    @classmethod
    def of(cls, custom: Any, path: str) -> EngineEntry:
        """Read ``custom`` of the target ``path``. Raises :class:`RepositoryError`."""
        try:
            found = cls(str(custom["product"]), _whole(custom["version"]), str(custom["minimum_version"]))
        except (KeyError, TypeError, ValueError) as error:
            raise RepositoryError(f"{path}: says nothing of its product and version ({error!r})") from None
        if found.product != path.partition("/")[0]:
            raise RepositoryError(f"{path}: says that it is of {found.product!r}")
        return found


@dataclass(frozen=True, slots=True)
class Order:
    """What the plant says of a target: which stations are to have it; the director's ``custom``."""

    product: str
    version: int
    """Among several orders that take a station, the one with the highest version counts."""
    stations: tuple[str, ...] | None = None
    """By name; None: by ``percent``."""
    percent: int = 0
    """Of all stations, by the hash of their names."""
    halted: bool = False
    """No further station may install it."""

    def takes(self, station: str) -> bool:
        """Whether a station is to have it. A station that a percentage takes is taken by every higher one."""
        if self.halted:
            return False
        if self.stations is not None:
            return station in self.stations
        return share_of(station) < self.percent

    def custom(self) -> dict[str, Any]:
        """As it stands in the metadata."""
        whom = {"percent": self.percent} if self.stations is None else {"stations": list(self.stations)}
        return {"product": self.product, "version": self.version, **whom, "halted": self.halted}

    @classmethod
    def of(cls, custom: Any, path: str) -> Order:
        """Read ``custom`` of the target ``path``. Raises :class:`RepositoryError`."""
        try:
            if ("stations" in custom) == ("percent" in custom):
                raise ValueError("it has to have either stations or percent")
            named = custom.get("stations")
            if named is not None and not isinstance(named, list):
                raise ValueError("stations are no list")
            if not isinstance(custom["halted"], bool):
                raise ValueError("halted is neither true nor false")
            stations = None if named is None else tuple(map(str, named))
            percent = _whole(custom.get("percent", 0))
            found = cls(
                str(custom["product"]), _whole(custom["version"]), stations, percent, custom["halted"]
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RepositoryError(f"{path}: is no order that can be read ({error!r})") from None
        if found.product != path.partition("/")[0] or not 0 <= percent <= 100:
            raise RepositoryError(f"{path}: is an order for {found.product!r}, {percent} %")
        return found


def target_path(product: str, channel: str, digest: str) -> str:
    """The path of an engine in both repositories."""
    return f"{product}/{channel}/{bundle_name(digest)}"


def role_of(product: str, channel: str) -> str:
    """The role that signs for one channel of one product."""
    return f"{product}.{channel}"


def share_of(station: str) -> float:
    """Where a station's name falls among all, 0 <= share < 100: its SHA-256 as a fraction, in percent."""
    return int.from_bytes(hashlib.sha256(station.encode()).digest()[:8]) * 100 / 2**64


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is no whole number")
    return value
