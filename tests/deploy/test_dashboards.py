"""Alerts and dashboard of a station are right for Prometheus itself, and name only series that there are."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from station.faults import BY_CODE
from station.metrics.series import SERIES

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy" / "alerts.yml"
CASES = ROOT / "tests" / "deploy" / "alerts_test.yml"
DASHBOARD = ROOT / "deploy" / "grafana.json"
_ENDINGS = {"histogram": ("_bucket", "_sum", "_count")}
NAMES = {one.name + ending for one in SERIES for ending in _ENDINGS.get(one.kind, ("",))}


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return group["rules"]


def expressions() -> list[str]:
    return [
        target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]
    ]


def promtool(*words: str) -> str:
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_every_alert_is_a_rule_that_prometheus_takes() -> None:
    assert f"SUCCESS: {len(alerts())} rules found" in promtool("check", "rules", str(ALERTS))


def test_every_alert_fires_when_it_should_and_a_healthy_station_is_silent() -> None:
    promtool("test", "rules", str(CASES))
    healthy, *cases = yaml.safe_load(CASES.read_text())["tests"]
    names = [one["alert"] for one in alerts()]
    assert [one["alertname"] for one in healthy["alert_rule_test"]] == names
    assert [one["name"] for one in cases] == names
    for case in cases:
        silent, fires = case["alert_rule_test"]
        assert "exp_alerts" not in silent
        assert fires["exp_alerts"]


def test_alerts_and_dashboard_name_only_series_and_codes_that_there_are() -> None:
    for text in (*(one["expr"] for one in alerts()), *expressions()):
        assert set(re.findall(r"\bstation_[a-z_]+", text)) <= NAMES, text
    said = ALERTS.read_text()
    assert set(re.findall(r"\bF[0-9]{3}\b", said)) <= BY_CODE.keys()
    assert all(one["annotations"].keys() == {"summary", "action"} for one in alerts())


def test_every_panel_has_its_own_place_on_the_dashboard() -> None:
    places = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & places, panel["title"]
        places |= cells
