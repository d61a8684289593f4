"""The cable between station and GigE camera is cut and mended: two network namespaces with a wire between."""

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator

import pytest

from drivers.cameras import FAMILIES
from tests.drivers.cameras.gige_camera import GigeCamera

if FAMILIES.entry("aravis").missing or os.geteuid() != 0:
    pytest.skip("needs Aravis, and root for a network of its own", allow_module_level=True)

CAMERA, HOST = f"cam{os.getpid()}", f"host{os.getpid()}"
ADDRESS = "192.168.77.2"
STATION = f"""
    import json, sys, threading, time
    from drivers.cameras.aravis import AravisSettings, aravis_camera
    from station.acquisition import Acquisition, NoFrameError
    from station.supervision import Readiness
    began = time.monotonic()
    def say(*words):
        print(json.dumps([round(time.monotonic() - began, 2), *words]), flush=True)
    readiness = Readiness(lambda ready, reason: say("ready" if ready else "not ready", reason))
    camera = aravis_camera(AravisSettings(address="{ADDRESS}", serial="GV07"))
    looked = Acquisition(camera, readiness, 0.5, (0.2, 0.5, 1.0))
    looked.open()
    readiness.clear(Readiness.STARTING)
    stopping = threading.Event()
    while time.monotonic() - began < float(sys.argv[1]):
        if not looked.is_there(stopping):
            continue
        try:
            looked.prepare()
            frame = looked.expose()
            say("frame" if frame.complete else "incomplete", frame.problem)
        except NoFrameError as error:
            say("fault", str(error))
        time.sleep(0.05)
    looked.close()
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def wire() -> Iterator[None]:
    try:
        ip("netns", "add", CAMERA)
    except subprocess.CalledProcessError:
        pytest.skip("this machine gives no network namespaces")
    try:
        ip("netns", "add", HOST)
        ends = (
            "link",
            "add",
            "vcam",
            "netns",
            CAMERA,
            "type",
            "veth",
            "peer",
            "name",
            "vhost",
            "netns",
            HOST,
        )
        ip(*ends)
        for name, end, address in ((CAMERA, "vcam", ADDRESS), (HOST, "vhost", "192.168.77.1")):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", end)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", end, "up")
        yield
    finally:
        for name in (CAMERA, HOST):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("cut_s", [2.0, 7.0])
def test_a_cable_that_is_cut_costs_faults_that_are_written_down_and_no_restart(
    wire: None, cut_s: float
) -> None:
    camera = GigeCamera(160, 100, prefix=("ip", "netns", "exec", CAMERA), address=ADDRESS)
    program = [sys.executable, "-c", textwrap.dedent(STATION), str(cut_s + 16)]
    try:
        with subprocess.Popen(
            ["ip", "netns", "exec", HOST, *program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as station:
            time.sleep(4.0)
            ip("-n", CAMERA, "link", "set", "vcam", "down")
            time.sleep(cut_s)
            ip("-n", CAMERA, "link", "set", "vcam", "up")
            said, errors = station.communicate(timeout=60)
    finally:
        camera.kill()
    events = [json.loads(line) for line in said.splitlines()]
    words = [event[1] for event in events]
    assert station.returncode == 0, errors
    assert "camera lost: " in errors
    lost_at = next(event[0] for event in events if event[1] == "not ready")
    ready_at = next(event[0] for event in events if event[1] == "ready" and event[0] > lost_at)
    assert words[-1] == "frame"
    assert words.count("fault") <= 2
    assert ready_at - lost_at < cut_s + 6.0
