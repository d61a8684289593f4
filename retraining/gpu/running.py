"""Rows in slices: each unit in a process of its own, which is told to stop when its slice is over.

What a unit found is kept as JSON in the state folder, so that a later call does only what is missing. A unit
that was stopped goes on from its checkpoint, which lies in the work folder. Checkpoints outlast a machine
only as pieces of 16 MB in the state folder, where all of them together are small enough.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retraining.errors import TrainingError, TrainingStoppedError
from retraining.gpu.package import joined_wheel, load_pool
from retraining.gpu.plan import ENGINE, Size, SizeName, Unit
from station.files import write_file, write_json

PIECE_BYTES, MOST_PIECES = 15_000_000, 3
STOPPED = 75
"""Exit code of a unit that goes on another time."""
_PATIENCE_S = 30.0
"""How long a unit may take to write its checkpoint."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the parts of a run lie."""

    package: Path
    state: Path
    """Comes back from the machine: results, pieces, sheets."""
    work: Path
    """Stays there: checkpoints, the joined wheel."""

    def result(self, unit: Unit) -> Path:
        """Where what a unit found is kept."""
        return self.state / f"{_flat(unit)}.json"


def _flat(unit: Unit) -> str:
    return unit.name.replace("/", ".")


def run(
    wanted: Iterable[Unit], size: SizeName, rows: Path, place: Place, *, slice_s: float, total_s: float,
    tell: Callable[[str], None],
) -> None:  # fmt: skip
    """Do the units that have no result yet, as many as fit into ``total_s``."""
    ends = time.monotonic() + total_s
    place.state.mkdir(parents=True, exist_ok=True)
    for unit in wanted:
        if place.result(unit).is_file():
            continue
        left = ends - time.monotonic()
        if left < min(10.0, slice_s):
            tell(f"{unit.name}: no time left")
            continue
        _bring_back(unit, place)
        began = time.monotonic()
        code, last = _in_a_process(unit, size, rows, place, min(slice_s, left))
        took = time.monotonic() - began
        if code == 0:
            for piece in place.state.glob(f"{_flat(unit)}.tar.*"):
                piece.unlink()
            tell(f"{unit.name}: done in {took:.0f} s")
        elif code in (STOPPED, -signal.SIGTERM):  # the latter before it could make a checkpoint
            kept = _carry(unit, place)
            tell(f"{unit.name}: stopped after {took:.0f} s; {kept}")
        else:
            write_json(place.result(unit), {"unit": unit.name, "failed": last, "seconds": took})
            tell(f"{unit.name}: failed: {last}")


def _in_a_process(unit: Unit, size: SizeName, rows: Path, place: Place, seconds: float) -> tuple[int, str]:
    """Exit code of a unit's process, and the last line that it said."""
    command = [
        sys.executable, "-m", "retraining.gpu", "unit", unit.name, "--size", size, "--rows", str(rows),
        "--package", str(place.package), "--state", str(place.state), "--work", str(place.work),
    ]  # fmt: skip
    with (place.state / f"{_flat(unit)}.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=_environment(unit, place)
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            try:
                code = process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
    said = (place.state / f"{_flat(unit)}.log").read_text("utf-8", "replace").strip().splitlines()
    return code, said[-1] if said else f"exit code {code}"


def _environment(unit: Unit, place: Place) -> dict[str, str]:
    """For ONNX Runtime, its wheel for CUDA before whatever is installed."""
    own = dict(os.environ)
    if unit.work == "onnxruntime":
        site = place.work / "onnxruntime"
        if site.is_dir():
            own["PYTHONPATH"] = os.pathsep.join([str(site), own.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return own


def install_wheel(place: Place) -> str:
    """Install ONNX Runtime for CUDA beside the work, if all of its pieces have come; what there is of it."""
    site = place.work / "onnxruntime"
    if site.is_dir():
        return "at hand"
    wheel = joined_wheel(place.package, place.work / "wheel")
    if wheel is None:
        return "not at hand"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--target",
        str(site),
    ]
    done = subprocess.run([*command, str(wheel)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise TrainingError(f"{wheel.name} cannot be installed: {done.stderr.strip()[-300:]}")
    return "at hand"


def do(unit: Unit, size: Size, place: Place) -> int:
    """One unit in this process, with its result written; the exit code."""
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    about, folder = dict(unit.about), place.work / _flat(unit)
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()

    def report(step: int, line: str) -> None:
        if step % 50 == 0:
            print(f"step {step}: {line}", flush=True)

    try:
        if unit.work == "engine":
            from retraining.gpu.engines import torch_figures

            found = torch_figures(ENGINE, about["batch"], size.calls, device)
        elif unit.work == "onnxruntime":
            from retraining.gpu.engines import onnxruntime_figures

            found = onnxruntime_figures(ENGINE, size.calls, f"onnxruntime-{device.type}")
        else:
            from retraining.gpu.pairs import pair_figures, translator_figures

            work = pair_figures if unit.work == "pair" else translator_figures
            found = work(load_pool(place.package), size, folder, device.type, report, **about)
            for sheet in folder.glob("sheet-*.png"):
                shutil.copyfile(sheet, place.state / f"{_flat(unit)}.{sheet.name}")
    except TrainingStoppedError as stopped:
        print(stopped)
        return STOPPED
    write_json(
        place.result(unit),
        {"unit": unit.name, **_said_of(device), "seconds": time.monotonic() - began, "figures": found},
    )
    return 0


def _said_of(device: Any) -> dict[str, str]:
    import torch

    from station.machine import cores, processor

    if device.type == "cuda":
        return {"device": torch.cuda.get_device_name(device), "torch": str(torch.__version__)}
    return {"device": f"{processor().model}, {cores()} cores", "torch": str(torch.__version__)}


def _carry(unit: Unit, place: Place) -> str:
    """Put a stopped unit's folder into the state folder in pieces; says whether it could."""
    if not (place.work / _flat(unit)).is_dir():
        return "it had not begun yet"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(place.work / _flat(unit), arcname=".")
    content = packed.getvalue()
    if len(content) > MOST_PIECES * PIECE_BYTES:
        return f"its checkpoint of {len(content) / 1e6:.0f} MB stays on this machine, and is lost with it"
    for number, at in enumerate(range(0, len(content), PIECE_BYTES)):
        write_file(place.state / f"{_flat(unit)}.tar.{number:02d}", content[at : at + PIECE_BYTES])
    return "it goes on another time"


def _bring_back(unit: Unit, place: Place) -> None:
    """Unpack the pieces of a unit that another machine began."""
    pieces = sorted(place.state.glob(f"{_flat(unit)}.tar.*"))
    if not pieces or (place.work / _flat(unit)).is_dir():
        return
    content = b"".join(piece.read_bytes() for piece in pieces)
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
        tar.extractall(place.work / _flat(unit), filter="data")


def results(state: Path) -> dict[str, dict[str, Any]]:
    """What was found so far, by unit."""
    found = (json.loads(file.read_text(encoding="utf-8")) for file in sorted(state.glob("*.json")))
    return {one["unit"]: one for one in found if "unit" in one}
