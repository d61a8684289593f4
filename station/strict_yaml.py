"""YAML read strictly into a pydantic model: every mistake is named by file, line, key and remedy.

Nothing is guessed and nothing is ignored: unknown and repeated keys, anchors, tags and several
documents in one file are errors. Words stay words (``off`` is not False, ``1:30`` is not 90); only
``true`` and ``false`` are booleans, as in YAML 1.2.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from drivers.errors import InspectionError, os_remedy
from drivers.regular_files import open_regular

MAX_BYTES = 1_000_000
MAX_DEPTH = 24
MAX_NODES = 20_000

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong in a file; ``line`` counts from 1 and is 0 where there is no line."""

    line: int
    key: str
    problem: str
    remedy: str


class DocumentError(InspectionError):
    """A YAML file cannot be used; one line ``file:line: key: problem: remedy`` per mistake."""

    def __init__(self, path: Path, *mistakes: Mistake) -> None:
        self.path = path
        self.mistakes = mistakes
        super().__init__("\n".join(_sentence(path, mistake) for mistake in mistakes))


def load_document(
    path: Path,
    model: type[Model],
    error: type[DocumentError],
    computed: Mapping[str, Any] | None = None,
    content: bytes | None = None,
) -> Model:
    """Read ``path`` into ``model``; ``computed`` are fields that the file must not set.

    ``content``: the bytes of the file, where the caller has read them already. Relative paths in the model
    may be resolved against ``info.context["directory"]``; ``["file"]`` is the file. Raises ``error``.
    """
    if content is None:
        content = read_bytes(path, error)
    try:
        node = _compose(_text(content))
        lines: dict[Location, int] = {}
        values = _plain(node, (), lines)
        if not isinstance(values, dict):
            raise _DocumentMistake(
                1, "", "is not a mapping", "write the keys of the file as `key: value`, one per line"
            )
        for name, value in (computed or {}).items():
            if name in values:
                raise _DocumentMistake(lines[(name,)], name, "is computed, not set", "remove the key")
            values[name] = value
    except _DocumentMistake as mistaken:
        raise error(path, mistaken.mistake) from None
    try:
        return model.model_validate_json(
            json.dumps(values),
            strict=True,
            context={"directory": path.resolve().parent, "file": path.resolve()},
        )
    except ValidationError as invalid:
        details = invalid.errors(include_url=False)
        mistakes = sorted((_mistake(detail, model, lines) for detail in details), key=lambda m: m.line)
        raise error(path, *mistakes) from None


def line_of(text: str, key: str) -> int:
    """The line of a dotted key in the text of a document that was read before; 0 where it is not there."""
    lines: dict[Location, int] = {}
    try:
        _plain(_compose(text), (), lines)
    except _DocumentMistake:
        return 0
    return lines.get(tuple(key.split(".")), 0)


def read_bytes(path: Path, error: type[DocumentError]) -> bytes:
    """The bytes of a regular file of at most 1 MB; nothing is waited for. Raises ``error``."""
    try:
        with open_regular(path) as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise error(path, Mistake(0, "", "does not exist", _other_files(path))) from None
    except OSError as problem:
        remedy = os_remedy(problem, path)
        raise error(path, Mistake(0, "", f"cannot be read ({problem.strerror})", remedy)) from None
    if len(content) > MAX_BYTES:
        remedy = "this is probably the wrong file; name another"
        raise error(path, Mistake(0, "", f"is larger than {MAX_BYTES} bytes", remedy))
    return content


def closest(word: str, words: Iterator[str] | list[str]) -> str:
    """``did you mean `…`?``, or the words there are."""
    known = list(words)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else f"known are: {', '.join(known)}"


class _DocumentMistake(Exception):
    def __init__(self, line: int, key: str, problem: str, remedy: str) -> None:
        self.mistake = Mistake(line, key, problem, remedy)
        super().__init__(problem)


class _Loader(yaml.SafeLoader):
    """A SafeLoader that resolves plain scalars as YAML 1.2's JSON schema does."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  (PyYAML's own)


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|)$"), ["~", "n", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan)$"),
    list("-+0123456789."),
)


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content[: problem.start].count(b"\n") + 1
        raise _DocumentMistake(line, "", "is not UTF-8 text", "save the file as UTF-8") from None


def _compose(text: str) -> yaml.Node:
    """The one document of ``text`` as nodes, after its events were found harmless."""
    try:
        _check_events(text)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        what = " ".join(filter(None, (problem.context, problem.problem)))
        remedy = "check indentation, colons, quotes and brackets here"
        raise _DocumentMistake(mark.line + 1 if mark else 0, "", f"is not YAML ({what})", remedy) from None
    except yaml.reader.ReaderError as problem:
        line = text[: problem.position].count("\n") + 1
        remedy = "remove the character; a text editor's 'show invisible' finds it"
        raise _DocumentMistake(
            line, "", f"has a character that YAML forbids (U+{_code_point(problem):04X})", remedy
        ) from None
    if node is None:
        raise _DocumentMistake(
            1, "", "is empty", "write the keys of the file, see docs/recipes.md and docs/configuration.md"
        )
    return node


def _code_point(problem: yaml.reader.ReaderError) -> int:
    """The code point that PyYAML's reader stumbled over."""
    character = problem.character
    return character if isinstance(character, int) else ord(character)


