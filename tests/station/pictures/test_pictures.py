"""Pictures beside the decision path: what they show, what is shed, what a full disk costs."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from drivers.cameras.interface import Frame
from drivers.sorters.interface import Outcome, Trigger
from station.config import Images
from station.decision import Verdict, decide
from station.engines.interface import Engine, Scores
from station.observers import Observers
from station.observers.pictures import PICTURES_OF
from station.part import InspectedPart, PartInHand
from station.patching import Patches, cut
from station.pictures.drawing import COLOURS, PANEL, TILE_H, TILE_W, draw_picture, draw_tile, view_of_surface
from station.pictures.saving import (
    INDEX,
    PictureError,
    PictureSaver,
    side_by_side,
    write_contact_sheet,
    write_overlay,
)
from station.prepared import Prepared
from station.queues import QueueStatus
from station.recipe import Recipe, load_recipe
from tests.waiting import PATIENCE_S, wait_for

RECIPE = """
name: strip
version: 1
description: a whole picture of four patches
product: {background: none, widths_px: [128], height_px: 256, mm_per_px_x: 0.1, mm_per_px_y: 0.1}
surface: {height: 256, width: 128, channels: %d}
patch: {size: 64}
engine: none
classes:
  - {name: defect-free, bin: 1}
  - {name: pits, bin: 2}
  - {name: scratches, bin: 3}
fault_bin: 9
"""
CLASSES = ("defect-free", "pits", "scratches")
REJECT = Verdict(
    Outcome.REJECT,
    2,
    "scratches",
    0.97,
    5,
    3,
    "patch 5: scratches 0.970 (most probable class)",
    (0, 0, 1, 0, 0, 2, 0, 0),
)
FAULT = Verdict(Outcome.FAULT, 255, "fault", 0.0, None, 9, "patch 0: a score is not a number")


@pytest.fixture(params=[1, 3], ids=["grey", "colour"])
def recipe(tmp_path: Path, request: pytest.FixtureRequest) -> Recipe:
    file = tmp_path / "strip.yaml"
    file.write_text(RECIPE % request.param)
    return load_recipe(file)


@pytest.fixture
def frame(recipe: Recipe) -> NDArray[np.uint8]:
    shape = (256, 128) if recipe.surface.channels == 1 else (256, 128, 3)
    return np.random.default_rng(1).integers(80, 150, shape).astype(np.uint8)


@pytest.fixture
def patches(frame: NDArray[np.uint8], recipe: Recipe) -> Patches:
    return cut(frame, recipe)


@pytest.fixture
def scores() -> NDArray[np.float32]:
    table = np.tile(np.array([0.98, 0.01, 0.01], np.float32), (8, 1))
    table[5] = [0.01, 0.02, 0.97]
    table[2] = [0.2, 0.7, 0.1]
    return table


class NoEngine(Engine):
    """Pictures need none."""

    def scores(self, patches: NDArray[np.uint8], timeout_s: float | None = None) -> Scores:
        raise NotImplementedError

    def close(self) -> None:
        pass


@functools.cache
def prepared() -> Prepared:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "strip.yaml"
        file.write_text(RECIPE % 1)
        return Prepared(load_recipe(file), NoEngine())


@dataclass(frozen=True)
class Status:
    queue: QueueStatus
    saved: int
    failed: int
    deleted: int
    bytes_used: int
    last_error: str


class saving:  # noqa: N801 - a context manager
    """A saver behind its queue, as the line has it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.saver = PictureSaver(folder, **settings)
        self.observers = Observers([self.saver])

    def offer(
        self,
        part_id: int,
        verdict: Verdict,
        patches: Patches | None,
        scores: NDArray[np.float32] | None,
        frame: Frame | None = None,
    ) -> bool:
        """Whether the part was taken."""
        (before,) = self.observers.status()
        trigger = Trigger(part_id, "", time.monotonic_ns())
        given = None if scores is None else Scores(scores)
        part = PartInHand(
            trigger,
            prepared(),
            part_id,
            0,
            patches=patches,
            scores=given,
            frames=() if frame is None else (frame,),
        )
        self.observers.offer(InspectedPart(part, verdict, time.monotonic_ns()))
        (after,) = self.observers.status()
        return after.queue.shed == before.queue.shed

    def status(self) -> Status:
        (post,) = self.observers.status()
        own = self.saver.status()
        return Status(post.queue, own.saved, post.failed, own.deleted, own.bytes_used, post.last_error)

    def saved(self) -> list[Path]:
        return self.saver.saved()

    def write_contact_sheet(self, target: Path, title: str = "") -> Path | None:
        return self.saver.write_contact_sheet(target, title)

    def __enter__(self) -> saving:
        return self

    def __exit__(self, *exception: object) -> None:
        self.observers.close(PATIENCE_S)


