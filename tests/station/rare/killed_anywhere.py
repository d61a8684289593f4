"""A log of rare parts whose process is killed before each of its writes, one after the other.

Not a test: test_rare_kill.py starts it below ``simulation/campaign/disk.c``, as ``python killed_anywhere.py
FOLDER``. Each kill strikes a forked process that opens a full log, keeps a part that others make room for,
and hears a person's word. What the next start finds is checked here. Prints the number of places.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

from station.journal import Journal
from station.rare.items import Item, Reason, Sighting, Why, sighting_of
from station.rare.log import Origin
from station.rare.store import ITEMS, QUARANTINE, Kept, RareStore
from station.recipe import load_recipe
from tests.station.rare.conftest import RECIPE, Bench

QUOTA = 40_000


def main(folder: Path) -> None:
    (folder / "strip.yaml").write_text(RECIPE)
    before, struck = folder / "before", folder / "rare"
    with Journal(folder / "journal.db", station="x") as journal:
        bench = Bench(before, journal, load_recipe(folder / "strip.yaml"))
        origin = Origin(journal.head.journal_id, "x", False, None)
        parts = [bench.part("pits", p=0.5) for _ in range(8)]
    sightings = []
    for part in parts:
        assert part.part.patches is not None
        sightings.append(sighting_of(part, part.part.patches, origin))
    *old, new = sightings
    store = RareStore(before, quota=QUOTA)
    store.open()
    for number, sighting in enumerate(old):
        said = number == 0
        store.keep(replace(sighting, item=worth(sighting.item, 0.1, said=said)))
    kept_before = {entry.item_id for entry in store.entries()}
    (person,) = [entry.item_id for entry in store.entries() if entry.item.stays]
    store.close()
    place = 0
    while True:
        place += 1
        shutil.rmtree(struck, ignore_errors=True)
        shutil.copytree(before, struck)
        child = os.fork()
        if child == 0:
            os.environ["FAULT_KILL_AT"] = str(place)
            work(struck, new, old[-1].item)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        after = RareStore(struck, quota=QUOTA)
        after.open()
        entries = after.entries()
        names = {entry.item_id for entry in entries}
        for entry in entries:
            after.read_picture(entry)
        assert {entry.picture.name for entry in entries} == {one.name for one in (struck / ITEMS).iterdir()}
        assert after.usage().used <= QUOTA
        assert person in names, "a person spoke of it"
        is_kept = bool(names - kept_before)
        assert is_kept or names == kept_before, "nothing makes room for a part that is not there"
        lost = {one.name for one in (before / ITEMS).iterdir()} & {
            one.name for one in (struck / QUARANTINE).iterdir()
        }
        assert not lost, "a picture with a row is never taken for one without"
        again = after.keep(replace(new, item=worth(new.item, 0.9)))
        assert again is (Kept.KNOWN if is_kept else Kept.NEW)
        after.close()
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            assert kept_before - names, "the new item has taken the place of others"
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
    print(place - 1)


def work(folder: Path, new: Sighting, spoken_of: Item) -> None:
    store = RareStore(folder, quota=QUOTA)
    store.open()
    store.keep(replace(new, item=worth(new.item, 0.9)))
    store.amend(spoken_of.journal_id, spoken_of.record_id, lambda item: item.said("good", "J. Novak"))
    store.close()


def worth(item: Item, strength: float, *, said: bool = False) -> Item:
    kept = item.because(Why(Reason.LOW_CONFIDENCE, strength, "for this test"))
    return kept.said("pits", "A. Ito") if said else kept


if __name__ == "__main__":
    main(Path(sys.argv[1]))
