"""The settings of the simulated cell; every field is an option of its command line."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from drivers.sorters.messages import OLDEST, VERSION


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True)
class CellSettings:
    """What the simulated cell does; every field is also an option of the command line."""

    link: str = _option(
        "", "path of a symbolic link to the pty, which stays the same when the cable is unplugged"
    )
    device: str = _option("", "use this serial device instead of a pty")
    baud: int = _option(115200, "speed of --device")
    parts: int = _option(0, "number of parts after which the cell ends; 0: never")
    first_part: int = _option(1, "id of the first part")
    rate_hz: float = _option(0.0, "parts per second; 0: as fast as the station allows")
    in_flight: int = _option(1, "parts in the cell at the same time")
    protocol_version: int = _option(VERSION, "newest version of the serial protocol that the cell speaks")
    place: str = _option("", "file that says which part lies before the camera, for the simulated camera")
    take_away_ms: float = _option(
        0.0, "time after TRIGGER-ACK at which a part leaves the camera, ms; 0: when the protocol allows it"
    )
    recipe: str = _option("", "recipe named in every trigger; empty: the station's own")
    sizes: str = _option(
        "", "widths of the parts in their order, px, joined by commas, then from the first again; announced"
    )
    surface_mm_s: float = _option(
        0.0, "speed of every part's surface on a rotating jig that a robot loads, mm/s; 0: no jig"
    )
    diameters: str = _option(
        "50",
        "diameters of the parts on the jig in their order, mm, joined by commas, then from the first again",
    )
    load_ms: float = _option(300.0, "time in which the robot sets a part down on the jig, ms")
    leave_ms: float = _option(200.0, "time in which the robot then leaves the camera's view, ms")
    unload_ms: float = _option(300.0, "time in which the robot takes a part from the jig, ms")
    feed: str = _option(
        "",
        "log of another cell: its parts are placed here, under their ids, once they lie in --feed-bin there",
    )
    feed_bin: int = _option(1, "bin of the other cell whose parts come here")
    good_bin: int = _option(0, "bin for accepted parts, and only for them")
    reject_bin: int = _option(9, "bin for parts without a verdict")
    verdict_ms: float = _option(1500.0, "time from the trigger in which a verdict must come, ms")
    resend_ms: float = _option(50.0, "time after which a trigger without an answer is sent again, ms")
    heartbeat_ms: float = _option(250.0, "time between two heartbeats, ms")
    give_up_s: float = _option(60.0, "end when nothing came from the station for this time, s; 0: never")
    parent: int = _option(0, "end when the process with this id is no longer the parent; 0: never")
    log: str = _option("", "file for one JSON line per part")
    summary: str = _option("", "file for the summary, which is also printed")
    switches: str = _option("", "file with the faults that are on now, see simulation/switchboard.py")
    seed: int = _option(1, "seed of the simulated faults")
    late: float = _option(0.0, "probability that a trigger or acknowledgement is sent late")
    late_ms: float = _option(200.0, "delay of a late message, ms")
    silent: float = _option(0.0, "probability that a trigger or acknowledgement is not sent")
    duplicate: float = _option(0.0, "probability that a trigger or acknowledgement is sent twice")
    garble: float = _option(0.0, "probability that bits flip in a frame, in either direction")
    wrong_part_id: float = _option(0.0, "probability that an acknowledgement names another part")
    wrong_bin: float = _option(0.0, "probability that the gate sticks at the reject bin")
    unplug_every_s: float = _option(
        0.0, "mean time between two unpluggings of the cable, s; 0: never (needs --link)"
    )
    unplug_s: float = _option(0.3, "time for which the cable stays unplugged, s")
    linger_s: float = _option(0.5, "time to wait after the last part, to repeat lost acknowledgements, s")


def problem_of(settings: CellSettings) -> str:
    """What is wrong with a combination of settings, or an empty string."""
    if settings.good_bin == settings.reject_bin:
        return "--good-bin and --reject-bin must differ"
    if settings.unplug_every_s > 0 and not settings.link:
        return "--unplug-every-s needs --link PATH, because a new pty has a new number"
    if settings.unplug_every_s > 0 and settings.device:
        return "--unplug-every-s works only with a pty; unplug a real device by hand"
    if not OLDEST <= settings.protocol_version <= VERSION:
        return f"--protocol-version is {OLDEST} to {VERSION}"
    if settings.in_flight < 1:
        return "--in-flight must be 1 or more"
    if settings.surface_mm_s < 0 or not all(_is_size(word) for word in settings.diameters.split(",")):
        return "--surface-mm-s and --diameters are millimetres, such as 200 and 40,62.5"
    if settings.surface_mm_s and settings.in_flight > 1:
        return "--surface-mm-s needs --in-flight 1: a part stays on the jig until its result has come"
    return ""


def _is_size(word: str) -> bool:
    try:
        return 0 < float(word) < 1e4
    except ValueError:
        return False


def arguments_of(settings: CellSettings) -> list[str]:
    """The command line that gives these settings."""
    arguments = []
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if value != item.default:
            arguments += [f"--{item.name.replace('_', '-')}", str(value)]
    return arguments
