"""Starting the simulated cell as a process of its own, and ending it."""

from __future__ import annotations

import dataclasses
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulation.cell.settings import CellSettings, arguments_of


@dataclass
class CellProcess:
    """A running cell: its port, and its end."""

    process: subprocess.Popen[str]
    port: str
    log_path: Path
    _directory: Path

    def stop(self, timeout_s: float = 5.0) -> dict[str, Any]:
        """End it cleanly (SIGTERM) and return its summary."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.wait(timeout_s)

    def wait(self, timeout_s: float) -> dict[str, Any]:
        """Wait for its own end and return its summary. Raises ``subprocess.TimeoutExpired``, RuntimeError."""
        out, _ = self.process.communicate(timeout=timeout_s)
        lines = out.strip().splitlines()
        if not lines or not lines[-1].startswith("{"):
            raise RuntimeError(f"the cell ended with code {self.process.returncode} and without a summary")
        summary: dict[str, Any] = json.loads(lines[-1])
        return summary

    def kill(self) -> None:
        """End it as a power cut does (SIGKILL)."""
        self.process.kill()
        self.process.communicate()

    def parts(self) -> list[dict[str, Any]]:
        """What the log says so far."""
        lines = self.log_path.read_text(encoding="utf-8").splitlines() if self.log_path.exists() else []
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Kill what still runs and remove the temporary folder."""
        if self.process.poll() is None:
            self.kill()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> CellProcess:
        """The running cell itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """See :meth:`close`."""
        self.close()


def start_cell(settings: CellSettings, *, with_parent: bool = True, timeout_s: float = 60.0) -> CellProcess:
    """Start the cell as a process and wait for its port; a link and a log are made where none is named.

    ``with_parent`` ends it when the calling process is gone. Raises RuntimeError when it does not start.
    """
    directory = Path(tempfile.mkdtemp(prefix="cell-"))
    if not settings.device and not settings.link:
        settings = dataclasses.replace(settings, link=str(directory / "port"))
    if not settings.log:
        settings = dataclasses.replace(settings, log=str(directory / "parts.jsonl"))
    if with_parent:
        settings = dataclasses.replace(settings, parent=os.getpid())
    process = subprocess.Popen(
        [sys.executable, "-m", "simulation.cell", *arguments_of(settings)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], timeout_s)
    line = process.stdout.readline() if ready else ""
    cell = CellProcess(process, line.removeprefix("port: ").strip(), Path(settings.log), directory)
    if not line.startswith("port: "):
        cell.close()
        raise RuntimeError(
            f"the cell did not start within {timeout_s:g} s; run `python -m simulation.cell` to see why"
        )
    return cell
