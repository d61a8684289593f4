"""A cell behind an MQTT broker: topics, messages as JSON, and the client (docs/mqtt-protocol.md)."""

from drivers.sorters.mqtt.client import MqttSettings, MqttSorter

__all__ = ["MqttSettings", "MqttSorter"]
