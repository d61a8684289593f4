"""The workshop's errors: one tree, and each message says what to do about it."""

from __future__ import annotations

from drivers.errors import InspectionError
from station.strict_yaml import DocumentError


class WorkshopError(InspectionError):
    """The workshop cannot do what was asked; the root of all errors below, and what ``retrain`` reports."""


class TrainingError(WorkshopError):
    """A training cannot start or cannot continue."""


class TrainingStoppedError(TrainingError):
    """SIGTERM or SIGINT stopped a training; it wrote a checkpoint, and the same command continues from it."""


class DivergedError(TrainingError):
    """A loss is no longer a number; the training wrote nothing that could enter a data set."""


class CollapseError(TrainingError):
    """A generator draws nearly the same picture again and again; its weights are not written."""


class DatasetError(WorkshopError):
    """A set of pictures cannot be read, or does not fit what it is wanted for."""


class RefusedPictureError(DatasetError):
    """The station would refuse a picture: on the line, its part is a fault."""


class BadFilesError(DatasetError):
    """Several files of a set cannot be used; the message has one line for each."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        listed = "\n  ".join(faults)
        super().__init__(f"{len(faults)} files cannot be used; mend or remove them:\n  {listed}")
        self.faults = faults
        """One sentence per file."""


class MetricsError(WorkshopError):
    """Pictures, weights or figures cannot be compared."""


class ExportError(WorkshopError):
    """An exported network would not decide as the trained network does."""


class ExperimentError(WorkshopError):
    """An experiment cannot be run or reported."""


class PlanError(WorkshopError, DocumentError):
    """The plan of an experiment cannot be used; the message names file, line, key and remedy."""
