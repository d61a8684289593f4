"""Engines as they come home, for the tests of the store: an opened bundle of the tiny engine."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import yaml

from station.engines.states import Provenance
from station.engines.store import BUNDLE, install

FROM = Provenance("tiny/stable/x.bundle", 3, 2, ("a" * 64,))


def opened_bundle(engine: Path, into: Path, description: str = "a new one") -> Path:
    """A copy of an engine folder as ``open_bundle`` leaves it; each ``description`` is another version."""
    shutil.copytree(engine, into)
    document = yaml.safe_load((into / "engine.yaml").read_text())
    document["description"] = description
    (into / "engine.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    list_files(into)
    return into


def list_files(folder: Path) -> None:
    """Write the bundle.json of a folder that a test has changed."""
    files = [
        {
            "path": path.relative_to(folder).as_posix(),
            "size": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != BUNDLE
    ]
    (folder / BUNDLE).write_text(json.dumps({"files": files}))


def installed(engines: Path, opened_from: Path, scratch: Path, description: str = "a new one") -> str:
    """Install a version of an engine beside ``engines/tiny``; its digest."""
    folder = scratch / f"opened-{description.replace(' ', '-')}"
    return install(engines, "tiny", opened_bundle(opened_from, folder, description), FROM)
