"""The observer that keeps rare and doubtful parts, beside the decision path and within a quota.

Whatever happens here - a disk that is full, slow or gone - costs items and never a part. What should have
been kept and was not is counted and shown. The last parts stay in memory, so that a person's word about one
of them, or a fault that follows, still finds its picture.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from dataclasses import replace
from typing import TYPE_CHECKING

from drivers.sorters.interface import Outcome
from station.journal.cursors import Cursor, advance, open_cursor
from station.journal.errors import JournalError
from station.journal.reading import JournalReader
from station.observers.interface import Observer
from station.rare.index import NoRoomError, RareLogError
from station.rare.items import Origin, Reason, Sighting, Why, sighting_of
from station.rare.reasons import disagreement, draw_of, far_by_drift, far_by_second_network, reasons_of
from station.rare.store import Kept, RareStore

if TYPE_CHECKING:
    from pathlib import Path

    from station.config import Rare
    from station.journal.reading import JournalEvent
    from station.part import InspectedPart

log = logging.getLogger(__name__)

CURSOR = "rare"
"""The name of this reader of the journal."""
VOICES = ("review", "opinion", "novelty", "shadow", "drift")
"""What is said of a part after its verdict: by a person, another engine, the second network, a candidate, or
that parts drift."""
_WORDS = {"novelty": far_by_second_network, "drift": far_by_drift}
"""What a voice says in words, where it is no other engine's verdict."""
LOOK_EVERY_S = 2.0
"""How often the journal is asked what was said; sooner where parts would be forgotten before that."""
MOVE_EVERY_S = 60.0
"""How often the cursor is moved on when there is none: each move waits for the disk."""


