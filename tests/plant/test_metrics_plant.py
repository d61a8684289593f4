"""A real Prometheus reads a real station, and every expression of the dashboard finds something."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from station.metrics.series import SERIES
from tests.plant.conftest import CONFIG, SmallPlant

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana.json"
NOT_HERE = {
    "station_machine_temperature_celsius", "station_camera_temperature_celsius",
    *(one.name for one in SERIES if one.name.startswith("station_telemetry_")), "station_drift_ratio",
    "station_installed_engines_info", "station_trial_parts", "station_trial_parts_wanted",
}  # fmt: skip
"""A virtual machine and a folder of pictures have no thermometer; this station sends no telemetry; drift is
looked at after 100 parts; and no engine has come home."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


@pytest.fixture
def port(small_plant: SmallPlant) -> int:
    """A station with metrics, and a cell."""
    port = free_port()
    images = CONFIG.replace("images: {save: none}", "images: {save: faults-and-rejects}")
    (small_plant.folder / "station.yaml").write_text(images + f"metrics: {{port: {port}}}\n")
    small_plant.start_cell(rate_hz=20.0)
    return port


@pytest.fixture
def prometheus(port: int, tmp_path: Path) -> Iterator[str]:
    own = free_port()
    file = tmp_path / "prometheus.yml"
    file.write_text(
        "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
        "scrape_configs:\n"
        f"  - {{job_name: station, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n"
    )
    command = [
        "prometheus", f"--config.file={file}", f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{own}", "--log.level=warn",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield f"http://127.0.0.1:{own}"
    process.kill()
    process.wait()


def query(prometheus: str, expression: str) -> list[dict[str, Any]]:
    url = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    try:
        answer = json.loads(read(url))
    except OSError as error:
        detail = error.read().decode() if hasattr(error, "read") else error
        raise AssertionError(f"{expression}: {detail}") from None
    assert answer["status"] == "success"
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def wait_for(prometheus: str, expression: str, within_s: float = 30.0) -> None:
    until = time.monotonic() + within_s
    while True:
        try:
            if query(prometheus, expression):
                return
        except (AssertionError, OSError):
            pass
        assert time.monotonic() < until, f"{expression} never became true"
        time.sleep(0.1)


def test_every_expression_of_the_dashboard_finds_a_real_station(
    small_plant: SmallPlant, port: int, prometheus: str
) -> None:
    small_plant.start_station()
    wait_for(prometheus, "sum(station_receipts_total) > 20 and sum(station_rejects_total) > 2", 60)
    time.sleep(0.5)
    answer = read(f"http://127.0.0.1:{port}/metrics")
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=answer, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    seen = {line.split()[2] for line in answer.splitlines() if line.startswith("# TYPE station_")}
    assert seen == {one.name for one in SERIES} - NOT_HERE - {"station_store_limit_bytes"} | (
        seen & {"station_store_limit_bytes"}
    )
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$instance", ".*").replace("$__rate_interval", "1m")
            found = query(prometheus, expression)
            if not any(name in expression for name in NOT_HERE):
                assert found, f"{panel['title']}: {expression}"
    assert query(prometheus, "station_triggers_total - station_parts_in_hand > 20")
    assert query(prometheus, 'station_state{state="single execution"} or station_state{state="ready"}')


def test_a_port_in_use_ends_the_start_and_says_what_to_do(small_plant: SmallPlant, port: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        code, out = small_plant.station_to_its_end()
    assert code == 2
    assert f"metrics: 127.0.0.1 port {port}: Address already in use" in out
    assert "correct `metrics` in the configuration" in out
