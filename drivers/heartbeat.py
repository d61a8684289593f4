"""Signs of life of this process's threads, in memory that another process can read.

A thread that must not die or hang says :func:`begin`, then :func:`beat` at least every ``hung_after_s``, and
:func:`end` before it leaves. Whoever maps the memory (``station/watcher.py``) sees which thread is overdue,
even while one holds the interpreter's lock or the whole process is stopped. :func:`beat` takes no lock, and
stores its eight bytes in one piece: ``struct`` would make them zero first, and whoever reads in that moment,
or while the process is stopped in it, would find a thread overdue that is alive.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from dataclasses import dataclass

SLOTS = 256
WORDS = 8
"""Of 64 bits in a slot: state, deadline (``time.monotonic_ns()``), thread (as the kernel numbers it), vital;
then the name."""
STATE, DEADLINE, THREAD, VITAL, NAME = range(5)
SIZE = (SLOTS + 1) * WORDS * 8
"""Bytes. Slot 0 is the process: its deadline is when a clean end must be over, 0 while none is under way; its
thread is the time after which silence counts, ns."""
FREE, ALIVE = 0, 1
MARGIN_S = 1.0
"""What a hung call is noticed with from inside, before the process is ended from outside."""

_lock = threading.Lock()
_mine = threading.local()


@dataclass(slots=True)
class _Board:
    file: int
    memory: mmap.mmap
    words: memoryview
    """Of 64 bits; one is stored by one instruction."""
    hung_after_ns: int


def _new_board() -> _Board:
    file = os.memfd_create("station-heartbeats", os.MFD_CLOEXEC)
    os.ftruncate(file, SIZE)
    memory = mmap.mmap(file, SIZE)
    board = _Board(file, memory, memoryview(memory).cast("q"), 10_000_000_000)
    board.words[THREAD] = board.hung_after_ns
    return board


_board = _new_board()


def file_descriptor() -> int:
    """The memory as a file, to be handed to the process that watches."""
    return _board.file


def hung_after(seconds: float) -> None:
    """Say after how much silence a thread hangs; no end of the process is under way."""
    _board.hung_after_ns = _board.words[THREAD] = int(seconds * 1e9)
    _board.words[DEADLINE] = 0


def begin(name: str, *, vital: bool = True) -> None:
    """Watch the calling thread from now on. ``vital``: the process cannot do its work without it."""
    with _lock:
        at = _mine.at = _free_slot() * WORDS
        _board.words[at + STATE] = FREE
        beat()
        _board.words[at + THREAD] = threading.get_native_id()
        _board.words[at + VITAL] = vital
        name_at = (at + NAME) * 8
        _board.memory[name_at : name_at + 32] = name.encode("ascii", "replace")[:32].ljust(32, b"\0")
        _board.words[at + STATE] = ALIVE


def beat(more_s: float = 0.0) -> None:
    """Say that the calling thread lives; it is heard of again within ``hung_after_s`` and ``more_s``."""
    at = getattr(_mine, "at", 0)
    if at:
        silent_ns = _board.hung_after_ns + int((MARGIN_S + more_s) * 1e9)
        _board.words[at + DEADLINE] = time.monotonic_ns() + silent_ns


def end() -> None:
    """Watch the calling thread no more: it leaves as it should."""
    at = getattr(_mine, "at", 0)
    if at:
        _mine.at = 0
        with _lock:
            _board.words[at + STATE] = FREE


def ending(within_s: float) -> None:
    """Say that the process comes to a clean end within this time; what hangs meanwhile is forgiven."""
    _board.words[DEADLINE] = time.monotonic_ns() + int(within_s * 1e9)


def _free_slot() -> int:
    """A slot that nobody uses; else one of a thread that is gone without a word."""
    for slot in range(1, SLOTS + 1):
        if _board.words[slot * WORDS + STATE] == FREE:
            return slot
    for slot in range(1, SLOTS + 1):
        if not os.path.exists(f"/proc/self/task/{_board.words[slot * WORDS + THREAD]}"):
            return slot
    raise RuntimeError(f"more than {SLOTS} threads want to be watched")
