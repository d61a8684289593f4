"""How far two people agree beyond chance, and where they do not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from retraining.labels.answers import Answer


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two people's answers about the pictures that both have labelled."""

    people: tuple[str, str]
    pictures: int
    agreed: int
    kappa: float
    """Cohen's (1960): 1 for full agreement, 0 for chance; NaN without a picture or with one class only."""
    low: float
    high: float
    """The ends of its 95 % interval (Fleiss, Cohen, Everitt 1969, large samples)."""
    confusion: Mapping[tuple[str, str], int]
    differing: tuple[str, ...]
    """Paths on which they differ."""


def agreement(people: tuple[str, str], one: Mapping[str, Answer], two: Mapping[str, Answer]) -> Agreement:
    """The agreement of two people's answers, by digest."""
    both = sorted(set(one) & set(two), key=lambda digest: one[digest].path)
    pairs = [(one[digest].label, two[digest].label) for digest in both]
    counts = Counter(pairs)
    differing = tuple(one[digest].path for digest in both if one[digest].label != two[digest].label)
    n = len(pairs)
    if not n:
        return Agreement(people, 0, 0, math.nan, math.nan, math.nan, counts, ())
    labels = sorted({label for pair in pairs for label in pair})
    p = {(a, b): counts[a, b] / n for a in labels for b in labels}
    rows = {a: sum(p[a, b] for b in labels) for a in labels}
    columns = {b: sum(p[a, b] for a in labels) for b in labels}
    observed = sum(p[a, a] for a in labels)
    chance = sum(rows[a] * columns[a] for a in labels)
    if chance >= 1.0:
        return Agreement(people, n, n - len(differing), math.nan, math.nan, math.nan, counts, differing)
    kappa = (observed - chance) / (1 - chance)
    a_term = sum(p[a, a] * (1 - (rows[a] + columns[a]) * (1 - kappa)) ** 2 for a in labels)
    b_term = (1 - kappa) ** 2 * sum(
        p[a, b] * (columns[a] + rows[b]) ** 2 for a in labels for b in labels if a != b
    )
    c_term = (kappa - chance * (1 - kappa)) ** 2
    deviation = math.sqrt(max(0.0, a_term + b_term - c_term) / n) / (1 - chance)
    low, high = max(-1.0, kappa - 1.96 * deviation), min(1.0, kappa + 1.96 * deviation)
    return Agreement(people, n, n - len(differing), kappa, low, high, counts, differing)


def agreement_table(found: Agreement) -> str:
    """Kappa, what each says where, and the pictures on which they differ, in Markdown."""
    first, second = found.people
    if not found.pictures:
        return f"{first} and {second} have no picture in common"
    labels = sorted({label for pair in found.confusion for label in pair})
    kappa = "not defined: only one class was named"
    if not math.isnan(found.kappa):
        kappa = f"{found.kappa:.2f} (95 % interval {found.low:.2f} to {found.high:.2f})"
    lines = [
        f"{first} and {second}: {found.agreed} of {found.pictures} pictures alike, Cohen's kappa {kappa}",
        "",
        f"| {first} \\ {second} | " + " | ".join(labels) + " |",
        "|---" * (len(labels) + 1) + "|",
    ]
    for a in labels:
        counts = " | ".join(str(found.confusion.get((a, b), 0)) for b in labels)
        lines.append(f"| {a} | {counts} |")
    if found.differing:
        lines += ["", "they differ on: " + ", ".join(found.differing)]
    return "\n".join(lines)
