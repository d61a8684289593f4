"""A camera in a process of its own, whatever its library: how long a call may take, and who is told so."""

import os
import struct
import time
from pathlib import Path

from drivers import heartbeat
from drivers.cameras.folder import FolderCamera, FolderSettings
from drivers.cameras.isolated import IsolatedCamera


class SlowToOpen(FolderCamera):
    """A library that searches the network for a while."""

    def open(self) -> None:
        time.sleep(0.3)
        super().open()


class SlowToStart(FolderCamera):
    """A library that takes long to load, as on a busy machine."""

    def __init__(self, settings: FolderSettings) -> None:
        time.sleep(1.0)
        super().__init__(settings)


def _deadline_of(name: bytes) -> int:
    """Until when the thread of this name may be silent, ns."""
    memory = os.pread(heartbeat.file_descriptor(), heartbeat.SIZE, 0)
    for slot in struct.iter_unpack("<4q32s", memory):
        if slot[0] == heartbeat.ALIVE and slot[4].rstrip(b"\0") == name:
            return int(slot[heartbeat.DEADLINE])
    raise AssertionError(f"{name!r} is not watched")


def test_a_thread_that_opens_a_slow_camera_is_not_taken_for_one_that_hangs(tmp_path: Path) -> None:
    # The time that a call may take is bounded by the camera itself: its process is ended then.
    camera = IsolatedCamera(
        SlowToOpen, FolderSettings(path=tmp_path), description="slow", triggered_by_wire=False, open_s=50.0
    )
    (tmp_path / "1.tif").write_bytes(b"")
    heartbeat.begin("looks at a camera")
    try:
        begun = time.monotonic_ns()
        camera.open()
        assert _deadline_of(b"looks at a camera") > begun + 50e9
    finally:
        camera.close()
        heartbeat.end()


def test_the_start_of_the_process_is_not_counted_as_opening(tmp_path: Path) -> None:
    (tmp_path / "1.tif").write_bytes(b"")
    camera = IsolatedCamera(
        SlowToStart, FolderSettings(path=tmp_path), description="slow", triggered_by_wire=False, open_s=0.8
    )
    camera.open()
    camera.close()
