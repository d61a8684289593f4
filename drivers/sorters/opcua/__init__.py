"""A cell by OPC UA: see :mod:`drivers.sorters.opcua.server`."""

from drivers.sorters.opcua.server import OpcUaSettings, OpcUaSorter

__all__ = ["OpcUaSettings", "OpcUaSorter"]
