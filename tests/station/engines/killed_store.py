"""A store of engines whose process is killed before each of its writes, one after the other.

Not a test: test_store_kill.py starts it below ``simulation/campaign/disk.c``, as ``python killed_store.py
FOLDER ENGINE STEP``. Each kill strikes a forked process in which an engine comes home, is proven, shadows, is
activated, becomes good, is rolled back, and another one comes home. What the next start finds is checked
here. Only every STEP-th write is struck. Prints the number of writes.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

from station.engines.folder import load_manifest
from station.engines.states import FACTORY, EngineState
from station.engines.store import Store, install
from tests.station.engines.engine_store import FROM, installed, opened_bundle


def main(folder: Path, engine: Path, step: int) -> None:
    before, struck = folder / "before", folder / "struck"
    shutil.copytree(engine, before / "tiny")
    old = installed(before, engine, folder, "the one before")
    store = Store(before, "tiny")
    store.change(lambda known: known.proven(old, "a test", by="station"))
    store.change(lambda known: known.activated(old, "a test", by="x", after_record=0, before=""))
    store.change(lambda known: known.good("a test", by="station"))
    opened = [opened_bundle(engine, folder / f"opened-{n}", f"version {n}", n) for n in (2, 3)]
    place = 1
    while True:
        shutil.rmtree(struck, ignore_errors=True)
        shutil.copytree(before, struck, symlinks=True)
        child = os.fork()
        if child == 0:
            os.environ["FAULT_KILL_AT"] = str(place)
            work(struck, opened)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        look(Store(struck, "tiny"), old)
        go_on(struck, opened[1])
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        place += step
    print(place)


def work(engines: Path, opened: list[Path]) -> None:
    store = Store(engines, "tiny")
    new = install(engines, "tiny", opened[0], FROM)
    store.change(lambda known: known.proven(new, "golden parts", by="station"))
    store.change(lambda known: known.shadowing(new, "proven", by="station"))
    store.change(lambda known: known.activated(new, "better", by="rule", after_record=7, before="m"))
    store.change(lambda known: known.started())
    store.change(lambda known: known.written(known.last_step))
    store.change(lambda known: known.good("300 parts", by="station"))
    install(engines, "tiny", opened[1], FROM)
    store.change(lambda known: known.rolled_back("a person", by="J. Novak"))


def look(store: Store, old: str) -> None:
    """What a station finds that starts now: every engine that may judge is proven, whole and in its place."""
    known, order = store.engines(), store.in_order()
    assert order[-1].digest == FACTORY
    assert old in {one.digest for one in order}, "the engine before is always there to go back to"
    for one in order:
        load_manifest(one.folder, one.name)
        assert one.entry is None or one.entry.state.is_proven
    for entry in known.entries.values():
        load_manifest(store.folder_of(entry.digest), "tiny")
    assert [step.number for step in known.steps] == list(range(1, len(known.steps) + 1))


def go_on(engines: Path, opened: Path) -> None:
    """The next update and the next start work, and nothing is left of the killed process."""
    store = Store(engines, "tiny")
    digest = install(engines, "tiny", opened, FROM)
    assert store.engines().entry(digest).state is EngineState.INSTALLED
    store.change(lambda known: known.started())
    links = {path.name: os.readlink(path) for path in store.folder.iterdir() if path.is_symlink()}
    known = store.engines()
    for role in ("active", "previous"):
        wanted = getattr(known, role)
        assert links[role] == ("../tiny" if wanted == FACTORY else wanted)
    assert not list(store.folder.glob(".*.part"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
