"""Do unknown kinds surface? A class is left out of the training, and its parts are then shown.

The threshold is chosen so that a further usual part is above it with a probability of 2 % at most; other
unseen usual parts say what it costs, and the parts of the class that was left out say what it finds. A part's
distance is that of its furthest patch.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.novelty import LOGITS, Values, furthest, what_it_says
from retraining.errors import DatasetError
from retraining.metrics.intervals import wilson
from retraining.novelty.material import Material, Patches
from retraining.novelty.methods import METHODS
from station.decision import Rules, decide_by
from station.engines.manifest import FEATURES, PROBABILITIES
from station.files import write_file, write_json

ALLOWED = 0.02
"""The largest share of usual parts that may be above the threshold."""

PatchDistance = Callable[[Patches], NDArray[np.float32]]
"""Patches ``(N, patch, patch, C)`` -> their distance ``(N,)`` from what was fitted, larger = further."""
Fit = Callable[[Patches, NDArray[np.int64]], PatchDistance]
"""What fits a distance that needs no classifier: training patches and their classes."""
Report = Callable[[str, int, int, str], None]
"""Takes what is done, how much of it, of how much, and a line of text."""


@dataclass(frozen=True, slots=True)
class Surfaced:
    """What one method did for one class that was left out; counts of parts."""

    method: str
    left_out: str
    parts: int
    """Unseen parts of the class that was left out."""
    surfaced: int
    """How many of them are above the threshold."""
    noticed: int
    """How many are above it, or rejected under the name of another class."""
    usual: int
    """Unseen usual parts that are counted; the threshold was chosen on others."""
    usual_above: int
    threshold_parts: int
    """Usual parts on which the threshold was chosen."""

    @property
    def share(self) -> float:
        """The share of the parts that surface."""
        return self.surfaced / self.parts


def threshold_of(distances: Sequence[float] | NDArray[np.float32], allowed: float = ALLOWED) -> float:
    """The least distance above which at most a share ``allowed`` of these parts lies.

    Raises :class:`DatasetError` without parts.
    """
    ordered = np.sort(np.asarray(distances, np.float64))
    if not len(ordered):
        raise DatasetError("there are no unseen good parts to choose the threshold by; add some")
    return float(ordered[len(ordered) - 1 - int(allowed * len(ordered))])


def threshold_for_unseen(distances: Sequence[float] | NDArray[np.float32], allowed: float = ALLOWED) -> float:
    """The least of these distances above which a further part lies with a probability of ``allowed`` at most.

    Of ``n`` parts and a further one of their kind, each is the furthest with the same probability: above all
    but ``k`` of them the further one lies with (k + 1) / (n + 1). With too few parts for ``allowed``, it is
    the highest distance. Raises :class:`DatasetError` without parts.
    """
    count = len(distances)
    above = max(int(allowed * (count + 1) + 1e-9) - 1, 0)
    return threshold_of(distances, (above + 0.5) / max(count, 1))


def leave_out(
    material: Material,
    left_out: str,
    folder: Path,
    *,
    others: Mapping[str, Fit] | None = None,
    report: Report = lambda what, done, total, line: None,
) -> list[Surfaced]:
    """Train without a class and measure every method, and ``others``, which need no training.

    ``folder`` keeps the training and what was measured; the same call continues. Remove ``NAME.npz`` from it
    to measure one of ``others`` again. Raises
    :class:`DatasetError`.
    """
    if left_out not in material.classes or left_out == material.good:
        known = ", ".join(name for name in material.classes if name != material.good)
        raise DatasetError(f"{left_out!r} cannot be left out; --leave-out is all or one of {known}")
    model = folder / "model.onnx"
    if not model.is_file():
        model = material.train(
            left_out,
            folder,
            lambda done, total, line: report(f"training without {left_out}", done, total, line),
        )
    for_threshold, counted = material.usual_parts(left_out)
    strange = material.parts_of(left_out)
    if not strange or not counted:
        raise DatasetError(f"there are no unseen parts of {left_out}, or no usual ones; add some")
    groups = (for_threshold, counted, strange)
    patches, labels = material.training_patches(left_out)
    say = _remembering(what_it_says(model.read_bytes()), folder / "values.npz", report)
    trained, *seen = say([[patches], *groups])

    classes = tuple(name for name in material.classes if name != left_out)
    rejected = [bool(material.good) and _rejected(values, classes) for values in seen[2]]
    found = []
    for name, fit in METHODS.items():
        distance = fit(trained[0], labels)
        far = [furthest(distance, group) for group in seen]
        found.append(counted_parts(name, left_out, far, rejected))
    for name, fit_patches in (others or {}).items():
        kept_in = folder / f"{name}.npz"
        distances = _kept(kept_in, groups)
        if distances is None:
            away = fit_patches(patches, labels)
            show = partial(report, f"{name}: scoring parts")
            distances = _distances(away, groups, show)
            _keep(kept_in, distances)
        found.append(counted_parts(name, left_out, distances, rejected))
    write_json(folder / "surfaced.json", [asdict(one) for one in found])
    return found


def _distances(
    away: PatchDistance, groups: Sequence[Sequence[Patches]], report: Callable[[int, int, str], None]
) -> list[NDArray[np.float32]]:
    """The distance of each part's furthest patch, by group."""
    total, done = sum(map(len, groups)), 0
    found = []
    for group in groups:
        own = []
        for part in group:
            own.append(away(part).max())
            done += 1
            report(done, total, "")
        found.append(np.array(own, np.float32))
    return found


