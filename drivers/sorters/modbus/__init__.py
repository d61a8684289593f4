"""A cell by Modbus TCP or RTU: see :mod:`drivers.sorters.modbus.server`."""

from drivers.sorters.modbus.server import ModbusSettings, ModbusSorter

__all__ = ["ModbusSettings", "ModbusSorter"]
