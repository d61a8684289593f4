"""Every key of the configuration as Markdown tables, from the sections themselves: docs/configuration.md.

The key's description is the docstring under its field; families and protocols are those of the registries, so
that a family that a plant added stands here too.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from drivers.settings import Section


def key_tables(model: type[BaseModel]) -> str:
    """The tables of a model and of every section below it, in the order of their keys."""
    return "\n\n".join(_tables("", model)) + "\n"


def _tables(place: str, model: type[BaseModel]) -> Iterator[str]:
    heading = f"### `{place}`\n" if place else ""
    fields = sorted(model.model_fields.items(), key=lambda item: item[0] != "kind")
    rows = [f"| `{name}` | {_default(field)} | {_one_line(field.description)} |" for name, field in fields]
    head = ["| key | default | meaning |", "|---|---|---|"]
    yield "\n".join([heading + _one_line(model.__doc__), "", *head, *rows])
    for name, field in fields:
        path = f"{place}.{name}" if place else name
        for section in _sections(field.annotation):
            yield from _tables(f"{path} (kind: {_kind(section)})" if _kind(section) else path, section)


def _kind(section: type[BaseModel]) -> str:
    field = section.model_fields.get("kind")
    return str(get_args(field.annotation)[0]) if field is not None else ""


def _default(field: FieldInfo) -> str:
    value = field.default
    if field.is_required() or _is_kind(field):
        return "required"
    if isinstance(value, Section):
        return "as below"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, Enum):
        return f"`{value.value}`"
    if isinstance(value, int | float):
        return f"`{value:.10g}`"
    return {None: "not set", "": "empty", (): "none"}.get(value, f"`{value}`")


def _is_kind(field: FieldInfo) -> bool:
    """A kind has a default for whoever makes settings in Python; a file must say it."""
    return get_args(field.annotation) == (field.default,) and isinstance(field.default, str)


def _sections(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for argument in get_args(annotation) for section in _sections(argument)]


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")
