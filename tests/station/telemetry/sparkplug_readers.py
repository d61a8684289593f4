"""Readers of Sparkplug B that are not ours: Eclipse Tahu's for Node.js. Without them, a test skips."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

NODE = Path(__file__).resolve().parents[2] / "node"


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    """Run one of the scripts for Node.js."""
    if shutil.which("node") is None or not (NODE / "node_modules" / "sparkplug-payload").exists():
        pytest.skip("sparkplug-payload is not installed: `npm install --prefix tests/node`")
    return subprocess.Popen(
        ["node", str(NODE / script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )


class Tahu:
    """Eclipse Tahu's ``sparkplug-payload``: one process, one question at a time."""

    def __init__(self) -> None:
        self._process = start("sparkplug_reader.js")

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def read(self, payload: bytes) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._ask(base64.b64encode(payload).decode()))
        return found

    def write(self, payload: dict[str, Any]) -> bytes:
        return base64.b64decode(self._ask("=" + json.dumps(payload)))

    def close(self) -> None:
        self._process.communicate(timeout=10)
