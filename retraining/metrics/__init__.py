"""How good synthetic pictures are: :func:`compare`, and the table of what it found."""

from retraining.metrics.extractors import open_extractor
from retraining.metrics.features import Extractor
from retraining.metrics.figures import Comparison, compare
from retraining.metrics.intervals import Interval, t_interval, wilson
from retraining.metrics.tables import over_seeds, table

__all__ = [
    "Comparison",
    "Extractor",
    "Interval",
    "compare",
    "open_extractor",
    "over_seeds",
    "t_interval",
    "table",
    "wilson",
]
