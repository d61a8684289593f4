"""The station's side of a process beside the line: an engine like any other, which may be lost any time."""

from __future__ import annotations

import logging
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import IO

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from drivers import heartbeat
from drivers.child_process import ChildProcess
from drivers.errors import explain_os_error
from station.engines.backends.checked import CheckedEngine
from station.engines.interface import EngineDeadlineError, EngineError, EngineInfo, Scores
from station.recipe import Recipe, RecipeError
from station.spare.jobs import JudgingEngine, Said, SecondNetwork, recipe_of, to_json
from station.spare.patience import LOOK_S, USUAL, Limits, Patience
from station.spare.wire import MESSAGE, Kind, Memory, SizeError

log = logging.getLogger(__name__)

PROCESS = "station.spare"
"""The module that runs there."""
ENDING_S = 2.0
"""How long the end of a process is waited for."""
WORDS_BYTES = 500_000
"""The most that a process may log while it does one piece of work."""
PIPE_BYTES = 65_536
"""The most that it has written and nobody has read (pipe(7))."""
LINE_BYTES = 1000
"""The most that is read of a line."""
_SAID = TypeAdapter(Said)


class ProcessLostError(EngineError):
    """The process has ended, hangs or says nonsense; a new one may do better."""


class SpareEngine(CheckedEngine):
    """A network in its process. Used by one thread at a time, which waits for it; the line never does."""

    def __init__(self, process: _Process, info: EngineInfo, limits: Limits) -> None:
        super().__init__(info)
        self._rounds_sums = False  # the process has divided them
        self._process, self._limits = process, limits

    @property
    def process_id(self) -> int:
        """For service tools and fault injection."""
        return self._process.child.process.pid

    def _infer(self, patches: NDArray[np.uint8], deadline: float | None) -> Scores:
        process, count = self._process, len(patches)
        process.require_alive()
        try:
            given, places = process.memory.part(self.info, count, grow=True)
        except SizeError as error:
            raise EngineError(f"a part of {self.info.name} is too large: {error}") from None
        given[:] = patches
        kind, size = process.ask(Kind.SCORE, count, self._limits.scoring_s, deadline)
        if kind is Kind.REFUSED:
            raise EngineError(process.text(size))
        if (kind, size) != (Kind.SCORED, count):
            raise process.lost(f"answers {kind.name} {size} to {count} patches")
        return Scores(**places)

    def _checked(self, found: Scores, patches: int) -> Scores:
        """A copy of the scores, checked: the process can write to its memory at any time."""
        try:
            return super()._checked(found, patches)
        except EngineError as error:
            raise self._process.lost(f"gives no scores: {error}") from None

    def close(self) -> None:
        """End the process. Never raises, may be called twice."""
        self._process.end()


def open_judging(
    job: JudgingEngine,
    meanwhile: Callable[[], None] = heartbeat.beat,
    limits: Limits = USUAL,
) -> tuple[SpareEngine, Recipe]:
    """The engine, proven in a process of its own, and the recipe by which it judges.

    ``meanwhile`` is called while the calling thread waits, also later for scores. Raises
    :class:`EngineError`; of the kind :class:`ProcessLostError` where the process came to no end with it.
    """
    process, said = _open(job, meanwhile, limits)
    if said is None:
        raise process.lost("says that there is no such engine")
    try:
        recipe = recipe_of(job.recipe, said.recipe)
    except RecipeError as problem:
        raise process.lost(f"says a recipe that cannot be used: {problem}") from None
    if tuple(one.name for one in recipe.classes) != said.info.classes:
        raise process.lost("says a recipe of other classes than the engine's")
    return SpareEngine(process, said.info, limits), recipe


def open_second_network(
    job: SecondNetwork,
    meanwhile: Callable[[], None] = heartbeat.beat,
    limits: Limits = USUAL,
) -> SpareEngine | None:
    """The second network of an engine folder, likewise; None where it has none."""
    process, said = _open(job, meanwhile, limits)
    if said is None:
        process.end()
        return None
    return SpareEngine(process, said.info, limits)


def _open(
    job: JudgingEngine | SecondNetwork, meanwhile: Callable[[], None], limits: Limits
) -> tuple[_Process, Said | None]:
    what = f"engine {job.name}"
    try:
        process = _Process(what, meanwhile, limits)
    except OSError as error:
        raise ProcessLostError(f"no process for {what} in spare time: {explain_os_error(error)}") from None
    try:
        kind, size = process.ask(Kind.OPEN, process.memory.write_text(to_json(job)), limits.opening_s)
        if kind is Kind.NOTHING:
            return process, None
        text = process.text(size)
        if kind is Kind.REFUSED:
            raise EngineError(text)
        if kind is not Kind.OPENED:
            raise process.lost(f"answers {kind.name} when it is to open a network")
        said = _SAID.validate_json(text, strict=True)
        if why := _nonsense(said.info, job.name):
            raise process.lost(f"says that it has opened {why}")
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise process.lost(f"does not say what it has opened: {where or 'all'}: {first['msg']}") from None
    except BaseException:
        process.end()
        raise
    return process, said


def _nonsense(info: EngineInfo, name: str) -> str:
    """Why this cannot be an engine ``name``; empty where it can."""
    if info.name != name:
        return f"engine {info.name[:64]!r}"
    if not (0 < info.patch_px <= 2048 and info.channels in (1, 3)):
        return f"a network of patches of {info.patch_px} px with {info.channels} channels"
    if not (0 < len(info.classes) <= 1000 and 0 <= info.features <= 100_000):
        return f"a network of {len(info.classes)} classes and {info.features} features"
    texts = (info.digest, info.backend, info.precision, info.device, *info.classes)
    return "a network with names that are too long" if max(map(len, texts)) > 200 else ""


