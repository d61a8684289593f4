"""SMOTE: pictures between a real one and a near one."""

import numpy as np
import pytest

from retraining.errors import DatasetError
from retraining.synthesis.smote import smote


def test_pictures_lie_between_a_real_one_and_one_of_its_nearest() -> None:
    dark = np.arange(0, 60, 10)
    levels = np.concatenate([dark, dark + 190]).astype(np.uint8)  # two heaps of six
    real = np.broadcast_to(levels[:, None, None, None], (12, 8, 8, 1)).copy()
    made = smote(real, 200, seed=4)
    assert made.shape == (200, 8, 8, 1)
    assert made.dtype == np.uint8
    assert set(np.unique(made)) <= {*range(51), *range(190, 241)}, "never between the heaps"
    assert len(np.unique(made)) > len(levels)
    assert np.array_equal(made, smote(real, 200, seed=4))
    assert not np.array_equal(made, smote(real, 200, seed=5))


def test_one_picture_has_no_neighbour() -> None:
    with pytest.raises(DatasetError, match="two or more"):
        smote(np.zeros((1, 8, 8, 1), np.uint8), 3, seed=1)