def _check_events(text: str) -> None:
    """Refuse what a configuration never needs and an attacker does, before any of it is built."""
    depth = nodes = documents = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _DocumentMistake(
                    line, "", "has a second document", "keep one document; remove the `---`"
                )
        if isinstance(event, yaml.AliasEvent) or (isinstance(event, yaml.NodeEvent) and event.anchor):
            raise _DocumentMistake(
                line, "", "has an anchor or alias (& or *)", "write the value out, or quote the text"
            )
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            nodes += 1
            if event.tag is not None:
                raise _DocumentMistake(
                    line, "", f"has a tag ({event.tag})", "remove the tag; plain values only"
                )
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise _DocumentMistake(line, "", f"is nested deeper than {MAX_DEPTH} levels", "flatten it")
        if nodes > MAX_NODES:
            raise _DocumentMistake(
                line, "", f"has more than {MAX_NODES} values", "this is hardly the file that was meant"
            )


_CONSTRUCTOR = yaml.constructor.SafeConstructor()


def _plain(node: yaml.Node, where: Location, lines: dict[Location, int]) -> Any:
    """The node as dict, list, str, int, float, bool or None; fills ``lines`` with each key's line."""
    lines.setdefault(where, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
                raise _DocumentMistake(
                    line, _dotted(where), "has a key that is not a word", "quote it or remove it"
                )
            key = str(key_node.value)
            here = (*where, key)
            if key in mapping:
                problem = f"is given twice (first in line {lines[here]})"
                raise _DocumentMistake(line, _dotted(here), problem, "keep one of the two")
            lines[here] = line
            mapping[key] = _plain(value_node, here, lines)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*where, index), lines) for index, item in enumerate(node.value)]
    try:
        return _CONSTRUCTOR.construct_object(node)
    except ValueError:
        raise _DocumentMistake(
            node.start_mark.line + 1, _dotted(where), "is not a number that fits", "write a smaller number"
        ) from None


def _mistake(detail: ErrorDetails, model: type[BaseModel], lines: Mapping[Location, int]) -> Mistake:
    """A pydantic error with the file's own line and key."""
    location = detail["loc"]
    context = detail.get("ctx") or {}
    location += tuple(str(context["key"]).split(".")) if "key" in context else ()
    found, models, candidates, siblings, description = _walk(location, model)
    line = next((lines[found[:n]] for n in range(len(found), -1, -1) if found[:n] in lines), 0)
    key = _dotted(found)
    kind = detail["type"]
    if kind == "extra_forbidden":
        key_of = [str(tag) for owner in siblings if found[-1] in owner.model_fields for tag in _tags(owner)]
        if key_of:
            kinds = " and of kind ".join(sorted(set(key_of)))
            remedy = f"it is a key of kind {kinds}; remove it, or write such a kind"
            return Mistake(line, key, "is not a known key", remedy)
        known = [name for owner in models for name in owner.model_fields]
        return Mistake(line, key, "is not a known key", closest(str(found[-1]), known))
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tags = [word.strip("' ") for word in str(context.get("expected_tags", "")).split(",")]
        tags = [tag for tag in tags if tag] or [str(tag) for owner in candidates for tag in _tags(owner)]
        line = lines.get((*found, "kind"), line)
        if kind == "union_tag_not_found":
            return Mistake(line, f"{key}.kind", "is missing", f"known are: {', '.join(tags)}")
        given = str(context.get("tag"))
        return Mistake(line, f"{key}.kind", f"'{given}' is not known", closest(given, tags))
    if kind == "missing":
        return Mistake(line, key, "is missing", f"add it: {description}" if description else "add it")
    if "remedy" in context:
        return Mistake(line, key, detail["msg"], str(context["remedy"]))
    problem = detail["msg"][0].lower() + detail["msg"][1:]
    given = detail["input"]
    if isinstance(given, str | int | float | bool) or given is None:
        shown = "empty" if given is None else repr(given)
        problem += f" (it is {shown if len(shown) < 60 else shown[:57] + '...'})"
    return Mistake(line, key, problem, f"write {description}" if description else "correct the value")


def _walk(
    location: Location, model: type[BaseModel]
) -> tuple[Location, list[type[BaseModel]], list[type[BaseModel]], list[type[BaseModel]], str]:
    """A location without union tags, and what is known about it.

    The models that own its last key, those of its value, those of the other tags, and the key's text.
    """
    owners: list[type[BaseModel]] = [model]
    candidates = owners
    siblings: list[type[BaseModel]] = []
    others: list[type[BaseModel]] = []
    found: list[str | int] = []
    description = ""
    for step in location:
        tagged = [owner for owner in candidates if step in _tags(owner)]
        if tagged and not any(step in owner.model_fields for owner in candidates):
            others = [owner for owner in candidates if owner not in tagged]
            candidates = tagged
            continue
        found.append(step)
        siblings, others = others, []
        if isinstance(step, int):
            continue
        owners = candidates
        fields = [owner.model_fields[step] for owner in owners if step in owner.model_fields]
        candidates = [inner for field in fields for inner in _models_in(field.annotation)]
        description = next((field.description for field in fields if field.description), "")
        description = " ".join(description.split()).rstrip(".")
    return tuple(found), owners, candidates, siblings, description


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    kind = model.model_fields.get("kind")
    return get_args(kind.annotation) if kind is not None and get_origin(kind.annotation) is Literal else ()


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _dotted(where: Location) -> str:
    words = ""
    for step in where:
        words += f"[{step}]" if isinstance(step, int) else f".{step}" if words else step
    return words


def _sentence(path: Path, mistake: Mistake) -> str:
    place = f"{path}:{mistake.line}" if mistake.line else f"{path}"
    return ": ".join(filter(None, (place, mistake.key, mistake.problem, mistake.remedy)))


def _other_files(path: Path) -> str:
    siblings = sorted(p.name for p in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
    if not siblings:
        return f"there is no YAML file in {path.parent}; name another"
    return closest(path.name, siblings)
