"""``python -m simulation.cell.measure``: what a wire costs, on loopback, with the cell in another process.

For every wire: the time from a verdict to its acknowledgement; and the time that the decision path loses
while the link is healthy, dead, slow and flooded - the calls that it makes, and work beside them. Then, with
``--in-flight``: the cycle time of a whole simulated station with two parts in flight, with and without
ACQUISITION-DONE.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import yaml

from drivers.sorters.interface import Outcome, Result, Sorter
from simulation.broker import Broker
from simulation.cell.live import LiveCell, MqttCell, RegisterCell, SerialCell
from simulation.cell.peers import ModbusPeer, OpcUaPeer
from simulation.cell.protocol import CellRules

TOPIC = "measured/cell"
TARGETS_MS = {"modbus": 10.0, "mqtt": 10.0, "opcua": 15.0}
"""p99 of verdict to acknowledgement; serial stays as it is."""
RULES = CellRules(verdict_ms=60_000.0)
_START_S = 900.0
"""What the first start of a station may take: it renders the frames and builds the engine."""
CONDITIONS = ("healthy", "dead", "slow", "flooding")


@dataclass(frozen=True)
class Place:
    """Where a wire lies: a folder, and a port that is free."""

    wire: str
    folder: str
    port: int


def make_cell(place: Place) -> LiveCell:
    """The cell at its end of the wire, not started."""
    session = 1 + secrets.randbelow(0xFFFF)  # another one at every start
    from drivers.sorters.serial import frames, lines

    match place.wire:
        case "serial" | "lines":
            return SerialCell(Path(place.folder), session, RULES, lines if place.wire == "lines" else frames)
        case "mqtt":
            return MqttCell(place.port, TOPIC, session, RULES)
        case "modbus":
            from pymodbus.client import ModbusTcpClient

            client = partial(ModbusTcpClient, "127.0.0.1", port=place.port, timeout=1)
            return RegisterCell(session, RULES, lambda: ModbusPeer(client()))
        case _:
            return RegisterCell(session, RULES, lambda: OpcUaPeer(f"opc.tcp://127.0.0.1:{place.port}/"))


def make_sorter(place: Place) -> Sorter:
    """The station's end, not opened."""
    match place.wire:
        case "serial" | "lines":
            from drivers.sorters.serial import SerialSettings, SerialSorter

            words: Any = "lines" if place.wire == "lines" else "frames"
            return SerialSorter(SerialSettings(port=f"{place.folder}/robot", words=words))
        case "mqtt":
            from drivers.sorters.mqtt import MqttSettings, MqttSorter

            return MqttSorter(MqttSettings(host="127.0.0.1", port=place.port, topic=TOPIC))
        case "modbus":
            from drivers.sorters.modbus import ModbusSettings, ModbusSorter

            return ModbusSorter(ModbusSettings(listen="127.0.0.1", port=place.port))
        case _:
            from drivers.sorters.opcua import OpcUaSettings, OpcUaSorter

            return OpcUaSorter(OpcUaSettings(listen="127.0.0.1", port=place.port))


# ---------------------------------------------------------------------- processes at the other end


def serve_cell(place: Place) -> None:
    """Place part after part, until killed."""
    cell = make_cell(place).start()
    part_id = 0
    while True:
        part_id += 1
        cell.place(part_id)
        cell.wait(lambda protocol: not protocol.waiting, within_s=3600.0)
        with cell.lock:
            cell.protocol.sorted_parts.clear()


def serve_flood(place: Place) -> None:
    """Say what is no message, as fast as the wire takes it, until killed."""
    if place.wire in ("serial", "lines"):
        from drivers.sorters.serial import frames

        cell = SerialCell(Path(place.folder), 7, RULES, frames)
        os.set_blocking(cell.line_fd, True)
        while True:
            os.write(cell.line_fd, bytes(range(256)) * 4)
    if place.wire == "modbus":
        request = bytes.fromhex("000100000006010300000064")
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", place.port), timeout=1) as line:
                reading = threading.Thread(target=_drain, args=(line,), daemon=True)
                reading.start()
                while True:
                    line.sendall(request * 50)
    live = make_cell(place).start()
    live.wait(lambda protocol: protocol.linked, within_s=60.0)
    while True:
        with suppress(OSError):
            live.garble()


def _drain(line: socket.socket) -> None:
    with suppress(OSError):
        while line.recv(65536):
            pass


