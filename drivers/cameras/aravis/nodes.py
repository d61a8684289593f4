"""Aravis's node map, as the shared GenICam code wants it; the library's modules are passed in."""

from __future__ import annotations

from typing import Any

from drivers.cameras.genicam.nodes import FeatureRefusedError, Limits


class AravisNodeMap:
    """A :class:`~drivers.cameras.genicam.nodes.NodeMap` over ``get_genicam()`` of a device.

    The library's memory of registers is off: every value is asked of the camera.
    """

    def __init__(self, device: Any, aravis: Any, glib: Any) -> None:
        self._map = device.get_genicam()
        self._aravis = aravis
        self._glib = glib
        device.set_register_cache_policy(aravis.RegisterCachePolicy.DISABLE)
        # Off in the library's default: a value out of range would be sent to the camera.
        device.set_range_check_policy(aravis.RangeCheckPolicy.ENABLE)

    def has(self, name: str) -> bool:
        """Whether the camera has the feature and it is available now."""
        node = self._map.get_node(name)
        return isinstance(node, self._aravis.GcFeatureNode) and bool(
            node.is_implemented() and node.is_available()
        )

    def is_writable(self, name: str) -> bool:
        """Whether it can be written now."""
        access = self._aravis.GcAccessMode
        node = self._map.get_node(name)
        return node.get_actual_access_mode() in (access.RW, access.WO) and not node.is_locked()

    def read(self, name: str) -> str | None:
        """Its value as text."""
        node = self._map.get_node(name)
        writes_only = node.get_actual_access_mode() == self._aravis.GcAccessMode.WO
        if writes_only or isinstance(node, self._aravis.GcCommand):
            return None
        return str(node.get_value_as_string())

    def read_now(self, name: str) -> int:
        """Its value; a camera's own, there is no memory."""
        return int(self._map.get_node(name).get_value())

    def write(self, name: str, value: str) -> None:
        """Raises :class:`FeatureRefusedError`."""
        node = self._map.get_node(name)
        if isinstance(node, self._aravis.GcBoolean):
            value = {"1": "true", "0": "false"}.get(value, value)
        try:
            node.set_value_from_string(value)
        except self._glib.Error as error:
            if self._is_refusal(error):
                raise FeatureRefusedError(error.message) from None
            raise

    def execute(self, name: str) -> None:
        """Run a command."""
        self._map.get_node(name).execute()

    def limits(self, name: str) -> Limits | None:
        """The range of a number."""
        node = self._map.get_node(name)
        if isinstance(node, self._aravis.GcEnumeration) or not hasattr(node, "get_min"):
            return None
        step = node.get_inc() if hasattr(node, "get_inc") else None
        whole = isinstance(node, self._aravis.GcInteger)
        return Limits(node.get_min(), node.get_max(), step if whole else None)

    def choices(self, name: str) -> tuple[str, ...]:
        """The values of an enumeration that can be chosen now."""
        node = self._map.get_node(name)
        if not isinstance(node, self._aravis.GcEnumeration):
            return ()
        return tuple(node.dup_available_string_values())

    def _is_refusal(self, error: Any) -> bool:
        """Whether the camera or its description does not take the value; else it does not answer."""
        code = self._aravis.DeviceError
        if error.matches(self._aravis.device_error_quark(), code.TIMEOUT):
            return False
        return not any(
            error.matches(self._aravis.device_error_quark(), one)
            for one in (code.NOT_CONNECTED, code.NOT_CONTROLLER, code.TRANSFER_ERROR)
        )
