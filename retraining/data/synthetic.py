"""Folders of synthetic pictures: written with their manifest, and their reader.

A folder holds one sub-folder of PNGs per class and a ``dataset.json`` that says by what they were made. They
are labelled by nobody ("synthetic"), so that they are trained on only where somebody asks for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivers.cameras.picture_files import encode_image
from retraining.data.manifest import Dataset, Picture, file_digest, load_dataset, save_dataset
from retraining.data.outlines import Outline
from retraining.errors import DatasetError
from station.files import write_file


@dataclass(frozen=True, slots=True)
class Synthetic:
    """A folder that :func:`write_synthetic` (or ``retrain synthesise``) wrote."""

    root: Path

    def read(self) -> Dataset:
        """See :class:`retraining.data.readers.Reader`."""
        dataset = load_dataset(self.root)
        strange = [p.name for p in dataset.pictures if p.labelled_by != "synthetic"]
        if strange:
            raise DatasetError(
                f"{strange[0]} in {self.root} is not synthetic; read the folder by another reader"
            )
        return dataset


def write_synthetic(
    folder: Path,
    pixels: Mapping[str, NDArray[np.uint8]],
    maker: str,
    classes: tuple[str, ...] = (),
    *,
    marks: Mapping[str, Sequence[Outline]] | None = None,
    notes: tuple[str, ...] = (),
) -> Dataset:
    """Write pictures ``(N, H, W, C)`` by class as ``CLASS/00000.png`` and their manifest, and return it.

    ``maker`` is what made them, such as the run's digest; the source is ``synthetic:<maker>``. ``classes``
    are those of the real set, in its order; empty: those given. ``marks``: where the defect is on each
    picture of a class. Raises :class:`DatasetError`.
    """
    names = classes or tuple(pixels)
    unknown = set(pixels) - set(names)
    if unknown:
        raise DatasetError(f"{', '.join(sorted(unknown))} is none of the classes {', '.join(names)}")
    pictures = []
    for name, own in pixels.items():
        if Path(name).name != name:
            raise DatasetError(f"{name!r} cannot be a folder's name; rename the class")
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(own):
            path = f"{name}/{number:05d}.png"
            write_png(folder / path, image)
            digest = file_digest(folder / path)
            own_marks = () if marks is None else (marks[name][number],)
            pictures.append(
                Picture(path, digest, name, path, f"synthetic:{maker}", "synthetic", marks=own_marks)
            )
    dataset = Dataset(folder, names, tuple(pictures), notes)
    save_dataset(dataset, folder)
    return dataset


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write ``(H, W)`` or ``(H, W, C)`` in one step, so that a file that is there is whole."""
    content = encode_image(image, ".png")
    try:
        write_file(path, content, durable=False)
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be written ({error.strerror or error}); check the disk's free space and the "
            "folder's rights"
        ) from None
