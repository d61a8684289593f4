"""An engine beside the one that judges, for observers that look at parts a second time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from drivers import heartbeat
from drivers.errors import InspectionError
from station.engines.interface import Engine, Scores
from station.observers.interface import ObserverError


class Closable(Protocol):
    """What is opened here."""

    def close(self) -> None:
        """Give it back."""


What = TypeVar("What", bound=Closable | None)


class Beside(Generic[What]):
    """What belongs to the engine that judges: opened once, and given back when another one judges."""

    def __init__(self) -> None:
        self._belongs_to: tuple[object, ...] = ()
        self._opened: list[What] = []
        self.refused = ""
        """Why it cannot be used."""

    def get(self, opener: Callable[[], What], *belongs_to: object) -> What:
        """What is open for ``belongs_to``, objects by their identity; opened now if it is not.

        Raises what ``opener`` raises, and from then on :class:`ObserverError` with the same words.
        """
        same = len(self._belongs_to) == len(belongs_to) and all(map(_is, self._belongs_to, belongs_to))
        if not same:
            self.close()
            self._belongs_to, self.refused = belongs_to, ""
            try:
                self._opened.append(opener())
            except InspectionError as error:
                self.refused = str(error)
                raise
        self.require_usable()
        return self._opened[0]

    def require_usable(self) -> None:
        """Raises :class:`ObserverError` while it is refused."""
        if self.refused:
            raise ObserverError(self.refused)

    def close(self) -> None:
        """Give it back. May be called twice."""
        while self._opened:
            if (one := self._opened.pop()) is not None:
                one.close()
        self._belongs_to = ()


def _is(one: object, other: object) -> bool:
    return one is other or (isinstance(one, str) and one == other)


def scores_in_steps(engine: Engine, patches: NDArray[np.uint8]) -> Scores:
    """The scores of a part's patches ``(N, patch, patch, C)``, one by one, with a sign of life between two.

    Raises ``EngineError``.
    """
    found = []
    for number in range(len(patches)):
        heartbeat.beat()
        found.append(engine.scores(patches[number : number + 1]))

    def joined(arrays: list[NDArray[np.float32] | None]) -> NDArray[np.float32] | None:
        given = [one for one in arrays if one is not None]
        return np.concatenate(given) if len(given) == len(arrays) else None

    return Scores(
        np.concatenate([one.probabilities for one in found]),
        joined([one.features for one in found]),
        joined([one.novelty for one in found]),
    )
