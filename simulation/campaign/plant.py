"""A plant of real processes in one folder: station, cell, the wire between them, and whoever restarts them.

The station is known by its command line only. It inspects whole simulated housings of one width with the
shipped engine; the camera's view is as wide as the product needs, so that two cores do ten parts per second.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from simulation.broker import Broker, free_port
from simulation.campaign.cameras import FAMILIES, PlantCamera
from simulation.campaign.relay import Relay
from simulation.campaign.wire import Wire
from simulation.cell.broker_line import BrokerLine
from simulation.cell.line import PtyLine
from simulation.cell.peers import ModbusPeer, OpcUaPeer, Peer
from simulation.cell.process import CellProcess, start_cell
from simulation.cell.register_line import RegisterLine
from simulation.cell.settings import CellSettings
from simulation.rendering.parts import render_part
from simulation.switchboard import Switchboard

ROOT = Path(__file__).parents[2]
WIDTH = 690
"""px; the size of housing that this plant makes."""
KINDS = ("imprinted", "pits", "roll-marks", "scratches")
GOOD_BIN, FAULT_BIN = 1, 6
DEADLINE_MS = 2000
WATCHDOG_S = 10.0
ENGINE = "servo-motor-housing"
WIRES = ("serial", "mqtt", "modbus", "opcua")
CAMERAS = ("simulated", *FAMILIES)
TOPIC = "plant/cell-1"


@dataclass(frozen=True, slots=True)
class Setup:
    """What a plant is made with; the default is the campaign's."""

    pictures: int = 24
    defective: int = 10
    in_flight: int = 3
    rate_hz: float = 0.0
    seed: int = 1
    hung_after_ms: int = 3500
    segment_parts: int = 2000
    canary_s: float = 5.0
    margin: int = 160
    """px beside the product in the camera's view."""
    camera: str = "exposure_ms: 5"
    """Further keys of the simulated camera's section."""
    images: str = "save: rejects, quota_mb: 200"
    keeps_rare: bool = False
    """Whether the log of rare and doubtful parts looks at the parts, beside the saved pictures."""
    cell: tuple[tuple[str, Any], ...] = ()
    wire: str = "serial"
    """What the station's end of the cable is, of :data:`WIRES`."""
    family: str = "simulated"
    """What the camera is, of :data:`CAMERAS`."""


class PlantError(RuntimeError):
    """The plant cannot be set up, or does not come to work; the message says where to look."""


