"""A camera's features as the shared code sees them: eight calls that a library's node map must answer.

pypylon, Harvesters and Aravis each have a node map of their own; a family wraps its own in a :class:`NodeMap`
and everything else in this folder works with it. Features go by the names of the SFNC, values as text, as
GenICam's own ``FromString`` and ``ToString`` take them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class FeatureRefusedError(Exception):
    """The camera does not take a value; its message is the library's reason.

    A camera that does not answer is something else: the library's own error, which a family makes a
    :class:`~drivers.cameras.interface.CameraLostError`.
    """


@dataclass(frozen=True, slots=True)
class Limits:
    """What a number may be."""

    lowest: float
    highest: float
    step: float | None = None


class NodeMap(Protocol):
    """The features of one camera."""

    def has(self, name: str) -> bool:
        """Whether the camera has the feature and it is available now."""

    def is_writable(self, name: str) -> bool:
        """Whether a feature that is there can be written, or a command executed, now."""

    def read(self, name: str) -> str | None:
        """The value of a feature that is there; None where it cannot be read."""

    def read_now(self, name: str) -> int:
        """The value of an integer feature, asked of the camera and not of the library's memory."""

    def write(self, name: str, value: str) -> None:
        """Raises :class:`FeatureRefusedError`."""

    def execute(self, name: str) -> None:
        """Run a command."""

    def limits(self, name: str) -> Limits | None:
        """The range of a number now; None for a feature of another type."""

    def choices(self, name: str) -> tuple[str, ...]:
        """The values an enumeration takes now; none for a feature of another type."""
