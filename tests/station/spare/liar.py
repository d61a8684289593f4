"""A process beside the line that misbehaves as $LIAR says; it opens whatever it is told to."""

from __future__ import annotations

import array
import json
import os
import socket
import struct
import sys
import time

MESSAGE = struct.Struct("<BIQ")
OPENED, SCORED, REFUSED = 3, 5, 6


def say(kind: int, size: int) -> None:
    wire.send(MESSAGE.pack(kind, number, size))


def text(words: str) -> int:
    return os.pwrite(memory, words.encode(), 0)


def opened(**changes: object) -> None:
    _, job = json.loads(os.pread(memory, size, 0))
    info = {
        "name": job["name"], "digest": "f" * 64, "backend": "liar", "precision": "fp32", "device": "none",
        "classes": ["good", "bright", "dark"], "patch_px": 16, "channels": 1, "load_ms": 0.0, "features": 0,
        "novelty": False,
    }  # fmt: skip
    say(OPENED, text(json.dumps({"info": info | changes, "recipe": job["recipe_text"]})))


def scored(value: float) -> None:
    places = array.array("f", [value] * (3 * size))
    os.pwrite(memory, places.tobytes(), size * 256)
    say(SCORED, size)


if __name__ == "__main__":
    wire, memory = socket.socket(fileno=int(sys.argv[2])), int(sys.argv[3])
    how = os.environ["LIAR"]
    kind, number, size = MESSAGE.unpack(wire.recv(MESSAGE.size))
    if how == "exits":
        sys.exit(3)
    elif how == "short":
        wire.send(b"abc")
    elif how == "unknown kind":
        say(77, 0)
    elif how == "endless text":
        say(OPENED, 1 << 50)
    elif how == "no json":
        say(OPENED, text("{"))
    elif how == "wrong types":
        opened(patch_px="16")
    elif how == "huge patches":
        opened(patch_px=1 << 40)
    elif how == "other classes":
        opened(classes=["good", "bad"])
    elif how == "floods the log":
        while True:
            print("x" * 200, flush=True)
    elif how == "deaf":
        os.close(1)
        os.close(2)
        time.sleep(60.0)
    elif how == "cuts the memory off":
        try:
            os.ftruncate(memory, 0)
        except PermissionError as error:
            say(REFUSED, text(f"refused: {error}"))
    else:
        opened()
        if how == "answers twice":
            say(SCORED, 4)
        _, number, size = MESSAGE.unpack(wire.recv(MESSAGE.size))
        if how == "not a number":
            scored(float("nan"))
        elif how == "too many":
            size += 1
            scored(1 / 3)
        elif how == "no probabilities":
            scored(0.9)
        elif how == "works once":
            scored(1 / 3)
    time.sleep(60.0)
