"""What every run folder holds, for every kind of training.

``run.json`` says how the run was made: command line, plan, seeds, versions, git state, machine, and how it
ended. ``log.csv`` has one row per step. A checkpoint replaces the last one whole or not at all. A request to
stop (SIGTERM, Ctrl-C) is remembered until the loop can write a checkpoint.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from drivers.regular_files import read_text
from retraining.errors import TrainingError
from station.files import replacing, write_json
from station.machine import cores, processor

TENSORBOARD = "RETRAIN_TENSORBOARD"
"""The environment variable that asks for TensorBoard's events."""
_FORMAT = 1
_PACKAGE = "inspection-station"
_LIBRARIES = ("numpy", "torch", "torchvision", "timm", "torchmetrics", "opencv-python-headless")


def open_run(
    folder: Path,
    kind: str,
    plan: Mapping[str, Any],
    seeds: Mapping[str, int],
    *,
    first_step: int = 0,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write ``run.json``, creating the folder; a run that continues from ``first_step`` keeps its sessions.

    ``kind`` says what is trained ("adversarial pair", "classifier" ...); ``plan`` and ``about`` (the data,
    say) must be JSON. A session is one start of the command.
    """
    folder.mkdir(parents=True, exist_ok=True)
    session = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "first_step": first_step,
        "command": command_line(),
        "git": git_state(),
        "machine": machine(),
    }
    earlier = read_run(folder)["sessions"] if first_step and (folder / "run.json").is_file() else []
    write_json(
        folder / "run.json",
        {
            "format": _FORMAT,
            "kind": kind,
            "plan": plan,
            "about": about or {},
            "seeds": seeds,
            "versions": versions(),
            "sessions": [*earlier, session],
            "outcome": "running",
            "figures": {},
        },
    )


def close_run(folder: Path, outcome: str, figures: Mapping[str, Any]) -> None:
    """Note in ``run.json`` how the run ended ("finished", "stopped", or what went wrong) and its figures."""
    content = read_run(folder)
    content["outcome"] = outcome
    content["figures"] = figures
    content["ended"] = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(folder / "run.json", content)


def read_run(folder: Path) -> dict[str, Any]:
    """The content of ``run.json``; ``FileNotFoundError`` where the folder holds none."""
    content: dict[str, Any] = json.loads(read_text(folder / "run.json"))
    return content


def command_line() -> str:
    """The command that started this process, its program's name without the folder."""
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])


def versions() -> dict[str, str]:
    """Versions of Python, this package and the libraries that figures depend on."""
    found = {"python": platform.python_version()}
    for name in (_PACKAGE, *_LIBRARIES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_state() -> dict[str, Any] | None:
    """The commit of this source tree and whether files differ from it; ``None`` outside a checkout."""
    here = Path(__file__).parent

    def ask(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=here, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None


def machine() -> dict[str, Any]:
    """Processor, cores, what it can multiply with, and the GPU where there is one."""
    here = processor()
    found: dict[str, Any] = {"cores": cores(), "system": platform.platform(), "processor": here.model}
    if here.flags:
        found["cpu_flags"] = sorted(f for f in here.flags if f.startswith(("avx", "amx", "fma", "sse4")))
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


class StepLog:
    """The run's ``log.csv``; on resume the rows after the checkpoint are dropped.

    With the environment variable ``RETRAIN_TENSORBOARD`` set, the same numbers go to TensorBoard's events
    beside it; raises :class:`TrainingError` where TensorBoard is not installed.
    """

    def __init__(self, path: Path, first_step: int) -> None:
        self._path = path
        self._board: Any = None
        kept: list[dict[str, str]] = []
        if first_step and path.is_file():
            with path.open(encoding="utf-8") as file:
                kept = [row for row in csv.DictReader(file) if int(row["step"]) <= first_step]
        path.unlink(missing_ok=True)
        for row in kept:
            self.write(row)
        if os.environ.get(TENSORBOARD):
            self._board = _open_board(path.parent, first_step)
            weakref.finalize(self, self._board.close)  # writes what is still buffered

    def write(self, row: Mapping[str, float] | Mapping[str, str]) -> None:
        """Append a row; the first one names the columns, among them ``step``."""
        new = not self._path.is_file()
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)
        for name, value in row.items():
            if self._board is not None and name != "step":
                self._board.add_scalar(name, float(value), int(row["step"]))


def _open_board(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise TrainingError(
            f"{TENSORBOARD} is set and TensorBoard is not installed; pip install 'inspection-station[board]'"
        ) from None
    return SummaryWriter(str(folder), purge_step=first_step + 1, flush_secs=10)


def save_state(state: object, path: Path) -> None:
    """``torch.save``, replacing an older file at once or not at all."""
    with replacing(path) as fresh:
        torch.save(state, fresh)


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Catch SIGTERM and SIGINT for a while; the value says whether one came. Main thread only, else inert."""
    asked = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True

    try:
        before = {number: signal.signal(number, remember) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:
        before = {}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
