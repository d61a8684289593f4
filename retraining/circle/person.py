"""The person at the label page, played by the truth of the lot: class and boxes of each part."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from retraining.circle.lots import Lot
from retraining.data.kept_parts import kept_parts
from retraining.data.manifest import file_digest
from retraining.labels.answers import Answer, AnswerLog

NAME = "truth of the lot"


def label_all(received: Path, lot: Lot, drawn: int = 0) -> dict[str, int]:
    """Answer for the parts below the folder of ``retrain receive``; how many got each class.

    ``drawn``: for so many of them, drawn at random; 0: for all.
    """
    parts, answers, counts = kept_parts(received), [], dict[str, int]()
    if drawn:
        chosen = np.random.default_rng(1).permutation(len(parts))[:drawn]
        parts = [parts[index] for index in sorted(chosen)]
    for part in parts:
        truth = lot.part(part.item.part_id)
        answers.append(Answer(part.path, file_digest(received / part.path), truth.label, truth.boxes))
        counts[truth.label] = counts.get(truth.label, 0) + 1
    AnswerLog(received).append(NAME, answers)
    return counts
