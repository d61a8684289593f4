"""The service as it is installed: by deploy/station-service.sh, under a real systemd of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.deploy.tuf_repository import Repository

ROOT = Path(__file__).parents[2]
SYSTEMD = ROOT / "systemd"
UNIT = SYSTEMD / "station.service"
SCRIPT = ROOT / "deploy" / "station-service.sh"
LIBRARIES = "LD_LIBRARY_PATH=/srv/python/lib"
"""The interpreter of these tests may look for its library where it was built, in a home folder."""
JOURNAL = "/var/lib/station/journal.db"
AS_STATION = ("setpriv", "--reuid=station", "--regid=station", "--init-groups")
STATION = "/opt/station/current/bin/station"
PACKAGES = ("station", "drivers", "models", "retraining", "calibration", "deploy", "simulation")

RECIPE = """
name: tiny
version: 1
description: grey plates of 64 x 32 px
product: {background: none, widths_px: [32], height_px: 64, mm_per_px_x: 0.1, mm_per_px_y: 0.1}
surface: {height: 64, width: 32}
patch: {size: 16}
engine: tiny
classes:
  - {name: good, bin: 1}
  - {name: bright, bin: 2}
  - {name: dark, bin: 3}
fault_bin: 9
"""
CONFIG = """
station: {name: test}
recipe: tiny
paths:
  recipes: recipes
  engines: /var/lib/station/engines
  journal: /var/lib/station/journal.db
  images: /var/lib/station/images
  cache: /var/cache/station