class _Process:
    """The process, the socket to it, the memory, and what it writes into its log."""

    def __init__(self, what: str, meanwhile: Callable[[], None], limits: Limits) -> None:
        """Raises OSError."""
        self.what, self._meanwhile, self._limits = what, meanwhile, limits
        self._line = b""
        self._asked = 0
        self._ended = False
        with ExitStack() as ours, ExitStack() as theirs:
            self.memory = Memory()
            ours.callback(self.memory.close)
            self._wire, their_wire = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.enter_context(self._wire)
            theirs.enter_context(their_wire)
            self._words, their_words = _pipe()
            ours.enter_context(self._words)
            theirs.enter_context(their_words)
            handed_over = (their_wire.fileno(), self.memory.file)
            priority = "idle" if limits.gives_way else "normal"
            words = [*map(str, handed_over), str(log.getEffectiveLevel()), priority]
            self.child = ChildProcess(PROCESS, words, handed_over, output=their_words)
            self._ours = ours.pop_all()

    def ask(self, kind: Kind, size: int, at_most_s: float, deadline: float | None = None) -> tuple[Kind, int]:
        """The answer to a message. ``at_most_s``: of processor time; ``deadline``: by ``time.monotonic()``.

        Raises :class:`ProcessLostError`, ``EngineDeadlineError``; the process is ended then.
        """
        self.require_alive()
        patience = Patience(self._limits.silent_s, at_most_s, time.monotonic(), self._used_s())
        try:
            self._asked += 1
            self._wire.send(MESSAGE.pack(kind, self._asked, size), socket.MSG_DONTWAIT)
        except OSError:
            raise self._gone() from None
        poll = select.poll()
        poll.register(self._wire, select.POLLIN)
        poll.register(self._words, select.POLLIN)
        heard = 0
        while True:
            ready = dict(poll.poll(LOOK_S * 1000))
            self._meanwhile()
            just_heard = self._hear()
            heard += just_heard
            if self._words.fileno() in ready and not just_heard:
                poll.unregister(self._words)  # it has closed its log
            answer = self._answer()
            if answer is not None:
                return answer
            if heard > WORDS_BYTES:
                raise self.lost(f"writes more than {WORDS_BYTES} bytes into the log")
            if problem := patience.look(time.monotonic(), self._used_s()):
                raise self.lost(problem)
            if deadline is not None and time.monotonic() > deadline:
                self.end()
                raise EngineDeadlineError(f"{self.what} in spare time did not answer in time")

    def require_alive(self) -> None:
        """Raises :class:`ProcessLostError` once it was ended."""
        if self._ended:
            raise ProcessLostError(f"the process of {self.what} in spare time was ended")

    def text(self, size: int) -> str:
        """The text of an answer. Raises :class:`ProcessLostError`."""
        try:
            return self.memory.read_text(size).decode(errors="replace")
        except SizeError as error:
            raise self.lost(f"says {error}") from None

    def lost(self, why: str) -> ProcessLostError:
        """End the process; the error to raise."""
        self.end()
        return ProcessLostError(f"the process of {self.what} in spare time {why}")

    def end(self) -> None:
        """End the process and give everything back. May be called twice.

        By force and at once: it holds nothing that must be put away, and may have no time to do so.
        """
        if self._ended:
            return
        self._ended = True
        self.child.end(ENDING_S)
        self._hear()
        if self._line:
            self._say(self._line)
        self._ours.close()

    def _gone(self) -> ProcessLostError:
        how = self.child.how_it_ended(ENDING_S)
        hint = " (by somebody, or by the kernel for want of memory)" if "SIGKILL" in how else ""
        return self.lost(how + hint)

    def _answer(self) -> tuple[Kind, int] | None:
        """What it says; None while it says nothing. Raises :class:`ProcessLostError`."""
        try:
            said = self._wire.recv(MESSAGE.size + 1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            said = b""
        if not said:
            raise self._gone()
        try:
            kind, number, size = MESSAGE.unpack(said)
            answer = Kind(kind), size
        except (ValueError, struct.error):
            raise self.lost(f"says {said[:20].hex(' ')}, which is no answer") from None
        if number != self._asked:
            raise self.lost(f"answers question {number} when it is asked question {self._asked}")
        return answer

    def _used_s(self) -> float:
        """The processor time of all its threads (clock_getcpuclockid(3)); 0 when it is gone."""
        try:
            return time.clock_gettime(~self.child.process.pid << 3 | 2)
        except OSError:
            return 0.0

    def _hear(self) -> int:
        """Pass on to the log what it has written; how many bytes that was."""
        said = self._words.read(PIPE_BYTES) or b""
        *lines, rest = (self._line + said).split(b"\n")
        self._line = rest[:LINE_BYTES]
        for line in lines:
            self._say(line)
        return len(said)

    def _say(self, line: bytes) -> None:
        """A line of its log into ours; one without a level comes from a library, or is a traceback."""
        text = line[:LINE_BYTES].decode(errors="replace")
        level = _LEVELS.get(text[:3])
        log.log(level or logging.WARNING, f"{self.what} in spare time: {text[3:] if level else text}")


def _pipe() -> tuple[IO[bytes], IO[bytes]]:
    """Where words are read without waiting, and where they are written."""
    reads, writes = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(reads, False)
    return os.fdopen(reads, "rb", buffering=0), os.fdopen(writes, "wb", buffering=0)


_LEVELS = {
    "<7>": logging.DEBUG, "<6>": logging.INFO, "<4>": logging.WARNING, "<3>": logging.ERROR,
    "<2>": logging.CRITICAL,
}  # fmt: skip
