"""Write the novelty of an engine: all methods measured beside each other, one chosen, fitted and appended.

Which method is chosen is measured on the engine itself: the statistics are fitted without each defect class
in turn, and the share of unseen parts of that class is counted that are then above the threshold. The
network has learned the class all the same, so that these shares are higher than those of a class that nobody
has seen (:mod:`retraining.novelty.leaving_out` trains without it); they compare methods, and promise nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from deploy.engine_folder import EngineDescription, write_engine_folder
from deploy.novelty import Values, append_novelty, furthest, what_it_says
from retraining.errors import DatasetError
from retraining.novelty.leaving_out import Surfaced, counted_parts, threshold_for_unseen
from retraining.novelty.material import Labelled, Patches
from retraining.novelty.methods import METHODS
from station.engines.folder import EngineManifest, load_manifest, model_bytes, read_surface
from station.engines.interface import EngineError
from station.engines.manifest import OWN, Novelty, Variant

Report = Callable[[str, int, int], None]
"""Takes what is done, how much of it, and of how much."""


@dataclass(frozen=True, slots=True, eq=False)
class KnownParts:
    """What the novelty of an engine is fitted and measured on."""

    training: Labelled
    """Patches that the engine was trained on, or of the same kind, with their classes."""
    good: Sequence[Patches]
    """Good parts that it was not trained on, by which the threshold is chosen."""
    defective: Mapping[str, Sequence[Patches]]
    """Unseen parts of each defect class, by which the methods are compared; may be empty."""
    described: str
    """The parts in words, for engine.yaml."""


@dataclass(frozen=True, slots=True)
class Added:
    """What :func:`add_novelty` measured and wrote."""

    manifest: EngineManifest
    novelty: Novelty
    compared: tuple[Surfaced, ...]
    """The methods by defect class; empty without defective parts."""
    above: Mapping[Variant, float]
    """The share of the good parts above the threshold, by ONNX file."""


def add_novelty(
    folder: Path,
    parts: KnownParts,
    method: str = "auto",
    report: Report = lambda what, done, total: None,
) -> Added:
    """Give every network of an engine folder the output ``novelty`` and record the golden parts again.

    The probabilities stay as they are, bit by bit. ``method``: one of
    :data:`retraining.novelty.methods.METHODS`, or ``auto`` for the best of them. Raises
    :class:`EngineError` and :class:`DatasetError`; the folder is then as it was.
    """
    import onnx

    manifest = load_manifest(folder)
    if len(manifest.classes) == 1:
        raise EngineError(
            f"engine {manifest.name} knows good parts only: its novelty is all that it has; train it again"
        )
    if method != "auto" and method not in METHODS:
        raise DatasetError(f"no method is called {method!r}; choose auto or one of {', '.join(METHODS)}")
    if len(parts.good) < 2:
        raise DatasetError("the threshold needs good parts that the engine was not trained on; add some")
    patches, labels = parts.training
    say = what_it_says(model_bytes(manifest, "fp32"))
    trained = say(patches)
    good = _said(say, parts.good, "scoring good parts", report)
    compared = _compare(manifest.classes, say, (trained, labels), good, parts.defective, report)
    chosen = method if method != "auto" else best(compared)
    distance = METHODS[chosen](trained, labels)

    networks: dict[Variant, bytes] = {}
    above: dict[Variant, float] = {}
    for variant in manifest.files:
        content = model_bytes(manifest, variant)
        said = good
        if variant != "fp32":
            said = _said(what_it_says(content), parts.good, f"scoring good parts by {variant}", report)
        far = furthest(distance, said)
        threshold = threshold_for_unseen(far)
        above[variant] = float(np.mean(far > threshold))
        model = append_novelty(onnx.load_from_string(content), distance, threshold)
        networks[variant] = model.SerializeToString()
    novelty = Novelty(
        method=chosen,
        features=OWN,
        good_parts=len(parts.good),
        good_above=round(max(above.values()), 4),
        description=f"Fitted on {len(patches)} patches of known classes; {parts.described}.",
    )
    golden = [(part.truth, read_surface(manifest, part)) for part in manifest.golden]
    described = replace(EngineDescription.of(manifest), novelty=novelty)
    with copy_that_takes_its_place(folder) as copy:
        for variant, content in networks.items():
            (copy / manifest.files[variant].relative_to(manifest.folder)).write_bytes(content)
        write_engine_folder(copy, described, golden)
    return Added(load_manifest(folder), novelty, tuple(compared), above)


def best(compared: Sequence[Surfaced]) -> str:
    """The method of the highest mean share; among equals, and without any, the first of the list."""

    def mean(method: str) -> float:
        return float(np.mean([one.share for one in compared if one.method == method] or [0.0]))

    return max(METHODS, key=mean)


def _compare(
    classes: tuple[str, ...],
    say: Callable[[Patches], dict[str, NDArray[np.float32]]],
    training: tuple[Values, NDArray[np.int64]],
    good: Sequence[Values],
    defective: Mapping[str, Sequence[Patches]],
    report: Report,
) -> list[Surfaced]:
    """Every method, fitted without each defect class in turn."""
    trained, labels = training
    found = []
    for name, parts in defective.items():
        strange = _said(say, parts, f"scoring parts with {name}", report)
        kept = labels != classes.index(name)
        values = {key: value[kept] for key, value in trained.items()}
        for method, fit in METHODS.items():
            distance = fit(values, labels[kept])
            far = [furthest(distance, group) for group in (good[::2], good[1::2], strange)]
            found.append(counted_parts(method, name, far, [False] * len(strange)))
    return found


def _said(
    say: Callable[[Patches], dict[str, NDArray[np.float32]]],
    parts: Sequence[Patches],
    what: str,
    report: Report,
) -> list[Values]:
    found: list[Values] = []
    for number, part in enumerate(parts, start=1):
        found.append(say(part))
        report(what, number, len(parts))
    return found


@contextmanager
def copy_that_takes_its_place(folder: Path) -> Iterator[Path]:
    """A copy of a folder to change; it takes the folder's place when the block ends well."""
    folder = folder.resolve()
    with TemporaryDirectory(prefix=".novelty-", dir=folder.parent) as beside:
        copy = Path(shutil.copytree(folder, Path(beside) / folder.name))
        yield copy
        folder.rename(Path(beside) / "before")
        copy.rename(folder)
