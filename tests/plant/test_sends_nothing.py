"""Nothing is sent home: commands under a watch of their sockets, with a home folder that was empty before."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest

from retraining.data.dataset import Dataset, Picture, save_dataset
from retraining.data.manifest import file_digest

ENGINE = Path(__file__).parents[2] / "engines" / "servo-motor-housing"
FAMILIES = "|".join(("AF_INET", "AF_INET6", "AF_PACKET", "AF_VSOCK"))
INTERNET = re.compile(rf"\b(?:socket\((?:{FAMILIES})\b|sa_family=(?:{FAMILIES})\b)")
RESOLVER = re.compile(r'sun_path="[^"]*resolve')
"""A look-up that systemd-resolved is asked for leaves through a local socket."""
HARMLESS = re.compile(r"^(\.cache/(matplotlib|inspection-station)|genicam_xml_cache)/")
"""Made of what is on this machine: the list of fonts, the measured choice, a camera's description."""


@dataclass
class Watched:
    """What a command did while it was watched."""

    code: int
    output: str
    internet: list[str]
    """System calls that make or address an internet socket, or ask a resolver."""
    written: list[str]
    """Files that are in the home folder now."""

    def sent_nothing(self) -> None:
        assert self.code == 0, self.output
        assert self.internet == []
        assert [name for name in self.written if not HARMLESS.match(name)] == []


def watch(folder: Path, *command: str, **settings: Any) -> Watched:
    """Run a command and all that it starts under strace, without any of our switches in its environment."""
    strace = shutil.which("strace")
    assert strace, "these tests need strace: bash deploy/system-packages.sh tests"
    home, seen = folder / "home", folder / "calls"
    home.mkdir(parents=True)
    ours = set(_switches()) | {"CI", "XDG_CACHE_HOME", "STATION_CACHE", "MPLCONFIGDIR"}
    clean = {name: value for name, value in os.environ.items() if name not in ours}
    clean |= {"HOME": str(home), "COLUMNS": "200"}
    calls = "trace=socket,connect,bind,sendto,sendmsg,sendmmsg"
    done = subprocess.run(
        [strace, "-f", "--seccomp-bpf", "-qq", "-e", calls, "-e", "signal=none", "-o", str(seen), *command],
        capture_output=True, text=True, timeout=250, env=clean, check=False, **settings,
    )  # fmt: skip
    lines = seen.read_text(errors="replace").splitlines()
    found = [line for line in lines if INTERNET.search(line) or RESOLVER.search(line)]
    written = sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())
    return Watched(done.returncode, done.stdout + done.stderr, found, written)


def _switches() -> dict[str, str]:
    from station.quiet import SWITCHES

    return SWITCHES


def python(folder: Path, code: str) -> Watched:
    return watch(folder, sys.executable, "-c", code)


def station(folder: Path, *words: str, **settings: Any) -> Watched:
    return watch(folder, sys.executable, "-m", "station.cli", *words, **settings)


def retrain(folder: Path, *words: object) -> Watched:
    code = "from retraining.cli import main; main()"
    return watch(folder, sys.executable, "-c", code, *map(str, words))


def test_the_watch_sees_a_look_up_even_of_a_child(tmp_path: Path) -> None:
    child = "import socket\ntry: socket.getaddrinfo('example.invalid', 80)\nexcept OSError: pass"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    seen = python(tmp_path, code)
    assert seen.code == 0, seen.output
    assert any("htons(53)" in line or "resolve" in line for line in seen.internet), seen.internet


@pytest.mark.parametrize("room", ["station.engines", "deploy", "retraining"])
def test_any_room_that_is_imported_first_silences_the_libraries(room: str, tmp_path: Path) -> None:
    # One second: both libraries begin to send from a thread of their own.
    python(tmp_path, f"import {room}, openvino, onnxruntime, time; time.sleep(1)").sent_nothing()


