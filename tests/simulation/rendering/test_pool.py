"""Pools of frames on disk: made once, whole or not at all."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest

from simulation.rendering.pool import PoolLamp, PoolPlan, planned_kinds, write_frames
from simulation.truth import CLASS_NAMES, SimulationError, TruthBook

NARROW = {"widths": (385,), "workers": 1, "good_share": 0.5}


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plant") / "pool"
    steps: list[tuple[int, int]] = []
    write_frames(folder, 2, 5, masks=True, progress=lambda *step: steps.append(step), **NARROW)
    return folder, steps


def test_frames_come_back_bit_exactly_and_are_recognised(pool):
    folder, steps = pool
    book = TruthBook.load(folder)
    names = sorted(path.name for path in folder.glob("*.tiff"))
    assert names == [truth.file for truth in book] == ["frame-00000.tiff", "frame-00001.tiff"]
    assert steps == [(1, 2), (2, 2)]
    for truth in book:
        frame = cv2.imread(str(folder / truth.file), cv2.IMREAD_UNCHANGED)
        assert frame.shape == (3648, 5472)
        assert book.lookup(frame) == truth
        mask = np.load(folder / "masks" / truth.file.replace("tiff", "npz"))["mask"]
        assert mask.shape == (3584, 385)
        assert mask.any() == (not truth.is_good)


def test_a_pool_that_is_there_is_left_alone(pool):
    folder, _ = pool
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    book = write_frames(folder, 2, 5, masks=True, **NARROW)
    assert len(book) == 2
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_damaged_pool_is_made_again_the_same(tmp_path):
    folder = tmp_path / "pool"
    first = list(write_frames(folder, 1, 9, **NARROW))
    (folder / "frame-00000.tiff").write_bytes(b"half")
    assert list(write_frames(folder, 1, 9, **NARROW)) == first
    assert (folder / "frame-00000.tiff").stat().st_size > 19_000_000


def test_another_seed_replaces_the_pool_and_an_interrupted_one_leaves_nothing(tmp_path):
    folder = tmp_path / "pool"
    first = write_frames(folder, 1, 1, **NARROW)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_frames(folder, 1, 2, progress=interrupt, **NARROW)
    assert list(TruthBook.load(folder)) == list(first)
    assert list(write_frames(folder, 1, 2, **NARROW)) != list(first)
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == ["pool"]


def test_a_folder_with_other_files_is_never_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SimulationError, match="other files"):
        write_frames(tmp_path, 1, 1)
    assert (tmp_path / "thesis.txt").exists()
    with pytest.raises(SimulationError, match="is a file"):
        write_frames(tmp_path / "thesis.txt", 1, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"count": 0, "seed": 1}, "at least 1"),
        ({"count": 1, "seed": -1}, "negative"),
        ({"count": 1, "seed": 1, "format": "jpeg"}, "'jpeg'"),
        ({"count": 1, "seed": 1, "good_share": 1.5}, "0 to 1"),
        ({"count": 1, "seed": 1, "widths": ()}, "width"),
        ({"count": 1, "seed": 1, "tilt_deg": 5.0}, "tilt"),
        ({"count": 100, "seed": 1}, "ask for 75 or fewer"),
    ],
)
def test_nonsense_is_refused(tmp_path, arguments, words):
    with pytest.raises(SimulationError, match=words):
        write_frames(tmp_path / "pool", **arguments)
    assert not (tmp_path / "pool").exists()


def test_the_demo_mix_is_mostly_good_with_every_kind_of_defect():
    kinds = planned_kinds(PoolPlan(60, 1))
    counts = Counter(kind for kind, _ in kinds)
    assert counts["defect-free"] == 42
    assert all(counts[name] >= 3 for name in CLASS_NAMES[1:])
    assert counts["mixed"] >= 2
    assert kinds == planned_kinds(PoolPlan(60, 1))
    bad_lot = planned_kinds(PoolPlan(40, 1, good_share=0.5, multi_share=0.0, kinds=("pits",)))
    assert sorted(bad_lot) == [("defect-free", 0)] * 20 + [("pits", 1)] * 20
    with pytest.raises(SimulationError, match="dents: kinds of defect are imprinted"):
        PoolPlan(1, 1, kinds=("dents",))


@pytest.mark.slow
def test_two_processes_make_the_same_pool_as_one(tmp_path):
    alone = write_frames(tmp_path / "a", 4, 3, widths=(385,), workers=1)
    together = write_frames(tmp_path / "b", 4, 3, widths=(385,), workers=2)
    assert [t.fingerprint for t in alone] == [t.fingerprint for t in together]


def test_a_part_has_one_frame_under_each_lamp_at_the_same_place(tmp_path):
    lamps = tuple(PoolLamp(output, 7.4, azimuth) for output, azimuth in ((4, 0), (1, 120), (2, 240)))
    (truth,) = write_frames(tmp_path / "pool", 1, 5, lamps=lamps, **NARROW)
    assert truth.file == "frame-00000-output-04.tiff"
    files = sorted((tmp_path / "pool").glob("*.tiff"))
    assert [file.name for file in files] == [f"frame-00000-output-{number:02d}.tiff" for number in (1, 2, 4)]
    frames = [cv2.imread(str(file), cv2.IMREAD_UNCHANGED) for file in files]
    box = truth.region
    for frame in frames:
        inside = frame[box.y : box.y + box.height, box.x : box.x + box.width]
        assert inside.mean() > 60
        assert frame[:, : box.x].max() < 30
    assert not np.array_equal(frames[0], frames[1])
    again = list(write_frames(tmp_path / "pool", 1, 5, lamps=lamps, **NARROW))
    assert again == [truth]


def test_lamps_that_no_light_controller_could_have_are_refused_and_count_as_frames(tmp_path):
    twice = (PoolLamp(1, 7.4, 0), PoolLamp(1, 7.4, 90))
    with pytest.raises(SimulationError, match="give each its own"):
        PoolPlan(1, 1, lamps=twice)
    four = tuple(PoolLamp(output, 7.4, 90 * output) for output in (1, 2, 3, 4))
    with pytest.raises(SimulationError, match=r"80 frames of 20 parts under 4 lamps .* ask for 18 or fewer"):
        write_frames(tmp_path / "pool", 20, 1, lamps=four)


def test_pools_of_before_keep_their_digest_and_lamps_have_another():
    assert PoolPlan(60, 1).digest == "9a53d47fe3b6bbb5dc96403e902b9424176bf8703c8d461e8cbe336b29ed0cba"
    assert PoolPlan(60, 1, lamps=(PoolLamp(1, 7.4, 0),)).digest != PoolPlan(60, 1).digest
