"""Where messages are kept: PostgreSQL or a folder of Parquet files."""

from __future__ import annotations

import json
import os
import re
import ssl
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from drivers.errors import InspectionError
from station.files import replacing, sync_folder
from station.journal.record import KINDS
from station.telemetry.streams import LEFT_OUT

STREAMS = ("records", "events")


class StoreError(InspectionError):
    """A store cannot be used; the message names it and says what to do about it."""


@dataclass(frozen=True, slots=True)
class Gone:
    """Numbers that the station no longer has."""

    journal: str
    stream: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What is committed together."""

    messages: dict[str, list[dict[str, Any]]]
    """Stream -> messages in the order of their numbers."""
    gone: list[Gone]


class Store(ABC):
    """Keeps messages by journal and number; each once."""

    @abstractmethod
    def held(self, journal: str, stream: str) -> int:
        """The highest number that is kept, or that is known to be gone; 0 for none."""

    @abstractmethod
    def commit(self, batch: Batch) -> None:
        """Keep a batch, durably. Raises :class:`StoreError` with nothing kept."""

    @abstractmethod
    def close(self) -> None:
        """Give everything back."""


_TABLES = """
CREATE TABLE IF NOT EXISTS inspection_records (
    journal text, number bigint, station text NOT NULL, part_id bigint NOT NULL,
    opened_at timestamptz NOT NULL,
    recipe text NOT NULL, lot text, outcome text, class_name text, confidence double precision, bin integer,
    reason text, acknowledged boolean, message jsonb NOT NULL, received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (journal, number));
CREATE TABLE IF NOT EXISTS inspection_events (
    journal text, number bigint, station text NOT NULL, at timestamptz NOT NULL, kind text NOT NULL,
    record bigint, message jsonb NOT NULL, received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (journal, number));
CREATE TABLE IF NOT EXISTS inspection_gone (
    journal text, stream text, first bigint, last bigint, received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (journal, stream, first));
"""
_COLUMNS = {
    "records": ("part_id", "opened_at", "recipe", "lot", "outcome", "class_name", "confidence", "bin",
                "reason", "acknowledged"),
    "events": ("at", "kind", "record"),
}  # fmt: skip


class Postgres(Store):
    """Tables in a PostgreSQL database; the whole message stands in ``message``."""

    def __init__(self, url: str) -> None:
        """``url``: ``postgresql://user@host:5432/database``. Raises :class:`StoreError`."""
        self._where = shown(url)
        try:
            import pg8000.native
        except ImportError:
            raise StoreError("pg8000 is not installed; pip install 'inspection-station[sink]'") from None
        self._error = (pg8000.exceptions.DatabaseError, pg8000.exceptions.InterfaceError, OSError)
        try:
            self._connection = pg8000.native.Connection(**_address(url), timeout=10)
            self._connection.run(_TABLES)
        except self._error as error:
            raise self._explained(error) from None

    def held(self, journal: str, stream: str) -> int:
        """One query; messages are kept without gaps."""
        sql = (
            f"SELECT greatest((SELECT coalesce(max(number), 0) FROM inspection_{stream} WHERE journal = :j), "
            "(SELECT coalesce(max(last), 0) FROM inspection_gone WHERE journal = :j AND stream = :s))"
        )
        return int(self._run(sql, j=journal, s=stream)[0][0])

    def commit(self, batch: Batch) -> None:
        """One transaction."""
        try:
            self._connection.run("BEGIN")
            for stream, messages in batch.messages.items():
                for message in messages:
                    self._insert(stream, message)
            for one in batch.gone:
                self._connection.run(
                    "INSERT INTO inspection_gone VALUES (:j, :s, :a, :b) ON CONFLICT DO NOTHING",
                    j=one.journal, s=one.stream, a=one.first, b=one.last,
                )  # fmt: skip
            self._connection.run("COMMIT")
        except self._error as error:
            raise self._explained(error) from None

    def close(self) -> None:
        """Close the connection."""
        try:
            self._connection.close()
        except self._error:
            return

    def _insert(self, stream: str, message: dict[str, Any]) -> None:
        inner = message["record" if stream == "records" else "event"]
        columns = _COLUMNS[stream]
        values = {name: inner[name] for name in columns}
        values |= {name: message[name] for name in ("journal", "number", "station")}
        values["message"] = json.dumps(message)
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        self._connection.run(
            f"INSERT INTO inspection_{stream} ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING", **values
        )

    def _run(self, sql: str, **values: Any) -> Any:
        try:
            return self._connection.run(sql, **values)
        except self._error as error:
            raise self._explained(error) from None

    def _explained(self, error: BaseException) -> StoreError:
        details = error.args[0] if error.args else error
        said = details.get("M", details) if isinstance(details, dict) else details
        return StoreError(f"database {self._where}: {said}; check address, user, password and rights")


