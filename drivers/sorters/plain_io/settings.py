"""The section ``sorter`` of a cell that is wired by single lines."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from drivers.settings import AtLeastOne, Count, Milliseconds, Section, Text, mistake
from drivers.sorters.handshake import HandshakeSettings
from drivers.sorters.plain_io.tracking import Belt

Wire = Annotated[int, Field(ge=0, le=4095)] | Annotated[str, StringConstraints(min_length=1, max_length=32)]
"""A line of the chip: its number, or its name (``gpioinfo`` shows both)."""


class BeltSettings(Section):
    """A gate behind the camera that opens for the good side for exactly the part that was judged good."""

    gate: Wire
    """the output that opens the gate for the good side; without power the gate stands on the reject side"""
    gate_at: AtLeastOne
    """the way from camera to gate: encoder ticks, or ms where there is no encoder"""
    gate_span: AtLeastOne
    """the piece of the belt that the gate acts on: the longest part, its slip, and the gate's own time"""
    encoder: Wire | None = None
    """the input of the encoder, one tick per rising edge; without it the belt must never change its speed"""
    sensor: Wire | None = None
    """the input of a second sensor between camera and gate; without it a part that is lost goes unnoticed"""
    sensor_at: Count = 0
    """the way from camera to second sensor; needed with `sensor`"""
    tolerance: Count = 0
    """how much earlier or later than expected a part may come to the second sensor"""

    def belt(self, most: int) -> Belt:
        """The distances for the tracker."""
        return Belt(self.gate_at, self.gate_span, self.sensor_at, self.tolerance, most)

    @model_validator(mode="after")
    def _can_be_tracked(self) -> Self:
        if (self.sensor is None) != (self.sensor_at == 0):
            raise mistake("sensor_at", "and `sensor` need each other", "write both, or leave both out")
        if problem := self.belt(1).problem:
            raise mistake("gate_at", f"is {self.gate_at}: {problem}", "move the gate, or shorten gate_span")
        return self


class PlainSettings(HandshakeSettings):
    """Times of the lines, whatever drives them."""

    setup_ms: Milliseconds = 2.0
    """the time from `ok` or `ng` to `valid`, ms"""
    pulse_ms: Milliseconds = 50.0
    """the length of `valid` where the cell does not acknowledge it, ms"""
    gap_ms: Milliseconds = 10.0
    """the time from the end of one result to the next, ms"""
    max_in_hand: Annotated[int, Field(ge=1, le=64)] = 1
    """the most parts in hand (triggered, not yet closed); results on lines bear no id, so that more than one
    needs a `belt`, which follows each part to its gate: with one, it is 8 where nothing is written"""

    @property
    def place(self) -> str:
        """Where the lines are, for people."""
        raise NotImplementedError

    @property
    def inputs(self) -> dict[str, Wire]:
        """Key -> line of every input."""
        return {}

    @property
    def outputs(self) -> dict[str, Wire]:
        """Key -> line of every output."""
        raise NotImplementedError

    @property
    def waits_for_ack(self) -> bool:
        """Whether `valid` stays on until the cell acknowledges it."""
        return "ack" in self.inputs

    @property
    def gate(self) -> BeltSettings | None:
        """The gate behind the camera that the station itself opens."""
        return None

    @model_validator(mode="after")
    def _lines_are_told_apart(self) -> Self:
        used: dict[Wire, str] = {}
        for key, line in (*self.inputs.items(), *self.outputs.items()):
            if line in used:
                raise mistake(key, f"is line {line}, as `{used[line]}`", "give each its own line")
            used[line] = key
        for key in ("heartbeat_ms", "link_timeout_ms", "resend_ms"):
            if key in self.model_fields_set:
                raise mistake(key, "has no meaning on single lines", "remove the key")
        if self.gate is None and self.max_in_hand > 1:
            raise mistake(
                "max_in_hand",
                f"is {self.max_in_hand}, but results on lines bear no id: after one trigger that is refused, "
                "or bounces, each result would be read as another part's",
                "write 1, add a `belt`, or use a wire with ids",
            )
        longest = self.setup_ms + self.pulse_ms + self.gap_ms
        if self.gate is not None and self.gate.encoder is None:
            longest = max(longest, self.gate.gate_at + self.gate.gate_span)
        if self.ack_timeout_ms < longest:
            problem = f"is {self.ack_timeout_ms:g}, and one part takes {longest:g}"
            raise mistake("ack_timeout_ms", problem, "write a longer one")
        return self


