"""The station's log: one line per event, for a terminal, for journald or as JSON.

* On a terminal: time, level, where, message. Under systemd (:func:`under_systemd`): ``<4>station.line: ...``,
  the priority that journald takes off, and no time, which journald has. As JSON: one object per line.
* What comes from outside (names of cameras, texts of a cell) cannot end a line, colour it or move the cursor.
* A message that repeats is written :data:`OFTEN` times in :data:`WINDOW_S`; then it is only counted, and the
  count is written. One line per part is no repetition.
* A password in a URL is not written.
* :class:`ThreadedHandler` writes in a thread of its own: a terminal or a journald that takes nothing keeps no
  part waiting. What finds no room is counted, and the count is written.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TextIO

from drivers import heartbeat
from station.cli.text import one_line, printable
from station.faults import BY_CODE
from station.queues import BoundedQueue

OFTEN = 5
WINDOW_S = 10.0
KINDS = 256
"""Messages that are told apart."""
WAITING = 1000
"""Lines that can wait to be written."""
FLUSH_S = 2.0
"""How long the end of the process waits for them."""

_PRIORITY = {
    logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2,
}  # fmt: skip
"""As syslog counts them (sd-daemon(3))."""
_PASSWORD = re.compile(r"(?<=://)[^/\s@]+(?=@)")
_CODE = re.compile(r"\bF[0-9]{3}\b")


class LogFormat(StrEnum):
    """How lines are written."""

    AUTO = "auto"
    """For journald under systemd, else for people."""
    PLAIN = "plain"
    JOURNAL = "journal"
    JSON = "json"


def under_systemd(stream: TextIO) -> bool:
    """Whether the stream leads to journald (systemd.exec(5), ``$JOURNAL_STREAM``)."""
    try:
        file = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{file.st_dev}:{file.st_ino}"


def formatter(form: LogFormat, stream: TextIO) -> logging.Formatter:
    """The formatter of a form for a stream."""
    if form is LogFormat.AUTO:
        form = LogFormat.JOURNAL if under_systemd(stream) else LogFormat.PLAIN
    return {LogFormat.PLAIN: Plain, LogFormat.JOURNAL: ForJournald, LogFormat.JSON: Json}[form]()


@contextmanager
def written_by_a_thread(form: LogFormat) -> Iterator[None]:
    """Meanwhile, a thread of its own writes to stderr what is logged, in place of the handlers before it."""
    root = logging.getLogger()
    before, handler = root.handlers[:], ThreadedHandler(sys.stderr, formatter(form, sys.stderr))
    root.handlers[:] = [handler]
    try:
        yield
    finally:
        root.handlers[:] = before
        handler.close()


class Plain(logging.Formatter):
    """For people: time, level, where, message; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines of a record."""
        head = f"{self.formatTime(record)} {record.levelname} {record.name}: {_said(record)}"
        return "\n".join([head, *_traceback(self, record)])


class ForJournald(logging.Formatter):
    """Every line begins with its priority."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines of a record."""
        lines = [f"{record.name}: {_said(record)}", *_traceback(self, record)]
        return "\n".join(f"<{_priority(record)}>{line}" for line in lines)


class Json(logging.Formatter):
    """One object per line: time (UTC), level, priority, logger, message, code, and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        said = _said(record)
        found: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "priority": _priority(record),
            "logger": record.name,
            "message": said,
        }
        if code := next((one for one in _CODE.findall(said) if one in BY_CODE), ""):
            found["code"] = code
        found |= getattr(record, "fields", {})
        if lines := _traceback(self, record):
            found["traceback"] = "\n".join(lines)
        return json.dumps(found, default=str)


class Repeats:
    """Which messages are written. Not thread-safe; times are passed in, seconds."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[object, ...], tuple[float, int]] = OrderedDict()
        """Message -> when its window began, how often it came since."""

    def look(self, record: logging.LogRecord, now_s: float) -> tuple[bool, int]:
        """Whether to write the record, and how many of its kind were left out before it."""
        fields = getattr(record, "fields", {})
        every_part = "part" in fields and logging.getLogger(record.name).isEnabledFor(logging.INFO)
        if record.levelno < logging.WARNING or every_part:
            return True, 0
        kind = (record.name, record.levelno, str(record.msg), fields.get("code"))
        begun, count = self._seen.pop(kind, (now_s, 0))
        left_out = 0
        if now_s - begun >= WINDOW_S:
            left_out, begun, count = max(0, count - OFTEN), now_s, 0
        self._seen[kind] = (begun, count + 1)
        while len(self._seen) > KINDS:
            self._seen.popitem(last=False)
        return count < OFTEN, left_out


class ThreadedHandler(logging.Handler):
    """Formats where the event is, and writes in a thread of its own."""

    def __init__(self, stream: TextIO, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.stream = stream
        self._repeats = Repeats()
        self._lines: BoundedQueue[str] = BoundedQueue("log", WAITING, gives_way=lambda line: True)
        self._dropped = 0
        """Lines that found no room, as far as that was written."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take the record; never waits."""
        is_written, left_out = self._repeats.look(record, time.monotonic())
        if not is_written:
            return
        try:
            line = self.format(record)
            if left_out:
                more = _of(record, f"{left_out} more messages like the next one were left out")
                line = f"{self.format(more)}\n{line}"
        except Exception:
            self.handleError(record)
            return
        self._lines.offer(line)

    def close(self) -> None:
        """Write what waits, for a moment. May be called twice."""
        self._ended.set()
        if self._thread is not threading.current_thread():
            self._thread.join(FLUSH_S)
        super().close()

    def _work(self) -> None:
        heartbeat.begin("log", vital=False)
        while True:
            heartbeat.beat()
            ended = self._ended.is_set()
            line = self._lines.get(0.0 if ended else 0.2)
            if line is None and ended:
                break
            try:
                self._say_dropped()
                if line is not None:
                    print(line, file=self.stream, flush=True)
            except (OSError, ValueError):
                continue  # the reader is gone, or the stream is closed: there is nobody to say it to
        heartbeat.end()

    def _say_dropped(self) -> None:
        shed = self._lines.status().shed
        if shed > self._dropped:
            lost, self._dropped = shed - self._dropped, shed
            record = logging.LogRecord(
                __name__, logging.WARNING, "", 0, f"{lost} lines were lost", None, None
            )
            print(self.format(record), file=self.stream, flush=True)


def _of(record: logging.LogRecord, message: str) -> logging.LogRecord:
    return logging.LogRecord(record.name, record.levelno, "", 0, message, None, None)


def _priority(record: logging.LogRecord) -> int:
    return next((_PRIORITY[level] for level in sorted(_PRIORITY, reverse=True) if record.levelno >= level), 7)


def _said(record: logging.LogRecord) -> str:
    """The message on one line, without passwords."""
    return _PASSWORD.sub("***", one_line(record.getMessage()))


def _traceback(of: logging.Formatter, record: logging.LogRecord) -> list[str]:
    text = of.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""
    lines = [*text.splitlines(), *(record.stack_info or "").splitlines()]
    return [_PASSWORD.sub("***", printable(line)) for line in lines]
