"""An updater that is killed before each of its writes, one after the other.

Not a test: test_updater_kill.py starts it below ``simulation/campaign/disk.c``, as
``python killed_updater.py FOLDER ENGINE STEP``. Each kill strikes a forked process that updates from a stick:
new roots, new metadata, one engine. What is trusted and installed afterwards is checked here. Only every
STEP-th write is struck. Prints the number of writes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from deploy.bundle import write_bundle
from deploy.updater import record
from deploy.updater.install import install_bundle
from deploy.updater.settings import load_settings
from deploy.updater.stick import find_repositories
from deploy.updater.update import update
from station.engines.store import Store
from tests.deploy.plant_of_updates import SETTINGS
from tests.deploy.tuf_repository import Repository

ROLES = ("timestamp", "snapshot", "targets")


def main(folder: Path, engine: Path, step: int) -> None:
    before, struck, stick = folder / "before", folder / "struck", folder / "stick"
    shutil.copytree(engine, before / "engines" / "tiny")
    (folder / "made").mkdir()
    shutil.copytree(engine, folder / "made" / "tiny")
    (folder / "made" / "tiny" / "card.md").write_text("# tiny\n")
    bundle = write_bundle(
        folder / "made" / "tiny",
        folder,
        version=2,
        data=["0" * 64],
        licences=["none"],
        minimum_station="0.0.1",
    )
    images, director = Repository(), Repository()
    (before / "images.root.json").write_bytes(images.first_root)
    (before / "director.root.json").write_bytes(director.first_root)
    settings = SETTINGS.format(address="http://127.0.0.1:9", station="hall-3")
    (before / "updater.yaml").write_text(settings.replace("housing", "tiny"))
    for one in (images, director):
        one.publish(bump=False)
        one.write(stick / ("images" if one is images else "director"))
    assert "no engine" in run(before, stick)

    path = f"tiny/stable/{bundle.name}"
    images.delegate("tiny.stable", ["tiny/stable/*"])
    entry = {"product": "tiny", "version": 2}
    images.add_target(path, bundle.read_bytes(), "tiny.stable", **entry, minimum_version="0.0.1")
    director.add_target(path, bundle.read_bytes(), **entry, percent=100, halted=False)
    for one in (images, director):
        one.rotate("timestamp")
        one.publish_root()
        one.publish()
        one.write(stick / ("images" if one is images else "director"))

    place = 1
    while True:
        shutil.rmtree(struck, ignore_errors=True)
        shutil.copytree(before, struck, symlinks=True)
        child = os.fork()
        if child == 0:
            os.environ["FAULT_KILL_AT"] = str(place)
            run(struck, stick)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        look(struck, bundle.name.partition(".")[0])
        assert "installed" in run(struck, stick) or "here already" in run(struck, stick)
        look(struck, bundle.name.partition(".")[0])
        left = {one.name for one in (struck / "state").iterdir()}
        assert left <= {"images", "director", "lock", "record.jsonl"}, left
        assert not list((struck / "state").rglob("tmp*"))
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        place += step
    print(place)


def run(place: Path, stick: Path) -> str:
    settings = load_settings(place / "updater.yaml")
    return update(settings, install_bundle, stick=find_repositories(stick))[0].words


def look(place: Path, digest: str) -> None:
    """No version went back, no file is half of one, and an engine that is there is whole."""
    for repository in ("images", "director"):
        for role in ROLES:
            version = json.loads((place / "state" / repository / f"{role}.json").read_bytes())["signed"][
                "version"
            ]
            assert version in (1, 2)
    record.lines(place / "state" / "record.jsonl")
    store = Store(place / "engines", "tiny")
    assert set(store.engines().entries) <= {digest}
    if digest in store.engines().entries:
        assert any('"verified"' in line for line in record.lines(place / "state" / "record.jsonl"))
        assert (store.folder_of(digest) / "engine.yaml").is_file()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
