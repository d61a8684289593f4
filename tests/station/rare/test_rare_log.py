"""What the log of rare and doubtful parts keeps, and what stays whatever happens to it."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from station.config import Rare
from station.observers import Observers
from station.rare.index import INDEX, RareLogError
from station.rare.items import Item, Origin
from station.rare.log import RareLog
from station.rare.reasons import draw_of
from station.rare.store import ITEMS, QUARANTINE, RareStore
from station.review import review
from tests.waiting import PATIENCE_S, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from station.part import InspectedPart
    from tests.station.conftest import Plant
    from tests.station.rare.conftest import Bench

ONE, ANOTHER = np.eye(4, dtype=np.float32)[:2], np.eye(4, dtype=np.float32)[2:]


def show(bench: Bench, *parts: InspectedPart, **settings: float) -> None:
    log = bench.log(**settings)
    for part in parts:
        log.observe(part)
    log.close()


# ---------------------------------------------------------------------- the reasons


def test_confident_parts_are_not_kept_and_doubtful_ones_are(bench: Bench) -> None:
    sure, unsure, torn = bench.part(p=0.99), bench.part(p=0.6), bench.part("pits", p=0.4)
    show(bench, sure, unsure, torn)
    assert bench.kept() == {
        unsure.part_id: ["low confidence"],
        torn.part_id: ["low confidence", "two classes close"],
    }


def test_a_part_far_from_training_that_no_class_rejected_is_kept_and_is_worth_more_than_a_rare_class(
    bench: Bench,
) -> None:
    accepted = bench.part(novelty=(0.2, 1.5))
    rejected = bench.part("pits", novelty=(1.01, 0.1))
    known = bench.part("pits", novelty=(0.99, 0.1))
    show(bench, accepted, rejected, known, class_items=2)
    assert bench.kept() == {
        accepted.part_id: ["far from training"],
        rejected.part_id: ["rare class"],
        known.part_id: ["rare class"],
    }
    items = {entry.item.part_id: entry.item for entry in bench.store.entries()}
    assert items[accepted.part_id].whys[0].text == "patch 1: novelty 1.5 (threshold 1)"
    assert items[accepted.part_id].novelty == pytest.approx((0.2, 1.5))
    assert items[accepted.part_id].worth > items[known.part_id].worth


def test_a_defect_class_is_rare_until_enough_of_it_was_kept_also_after_a_restart(bench: Bench) -> None:
    show(bench, *(bench.part("pits") for _ in range(2)), class_items=3)
    show(bench, *(bench.part("pits") for _ in range(2)), bench.part("scratches"), class_items=3)
    assert bench.kept() == {part: ["rare class"] for part in (1, 2, 3, 5)}


def test_a_share_of_confident_parts_is_kept_for_the_audit_drawn_by_the_records_number(bench: Bench) -> None:
    parts = [bench.part("pits" if number % 2 else "good") for number in range(60)]
    show(bench, *parts, audit_good=0.2, audit_bad=0.5)
    journal_id = bench.journal.head.journal_id
    drawn = {
        part.part_id: ["audit"]
        for part in parts
        if draw_of(journal_id, part.part.record_id) < (0.5 if part.verdict.class_index else 0.2)
    }
    assert bench.kept() == drawn
    assert drawn, "the shares are large enough for sixty parts"


def test_the_parts_before_and_after_a_row_of_faults_are_kept(bench: Bench) -> None:
    first, before = bench.part(), bench.part()
    faults = [bench.part(broken="no frame", cut_too=False) for _ in range(3)]
    after, last = bench.part(), bench.part()
    show(bench, first, before, *faults, after, last)
    assert bench.kept() == {before.part_id: ["near a fault"], after.part_id: ["near a fault"]}
    (text,) = {why.text for why in bench.store.entry(str(after.part.record_id)).item.whys}
    assert text == f"the part after part {faults[-1].part_id}, a fault: no frame"


# ---------------------------------------------------------------------- what an item is


def test_an_item_has_everything_to_judge_the_part_again_bit_by_bit(bench: Bench) -> None:
    part = bench.part("pits", p=0.6)
    show(bench, part)
    (entry,) = bench.store.entries()
    item, patches = entry.item, part.part.patches
    assert patches is not None
    assert part.part.scores is not None
    picture = bench.store.read_picture(entry)
    again = item.patches(picture)
    assert np.array_equal(again.pixels, patches.pixels)
    assert item.place is not None
    assert item.place.in_surface == again.surface_box(0) == patches.surface_box(0)
    assert item.place.in_frame == again.frame_box(0) == patches.frame_box(0)
    assert item.place.on_product == again.box_mm(0) == patches.box_mm(0)
    assert np.array_equal(np.array(item.scores, np.float32), part.part.scores.probabilities)
    assert (item.record_id, item.journal_id) == (part.part.record_id, bench.journal.head.journal_id)
    assert (item.recipe_digest, item.engine_digest) == (bench.recipe.digest, "a" * 64)
    assert (item.config_digest, item.calibration_digest) == ("c" * 64, None)
    assert (item.outcome, item.class_name, item.said_class) == ("reject", "pits", None)
    assert Item.from_json(item.to_json()).to_json() == item.to_json()


def test_a_picture_that_changed_on_the_disk_is_named(bench: Bench) -> None:
    show(bench, bench.part("pits", p=0.6))
    (entry,) = bench.store.entries()
    entry.picture.write_bytes(entry.picture.read_bytes()[:-9] + b"123456789")
    with pytest.raises(RareLogError, match="is not what was written"):
        bench.store.read_picture(entry)


# ---------------------------------------------------------------------- de-duplication and quota


def test_a_part_like_one_that_is_there_is_counted_and_not_kept(bench: Bench) -> None:
    show(bench, *(bench.part("pits", p=0.6, features=ONE) for _ in range(4)), bench.part("pits", p=0.6))
    (same, other) = sorted(bench.store.entries(), key=lambda entry: entry.item.part_id)
    assert (same.item.part_id, same.times_seen) == (1, 4)
    assert (other.item.part_id, other.times_seen) == (5, 1)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(angles=st.lists(st.floats(0.0, 1.5), max_size=7), same_below=st.sampled_from([0.0, 0.02, 0.3]))
def test_kept_items_are_apart_and_whatever_is_not_kept_is_like_one_that_is(
    bench: Bench, angles: list[float], same_below: float
) -> None:
    shutil.rmtree(bench.folder, ignore_errors=True)
    vectors = {bench.next_part + n: [np.cos(a), np.sin(a), 0, 0] for n, a in enumerate(angles)}
    parts = [
        bench.part("pits", p=0.6, features=np.array([vector, vector], np.float32))
        for vector in vectors.values()
    ]
    show(bench, *parts, same_below=same_below)
    entries = bench.store.entries() if parts else []
    assert sum(entry.times_seen for entry in entries) == len(parts), "nothing is forgotten"
    kept = [np.array(vectors[entry.item.part_id]) for entry in entries]
    close = 0.002  # features are stored in 16 bits
    for number, one in enumerate(kept):
        assert all(1 - one @ other >= same_below - close for other in kept[:number])
    for vector in vectors.values():
        assert min(1 - np.array(vector) @ other for other in kept) <= same_below + close


def test_parts_of_another_engine_or_class_or_of_an_unbiased_sample_are_never_alike(bench: Bench) -> None:
    show(
        bench,
        bench.part("pits", p=0.6, features=ONE),
        bench.part("pits", p=0.6, features=ONE, engine="b"),
        bench.part("scratches", p=0.6, features=ONE),
        bench.part(p=0.999, features=ONE),
        bench.part(p=0.999, features=ONE),
        audit_good=1.0,
    )
    assert len(bench.kept()) == 5


def test_the_quota_holds_and_the_least_informative_make_room(bench: Bench) -> None:
    weak = [bench.part("pits", p=0.69) for _ in range(6)]
    strong = [bench.part("pits", p=0.45) for _ in range(6)]
    show(bench, *weak, *strong, quota_mb=0.04)
    usage = bench.store.usage()
    assert usage.used <= 40_000
    assert set(bench.kept()) <= {part.part_id for part in strong}
    assert len(list((bench.folder / ITEMS).iterdir())) == usage.items > 1


def test_without_room_the_reason_is_counted_and_shown(bench: Bench) -> None:
    log = bench.log(quota_mb=0.02)
    for part in (*(bench.part("pits", p=0.45) for _ in range(4)), bench.part("pits", p=0.69)):
        log.observe(part)
    log.close()
    assert "less informative than all kept" in log.note
    assert "LOST" not in log.note


def test_a_purge_drops_the_least_informative_and_never_what_a_person_named(bench: Bench) -> None:
    parts = [bench.part("pits", p=0.5 + number / 50) for number in range(6)]
    log = bench.log()
    for part in parts:
        log.observe(part)
    review(bench.journal, record=parts[-1].part.record_id, class_name="good", by="J. Novak")
    log.close()
    assert bench.store.purge(0) == [f"{bench.journal.head.journal_id[:8]}-{n}" for n in (5, 4, 3, 2, 1)]
    assert bench.kept() == {6: ["low confidence", "operator"]}


# ---------------------------------------------------------------------- a person's word


def test_a_review_keeps_a_part_that_nobody_doubted_while_it_is_remembered(bench: Bench) -> None:
    log = bench.log(remember=2)
    parts = [bench.part() for _ in range(3)]
    for part in parts:
        log.observe(part)
    for part in parts[:2]:
        review(bench.journal, record=part.part.record_id, class_name="pits", by="J. Novak")
    log.close()
    assert bench.kept() == {2: ["operator"]}
    (entry,) = bench.store.entries()
    assert (entry.item.class_name, entry.item.said_class, entry.item.said_by) == ("good", "pits", "J. Novak")
    assert "1 reviewed too late" in log.note


def test_a_persons_word_that_does_not_fit_beside_others_is_lost_and_shown_and_the_next_is_heard(
    bench: Bench,
) -> None:
    log = bench.log(quota_mb=0.02)
    parts = [bench.part() for _ in range(4)]
    for part in parts:
        log.observe(part)
        review(bench.journal, record=part.part.record_id, class_name="pits", by="J. Novak")
    log.close()
    assert set(bench.kept()) == {1, 2}
    assert "2 LOST" in log.note
    review(bench.journal, record=1, class_name="scratches", by="J. Novak")
    show(bench)
    assert bench.store.entry("1").item.said_class == "scratches"


def test_a_log_that_cannot_be_written_is_found_so_before_there_is_a_part_to_keep(bench: Bench) -> None:
    log = bench.log()
    bench.folder.write_text("a file in its place")
    with pytest.raises(RareLogError, match="check the disk, and that the folder is there"):
        log.probe()
    assert log.trouble
    bench.folder.unlink()
    log.probe()
    assert not log.trouble
    assert list(bench.folder.glob("*probe*")) == []
    log.close()


def test_a_review_is_heard_while_no_part_comes(bench: Bench) -> None:
    log = bench.log()
    with Observers([log]) as observers:
        part = bench.part()
        observers.offer(part)
        wait_for(lambda: observers.status()[0].observed > 0)
        review(bench.journal, record=part.part.record_id, class_name="pits", by="J. Novak")
        wait_for(lambda: (bench.folder / INDEX).exists() and bench.kept() == {1: ["operator"]})


def test_a_review_that_was_written_before_a_kill_is_heard_after_it(bench: Bench) -> None:
    part = bench.part(p=0.6)
    first = bench.log()
    first.observe(part)
    first._store.close()  # as a killed process does
    review(bench.journal, record=part.part.record_id, class_name="pits", by="J. Novak")
    show(bench)
    assert bench.kept() == {1: ["low confidence", "operator"]}


# ---------------------------------------------------------------------- the folder's faults


def test_a_file_without_a_row_is_quarantined_and_a_row_without_a_file_goes(bench: Bench) -> None:
    show(bench, bench.part(p=0.6), bench.part(p=0.6))
    gone, there = sorted(bench.store.entries(), key=lambda entry: entry.item.part_id)
    gone.picture.unlink()
    (bench.folder / ITEMS / "mine.png").write_bytes(b"somebody's")
    show(bench, bench.part(p=0.6))
    assert set(bench.kept()) == {2, 3}
    assert (bench.folder / QUARANTINE / "mine.png").read_bytes() == b"somebody's"
    assert bench.store.usage().quarantined == 1
    assert there.picture.exists()


def test_a_station_killed_anywhere_leaves_whole_items_only(tmp_path: Path) -> None:
    folder = tmp_path / "rare"
    program = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from tests.station.rare.conftest import RECIPE, Bench\n"
        "from station.journal import Journal\n"
        "from station.recipe import load_recipe\n"
        "root = Path(sys.argv[1])\n"
        "(root / 'strip.yaml').write_text(RECIPE)\n"
        "with Journal(root / 'journal.db', station='x') as journal:\n"
        "    bench = Bench(root / 'rare', journal, load_recipe(root / 'strip.yaml'))\n"
        "    journal.recover()\n"
        "    bench.next_part = journal.counts().triggers + 1\n"
        "    log = bench.log(quota_mb=0.06)\n"
        "    print('up', flush=True)\n"
        "    while True:\n"
        "        log.observe(bench.part('pits', p=0.6))\n"
    )
    for round_ in range(4):
        command = [sys.executable, "-c", program, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.15 + 0.07 * round_)
            process.send_signal(signal.SIGKILL)
    store = RareStore(folder, quota=60_000)
    store.open()
    entries = store.entries()
    assert entries
    for entry in entries:
        store.read_picture(entry)
    assert {entry.picture.name for entry in entries} == {file.name for file in (folder / ITEMS).iterdir()}
    store.close()


def test_a_record_number_that_a_restored_journal_gives_again_is_another_item(bench: Bench) -> None:
    log = bench.log()
    log.observe(bench.part("pits", p=0.6))
    again = bench.part("scratches", p=0.6)
    log.observe(replace(again, part=replace(again.part, record_id=1)))
    log.close()
    entries = {entry.item_id.partition("-")[2]: entry.item.class_name for entry in bench.store.entries()}
    assert entries == {"1": "pits", "1~2": "scratches"}


def test_a_smaller_quota_is_reached_at_the_next_start(bench: Bench) -> None:
    show(bench, *(bench.part("pits", p=0.5 + number / 50) for number in range(6)))
    log = bench.log(quota_mb=0.025)
    log.probe()  # as at every start
    log.close()
    assert bench.store.usage().used <= 25_000
    assert 1 in bench.kept()
    assert 6 not in bench.kept()


def test_what_was_reviewed_before_there_was_a_log_is_no_concern_of_it(bench: Bench) -> None:
    review(bench.journal, record=bench.part().part.record_id, class_name="pits", by="J. Novak")
    log = bench.log()
    log.observe(bench.part())
    log.close()
    assert "too late" not in log.note


def test_two_stations_cannot_share_a_folder(tmp_path: Path) -> None:
    first, second = RareStore(tmp_path / "rare"), RareStore(tmp_path / "rare")
    first.open()
    with pytest.raises(RareLogError, match="another station uses it"):
        second.open()
    first.close()
    second.open()
    second.close()


def test_a_folder_taken_away_costs_the_parts_of_that_time_only(bench: Bench) -> None:
    log = bench.log()
    log.observe(bench.part(p=0.6))
    shutil.rmtree(bench.folder)
    log.observe(bench.part(p=0.6))
    shutil.rmtree(bench.folder)
    bench.folder.write_text("a file in its place")
    with pytest.raises(RareLogError, match="check the disk, and that the folder is there"):
        log.observe(bench.part(p=0.6))
    assert log.lost == 1
    assert "1 LOST" in log.note
    bench.folder.unlink()
    log.observe(bench.part(p=0.6))
    log.close()
    assert set(bench.kept()) == {4}


def test_an_index_of_a_newer_release_is_left_alone(bench: Bench) -> None:
    show(bench, bench.part(p=0.6))
    with sqlite3.connect(bench.folder / INDEX) as index:
        index.execute("PRAGMA user_version = 9")
    index.close()
    log = bench.log()
    with pytest.raises(RareLogError, match="newer release"):
        log.observe(bench.part(p=0.6))


@pytest.mark.parametrize(("mount", "said"), [("-o size=200k", "the disk is full"), ("-o ro", "permission")])
def test_a_full_or_read_only_disk_costs_items_and_is_shown(tmp_path: Path, mount: str, said: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.station.rare.conftest import RECIPE, Bench\n"
        "from station.journal import Journal\n"
        "from station.observers import Observers\n"
        "from station.recipe import load_recipe\n"
        f"root = Path({str(tmp_path)!r})\n"
        "(root / 'strip.yaml').write_text(RECIPE)\n"
        "with Journal(root / 'journal.db', station='x') as journal:\n"
        f"    bench = Bench(Path({str(disk)!r}) / 'rare', journal, load_recipe(root / 'strip.yaml'))\n"
        "    with Observers([bench.log(quota_mb=100, queue=100)]) as observers:\n"
        "        for _ in range(60):\n"
        "            observers.offer(bench.part('pits', p=0.6))\n"
        "        while True:\n"
        "            status = observers.status()[0]\n"
        "            if status.observed + status.failed == 60:\n"
        "                break\n"
        "        losing = status.losing\n"
        "    (status,) = observers.status()\n"
        "    print(status.observed, status.failed)\n"
        "    print(losing)\n"
        "    print(status.note)\n"
        "    print(status.problem)\n"
    )
    script = f"mount -t tmpfs {mount} none {disk} && exec {sys.executable} {program}"
    try:
        done = subprocess.run(
            ["unshare", "-r", "-m", "sh", "-c", script],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip(f"no mounts of its own here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    numbers, losing, note, problem = done.stdout.splitlines()
    observed, failed = map(int, numbers.split())
    assert observed + failed == 60
    assert failed > 0
    assert f"{failed} LOST" in note
    assert said in problem
    assert said in losing


# ---------------------------------------------------------------------- beside the decision path


def test_a_disk_that_never_answers_holds_up_neither_verdicts_nor_the_stop(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, real = threading.Event(), os.fsync

    def fsync(descriptor: int) -> None:
        if str(tmp_path / "rare") in os.readlink(f"/proc/self/fd/{descriptor}"):
            answers.wait(60)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    store = RareStore(tmp_path / "rare", quota=10**8)
    origin = Origin(plant.journal.head.journal_id, "x", False, None)
    log = RareLog(store, Rare(queue=2, low_confidence=1.0), plant.journal.path, origin)
    observers = Observers([log])
    line = plant.line(observers)
    plant.sorter.ask(*range(1, 31))
    line.start(parts=30)
    assert line.wait(PATIENCE_S)
    line.stop()
    status = observers.status()[0]
    assert len(plant.sorter.told) == 30
    assert all(str(outcome) == "accept" for outcome in plant.outcomes().values())
    assert status.queue.shed > 0
    assert "dropped" in status.problem
    observers.close(timeout_s=0.2)
    answers.set()
    wait_for(lambda: "rare parts" not in "".join(thread.name for thread in threading.enumerate()))