class RareLog(Observer):
    """Keeps parts that the workshop can learn from."""

    name = keeps = "rare parts"

    def __init__(self, store: RareStore, settings: Rare, journal: Path, origin: Origin) -> None:
        """``journal``: where the reviews are read. Opens nothing: a folder that is not there costs items."""
        self.capacity = settings.queue
        self._store = store
        self._settings = settings
        self._journal = journal
        self._origin = origin
        self._recent: deque[Sighting] = deque(maxlen=settings.remember)
        self._open = False
        self._rare_so_far: Counter[tuple[str, str]] = Counter()
        self._after = ""
        """The part before, in words, when it was a fault."""
        self._counts: Counter[Kept] = Counter()
        self._lost = 0
        """Parts that should have been kept, and could not be written."""
        self._too_late = 0
        """Reviews of parts whose picture was gone."""
        self._forgotten = 0
        """Parts on which engines disagree, or that are far from training, and whose picture was gone."""
        self._fill = "not opened yet"
        self._cursor: Cursor | None = None
        self._seen_seq = 0
        self._looked = self._moved = 0.0
        self._newest = 0
        """The record of the part that was looked at last."""
        self._early: deque[JournalEvent] = deque(maxlen=settings.remember)
        """What other networks said of parts that wait to be looked at."""
        self._parts_since = 0
        """Parts since the last look."""
        self._deaf = ""
        """Why reviews are not heard now."""

    @property
    def lost(self) -> int:
        """Parts that should have been kept, and could not be written."""
        return self._lost

    def observe(self, part: InspectedPart) -> None:
        """Keep the part if there is a reason to. Raises :class:`RareLogError`; the part is then lost."""
        self._parts_since += 1
        self._listen(now=self._parts_since > self._settings.remember // 2)
        try:
            self._observe(part)
        finally:
            self._note()

    def idle(self) -> None:
        """Nothing waits: look for what was said."""
        if self._listen():
            self._note()

    def probe(self) -> None:
        """Write and remove a file as large as the latest picture. Raises :class:`RareLogError`."""
        try:
            self._require_open()
            self._store.probe(max((one.pixels.nbytes for one in self._recent), default=0))
        except RareLogError as error:
            self.trouble = str(error)
            raise
        self.trouble = ""

    def close(self) -> None:
        """Take what was said last, and give the folder back."""
        try:
            self._listen(now=True)
            if self._cursor is not None and self._cursor.seq < self._seen_seq:
                advance(self._cursor, self._seen_seq)
        finally:
            self._store.close()
            self._note()

    # ------------------------------------------------------------------ parts

    def _observe(self, inspected: InspectedPart) -> None:
        fault, before = self._after, self._recent[-1] if self._recent else None
        is_fault = inspected.verdict.outcome is Outcome.FAULT
        words = f"part {inspected.part_id}, a fault: {inspected.verdict.reason}"
        self._after = words if is_fault else ""
        patches, record_id = inspected.part.patches, inspected.part.record_id
        self._newest = record_id
        sighting = sighting_of(inspected, patches, self._origin) if patches is not None else None
        if sighting is not None:
            self._recent.append(sighting)
        if is_fault:
            if not fault and before is not None:
                self._keep(before, [Why(Reason.NEAR_A_FAULT, 0.0, f"the part before {words}")])
            return
        if sighting is None:
            return
        key = (sighting.item.recipe, sighting.item.class_name)
        whys = reasons_of(
            inspected,
            self._settings,
            items_of_class=self._rare_so_far[key],
            draw=draw_of(self._origin.journal_id, record_id),
        )
        if fault:
            whys.append(Why(Reason.NEAR_A_FAULT, 0.0, f"the part after {fault}"))
        if whys:
            self._keep(sighting, whys)

    def _keep(self, sighting: Sighting, whys: list[Why]) -> None:
        """Write it, or count it as lost. Raises :class:`RareLogError`."""
        item = sighting.item.because(*whys)
        try:
            self._require_open()
            kept = self._store.keep(replace(sighting, item=item))
            self._show_fill()
        except BaseException as error:
            self._lost += 1
            self._open = False  # put the folder in order before the next one
            self.trouble = str(error) or repr(error)
            raise
        self.trouble = ""
        self._counts[kept] += 1
        if kept is Kept.NEW and any(why.reason is Reason.RARE_CLASS for why in whys):
            self._rare_so_far[item.recipe, item.class_name] += 1

    def _require_open(self) -> None:
        if not self._open or not self._store.is_there:
            for line in self._store.open():
                log.warning("rare log: %s", line)
            self._rare_so_far = self._store.rare_so_far()
            self._open = True
            self._show_fill()

    # ------------------------------------------------------------------ what is said later

    def _listen(self, *, now: bool = False) -> bool:
        """Take what was said since the last look; True when it is time to show something new.

        What fails here is tried again at the next look and costs no part.
        """
        moment = time.monotonic()
        if moment < self._looked + LOOK_EVERY_S and not now:
            return False
        self._looked, self._parts_since = moment, 0
        try:
            if self._cursor is None:  # what was reviewed before there was a log has no picture here
                self._cursor = open_cursor(self._journal, CURSOR, at_head=True)
                self._seen_seq = self._cursor.seq
            self._take_voices(self._cursor, moment)
            self._deaf = ""
        except (RareLogError, JournalError) as error:
            if str(error) != self._deaf:
                log.warning("rare log: reviews wait: %s", error)
            self._deaf = str(error)
            self._open = self._open and not isinstance(error, RareLogError)
        return True

    def _take_voices(self, cursor: Cursor, moment: float) -> None:
        with JournalReader(self._journal) as reader:
            head = reader.head().seq
            said = list(reader.station_events(VOICES, after_seq=self._seen_seq))
        reviewed = False
        for voice in said:
            if voice.kind == "review":
                self._require_open()
                self._hear(voice)
                reviewed = True
            elif voice.record_id and voice.values.get("agrees") is not True:
                self._early.append(voice)
            self._seen_seq = voice.seq
        while self._early and self._early[0].record_id <= self._newest:
            self._require_open()
            self._hear_engine(self._early[0])
            self._early.popleft()
        self._seen_seq = max(self._seen_seq, head)
        if self._seen_seq > cursor.seq and (reviewed or moment > self._moved + MOVE_EVERY_S):
            self._cursor = advance(cursor, self._seen_seq)
            self._moved = moment

    def _hear(self, review: JournalEvent) -> None:
        """One person's word. Heard twice, it changes nothing."""
        class_name, by = str(review.values["class_name"]), str(review.values["by"])
        if self._store.amend(
            self._origin.journal_id, review.record_id, lambda item: item.said(class_name, by)
        ):
            return
        found = next((one for one in self._recent if one.item.record_id == review.record_id), None)
        if found is None:
            self._too_late += 1
            log.warning("rare log: record %d was reviewed too late, its picture is gone", review.record_id)
            return
        try:
            self._counts[self._store.keep(replace(found, item=found.item.said(class_name, by)))] += 1
        except NoRoomError as error:  # to try again would not help
            self._lost += 1
            log.error("%s", error)
        self._show_fill()

    def _hear_engine(self, voice: JournalEvent) -> None:
        """Another engine's verdict, or that the part is far. Heard twice, it changes nothing."""
        far = voice.kind == "novelty"
        why = _WORDS.get(voice.kind, disagreement)(voice.values)
        if self._store.amend(self._origin.journal_id, voice.record_id, lambda item: item.also(why)):
            return
        found = next((one for one in self._recent if one.item.record_id == voice.record_id), None)
        if found is None:
            self._forgotten += 1
        else:
            seen = found.at(int(voice.values["patch"])) if far else found
            self._counts[self._store.keep(replace(seen, item=seen.item.also(why)))] += 1
            self._show_fill()

    # ------------------------------------------------------------------ what people see

    def _show_fill(self) -> None:
        usage = self._store.usage()
        self.stored_bytes = usage.used
        self._fill = f"{usage.items} items, {usage.used / 1e6:.1f} of {usage.quota / 1e6:.0f} MB"
        if usage.quarantined:
            self._fill += f", {usage.quarantined} files in quarantine"

    def _note(self) -> None:
        words = [self._fill]
        for count, what in (
            (self._counts[Kept.NEW], "kept"),
            (self._counts[Kept.ALIKE], "like one kept before"),
            (self._counts[Kept.NO_ROOM], "less informative than all kept"),
            (self._lost, "LOST"),
            (self._too_late, "reviewed too late"),
            (self._forgotten, "judged again too late"),
        ):
            if count:
                words.append(f"{count} {what}")
        if self._deaf:
            words.append(f"reviews wait: {self._deaf}")
        self.note = ", ".join(words)
