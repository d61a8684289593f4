"""Whether a plant has kept the laws, read from its files with no code of the station.

Four witnesses: the journal's SQLite files, the cells' logs, the log of the wire, the camera's log. Each is
compared with the others:

* **conservation**: record numbers without a gap; one ``opened`` and one verdict each; every trigger that was
  acknowledged has exactly one record, every record a trigger; the cell sorted every trigger once;
* **fail closed**: an accept needs an exposure of exactly this part, whole and unspoilt, and a part that the
  engine accepts when nothing is wrong; it was written within the deadline; only accepts lie in the good bin;
* **nothing sent is lost**: every RESULT that was on the wire, and every outcome that the cell sorted by, is
  the journal's.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from simulation.spoilt_frames import SPOILT_FRAMES, SPOILT_TRANSFERS

ACCEPT, FAULT = "accept", "fault"


@dataclass(frozen=True, slots=True)
class Violation:
    """A law that was broken, and the part it was broken with."""

    law: str
    """``conservation``, ``fail closed`` or ``nothing lost``."""
    part_id: int
    """0 where no single part is meant."""
    says: str


@dataclass(frozen=True, slots=True)
class Record:
    """What the journal says about one trigger."""

    record_id: int
    part_id: int
    outcome: str | None
    bin: int | None
    frame_id: int | None
    written_ms: float | None
    recovered: bool


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that the witnesses say, for a range of part ids."""

    records: Sequence[Record]
    events: dict[int, Counter[str]]
    """Record number -> how many events of each kind."""
    cell: Sequence[dict[str, Any]]
    wire: Sequence[dict[str, Any]]
    camera: Sequence[dict[str, Any]]
    clean: Sequence[str]
    """The outcome of each picture of the pool when nothing is wrong."""
    deadline_ms: float
    good_bin: int


def read_evidence(
    folder: Path,
    journal: Path,
    clean: Sequence[str],
    *,
    deadline_ms: float,
    good_bin: int,
    first_part: int = 0,
) -> Evidence:
    """Read all files of a plant's folder, of parts from ``first_part`` on. Raises ``sqlite3.Error``."""
    records, events = read_journal(journal, first_part)
    logs = sorted(folder.glob("cell-*.jsonl"))
    return Evidence(
        records,
        events,
        [line for log in logs for line in _lines(log, first_part)],
        list(_lines(folder / "wire.jsonl", first_part)),
        list(_lines(folder / "camera.jsonl", first_part)),
        clean,
        deadline_ms,
        good_bin,
    )


def read_journal(journal: Path, first_part: int = 0) -> tuple[list[Record], dict[int, Counter[str]]]:
    """The records of all segments, a later segment's row in place of an earlier one's; and their events."""
    records: dict[int, Record] = {}
    events: dict[int, Counter[str]] = defaultdict(Counter)
    for segment in sorted(journal.parent.glob(f"{journal.name}.[0-9]*[0-9]")):
        with closing(sqlite3.connect(f"{segment.resolve().as_uri()}?mode=ro", uri=True, timeout=10)) as base:
            names = "record_id, part_id, outcome, bin, frame_id, written_ms, recovered"
            for row in base.execute(f"SELECT {names} FROM parts WHERE part_id >= ?", (first_part,)):
                records[row[0]] = Record(*row)
            lowest = min((number for number in records), default=1)
            query = (
                "SELECT record_id, kind, count(*) FROM events WHERE record_id >= ? GROUP BY record_id, kind"
            )
            for record_id, kind, count in base.execute(query, (lowest,)):
                events[record_id][kind] += count
    return [records[number] for number in sorted(records)], events


def check(
    evidence: Evidence,
    *,
    all_settled: bool,
    lost_records: Collection[int] = (),
    blind: Collection[int] = (),
) -> list[Violation]:
    """Every law that was broken.

    ``all_settled``: the station has stopped, so that no record may be open. ``lost_records``: part ids whose
    records are known to be gone, because the fault destroyed the journal's files and the station said so.
    ``blind``: part ids that a blind engine judged until a golden part showed it; see :func:`blind_accepts`.
    """
    return [
        *_conservation(evidence, all_settled, lost_records),
        *_fail_closed(evidence, lost_records, blind),
        *_nothing_lost(evidence, lost_records),
    ]


def _conservation(
    evidence: Evidence, all_settled: bool, lost_records: Collection[int]
) -> Iterator[Violation]:
    law = "conservation"
    numbers = [record.record_id for record in evidence.records]
    for before, after in pairwise(numbers):
        if after != before + 1:
            yield Violation(law, 0, f"records {before + 1} to {after - 1} are missing")
    for record in evidence.records:
        events = evidence.events[record.record_id]
        opened, verdicts = events["opened"], events["verdict"]
        if opened != 1:
            yield Violation(law, record.part_id, f"record {record.record_id} was opened {opened} times")
        if verdicts > 1 or events["withdrawn"] > 1:
            yield Violation(law, record.part_id, f"record {record.record_id} has {verdicts} verdicts")
        if all_settled and record.outcome is None:
            yield Violation(law, record.part_id, f"record {record.record_id} has no outcome after the stop")
        if record.outcome is not None and verdicts == 0 and not record.recovered:
            yield Violation(law, record.part_id, f"record {record.record_id} has an outcome and no verdict")
    recorded = Counter(record.part_id for record in evidence.records)
    triggers = Counter(line["part_id"] for line in evidence.wire if line["what"] == "trigger")
    answered = {
        (line["session"], line["trigger"], line["part_id"])
        for line in evidence.wire
        if line["what"] in ("trigger-ack", "result")
    }
    for part_id, count in Counter(part_id for _, _, part_id in answered).items():
        if recorded[part_id] < count and part_id not in lost_records:
            yield Violation(law, part_id, f"{count} acknowledged triggers and {recorded[part_id]} records")
    for part_id, count in recorded.items():
        if count > triggers[part_id]:
            yield Violation(law, part_id, f"{count} records and {triggers[part_id]} triggers")
    sorted_once = Counter((line["part_id"], line["trigger"], line["triggered_ns"]) for line in evidence.cell)
    for (part_id, _, _), count in sorted_once.items():
        if count > 1:
            yield Violation(law, part_id, f"the cell sorted it {count} times")


