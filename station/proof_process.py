"""The proof of an engine in a process of its own: a run time that crashes or hangs there stops no line."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

LONGEST_S = 1800.0
"""What a proof may take, s: plans of TensorRT are built in minutes."""
_WORDS = 2000


@dataclass(frozen=True, slots=True)
class Ended:
    """How a proof ended."""

    digest: str
    problem: str
    """Why it came to no result; empty where it did, whatever the result is."""
    is_engines: bool
    """Whether the engine is to blame: it crashed, or never came to an end."""


class ProofProcess:
    """One proof at a time, by the command ``station engines prove``."""

    def __init__(self, configuration: Path, by: str) -> None:
        """``configuration``: the station's file."""
        self._configuration, self._by = configuration, by
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        self._digest = ""
        self._until = 0.0

    @property
    def is_at_work(self) -> bool:
        """Whether a proof has begun whose end was not looked at."""
        return self._process is not None

    def begin(self, name: str, digest: str) -> None:
        """Let the engine ``digest`` of the store of ``name`` prove itself. Raises OSError."""
        command = [sys.executable, "-m", "station.cli", "engines", "prove", digest, "--name", name]
        where = ["--config", str(self._configuration.resolve()), "--by", self._by]
        self._digest, self._until = digest, time.monotonic() + LONGEST_S
        output = tempfile.TemporaryFile()  # noqa: SIM115 - it is read when the process has ended
        try:
            self._process = subprocess.Popen(
                [*command, *where], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        except BaseException:
            output.close()
            raise
        self._output = output

    def look(self) -> Ended | None:
        """How the proof ended; None while it goes on, or where none has begun."""
        process, output = self._process, self._output
        if process is None or output is None:
            return None
        code = process.poll()
        if code is None and time.monotonic() < self._until:
            return None
        self.close()
        with output:
            output.seek(0)
            said = output.read(_WORDS).decode(errors="replace").strip()
        if code is None:
            return Ended(self._digest, f"its proof did not end within {LONGEST_S:g} s", True)
        if code < 0:
            return Ended(self._digest, f"its proof was ended by signal {-code}", True)
        return Ended(self._digest, "" if code in (0, 1) else said or f"exit code {code}", False)

    def close(self) -> None:
        """End a proof that goes on. May be called twice."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
