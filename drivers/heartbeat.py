"""Signs of life of this process's threads, in memory that another process can read.

A thread that must not die or hang says :func:`begin`, then :func:`beat` at least every ``hung_after_s``, and
:func:`end` before it leaves. Whoever maps the memory (``station/watcher.py``) sees which thread is overdue,
even while one holds the interpreter's lock or the whole process is stopped. :func:`beat` takes no lock.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from dataclasses import dataclass

SLOTS = 256
SLOT = struct.Struct("=qqqq32s")
"""State, deadline (``time.monotonic_ns()``), thread (as the kernel numbers it), vital, name."""
SIZE = (SLOTS + 1) * SLOT.size
"""Bytes. Slot 0 is the process: its deadline is when a clean end must be over, 0 while none is under way."""
FREE, ALIVE = 0, 1
MARGIN_S = 1.0
"""What a hung call is noticed with from inside, before the process is ended from outside."""

_WORD = struct.Struct("=q")
_DEADLINE_AT = 8
_lock = threading.Lock()
_mine = threading.local()


@dataclass(slots=True)
class _Board:
    file: int
    memory: mmap.mmap
    hung_after_ns: int


def _new_board() -> _Board:
    file = os.memfd_create("station-heartbeats", os.MFD_CLOEXEC)
    os.ftruncate(file, SIZE)
    return _Board(file, mmap.mmap(file, SIZE), 10_000_000_000)


_board = _new_board()


def file_descriptor() -> int:
    """The memory as a file, to be handed to the process that watches."""
    return _board.file


def hung_after(seconds: float) -> None:
    """Say after how much silence a thread hangs; no end of the process is under way."""
    _board.hung_after_ns = int(seconds * 1e9)
    _WORD.pack_into(_board.memory, _DEADLINE_AT, 0)


def begin(name: str, *, vital: bool = True) -> None:
    """Watch the calling thread from now on. ``vital``: the process cannot do its work without it."""
    with _lock:
        at = _free_slot() * SLOT.size
        _mine.at = at
        beat()
        (deadline,) = _WORD.unpack_from(_board.memory, at + _DEADLINE_AT)
        named = name.encode("ascii", "replace")[:32]
        SLOT.pack_into(_board.memory, at, FREE, deadline, threading.get_native_id(), vital, named)
        _WORD.pack_into(_board.memory, at, ALIVE)


def beat(more_s: float = 0.0) -> None:
    """Say that the calling thread lives; it is heard of again within ``hung_after_s`` and ``more_s``."""
    at = getattr(_mine, "at", 0)
    if at:
        until = time.monotonic_ns() + _board.hung_after_ns + int((MARGIN_S + more_s) * 1e9)
        _WORD.pack_into(_board.memory, at + _DEADLINE_AT, until)


def end() -> None:
    """Watch the calling thread no more: it leaves as it should."""
    at = getattr(_mine, "at", 0)
    if at:
        _mine.at = 0
        with _lock:
            _WORD.pack_into(_board.memory, at, FREE)


def ending(within_s: float) -> None:
    """Say that the process comes to a clean end within this time; what hangs meanwhile is forgiven."""
    _WORD.pack_into(_board.memory, _DEADLINE_AT, time.monotonic_ns() + int(within_s * 1e9))


def _free_slot() -> int:
    """A slot that nobody uses; else one of a thread that is gone without a word."""
    states = [SLOT.unpack_from(_board.memory, slot * SLOT.size) for slot in range(1, SLOTS + 1)]
    for slot, (state, *_) in enumerate(states, 1):
        if state == FREE:
            return slot
    for slot, (_, _, thread, _, _) in enumerate(states, 1):
        if not os.path.exists(f"/proc/self/task/{thread}"):
            return slot
    raise RuntimeError(f"more than {SLOTS} threads want to be watched")