@contextmanager
def process(work: Callable[[Place], None], place: Place) -> Iterator[multiprocessing.process.BaseProcess]:
    """The work in a process of its own, killed at the end."""
    started = multiprocessing.get_context("spawn").Process(
        target=_with_parent, args=(work, place), daemon=True
    )
    started.start()
    try:
        yield started
    finally:
        started.kill()
        started.join()


def _with_parent(work: Callable[[Place], None], place: Place) -> None:
    """The work, until it ends or the measurement is killed: nothing must flood a line for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    work(place)


# ---------------------------------------------------------------------- one wire


def measure_acknowledgements(sorter: Sorter, parts: int) -> list[float]:
    """Verdict to acknowledgement, ms, of so many parts of a cell that acknowledges at once."""
    times: list[float] = []
    while len(times) < parts:
        trigger = sorter.wait_trigger(60.0)
        if trigger is None:
            raise TimeoutError(f"no trigger came: {sorter.health().last_error}")
        sorter.acknowledge(trigger)
        sorter.acquisition_done(trigger)
        begun_ns = time.monotonic_ns()
        sorter.send(Result(trigger.part_id, Outcome.ACCEPT, 0, 0, "defect-free"))
        receipt = sorter.wait_receipt(10.0)
        if receipt is None or not receipt.acknowledged:
            raise TimeoutError(f"no acknowledgement came: {sorter.health().last_error}")
        times.append((receipt.at_ns - begun_ns) / 1e6)
    return times


def measure_path(sorter: Sorter, seconds: float) -> tuple[list[float], list[float]]:
    """What the decision path loses, ms: its calls to the sorter, and 2 ms of its own work beside them."""
    calls: list[float] = []
    work: list[float] = []
    pixels = np.arange(300_000, dtype=np.float32)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for ready in (False, True):
            begun = time.perf_counter()
            sorter.set_ready(ready, "" if ready else "measuring")
            calls.append((time.perf_counter() - begun) * 1000)
        begun = time.perf_counter()
        for _ in range(8):
            float(np.sqrt(pixels).sum())
        work.append((time.perf_counter() - begun) * 1000)
        time.sleep(0.004)
    return calls, work


@contextmanager
def condition(name: str, place: Place, sorter: Sorter) -> Iterator[None]:
    """The other end in this condition meanwhile."""
    if name == "dead":
        yield
        return
    with process(serve_flood if name == "flooding" else serve_cell, place) as other:
        _wait_for_the_other_end(sorter, flooding=name == "flooding")
        stop = threading.Event()

        def stutter() -> None:
            while not stop.wait(0.05) and other.pid is not None:
                os.kill(other.pid, signal.SIGSTOP)
                stop.wait(0.3)
                os.kill(other.pid, signal.SIGCONT)

        slowing = threading.Thread(target=stutter)
        if name == "slow":
            slowing.start()
        try:
            yield
        finally:
            stop.set()
            if name == "slow":
                slowing.join()


def _wait_for_the_other_end(sorter: Sorter, *, flooding: bool) -> None:
    """Until a cell is connected, or a flood is under way; a flood of requests shows in no counter."""
    before = sorter.health().garbled
    until = time.monotonic() + (3.0 if flooding else 30.0)
    while time.monotonic() < until:
        health = sorter.health()
        if health.garbled > before if flooding else health.connected:
            return
        time.sleep(0.01)


def measure_wire(wire: str, parts: int, seconds: float) -> dict[str, Any]:
    """The figures of one wire."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            place = Place(wire, folder, int(free.getsockname()[1]))
        if wire == "mqtt":
            broker = Broker(Path(folder), port=place.port)
            broker.start()
            stack.callback(broker.kill)
        sorter = make_sorter(place)
        sorter.open()
        stack.callback(sorter.close)
        sorter.prepare("housing")
        sorter.set_ready(True)
        with process(serve_cell, place):
            measure_acknowledgements(sorter, min(20, parts))  # the first ones warm up
            acknowledged = measure_acknowledgements(sorter, parts)
        found: dict[str, Any] = {
            "wire": wire,
            "acknowledged_ms": {"median": median(acknowledged), "p99": _p99(acknowledged)},
            "target_ms": TARGETS_MS.get(wire),
            "path": {},
        }
        for name in CONDITIONS:
            with condition(name, place, sorter):
                calls, work = measure_path(sorter, seconds)
            found["path"][name] = {
                "call_p99": _p99(calls),
                "call_max": max(calls),
                "work_median": median(work),
                "work_p99": _p99(work),
            }
        return found


def _p99(times: list[float]) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * 0.99))]


# ---------------------------------------------------------------------- two parts in flight


