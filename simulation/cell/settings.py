"""What the simulated cell does; every field is an option of its command line."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True)
class CellSettings:
    """What the cell does; every field is also an option of the command line."""

    link: str = _option("", "make a symbolic link to the pty here; it follows an unplug and replug")
    device: str = _option("", "serve this serial device instead of a pty")
    baud: int = _option(115200, "speed of --device")
    parts: int = _option(0, "the number of parts after which it ends; 0 is without end")
    first_part: int = _option(1, "id of the first part")
    rate_hz: float = _option(0.0, "parts per second; 0 is as fast as the station allows")
    in_flight: int = _option(1, "parts in the cell at the same time")
    recipe: str = _option("", "recipe named in every trigger; empty leaves it to the station")
    good_bin: int = _option(0, "the only bin for accepted parts")
    reject_bin: int = _option(9, "where parts without a verdict go")
    verdict_ms: float = _option(1000.0, "time for a verdict, from the trigger")
    resend_ms: float = _option(50.0, "a trigger without an answer is sent again after this time")
    heartbeat_ms: float = _option(250.0, "time between heartbeats")
    give_up_s: float = _option(60.0, "end after this time without a station, s; 0 is never")
    parent: int = _option(0, "end when the process with this id is no longer the parent; 0 is never")
    log: str = _option("", "write one JSON line per part to this file")
    summary: str = _option("", "write the summary to this file too")
    seed: int = _option(1, "the seed of the misbehaviour")
    late: float = _option(0.0, "probability that a trigger or acknowledgement is sent late")
    late_ms: float = _option(200.0, "how late")
    silent: float = _option(0.0, "probability that one is not sent at all")
    duplicate: float = _option(0.0, "probability that one is sent twice")
    garble: float = _option(0.0, "probability that bits flip in a frame, in either direction")
    wrong_part_id: float = _option(0.0, "probability that an acknowledgement names another part")
    wrong_bin: float = _option(0.0, "probability that the gate sticks at the reject bin")
    unplug_every_s: float = _option(0.0, "mean time between two unplugs, s; 0 is never (needs --link)")
    unplug_s: float = _option(0.3, "time until the plug is back, s")
    linger_s: float = _option(0.5, "time after the last part in which lost acknowledgements are repeated")


def problem_of(settings: CellSettings) -> str:
    """What is wrong with the combination, or ""."""
    if settings.good_bin == settings.reject_bin:
        return "--good-bin and --reject-bin must differ"
    if settings.unplug_every_s > 0 and not settings.link:
        return "--unplug-every-s needs --link PATH, because a new pty has a new number"
    if settings.unplug_every_s > 0 and settings.device:
        return "--unplug-every-s works on a pty only; pull the plug of a real device by hand"
    if settings.in_flight < 1:
        return "--in-flight is at least 1"
    return ""


def arguments_of(settings: CellSettings) -> list[str]:
    """The command line that gives these settings."""
    arguments = []
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if value != item.default:
            arguments += [f"--{item.name.replace('_', '-')}", str(value)]
    return arguments
