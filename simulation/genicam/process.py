"""A camera that is a process of its own, switched on and off like one."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence


class CameraProcess:
    """A program that says ``ready`` when it is there."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self.process: subprocess.Popen[str]

    def start(self) -> None:
        """Switch it on."""
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert said == "ready\n", f"the camera did not start: {said}"

    def kill(self) -> None:
        """As a power cut does."""
        self.process.kill()
        self.process.communicate()
