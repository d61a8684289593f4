"""Simulate the cell (robot or PLC): it places parts, triggers, waits for verdicts, acknowledges bins.

``python -m simulation.cell --parts 200`` makes a pty and prints ``port: /dev/pts/N``, the port to configure
at the station. ``--device /dev/ttyUSB0`` uses a real serial line instead. On request it makes faults, which
depend on a seed. It ends with a summary in JSON. :func:`start_cell` starts it from Python.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import errno
import json
import os
import random
import select
import signal
import sys
import time
from array import array
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import IO, Any

from drivers.sorters.messages import Message
from drivers.sorters.serial.frames import Decoder
from simulation.cell.feed import Feed
from simulation.cell.jig import Jig, JigRules, Phase
from simulation.cell.line import DeviceLine, Mischief, PtyLine
from simulation.cell.process import CellProcess, start_cell
from simulation.cell.protocol import CellProtocol, CellRules, Part, Why
from simulation.cell.settings import CellSettings, problem_of
from simulation.place import EMPTY, Place, Seen

__all__ = ["Cell", "CellProcess", "CellSettings", "main", "start_cell"]

_MS = 1_000_000


class Account:
    """What happened to the parts, in constant memory except for eight bytes of latency per part."""

    def __init__(self) -> None:
        self.parts = 0
        self._bins: Counter[str] = Counter()
        self._outcomes: Counter[str] = Counter()
        self._why: Counter[str] = Counter()
        self._refusals = 0
        self._latencies_ms = array("d")

    def add(self, part: Part) -> None:
        """One part was sorted."""
        self.parts += 1
        self._bins[str(part.bin)] += 1
        self._outcomes[part.outcome or "none"] += 1
        self._why[str(part.why)] += 1
        self._refusals += part.refusals
        if part.why is Why.VERDICT:
            self._latencies_ms.append((part.sorted_ns - part.triggered_ns) / _MS)

    def as_dict(self) -> dict[str, Any]:
        """Counts; latency_ms is first TRIGGER to RESULT-ACK, of parts with a verdict."""
        ordered = sorted(self._latencies_ms)
        last = len(ordered) - 1
        quantiles = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
        return {
            "parts": self.parts,
            "bins": dict(sorted(self._bins.items())),
            "outcomes": dict(self._outcomes),
            "why": dict(self._why),
            "unanswered": self._outcomes["none"],
            "refusals": self._refusals,
            "latency_ms": {n: round(ordered[min(last, int(q * last + 0.5))], 3) for n, q in quantiles.items()}
            if ordered
            else {},
        }


class Cell:
    """The process: one loop around the protocol, the line and the log."""

    def __init__(self, settings: CellSettings, session: int) -> None:
        self.settings = settings
        self.line: PtyLine | DeviceLine = (
            DeviceLine(settings.device, settings.baud) if settings.device else PtyLine(settings.link)
        )
        self.mischief = Mischief(settings)
        rules = CellRules(
            good_bin=settings.good_bin,
            reject_bin=settings.reject_bin,
            verdict_ms=settings.verdict_ms,
            resend_ms=settings.resend_ms,
            heartbeat_ms=settings.heartbeat_ms,
            link_timeout_ms=4 * settings.heartbeat_ms,
            take_away_ms=settings.take_away_ms,
        )
        self.protocol = CellProtocol(
            session, rules, "simulated cell", self.mischief.gate, newest=settings.protocol_version
        )
        self.decoder = Decoder(settings.protocol_version)
        self.stop_requested = ""
        self.account = Account()
        self._place_before_camera = Place(Path(settings.place)) if settings.place else None
        self._seen: Seen | None = None
        """What is before the camera, as it was written last."""
        self._jig = Jig(_jig_rules(settings)) if settings.surface_mm_s else None
        self._diameters = [float(word) for word in settings.diameters.split(",")]
        self._on_jig: tuple[int, str] | None = None
        """Part and recipe that the robot has picked up and that are not triggered yet."""
        self._robot_inside: set[int] = set()
        """Parts that were triggered while the robot was in the view."""
        self._feed = Feed(Path(settings.feed), settings.feed_bin) if settings.feed else None
        self._log: IO[str] | None = open(settings.log, "w", encoding="utf-8") if settings.log else None  # noqa: SIM115
        self._outbox = bytearray()
        self._sizes = settings.sizes.split(",") if settings.sizes else []
        self._placed = 0
        self._unplugs = 0

    def run(self) -> str:
        """Serve until the end; returns why it ended."""
        self._plug_in()
        print(f"port: {self.line.port}", flush=True)
        now = started = time.monotonic_ns()
        next_place = now
        unplug_at = self.mischief.next_unplug(now)
        replug_at = finish_at = 1 << 62
        ended = ""
        while True:
            now = time.monotonic_ns()
            if now >= unplug_at and finish_at == 1 << 62:
                self._pull_out()
                self._unplugs += 1
                unplug_at, replug_at = 1 << 62, now + int(self.settings.unplug_s * 1e9)
            if now >= replug_at:
                self._plug_in()
                replug_at, unplug_at = 1 << 62, self.mischief.next_unplug(now)
            if not ended:
                ended = self._why_end(now, started)
                if ended:
                    finish_at = now + int(self.settings.linger_s * 1e9)
                    if ended != "all parts sorted":
                        finish_at = now
                    self._send(self.protocol.stop(now), now)
                elif self._may_place(now) and now >= next_place:
                    next_place = self._place(now, next_place)
            self._trigger_on_jig(now)
            self._send(self.protocol.scan(now), now)
            self._write(self.mischief.due(now))
            self._take_sorted()
            self._show_place()
            if now >= finish_at:
                break
            moments = [self.protocol.next_due(), unplug_at, replug_at, finish_at]
            moments += [at for at, _ in self.mischief.waiting]
            if self._may_place(now) and not ended:
                moments.append(next_place)
            if self._jig is not None:
                moments.append(self._jig.next_ns(now))
            self._wait(min(moments) - now)
        self.line.pull_out()
        self._take_sorted()
        if self._log is not None:
            self._log.close()
        return ended

    def summary(self, ended: str, seconds: float) -> dict[str, Any]:
        """Counts, latencies and mischief, for JSON."""
        return {
            "ended": ended,
            **self.account.as_dict(),
            "seconds": round(seconds, 3),
            "station_restarts": self.protocol.station_restarts,
            "garbled": self.decoder.garbled,
            "unplugs": self._unplugs,
            "robot_inside": len(self._robot_inside),
            "faults": self.protocol.faults[-5:],
            "mischief": {name: n for name, n in self.mischief.done.items() if n},
        }

    # -- the loop's steps

    def _why_end(self, now: int, started: int) -> str:
        if self.stop_requested and not any(part.trigger for part in self.protocol.waiting.values()):
            return self.stop_requested
        settings = self.settings
        if settings.parts and self.account.parts >= settings.parts:
            return "all parts sorted"
        heard = max(self.protocol.last_heard_ns, started)
        if settings.give_up_s > 0 and now - heard > settings.give_up_s * 1e9:
            return "station vanished"
        if settings.parent and os.getppid() != settings.parent:
            return "parent process gone"
        return ""

    def _may_place(self, now: int) -> bool:
        settings = self.settings
        wanted = not settings.parts or self._placed < settings.parts
        return (
            wanted
            and not self.stop_requested
            and self.protocol.station_ready
            and len(self.protocol.waiting) < self._switched("cell-in-flight", settings.in_flight)
            and self.protocol.before_camera is None
            and (self._jig is None or (self._on_jig is None and self._jig.phase(now) is Phase.EMPTY))
            and (self._feed is None or self._feed.has_part())
        )

    def _switched(self, name: str, otherwise: float) -> float:
        return self.mischief.switches.on().get(name, otherwise)

    def _place(self, now: int, due: int) -> int:
        number = (self.settings.first_part + self._placed - 1) % 0xFFFF_FFFF + 1
        part_id = number if self._feed is None else self._feed.take()
        self._placed += 1
        recipe = "no-such-recipe" if self._switched("cell-other-recipe", 0) else self._announced(part_id)
        take_away_ms = self._switched("cell-take-away-ms", self.settings.take_away_ms)
        self.protocol.rules = dataclasses.replace(self.protocol.rules, take_away_ms=take_away_ms)
        if self._jig is None:
            messages = self.protocol.place(part_id, recipe, now)
            self._show_place()
            self._send(messages, now)
        else:
            self._jig.load(part_id, now)
            self._on_jig = (part_id, recipe)
        if self.settings.rate_hz <= 0:
            return now
        period = int(1e9 / self.settings.rate_hz)
        return max(due, now - period) + period

    def _trigger_on_jig(self, now: int) -> None:
        """Trigger the part on the jig as soon as the robot is out of the view; too early is a fault."""
        if self._jig is None or self._on_jig is None:
            return
        hasty = bool(self._switched("cell-robot-inside", 0))
        if now < (self._jig.set_down_ns() if hasty else self._jig.clear_ns()):
            return
        (part_id, recipe), self._on_jig = self._on_jig, None
        messages = self.protocol.place(part_id, recipe, now)
        if self._jig.phase(now) is not Phase.TURNING:
            self._robot_inside.add(part_id)
            text = f"part {part_id} was triggered with the robot in view"
            messages += self.protocol.spoil(part_id, text)
        self._show_place()
        self._send(messages, now)

    def _announced(self, part_id: int) -> str:
        """The recipe, and the size where the cell knows it."""
        if not self._sizes:
            return self.settings.recipe
        return f"{self.settings.recipe}@{self._sizes[(part_id - 1) % len(self._sizes)]}"

    def _show_place(self) -> None:
        if self._place_before_camera is None:
            return
        part = self.protocol.before_camera
        seen = Seen(part.part_id if part is not None else EMPTY)
        if self._jig is not None:
            seen = self._jig.seen(time.monotonic_ns())
        if seen != self._seen:
            self._seen = seen
            self._place_before_camera.show(seen)

    def _plug_in(self) -> None:
        self.line.plug_in()
        self._send(self.protocol.line_up(time.monotonic_ns()), time.monotonic_ns())

    def _pull_out(self) -> None:
        self.line.pull_out()
        self._outbox.clear()
        self.protocol.line_down()

    def _send(self, messages: list[Message], now: int) -> None:
        for message in messages:
            self._write(self.mischief.outgoing(message, now))

    def _write(self, frames: list[bytes]) -> None:
        if self.line.fd < 0:
            return
        for frame in frames:
            if len(self._outbox) < 4096:
                self._outbox += frame
        if not self._outbox:
            return
        try:
            del self._outbox[: os.write(self.line.fd, self._outbox)]
        except BlockingIOError:
            self._outbox.clear()  # nobody reads: lost, as on a wire

    def _wait(self, ns: int) -> None:
        seconds = min(max(ns, 0) / 1e9, 0.05)
        if self.line.fd < 0:
            time.sleep(seconds)
            return
        readable, _, _ = select.select([self.line.fd], [], [], seconds)
        if not readable:
            return
        try:
            data = os.read(self.line.fd, 4096)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EINTR):
                return
            raise
        now = time.monotonic_ns()
        for message in self.decoder.feed(self.mischief.noise(data)):
            self._send(self.protocol.received(message, now), now)
        self._take_sorted()

    def _take_sorted(self) -> None:
        for part in self.protocol.sorted_parts:
            self.account.add(part)
            line = _log_line(part)
            if self._jig is not None:
                self._jig.unload(time.monotonic_ns())
                line |= self._turn_of(part.part_id)
            if self._log is not None:
                self._log.write(json.dumps(line) + "\n")
                self._log.flush()
        self.protocol.sorted_parts.clear()

    def _turn_of(self, part_id: int) -> dict[str, Any]:
        """How the part was turned: one speed of the surface, whatever its diameter."""
        assert self._jig is not None
        diameter_mm = self._diameters[(part_id - 1) % len(self._diameters)]
        return {
            "diameter_mm": diameter_mm,
            "turns_per_minute": round(self._jig.rules.turns_per_minute(diameter_mm), 3),
            "turn_ms": round(self._jig.rules.turn_ms(diameter_mm), 3),
            "robot_inside": part_id in self._robot_inside,
        }


def _jig_rules(settings: CellSettings) -> JigRules:
    return JigRules(settings.load_ms, settings.leave_ms, settings.unload_ms, settings.surface_mm_s)


def _log_line(part: Part) -> dict[str, Any]:
    """One part; times are CLOCK_MONOTONIC, which all processes of a machine share."""
    sent = bool(part.triggered_ns)
    return {
        "part_id": part.part_id,
        "recipe": part.recipe,
        "trigger": part.trigger,
        "triggered_ns": part.triggered_ns,
        "trigger_ack_ns": part.acknowledged_ns,
        "left_camera_ns": part.left_camera_ns,
        "result_ns": part.result_ns,
        "sorted_ns": part.sorted_ns,
        "bin": part.bin,
        "outcome": part.outcome or None,
        "class_index": part.class_index,
        "reason": part.reason,
        "why": str(part.why),
        "refusals": part.refusals,
        "latency_ms": round((part.sorted_ns - part.triggered_ns) / _MS, 3) if sent else None,
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the cell; exit code 0 at the planned end, 2 for a wrong option, 3 if the station vanished."""
    parser = argparse.ArgumentParser(prog="python -m simulation.cell", description=__doc__.split("\n")[0])
    for item in dataclasses.fields(CellSettings):
        parser.add_argument(
            f"--{item.name.replace('_', '-')}",
            type=type(item.default),
            default=item.default,
            help=f"{item.metadata['help']} (default: {item.default!r})",
        )
    settings = CellSettings(**vars(parser.parse_args(arguments)))
    problem = problem_of(settings)
    if problem:
        parser.error(problem)
    cell = Cell(settings, session=1 + random.SystemRandom().randrange(0xFFFF))

    def stop(_number: int, _frame: FrameType | None) -> None:
        cell.stop_requested = "stopped on request"

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    started = time.monotonic()
    ended = cell.run()
    text = json.dumps(cell.summary(ended, time.monotonic() - started))
    if settings.summary:
        Path(settings.summary).write_text(text + "\n", encoding="utf-8")
    with contextlib.suppress(BrokenPipeError):
        print(text, flush=True)
    return 3 if ended == "station vanished" else 0


if __name__ == "__main__":
    sys.exit(main())