def blind_accepts(evidence: Evidence, blind: Collection[int]) -> int:
    """How many defective parts a blind engine got accepted before it was noticed."""
    return sum(_is_false(evidence, record) and record.part_id in blind for record in evidence.records)


def _is_false(evidence: Evidence, record: Record) -> bool:
    clean = evidence.clean[(record.part_id - 1) % len(evidence.clean)]
    return record.outcome == ACCEPT and clean != ACCEPT


def _fail_closed(
    evidence: Evidence, lost_records: Collection[int], blind: Collection[int]
) -> Iterator[Violation]:
    law = "fail closed"
    seen: dict[tuple[int, int], list[str]] = defaultdict(list)
    for line in evidence.camera:
        seen[line["part_id"], line["frame_id"]].append(line["spoilt"])
    accepted = set()
    for record in evidence.records:
        if record.outcome != ACCEPT:
            continue
        accepted.add(record.part_id)
        if _is_false(evidence, record) and record.part_id not in blind:
            yield Violation(law, record.part_id, "a defective part was accepted")
        frames = seen.get((record.part_id, -1 if record.frame_id is None else record.frame_id))
        if not frames:
            yield Violation(
                law, record.part_id, f"accepted by frame {record.frame_id}, which does not show this part"
            )
        elif all(spoilt in SPOILT_TRANSFERS or (spoilt and SPOILT_FRAMES[spoilt].hides) for spoilt in frames):
            yield Violation(law, record.part_id, f"accepted on a frame that was spoilt: {frames[0]}")
        if record.written_ms is not None and record.written_ms > evidence.deadline_ms:
            yield Violation(law, record.part_id, f"accepted {record.written_ms:.0f} ms after its trigger")
        if record.bin != evidence.good_bin:
            yield Violation(law, record.part_id, f"accepted and sent to bin {record.bin}")
    for line in evidence.cell:
        known = line["part_id"] in accepted or line["part_id"] in lost_records
        if line["bin"] == evidence.good_bin and not known:
            yield Violation(law, line["part_id"], "it lies in the good bin without an accept in the journal")


def _nothing_lost(evidence: Evidence, lost_records: Collection[int]) -> Iterator[Violation]:
    law = "nothing lost"
    recorded: dict[int, list[Record]] = defaultdict(list)
    for record in evidence.records:
        recorded[record.part_id].append(record)
    sent = {
        (line["session"], line["trigger"], line["part_id"], line["outcome"], line["bin"])
        for line in evidence.wire
        if line["what"] == "result"
    }
    by_trigger: Counter[tuple[int, int, int]] = Counter()
    for session, trigger, part_id, outcome, bin_ in sent:
        by_trigger[session, trigger, part_id] += 1
        if part_id in lost_records:
            continue
        if not any((one.outcome, one.bin) == (outcome, bin_) for one in recorded[part_id]):
            is_so = [(one.outcome, one.bin) for one in recorded[part_id]]
            yield Violation(law, part_id, f"{outcome}, bin {bin_} was sent; the journal has {is_so}")
    for (_, _, part_id), count in by_trigger.items():
        if count > 1:
            yield Violation("conservation", part_id, f"{count} different results were sent for one trigger")
    for line in evidence.cell:
        if line["outcome"] is None or line["part_id"] in lost_records:
            continue
        if not any(one.outcome == line["outcome"] for one in recorded[line["part_id"]]):
            yield Violation(law, line["part_id"], f"the cell sorted it as {line['outcome']}, the journal not")


def _lines(log: Path, first_part: int) -> Iterator[dict[str, Any]]:
    """The lines of a log; a last one that a kill cut short is none."""
    if not log.exists():
        return
    with log.open(encoding="utf-8") as file:
        for text in file:
            if not text.endswith("\n"):
                return
            line: dict[str, Any] = json.loads(text)
            if line["part_id"] >= first_part:
                yield line


def clean_outcomes(lines: Iterable[dict[str, Any]], pictures: int) -> list[str]:
    """The outcome of each picture while nothing is wrong; raises ``ValueError`` where it varies.

    A busy machine may fault some parts all the same: a fault says nothing about the picture.
    """
    found: dict[int, set[str]] = defaultdict(set)
    for line in lines:
        if line["outcome"] not in (None, FAULT):
            found[(line["part_id"] - 1) % pictures].add(line["outcome"])
    unclear = [number for number in range(pictures) if len(found[number]) != 1]
    if unclear:
        raise ValueError(f"without faults, pictures {unclear} have no outcome, or not always the same one")
    return [found[number].pop() for number in range(pictures)]
