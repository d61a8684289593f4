"""The node map of the GenICam reference implementation, as the shared GenICam code wants it."""

from __future__ import annotations

from typing import Any

from drivers.cameras.genicam.nodes import FeatureRefusedError, Limits

_REFUSALS = ("OutOfRangeException", "InvalidArgumentException", "AccessException", "PropertyException")
"""What the library raises for a value; anything else says that the camera does not answer."""


class GenapiNodeMap:
    """A :class:`~drivers.cameras.genicam.nodes.NodeMap` over ``remote_device.node_map`` of an acquirer."""

    def __init__(self, node_map: Any, genapi: Any) -> None:
        self._map = node_map
        self._genapi = genapi
        self._refusals = tuple(getattr(genapi, name) for name in _REFUSALS if hasattr(genapi, name))

    def has(self, name: str) -> bool:
        """Whether the camera has the feature and it is available now."""
        access = self._genapi.EAccessMode
        return bool(self._map.has_node(name)) and self._access(name) not in (access.NI, access.NA)

    def is_writable(self, name: str) -> bool:
        """Whether it can be written now."""
        access = self._genapi.EAccessMode
        return self._access(name) in (access.WO, access.RW)

    def read(self, name: str) -> str | None:
        """Its value as text."""
        access = self._genapi.EAccessMode
        if self._access(name) not in (access.RO, access.RW):
            return None
        return str(self._map.get_node(name).to_string())

    def read_now(self, name: str) -> int:
        """Its value, past the node map's memory."""
        return int(self._map.get_node(name).get_value(False, True))

    def write(self, name: str, value: str) -> None:
        """Raises :class:`FeatureRefusedError`."""
        node = self._map.get_node(name)
        if not hasattr(node, "from_string"):
            raise FeatureRefusedError("it is not a value")
        try:
            node.from_string(value)
        except self._refusals as error:
            raise FeatureRefusedError(str(error).split(" : ")[0]) from None

    def execute(self, name: str) -> None:
        """Run a command."""
        self._map.get_node(name).execute()

    def limits(self, name: str) -> Limits | None:
        """The range of a number."""
        node = self._map.get_node(name)
        if not (hasattr(node, "min") and hasattr(node, "max")):
            return None
        try:
            step = float(node.inc)
        except (self._genapi.GenericException, AttributeError):
            step = None
        return Limits(node.min, node.max, step)

    def choices(self, name: str) -> tuple[str, ...]:
        """The values of an enumeration that can be chosen now."""
        node = self._map.get_node(name)
        if not hasattr(node, "symbolics"):
            return ()
        access = self._genapi.EAccessMode
        absent = (access.NI, access.NA)
        return tuple(
            str(value)
            for value in node.symbolics
            if node.get_entry_by_name(value).get_access_mode() not in absent
        )

    def _access(self, name: str) -> Any:
        return self._genapi.EAccessMode(self._map.get_node(name).get_access_mode())
