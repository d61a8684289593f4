"""Cameras of a plant that the station reaches by the libraries of real cameras, each a process of its own."""

from __future__ import annotations

import atexit
import fcntl
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from simulation.genicam import gentl_camera
from simulation.genicam.process import CameraProcess

SERIAL = "GV11"
LOOPBACK = "127.0.0.1"
LOCK = Path(tempfile.gettempdir()) / "gige-camera.lock"
"""Every GigE camera has the same port, so that an address has one: on loopback, one at a time."""


class GigeOnCable:
    """A GigE camera, in a network of its own where this program may make one: then its cable can be cut."""

    def __init__(self, folder: Path) -> None:
        self._space = f"camera{os.getpid()}"
        self._link = f"cam{os.getpid()}"
        self.is_on_cable = _ip("netns", "add", self._space)
        net = f"10.213.{os.getpid() % 256}"
        self.address = f"{net}.2" if self.is_on_cable else LOOPBACK
        self._lock = LOCK.open("w")
        atexit.register(self.close)  # also where no plant was started: a cable is the machine's
        if self.is_on_cable:
            self._lay_cable(f"{net}.1/30", f"{net}.2/30")
        else:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        prefix = ("ip", "netns", "exec", self._space) if self.is_on_cable else ()
        files = [str(folder / name) for name in ("pool", "cell.place", "camera.jsonl", "switches")]
        command = (*prefix, sys.executable, "-m", "simulation.genicam.gige", self.address, SERIAL, *files)
        self.camera = CameraProcess(command)

    @property
    def section(self) -> str:
        """The keys of the camera's section."""
        return f"kind: aravis, address: {self.address}, serial: {SERIAL}, packet_size: 8000"

    @property
    def environment(self) -> dict[str, str]:
        """What the station's process needs."""
        return {}

    def cut(self) -> None:
        """Pull the plug out of the camera."""
        assert self.is_on_cable, "only root can lay a cable and cut it"
        _require_ip("-n", self._space, "link", "set", "eth", "down")

    def mend(self) -> None:
        """And in again."""
        _require_ip("-n", self._space, "link", "set", "eth", "up")

    def close(self) -> None:
        """Switch it off and take the cable away."""
        atexit.unregister(self.close)
        with suppress(AttributeError):  # it was never started
            self.camera.kill()
        if self.is_on_cable:
            _ip("netns", "del", self._space)
        self._lock.close()

    def _lay_cable(self, ours: str, theirs: str) -> None:
        ends = ("type", "veth", "peer", "name", "eth", "netns", self._space)
        _require_ip("link", "add", self._link, "mtu", "9000", *ends)
        _require_ip("addr", "add", ours, "dev", self._link)
        _require_ip("link", "set", self._link, "up")
        _require_ip("-n", self._space, "addr", "add", theirs, "dev", "eth")
        _require_ip("-n", self._space, "link", "set", "eth", "mtu", "9000")
        for device in ("lo", "eth"):
            _require_ip("-n", self._space, "link", "set", device, "up")


class GentlCamera:
    """A camera behind a GenTL producer (``simulation/genicam/gentl.c``)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        sources = Path(gentl_camera.__file__).parent
        spec = importlib.util.find_spec("genicam")
        assert spec is not None, "there is no GenTL producer; pip install 'inspection-station[genicam]'"
        assert spec.origin is not None
        self._producer = folder / "plant.cti"
        source = sources / "gentl.c"
        subprocess.run(
            ["cc", "-O2", "-shared", "-fPIC", "-o", str(self._producer), str(source), "-ldl"], check=True
        )
        self.environment = {
            "GENTL_REAL": str(Path(spec.origin).parent / "viky.cti"),
            "GENTL_CAMERA": os.path.relpath(folder / "camera.sock", folder),  # such addresses are short
            "GENTL_FRAME": str(folder / "camera.frame"),
            "GENTL_XML": str(sources / "gentl.xml"),
            "GENTL_SWITCHES": str(folder / "switches"),
        }
        """What the station's process needs."""
        files = [str(folder / name) for name in ("pool", "cell.place", "camera.jsonl", "switches")]
        command = [sys.executable, "-m", "simulation.genicam.gentl_camera"]
        socket = os.path.relpath(folder / "camera.sock")
        self.camera = CameraProcess([*command, socket, self.environment["GENTL_FRAME"], *files])

    @property
    def section(self) -> str:
        """The keys of the camera's section."""
        return f'kind: harvesters, producer: {self._producer}, serial: "1"'

    def close(self) -> None:
        """Switch it off."""
        with suppress(AttributeError):  # it was never started
            self.camera.kill()


PlantCamera = GigeOnCable | GentlCamera
FAMILIES: dict[str, Callable[[Path], PlantCamera]] = {"aravis": GigeOnCable, "harvesters": GentlCamera}


def _ip(*words: str) -> bool:
    """Whether it could be done."""
    with suppress(FileNotFoundError):
        return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0
    return False


def _require_ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