class CameraLinesSettings(PlainSettings):
    """A free-running camera whose own output lines carry the results, docs/plain-io.md."""

    sorts_triggered_parts_only: ClassVar[bool] = False
    uses_camera_lines: ClassVar[bool] = True
    kind: Literal["camera-lines"] = "camera-lines"
    """the sorter's protocol"""
    ok: Text | None = None
    """the line that is on for an accepted part, before `valid` and as long as `valid`, such as `Line3`"""
    ng: Text | None = None
    """the line that is on for a rejected or faulted part; never together with `ok`"""
    valid: Text | None = None
    """the line that is on while `ok` or `ng` may be read"""
    ready: Text | None = None
    """the line that is on while the station inspects"""

    @property
    def place(self) -> str:
        """Where the lines are, for people."""
        return "the camera"

    @property
    def outputs(self) -> dict[str, Wire]:
        """Key -> line of every output."""
        lines = {"ready": self.ready, "ok": self.ok, "ng": self.ng, "valid": self.valid}
        return {key: line for key, line in lines.items() if line is not None}

    @model_validator(mode="after")
    def _good_parts_are_told(self) -> Self:
        if self.ok is None:
            raise mistake("ok", "is missing: a missing NG would pass for a good part", "name a line for it")
        return self


class GpioSettings(PlainSettings):
    """A cell wired by single lines to Linux GPIO, docs/plain-io.md."""

    kind: Literal["gpio"] = "gpio"
    """the sorter protocol"""
    chip: Text = "/dev/gpiochip0"
    """the GPIO chip, as `gpiodetect` names it"""
    trigger: Wire
    """the input that asks for an inspection, at its rising edge"""
    ready: Wire
    """the output that is on while the station takes the next trigger"""
    ok: Wire
    """the output that is on for an accepted part, before `valid` and as long as `valid`"""
    ng: Wire
    """the output that is on for a rejected or faulted part; never together with `ok`"""
    valid: Wire
    """the output that is on while `ok` or `ng` may be read"""
    busy: Wire | None = None
    """the output that is on from a trigger until no part is in hand"""
    acquired: Wire | None = None
    """the output that is on from the part's frame until the next trigger: the part may leave the camera"""
    ack: Wire | None = None
    """the input by which the cell acknowledges: `valid` waits for its rising edge; without it, `valid` is a
    pulse, and its end counts as the acknowledgement"""
    inverted: tuple[Text, ...] = ()
    """the keys of the lines that are on at low level, such as `trigger`"""
    debounce_us: Annotated[int, Field(ge=0, le=100_000)] = 200
    """the time in which an input must not change back, us"""
    belt: BeltSettings | None = None
    """a gate behind the camera that the station itself opens"""

    @model_validator(mode="before")
    @classmethod
    def _belt_holds_several(cls, written: Any) -> Any:
        has_belt = isinstance(written, dict) and written.get("belt") is not None
        return {"max_in_hand": 8, **written} if has_belt else written

    @property
    def place(self) -> str:
        """Where the lines are, for people."""
        return self.chip

    @property
    def gate(self) -> BeltSettings | None:
        """The gate behind the camera that the station itself opens."""
        return self.belt

    @property
    def inputs(self) -> dict[str, Wire]:
        """Key -> line of every input."""
        belt = {} if self.belt is None else {"encoder": self.belt.encoder, "sensor": self.belt.sensor}
        lines: dict[str, Wire | None] = {"trigger": self.trigger, "ack": self.ack, **belt}
        return {key: line for key, line in lines.items() if line is not None}

    @property
    def outputs(self) -> dict[str, Wire]:
        """Key -> line of every output."""
        lines: dict[str, Wire | None] = {
            "ready": self.ready,
            "busy": self.busy,
            "acquired": self.acquired,
            "ok": self.ok,
            "ng": self.ng,
            "valid": self.valid,
            "gate": None if self.belt is None else self.belt.gate,
        }
        return {key: line for key, line in lines.items() if line is not None}

    @model_validator(mode="after")
    def _inverted_are_lines(self) -> Self:
        for key in self.inverted:
            if key not in self.inputs and key not in self.outputs:
                raise mistake("inverted", f"names {key!r}, which is no line here", "write the key of a line")
        return self