camera: {kind: folder, path: /srv/plant/frames, repeat: true}
sorter: {kind: serial, port: /var/lib/station/cell.pty, ack_timeout_ms: 1000}
engine: {backend: onnxruntime-cpu, precision: fp32, threads: 1}
limits: {part_deadline_ms: 800, grab_timeout_ms: 300, stop_timeout_ms: 3000}
images: {save: rejects}
simulation: {cell: {rate_hz: 10, verdict_ms: 1500}}
"""


def systemd_says(*command: str) -> subprocess.CompletedProcess[str]:
    assert shutil.which(command[0]), f"{command[0]} is missing: bash deploy/system-packages.sh tests"
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def exposure(*files: Path, folder: Path) -> float:
    """The exposure score of the unit with the given drop-ins."""
    unit = folder / "station.service"
    unit.write_text(UNIT.read_text() + "".join(f"\n{file.read_text()}" for file in files))
    found = systemd_says("systemd-analyze", "security", "--no-pager", "--offline=true", str(unit))
    score = re.search(r"Overall exposure level for station\.service: ([\d.]+)", found.stdout)
    assert score, found.stdout + found.stderr
    return float(score[1])


def test_the_unit_exposes_little(tmp_path: Path) -> None:
    assert exposure(folder=tmp_path) <= 1.0


@pytest.mark.parametrize("name", ["gige-camera", "broker", "gpu"])
def test_what_may_be_allowed_exposes_little_more(name: str, tmp_path: Path) -> None:
    drop_in = tmp_path / "drop-in.conf"
    drop_in.write_text(
        (SYSTEMD / "drop-ins" / f"{name}.conf").read_text().replace("ADDRESSES", "192.168.1.0/24")
    )
    assert exposure(drop_in, folder=tmp_path) <= 2.0


@pytest.mark.parametrize("name", ["", "gige-camera", "broker", "gpu"])
def test_systemd_has_nothing_to_say_about_the_unit(name: str, tmp_path: Path) -> None:
    """It warns of unknown keys and values on stderr and still ends with 0."""
    command = tmp_path / "station"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    written = re.sub(r"ExecStart=\S+", f"ExecStart={command}", UNIT.read_text())
    (tmp_path / "station.service").write_text(written)
    if name:
        drop_ins = tmp_path / "station.service.d"
        drop_ins.mkdir()
        drop_in = (SYSTEMD / "drop-ins" / f"{name}.conf").read_text()
        (drop_ins / "x.conf").write_text(drop_in.replace("ADDRESSES", "192.168.1.0/24"))
    found = systemd_says("systemd-analyze", "verify", "--man=no", str(tmp_path / "station.service"))
    assert (found.returncode, found.stderr) == (0, "")


def test_rules_for_devices_match_before_they_assign() -> None:
    """Older udevs have no `udevadm verify`: a key that is misspelt is ignored there, and with it its rule."""
    match = r'(?:ACTION|SUBSYSTEMS?|DRIVER|(?:ENV|ATTR)\{\w+\}|TEST)(?:==|!=)"[^"]+"'
    assign = r'(?:GROUP|MODE|(?:ENV|ATTR)\{[\w/]+\})="[^"]+"'
    rule = re.compile(rf"{match}(, {match})*(, {assign}|, {match})*")
    lines = (SYSTEMD / "70-station.rules").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert len(rules) == 4
    assert [line for line in rules if not rule.fullmatch(line)] == []


@pytest.mark.parametrize("words", [("--help",), ("install", "--help")])
def test_help_of_the_script_has_examples(words: tuple[str, ...]) -> None:
    found = subprocess.run([SCRIPT, *words], capture_output=True, text=True, check=False)
    assert found.returncode == 0
    assert "Examples:" in found.stdout


@pytest.mark.parametrize("script", sorted((ROOT / "deploy").glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_bash(script: Path) -> None:
    assert os.access(script, os.X_OK) or script.name == "system-packages.sh"
    subprocess.run(["bash", "-n", script], check=True)


@dataclass
class Machine:
    """A machine of its own: a systemd, and what this test lets it see."""

    folder: Path
    first: int
    """Process 1 in there, by its number out here."""

    def run(self, *command: str, check: bool = True, timeout_s: float = 240) -> str:
        """Run a command there as root; what it says."""
        inside = ["nsenter", "-t", str(self.first), "--all", "--wdns=/"]
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", LIBRARIES]
        found = subprocess.run(
            [*inside, *clean, *command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
        said = found.stdout + found.stderr
        if check:
            assert found.returncode == 0, f"{command}: {said}\n{self.log()}"
        return said

    def service(self, *words: str, version: str = "1.0.0", check: bool = True) -> str:
        """Run deploy/station-service.sh of a checkout."""
        return self.run(f"/srv/checkouts/{version}/deploy/station-service.sh", *words, check=check)

    def log(self) -> str:
        return self.run("cat", "/run/station.log", check=False)

    def shows(self, name: str) -> str:
        return self.run("systemctl", "show", "station", "-p", name, "--value").strip()

    def until(self, holds: Callable[[], bool], timeout_s: float = 90) -> None:
        end = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < end, (
                self.run("systemctl", "status", "station", check=False) + self.log()
            )
            time.sleep(0.2)

    @property
    def ready(self) -> bool:
        return self.shows("ActiveState") == "active"

    def parts(self) -> int:
        """Parts of the journal, which is proven each time."""
        said = self.run(*AS_STATION, STATION, "journal", "audit", "--json", "--journal", JOURNAL, check=False)
        return int(json.loads(said)["triggers"]) if said.startswith("{") else 0

    @property
    def python(self) -> str:
        return _interpreter()[1]

    def install(self, *words: str, check: bool = True) -> str:
        config = ("--config", "/srv/plant/station.yaml")
        return self.service("install", *self.options("1.0.0"), *config, *words, check=check)

    def options(self, version: str) -> tuple[str, ...]:
        """What installs without a network: the wheel, and the packages that the tests run with."""
        return (
            *("--python", f"/srv/python/{self.python}", "--wheels", f"/srv/wheels/{version}"),
            "--system-packages",
        )


def _interpreter() -> tuple[Path, str]:
    """Where the interpreter of these tests lies, and its name from there."""
    base = Path(sys.base_prefix).resolve()
    return base, str(Path(getattr(sys, "_base_executable", sys.executable)).resolve().relative_to(base))


@dataclass
class Software:
    """Checkouts of several versions, each with its wheel, made when they are asked for."""

    folder: Path
    engine: Path

    def make(self, version: str, broken: bool = False) -> None:
        checkout = self.folder / "checkouts" / version
        if checkout.exists():
            return
        for package in (*PACKAGES, "systemd"):
            shutil.copytree(ROOT / package, checkout / package, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("README.md", "LICENSE"):
            shutil.copy(ROOT / name, checkout)
        project = (ROOT / "pyproject.toml").read_text()
        project = re.sub(r"(?m)^version = .*", f'version = "{version}"', project, count=1)
        (checkout / "pyproject.toml").write_text(project)
        (checkout / "recipes").mkdir()
        (checkout / "recipes" / "tiny.yaml").write_text(RECIPE)
        shutil.copytree(self.engine, checkout / "engines" / "tiny")
        if broken:
            with (checkout / "station" / "cli" / "__init__.py").open("a") as command:
                command.write("\nraise SystemExit('this release is broken')\n")
        wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        out = self.folder / "wheels" / version
        subprocess.run([*wheel, "--no-index", "-w", out, checkout], check=True)


@pytest.fixture(scope="module")
def software(tmp_path_factory: pytest.TempPathFactory, tiny_engine_master: Path) -> Software:
    folder = tmp_path_factory.mktemp("software")
    (folder / "wheels").mkdir()
    (folder / "checkouts").mkdir()
    made = Software(folder, tiny_engine_master)
    made.make("1.0.0")
    return made


def _why_no_systemd() -> str:
    """What this machine, or the container it is, forbids; empty where nothing is in the way."""
    if os.geteuid() != 0:
        return "it needs root"
    groups = Path("/sys/fs/cgroup/unified")
    groups = groups if groups.is_dir() else groups.parent
    if not os.access(groups / "cgroup.procs", os.W_OK):
        return f"{groups} is no cgroup tree (version 2) that can be written"
    spaces = ["unshare", "--mount", "--pid", "--fork", "--uts", "--ipc", "--net", "--cgroup", "true"]
    found = subprocess.run(spaces, capture_output=True, text=True, check=False)
    return found.stderr.strip()


@pytest.fixture
def machine(tmp_path: Path, software: Software) -> Iterator[Machine]:
    """A machine with frames, a configuration and the software, nothing installed."""
    with _machine(tmp_path, software) as made:
        yield made


@contextmanager
def _machine(tmp_path: Path, software: Software) -> Iterator[Machine]:
    if reason := _why_no_systemd():
        pytest.skip(f"a systemd of its own cannot be started here: {reason}")
    plant = tmp_path / "plant"
    (plant / "frames").mkdir(parents=True)
    rng = np.random.default_rng(3)
    for number in range(6):
        plate = rng.normal(115, 8, (64, 32))
        if number % 3 == 2:
            plate[16:32, 0:16] += 110
        cv2.imwrite(str(plant / "frames" / f"{number}.png"), np.clip(plate, 0, 255).astype(np.uint8))
    (plant / "station.yaml").write_text(CONFIG)
    units = tmp_path / "units"
    (units / "station.service.d").mkdir(parents=True)
    for target in ("default", "multi-user", "basic", "sysinit", "shutdown"):
        (units / f"{target}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    # No journald runs there.
    log = "[Service]\nStandardOutput=append:/run/station.log\nStandardError=append:/run/station.log\n"
    for service in ("station", "station-updater"):
        (units / f"{service}.service.d").mkdir(parents=True, exist_ok=True)
        (units / f"{service}.service.d" / "here.conf").write_text(f"{log}Environment={LIBRARIES}\n")
    base, name = _interpreter()
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([base / name, "-I", "-c", ask], capture_output=True, text=True, check=True)
    shown = {
        base: "/srv/python",
        Path(sysconfig.get_path("purelib")): f"/srv/python/{Path(packages.stdout.strip()).relative_to(base)}",
        software.folder / "checkouts": "/srv/checkouts",
        software.folder / "wheels": "/srv/wheels",
        plant: "/srv/plant",
    }
    (tmp_path / "mounts").write_text("".join(f"{seen} {there}\n" for seen, there in shown.items()))
    command = ["bash", Path(__file__).with_name("private_systemd.sh"), tmp_path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        first = started.stdout.readline().strip()
        assert first, "the private systemd did not start (see above)"
        here = Machine(tmp_path, int(first))
        end = time.monotonic() + 90
        while "running" not in here.run("systemctl", "is-system-running", check=False):
            assert time.monotonic() < end, (tmp_path / "console").read_text()
            time.sleep(0.1)
        yield here
        started.communicate()


@pytest.fixture(scope="module")
def installed(software: Software, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Machine, str]]:
    """A machine with the station installed, and what the installation said."""
    with _machine(tmp_path_factory.mktemp("installed"), software) as made:
        yield made, made.install()


def test_an_installed_station_gets_ready_comes_back_and_stops(installed: tuple[Machine, str]) -> None:
    machine, said = installed
    assert "the station is ready" in said
    machine.run("systemctl", "start", "station")
    machine.until(lambda: machine.parts() > 5)
    key = machine.run("stat", "-c", "%a %U:%G", "/var/lib/station/keys/station.pem", "/var/lib/station/keys")
    assert key.split("\n")[:2] == ["600 station:station", "700 station:station"]
    assert "the station's public key, for the workshop" in said
    shown = machine.run(*AS_STATION, STATION, "keys", "show", "--config", "/etc/station/station.yaml")
    public = re.search(r"-----BEGIN PUBLIC KEY-----\n\S+\n", shown)
    assert public, shown
    assert public[0] in said, "the key that was shown at the install is the one that signs"
    modes = machine.run(
        "stat", "-c", "%a %U %n", "/etc/station", "/etc/station/station.yaml", "/var/lib/station"
    )
    assert modes.split("\n")[:3] == [
        "750 root /etc/station", "640 root /etc/station/station.yaml", "750 station /var/lib/station",
    ]  # fmt: skip
    folders = ("/etc/station", "/var/lib/station", "/var/cache/station", "/run/station")
    # The control socket is for the group too, and the updater, which is of the group, writes engines; the
    # folder keeps everybody else out.
    loose = ("-not", "-type", "l", "-perm", "/027", "-not", "-type", "s")
    loose = ("-path", "/var/lib/station/engines*", "-prune", "-o", *loose, "-print")
    assert machine.run("find", *folders, *loose) == "", "others may read these"

    machine.run("systemctl", "kill", "-s", "KILL", "--kill-whom=main", "station")
    machine.until(lambda: not machine.ready)
    machine.until(lambda: machine.ready)
    assert machine.shows("NRestarts") == "1"

    machine.run("systemctl", "stop", "station")
    assert machine.shows("Result") == "success"
    assert machine.shows("ExecMainStatus") == "0"
    machine.run(*AS_STATION, STATION, "journal", "audit", "--journal", JOURNAL)


def test_a_check_as_root_proves_what_the_service_can_and_leaves_nothing_of_roots(
    installed: tuple[Machine, str],
) -> None:
    machine, _ = installed
    check = (STATION, "check", "--config", "/etc/station/station.yaml")
    status = (*AS_STATION, STATION, "status", "--json", "--config", "/etc/station/station.yaml")
    images, kept = "/var/lib/station/images", ("/var/lib/station", "/var/cache/station")
    machine.run("systemctl", "stop", "station")
    machine.run("rm", "-rf", images)
    said = machine.run(*check)
    assert "as user station" in said
    assert "everything passed" in said
    assert machine.run("find", *kept, "-user", "root") == ""

    machine.run("chown", "-R", "root", images)  # as an older release left it
    said = machine.run(*check, check=False)
    assert f"FAILED  pictures: {images} cannot be written: Permission denied" in said

    def state() -> tuple[str, str]:
        said = machine.run(*status, check=False)
        found = json.loads(said) if said.startswith("{") else {"state": "", "reason": ""}
        return found["state"], found["reason"]

    machine.run("systemctl", "start", "station")
    machine.until(lambda: state()[0] == "degraded")
    assert f"pictures are lost: {images} cannot be written" in state()[1]
    machine.run("chown", "-R", "station", images)
    machine.until(lambda: state()[0] in ("ready", "single execution"))
    machine.until(lambda: ".jpg" in machine.run("ls", images))
    journal = ("journal", "events", "--kind", "degraded", "--journal", JOURNAL)

    def ended() -> list[bool]:
        said = machine.run(*AS_STATION, STATION, *journal)
        return [json.loads(line)["values"]["is_over"] for line in said.splitlines()]

    machine.until(lambda: ended() == [False, True])
    machine.run("systemctl", "stop", "station")


@pytest.mark.slow
def test_systemd_is_fed_by_the_watcher_which_ends_a_station_that_stands_still(machine: Machine) -> None:
    machine.install()
    machine.until(lambda: machine.ready)
    time.sleep(35)  # longer than WatchdogSec: without the watcher's word the station would be started afresh
    assert machine.shows("NRestarts") == "0"
    machine.run("systemctl", "kill", "-s", "STOP", "--kill-whom=main", "station")
    stopped = time.monotonic()
    machine.until(lambda: not machine.ready)
    assert time.monotonic() - stopped < 10 + 2 + 2, "hung_after_ms is 10 s"
    machine.until(lambda: machine.ready)
    assert machine.shows("NRestarts") == "1"
    machine.run("systemctl", "stop", "station")
    machine.run(*AS_STATION, STATION, "journal", "audit", "--journal", JOURNAL)


@pytest.mark.slow
def test_a_missing_camera_is_waited_for_without_end(machine: Machine) -> None:
    frames, away = machine.folder / "plant" / "frames", machine.folder / "plant" / "away"
    frames.rename(away)
    said = machine.install(check=False)
    assert "systemd keeps trying" in said
    assert f"{STATION} check --config /etc/station/station.yaml" in said, "how to find out what is missing"
    machine.until(lambda: int(machine.shows("NRestarts")) >= 4, timeout_s=90)
    assert machine.shows("ActiveState") == "activating"
    assert machine.shows("StartLimitIntervalUSec") == "0"
    away.rename(frames)
    machine.until(lambda: machine.ready)


@pytest.mark.slow
def test_a_start_that_asks_for_time_gets_it(machine: Machine) -> None:
    """Three seconds would be too few for it."""
    code = (
        "import time; from station.supervision import sd_notify, start_takes; start_takes('building', 30); "
        "time.sleep(5); sd_notify('READY=1'); time.sleep(60)"
    )
    unit = (
        "[Service]\nType=notify\nTimeoutStartSec=3\n"
        f"Environment=PYTHONPATH=/srv/checkouts/1.0.0 {LIBRARIES}\n"
        f'ExecStart=/srv/python/{machine.python} -c "{code}"\n'
    )
    machine.run("sh", "-c", 'printf %s "$1" >/run/systemd/system/slow.service', "sh", unit)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "slow")
    assert machine.run("systemctl", "is-active", "slow") == "active\n"


@pytest.mark.slow
def test_an_upgrade_can_be_rolled_back_and_a_broken_one_goes_back_by_itself(
    machine: Machine, software: Software
) -> None:
    software.make("1.0.1")
    software.make("1.0.2", broken=True)
    key = re.search(r"key [0-9a-f]{32}", machine.install())
    assert key
    assert key[0] in machine.install(), "again: nothing to do, and the key stays"
    assert "release  1.0.0 (runs)" in machine.service("status")
    said = machine.service("upgrade", *machine.options("1.0.1"), version="1.0.1")
    assert "release 1.0.1 is ready" in said
    assert "release  1.0.1 (runs)" in machine.service("status")
    assert machine.run("sh", "-c", "ls /var/backups/station").startswith("before-1.0.1-")

    said = machine.service("upgrade", *machine.options("1.0.2"), version="1.0.2", check=False)
    assert "release 1.0.2 did not become ready; 1.0.1 runs again" in said
    machine.until(lambda: machine.ready)
    assert "release  1.0.1 (runs)" in machine.service("status")

    before = machine.parts()
    assert "release 1.0.0 is ready" in machine.service("rollback")
    machine.until(lambda: machine.parts() > before)
    assert "already runs" in machine.service("upgrade", *machine.options("1.0.0"), check=False)


@pytest.mark.slow
def test_a_backup_made_while_it_runs_is_restored_with_every_part_it_held(machine: Machine) -> None:
    machine.install()
    machine.until(lambda: machine.parts() > 5)
    before = machine.parts()
    machine.service("backup", "/var/backups/station.tar.gz")
    after = machine.parts()
    machine.until(lambda: machine.parts() > after + 5)
    machine.run("systemctl", "stop", "station")

    machine.run("rm", "-r", "/etc/station/recipes", "/var/lib/station/engines/tiny")
    said = machine.service("restore", "/var/backups/station.tar.gz")
    restored = machine.parts()
    assert before <= restored <= after, said
    machine.run(*AS_STATION, STATION, "journal", "audit", "--journal", JOURNAL)
    machine.run("systemctl", "start", "station")
    machine.until(lambda: machine.parts() > restored)
    assert machine.run("sh", "-c", "ls -d /etc/station.before-* /var/lib/station/before-*/journal.db*")
    machine.run("sh", "-c", "cd /tmp && echo x >evil && tar -czf evil.tar.gz evil")
    assert "is not a backup of a station: it contains evil" in machine.service(
        "restore", "/tmp/evil.tar.gz", check=False
    )

    assert "are kept" in machine.service("uninstall")
    machine.run("test", "-s", JOURNAL, "-a", "-s", "/etc/station/station.yaml")
    assert (
        machine.run("sh", "-c", "ls -d /opt/station /etc/systemd/system/station.service 2>&1 || true").count(
            "No such"
        )
        == 2
    )


PROBE = """
import os, socket

