"""The schemas of the messages, and the check that every message passes before it leaves.

The files in ``schemas/`` are JSON Schema 2020-12, and any reader of it can use them; the check here knows the
keywords that they use and refuses a file with another one, so that nothing is left unchecked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

from drivers.errors import InspectionError

NAMES = ("record-1", "event-1", "state-1", "engines-1", "gauges-1", "presence-1", "gone-1", "receipt-1")
OTHERS = ("home-assistant-1",)
"""Messages in the words of others."""
Check = Callable[[Any, str], Iterator[str]]
"""Yields what is wrong with a value at a place."""

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list, tuple),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_WORDS = {"$schema", "$id", "title", "description", "unit"}
"""Keywords that say something to people only."""


class TelemetryError(InspectionError):
    """Telemetry cannot do what it is asked to; the message says what to do about it."""


class SchemaError(TelemetryError):
    """A message does not fit its schema; the text says where and why."""


@cache
def schema_text(name: str) -> str:
    """The file of a schema."""
    return (
        resources.files("station.telemetry").joinpath("schemas", f"{name}.json").read_text(encoding="utf-8")
    )


def require(name: str, message: Mapping[str, Any]) -> None:
    """Raise :class:`SchemaError` when a message does not fit the schema of this name."""
    for problem in _check_of(name)(message, ""):
        raise SchemaError(f"a message does not fit the schema {name}: {problem}; please report it")


def problems(name: str, message: Any) -> list[str]:
    """Everything in which a message does not fit the schema of this name."""
    return list(_check_of(name)(message, ""))


@cache
def _check_of(name: str) -> Check:
    return _compiled(json.loads(schema_text(name)))


def _compiled(schema: Mapping[str, Any]) -> Check:
    checks = [_KEYWORDS[word](value, schema) for word, value in schema.items() if word not in _WORDS]

    def check(value: Any, place: str) -> Iterator[str]:
        for one in checks:
            yield from one(value, place)

    return check


def _type(names: str | list[str], schema: Mapping[str, Any]) -> Check:
    named = [names] if isinstance(names, str) else names
    kinds = tuple(kind for name in named for kind in _TYPES[name])
    flags = "boolean" in named

    def check(value: Any, place: str) -> Iterator[str]:
        fits = flags if isinstance(value, bool) else isinstance(value, kinds)
        # JSON has no infinite numbers, and no numbers that are none.
        if not fits or (isinstance(value, float) and value - value != 0):
            yield f"{place or 'it'} is {value!r}, not {' or '.join(named)}"

    return check


def _properties(below: Mapping[str, Any], schema: Mapping[str, Any]) -> Check:
    checks = {name: _compiled(one) for name, one in below.items()}

    def check(value: Any, place: str) -> Iterator[str]:
        if isinstance(value, dict):
            for name, one in checks.items():
                if name in value:
                    yield from one(value[name], f"{place}.{name}" if place else name)

    return check


def _additional(more: bool | Mapping[str, Any], schema: Mapping[str, Any]) -> Check:
    known = frozenset(schema.get("properties", ()))
    each = _compiled(more) if isinstance(more, Mapping) else None

    def check(value: Any, place: str) -> Iterator[str]:
        if not isinstance(value, dict) or more is True:
            return
        for name in value.keys() - known:
            if each is None:
                yield f"{place or 'it'} has the unknown field {name!r}"
            else:
                yield from each(value[name], f"{place}.{name}")

    return check


def _required(names: list[str], schema: Mapping[str, Any]) -> Check:
    def check(value: Any, place: str) -> Iterator[str]:
        if isinstance(value, dict):
            for name in names:
                if name not in value:
                    yield f"{place or 'it'} has no field {name!r}"

    return check


def _items(each: Mapping[str, Any], schema: Mapping[str, Any]) -> Check:
    one = _compiled(each)

    def check(value: Any, place: str) -> Iterator[str]:
        if isinstance(value, list | tuple):
            for index, item in enumerate(value):
                yield from one(item, f"{place}[{index}]")

    return check


def _allowed(values: list[Any]) -> Check:
    def check(value: Any, place: str) -> Iterator[str]:
        if not any(value == one and isinstance(value, bool) is isinstance(one, bool) for one in values):
            yield f"{place or 'it'} is {value!r}, not {' or '.join(map(repr, values))}"

    return check


def _limit(kinds: tuple[type, ...], fits: Callable[[Any, Any], bool], words: str) -> Any:
    def make(bound: Any, schema: Mapping[str, Any]) -> Check:
        def check(value: Any, place: str) -> Iterator[str]:
            if isinstance(value, kinds) and not isinstance(value, bool) and not fits(value, bound):
                yield f"{place or 'it'} is {value!r}, {words} {bound}"

        return check

    return make


_KEYWORDS: dict[str, Callable[[Any, Mapping[str, Any]], Check]] = {
    "type": _type,
    "properties": _properties,
    "additionalProperties": _additional,
    "required": _required,
    "items": _items,
    "const": lambda value, schema: _allowed([value]),
    "enum": lambda values, schema: _allowed(values),
    "minimum": _limit((int, float), lambda value, bound: value >= bound, "below"),
    "maximum": _limit((int, float), lambda value, bound: value <= bound, "above"),
    "minLength": _limit((str,), lambda value, bound: len(value) >= bound, "shorter than"),
    "maxLength": _limit((str,), lambda value, bound: len(value) <= bound, "longer than"),
    "minItems": _limit((list, tuple), lambda value, bound: len(value) >= bound, "fewer than"),
    "maxItems": _limit((list, tuple), lambda value, bound: len(value) <= bound, "more than"),
    "pattern": _limit((str,), lambda value, bound: re.search(bound, value) is not None, "not like"),
}
