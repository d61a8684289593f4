"""The camera behind ``gentl.c``: a program with the arguments SOCKET FRAME POOL PLACE LOG SWITCHES.

One other program at a time has it. Faults of the switchboard: ``gentl-short`` (half of the lines is missing,
and the producer says so) and ``gentl-silent`` (triggers do not reach the sensor).
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from simulation.genicam.view import View
from simulation.switchboard import Switchboard


def main() -> None:
    """Serve one program after the other."""
    address, frame, pool, place, log, switches = map(Path, sys.argv[1:])
    view, faults = View(pool, place, log), Switchboard(switches)
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(str(address))
        listening.listen()
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        print("ready", flush=True)
        while True:
            with listening.accept()[0] as program, suppress(OSError):
                _serve(program, view, faults, frame)


def _serve(program: socket.socket, view: View, faults: Switchboard, frame: Path) -> None:
    starts, frame_id = 0, -1
    height, width = view.size
    while asked := program.recv(64):
        if asked == b"?":
            program.send(b"! %d %d" % (width, height))
        elif asked == b"start":
            starts, frame_id = starts + 1, -1
        elif asked == b"trigger" and "gentl-silent" not in faults.on():
            is_short = "gentl-short" in faults.on()
            frame_id += 1
            pixels = view.expose(frame_id, "gentl-short" if is_short else "")
            if is_short:
                pixels[height // 2 :] = 0
            frame.write_bytes(pixels.tobytes())
            program.send(b"F %d %d %d" % (starts, frame_id, is_short))


def _end_with(parent: int) -> None:
    """A killed plant leaves no camera."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


if __name__ == "__main__":
    main()
