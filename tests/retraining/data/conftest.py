"""Small data sets on disk."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from retraining.data.dataset import Dataset, Picture
from retraining.data.manifest import file_digest

MakeDataset = Callable[..., Dataset]


def write_noise(path: Path, seed: int, side: int = 32) -> Path:
    """A grey picture of blurred noise, unlike that of any other seed."""
    noise = np.random.default_rng(seed).normal(0.0, 1.0, (side, side))
    blurred = cv2.GaussianBlur(noise, (0, 0), 2.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.clip(128 + 60 * blurred / blurred.std(), 0, 255).astype(np.uint8))
    return path


@pytest.fixture
def noise() -> Callable[..., Path]:
    """Writes a picture of noise: ``noise(path, seed, side)``."""
    return write_noise


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    """Makes ``count`` pictures of each of the classes ``a``, ``b`` and ``c``, each its own group."""

    def make(count: int = 3, **changed: str) -> Dataset:
        pictures = []
        for number in range(3 * count):
            label = "abc"[number % 3]
            path = write_noise(tmp_path / "pictures" / label / f"{number}.png", number)
            name = f"{label}/{number}.png"
            fields = {"group": name, "source": "folder", "labelled_by": "person", **changed}
            pictures.append(Picture(name, file_digest(path), label, **fields))
        return Dataset(tmp_path / "pictures", ("a", "b", "c"), tuple(pictures))

    return make
