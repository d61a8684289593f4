"""An engine beside the one that judges, for observers that look at parts a second time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from drivers.errors import InspectionError
from station.observers.interface import ObserverError
from station.spare.engine import ProcessLostError

FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 300.0
"""After the first process that was lost, and at most: it doubles with each that comes to no score."""

END_S = 3.0
"""How long the end of a run waits for an observer of this kind: what it leaves is no loss."""


class Closable(Protocol):
    """What is opened here."""

    def close(self) -> None:
        """Give it back."""


What = TypeVar("What", bound=Closable | None)


class Beside(Generic[What]):
    """What belongs to the engine that judges: opened once, and given back when another one judges.

    Where its process is lost, it is opened again after a pause, for the next part.
    """

    def __init__(self, first_pause_s: float = FIRST_PAUSE_S) -> None:
        self._belongs_to: tuple[object, ...] = ()
        self._opened: list[What] = []
        self._first_pause_s = self._pause_s = first_pause_s
        self._again_at: float | None = None
        """When it may be opened again; None: not before another engine judges."""
        self.refused = ""
        """Why it cannot be used."""

    @contextmanager
    def using(self, opener: Callable[[], What], *belongs_to: object) -> Iterator[What]:
        """What is open for ``belongs_to``, objects by their identity; opened now if it is not.

        Raises what ``opener`` raises, and then :class:`ObserverError` with the same words: until another
        engine judges, or after a ``ProcessLostError``, also one of the caller, until the pause is over.
        """
        same = len(self._belongs_to) == len(belongs_to) and all(map(_is, self._belongs_to, belongs_to))
        if not same:
            self.close()
            self._belongs_to, self.refused, self._pause_s = belongs_to, "", self._first_pause_s
        if self.refused and (self._again_at is None or time.monotonic() < self._again_at):
            raise ObserverError(self.refused)
        try:
            yield self._open(opener)
        except ProcessLostError as lost:
            self._give_back()
            self.refused = f"{lost}; it is started again after {self._pause_s:g} s, for the next part"
            self._again_at = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            raise ObserverError(self.refused) from lost
        self.refused, self._pause_s = "", self._first_pause_s

    def require_usable(self) -> None:
        """Raises :class:`ObserverError` while it is refused."""
        if self.refused:
            raise ObserverError(self.refused)

    def close(self) -> None:
        """Give it back. May be called twice."""
        self._give_back()
        self._belongs_to = ()

    def _open(self, opener: Callable[[], What]) -> What:
        if not self._opened:
            try:
                self._opened.append(opener())
            except ProcessLostError:
                raise
            except InspectionError as error:
                self.refused, self._again_at = str(error), None
                raise
        return self._opened[0]

    def _give_back(self) -> None:
        while self._opened:
            if (one := self._opened.pop()) is not None:
                one.close()


def _is(one: object, other: object) -> bool:
    return one is other or (isinstance(one, str) and one == other)
