"""Engines as they come home, for the tests of the store: an opened bundle of the tiny engine."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import yaml

from station.engines.contents import CONTENTS, Contents, ListedFile
from station.engines.manifest import EngineRules
from station.engines.states import Provenance
from station.engines.store import install

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
