"""The durable record of every part: written before it is sent, chained, never edited."""

from station.journal.errors import JournalError
from station.journal.events import STATION_EVENTS
from station.journal.jobs import Counts, FinishedPart
from station.journal.policy import JournalSettings
from station.journal.record import PartRecord
from station.journal.values import CameraUsed, PartDetails, PartMarks
from station.journal.writing import Journal

__all__ = [
    "STATION_EVENTS",
    "CameraUsed",
    "Counts",
    "FinishedPart",
    "Journal",
    "JournalError",
    "JournalSettings",
    "PartDetails",
    "PartMarks",
    "PartRecord",
]
