"""The durable record of every part: written before it is sent, chained, never edited."""

from station.journal.events import STATION_EVENTS, PartRecord
from station.journal.schema import JournalError
from station.journal.values import CameraUsed, PartDetails, PartMarks
from station.journal.writing import Counts, Journal

__all__ = [
    "STATION_EVENTS",
    "CameraUsed",
    "Counts",
    "Journal",
    "JournalError",
    "PartDetails",
    "PartMarks",
    "PartRecord",
]
