"""The settings that all light controllers share."""

from __future__ import annotations

import ipaddress
from typing import Annotated, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from drivers.settings import Milliseconds, Section, Text, mistake


class LightSettings(Section):
    """A light controller."""

    default_baud: ClassVar[int] = 9600
    """What the protocol's serial lines run at as delivered."""

    address: Text
    """`tcp://192.168.0.10:PORT`, `udp://192.168.0.10:PORT` (the address as a number), or a serial device"""
    baud: Annotated[int, Field(ge=1200, le=4_000_000)] | None = None
    """the baud rate of a serial device; without it, the one that the controller is delivered with"""
    channels: Annotated[int, Field(ge=1, le=16)] = 4
    """the number of its outputs; they are numbered from 1"""
    timeout_ms: Milliseconds = 300.0
    """the longest wait for an answer, ms"""
    max_percent: Annotated[float, Field(gt=0.0, le=1000.0)] = 100.0
    """the brightest that a lamp may be set to, percent of its rating; lamps that are overdriven burn out"""

    @model_validator(mode="after")
    def _address_can_be_used(self) -> Self:
        if "://" not in self.address:
            return self
        right = "write tcp://ADDRESS:PORT or udp://ADDRESS:PORT, with the address as a number"
        try:
            found = urlsplit(self.address)
            host, port = found.hostname, found.port
            ipaddress.ip_address(host or "")
        except ValueError as error:
            raise mistake("address", f"cannot be used ({error}): {self.address}", right) from None
        if found.scheme not in ("tcp", "udp") or not port or found.path not in ("", "/"):
            raise mistake("address", f"cannot be used: {self.address}", right)
        if self.baud is not None:
            raise mistake("baud", "is not used on a network", "remove the key")
        return self

    @property
    def network(self) -> tuple[str, str, int] | None:
        """Scheme, host and port; None for a serial device."""
        if "://" not in self.address:
            return None
        found = urlsplit(self.address)
        assert found.hostname is not None
        assert found.port is not None
        return found.scheme, found.hostname, found.port
