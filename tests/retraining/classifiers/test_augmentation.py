"""Random changes of patches: what they may do, and that chance decides alike for alike seeds."""

import numpy as np
import pytest

from retraining.classifiers.augmentation import CHANGES, PLAIN, Augmentation, as_batch, augmentation


def patches(count: int = 6, height: int = 32, width: int = 32, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels), np.uint8)


ALL = augmentation(CHANGES)


@pytest.mark.parametrize("changes", [ALL, Augmentation(gain=0.5, offset=0.5, noise=0.1), Augmentation()])
@pytest.mark.parametrize("channels", [1, 3])
def test_changed_patches_stay_in_range_and_keep_their_shape(changes: Augmentation, channels: int) -> None:
    pixels = patches(channels=channels)
    changed = as_batch(pixels, np.random.default_rng(1), changes)
    assert changed.shape == (6, channels, 32, 32)
    assert 0.0 <= changed.min() <= changed.max() <= 1.0
    assert (changed - as_batch(pixels)).abs().max() > 0.01


@pytest.mark.parametrize("changes", [None, PLAIN])
def test_without_changes_a_batch_is_the_pictures(changes: Augmentation | None) -> None:
    pixels = patches()
    plain = as_batch(pixels, np.random.default_rng(1), changes)
    np.testing.assert_allclose(plain.permute(0, 2, 3, 1).numpy() * 255, pixels, atol=1e-3)


def test_the_same_seed_makes_the_same_changes() -> None:
    pixels = patches()
    first, again, other = (as_batch(pixels, np.random.default_rng(seed), ALL) for seed in (5, 5, 6))
    assert bool((first == again).all())
    assert not bool((first == other).all())


def test_flips_and_turns_only_move_pixels() -> None:
    pixels = np.tile(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), (64, 1, 1, 1))
    moved = as_batch(pixels, np.random.default_rng(2), augmentation(["flips", "turns"])).numpy() * 255
    found = {tuple(patch[0][[0, 0, -1, -1], [0, -1, 0, -1]].round().astype(int)) for patch in moved}
    assert len(found) == 8, "all the ways in which a square can lie"
    assert {frozenset(corners) for corners in found} == {frozenset({0, 15, 240, 255})}
    assert all(len(set(patch.round().ravel())) == 256 for patch in moved)


def test_a_blur_takes_contrast_from_edges_and_keeps_the_mean() -> None:
    pixels = np.zeros((200, 32, 32, 1), np.uint8)
    pixels[:, :, 16:] = 200
    blurred = as_batch(pixels, np.random.default_rng(4), augmentation(["blur"]))[:, 0].numpy() * 255
    steps = blurred[:, 16, 16] - blurred[:, 16, 15]
    assert (steps > 40).all()
    assert (steps > 199).mean() == pytest.approx(0.4, abs=0.1), "many stay as sharp as they were"
    np.testing.assert_allclose(blurred.mean((1, 2)), 100, atol=2)


def test_a_shift_keeps_what_is_in_the_middle() -> None:
    pixels = np.zeros((40, 32, 32, 1), np.uint8)
    pixels[:, 14:18, 14:18] = 255
    moved = as_batch(pixels, np.random.default_rng(3), augmentation(["shift", "zoom"]))[:, 0].numpy()
    assert (moved.sum((1, 2)) > 12).all()
    places = [tuple(np.argwhere(p > 0.5).mean(0).round(0)) for p in moved]
    assert len(set(places)) > 10


def test_a_picture_that_is_not_square_cannot_be_turned() -> None:
    with pytest.raises(ValueError, match="cannot be turned"):
        as_batch(patches(width=16), np.random.default_rng(0), augmentation(["turns"]))


@pytest.mark.parametrize("change", [{"gain": 1.5}, {"shift": 0.9}, {"zoom": -1.0}, {"noise": 2.0}])
def test_ranges_without_sense_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="from 0"):
        Augmentation(**change)  # type: ignore[arg-type]


def test_an_unknown_change_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="flips, brightness"):
        augmentation(["rotate"])
