"""Work that has the processor only while nothing else wants it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")
log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.2


def in_spare_time(work: Callable[[], Result], meanwhile: Callable[[], None] = lambda: None) -> Result:
    """What ``work`` returns, done by a thread of the lowest priority; ``meanwhile`` is called while it runs.

    Threads that ``work`` starts have this priority, too, and keep it: a network that is loaded here computes
    in spare time for ever after. The thread that waits keeps its own priority: it holds the interpreter's
    lock at times, and the line must not wait for that.
    """
    found: list[Result] = []
    failed: list[BaseException] = []

    def run() -> None:
        _give_way()
        try:
            found.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="spare time", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(LOOK_EVERY_S)
        meanwhile()
    if failed:
        raise failed[0]
    return found[0]


def _give_way() -> None:
    """Let every other thread go first from now on: this one, and those that it starts.

    Linux alone has such a priority per thread (sched(7), SCHED_IDLE). It needs no permission, and a processor
    that has nothing else to do still counts as free for the line's threads.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError) as problem:
        log.warning("this system has no priority for spare time (%s): the line may become slower", problem)
