"""The workshop's errors; each message says what to do about it."""

from __future__ import annotations


class TrainingError(Exception):
    """Training cannot start or go on; the message says what to do about it."""


class TrainingStoppedError(TrainingError):
    """SIGTERM or SIGINT came; a checkpoint was written and the same command goes on from it."""


class DatasetError(Exception):
    """A training set cannot be read or does not fit; the message says what to do about it."""


class ExportError(Exception):
    """A network cannot be exported faithfully; the message says where it differs."""