def shown(url: str) -> str:
    """The address without its password."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", url)


def _address(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres") or not parts.path.strip("/"):
        raise StoreError(f"database {shown(url)}: is no address; write postgresql://user@host:5432/database")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    port = parts.port or 5432
    address: dict[str, Any] = {
        "user": unquote(parts.username or os.environ.get("USER", "postgres")),
        "password": unquote(parts.password) if parts.password else os.environ.get("PGPASSWORD"),
        "database": unquote(parts.path.strip("/")),
        "port": port,
        "host": parts.hostname or "localhost",
    }
    if folder := query.pop("host", ""):
        address["unix_sock"] = f"{folder}/.s.PGSQL.{port}"
    if query.pop("sslmode", "") == "verify-full":
        address["ssl_context"] = ssl.create_default_context()
    if query:
        raise StoreError(f"database {shown(url)}: unknown options {', '.join(query)}; leave them out")
    return address


class Parquet(Store):
    """A folder with one file per commit and stream: ``records-JOURNAL-FIRST-LAST.parquet``."""

    def __init__(self, folder: Path) -> None:
        """Raises :class:`StoreError`."""
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for left_over in folder.glob("*.part"):
                left_over.unlink()
        except OSError as error:
            raise StoreError(f"folder {folder}: {error.strerror}; name another one") from None
        self._held: dict[tuple[str, str], int] = {}
        pattern = re.compile(
            r"(records|events|gone-records|gone-events)-([0-9a-f]+)-(\d+)-(\d+)\.(parquet|json)"
        )
        for file in folder.iterdir():
            if found := pattern.fullmatch(file.name):
                key = (found[2], found[1].removeprefix("gone-"))
                self._held[key] = max(self._held.get(key, 0), int(found[4]))

    def held(self, journal: str, stream: str) -> int:
        """From the names of the files."""
        return self._held.get((journal, stream), 0)

    def commit(self, batch: Batch) -> None:
        """Each file is there whole or not at all, and is on the disk when this returns."""
        try:
            for stream, messages in batch.messages.items():
                for journal in dict.fromkeys(str(one["journal"]) for one in messages):
                    self._write(stream, journal, [one for one in messages if one["journal"] == journal])
            for one in batch.gone:
                name = f"gone-{one.stream}-{one.journal}-{one.first}-{one.last}.json"
                with replacing(self._folder / name) as fresh:
                    fresh.write_text("{}")
                self._note(one.journal, one.stream, one.last)
            sync_folder(self._folder)
        except OSError as error:
            raise StoreError(f"folder {self._folder}: {error.strerror or error}; free space there") from None

    def close(self) -> None:
        """Nothing is open."""

    def _write(self, stream: str, journal: str, messages: list[dict[str, Any]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        first, last = messages[0]["number"], messages[-1]["number"]
        table = pa.Table.from_pylist([dict(_flat(one)) for one in messages], schema=_columns(stream))
        with replacing(self._folder / f"{stream}-{journal}-{first}-{last}.parquet") as fresh:
            pq.write_table(table, fresh, compression="zstd")
        self._note(journal, stream, last)

    def _note(self, journal: str, stream: str, last: int) -> None:
        self._held[(journal, stream)] = max(self.held(journal, stream), last)


def _columns(stream: str) -> Any:
    """The columns of a stream's files: a file in which a value is never known has the same types."""
    import pyarrow as pa

    kinds = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}
    head = {"station": str, "journal": str, "number": int, "repeat": bool, "sent_at": str}
    if stream == "records":
        body = {
            "inspected_by" if name == "station" else name: kind
            for name, (kind, _) in KINDS.items()
            if name not in LEFT_OUT
        }
    else:
        body = {"previous": int, "kind": str, "at": str, "record": int, "values": str}
    return pa.schema([(name, kinds[kind]) for name, kind in (head | body).items()])


def _flat(message: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    for name, value in message.items():
        if name == "record":
            yield from (
                (inner if inner != "station" else "inspected_by", one) for inner, one in value.items()
            )
        elif name == "event":
            yield from (
                (inner, one if inner != "values" else json.dumps(one)) for inner, one in value.items()
            )
        else:
            yield name, value
