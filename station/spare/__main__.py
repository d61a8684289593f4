"""The process beside the line: ``python -m station.spare LIFE WIRE MEMORY LEVEL PRIORITY``.

It gives way before it imports anything that takes time, so that even this is done in spare time.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

from drivers.child_process import live_with_parent


def give_way() -> None:
    """Let everything else go first from now on, and be the first to go where memory runs out.

    Linux has such a priority (sched(7), SCHED_IDLE), which needs no permission: a processor that has nothing
    else to do still counts as free for others. Where it is refused, the lowest nice value is the next best.
    Threads inherit both.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError) as problem:
        os.nice(19)
        logging.warning("this system has no priority for spare time (%s): nice 19 in its place", problem)
    with suppress(OSError):  # proc(5): 1000 is the highest, and may be chosen by everybody
        Path("/proc/self/oom_score_adj").write_text("1000")


def serve(wire: int, memory: int) -> None:
    """Answer the station until it leaves."""
    import socket

    from drivers.errors import InspectionError
    from station.spare.jobs import from_json, said_of
    from station.spare.wire import MESSAGE, Kind, Memory

    shared, connection = Memory(memory), socket.socket(fileno=wire)

    def answer(kind: Kind, size: int = 0) -> None:
        connection.send(MESSAGE.pack(kind, number, size))

    engine = None
    while question := connection.recv(MESSAGE.size):
        kind, number, size = MESSAGE.unpack(question)
        try:
            if kind == Kind.OPEN:
                opened = from_json(shared.read_text(size)).open()
                if opened is None:
                    answer(Kind.NOTHING)
                    continue
                engine = opened.engine
                answer(Kind.OPENED, shared.write_text(said_of(opened)))
            elif engine is not None:
                patches, places = shared.part(engine.info, size)
                for at in range(size):  # patch by patch, so that the memory of one is enough
                    scores = engine.scores(patches[at : at + 1])
                    for name, place in places.items():
                        place[at] = getattr(scores, name)[0]
                answer(Kind.SCORED, size)
        except InspectionError as error:
            answer(Kind.REFUSED, shared.write_text(str(error).encode()))


if __name__ == "__main__":
    live_with_parent(int(sys.argv[1]))
    for level, priority in ((10, 7), (20, 6), (30, 4), (40, 3), (50, 2)):  # as journald counts them
        logging.addLevelName(level, f"<{priority}>")
    logging.basicConfig(level=int(sys.argv[4]), format="%(levelname)s%(name)s: %(message)s")
    if sys.argv[5] == "idle":
        give_way()
    os.environ.pop("NOTIFY_SOCKET", None)  # what it opens is no start of the station
    serve(int(sys.argv[2]), int(sys.argv[3]))
