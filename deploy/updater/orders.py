"""What the plant orders for this station. Pure: made of the director's signed targets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tuf.api.metadata import TargetFile

from deploy.repository.errors import RepositoryError
from deploy.repository.orders import CHANNELS, Order
from deploy.updater.errors import UpdateError

PATH = re.compile(
    rf"(?P<product>[A-Za-z0-9][A-Za-z0-9._-]{{0,63}})/(?P<channel>{'|'.join(CHANNELS)})/"
    r"(?P<digest>[0-9a-f]{64})\.bundle"
)


@dataclass(frozen=True, slots=True)
class Ordered:
    """An order with the target that it is for."""

    target: TargetFile
    order: Order
    channel: str
    digest: str
    """The engine's digest, 64 hex digits."""


def read_orders(targets: Mapping[str, TargetFile]) -> list[Ordered]:
    """Every order of the director. Raises :class:`UpdateError`, naming all that cannot be read."""
    found, problems = [], []
    for path, target in targets.items():
        name = PATH.fullmatch(path)
        try:
            if name is None:
                raise RepositoryError(f"{path!r} is no PRODUCT/CHANNEL/DIGEST.bundle")
            order = Order.of(target.unrecognized_fields.get("custom"), path)
        except RepositoryError as error:
            problems.append(str(error))
        else:
            found.append(Ordered(target, order, name["channel"], name["digest"]))
    if problems:
        raise UpdateError(
            f"the repository `director` has orders that cannot be read: {'; '.join(problems)}: sign them "
            "again "
            "with `retrain sign order`"
        )
    return found


def choose(orders: list[Ordered], station: str, product: str, channel: str) -> Ordered | None:
    """Of the orders that take this station, the one with the highest version; None where none does.

    Raises :class:`UpdateError` where two have this version.
    """
    mine = [
        one
        for one in orders
        if (one.order.product, one.channel) == (product, channel) and one.order.takes(station)
    ]
    highest = max((one.order.version for one in mine), default=0)
    found = [one for one in mine if one.order.version == highest]
    if len(found) > 1:
        digests = " and ".join(sorted(one.digest[:12] for one in found))
        raise UpdateError(
            f"the repository `director` orders two engines of version {highest} of {product}: {digests}: "
            "halt this version with `retrain sign order --halt`, and ship it again under another number"
        )
    return found[0] if found else None
