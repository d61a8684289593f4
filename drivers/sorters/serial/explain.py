"""``python -m drivers.sorters.serial.explain``: print the protocol's example, or explain bytes.

Without arguments it prints one complete part of docs/serial-protocol.md, frame by frame, or line by line with
``--lines``. With bytes in hexadecimal (from a line monitor, ``02 01 ... 03``) it prints their messages and
what is broken; with ``--lines`` and lines in quotes it does so with them.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from drivers.sorters import messages as wire
from drivers.sorters.serial import frames, lines

STATION = 0x51A7
CELL = 0x0007
PART = 1001
RECIPE = "servo-motor-housing"
TO_CELL = "station -> cell"
TO_STATION = "cell -> station"
_REJECT = wire.ResultBody(3, PART, wire.WireOutcome.REJECT, 2, 4, "scratch 0.98 patch 7")


def worked_part() -> list[tuple[str, wire.Message]]:
    """(direction, message) of a first contact and one rejected part."""
    ready = wire.Heartbeat(True, wire.EndState.READY)
    return [
        (TO_STATION, wire.Message(CELL, 0, 1, wire.Hello(wire.Role.CELL, "cell 4"))),
        (TO_CELL, wire.Message(STATION, CELL, 1, wire.Hello(wire.Role.STATION, "station 4"))),
        (TO_STATION, wire.Message(CELL, STATION, 2, ready)),
        (TO_CELL, wire.Message(STATION, CELL, 2, replace(ready, reason=RECIPE))),
        (TO_STATION, wire.Message(CELL, STATION, 3, wire.TriggerBody(PART, RECIPE))),
        (TO_CELL, wire.Message(STATION, CELL, 3, wire.TriggerAck(3, PART))),
        (TO_CELL, wire.Message(STATION, CELL, 4, _REJECT)),
        (TO_STATION, wire.Message(CELL, STATION, 4, wire.ResultAck(3, PART, wire.Sorted.IN_BIN, 2))),
    ]


def explain(data: bytes, decoder: frames.Decoder | lines.Decoder | None = None) -> list[str]:
    """One line per message, and a last one when something was broken."""
    decoder = decoder or frames.Decoder()
    found = [
        f"{frames.type_of(m.body).name:<15} {m.sender:04X} -> {m.receiver:04X} number {m.sequence}: {m.body}"
        for m in decoder.feed(data)
    ]
    if decoder.garbled or decoder.noise:
        found.append(f"{decoder.garbled} broken messages, {decoder.noise} bytes between messages")
    if decoder.other_version is not None:
        found.append(
            f"a message of protocol version {decoder.other_version}; read are {wire.OLDEST} to {wire.VERSION}"
        )
    return found


def main(arguments: list[str]) -> int:
    """Print; exit code 1 when there is no intact message."""
    as_lines = arguments[:1] == ["--lines"]
    given = arguments[as_lines:]
    if not given:
        for direction, message in worked_part():
            print(f"{direction}  {frames.type_of(message.body).name}")
            spelled = lines.encode(message).decode("ascii").rstrip() if as_lines else ""
            print(f"    {spelled or frames.encode(message).hex(' ').upper()}")
        return 0
    if as_lines:
        data = "\n".join([*given, ""]).encode("ascii", "replace")
    else:
        try:
            data = bytes.fromhex("".join(given).replace("0x", "").replace(",", ""))
        except ValueError as error:
            print(
                f"these are not hexadecimal bytes ({error}); write them as 02 01 0A ... 03", file=sys.stderr
            )
            return 1
    decoder = lines.Decoder if as_lines else frames.Decoder
    print("\n".join(explain(data, decoder())) or "no message")
    return 0 if decoder().feed(data) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
