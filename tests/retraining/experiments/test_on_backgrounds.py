"""Which pictures a test crop was cut out of."""

from __future__ import annotations

import numpy as np

from retraining.experiments.on_backgrounds import sources_of


def test_a_picture_is_known_again_by_a_crop_of_it_brighter_or_not() -> None:
    rng = np.random.default_rng(1)
    pictures = [rng.integers(60, 180, (100, 120)).astype(np.uint8) for _ in range(3)]
    crops = np.stack([pictures[1][30:62, 40:72], rng.integers(60, 180, (32, 32)).astype(np.uint8)])
    assert sources_of(crops, pictures) == {1}
    assert sources_of((crops * 0.8 + 20).astype(np.uint8), pictures) == {1}
    assert sources_of(crops[1:], pictures) == set()