def wait_until(saver: saving, done: int) -> None:
    wait_for(lambda: saver.status().saved + saver.status().failed >= done)


def test_a_picture_frames_the_deciding_patch_and_lightly_the_other_defective_ones(
    patches: Patches, scores: NDArray[np.float32]
) -> None:
    before = patches.surface.pixels.copy()
    view = view_of_surface("part 7", REJECT, patches, scores, CLASSES)
    picture = draw_picture(view)
    assert picture.shape == (1090, 128 + PANEL, 3)
    deciding, other, good = (patches.surface_box(index) for index in (5, 2, 7))
    middle = deciding.y + deciding.height // 2
    assert tuple(picture[middle, deciding.x + 1]) == COLOURS[Outcome.REJECT]
    assert tuple(picture[other.y + 32, other.x]) != tuple(view.base[other.y + 32, other.x])
    assert np.array_equal(
        picture[good.y : good.y + 60, good.x : good.x + 60],
        view.base[good.y : good.y + 60, good.x : good.x + 60],
    )
    assert np.array_equal(patches.surface.pixels, before), "the surface itself is not drawn on"


def _looks_marked(patches: Patches, recipe: Recipe, scores: NDArray[np.float32]) -> list[int]:
    """The patches that a picture of the part does not show as they are."""
    view = view_of_surface("part 7", decide(scores, recipe), patches, scores, CLASSES)
    picture, found = draw_picture(view), []
    for index in range(8):
        box = patches.surface_box(index)
        middle = box.y + box.height // 2
        if tuple(picture[middle, box.x]) != tuple(view.base[middle, box.x]):
            found.append(index)
    return found


def _with(recipe: Recipe, **rules: float) -> Recipe:
    good, pits, scratches = recipe.classes
    return recipe.model_copy(update={"classes": (good, pits, scratches.model_copy(update=rules))})


def test_a_part_rejected_by_a_threshold_shows_every_patch_that_reached_it(
    patches: Patches, recipe: Recipe
) -> None:
    scores = np.tile(np.array([0.98, 0.01, 0.01], np.float32), (8, 1))
    scores[[1, 6]] = [0.6, 0.05, 0.35], [0.65, 0.05, 0.3]
    assert _looks_marked(patches, _with(recipe, threshold=0.3), scores) == [1, 6]


def test_a_released_patch_is_not_marked_defective_on_an_accepted_part(
    patches: Patches, recipe: Recipe
) -> None:
    scores = np.tile(np.array([0.98, 0.01, 0.01], np.float32), (8, 1))
    scores[3] = [0.4, 0.05, 0.55]
    scores[4] = [0.3, 0.05, 0.65]
    assert _looks_marked(patches, _with(recipe, release_below=0.9), scores) == [4]  # the least certain one


@pytest.mark.parametrize(
    "scores_given", [None, np.full((8, 3), np.nan, np.float32), np.zeros((3,), np.float32)]
)
def test_a_fault_is_drawn_whatever_the_scores_are(
    patches: Patches, scores_given: NDArray[np.float32] | None
) -> None:
    view = view_of_surface("part 4294967295", FAULT, patches, scores_given, CLASSES)
    assert draw_picture(view).any()
    assert draw_tile(view).shape == (TILE_H, TILE_W, 3)


def test_the_pictures_of_a_run_are_saved_with_the_part_in_the_name(
    tmp_path: Path, patches: Patches, scores: NDArray[np.float32]
) -> None:
    with saving(tmp_path / "pictures", quota_mb=10) as saver:
        assert saver.offer(4711, REJECT, patches, scores)
    (path,) = saver.saved()
    assert "part-4711-scratches" in path.name
    picture = cv2.imread(str(path))
    assert picture is not None
    assert picture.shape == (1090, 128 + PANEL, 3)
    assert not list(path.parent.glob("*.part"))


def frame_of(pixels: NDArray[np.uint8]) -> Frame:
    return Frame(pixels=pixels, frame_id=1, lost_before=0, complete=True, arrived_ns=time.monotonic_ns())


def test_a_fault_is_kept_by_default_with_the_frame_that_could_not_be_cut(tmp_path: Path) -> None:
    with saving(tmp_path, quota_mb=10, outcomes=PICTURES_OF[Images().save]) as saver:
        for part, pixels in enumerate((np.full((5472, 3648), 90, np.uint8), np.zeros((0, 0), np.uint8))):
            saver.offer(part, FAULT, None, None, frame_of(pixels))
        saver.offer(7, FAULT, None, None)
    (path,) = saver.saved()
    assert path.name.endswith("part-0-fault.jpg")
    picture = cv2.imread(str(path))
    assert picture is not None
    assert picture.shape == (2048, round(2048 * 3648 / 5472) + PANEL, 3)
    sheet = saver.write_contact_sheet(tmp_path / "sheet.png")
    assert sheet is not None
    assert sheet.exists()


