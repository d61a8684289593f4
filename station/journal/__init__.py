"""The durable record of every part: written before it is sent, chained, never edited."""

from station.journal.events import PartRecord
from station.journal.schema import JournalError
from station.journal.values import PartDetails
from station.journal.writing import Counts, Journal

__all__ = ["Counts", "Journal", "JournalError", "PartDetails", "PartRecord"]
