"""``retrain ship``: an engine into a repository."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retraining.cli.repository_options import Channel, KeyOption, RepositoryArgument, now, sign


def ship(
    engine: Annotated[Path, typer.Argument(help="The engine's folder, as `retrain product` writes it.")],
    repository: RepositoryArgument,
    licence: Annotated[
        list[str],
        typer.Option(
            help="Under which the engine may be used and passed on, an SPDX identifier or words; mind that "
            "of the pictures. Several times."
        ),
    ],
    channel: Annotated[Channel, typer.Option(help="canary first, or stable at once.")] = Channel.CANARY,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="A `dataset.json` that it was trained on, where engine.yaml does not say so; several times."
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="File of a recipe whose temperature and thresholds go along, as `retrain product` writes "
            "it. Default: those that the engine was proven with."
        ),
    ] = None,
    version: Annotated[
        int | None, typer.Option(min=1, help="Version of the engine. Default: one above the highest.")
    ] = None,
    minimum_version: Annotated[
        str | None, typer.Option(help="The oldest release of the station that can use it. Default: this one.")
    ] = None,
    key: KeyOption = None,
) -> None:  # fmt: skip
    """Put an engine into one file, its bundle, and list this in a channel of a repository.

    The bundle holds the networks in fp32 and INT8, the second network where there is one, golden and
    known-bad parts, engine.yaml, the card, the temperature and the thresholds. Stations install it when it is
    published and the plant's director orders it too.

    Exit code: 0 published, 1 it waits for signatures.

    Examples:

        retrain ship runs/mine/engines/mine repository --licence Apache-2.0 --data data/mine
        --key keys/workshop.pem --key keys/online.pem

        retrain ship engines/mine repository --recipe runs/mine/mine.yaml --licence "the plant alone"
        --key keys/workshop.pem

    """  # fmt: skip
    from deploy.bundle import write_bundle
    from deploy.repository.changes import add_engine
    from deploy.repository.folder import open_repository
    from retraining.data.manifest import file_digest, load_dataset
    from retraining.errors import ExportError
    from station.engines.folder import load_manifest
    from station.engines.manifest import EngineRules
    from station.engines.prove import require_fit
    from station.recipe import load_recipe

    manifest = load_manifest(engine)
    if data and manifest.data:
        raise typer.BadParameter("--data: engine.yaml says what the engine was trained on; leave it out")
    if not data and not manifest.data:
        raise ExportError(
            f"{engine}: engine.yaml does not say which data it was trained on: name its data set by --data"
        )
    digests = list(manifest.data)
    for one in data or ():
        load_dataset(one)
        digests.append(file_digest(one / "dataset.json" if one.is_dir() else one))
    rules = None
    if recipe is not None:
        chosen = load_recipe(recipe)
        require_fit(manifest, chosen)
        rules = EngineRules.of(chosen)

    def make(into: Path, number: int) -> Path:
        return write_bundle(
            engine, into, version=number, data=digests, licences=licence, rules=rules,
            minimum_station=minimum_version,
        )  # fmt: skip

    with open_repository(repository, now()) as opened:
        path, contents = add_engine(opened, manifest.name, channel, make, version)
        size = sum(one.size for one in contents.files)
        print(f"engine {contents.digest}, version {contents.version}, {size / 1e6:.1f} MB: {path}")
        sign(opened, key)
