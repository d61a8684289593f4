"""Write the second network of an engine: how far a part is from good ones, by pretrained features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy.engine_folder import SECOND, write_second_network
from retraining.errors import DatasetError
from retraining.novelty.engine import KnownParts, Report, copy_that_takes_its_place
from retraining.novelty.leaving_out import PatchDistance, threshold_for_unseen
from retraining.novelty.material import Patches
from retraining.novelty.pretrained import BACKBONE, METHOD_IN_ENGINE, fit_in_batches
from retraining.surfaces import SOUND
from station.engines.folder import EngineManifest, load_manifest
from station.engines.interface import EngineError
from station.engines.manifest import Novelty
from station.engines.pretrained import open_pretrained


@dataclass(frozen=True, slots=True)
class AddedNetwork:
    """What :func:`add_second_network` measured and wrote."""

    manifest: EngineManifest
    novelty: Novelty
    found: Mapping[str, tuple[int, int]]
    """By defect class, how many unseen parts are above the threshold, and of how many."""


def add_second_network(
    folder: Path,
    parts: KnownParts,
    seed: int,
    report: Report = lambda what, done, total: None,
) -> AddedNetwork:
    """Fit on good patches alone, choose the threshold by unseen good parts, and record the golden parts.

    The files of the classifier stay as they are, bit by bit. Raises :class:`EngineError`,
    :class:`DatasetError` and :class:`TrainingError`; the folder is then as it was.
    """
    manifest = load_manifest(folder)
    if len(manifest.classes) == 1:
        raise EngineError(
            f"engine {manifest.name} knows good parts only: its own novelty is by pretrained features already"
        )
    if len(parts.good) < 2:
        raise DatasetError("the threshold needs good parts that the network was not fitted on; add some")
    patches, labels = parts.training
    good = patches[labels == SOUND]
    network = fit_in_batches(good, seed, lambda done, total: report("fitting good patches", done, total))
    with copy_that_takes_its_place(folder) as copy:
        distance = network.distance()
        far = _furthest(distance, parts.good, "measuring good parts", report)
        network.head.threshold = threshold_for_unseen(far)
        if not network.head.threshold > 0:
            raise DatasetError("the good parts do not differ at all; give pictures of different parts")
        found = {
            name: (_furthest(distance, own, f"measuring parts with {name}", report) > network.head.threshold)
            for name, own in parts.defective.items()
        }
        network.write(copy / SECOND)
        centres = len(network.head.centres)
        novelty = Novelty(
            method=METHOD_IN_ENGINE,
            features=BACKBONE,
            good_parts=len(parts.good),
            good_above=round(float(np.mean(far > network.head.threshold)), 4),
            description=f"{centres} centres of {len(good)} good patches; {parts.described}.",
        )
        open_pretrained(write_second_network(copy, novelty)).close()  # as the station will
    counts = {name: (int(above.sum()), len(above)) for name, above in found.items()}
    return AddedNetwork(load_manifest(folder), novelty, counts)


def _furthest(
    distance: PatchDistance, parts: Sequence[Patches], what: str, report: Report
) -> NDArray[np.float32]:
    """The distance of each part's furthest patch."""
    found = []
    for number, part in enumerate(parts, start=1):
        found.append(distance(part).max())
        report(what, number, len(parts))
    return np.array(found, np.float32)
