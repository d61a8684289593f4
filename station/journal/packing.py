"""How an event holds its values: small, exact, and still JSON for standard tools.

The frequent events hold a JSON array, its elements in the order of the columns (:data:`ARRAYS`); the rare
ones a JSON object by name. A verdict's scores stand beside the payload, as they were: two little-endian
uint32, patches and classes (classes 0: one-dimensional), then float32, row by row.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from station.journal.events import ENGINE, OPENED, RECEIPT, SETUP, TEXT, VERDICT, ChainError
from station.journal.record import (
    ENGINE_COLUMNS,
    FLAGS,
    KINDS,
    OPENED_COLUMNS,
    RECEIPT_COLUMNS,
    SETUP_COLUMNS,
    VERDICT_COLUMNS,
    PartRecord,
)

ARRAYS: dict[str, tuple[str, ...]] = {
    OPENED: ("setup", *OPENED_COLUMNS),
    VERDICT: ("engine", *VERDICT_COLUMNS),
    RECEIPT: RECEIPT_COLUMNS,
    SETUP: ("id", *SETUP_COLUMNS),
    ENGINE: ("id", *ENGINE_COLUMNS),
    TEXT: ("digest", "what", "text"),
}
"""Kind -> the names of its array's elements."""

_SHAPE = struct.Struct("<II")
_decode = json.JSONDecoder().raw_decode
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, allow_nan=False, sort_keys=True).encode


def pack(kind: str, values: Mapping[str, Any]) -> str:
    """The payload of an event. Raises ValueError or TypeError for what JSON cannot hold."""
    names = ARRAYS.get(kind)
    return _encode(dict(values) if names is None else [values[name] for name in names])


def unpack(kind: str, payload: str) -> dict[str, Any]:
    """The values of an event by name. Raises :class:`ChainError`."""
    try:
        values, end = _decode(payload)
    except (ValueError, TypeError) as error:
        raise ChainError(f"its payload is not JSON ({error})") from None
    if end != len(payload):
        raise ChainError("its payload is more than one JSON value")
    names = ARRAYS.get(kind)
    if names is None:
        if not isinstance(values, dict):
            raise ChainError("its payload is not a JSON object")
        return values
    if not isinstance(values, list) or len(values) != len(names):
        raise ChainError(f"its payload is not a JSON array of {len(names)} values")
    return dict(zip(names, values, strict=True))


def pack_scores(scores: NDArray[Any]) -> bytes:
    """The scores as an event holds them; more than two dimensions become one."""
    table = np.atleast_1d(np.asarray(scores)).astype("<f4")
    rows, columns = table.shape if table.ndim == 2 else (table.size, 0)
    return _SHAPE.pack(rows, columns) + table.tobytes()


def unpack_scores(packed: bytes | None) -> NDArray[np.float32] | None:
    """The scores that were packed, bit for bit. Raises :class:`ChainError` for what is no table."""
    if packed is None:
        return None
    try:
        rows, columns = _SHAPE.unpack_from(packed)
        table = np.frombuffer(packed, "<f4", offset=_SHAPE.size)
        return table.reshape((rows, columns) if columns else (rows,)).astype(np.float32)
    except (struct.error, ValueError, TypeError) as error:
        raise ChainError(f"its scores are damaged ({error})") from None


def usable_scores(packed: bytes | None) -> bool:
    """Whether packed scores are a full table of finite numbers."""
    if packed is None or len(packed) <= _SHAPE.size:
        return False
    rows, columns = _SHAPE.unpack_from(packed)
    whole = columns > 0 and len(packed) == _SHAPE.size + 4 * rows * columns
    return whole and bool(np.isfinite(np.frombuffer(packed, "<f4", offset=_SHAPE.size)).all())


def scores_to_json(scores: NDArray[Any]) -> list[Any]:
    """Nested lists of decimal numbers that give back the same float32; NaN and infinities as words."""

    def decimal(value: Any) -> Any:
        if isinstance(value, list):
            return [decimal(inner) for inner in value]
        # Nine significant digits tell any two float32 apart.
        return float(f"{value:.9g}") if isfinite(value) else str(value)

    nested: list[Any] = decimal(np.atleast_1d(scores).astype(np.float32).tolist())
    return nested


def scores_from_json(values: list[Any] | None) -> NDArray[np.float32] | None:
    """The array that :func:`scores_to_json` was given."""
    if values is None:
        return None

    def numbers(value: Any) -> Any:
        return [numbers(inner) for inner in value] if isinstance(value, list) else float(value)

    return np.array(numbers(values), dtype=np.float32)


def record_of(row: Mapping[str, Any], scores: NDArray[np.float32] | None = None) -> PartRecord:
    """The record of a row that has all columns by name; ``scores`` where they were read."""
    values = {name: row[name] for name in KINDS}
    for name in FLAGS:
        values[name] = None if values[name] is None else bool(values[name])
    return PartRecord(**values, scores=scores)
