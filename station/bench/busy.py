"""Processes that want the processor all the time, so that something is measured on a machine that is busy."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from drivers.child_process import ChildProcess, live_with_parent

ENDING_S = 2.0


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Meanwhile, so many processes compute, each on one thread and with the usual priority."""
    children = [ChildProcess(__name__, [], []) for _ in range(processes)]
    try:
        yield
    finally:
        for child in children:
            child.end(ENDING_S)


if __name__ == "__main__":
    live_with_parent(int(sys.argv[1]))
    while True:
        pass
