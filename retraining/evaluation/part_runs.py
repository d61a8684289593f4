"""Runs over many parts: done in processes and kept part by part, so that an interrupted run continues."""

from __future__ import annotations

import json
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from retraining.errors import DatasetError
from retraining.runs.folder import close_run, open_run, read_run

Made = TypeVar("Made")


def in_processes(
    work: Callable[[int], Made], numbers: Sequence[int], processes: int
) -> Iterator[tuple[int, Made]]:
    """``(number, work(number))`` in order, ``work`` (picklable) being done in ``processes`` processes.

    Two results a process lie ready at most, however slow their consumer is.
    """
    waiting: deque[tuple[int, Future[Made]]] = deque()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_leave_interrupts_to_the_parent) as pool:
        try:
            for number in numbers:
                waiting.append((number, pool.submit(work, number)))
                if len(waiting) > 2 * processes:
                    first, made = waiting.popleft()
                    yield first, made.result()
            for first, made in waiting:
                yield first, made.result()
        finally:
            pool.shutdown(cancel_futures=True)


class PartLog:
    """A run folder: ``run.json``, one line per part in ``parts.jsonl``; a broken last line is dropped."""

    def __init__(self, folder: Path, kind: str, plan: Mapping[str, Any], seeds: Mapping[str, int]) -> None:
        """Open the folder, going on with the same plan; raises :class:`DatasetError` on another one."""
        self.folder = folder
        self.records: dict[int, Any] = {}
        """What was kept, by part number."""
        self._file = folder / "parts.jsonl"
        if self._file.is_file():
            known = read_run(folder) if (folder / "run.json").is_file() else {}
            if known.get("kind") != kind or known.get("plan") != json.loads(json.dumps(plan)):
                raise DatasetError(f"{folder} holds another run; name another folder by --out, or remove it")
            self._read()
        open_run(folder, kind, plan, seeds)

    def add(self, number: int, record: Any) -> None:
        """Keep a part's record (plain JSON values)."""
        self.records[number] = record
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps([number, record]) + "\n")

    def close(self, outcome: str, figures: Mapping[str, Any]) -> None:
        """Note how the run ended."""
        close_run(self.folder, outcome, figures)

    def _read(self) -> None:
        whole = []
        for line in self._file.read_text(encoding="utf-8").splitlines():
            try:
                number, record = json.loads(line)
            except ValueError:
                break
            self.records[int(number)] = record
            whole.append(line + "\n")
        self._file.write_text("".join(whole), encoding="utf-8")


def _leave_interrupts_to_the_parent() -> None:
    """Ctrl-C reaches every process of a terminal; only the parent decides what follows from it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
