"""A station with a simulated cell, as a process of its own: configuration, run, and what its journal says."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from retraining.circle.commands import STATION, StepError, call
from retraining.circle.lots import Lot, LotPart
from station.files import write_file
from station.journal.errors import JournalError
from station.journal.reading import JournalReader
from station.rare.store import RareStore


@dataclass(frozen=True, slots=True)
class Line:
    """One simulated plant in a folder."""

    folder: Path
    lot: Lot

    @property
    def config(self) -> Path:
        """Its configuration."""
        return self.folder / "station.yaml"

    def clear(self) -> None:
        """Remove what a line that was broken off has left; it begins anew."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def write_config(
        self,
        *,
        recipe: str,
        recipes: Path,
        engines: Path,
        target: Path | None,
        rate_hz: float,
        rare: Mapping[str, float] | None = None,
        new_engines: Mapping[str, int] | None = None,
    ) -> None:
        """Write the configuration; paths are absolute."""
        here = self.folder.absolute()
        (here / "workshops").mkdir(parents=True, exist_ok=True)
        document: dict[str, Any] = {
            "station": {"name": f"circle-{self.folder.name}"},
            "recipe": recipe,
            "paths": {
                "recipes": str(recipes.absolute()), "engines": str(engines.absolute()),
                "journal": str(here / "journal.db"), "images": str(here / "images"),
                "cache": str(here / "cache"), "rare": str(here / "rare"),
            },
            "engine": {"backend": "openvino"},  # not measured against others, which takes a while
            "camera": {"kind": "simulated", "mode": "cell", **self.lot.camera},
            "sorter": {"kind": "serial", "port": str(here / "cell.pty")},
            "limits": {"part_deadline_ms": 10_000, "grab_timeout_ms": 5_000, "in_place_ms": 1_000},
            "images": {"save": "none"},
            "rare": {"class_items": 1000, **(rare or {})},
            "simulation": {**self.lot.simulation, "cell": {"rate_hz": rate_hz, "verdict_ms": 20_000}},
        }  # fmt: skip
        if target is not None:
            document["handoff"] = {
                "target": str(target.absolute()), "workshops": str(here / "workshops"), "interval_s": 3600,
            }  # fmt: skip
        if new_engines is not None:
            document["new_engines"] = dict(new_engines)
        text = yaml.safe_dump(document, sort_keys=False)
        write_file(self.config, text)

    def run(self, parts: int, log: Path) -> None:
        """Inspect ``parts`` parts and end."""
        call(STATION, "run", "--config", self.config, "--parts", parts, "--plain", log=log)

    def count(self) -> int:
        """Parts with a record so far; 0 until the station has made its journal."""
        try:
            with JournalReader(self.folder / "journal.db") as reader:
                return reader.counts()["triggers"]
        except JournalError:
            return 0

    def answered(self, log: Path) -> int:
        """How many triggers this line had; every one was answered once, by what the journal says.

        The journal is audited, and held against the cell's own log. Raises :class:`StepError`.
        """
        call(STATION, "journal", "audit", "--config", self.config, log=log)
        lines = (self.folder / "cell.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        while rows and not rows[-1]["trigger_ack_ns"]:
            rows.pop()  # the station had stopped
        sorted_by = [(row["part_id"], row["outcome"]) for row in rows]
        with JournalReader(self.folder / "journal.db") as reader:
            written = [(record.part_id, str(record.outcome)) for record in reader.records()]
        differ = Counter(sorted_by) - Counter(written) + (Counter(written) - Counter(sorted_by))
        if differ:
            raise StepError(
                f"{self.folder}: the cell sorted {len(sorted_by)} parts, the journal has {len(written)}; "
                f"they differ in {', '.join(map(str, list(differ)[:5]))}"
            )
        return len(written)

    def seen(self, first: int = 1, last: int | None = None) -> list[SeenPart]:
        """What became of the parts ``first`` to ``last`` (record numbers), in order."""
        kept: dict[int, tuple[str, ...]] = {}
        if (self.folder / "rare").is_dir():
            for entry in RareStore(self.folder / "rare").entries():
                kept[entry.item.record_id] = tuple(why.reason.value for why in entry.item.whys)
        found = []
        with JournalReader(self.folder / "journal.db") as reader:
            for record in reader.records():
                number = record.record_id
                if number < first or (last is not None and number > last):
                    continue
                found.append(
                    SeenPart(
                        number, record.part_id, self.lot.part(record.part_id), str(record.outcome),
                        record.class_name or "", kept.get(number, ()),
                    )
                )  # fmt: skip
        return sorted(found, key=lambda part: part.record)


@dataclass(frozen=True, slots=True)
class SeenPart:
    """One part of a line: what it is, and what the station said."""

    record: int
    part_id: int
    truth: LotPart
    outcome: str
    class_name: str
    kept: tuple[str, ...]
    """Why its picture was kept in the rare log; empty where it was not."""


def as_json(parts: Sequence[SeenPart]) -> str:
    """One line per part."""
    rows = [
        {
            "record": p.record, "part": p.part_id, "truth": p.truth.label, "outcome": p.outcome,
            "class": p.class_name, "kept": list(p.kept),
        }
        for p in parts
    ]  # fmt: skip
    return "".join(json.dumps(row) + "\n" for row in rows)
