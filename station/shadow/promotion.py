"""Which engine shadows next. No I/O.

Only what has proved itself since it last shadowed or judged is a candidate again: an engine that another one
has replaced in the shadow stays there until a person names it.
"""

from __future__ import annotations

from station.engines.states import Engines, EngineState


def next_candidate(known: Engines) -> str:
    """The digest of the engine that should shadow now; empty where none should.

    It is the newest proven one that is newer than the active one. None, while one shadows, or while an engine
    is in trial: its predecessor shadows then.
    """
    active = known.entries.get(known.active)
    if known.candidate or (active is not None and active.state is EngineState.TRIAL):
        return ""
    last = {step.digest: step.step for step in known.steps}
    waiting = [
        entry
        for entry in known.entries.values()
        if entry.state is EngineState.PROVEN
        and last.get(entry.digest) == EngineState.PROVEN
        and entry.version > (0 if active is None else active.version)
    ]
    return max(waiting, key=lambda entry: (entry.version, entry.at)).digest if waiting else ""