def measure_in_flight(config: Path, parts: int, version: int) -> list[float]:
    """The cycle times, ms, of a whole station with the demo's recipe and a cell of a protocol version."""
    sections = yaml.safe_load(config.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        port, place, log = (f"{folder}/{name}" for name in ("cell.pty", "cell.place", "cell.jsonl"))
        sections["camera"] = {"kind": "simulated", "place": place, "exposure_ms": 30}
        sections["sorter"] = {"kind": "serial", "port": port}
        for key, path in sections["paths"].items():
            changed = key in ("journal", "images", "rare")
            sections["paths"][key] = f"{folder}/{key}" if changed else str((config.parent / path).resolve())
        sections["simulation"]["pool"]["folder"] = str(
            (config.parent / sections["simulation"]["pool"]["folder"]).resolve()
        )
        sections["simulation"].pop("cell", None)
        file = Path(folder) / "station.yaml"
        file.write_text(yaml.safe_dump(sections), encoding="utf-8")
        recipe = str(sections["recipe"])
        cell = [sys.executable, "-m", "simulation.cell", "--link", port, "--place", place, "--log", log]
        cell += ["--parts", str(parts), "--in-flight", "2", "--protocol-version", str(version)]
        cell += ["--recipe", recipe, "--good-bin", "1", "--reject-bin", "6", "--verdict-ms", "3000"]
        cell += [
            "--give-up-s",
            str(_START_S),
            "--parent",
            str(os.getpid()),
        ]  # a first start renders the frames
        with subprocess.Popen(cell, stdout=subprocess.DEVNULL) as running:
            station = [
                sys.executable,
                "-m",
                "station.cli",
                "run",
                "--config",
                str(file),
                "--parts",
                str(parts),
                "--plain",
            ]
            done = subprocess.run(
                station, capture_output=True, text=True, check=False, timeout=_START_S + 5 * parts
            )
            if done.returncode != 0:
                running.kill()
                raise RuntimeError(f"the station ended with {done.returncode}:\n{done.stdout}{done.stderr}")
            running.wait(30)
        triggered = [json.loads(line)["triggered_ns"] for line in Path(log).read_text().splitlines()]
    return [(after - before) / 1e6 for before, after in pairwise(triggered)]


# ---------------------------------------------------------------------- the command


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; exit code 1 where a target is missed."""
    parser = argparse.ArgumentParser(
        prog="python -m simulation.cell.measure",
        description="Measure what the wires to a cell cost, on loopback.",
        epilog="Examples: python -m simulation.cell.measure --parts 1000; "
        "python -m simulation.cell.measure --wires modbus opcua --seconds 5; "
        "python -m simulation.cell.measure --wires --in-flight config/demo.yaml",
    )
    every = ["serial", "lines", "mqtt", "modbus", "opcua"]
    parser.add_argument("--wires", nargs="*", choices=every, default=every, help="the wires, all by default")
    parser.add_argument("--parts", type=int, default=300, help="parts per wire or run (300)")
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds per condition of a link (5)")
    parser.add_argument("--in-flight", type=Path, help="two parts in flight, by this station.yaml")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    missed = False
    figures: list[dict[str, Any]] = []
    for wire in options.wires:
        found = measure_wire(wire, options.parts, options.seconds)
        figures.append(found)
        took, target = found["acknowledged_ms"], found["target_ms"]
        missed = missed or (target is not None and took["p99"] > target)
        aim = "" if target is None else f" (target {target:g} ms)"
        print(
            f"{wire}: verdict to acknowledgement {took['median']:.1f} ms median, {took['p99']:.1f} ms p99 of "
            f"{options.parts} parts{aim}"
        )
        for name, path in found["path"].items():
            print(
                f"  link {name:<9} call to the sorter {path['call_p99']:.3f} ms p99, "
                f"{path['call_max']:.2f} max; "
                f"work beside it {path['work_median']:.2f} ms median, {path['work_p99']:.2f} p99",
                flush=True,
            )
    if options.in_flight is not None:
        versions: dict[str, list[float]] = {"without": [], "with": []}
        for _ in range(2):  # in turn, so that a busy moment hits both
            versions["without"] += measure_in_flight(options.in_flight, options.parts, 1)
            versions["with"] += measure_in_flight(options.in_flight, options.parts, 3)
        before, after = (median(versions[name]) for name in ("without", "with"))
        figures.append({"in_flight": 2, "cycle_ms": {"without": before, "with": after}})
        print(
            f"cycle time gained by acquisition done at two parts in flight: {before - after:.0f} ms "
            f"({100 * (before - after) / before:.0f} %): {before:.0f} ms without it, {after:.0f} ms with it"
        )
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
