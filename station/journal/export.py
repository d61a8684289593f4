"""Records out of the journal, while the station runs: CSV, JSON, JSON lines, Parquet.

One row per record, with every column of ``parts`` and the scores. A file appears under its name only when
it is complete; ``-`` writes to standard output.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from drivers.errors import explain_os_error
from station.files import replacing
from station.journal.errors import JournalError
from station.journal.packing import scores_to_json
from station.journal.record import COLUMNS, KINDS, PartRecord

if TYPE_CHECKING:
    import pyarrow

STDOUT = "-"
FORMATS = {"csv": ".csv", "json": ".json", "jsonl": ".jsonl", "parquet": ".parquet"}
"""Format -> ending."""
PARQUET_ROWS = 5000
"""Records in memory at a time when Parquet is written."""


def format_of(target: str, asked: str | None = None) -> str:
    """The format to write: the one asked for, else the file name's ending. Raises :class:`JournalError`."""
    if asked is None and target != STDOUT:
        asked = next((name for name, ending in FORMATS.items() if target.lower().endswith(ending)), None)
        if asked is None:
            raise JournalError(
                f"{target}: end the file name with one of {' '.join(FORMATS.values())}, or use --format"
            )
    asked = asked or "csv"
    if asked not in FORMATS:
        raise JournalError(f"format {asked!r} is unknown: use one of {', '.join(FORMATS)}")
    if asked == "parquet" and target == STDOUT:
        raise JournalError("Parquet cannot go to standard output: name a file")
    return asked


def export(records: Iterable[PartRecord], target: str, kind: str) -> int:
    """Write the records to ``target`` in the format ``kind``; how many there were.

    Raises :class:`JournalError` when the target cannot be written; a file of that name is left as it was.
    """
    if target == STDOUT:
        return _TEXT[kind](records, sys.stdout)
    path = Path(target)
    try:
        with replacing(path) as fresh:
            if kind == "parquet":
                return _parquet(records, fresh)
            with fresh.open("w", encoding="utf-8", newline="") as file:
                return _TEXT[kind](records, file)
    except OSError as error:
        raise JournalError(explain_os_error(error, path)) from error


def plain(record: PartRecord) -> dict[str, Any]:
    """A record as JSON has it: columns by name, and ``scores`` as nested lists."""
    values = {name: getattr(record, name) for name in COLUMNS}
    values["scores"] = None if record.scores is None else scores_to_json(record.scores)
    return values


def _csv(records: Iterable[PartRecord], file: IO[str]) -> int:
    """Columns as they are, booleans as 0 and 1, unknown values empty, the scores as JSON."""
    writer = csv.writer(file)
    writer.writerow((*COLUMNS, "scores"))
    count = 0
    for record in records:
        count += 1
        values = (getattr(record, name) for name in COLUMNS)
        cells = [int(value) if isinstance(value, bool) else value for value in values]
        scores = (
            "" if record.scores is None else json.dumps(scores_to_json(record.scores), separators=(",", ":"))
        )
        writer.writerow((*cells, scores))
    return count


def _json_lines(records: Iterable[PartRecord], file: IO[str]) -> int:
    count = 0
    for record in records:
        count += 1
        file.write(json.dumps(plain(record)) + "\n")
    return count


def _json(records: Iterable[PartRecord], file: IO[str]) -> int:
    """One array, one record per line, written as it is read."""
    count = 0
    for count, record in enumerate(records, 1):
        file.write(("[\n" if count == 1 else ",\n") + json.dumps(plain(record)))
    file.write("\n]\n" if count else "[]\n")
    return count


_TEXT: dict[str, Callable[[Iterable[PartRecord], IO[str]], int]] = {
    "csv": _csv,
    "json": _json,
    "jsonl": _json_lines,
}


def _parquet(records: Iterable[PartRecord], path: Path) -> int:
    """Typed columns; ``opened_at`` as a UTC timestamp, the scores as lists of float32."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _parquet_schema(pa)
    count = 0
    rows = iter(records)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while batch := list(islice(rows, PARQUET_ROWS)):
            count += len(batch)
            columns = {
                name: pa.array([getattr(r, name) for r in batch], _source(pa, name)) for name in COLUMNS
            }
            columns["opened_at"] = columns["opened_at"].cast(schema.field("opened_at").type)
            columns["scores"] = pa.array([_table(r) for r in batch], schema.field("scores").type)
            writer.write_table(pa.table(columns, schema=schema))
    return count


def _parquet_schema(pa: Any) -> pyarrow.Schema:
    fields = [(name, _source(pa, name)) for name in COLUMNS if name != "opened_at"]
    fields.insert(COLUMNS.index("opened_at"), ("opened_at", pa.timestamp("us", tz="UTC")))
    return pa.schema([*fields, ("scores", pa.list_(pa.list_(pa.float32())))])


def _source(pa: Any, name: str) -> Any:
    """The Arrow type of a column as the record holds it."""
    return {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}[KINDS[name][0]]


def _table(record: PartRecord) -> list[list[float]] | None:
    """Scores that are a table; the odd shape of a faulted part's scores becomes one column."""
    if record.scores is None:
        return None
    scores = record.scores
    rows: list[list[float]] = (scores if scores.ndim == 2 else scores.reshape(-1, 1)).tolist()
    return rows
