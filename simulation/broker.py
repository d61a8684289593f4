"""A real MQTT broker of its own, mosquitto, for a simulated plant: started, killed and started again."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from drivers.errors import InspectionError

KEEPING = ("allow_anonymous true", "persistence true", "persistence_location ./")
"""Lines for a broker that keeps what it holds, and remembers it when it is started again."""


class NoBrokerError(InspectionError):
    """There is no mosquitto here, or it does not listen."""


def free_port() -> int:
    """A TCP port of this machine on which nobody listens."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@dataclass
class Broker:
    """A mosquitto on 127.0.0.1, on a port that stays the same."""

    folder: Path
    """For its configuration and its log."""
    lines: list[str] = field(default_factory=list)
    """Of its configuration, beside the port; none: everybody may do everything."""
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / "mosquitto.log"

    def start(self) -> None:
        """Start it and wait until it listens. Raises :class:`NoBrokerError`."""
        program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            raise NoBrokerError("mosquitto is not installed; run apt-get install mosquitto")
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "mosquitto.conf"
        lines = [
            f"user {getpass.getuser()}",
            f"listener {self.port} 127.0.0.1",
            "set_tcp_nodelay true",
            *(self.lines or ["allow_anonymous true"]),
        ]
        file.write_text("\n".join(lines) + "\n")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [program, "-v", "-c", file.name], cwd=self.folder, stdout=log, stderr=log
            )
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with socket.socket() as trying:
                if trying.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise NoBrokerError(f"mosquitto does not listen: {self.log.read_text()}")

    def kill(self) -> None:
        """End it as a power cut does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