def test_faults_take_a_quarter_of_the_room_at_most_and_delete_no_reject(
    tmp_path: Path, patches: Patches, scores: NDArray[np.float32]
) -> None:
    everything = frozenset({Outcome.REJECT, Outcome.FAULT})
    with saving(tmp_path / "one", quota_mb=10) as saver:
        saver.offer(1, REJECT, patches, scores)
    quota = 4.1 * saver.saved()[0].stat().st_size
    with saving(tmp_path / "all", quota_mb=quota / 1e6, capacity=50, outcomes=everything) as saver:
        for part in range(3):
            saver.offer(part, REJECT, patches, scores)
        for part in range(3, 30):
            saver.offer(part, FAULT, patches, scores)
    rejects = [path for path in saver.saved() if path.stem.endswith("-scratches")]
    faults = [path for path in saver.saved() if path.stem.endswith("-fault")]
    assert len(rejects) == 3
    assert "part-29-" in faults[-1].name
    assert sum(path.stat().st_size for path in faults) <= quota / 4


def test_png_is_kept_without_loss(tmp_path: Path, patches: Patches, scores: NDArray[np.float32]) -> None:
    with saving(tmp_path, quota_mb=10, suffix=".png") as saver:
        saver.offer(1, REJECT, patches, scores)
    drawn = draw_picture(view_of_surface("part 1", REJECT, patches, scores, CLASSES))
    assert np.array_equal(cv2.imread(str(saver.saved()[0])), drawn)


def test_an_offer_never_waits_and_what_is_too_much_is_shed_and_counted(
    tmp_path: Path, patches: Patches, scores: NDArray[np.float32]
) -> None:
    with saving(tmp_path, quota_mb=100, capacity=2) as saver:
        started = time.monotonic()
        taken = sum(saver.offer(part, REJECT, patches, scores) for part in range(200))
        assert time.monotonic() - started < 1.0
        status = saver.status()
        assert (status.queue.name, status.queue.capacity) == ("pictures", 2)
        assert status.queue.shed == 200 - taken > 0
    assert saver.status().saved == taken
    saver.offer(1, REJECT, patches, scores)
    assert saver.status().queue.length == 0, "after close nothing is taken"


def test_the_oldest_pictures_make_room_and_foreign_files_are_never_touched(
    tmp_path: Path, patches: Patches, scores: NDArray[np.float32]
) -> None:
    foreign = tmp_path / "00000101T000000.000Z-part-1-scratches.jpg"
    foreign.write_bytes(b"x" * 500_000)
    with saving(tmp_path, quota_mb=10) as saver:
        saver.offer(1, REJECT, patches, scores)
    size = saver.saved()[0].stat().st_size
    with saving(tmp_path, quota_mb=3.5 * size / 1e6, capacity=50) as again:
        for part in range(2, 8):
            again.offer(part, REJECT, patches, scores)
        wait_until(again, 6)
        status = again.status()
    assert foreign.exists()
    assert not saver.saved()[0].exists(), "the picture of the run before went first"
    assert [path.name.split("-")[2] for path in again.saved()] == ["5", "6", "7"]
    assert (status.saved, status.deleted, status.failed) == (6, 4, 0)
    assert status.bytes_used <= 3.5 * size
    assert len((tmp_path / INDEX).read_text().splitlines()) == 3


def test_an_index_that_names_files_elsewhere_deletes_nothing_there(
    tmp_path: Path, patches: Patches, scores: NDArray[np.float32]
) -> None:
    precious = tmp_path / "precious.db"
    precious.write_text("x")
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / INDEX).write_text("../precious.db 99999999\nnonsense\n\xff\n")
    with saving(folder, quota_mb=0.2, capacity=20) as saver:
        for part in range(8):
            saver.offer(part, REJECT, patches, scores)
    assert precious.exists()


def test_a_picture_larger_than_the_quota_is_counted_as_failed(
    tmp_path: Path, patches: Patches, scores: NDArray[np.float32]
) -> None:
    with saving(tmp_path, quota_mb=0.001) as saver:
        saver.offer(1, REJECT, patches, scores)
    assert (saver.status().saved, saver.status().failed) == (0, 1)
    assert "quota" in saver.status().last_error


