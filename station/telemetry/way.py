"""One stream on its way: the journal's stream, the outbox, and a cursor per holder, put together."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from station.journal.cursors import Cursor, advance
from station.telemetry.outbox import Batch, Outbox
from station.telemetry.settings import Telemetry
from station.telemetry.streams import Numbered, Stream, open_telemetry_cursor

WINDOW = 20
"""Messages of one stream that wait for the broker's confirmation; brokers and paho allow so many."""
READ = 100
"""Messages that are read from the journal at a time."""


@dataclass(slots=True)
class Way:
    """One stream with its outbox, its cursors, and what was read ahead. Raises ``JournalError``."""

    stream: Stream
    outbox: Outbox
    waiting: dict[str, int] = field(default_factory=dict)
    """Holder -> messages that it does not have, when the cursors were moved last."""
    _cursors: dict[str, Cursor] = field(default_factory=dict)
    _moved: dict[str, int] = field(default_factory=dict)
    """Holder -> what it held when its cursor was moved last."""
    _after: int = -1
    _ahead: deque[Numbered] = field(default_factory=deque)
    """What was read and follows ``_after``."""
    _nothing: tuple[int, int] = (-1, -1)
    """After which number nothing was found, and the journal's head then."""
    _begins: bool = True
    """Nothing was read yet; later on, the cursors keep what goes out in order."""

    def take(self, batch: Batch, head: int) -> tuple[Numbered | None, tuple[int, int] | None]:
        """The next message of a batch, if there is one now; and numbers that the journal no longer has."""
        after = batch.first - 1
        if self._after != after or not self._ahead:
            if batch.last is None and self._nothing == (after, head):
                return None, None
            begins, self._begins = self._begins, False
            if (begins or batch.last is not None) and batch.first < (oldest := self.stream.oldest()):
                self.outbox.skip(batch, oldest)
                last = oldest - 1 if batch.last is None else min(oldest - 1, batch.last)
                return None, (batch.first, last)
            self._ahead, self._after = deque(self.stream.read(after, READ)), after
        if not self._ahead:
            self._nothing = (after, head)
        if not self._ahead or (batch.last is not None and self._ahead[0].number > batch.last):
            if batch.last is not None:
                self.outbox.range_ends()
            return None, None
        message = self._ahead.popleft()
        self._after = message.number
        return message, None

    def move_cursors(self, head: int) -> None:
        """Write down what each holder has, where it has changed."""
        for holder, held in self.outbox.held.items():
            cursor = self._cursors[holder]
            if held != self._moved[holder] or self.stream.may_move(held, cursor, head):
                self._cursors[holder] = advance(cursor, self.stream.place(held, cursor))
                self._moved[holder] = held
            self.waiting[holder] = self.stream.waiting(held)


def may_be_sent(journal: Path, stream: Stream, settings: Telemetry) -> int:
    """Open the cursors; the newest message, if a holder has been sent any before, and 0 if all are new."""
    found = [
        open_telemetry_cursor(journal, stream.name, holder, history=settings.history)
        for holder in settings.holders
    ]
    return stream.newest() if any(was_there for _, was_there in found) else 0


def open_way(journal: Path, stream: Stream, settings: Telemetry, sent: int) -> Way:
    """A stream from its cursors on; ``sent``: up to this number, all may have been sent before."""
    cursors = {
        holder: open_telemetry_cursor(journal, stream.name, holder, history=settings.history)[0]
        for holder in settings.holders
    }
    held = {holder: stream.held_at(cursor) for holder, cursor in cursors.items()}
    starts = [stream.replay_from(held[holder], cursors[holder], settings.replay_s) for holder in held]
    outbox = Outbox(
        held,
        sent=sent,
        replay_from=min(starts) if sent else max(held.values()) + 1,
        receipts=settings.receipts == "required",
        replay_s=settings.replay_s,
        resend_s=settings.resend_s,
        window=WINDOW,
    )
    return Way(stream, outbox, _cursors=cursors, _moved=dict(held))
