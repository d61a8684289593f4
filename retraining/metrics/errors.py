"""What can go wrong with a comparison."""

from __future__ import annotations

from retraining.surfaces import DatasetError


class MetricsError(DatasetError):
    """Pictures, weights or figures that cannot be compared; the message says what to do about it."""