def test_a_folder_that_cannot_be_used_costs_pictures_and_raises_nothing(
    tmp_path: Path, patches: Patches, scores: NDArray[np.float32]
) -> None:
    (tmp_path / "file").write_text("no folder")
    with saving(tmp_path / "file" / "pictures", quota_mb=10) as saver:
        for part in range(3):
            saver.offer(part, REJECT, patches, scores)
    status = saver.status()
    assert (status.saved, status.failed) == (0, 3)
    assert status.last_error
    assert saver.write_contact_sheet(tmp_path / "sheet.png") is None


def test_a_full_disk_costs_pictures_and_raises_nothing(tmp_path: Path) -> None:
    """On a small file system of its own, in a child with its own mounts."""
    disk, recipe = tmp_path / "disk", tmp_path / "strip.yaml"
    disk.mkdir()
    recipe.write_text(RECIPE % 1)
    program = tmp_path / "fill.py"
    program.write_text(f"""
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from tests.station.pictures.test_pictures import Outcome, Verdict, cut, load_recipe, saving
recipe = load_recipe(Path({str(recipe)!r}))
patches = cut(np.random.default_rng(1).integers(80, 150, (256, 128)).astype(np.uint8), recipe)
verdict = Verdict(Outcome.REJECT, 2, "scratches", 0.97, 5, 3, "why")
with saving(Path({str(disk)!r}), quota_mb=100, capacity=50) as saver:
    for part in range(30):
        saver.offer(part, verdict, patches, None)
status = saver.status()
print(status.saved, status.failed, len(list(Path({str(disk)!r}).glob("*.jpg"))), status.last_error)
print(len(list(Path({str(disk)!r}).glob(".*.part"))))
""")
    script = f"mount -t tmpfs -o size=1m none {disk} && exec {sys.executable} {program}"
    command = ["unshare", "-r", "-m", "sh", "-c", script]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"no mounts of its own here: {done.stderr.strip()}")
    first, second = done.stdout.splitlines()
    saved, failed, files = map(int, first.split()[:3])
    assert saved == files > 0
    assert saved + failed == 30
    assert failed > 0
    assert "No space left" in first
    assert second == "0", "no half-written files are left"


def test_the_contact_sheet_holds_every_part_of_the_run(
    tmp_path: Path, patches: Patches, scores: NDArray[np.float32]
) -> None:
    with saving(tmp_path / "pictures", quota_mb=10, capacity=10) as saver:
        for part in range(6):
            saver.offer(part, REJECT, patches, scores)
    target = saver.write_contact_sheet(tmp_path / "run" / "sheet.png", "rejected")
    assert target is not None
    sheet = cv2.imread(str(target))
    assert sheet is not None
    assert sheet.shape[0] > 2 * TILE_H
    assert sheet.shape[1] > 4 * TILE_W


def test_a_contact_sheet_is_made_of_any_parts_and_says_what_is_wrong(
    tmp_path: Path, patches: Patches
) -> None:
    view = view_of_surface("part 7", REJECT, patches, None)
    write_contact_sheet([view, draw_tile(view)], tmp_path / "sheet.png", "two")
    assert cv2.imread(str(tmp_path / "sheet.png")) is not None
    with pytest.raises(PictureError, match="no parts"):
        write_contact_sheet([], tmp_path / "sheet.png", "none")
    with pytest.raises(PictureError, match=r"name \.png or \.jpg"):
        write_contact_sheet([view], tmp_path / "sheet.docx", "two")
    with pytest.raises(PictureError, match="choose another folder"):
        write_contact_sheet([view], tmp_path / "sheet.png" / "x.png", "two")


def test_an_overlay_shows_the_patch_in_the_frame_itself(
    tmp_path: Path, frame: NDArray[np.uint8], patches: Patches, scores: NDArray[np.float32], recipe: Recipe
) -> None:
    before = frame.copy()
    write_overlay(tmp_path / "new" / "photo.reject.png", frame, patches, scores, REJECT, recipe)
    picture = cv2.imread(str(tmp_path / "new" / "photo.reject.png"))
    assert picture is not None
    box = patches.frame_box(5)
    assert tuple(picture[box.y + box.height // 2, box.x + 1]) == COLOURS[Outcome.REJECT]
    assert np.array_equal(frame, before)


def test_several_frames_of_one_part_are_shown_side_by_side_as_large_as_one() -> None:
    frames = [np.full((40, 80), level, np.uint8) for level in (10, 20, 30, 40)]
    together = side_by_side(frames)
    assert together.shape == (10, 80, 3)
    assert together[5, ::20, 0].tolist() == [10, 20, 30, 40]
    assert side_by_side(frames[:1]) is frames[0]
    other = side_by_side([frames[0], np.full((20, 80, 3), 50, np.uint8)])
    assert other.shape == (20, 80, 3), "a frame of another size or colour is shown, too"
