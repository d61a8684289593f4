"""A Python process of our own that ends with this one, and not before this one ends it.

The child ends when its parent is gone, also when the parent was killed, while a library holds the child's
interpreter, and while the child is stopped by a signal. Signals that are for a whole service or terminal end
the parent alone, which then ends the child.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_ROOT = str(Path(__file__).resolve().parents[1])


class ChildProcess:
    """``python -m module LIFE WORDS...``; the module calls :func:`live_with_parent` with ``LIFE`` first."""

    def __init__(
        self,
        module: str,
        words: Sequence[str],
        hand_over: Sequence[int],
        *,
        environment: Mapping[str, str] = os.environ,
        output: int | IO[bytes] | None = None,
    ) -> None:
        """``hand_over``: files that the child keeps open, by the same numbers. ``output``: its stdout and
        stderr; None: this process's own. Raises OSError.
        """
        life, self._life = os.pipe2(os.O_CLOEXEC)
        paths = filter(None, (_ROOT, environment.get("PYTHONPATH")))
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-m", module, str(life), *words],
                pass_fds=(life, *hand_over),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**environment, "PYTHONPATH": os.pathsep.join(paths)},
                # Ctrl-C is for the parent. No session of its own: the kernel may share processors out among
                # sessions (sched(7), autogroup), and a priority would then count within the child's alone.
                process_group=0,
            )
        except BaseException:
            os.close(self._life)
            raise
        finally:
            os.close(life)

    def end(self, within_s: float, politely_s: float = 0.0) -> None:
        """See it end by itself within ``politely_s``; then end it by force. May be called twice.

        A process that waits for a disk, or has no processor, may outlast this by any time: a thread waits for
        it then, so that it does not stay in the kernel's table.
        """
        if not self._is_gone(politely_s):
            self.process.kill()
            if not self._is_gone(within_s):
                threading.Thread(target=self.process.wait, name="end of a child", daemon=True).start()
        life, self._life = self._life, -1
        if life >= 0:
            os.close(life)

    def how_it_ended(self, within_s: float) -> str:
        """In words, for a message: ``was ended by SIGKILL``, ``ended with exit code 1``."""
        if not self._is_gone(within_s):
            return "does not answer"
        code = self.process.returncode
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def _is_gone(self, within_s: float) -> bool:
        try:
            self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            return False
        return True


def live_with_parent(life: int) -> None:
    """Called by the child first: the kernel kills it when its parent is gone, and no signal to stop does.

    The parent holds the other end of the pipe ``life``; when it closes, the kernel sends SIGKILL in place of
    SIGIO (fcntl(2), F_SETSIG), which needs neither the interpreter nor a process that is not stopped.
    """
    # SIGTTOU: a terminal may stop who writes to it from the background.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    watched = select.poll()
    watched.register(life, select.POLLHUP)
    if watched.poll(0):  # it was gone before
        sys.exit(1)
