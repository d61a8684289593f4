"""A mosquitto of its own for measurements, on a free port of this machine."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from pathlib import Path

from station.telemetry.schema import TelemetryError


class Broker:
    """A broker with persistence, which can be killed and started again. Raises :class:`TelemetryError`."""

    def __init__(self, folder: Path) -> None:
        """``folder``: for its configuration, its log and what it keeps."""
        found = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        if found is None:
            raise TelemetryError("mosquitto is not installed: apt-get install mosquitto")
        folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._folder = folder
        (folder / "mosquitto.conf").write_text(
            f"user {getpass.getuser()}\nlistener {self.port} 127.0.0.1\nallow_anonymous true\n"
            f"set_tcp_nodelay true\npersistence true\npersistence_location {folder}/\nautosave_interval 5\n"
        )
        self._command = [found, "-c", str(folder / "mosquitto.conf")]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it listens a moment later."""
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def kill(self) -> None:
        """End it as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
