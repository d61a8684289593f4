"""What the training loop draws from a data set."""

from dataclasses import replace

import numpy as np
import pytest

from retraining.data.dataset import PictureSet, load_pixels
from retraining.data.source import PictureSource
from retraining.errors import DatasetError


@pytest.fixture
def lopsided(make_dataset) -> PictureSet:
    """Eight pictures of a, one of b, one of c."""
    pictures = load_pixels(make_dataset(8), 16, 1)
    return pictures.select([0, 3, 6, 9, 12, 15, 18, 21, 1, 2])


def _labels(source: PictureSource, size: int) -> list[int]:
    return np.bincount(source.cut(source.draw(np.random.default_rng(1), size)).labels, minlength=3).tolist()


def test_a_balanced_source_shows_every_class_equally_often(lopsided: PictureSet) -> None:
    assert _labels(PictureSource(lopsided), 30) == [10, 10, 10]


def test_a_natural_source_shows_what_there_is(lopsided: PictureSet) -> None:
    a, b, c = _labels(PictureSource(lopsided, sampling="natural"), 2000)
    assert a / 2000 == pytest.approx(0.8, abs=0.04)
    assert min(b, c) > 100


def test_draws_follow_from_the_generator_alone(lopsided: PictureSet) -> None:
    source = PictureSource(lopsided, sampling="natural")
    first, again = (source.draw(np.random.default_rng([3, 9]), 16) for _ in range(2))
    assert (first == again).all()


def test_cut_gives_the_pictures_that_the_windows_name(lopsided: PictureSet) -> None:
    source = PictureSource(lopsided, synthetic=lopsided, synthetic_share=0.5)
    windows = source.draw(np.random.default_rng(2), 12)
    batch = source.cut(windows)
    assert (batch.pixels == lopsided.pixels[windows[:, 0] % len(lopsided)]).all()
    assert (batch.labels == lopsided.labels[windows[:, 0] % len(lopsided)]).all()


def test_synthetic_pictures_take_their_share_and_keep_the_labels(lopsided: PictureSet) -> None:
    made = replace(lopsided.select([8, 9]), names=("made-b", "made-c"))
    source = PictureSource(lopsided, synthetic=made, synthetic_share=0.4)
    windows = source.draw(np.random.default_rng(4), 30)
    synthetic = windows[:, 0] >= len(lopsided)
    assert synthetic.sum() == 12
    assert np.bincount(windows[:, 3]).tolist() == [10, 10, 10]
    assert 0 not in windows[synthetic, 3]  # there is no synthetic a


def test_a_share_of_nothing_an_empty_class_and_another_size_are_refused(
    lopsided: PictureSet, make_dataset
) -> None:
    with pytest.raises(DatasetError, match="needs synthetic"):
        PictureSource(lopsided, synthetic_share=0.5)
    with pytest.raises(DatasetError, match="no picture of b"):
        PictureSource(lopsided.select(lopsided.labels != 1))
    with pytest.raises(DatasetError, match="size of the real"):
        PictureSource(lopsided, synthetic=load_pixels(make_dataset(), 8, 1), synthetic_share=0.1)
    with pytest.raises(DatasetError, match="balanced or natural"):
        PictureSource(lopsided, sampling="fair")


def test_only_square_pictures_have_a_side(make_dataset) -> None:
    assert PictureSource(load_pixels(make_dataset(), 16, 1)).patch_px == 16
    tall = PictureSource(load_pixels(make_dataset(), (16, 8), 1))
    assert tall.size == (16, 8)
    with pytest.raises(DatasetError, match="not square"):
        _ = tall.patch_px
