"""Drift of the parts from what the engine was trained on, see ``station/shadow/drift.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from station.observers.interface import Observer, ObserverSetup


def make_observer(setup: ObserverSetup) -> Observer | None:
    """The observer; None where ``shadow.drift_parts`` is 0."""
    parts = setup.config.shadow.drift_parts
    if not parts:
        return None
    from station.shadow.drift_observer import Drift

    return Drift(setup.journal, parts)
