"""The station announced to Home Assistant: one device, its sensors fed by the topics that there are anyway.

The format is Home Assistant's MQTT *device discovery*
(https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload).
"""

from __future__ import annotations

import json
import re
from typing import Any

from station.journal.values import software_version
from station.telemetry.schema import require

_COUNTS = {
    "accepted": "Accepted parts",
    "rejected": "Rejected parts",
    "faulted": "Faulted parts",
    "unacknowledged": "Parts without acknowledgement",
}


def config_topic(prefix: str, station: str) -> str:
    """Where Home Assistant looks for the announcement."""
    return f"{prefix}/device/{object_id(station)}/config"


def object_id(station: str) -> str:
    """The station's name as Home Assistant takes it: letters, digits, - and _."""
    return "inspection_" + re.sub(r"[^A-Za-z0-9_-]", "_", station)


def announcement(topic: str, station: str) -> bytes:
    """The device with its sensors. Raises ``SchemaError``."""
    whole = {
        "dev": {
            "ids": object_id(station),
            "name": station,
            "mf": "inspection-station",
            "sw": software_version(),
        },
        "o": {"name": "inspection-station", "sw": software_version()},
        "availability": [
            {
                "topic": f"{topic}/station",
                "value_template": "{{ 'online' if value_json.online else 'offline' }}",
            }
        ],
        "cmps": _sensors(topic, object_id(station)),
        "qos": 1,
    }
    require("home-assistant-1", whole)
    return json.dumps(whole, separators=(",", ":")).encode("ascii")


def _sensors(topic: str, name: str) -> dict[str, dict[str, Any]]:
    def sensor(key: str, words: str, below: str, template: str, **more: str) -> dict[str, Any]:
        return {
            "p": "sensor",
            "name": words,
            "unique_id": f"{name}_{key}",
            "state_topic": f"{topic}/{below}",
            "value_template": f"{{{{ {template} }}}}",
            **more,
        }

    total = {"state_class": "total_increasing", "unit_of_measurement": "parts"}
    measured = {"state_class": "measurement"}
    sensors = {
        "state": sensor("state", "State", "state", "value_json.state"),
        "reason": sensor("reason", "Reason", "state", "value_json.reason[:255]"),
        "recipe": sensor("recipe", "Recipe", "state", "value_json.recipe"),
        "yield": sensor(
            "yield", "Yield", "gauges", "(value_json['yield'] * 100) | round(1)", unit_of_measurement="%",
            **measured,
        ),
        "rate": sensor(
            "rate", "Parts per second", "gauges", "value_json.parts_per_s | round(2)",
            unit_of_measurement="1/s", **measured,
        ),
        "verdict": sensor(
            "verdict", "Trigger to verdict, p95", "gauges", "value_json.verdict_ms.p95 | round(1)",
            unit_of_measurement="ms", device_class="duration", **measured,
        ),
    }  # fmt: skip
    sensors["engine_state"] = sensor("engine_state", "State of the engine", "engines", "value_json.state")
    sensors["trial"] = sensor(
        "trial", "Parts of the engine in trial", "engines", "value_json.trial_parts | default(0, true)",
        unit_of_measurement="parts", **measured,
    )  # fmt: skip
    for key, words in _COUNTS.items():
        sensors[key] = sensor(key, words, "gauges", f"value_json.parts.{key}", **total)
    return sensors