def test_processes_that_are_started_are_silent_too(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(
        "import multiprocessing, time, deploy\n"
        "def load():\n"
        "    import openvino, onnxruntime\n"
        "    time.sleep(1)\n"
        "if __name__ == '__main__':\n"
        "    for way in ('spawn', 'fork'):\n"
        "        child = multiprocessing.get_context(way).Process(target=load)\n"
        "        child.start(); child.join(); assert child.exitcode == 0\n"
    )
    watch(tmp_path, sys.executable, str(tmp_path / "main.py")).sent_nothing()


def test_these_tests_themselves_are_silent() -> None:
    assert {name: os.environ.get(name) for name in _switches()} == _switches()
    assert sys.modules["openvino_telemetry"] is None


FOLDER = "{kind: folder, path: frames, repeat: true}"
EMULATOR = "{kind: pylon, emulation: frames, width: 32, height: 64}"


@pytest.mark.parametrize(("backend", "camera"), [("onnxruntime-cpu", FOLDER), ("openvino", EMULATOR)])
def test_a_run_of_the_station_sends_nothing(small_plant: Any, backend: str, camera: str) -> None:
    config = small_plant.folder / "station.yaml"
    written = config.read_text()
    assert FOLDER in written
    config.write_text(written.replace("onnxruntime-cpu", backend).replace(FOLDER, camera))
    small_plant.start_cell(parts=12)
    ran = station(small_plant.folder / "watch", "run", "--config", str(config), "--plain", "--parts", "12")
    ran.sent_nothing()
    assert len(small_plant.records()) == 12


def test_a_check_sends_nothing(small_plant: Any) -> None:
    small_plant.start_cell()
    config = str(small_plant.folder / "station.yaml")
    station(small_plant.folder / "watch", "check", "--config", config).sent_nothing()


def test_engines_that_are_listed_and_proven_send_nothing(tiny_engine: Path, tmp_path: Path) -> None:
    seen = station(tmp_path / "watch", "engines", "backends", str(tiny_engine), "--prove", "--seconds", "0.5")
    seen.sent_nothing()
    assert "openvino" in seen.output


def test_a_training_sends_nothing(tmp_path: Path) -> None:
    entries = []
    rng = np.random.default_rng(5)
    (tmp_path / "pictures").mkdir()
    for number in range(36):
        kind, split = ("bright", "dark")[number % 2], ("train", "validation", "test")[number // 2 % 3]
        path = tmp_path / "pictures" / f"{number}.png"
        picture = rng.normal(190 if kind == "bright" else 60, 12, (32, 32))
        cv2.imwrite(str(path), np.clip(picture, 0, 255).astype(np.uint8))
        entries.append(Picture(path.name, file_digest(path), kind, str(number), "folder", "person", split))
    dataset = Dataset(tmp_path / "pictures", ("bright", "dark"), tuple(entries))
    save_dataset(dataset, tmp_path / "set")
    seen = retrain(
        tmp_path / "watch", "classifier", "--dataset", tmp_path / "set", "--network", "sca-cnn", "--side", 32,
        "--epochs", 1, "--batch", 6, "--precision", "fp32", "--onnx", "--out", tmp_path / "run",
    )  # fmt: skip
    seen.sent_nothing()
    assert (tmp_path / "run" / "model.onnx").is_file()


def test_a_local_ray_speaks_to_this_machine_only(tmp_path: Path) -> None:
    code = "from retraining.experiments.pools import RayPool; RayPool('local', 1, 1).close()"
    seen = python(tmp_path, code)
    assert seen.code == 0, seen.output
    own = {entry.address for entries in psutil.net_if_addrs().values() for entry in entries}
    addressed = {word for line in seen.internet for word in re.findall(r'inet_addr\("([^"]+)"\)', line)}
    # Ray connects an unbound UDP socket there to learn its own address; that sends nothing.
    assert addressed <= own | {"0.0.0.0", "8.8.8.8"}
    assert not [line for line in seen.internet if "8.8.8.8" in line and "connect(" not in line]


@pytest.mark.slow
def test_a_benchmark_with_its_rivals_sends_nothing(tmp_path: Path) -> None:
    words = ("bench", "--rounds", "1", "--seconds", "0.1", "--engines", str(ENGINE.parent))
    recipes = ("--recipes", str(ENGINE.parents[1] / "recipes"))
    station(tmp_path / "watch", *words, *recipes).sent_nothing()
