"""Whether the parts of the shift still look like those that the engine was trained on.

At the end of each shift, or of so many parts, the journal gets an event ``drift`` with every measure. While
parts drift, a few of them are kept for the workshop: an event ``drift`` about the record says so, and the
rare-defect log hears it.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from drivers.sorters.interface import Outcome
from station.decision import FAR, UNKNOWN_CLASS
from station.journal.reading import JournalReader
from station.observers.interface import Observer
from station.shadow.drift import (
    LEAST,
    Seen,
    Training,
    Usual,
    Window,
    cause_of,
    drifted,
    golden_looks,
    look_of,
    measures,
)

if TYPE_CHECKING:
    from station.engines.canary import Canary
    from station.journal import Journal
    from station.part import InspectedPart

DRIFT = "drift"
KEPT = 5
"""Parts of a window that are kept because they drift."""
LOOK_EVERY_S = 2.0
"""How often the measures are computed, and the journal is asked whether a shift has ended."""


class Drift(Observer):
    """Adds up how parts look and end, shift by shift."""

    name = DRIFT
    capacity = 4
    outcomes = frozenset({Outcome.ACCEPT, Outcome.REJECT})
    spare_time = True

    def __init__(self, journal: Journal, parts: int, look_every_s: float = LOOK_EVERY_S) -> None:
        """``parts``: the most parts of one window; a new shift ends it sooner."""
        self._journal, self._parts, self._look_every_s = journal, parts, look_every_s
        self._engine = ""
        """SHA-256 of the model that the window belongs to."""
        self._training = Training(())
        self._usual: Usual | None = None
        self._window, self._first_record = Window(), 0
        self._shift = ""
        self._kept = 0
        self._looked = float("-inf")
        self._seq = journal.head.seq

    def observe(self, part: InspectedPart) -> None:
        """Take a part. Raises ``JournalError``."""
        in_hand = part.part
        if in_hand.patches is None:
            return
        if in_hand.prepared.engine.info.digest != self._engine:
            self._begin_with(in_hand.prepared.engine.info.digest, in_hand.prepared.canary)
        if not self._window.parts:
            self._first_record = in_hand.record_id
        self._window.add(_seen(part))
        self._look()
        if self._kept < KEPT and (names := drifted(self.drift)):
            self._kept += 1
            values = {"measure": names[0], "value": round(self.drift[names[0]], 3), "cause": cause_of(names)}
            self._journal.write_event(DRIFT, values, record_id=in_hand.record_id)
        if self._window.parts >= self._parts:
            self._end_window()

    def idle(self) -> None:
        """Nothing waits: whether the shift has ended."""
        self._look()

    def close(self) -> None:
        """The run ends, and with it the window."""
        self._end_window()

    # ------------------------------------------------------------------ windows

    def _look(self) -> None:
        now = time.monotonic()
        if now < self._looked + self._look_every_s:
            return
        self._looked = now
        with JournalReader(self._journal.path) as reader:
            marks = list(reader.station_events(("marks",), after_seq=self._seq))
        for one in marks:
            self._seq = one.seq
            if one.values["shift"] != self._shift:
                self._end_window()
                self._shift = str(one.values["shift"])
        self._show()

    def _show(self) -> None:
        found = measures(self._window, self._training, self._usual)
        if found:
            self.drift = found
            names = drifted(found)
            words = ", ".join(f"{name} {found[name]:.1f}" for name in names)
            self.note = f"{cause_of(names)} drift: {words} of the alarm" if names else "as in training"

    def _end_window(self) -> None:
        """Write down what the window was, if it says anything; the first one of an engine is its *usual*."""
        window, self._window, self._kept = self._window, Window(), 0
        if window.parts < LEAST:
            return
        found = measures(window, self._training, self._usual)
        names = drifted(found)
        first = self._usual is None
        if first:
            self._usual = Usual.of(window)
        self._journal.write_event(
            DRIFT,
            {
                "engine_digest": self._engine,
                "shift": self._shift,
                "first_record": self._first_record,
                "parts": window.parts,
                "measures": {name: round(value, 4) for name, value in found.items()},
                "drifted": list(names),
                "cause": cause_of(names),
                "brightness": round(window.brightness / window.parts, 2),
                "focus": round(window.focus / window.parts, 5),
                "usual": asdict(self._usual) if first and self._usual is not None else None,
            },
        )

    def _begin_with(self, engine: str, canary: Canary | None) -> None:
        """Another engine judges: other training, and its own first parts."""
        self._end_window()
        self._engine, self._window, self._kept, self.drift, self.note = engine, Window(), 0, {}, ""
        self._training = training_of(canary)
        self._usual = None
        with JournalReader(self._journal.path) as reader:
            for event in reader.station_events((DRIFT,)):
                if not event.record_id and event.values["engine_digest"] == engine and event.values["usual"]:
                    self._usual = _usual(event.values["usual"])


def training_of(canary: Canary | None) -> Training:
    """What an engine says of the parts that it knows; nothing where it has no golden parts in memory."""
    if canary is None:
        return Training(())
    manifest, looks = canary.manifest, golden_looks(patches for _, patches in canary.golden)
    if manifest.novelty is None:
        return Training(looks, usual=manifest.usual)
    return Training(looks, manifest.novelty.good_above, manifest.novelty.good_parts, manifest.usual)


def _seen(part: InspectedPart) -> Seen:
    scores, verdict, patches = part.part.scores, part.verdict, part.part.patches
    assert patches is not None, "parts that were not cut are left out"
    far: bool | None = None
    if scores is not None and scores.novelty is not None and verdict.class_index in (0, UNKNOWN_CLASS):
        far = bool(scores.novelty.max() > FAR)
    return Seen(
        look_of(patches.surface.pixels),
        verdict.class_name,
        verdict.outcome is Outcome.ACCEPT,
        float(verdict.confidence),
        far,
    )


def _usual(values: dict[str, Any]) -> Usual:
    return Usual(
        int(values["parts"]),
        {str(name): float(share) for name, share in values["classes"].items()},
        float(values["confidence"]),
        float(values["spread"]),
    )
