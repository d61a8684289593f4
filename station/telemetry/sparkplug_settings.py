"""The section ``telemetry.sparkplug`` of station.yaml, docs/sparkplug.md."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, StringConstraints
from pydantic_core import PydanticCustomError

from drivers.settings import Section

STATE = "STATE"
"""The level of a topic that the states of hosts have in the place of a group."""


def _is_an_id(name: str) -> str:
    if any(one in "#+/" or not one.isprintable() for one in name) or not name.strip():
        problem = f"is {name!r}, with #, + or /, a control character, or nothing but spaces"
        remedy = "write a name of letters, digits, -, _, . and spaces"
        raise PydanticCustomError("sparkplug_id", "{problem}", {"problem": problem, "remedy": remedy})
    return name


def _is_a_group(name: str) -> str:
    if name == STATE:
        problem = f"is {STATE}, where the topics of Sparkplug have the states of hosts"
        raise PydanticCustomError(
            "sparkplug_group", "{problem}", {"problem": problem, "remedy": "give the group another name"}
        )
    return name


Id = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_is_an_id)]
"""One level of a topic."""


class Sparkplug(Section):
    """The station as a node and its line as a device of Sparkplug B, docs/sparkplug.md."""

    group: Annotated[Id, AfterValidator(_is_a_group)]
    """the group of nodes, such as the plant or the line"""
    node: Id
    """this station's name in the group; no other node of the group may have it"""
    device: Id = "line"
    """the name of the station's line, which is the node's one device"""
    primary_host: Id | None = None
    """the host without which nothing is sent; without it, nobody is waited for"""
