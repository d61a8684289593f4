"""Output lines of a camera in a process of its own: set while a frame is awaited."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from drivers.cameras.interface import CameraConfigError, CameraLostError
from drivers.cameras.isolated import IsolatedCamera
from drivers.cameras.settings import Mode
from drivers.sorters.interface import Outcome, Result
from drivers.sorters.plain_io import CameraLinesSettings, CameraLinesSorter

pytest.importorskip("pypylon")
from drivers.cameras.pylon import PylonCamera, PylonSettings
from tests.waiting import PATIENCE_S


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[IsolatedCamera]:
    """Pylon's emulator, which has the nodes of a Basler camera's lines; it waits for triggers."""
    cv2.imwrite(str(tmp_path / "frame.png"), np.full((64, 64), 90, np.uint8))
    settings = PylonSettings(emulation=tmp_path, mode=Mode.CELL)
    made = IsolatedCamera(PylonCamera, settings, description="emulator", triggered_by_wire=False, open_s=60.0)
    yield made
    made.close()


def awaits_a_frame(camera: IsolatedCamera) -> None:
    with pytest.raises(CameraLostError):  # at the end of the test
        camera.grab(30.0)


def test_lines_are_set_while_a_frame_is_awaited_and_mistakes_are_named(camera: IsolatedCamera) -> None:
    with pytest.raises(CameraLostError, match=r"line Line2: it is not open"):
        camera.set_output("Line2", True)
    camera.open()
    camera.arm()
    waiting = threading.Thread(target=awaits_a_frame, args=(camera,))
    waiting.start()
    time.sleep(0.1)
    for on in (True, False):
        camera.set_output("Line2", on)
    with pytest.raises(CameraConfigError, match="Line9"):
        camera.set_output("Line9", True)
    assert waiting.is_alive(), "no line waited for the frame"
    assert camera.process_id is not None
    os.kill(camera.process_id, signal.SIGKILL)
    with pytest.raises(CameraLostError, match="its process has ended"):
        camera.set_output("Line2", True)
    waiting.join()


def test_results_on_the_lines_of_an_isolated_camera_are_shown_and_come_back_with_it(
    camera: IsolatedCamera,
) -> None:
    camera.open()
    camera.arm()
    sorter = CameraLinesSorter(CameraLinesSettings(ok="Line2", ng="Line3", pulse_ms=20.0))
    sorter.use(camera)
    sorter.open()
    sorter.set_ready(True)
    for part_id, is_there in ((1, True), (2, False), (3, True)):
        if is_there and part_id > 1:
            camera.open()
            until = time.monotonic() + 20
            while not sorter.health().connected:
                assert time.monotonic() < until
                time.sleep(0.01)
        elif not is_there:
            camera.close()
        sorter.send(Result(part_id, Outcome.ACCEPT, 1, 0, ""))
        receipt = sorter.wait_receipt(PATIENCE_S)
        assert receipt is not None
        assert (receipt.part_id, receipt.acknowledged) == (part_id, is_there)
    sorter.close()
