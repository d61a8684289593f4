"""How far parts are from training by the engine's second network, computed in spare time.

What is far is an event of the journal about the record (``novelty``). It is never sent to the cell and
changes no record. The rare-defect log reads it there, as it reads a person's word, and keeps the part. Parts
that a class rejected are not looked at: a known defect is far from good parts, and no news. Parts for which
there is no time are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from drivers.sorters.interface import Outcome
from station.decision import FAR, UNKNOWN_CLASS, Verdict
from station.observers.beside import END_S, Beside
from station.observers.interface import Observer, ObserverError
from station.rare.reasons import draw_of

if TYPE_CHECKING:
    from station.engines.interface import Engine
    from station.journal import Journal
    from station.part import InspectedPart
    from station.prepared import Prepared

Opener = Callable[["Prepared"], "Engine | None"]
"""Opens the second network of the engine that judges; None where it has none. Raises ``EngineError``."""


class PretrainedNovelty(Observer):
    """Computes the novelty of accepted parts and writes down which ones are far from training."""

    name = "pretrained novelty"
    keeps = "parts far from training"
    capacity = 2
    outcomes = frozenset({Outcome.ACCEPT, Outcome.REJECT})
    spare_time = True
    end_s = END_S

    def __init__(self, journal: Journal, open_network: Opener, share: float) -> None:
        """``share``: of the parts, drawn by the record's number. The network is opened at the first part."""
        self._journal = journal
        self._journal_id = journal.head.journal_id
        self._open_network = open_network
        self._share = share
        self._second: Beside[Engine | None] = Beside()
        self._looked_at = self._far = 0

    def wants(self, part: InspectedPart) -> bool:
        """Whether the part is one of the share, and no class rejected it."""
        by_a_class = part.verdict.class_index not in (0, UNKNOWN_CLASS)
        return not by_a_class and draw_of(self._journal_id, part.part.record_id, self.name) < self._share

    def observe(self, part: InspectedPart) -> None:
        """Look at a part. Raises :class:`ObserverError`, ``EngineError`` or ``JournalError``."""
        in_hand = part.part
        if in_hand.patches is None:
            return
        prepared = in_hand.prepared
        with self._second.using(lambda: self._opened(prepared), prepared.engine) as network:
            if network is None:
                return
            novelty = _novelty_of(network, in_hand.patches.pixels)
        self._looked_at += 1
        if novelty.max() > FAR:
            values = far_of(network, novelty, part.verdict)
            self._journal.write_event("novelty", values, record_id=in_hand.record_id)
            self._far += 1
        self.note = f"{self._looked_at} looked at in spare time, {self._far} far from training"

    def probe(self) -> None:
        """Raises :class:`ObserverError` while the engine's network is refused."""
        self._second.require_usable()

    def close(self) -> None:
        """Give the network back."""
        self._second.close()

    def _opened(self, prepared: Prepared) -> Engine | None:
        network = self._open_network(prepared)
        if network is None:
            self.note = f"engine {prepared.engine.info.name} has no second network"
        return network


def far_of(network: Engine, novelty: NDArray[np.float32], verdict: Verdict) -> dict[str, object]:
    """The values of an event ``novelty``: what a second network says of a part that is far from training."""
    info = network.info
    patch = int(novelty.argmax())
    return {
        "novelty": float(f"{novelty[patch]:.6g}"),
        "patch": patch,
        "engine": info.name,
        "network_digest": info.digest,
        "backend": info.backend,
        "precision": info.precision,
        "verdict": verdict.class_name,
    }


def _novelty_of(network: Engine, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The novelty ``(N,)``."""
    novelty = network.scores(patches).novelty
    found = np.full(len(patches), np.nan, np.float32) if novelty is None else novelty
    if not np.isfinite(found).all():
        raise ObserverError(
            f"the second network of {network.info.name} gave no number for patch "
            f"{int(np.flatnonzero(~np.isfinite(found))[0])}; write it again by "
            "`retrain novelty --engine FOLDER --pretrained`"
        )
    return found
