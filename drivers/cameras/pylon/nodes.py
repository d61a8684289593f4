"""pypylon's node map, as the shared GenICam code wants it; the SDK's module is passed in."""

from __future__ import annotations

from typing import Any

from drivers.cameras.genicam.nodes import FeatureRefusedError, Limits

_REFUSALS = ("OutOfRangeException", "InvalidArgumentException", "AccessException", "PropertyException")
"""What the SDK raises for a value; anything else says that the camera does not answer."""


class PylonNodeMap:
    """A :class:`~drivers.cameras.genicam.nodes.NodeMap` over ``GetNodeMap()`` of a pypylon device."""

    def __init__(self, node_map: Any, genicam: Any) -> None:
        self._map = node_map
        self._genicam = genicam
        self._refusals = tuple(getattr(genicam, name) for name in _REFUSALS if hasattr(genicam, name))

    def has(self, name: str) -> bool:
        """Whether the camera has the feature and it is available now."""
        try:
            node = self._map.GetNode(name)
        except self._genicam.GenericException:
            return False
        return node is not None and bool(self._genicam.IsAvailable(node))

    def is_writable(self, name: str) -> bool:
        """Whether it can be written now."""
        return bool(self._genicam.IsWritable(self._map.GetNode(name)))

    def read(self, name: str) -> str | None:
        """Its value as text."""
        node = self._map.GetNode(name)
        return str(node.ToString()) if self._genicam.IsReadable(node) else None

    def read_now(self, name: str) -> int:
        """Its value, past the node map's memory."""
        return int(self._map.GetNode(name).GetValue(False, True))

    def write(self, name: str, value: str) -> None:
        """Raises :class:`FeatureRefusedError`."""
        try:
            self._map.GetNode(name).FromString(value)
        except self._refusals as error:
            raise FeatureRefusedError(str(error).split(" : ")[0]) from None

    def execute(self, name: str) -> None:
        """Run a command."""
        self._map.GetNode(name).Execute()

    def limits(self, name: str) -> Limits | None:
        """The range of a number."""
        node = self._map.GetNode(name)
        if not (hasattr(node, "GetMin") and hasattr(node, "GetMax")):
            return None
        try:
            step = float(node.GetInc())
        except self._genicam.GenericException:
            step = None
        return Limits(node.GetMin(), node.GetMax(), step)

    def choices(self, name: str) -> tuple[str, ...]:
        """The values of an enumeration."""
        node = self._map.GetNode(name)
        if not hasattr(node, "GetSymbolics"):
            return ()
        # GetSymbolics also lists what this model does not offer; GetSettableValues came with pypylon 26.
        values = getattr(node, "GetSettableValues", node.GetSymbolics)()
        return tuple(str(value) for value in values)