def _kept(path: Path, groups: Sequence[Sequence[Patches]]) -> list[NDArray[np.float32]] | None:
    """The distances that were measured before on as many parts; None where they were not."""
    if not path.is_file():
        return None
    with np.load(path) as kept:
        found = [kept[f"group{number}"] for number in range(len(groups))]
    return found if [len(one) for one in found] == [len(group) for group in groups] else None


def _keep(path: Path, distances: Sequence[NDArray[np.float32]]) -> None:
    content = io.BytesIO()
    np.savez(content, **{f"group{number}": own for number, own in enumerate(distances)})  # type: ignore[arg-type]
    write_file(path, content.getvalue())


def read_surfaced(folder: Path) -> list[Surfaced]:
    """What :func:`leave_out` measured; empty where it has not."""
    path = folder / "surfaced.json"
    return [Surfaced(**one) for one in json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []


def surfaced_table(found: Sequence[Surfaced], usual: str, *, rejected: bool = True) -> str:
    """One row per method: the share of parts of each left-out class that surface, the mean, the worst.

    ``rejected``: also how many surface or are rejected by a class, which means nothing for a network that has
    learned the class.
    """
    classes = list(dict.fromkeys(one.left_out for one in found))
    lines = [
        f"| method | {' | '.join(classes)} | mean | worst | "
        f"{'or rejected by a class | ' if rejected else ''}{usual} above |",
        "|---|" + "---|" * (len(classes) + 3 + rejected),
    ]
    for method in dict.fromkeys(one.method for one in found):
        own = {one.left_out: one for one in found if one.method == method}
        cells = [_cell(own[name].surfaced, own[name].parts) if name in own else "" for name in classes]
        worst = min(own.values(), key=lambda one: one.share)
        mean = np.mean([one.share for one in own.values()])
        noticed = np.mean([one.noticed / one.parts for one in own.values()])
        above = _cell(sum(one.usual_above for one in own.values()), sum(one.usual for one in own.values()))
        lines.append(
            f"| {method} | {' | '.join(cells)} | {mean:.1%} | {worst.left_out} {worst.share:.1%} | "
            f"{f'{noticed:.1%} | ' if rejected else ''}{above} |"
        )
    return "\n".join(lines)


def _cell(count: int, of: int) -> str:
    within = wilson(count, of)
    return f"{count / of:.1%} ({within.low:.0%} to {within.high:.0%}, {count} of {of})"


def counted_parts(
    method: str, left_out: str, far: Sequence[NDArray[np.floating[Any]]], rejected: Sequence[bool]
) -> Surfaced:
    """What a method found: ``far`` are the parts' distances, for the threshold, usual and strange ones."""
    for_threshold, counted, strange = far
    threshold = threshold_for_unseen(for_threshold)
    above = strange > threshold
    return Surfaced(
        method=method,
        left_out=left_out,
        parts=len(strange),
        surfaced=int(above.sum()),
        noticed=int((above | np.array(rejected, bool)).sum()),
        usual=len(counted),
        usual_above=int((counted > threshold).sum()),
        threshold_parts=len(for_threshold),
    )


def _rejected(values: Values, classes: tuple[str, ...]) -> bool:
    """Whether the classifier rejects the part under the name of a class that it knows."""
    scores = values[PROBABILITIES]
    zeros = (0.0,) * len(classes)
    return decide_by(scores, Rules(len(scores), classes, 1.0, zeros, zeros)).class_index > 0


def _remembering(
    say: Callable[[Patches], dict[str, NDArray[np.float32]]], path: Path, report: Report
) -> Callable[[list[list[Patches]]], list[list[Values]]]:
    """What a network says of groups of parts, kept in a file, so that it is asked once."""
    names = (PROBABILITIES, FEATURES, LOGITS)

    def of(groups: list[list[Patches]]) -> list[list[Values]]:
        sizes = [len(part) for group in groups for part in group]
        if path.is_file():
            with np.load(path) as kept:
                if kept["sizes"].tolist() == sizes:
                    return _split({name: kept[name] for name in names}, groups)
        said = []
        for number, part in enumerate(part for group in groups for part in group):
            report("scoring parts", number, len(sizes), "")
            said.append(say(part))
        whole = {name: np.concatenate([one[name] for one in said]) for name in names}
        np.savez(path, sizes=np.array(sizes), **whole)  # type: ignore[arg-type]
        return _split(whole, groups)

    return of


def _split(whole: Values, groups: list[list[Patches]]) -> list[list[Values]]:
    at = 0
    found: list[list[Values]] = []
    for group in groups:
        own: list[Values] = []
        for part in group:
            own.append({name: values[at : at + len(part)] for name, values in whole.items()})
            at += len(part)
        found.append(own)
    return found
