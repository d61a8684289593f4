"""Every fault by its code: the one list that verdicts, wire, log, metrics and documents use.

A code stands at the beginning of the reason (``F101 no frame: ...``), and so in the journal, in the log, in
the reason that the cell receives (its first 64 characters) and in the label ``code`` of the metrics. An
operator looks it up with ``station faults F101`` or in docs/faults.md, which is the output of
``station faults --markdown``.

A code is never given to something else: people write it into the programs of their cells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum

from drivers.errors import InspectionError

_CODE = re.compile(r"F[0-9]{3}\b")

GROUPS = {
    "1": "No frame that surely shows the part: the part is a fault",
    "2": "The picture cannot be inspected: the part is a fault",
    "3": "The engine gives no scores: the part is a fault",
    "4": "Time, load and the end of the station: the part is a fault",
    "5": "What the cell did: the part is a fault",
    "6": "The station is not ready: triggers are refused or wait",
    "7": "The station refuses a trigger: no result follows",
    "8": "After the result: the receipt is bad, or a message says so",
    "9": "Beside the line: parts are inspected as ever, and something else is lost",
}
"""By the first digit."""


class FaultsError(InspectionError):
    """A fault that was asked for is not in the list; the message says what is."""


class Code(Enum):
    """A fault: its code, what it means, what causes it, and what a person does about it."""

    NO_FRAME = (
        "F101",
        "no frame arrived within `limits.grab_timeout_ms`",
        "the trigger did not reach the camera, a cable is loose, or the exposure takes longer than the limit",
        "check the trigger wire and the camera's cable; compare exposure and line rate with the limit",
    )
    CAMERA_LOST = (
        "F102",
        "the camera was lost while the part waited for its frame",
        "power, cable, network, or another program that uses the camera",
        "check power and cable; the station opens the camera again by itself",
    )
    EXPOSURES_LOST = (
        "F103",
        "the camera lost exposures, so that the frame may show another part",
        "the network or the processor is too slow for the frames, or triggers come too fast",
        "check packet size, network card and load of the machine; see docs/cameras.md",
    )
    FRAME_OF_ANOTHER = (
        "F104",
        "the frame's number is not that of the part's trigger",
        "stray edges on the trigger wire, or a frame that was delivered twice",
        "check the trigger wire for interference; let the cell wait for TRIGGER-ACK",
    )
    FROZEN = (
        "F105",
        "the picture is equal to the one before, bit by bit",
        "the camera or its driver is frozen",
        "switch the camera off and on",
    )
    INCOMPLETE = (
        "F106",
        "the frame is incomplete",
        "packets were lost on the way, or the trigger of a line-scan camera ended too early",
        "check cable, network card and packet size; see docs/cameras.md",
    )
    LATE_EXPOSURE = (
        "F107",
        "the exposure may have begun when the part was no longer surely in place",
        "the camera or the machine was held up for longer than `limits.in_place_ms`",
        "let the cell leave the part in place longer, and set `limits.in_place_ms` to that time",
    )
    NEXT_IN_PLACE = (
        "F108",
        "the next part was triggered before this one's frame had arrived",
        "the cell does not wait for ACQUISITION-DONE or the result",
        "let the cell wait for ACQUISITION-DONE or RESULT before it brings the next part",
    )
    FRAME_LOST = (
        "F109",
        "free running: the camera lost the frame of this part",
        "the network or the processor is too slow for the frames",
        "check packet size, network card and load of the machine",
    )
    LAMP_FAILED = (
        "F110",
        "a lamp was not confirmed to be lit, so that its frame would not show what the recipe asks for",
        "the light controller is off, not connected, refuses, or somebody else sets it",
        "do what the reason says; try the lamp with `station lights set`; see docs/lights.md",
    )

    BAD_FRAME = (
        "F201",
        "the frame is not a picture of the kind that the recipe needs",
        "another pixel format or size than the recipe expects, or a file that is no picture",
        "set the camera's pixel format and size to those of the recipe",
    )
    NO_PRODUCT = (
        "F202",
        "there is no product in the frame",
        "no part in place, no light, or a background as bright as the part",
        "check that a part is in place and the light is on",
    )
    TRUNCATED = (
        "F203",
        "the product is cut by the frame's border, interrupted, or too short",
        "the part lies at another place, or the turn began too late or ended too early",
        "check the part's place and the start of the turn",
    )
    TWO_PRODUCTS = (
        "F204",
        "more than one object is in the frame",
        "a second part, a hand or the gripper in the field of view",
        "leave only one part in the field of view",
    )
    WRONG_SIZE = (
        "F205",
        "the product has another size than the recipe says",
        "another product is in place, or the camera's distance has changed",
        "check the product and the recipe; measure the scale again",
    )
    SIZE_UNKNOWN = (
        "F206",
        "nobody has said which of the recipe's widths lies in place",
        "the cell's trigger names the recipe without its width",
        "let the cell send `recipe@width`, or prepare the recipe with its width",
    )
    STALE = (
        "F207",
        "lines of the frame were not exposed anew",
        "the driver left lines of an earlier frame in its buffer, or the jig did not turn",
        "check that the jig turns; report the camera's driver if it does",
    )
    NO_TEXTURE = (
        "F208",
        "the picture has neither the noise nor the texture of metal",
        "the picture is out of focus, covered, or does not come from the sensor",
        "check focus, lens and cover",
    )
    EDGE = (
        "F209",
        "something that is neither product nor background lies along an edge",
        "dirt, a chip, or a holder in the field of view",
        "clean the jig and look at the picture of the part",
    )
    TILTED = (
        "F210",
        "the product is tilted more than the recipe allows",
        "the part does not sit right in the jig",
        "check the jig and how the robot places the part",
    )
    SATURATED = (
        "F211",
        "too much of the product is white",
        "exposure, gain or light is too high",
        "lower exposure, gain or light",
    )
    BLACK = (
        "F212",
        "too much of the product is black",
        "the light is off or too weak, or the exposure is too short",
        "check the light, then the exposure",
    )
    TURN_INCOMPLETE = (
        "F213",
        "the end of the picture does not show its beginning again",
        "the jig turned less than once, stood still, or turned at another speed than the line rate needs",
        "check the jig's speed, the recipe's surface_speed_mm_s, and that the camera takes enough lines",
    )
    FRAMES_MISSING = (
        "F214",
        "the recipe lights a part by several lamps, and there is not one frame for each",
        "a single picture was given to a recipe with `stereo`",
        "give one picture for each lamp, in the order of the recipe's lamps",
    )
    MOVED = (
        "F215",
        "the product does not lie at the same place in the frames of its lamps",
        "the part moved, or was taken away, between two exposures",
        "let the cell leave the part in place until ACQUISITION-DONE; check the jig for play",
    )
    CUTTING_FAILED = (
        "F220",
        "an error of this software while the surface was found and cut",
        "a fault of this software",
        "report the log lines of this part",
    )

    NO_SCORES = (
        "F301",
        "the engine gave no scores",
        "an error of the back end, such as memory that is used up",
        "run `station check`; if it fails, prove the engine again with `station activate`",
    )
    SCORES_TOO_LATE = (
        "F302",
        "the engine did not answer within the part's deadline",
        "the machine is too slow or busy with something else",
        "look what else runs on the machine; run `station bench`",
    )
    ENGINE_ERROR = (
        "F303",
        "an error of this software or of its libraries in the engine",
        "a fault of this software or of the back end",
        "report the log lines of this part; choose another back end meanwhile",
    )
    BAD_SCORES = (
        "F304",
        "the scores are no probabilities of every patch, or a novelty that the recipe needs is missing",
        "the engine is damaged or does not fit the recipe",
        "run `station check`; ship the engine again",
    )
    NO_DECISION = (
        "F305",
        "an error of this software in the decision",
        "a fault of this software",
        "report the log lines of this part",
    )
    NOT_TRUSTED = (
        "F306",
        "the engine no longer reproduces its golden parts",
        "memory, processor or back end have changed since the engine was proven",
        "check the machine, then prove the engine again with `station activate`",
    )
    KNOWN_BAD_FIRST = (
        "F307",
        "the known-bad part was not rejected yet since the start or the changeover",
        "`decision.known_bad_first` of the recipe asks for it, and nobody has placed it",
        "place the known-bad part and trigger it; it must be rejected as its class",
    )

    TOO_LATE = (
        "F401",
        "no verdict was written within `limits.part_deadline_ms`",
        "the camera, the engine or the disk was too slow for this part",
        "look at the times of the part (`station journal show`) for the slow stage",
    )
    OVERLOAD = (
        "F402",
        "the part waited for other parts until its deadline",
        "parts come faster than they can be judged",
        "lower the pace of the cell, or use a faster machine (`station bench`)",
    )
    LINE_HALTED = (
        "F403",
        "the line halted by itself while the part was in hand",
        "see the reason that follows the code",
        "see the code of that reason",
    )
    STOPPING = (
        "F404",
        "the trigger came while the station was stopping",
        "the cell had not yet received *not ready*",
        "nothing; inspect the part again",
    )
    STOPPED = (
        "F405",
        "the station stopped before the part was done",
        "the station was stopped, or it halted by itself",
        "inspect the part again",
    )
    IN_DOUBT = (
        "F406",
        "the station ended before the verdict: found at the next start",
        "a power cut, a crash, or a process that was killed",
        "find the part and inspect it again",
    )

    OTHER_RECIPE = (
        "F501",
        "the cell asked for another recipe than the one prepared",
        "the cell and the station were not changed over together",
        "prepare the recipe (`station prepare`), or correct the cell's program",
    )
    TRIGGERED_WHILE_HALTED = (
        "F502",
        "the cell triggered while the station was halted",
        "the trigger crossed *not ready* on the wire, or the cell does not look at ready",
        "let the cell look at ready before it triggers",
    )
    TRIGGERED_EARLY = (
        "F503",
        "the cell triggered the part while the part before it had to lie before the camera",
        "the cell does not wait for ACQUISITION-DONE or the result",
        "let the cell wait for ACQUISITION-DONE or RESULT before the next TRIGGER",
    )

    STARTING = (
        "F601",
        "the station is starting",
        "camera, engine and journal are opened and proven",
        "wait; `systemctl status` shows the step",
    )
    STATION_STOPPING = (
        "F602",
        "the station is stopping",
        "a person, systemd or a finished run stops it",
        "start it again when it has ended",
    )
    HALTED = (
        "F603",
        "the station is halted on request",
        "a person halted it (`station halt`); the reason is theirs",
        "`station resume`",
    )
    OVERLOADED = (
        "F604",
        "parts come faster than they can be judged",
        "the pace of the cell, or a machine that is too slow",
        "nothing at once: it is ready again when all parts in hand are done; then lower the pace",
    )
    DISTRUST = (
        "F605",
        "the engine is not trusted any more",
        "it failed a golden part",
        "check the machine, then prove the engine again with `station activate`",
    )
    CAMERA_NOT_THERE = (
        "F606",
        "the camera is lost",
        "power, cable, network, or another program that uses the camera",
        "check power and cable; the station opens the camera again by itself",
    )
    UNPREPARED = (
        "F607",
        "no recipe is prepared: the cell has asked for another one",
        "the recipe is just being prepared, or it cannot be; the reason says which",
        "wait; if the reason names an error, correct it, and let the cell ask again or run `station prepare`",
    )
    JOURNAL_FAILED = (
        "F610",
        "the journal cannot be written: the station has halted by itself",
        "the disk is full, read-only or damaged, or another program holds or changed the file",
        "do what the message says; the station is started again by systemd",
    )
    ENGINE_FAILED = (
        "F611",
        "the engine failed `limits.engine_failures_allowed` times in a row: the station has halted by itself",
        "the back end or its device is broken",
        "run `station check`; choose another back end",
    )
    CALL_HANGS = (
        "F612",
        "a call to camera or engine did not return within `limits.hung_after_ms`: the station has halted by "
        "itself",
        "the driver or the device hangs",
        "if it comes again after the restart, switch the device off and on",
    )
    STAGE_FAILED = (
        "F613",
        "a stage of the line ended with an error of this software: the station has halted by itself",
        "a fault of this software",
        "report the log lines before it; systemd starts the station again",
    )
    CAMERA_REFUSES = (
        "F614",
        "the camera refuses its settings: the station has halted by itself",
        "the configuration asks for something that this camera cannot do",
        "correct the setting that the message names, then start the station again",
    )
    THREAD_DEAD = (
        "F615",
        "a thread is dead: the station has halted by itself",
        "a fault of this software, or memory that is used up",
        "report the log lines before it; systemd starts the station again",
    )

    NOT_READY = (
        "F701",
        "TRIGGER-REFUSED 1: the station is not ready",
        "one of the codes F6xx, which the reason names",
        "see that code",
    )
    UNKNOWN_RECIPE = (
        "F702",
        "TRIGGER-REFUSED 2: the trigger names another recipe than the one prepared",
        "the cell and the station were not changed over together",
        "prepare the recipe (`station prepare`), or correct the cell's program",
    )
    BUSY = (
        "F703",
        "TRIGGER-REFUSED 3: more parts are in hand than `sorter.max_in_hand`, or the station is overloaded",
        "the cell triggers faster than parts are judged",
        "let the cell trigger again when the station is ready",
    )
    PART_IN_HAND = (
        "F704",
        "TRIGGER-REFUSED 4: this part id is still being inspected under another trigger",
        "the cell gave two parts one id, or began its count anew",
        "let the cell give each part its own id",
    )

    UNACKNOWLEDGED = (
        "F801",
        "the cell did not acknowledge a result in time",
        "the line is cut, the cell has stopped, or its program does not answer",
        "check the line; find the part: its bin is not known",
    )
    MISPLACED = (
        "F802",
        "the cell put the part into another bin than the result named",
        "the cell's program or its gate",
        "find the part; check the gate and the table of bins in the cell",
    )
    PROTOCOL_VERSION = (
        "F811",
        "FAULT 1: the two ends have no protocol version in common",
        "the software of one end is older than the other's",
        "update the end that the message names",
    )
    TRIGGER_CONFLICT = (
        "F812",
        "FAULT 2: one trigger number came again with another part or recipe",
        "the cell's program uses a number twice",
        "let the cell count its triggers up",
    )
    DEVICE = (
        "F813",
        "FAULT 3: the cell reports a fault of a device",
        "gate, jig or robot; the text says which",
        "look at that device",
    )

    NO_VERDICT = (
        "F821",
        "no verdict had come when the part was at the gate: it was rejected",
        "the way from camera to gate is too short for the time of a verdict, or the trigger was refused",
        "compare the way with `limits.part_deadline_ms`; slow the belt down or move the gate",
    )
    TOO_CLOSE = (
        "F822",
        "another part is too near: both were rejected",
        "parts lie nearer on the belt than `belt.gate_span`, or than the sensor can tell apart",
        "space the parts out",
    )
    MISSING = (
        "F823",
        "the part did not come to the second sensor",
        "it was taken away, fell off, is stuck, or has slipped by more than `belt.tolerance`",
        "look at the belt; find the part",
    )
    EXTRA = (
        "F824",
        "something came to the second sensor when no part should: it is rejected",
        "it was put on behind the camera, or a part has slipped by more than `belt.tolerance`",
        "look at the belt; cover it between camera and gate",
    )
    OVERTAKEN = (
        "F825",
        "another part came to the second sensor in its place: both are rejected",
        "parts have changed their order between camera and sensor",
        "look at the belt and its guides",
    )
    GATE_LATE = (
        "F826",
        "the gate was set late",
        "the machine was held up for longer than a quarter of `belt.gate_span`",
        "find the part: the message says which side it may have gone to; look what else runs on the machine",
    )
    POSITION_LOST = (
        "F827",
        "the belt's position was lost: all that lay on it was rejected",
        "edges of the encoder were lost, the belt ran backwards, or the device was gone",
        "check the encoder and its cable",
    )
    TOO_MANY = (
        "F828",
        "more parts than `sorter.max_in_hand` were between camera and gate: all were rejected",
        "the belt holds more parts than the limit says",
        "set a higher `sorter.max_in_hand`",
    )

    LOSING = (
        "F901",
        "what an observer keeps is lost: pictures, rare parts, records of telemetry",
        "a disk that is full, read-only or too slow, or a target that does not answer",
        "do what the reason says; parts are inspected meanwhile",
    )

    def __init__(self, code: str, meaning: str, cause: str, remedy: str) -> None:
        self.code = code
        self.meaning = meaning
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        return self.code

    @property
    def group(self) -> str:
        """What all faults with the same first digit have in common."""
        return GROUPS[self.code[1]]

    def of(self, detail: str) -> str:
        """The reason: the code, then what was seen this time."""
        return f"{self.code} {detail}"


BY_CODE = {one.code: one for one in Code}


def code_of(reason: str) -> Code | None:
    """The code that a reason begins with; None where it has none, as in records of older versions."""
    found = _CODE.match(reason)
    return BY_CODE.get(found.group()) if found else None


def code_of_problem(problem: str) -> Code | None:
    """The code whose name a driver's message begins with: ``missing: it did not come`` is MISSING."""
    return Code.__members__.get(problem.partition(":")[0].replace(" ", "_").upper())


def markdown() -> str:
    """The whole list as tables, one per group."""
    return "\n\n".join(_tables()) + "\n"


def _tables() -> Iterator[str]:
    for digit, heading in GROUPS.items():
        rows = [
            f"| {one} | {one.meaning} | {one.cause} | {one.remedy} |" for one in Code if one.code[1] == digit
        ]
        head = ["| code | meaning | cause | remedy |", "|---|---|---|---|"]
        yield "\n".join([f"### {heading}", "", *head, *rows])
