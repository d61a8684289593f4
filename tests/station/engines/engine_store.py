"""Engines as they come home, for the tests of the store: opened bundles of the tiny engine and of others."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml

from deploy.engine_folder import EngineDescription, write_engine_folder
from station.engines.contents import CONTENTS, Contents, ListedFile
from station.engines.manifest import EngineRules, PartFigures
from station.engines.states import Provenance
from station.engines.store import install
from station.recipe import PatchGrid, SurfaceSize
from tests.conftest import TINY_CLASSES, TINY_PATCH, tiny_figures, tiny_network, tiny_surface

Golden = Callable[[str, int], np.ndarray]
FROM = Provenance("tiny/stable/x.bundle", 3, 2, ("a" * 64,))


def opened_bundle(engine: Path, into: Path, description: str = "a new one", version: int = 1) -> Path:
    """A copy of an engine folder as ``open_bundle`` leaves it; each ``description`` is another version."""
    shutil.copytree(engine, into)
    document = yaml.safe_load((into / "engine.yaml").read_text())
    document["description"] = description
    (into / "engine.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    (into / "card.md").write_text("A test's.")
    list_files(into, version)
    return into


def list_files(folder: Path, version: int = 1) -> None:
    """Write the bundle.json of a folder that a test has changed."""
    (folder / CONTENTS).unlink(missing_ok=True)
    document = yaml.safe_load((folder / "engine.yaml").read_text())
    files = [
        ListedFile(
            path=path.relative_to(folder).as_posix(),
            size=path.stat().st_size,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in folder.rglob("*")
        if path.is_file()
    ]
    contents = Contents(
        product=document["name"],
        version=version,
        minimum_station="0.1.0",
        rules=EngineRules(**document["rules"]),
        data=["d" * 64],
        licences=["Apache-2.0"],
        files=sorted(files, key=lambda one: one.path),
    )
    (folder / CONTENTS).write_bytes(contents.to_json())


def installed(engines: Path, opened_from: Path, scratch: Path, description: str = "a new one") -> str:
    """Install a version of an engine beside ``engines/tiny``; its digest."""
    folder = scratch / f"opened-{description.replace(' ', '-')}"
    return install(engines, "tiny", opened_bundle(opened_from, folder, description), FROM)


def network(change: Callable[[dict[str, np.ndarray]], None] = lambda weights: None):
    """The tiny network with other weights."""
    from onnx import numpy_helper

    model = tiny_network()
    weights = {one.name: numpy_helper.to_array(one).copy() for one in model.graph.initializer}
    change(weights)
    del model.graph.initializer[:]
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    return model


def engine(into: Path, model, golden: Golden = tiny_surface, height: int = 64) -> Path:
    """An engine folder of a network, with golden parts that the workshop has recorded with it."""
    import onnx

    folder = into / "tiny"
    folder.mkdir(parents=True)
    onnx.save(model, str(folder / "model.onnx"))
    description = EngineDescription(
        name="tiny",
        network="tiny",
        description="A new one.",
        classes=TINY_CLASSES,
        surface=SurfaceSize(height=height, width=32),
        patch=PatchGrid(size=TINY_PATCH),
        rules=EngineRules(),
        figures={"fp32": PartFigures(**tiny_figures())},
    )
    parts = [(TINY_CLASSES[n % 3], golden(TINY_CLASSES[n % 3], 50 + n)) for n in range(6)]
    write_engine_folder(folder, description, parts)
    return folder
