"""Pictures of a data set as what the training loop draws from (:class:`retraining.surfaces.crops.Source`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retraining.data.pixels import PictureSet
from retraining.errors import DatasetError
from retraining.surfaces.crops import WINDOW, Batch

SAMPLINGS = ("balanced", "natural")


class PictureSource:
    """Draws whole pictures, with replacement: every class equally often, or as often as the set has it.

    ``synthetic`` pictures take the place of ``synthetic_share`` of each batch. The label is drawn first, from
    the real pictures, so that the share changes where pictures come from, not how often a class is shown; of
    a class without synthetic pictures only real ones are drawn, and the others make up for it as far as they
    go. ``sound`` is the index of the class without a defect, where there is one.
    """

    def __init__(
        self,
        pictures: PictureSet,
        *,
        sampling: str = "balanced",
        synthetic: PictureSet | None = None,
        synthetic_share: float = 0.0,
        sound: int | None = None,
    ) -> None:
        if sampling not in SAMPLINGS:
            raise DatasetError(f"sampling is {' or '.join(SAMPLINGS)}, not {sampling!r}")
        if not 0.0 <= synthetic_share <= 1.0:
            raise DatasetError(f"the synthetic share is {synthetic_share}, which is not within 0 to 1")
        if synthetic_share > 0.0 and (synthetic is None or not len(synthetic)):
            raise DatasetError("a share of synthetic pictures needs synthetic pictures")
        if synthetic is not None and (
            synthetic.classes != pictures.classes or synthetic.pixels.shape[1:] != pictures.pixels.shape[1:]
        ):
            raise DatasetError("synthetic pictures must have the classes and the size of the real ones")
        missing = [name for name, count in pictures.count().items() if not count]
        if missing:
            raise DatasetError(
                f"there is no picture of {', '.join(missing)}; add some or leave the class out"
            )
        self.classes = pictures.classes
        self.channels = int(pictures.pixels.shape[3])
        self.sound = sound
        self.size = (int(pictures.pixels.shape[1]), int(pictures.pixels.shape[2]))
        self._sets = [pictures] if synthetic is None else [pictures, synthetic]
        self._sampling = sampling
        self._share = synthetic_share
        self._real = _by_class(pictures, 0)
        self._made = None if synthetic is None else _by_class(synthetic, len(pictures))

    @property
    def patch_px(self) -> int:
        """The pictures' side, px; raises :class:`DatasetError` unless they are square."""
        if self.size[0] != self.size[1]:
            raise DatasetError(f"pictures of {self.size[0]} x {self.size[1]} px are not square; use `size`")
        return self.size[0]

    def draw(self, rng: np.random.Generator, size: int) -> NDArray[np.int64]:
        """``(size, 4)`` windows ``(picture, 0, 0, label)``; numbers from ``len(real)`` on are synthetic."""
        if self._sampling == "balanced":
            labels = (np.arange(size) + rng.integers(len(self.classes))) % len(self.classes)
        else:
            shares = np.array([len(own) for own in self._real], np.float64)
            labels = rng.choice(len(self.classes), size, p=shares / shares.sum())
        synthetic = np.zeros(size, bool)
        if self._made is not None:
            able = np.flatnonzero([len(self._made[k]) > 0 for k in labels])
            synthetic[rng.permutation(able)[: round(size * self._share)]] = True
        windows = np.zeros((size, WINDOW), np.int64)
        windows[:, 3] = labels
        for row, place in enumerate(rng.random(size)):
            own = self._made if self._made is not None and synthetic[row] else self._real
            pool = own[int(labels[row])]
            windows[row, 0] = pool[int(place * len(pool))]
        return windows

    def cut(self, windows: NDArray[np.int64]) -> Batch:
        """See :class:`retraining.surfaces.crops.Source`."""
        pixels = np.empty((len(windows), *self.size, self.channels), np.uint8)
        real = len(self._sets[0])
        for row, number in enumerate(windows[:, 0]):
            own, at = (self._sets[0], number) if number < real else (self._sets[1], number - real)
            pixels[row] = own.pixels[at]
        return Batch(pixels, windows[:, 3].copy(), windows)


def _by_class(pictures: PictureSet, offset: int) -> list[NDArray[np.int64]]:
    """The numbers of the pictures of each class."""
    return [np.flatnonzero(pictures.labels == k) + offset for k in range(len(pictures.classes))]
