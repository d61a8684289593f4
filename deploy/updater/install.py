"""A verified bundle into the store: opened trusting nothing, and *installed*; the station proves it."""

from __future__ import annotations

import shutil

from deploy.bundle import open_bundle
from deploy.updater.errors import UpdateError
from deploy.updater.update import Arrival
from station.engines import store
from station.engines.contents import read_contents


def install_bundle(arrival: Arrival) -> str:
    """Install a bundle; the digest of its engine.

    Raises ``InspectionError``, OSError; then nothing is changed.
    """
    opened = arrival.file.with_name("opened")
    try:
        open_bundle(arrival.file, opened)
        contents = read_contents(opened)
        if (contents.product, contents.digest) != (arrival.product.product, arrival.ordered.digest):
            raise UpdateError(
                f"{arrival.ordered.target.path}: holds the engine {contents.product} {contents.digest[:12]}, "
                "which "
                "is not what its path says: ship it again (`retrain ship`)"
            )
        provenance = store.Provenance(
            arrival.ordered.target.path,
            arrival.versions["images"]["targets"],
            arrival.versions["director"]["targets"],
            arrival.key_ids,
        )
        return store.install(arrival.engines, arrival.product.product, opened, provenance)
    finally:
        shutil.rmtree(opened, ignore_errors=True)