class Plant:
    """The processes and their folder."""

    def __init__(self, folder: Path, setup: Setup | None = None) -> None:
        self.folder = folder.absolute()
        self.setup = setup or Setup()
        self.switches = Switchboard(self.folder / "switches")
        self.journal = self.folder / "var" / "journal.db"
        self.images = self.folder / "var" / "images"
        self.config = self.folder / "station.yaml"
        self.temporary = self.folder / "tmp"
        """Where the station's temporary files are."""
        self.camera_log = self.folder / "camera.jsonl"
        self.wire_log = self.folder / "wire.jsonl"
        self.station: subprocess.Popen[bytes] | None = None
        self.cell: CellProcess | None = None
        self.cell_started_ns = 0
        self.ends: list[tuple[int, int]] = []
        """When the station ended without having been asked to, ns, and its exit code."""
        self.hold = threading.Event()
        """Nobody starts the station again while this is set."""
        self._output: IO[bytes] | None = None
        self._systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        """Where the station feeds the watchdog."""
        self._fed_s = math.inf
        self.is_ready = threading.Event()
        """The present station process has said READY=1."""
        self._closed = threading.Event()
        self._keeper = threading.Thread(target=self._keep_alive, name="keeper", daemon=True)
        self._extra: dict[str, Any] = {}
        self.camera: PlantCamera | None = None
        """A camera that is a process of its own; None for the simulated one."""
        self.broker: Broker | None = None
        """Between cell and station, where the wire is MQTT."""
        self.port = 0
        """Of the station's server, where the wire is Modbus or OPC UA."""
        self.relay: Relay | None = None
        """The network between PLC and station there."""
        self.wire: Wire

    # ------------------------------------------------------------------ setting up

    def make(self, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Write pictures, recipe, engine and configuration where they are not there yet."""
        for name in ("recipes", "engines", "var", "pool", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.switches.set({})
        self._make_pool(progress)
        if not (self.folder / "engines" / ENGINE).exists():
            shutil.copytree(ROOT / "engines" / ENGINE, self.folder / "engines" / ENGINE)
        recipe = (ROOT / "recipes" / f"{ENGINE}.yaml").read_text(encoding="utf-8")
        lines = [
            f"  widths_px: [{WIDTH}]" if line.lstrip().startswith("widths_px:") else line
            for line in recipe.splitlines()
        ]
        (self.folder / "recipes" / f"{ENGINE}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.write_config()
        source = Path(__file__).with_name("disk.c")
        subprocess.run(
            ["cc", "-O2", "-shared", "-fPIC", "-o", str(self.folder / "disk.so"), str(source), "-ldl"],
            check=True,
        )

    def write_config(self) -> None:
        """The station's configuration, as it is meant."""
        setup = self.setup
        rare = ", rare: var/rare" if setup.keeps_rare else ""
        self.config.write_text(
            f"""station: {{name: campaign}}
recipe: {ENGINE}
paths: {{recipes: recipes, engines: engines, journal: var/journal.db, images: var/images,
        cache: var/cache{rare}}}
camera: {{{self._camera()}}}
sorter: {{{self._sorter()}}}
engine: {{backend: openvino, precision: int8, threads: 2, canary_s: {setup.canary_s}}}
limits: {{part_deadline_ms: {DEADLINE_MS}, grab_timeout_ms: 500, hung_after_ms: {setup.hung_after_ms},
         stop_timeout_ms: 3000}}
journal: {{segment_parts: {setup.segment_parts}}}
images: {{{setup.images}}}
""",
            encoding="utf-8",
        )

    def _camera(self) -> str:
        """The keys of the camera's section."""
        if self.setup.family == "simulated":
            files = "pool: pool, place: ./cell.place, switches: ./switches, log: ./camera.jsonl"
            return f"kind: simulated, {files}, preload_mb: 500, {self.setup.camera}"
        if self.camera is None:
            self.camera = FAMILIES[self.setup.family](self.folder)
        return self.camera.section

    def _sorter(self) -> str:
        """The keys of the sorter's section."""
        if self.setup.wire == "serial":
            return "kind: serial, port: ./station.pty"
        if self.setup.wire != "mqtt":
            self.port = self.port or free_port()
            return f"kind: {self.setup.wire}, listen: 127.0.0.1, port: {self.port}"
        if self.broker is None:
            self.broker = Broker(self.folder)
        return f"kind: mqtt, host: 127.0.0.1, port: {self.broker.port}, topic: {TOPIC}"

    def _make_pool(self, progress: Callable[[int, int], None]) -> None:
        setup, truths = self.setup, []
        truth_file = self.folder / "truth.json"
        if truth_file.exists():
            return
        for number in range(setup.pictures):
            # Spread over the pool, the defects one kind after the other.
            nth = (number * setup.defective) // setup.pictures
            is_bad = ((number + 1) * setup.defective) // setup.pictures > nth
            seed = 1_000 * setup.seed + number
            kind = KINDS[nth % len(KINDS)] if is_bad else None
            part = render_part(seed, width=WIDTH, kind=kind, level="clear" if is_bad else None)
            box = part.truth.region
            left = box.x - setup.margin + number % 5 * 20
            frame = part.frame()[:, left : left + WIDTH + 2 * setup.margin]
            np.save(self.folder / "pool" / f"frame-{number:03d}.npy", frame)
            truths.append(part.truth.label)
            progress(number + 1, setup.pictures)
        truth_file.write_text(json.dumps(truths), encoding="utf-8")

    @property
    def truths(self) -> list[str]:
        """The class of each picture of the pool; part *n* looks like picture *n* - 1, modulo their number."""
        found: list[str] = json.loads((self.folder / "truth.json").read_text(encoding="utf-8"))
        return found

    # ------------------------------------------------------------------ running

    def start(self) -> None:
        """Start cell, wire and station, and whoever keeps them alive."""
        self.start_cell()
        if self.camera is not None:
            self.camera.camera.start()
        address = self.folder / "systemd"
        address.unlink(missing_ok=True)
        self._systemd.bind(os.path.relpath(address))
        self._systemd.setblocking(False)
        end: PtyLine | BrokerLine | RegisterLine = PtyLine(str(self.folder / "station.pty"))
        if self.setup.wire in ("modbus", "opcua"):
            self.relay = Relay(self.port)
            end = RegisterLine(f"{self.setup.wire}://127.0.0.1:{self.port}", self._peer)
        if self.broker is not None:
            self.broker.start()
            end = BrokerLine(self.broker.port, TOPIC)
        self.wire = Wire(self.folder / "cell.pty", end, self.wire_log, self.setup.seed)
        self.wire.last_part = self._highest_part()
        self.wire.start()
        self.start_station()
        self._keeper.start()

    def _peer(self) -> Peer:
        assert self.relay is not None
        if self.setup.wire == "opcua":
            return OpcUaPeer(f"opc.tcp://127.0.0.1:{self.relay.port}/")
        from pymodbus.client import ModbusTcpClient

        return ModbusPeer(ModbusTcpClient("127.0.0.1", port=self.relay.port, timeout=1))

    def start_cell(self, **changes: Any) -> None:
        """A cell that goes on with the next part ids; what it sorts is in a log of its own."""
        number = len(list(self.folder.glob("cell-*.jsonl"))) + 1
        highest = max(self._highest_part(), self.wire.last_part if hasattr(self, "wire") else 0)
        settings = CellSettings(
            link=str(self.folder / "cell.pty"),
            place=str(self.folder / "cell.place"),
            first_part=highest + 10,  # what was placed and not triggered by the cell before is no more
            in_flight=self.setup.in_flight,
            rate_hz=self.setup.rate_hz,
            good_bin=GOOD_BIN,
            reject_bin=FAULT_BIN,
            verdict_ms=1.5 * DEADLINE_MS,
            give_up_s=0.0,
            switches=str(self.folder / "switches"),
            log=str(self.folder / f"cell-{number:04d}.jsonl"),
        )
        self.cell_started_ns = time.monotonic_ns()
        self.cell = start_cell(dataclasses.replace(settings, **(dict(self.setup.cell) | changes)))

    def kill_cell(self, number: int = signal.SIGKILL) -> None:
        """End the cell; its device goes with it."""
        assert self.cell is not None
        (self.folder / "cell.pty").unlink(missing_ok=True)
        self.cell.process.send_signal(number)
        self.cell.process.communicate()
        self.cell.close()

    def start_station(self) -> None:
        """`station run`, above a disk, a clock and a library that the switchboard reaches."""
        if self._output is None:
            self._output = (self.folder / "station.log").open("ab")
        path = os.pathsep.join([str(Path(__file__).with_name("sdk")), str(ROOT)])
        environment = os.environ | {
            "LD_PRELOAD": str(self.folder / "disk.so"),
            "NOTIFY_SOCKET": "systemd",  # in its folder: such addresses are short
            "FAULT_SWITCHES": str(self.folder / "switches"),
            "TMPDIR": str(self.temporary),
            "FAULT_JOURNAL": "journal.db",
            "FAULT_IMAGES": "/images",
            "PYTHONPATH": path,
            **(self.camera.environment if self.camera is not None else {}),
        }
        self._fed_s = math.inf
        self.is_ready.clear()
        self.station = subprocess.Popen(
            [sys.executable, "-m", "station.cli", "run", "--config", str(self.config), "--plain"],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def watcher(self) -> int | None:
        """The process that watches the station; None where there is none now."""
        return self._child(b"station.watcher")

    def camera_process(self) -> int | None:
        """The station's process in which the library of the camera runs; None where there is none now."""
        return self._child(b"drivers.cameras.isolated")

    def _child(self, module: bytes) -> int | None:
        if self.station is None:
            return None
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{self.station.pid}/task").glob("*/children"):
                for child in children.read_text().split():
                    with contextlib.suppress(OSError):
                        if module in Path(f"/proc/{child}/cmdline").read_bytes():
                            return int(child)
        return None

    def signal_station(self, number: int) -> None:
        """Send the station's main process a signal, if it lives."""
        if self.station is not None and self.station.poll() is None:
            self.station.send_signal(number)

    def kill_station(self) -> None:
        """End it as a power cut does; it is started again at once unless ``hold`` is set."""
        self.signal_station(signal.SIGKILL)
        if self.station is not None:
            self.station.wait()

    def station_ends(self, timeout_s: float) -> bool:
        """Wait for the present station process to end by itself."""
        station = self.station
        assert station is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            station.wait(timeout_s)
        return station.poll() is not None

    def starts(self, timeout_s: float) -> bool:
        """Start the station, which ``hold`` keeps down; False when it refuses, and ends by itself."""
        self.start_station()
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            if self.is_ready.wait(0.05):
                return True
            if self.station is not None and self.station.poll() is not None:
                return False
        return False

    @property
    def segment(self) -> Path:
        """The file of the journal that is written now."""
        return max(self.journal.parent.glob(f"{self.journal.name}.[0-9]*[0-9]"))

    def note(self, what: str, first: int, last: int) -> None:
        """Some parts are known to be what a law forbids: ``lost`` or ``blind``, see the checker."""
        with (self.folder / f"{what}.jsonl").open("a", encoding="ascii") as file:
            file.write(json.dumps([first, last]) + "\n")

    def noted(self, what: str) -> set[int]:
        """The parts of :meth:`note`."""
        file = self.folder / f"{what}.jsonl"
        ranges = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return {part for first, last in ranges for part in range(first, last + 1)}

    def command(self, *arguments: str, timeout_s: float = 60.0) -> tuple[int, str]:
        """A `station` command beside the running one."""
        done = subprocess.run(
            [sys.executable, "-m", "station.cli", *arguments],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def order(self, *arguments: str) -> tuple[int, str]:
        """An order to the running station."""
        return self.command(*arguments, "--config", str(self.config))

    def stop(self) -> int:
        """Stop the cell, then the station, cleanly; returns the station's exit code."""
        self.hold.set()
        if self.cell is not None and self.cell.process.poll() is None:
            self.cell.stop(20)
        code = 0
        if self.station is not None:
            self.signal_station(signal.SIGTERM)
            try:
                code = self.station.wait(60)
            except subprocess.TimeoutExpired:
                self.kill_station()
                code = -9
        return code

    def close(self) -> None:
        """End whatever still runs."""
        self._closed.set()
        self.hold.set()
        if self.station is not None and self.station.poll() is None:
            self.signal_station(signal.SIGCONT)
            self.kill_station()
        if self.cell is not None:
            self.cell.close()
        if hasattr(self, "wire"):
            self.wire.close()
        if self.broker is not None:
            self.broker.kill()
        if self.relay is not None:
            self.relay.close()
        if self.camera is not None:
            self.camera.close()
        self._systemd.close()
        if self._output is not None:
            self._output.close()

    def _keep_alive(self) -> None:
        """What systemd does with `Restart=always`, without its pause; a start that fails waits a little.

        And with `WatchdogSec=`: a station that was fed and then is not any more is ended.
        """
        while not self._closed.wait(0.02):
            station = self.station
            self._hear()
            if time.monotonic() - self._fed_s > WATCHDOG_S:
                self._fed_s = math.inf
                self.signal_station(signal.SIGKILL)
            if station is None or station.poll() is None or self.hold.is_set():
                continue
            now = time.monotonic_ns()
            self.ends.append((now, station.returncode))
            if station.returncode == 2:
                self._closed.wait(0.5)
            if not self.hold.is_set() and not self._closed.is_set():
                self.start_station()

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            while True:
                said = self._systemd.recv(4096)
                if b"WATCHDOG=1" in said:
                    self._fed_s = time.monotonic()
                if b"READY=1" in said:
                    self.is_ready.set()

    def _highest_part(self) -> int:
        """The highest part id that any trigger in this folder ever named."""
        highest = 0
        if self.wire_log.exists():
            with self.wire_log.open(encoding="ascii") as lines:
                for line in lines:
                    highest = max(highest, int(json.loads(line)["part_id"]))
        return highest
