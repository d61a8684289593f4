"""The section ``telemetry`` of station.yaml, docs/mqtt.md."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from drivers.mqtt import BrokerSettings, Topic
from drivers.settings import mistake
from station.telemetry.sparkplug_settings import Sparkplug

ConsumerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")]
BROKER = "broker"
"""Who confirms where no receipts are required."""
RECORDS, EVENTS = "records", "events"
"""The streams."""
SPARKPLUG = "sparkplug"
"""Who has the records that were sent as Sparkplug B."""


class Telemetry(BrokerSettings):
    """Records, events, states and gauges for dashboards and databases, docs/mqtt.md."""

    topic: Topic
    """where the messages of this station are, such as `plant/line-1/station-4`"""
    receipts: Literal["required", "none"] = "none"
    """`required`: a record is delivered when every consumer has said so; `none`: when the broker has"""
    consumers: tuple[ConsumerName, ...] = ()
    """the consumers whose receipts are required, such as `historian`"""
    history: bool = False
    """whether a new consumer also gets what the journal had before it was named here"""
    replay_s: Annotated[float, Field(ge=0.0, le=3600.0)] = 10.0
    """after each reconnect, what was sent in this time before the loss is sent again, s"""
    resend_s: Annotated[float, Field(ge=1.0, le=3600.0)] = 10.0
    """the time without a receipt after which what waits for one is sent again, s"""
    home_assistant: Topic | None = None
    """the discovery prefix of Home Assistant, which is `homeassistant`; without it, it is told nothing"""
    gauges_s: Annotated[float, Field(ge=0.2, le=3600.0)] = 5.0
    """the time between two messages with gauges, s"""
    sparkplug: Sparkplug | None = None
    """the same as Sparkplug B, over a second connection; without it, there is none"""

    @model_validator(mode="after")
    def _consumers_fit(self) -> Self:
        if self.receipts == "required" and not self.consumers:
            raise mistake(
                "consumers", "is missing, though receipts are required", "name those who send receipts"
            )
        if self.receipts == "none" and self.consumers:
            raise mistake("consumers", "is set without receipts", "write `receipts: required`, or remove it")
        if len(set(self.consumers)) < len(self.consumers):
            raise mistake("consumers", "names one twice", "name each once")
        if self.sparkplug is not None and SPARKPLUG in self.consumers:
            raise mistake("consumers", f"names {SPARKPLUG}, which is taken", "give it another name")
        return self

    def for_sparkplug(self) -> Telemetry:
        """The same broker and times, where records are delivered when they were handed to the network."""
        return self.model_copy(update={"receipts": "none", "consumers": (SPARKPLUG,)})

    @property
    def holders(self) -> tuple[str, ...]:
        """Whose word moves a cursor: the consumers, or the broker."""
        return self.consumers or (BROKER,)

    def holders_of(self, stream: str) -> tuple[str, ...]:
        """Those on one stream, with Sparkplug B, which gets the records."""
        also = (SPARKPLUG,) if self.sparkplug is not None and stream == RECORDS else ()
        return (*self.holders, *also)