def opened(path, flags):
    try:
        os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY))
        return True
    except OSError:
        return False

print("serial line by its group", opened("/var/lib/station/like-a-serial-line", os.O_RDWR))
print("own folder", opened("/var/lib/station/new", os.O_WRONLY | os.O_CREAT))
print("pty", opened("/dev/ptmx", os.O_RDWR))
print("system", opened("/opt/new", os.O_WRONLY | os.O_CREAT))
print("home", opened("/root", os.O_RDONLY))
print("kernel log", opened("/dev/kmsg", os.O_RDONLY))
print("other processes", os.path.exists("/proc/1/cmdline"))
for family in ("AF_UNIX", "AF_NETLINK", "AF_INET", "AF_INET6", "AF_PACKET"):
    try:
        socket.socket(getattr(socket, family), socket.SOCK_DGRAM).close()
        print(family, True)
    except OSError:
        print(family, False)
print("interfaces", [name for _, name in socket.if_nameindex()] == ["lo"])
os.sched_setaffinity(0, os.sched_getaffinity(0))  # OpenVINO pins its threads
"""


PREPARE = """
getent group plugdev >/dev/null || groupadd --system plugdev
useradd --system --user-group station
install -d -o station -g station /var/lib/station
install -m 660 -g dialout /dev/null /var/lib/station/like-a-serial-line
cp /srv/plant/station.service /run/systemd/system
systemctl daemon-reload
systemctl start station
"""


def test_the_unit_opens_what_is_needed_and_nothing_else(machine: Machine) -> None:
    unit = re.sub(
        r"ExecStart=.*", f"ExecStart=/srv/python/{machine.python} /srv/plant/probe.py", UNIT.read_text()
    )
    unit = unit.replace("Type=notify", "Type=oneshot")
    unit = re.sub(r"(?m)^(Restart|WatchdogSec)=.*\n", "", unit)
    (machine.folder / "plant" / "probe.py").write_text(PROBE)
    (machine.folder / "plant" / "station.service").write_text(unit)
    machine.run("sh", "-ec", PREPARE)
    found = dict(line.rsplit(" ", 1) for line in machine.log().splitlines())
    needed = {"serial line by its group", "own folder", "pty", "AF_UNIX", "AF_NETLINK", "interfaces"}
    assert {name for name, held in found.items() if held == "True"} == needed
    assert len(found) == 13


def test_the_script_refuses_what_would_fail_later(machine: Machine) -> None:
    there = {"--config": "/srv/plant/station.yaml", "--wheels": "/srv/wheels/1.0.0"}

    def refusal(**changes: str) -> str:
        words = there | {f"--{name}": value for name, value in changes.items()}
        return machine.service("install", *(word for pair in words.items() for word in pair), check=False)

    machine.run(
        "sh", "-c", "mkdir -p /tmp/home && mount --bind /tmp/home /home && cp -r /srv/plant /home/plant"
    )
    machine.run("sh", "-c", "mkdir -p /home/python && mount --bind /srv/python /home/python")
    assert "in a home folder, which the service cannot see" in refusal(
        python=f"/home/python/{machine.python}"
    )
    assert "no interpreter /nowhere/python" in refusal(python="/nowhere/python")
    assert "no folder /nowhere" in refusal(wheels="/nowhere")
    assert "no file /nowhere.yaml" in refusal(config="/nowhere.yaml")
    assert "unknown option --prefix" in refusal(prefix="/usr")
    assert "nothing is installed yet" in machine.service("rollback", check=False)
    assert machine.run("sh", "-c", "ls /opt /etc/systemd/system") == "/etc/systemd/system:\n\n/opt:\n"


@pytest.mark.slow
def test_a_configuration_is_checked_before_and_kept_after(machine: Machine) -> None:
    config = machine.folder / "plant" / "station.yaml"
    config.write_text(
        CONFIG.replace("/var/lib/station/images", "/data/images").replace("/var/cache/station", "cache")
    )
    said = machine.install(check=False)
    assert (
        "paths.images: the service cannot write to /data/images; write a path below /var/lib/station" in said
    )
    assert "paths.cache: the service cannot write to /etc/station/cache" in said
    config.write_text(CONFIG.replace("recipe: tiny", "recipes: tiny"))
    said = machine.install(check=False)
    assert "recipes" in said
    assert "Traceback" not in said
    assert "No such file" in machine.run("ls", "/etc/station/station.yaml", check=False)

    config.write_text(CONFIG)
    machine.install("--no-start")
    config.write_text(CONFIG.replace("name: test", "name: another"))
    assert "/etc/station/station.yaml is kept" in machine.install("--no-start")
    assert "name: test" in machine.run("cat", "/etc/station/station.yaml")


@pytest.mark.slow
def test_updates_are_switched_on_with_settings_that_the_updaters_own_user_can_read(
    machine: Machine, tmp_path: Path
) -> None:
    machine.install("--no-start")
    plant = tmp_path / "plant"
    settings = {"station": "test", "engines": "/var/lib/station/engines", "state": "/var/lib/station-updater"}
    for name in ("images", "director"):
        (plant / f"{name}.root.json").write_bytes(Repository().first_root)
        root = f"/srv/plant/{name}.root.json"
        settings |= {name: {"url": f"http://127.0.0.1:9/{name}", "root": root}}
    (plant / "updater.yaml").write_text(json.dumps(settings | {"products": [{"product": "tiny"}]}))

    said = machine.service("updates", "on", "/srv/plant/updater.yaml", "127.0.0.1")
    assert "keeps tiny up to date for the station test" in said
    assert machine.run("systemctl", "is-enabled", "station-updater.timer").strip() == "enabled"
