"""A small product whose defects can be told by a network of a few steps."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from retraining.surfaces import Surfaces
from station.recipe import Recipe, load_recipe

CLASSES = ("good", "spot", "line")
_RECIPE = """
name: toy
version: 1
product:
  background: none
  widths_px: [256]
  height_px: 256
  mm_per_px_x: 0.1
  mm_per_px_y: 0.1
surface: {height: 256, width: 256, channels: 1}
patch: {size: 128}
engine: toy
classes:
  - {name: good, bin: 1}
  - {name: spot, bin: 2}
  - {name: line, bin: 3}
fault_bin: 4
"""


def toy_surface(label: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A grey surface 256 x 256 and its mask, with one defect inside one patch."""
    rng = np.random.default_rng([seed, label])
    surface = rng.normal(120, 6, (256, 256)).astype(np.float32)
    mask = np.zeros((256, 256), np.uint8)
    x, y = (int(v) for v in rng.integers(0, 2, 2) * 128 + rng.integers(30, 98, 2))
    if label == 1:
        cv2.circle(mask, (x, y), 12, 1, -1)
    elif label == 2:
        cv2.line(mask, (x - 25, y - 25), (x + 25, y + 25), 2, 5)
    surface += 70.0 * (mask > 0)
    return np.clip(surface, 0, 255).astype(np.uint8), mask


@pytest.fixture(scope="session")
def toy_recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    path = tmp_path_factory.mktemp("recipes") / "toy.yaml"
    path.write_text(_RECIPE, encoding="utf-8")
    return load_recipe(path)


@pytest.fixture(scope="session")
def toy_surfaces() -> Surfaces:
    made = [toy_surface(number % 3, number) for number in range(9)]
    return Surfaces(
        np.stack([s for s, _ in made])[..., None],
        np.stack([m for _, m in made]),
        CLASSES,
        tuple(f"toy-{n}" for n in range(9)),
    )


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Look-alikes of KolektorSDD: normal/, defect/ and masks/, two normal and one defect an item."""
    root = tmp_path / "photographs"
    for name in ("normal", "defect", "masks"):
        (root / name).mkdir(parents=True)
    for item in range(1, 6):
        for part in range(3):
            surface, mask = toy_surface(2 if part == 2 else 0, item * 10 + part)
            picture = cv2.resize(surface, (500, 1260))
            stem = f"kos{item:02d}_Part{part}"
            if part == 2:
                cv2.imwrite(str(root / "masks" / f"{stem}.png"), cv2.resize(mask * 120, (500, 1260)))
            cv2.imwrite(str(root / ("defect" if part == 2 else "normal") / f"{stem}.jpg"), picture)
    return root
