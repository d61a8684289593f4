"""How large, how fast and how well checked a journal of many parts is.

    python -m station.bench.journal --parts 1000000

Writes a journal of servo-motor-housing parts, 16 patches by 5 classes, through the events and the chain of
the line, only many parts per transaction; every 20th part is rejected and has a picture. Then measures what
a person waits for: the start, ``list``, ``show``, the audit. The size is that of parts which were written
one after the other, three in hand at a time, as a line does. Ten million parts need about 13 GB of disk.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from drivers.sorters.interface import Outcome, Receipt, Trigger
from station.decision import Verdict, fault
from station.faults import Code
from station.journal import (
    CameraUsed,
    FinishedPart,
    Journal,
    JournalSettings,
    PartDetails,
    PartMarks,
)
from station.journal.audit import audit
from station.journal.policy import finish_all
from station.journal.reading import JournalReader
from station.journal.segments import segment_files
from station.journal.selection import Selection

CLASSES = ("defect-free", "imprinted", "pits", "roll-marks", "scratches")
PATCHES = 16
BATCH = 1000
"""Parts per transaction."""
SINGLY = 5000
"""Parts that are written one after the other, to see their size."""
Scores = NDArray[np.float32]
MS = 1_000_000
"""Nanoseconds."""

_TEXT = "# A recipe as long as a shipped one.\n" + "key: value  # with a comment\n" * 70
RECIPE: Any = SimpleNamespace(
    name="servo-motor-housing",
    version=3,
    digest=sha256(_TEXT.encode()).hexdigest(),
    text=_TEXT,
    fault_bin=9,
    classes=[SimpleNamespace(name=name, bin=1 if index == 0 else 2) for index, name in enumerate(CLASSES)],
)


@dataclass(frozen=True, slots=True)
class JournalFigures:
    """What was measured."""

    parts: int
    segments: int
    write_s: float
    bytes_per_part: float
    """Of parts that were written as the line does it."""
    bulk_bytes_per_part: float
    """Of the large journal."""
    start_s: float
    list_ms: float
    filtered_ms: float
    """The slowest of the filtered lists."""
    show_ms: float
    audit_s: float
    audit_cpu_s: float
    """What all processes of the audit took together; on a machine that does nothing else, the time is this
    over the number of cores."""
    audit_mb: float
    """The most memory that one process of the audit took, MB."""
    audit_again_s: float


def finished_parts(count: int, seed: int = 1) -> Iterator[FinishedPart]:
    """Parts as a plant makes them: 94 % accepted, 5 % rejected with a picture, 1 % faulted."""
    dice = np.random.default_rng(seed)
    good = [_scores(dice, None) for _ in range(256)]
    bad = [_scores(dice, index % 4 + 1) for index in range(64)]
    for number in range(1, count + 1):
        received = time.monotonic_ns() - 60 * MS
        marks = PartMarks(
            lot=f"L{number // 5000:05d}", serial_number=f"SMH-{number:09d}", shift="early", operator="A. Ito"
        )
        noise = int(dice.integers(0, 4 * MS))
        stages = {
            "frame": received + 11 * MS + noise,
            "cut": received + 14 * MS + noise,
            "scored": received + 38 * MS + 2 * noise,
            "decided": received + 38 * MS + 2 * noise + 90_000,
        }
        details = PartDetails(
            stages_ns=stages,
            frame_id=number,
            lost_before=0,
            frame_complete=True,
            region=SimpleNamespace(  # type: ignore[arg-type]
                x=2100 + number % 37, y=31 + number % 7, width=1065, height=3584, lean_x=3, lean_y=0
            ),
            scores=bad[number % 61] if number % 20 == 7 else good[number % 256],
            engine_digest="e4" * 32,
            backend="openvino",
            precision="int8",
        )
        picture = None
        if number % 100 == 50:
            verdict = fault(Code.INCOMPLETE.of("incomplete frame: 12 of 3648 lines are missing"), RECIPE)
        elif number % 20 == 7:
            verdict = _reject(bad[number % 61])
            picture = {
                "path": f"2031-03-01/{number % 24:02d}/{number:09d}-{verdict.class_name}.jpg",
                "sha256": f"{number:064x}",
            }
        else:
            verdict = _accept(good[number % 256])
        answered = stages["decided"] + 9 * MS + noise
        yield FinishedPart(
            trigger=Trigger(number % 60_000, "servo-motor-housing", received),
            verdict=verdict,
            details=details,
            receipt=Receipt(number % 60_000, True, verdict.bin, answered),
            written_ns=stages["decided"] + 3 * MS,
            told_ns=stages["decided"] + 3 * MS + 40_000,
            camera=CameraUsed("raL8192-12gm", "40012345", 120.0),
            marks=marks,
            picture=picture,
        )


def write_journal(path: Path, parts: int, *, segment_parts: int = 200_000) -> None:
    """A journal of so many parts, its sealed segments finished."""
    settings = JournalSettings(segment_parts=segment_parts)
    made = finished_parts(parts)
    with Journal(path, station="bench", configuration=_TEXT, settings=settings) as journal:
        while batch := list(islice(made, BATCH)):
            journal.write_finished(batch, recipe=RECIPE, mode="cell", is_simulated=True)
    finish_all(path, "bench")


def measure(path: Path, parts: int) -> JournalFigures:
    """Write a journal at ``path`` and measure it."""
    write_s = _seconds(lambda: write_journal(path, parts))
    files = segment_files(path)
    size = path.stat().st_size + sum(file.stat().st_size for file in files.values())
    start_s = median(_seconds(lambda: Journal(path, station="bench").close()) for _ in range(3))
    filters = (
        Selection(outcomes=("reject",), newest_first=True, limit=20),
        Selection(outcomes=("fault", "open"), newest_first=True, limit=20),
        Selection(class_names=("pits",), newest_first=True, limit=20),
        Selection(class_names=("no-such-class",), newest_first=True, limit=20),
        Selection(part_id=4711, newest_first=True, limit=20),
    )
    watch, before = _Memory(), _cpu_s()
    audit_s = _seconds(lambda: _require_passed(path, parts))
    audit_cpu_s = _cpu_s() - before
    memory_mb = watch.stop()
    return JournalFigures(
        parts=parts,
        segments=len(files),
        write_s=write_s,
        bytes_per_part=_bytes_singly(path.with_name("singly") / path.name, min(parts, SINGLY)),
        bulk_bytes_per_part=size / parts,
        start_s=start_s,
        list_ms=_read_ms(path, Selection(newest_first=True, limit=20)),
        filtered_ms=max(_read_ms(path, chosen) for chosen in filters),
        show_ms=median(_seconds(partial(_show, path, record)) * 1e3 for record in _spread(parts)),
        audit_s=audit_s,
        audit_cpu_s=audit_cpu_s,
        audit_mb=memory_mb,
        audit_again_s=_seconds(lambda: _require_passed(path, parts)),
    )


def _bytes_singly(path: Path, parts: int) -> float:
    """Write parts as a line does, three in hand at a time; bytes per part."""
    in_hand: list[tuple[int, FinishedPart]] = []
    with Journal(path, station="bench", configuration=_TEXT) as journal:
        for part in (*finished_parts(parts), None, None, None):
            if part is not None:
                record_id = journal.open_part(
                    part.trigger,
                    recipe=RECIPE,
                    mode="cell",
                    is_simulated=True,
                    camera=part.camera,
                    marks=part.marks,
                )
                in_hand.append((record_id, part))
            if in_hand and (part is None or len(in_hand) > 2):
                record_id, first = in_hand.pop(0)
                journal.write_verdict(record_id, first.verdict, first.details)
                journal.write_receipt(record_id, first.receipt, told_ns=first.told_ns)
                if first.picture is not None:
                    journal.write_event("picture", dict(first.picture), record_id=record_id)
    return sum(file.stat().st_size for file in segment_files(path).values()) / parts


def _cpu_s() -> float:
    """Processor time of this process and its children that have ended."""
    return sum(os.times()[:4])


def _spread(parts: int) -> list[int]:
    return [1 + index * (parts - 1) // 10 for index in range(11)]


def _show(path: Path, record_id: int) -> None:
    with JournalReader(path) as reader:
        found = reader.record(record_id)
        assert found is not None
        assert found.scores is not None


def _read_ms(path: Path, chosen: Selection) -> float:
    def read() -> None:
        with JournalReader(path) as reader:
            list(reader.records(chosen, scores=False))

    return median(_seconds(read) * 1e3 for _ in range(5))


def _require_passed(path: Path, parts: int) -> None:
    report = audit(path)
    assert report.passed, report.findings
    assert report.triggers == parts


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


class _Memory:
    """The most memory that this process or one of its children takes while it is watched."""

    def __init__(self) -> None:
        import threading

        self._most = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """Stop watching; MB."""
        self._ended.set()
        self._thread.join()
        return self._most / 1e6

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._ended.wait(0.2):
            for one in (process, *process.children(recursive=True)):
                try:
                    self._most = max(self._most, one.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue


def _scores(dice: np.random.Generator, defect: int | None) -> Scores:
    logits = dice.normal(0.0, 1.0, (PATCHES, len(CLASSES)))
    logits[:, 0] += 9.0
    if defect is not None:
        logits[int(dice.integers(PATCHES)), defect] += 14.0
    weights = np.exp(logits)
    scores: Scores = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return scores


def _accept(scores: Scores) -> Verdict:
    patch = int(scores[:, 0].argmin())
    p = float(scores[patch, 0])
    reason = f"all {PATCHES} patches defect-free, least {min(p, 0.999):.3f} at {patch}"
    return Verdict(Outcome.ACCEPT, 0, CLASSES[0], p, patch, 1, reason, (0,) * PATCHES)


def _reject(scores: Scores) -> Verdict:
    patch = int(scores[:, 0].argmin())
    index = int(scores[patch].argmax())
    p = float(scores[patch, index])
    labels = tuple(index if one == patch else 0 for one in range(PATCHES))
    reason = f"patch {patch}: {CLASSES[index]} {min(p, 0.999):.3f} (most probable class)"
    return Verdict(Outcome.REJECT, index, CLASSES[index], p, patch, 2, reason, labels)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", type=int, default=1_000_000, help="how many parts")
    parser.add_argument("--folder", type=Path, help="where; left out, a temporary folder, deleted at the end")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="journal-bench-"))
    try:
        found = measure(folder / "journal.db", arguments.parts)
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    parts = found.parts
    size = f"{found.bytes_per_part:.0f} bytes per part, {found.bulk_bytes_per_part:.0f} written in bulk"
    print(f"{parts} parts in {found.segments} segments: {size}")
    print(f"written in {found.write_s:.1f} s, {parts / found.write_s:.0f} parts/s in bulk")
    print(f"start {found.start_s:.2f} s")
    print(
        f"list {found.list_ms:.0f} ms, filtered list {found.filtered_ms:.0f} ms, show {found.show_ms:.0f} ms"
    )
    rate = parts / found.audit_s
    cpu = f"{found.audit_cpu_s:.1f} s of processor, {parts / found.audit_cpu_s:.0f} parts/s and core"
    print(f"audit {found.audit_s:.1f} s, {rate:.0f} parts/s ({cpu}), {found.audit_mb:.0f} MB at most")
    print(f"audit again, sealed segments remembered: {found.audit_again_s:.1f} s")


if __name__ == "__main__":
    main()
