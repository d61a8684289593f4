"""Rankings of scores are those of the textbook."""

import pytest

from retraining.evaluation.ranking import average_precision


def test_average_precision_is_that_of_the_textbook() -> None:
    assert average_precision([True, True, False, False], [0.9, 0.8, 0.2, 0.1]) == 1.0
    assert average_precision([False, True, False, True], [0.9, 0.8, 0.2, 0.1]) == pytest.approx(0.5)
    assert average_precision([True, False], [0.5, 0.5]) == pytest.approx(0.5)
