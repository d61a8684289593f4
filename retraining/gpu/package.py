"""What travels to a machine with a GPU and without a network: pictures as arrays, and the wheels it lacks."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retraining.errors import TrainingError
from retraining.gpu.plan import ENGINE
from station.files import write_json

MOST_BYTES = 60_000_000
PIECE_BYTES = 56_000_000
"""Of a wheel that is too large to travel at once."""
WHEELS = ("pydantic", "pydantic-core", "annotated-types", "typing-inspection")
"""What this software imports in these rows and a machine with CUDA, torch and common packages may lack."""
POOL, MANIFEST, WHEEL_FOLDER, PIECES = "pool.npz", "package.json", "wheels", "onnxruntime-gpu"
WEIGHTS = "squeezenet.onnx"


@dataclass(frozen=True, slots=True)
class Pool:
    """Rendered pictures ``(N, side, side, 1)`` uint8, to learn from and unseen ones, of each class."""

    classes: tuple[str, ...]
    extractor: str
    """``KIND:PATH`` of what distances between pictures are measured by."""
    seen: dict[str, NDArray[np.uint8]]
    unseen: dict[str, NDArray[np.uint8]]

    def resized(self, side: int) -> Pool:
        """The same pictures, smaller."""
        from station.patching.area import resize_picture

        def smaller(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
            if pictures.shape[1] == side:
                return pictures
            return np.stack([resize_picture(picture, side, side) for picture in pictures])

        return Pool(
            self.classes,
            self.extractor,
            {name: smaller(one) for name, one in self.seen.items()},
            {name: smaller(one) for name, one in self.unseen.items()},
        )


def load_pool(package: Path) -> Pool:
    """The pictures of a package; raises :class:`TrainingError`."""
    try:
        with np.load(package / POOL, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{package / POOL} cannot be read ({error}); make it by `python -m retraining.gpu pack`"
        ) from None
    classes = tuple(name.removeprefix("seen ") for name in arrays if name.startswith("seen "))
    weights = package / WEIGHTS
    extractor = f"squeezenet:{weights}" if weights.is_file() else f"classifier:{ENGINE / 'model.onnx'}"
    return Pool(
        classes,
        extractor,
        {n: arrays[f"seen {n}"] for n in classes},
        {n: arrays[f"unseen {n}"] for n in classes},
    )


def pack(
    package: Path,
    *,
    side: int,
    pictures: int,
    parts: int,
    cache: Path,
    processes: int,
    python: str,
    onnxruntime: bool,
    weights: Path | None = None,
    report: Callable[[int, str], None] = lambda done, line: None,
) -> int:
    """Write a package and return its bytes, without the pieces of ONNX Runtime, which travel one by one.

    ``python``: the version over there, such as ``3.12``; empty leaves the wheels out. ``weights``: those of
    SqueezeNet as ONNX, for distances between pictures. Raises :class:`TrainingError` where it becomes larger
    than 60 MB, or a wheel cannot be had.
    """
    package.mkdir(parents=True, exist_ok=True)
    if weights is not None:
        shutil.copyfile(weights, package / WEIGHTS)
    pool = _rendered(side, pictures, parts, cache, processes, report)
    np.savez_compressed(package / POOL, allow_pickle=False, **pool)
    if python:
        _download(package / WHEEL_FOLDER, python, WHEELS)
    pieces: list[dict[str, str]] = []
    if onnxruntime:
        _download(package / PIECES, python, ("onnxruntime-gpu",))
        pieces = _cut(package / PIECES)
    write_json(package / MANIFEST, {"side": side, "pictures": pictures, "python": python, "pieces": pieces})
    size = sum(
        file.stat().st_size
        for file in package.rglob("*")
        if file.is_file() and PIECES not in file.relative_to(package).parts
    )
    if size > MOST_BYTES:
        raise TrainingError(
            f"{package} has {size / 1e6:.0f} MB, more than {MOST_BYTES / 1e6:.0f}; pack fewer --pictures"
        )
    return size


def _rendered(
    side: int, pictures: int, parts: int, cache: Path, processes: int, report: Callable[[int, str], None]
) -> dict[str, NDArray[np.uint8]]:
    """Crops of two sets of rendered parts, ``seen CLASS`` and ``unseen CLASS``."""
    from retraining.classifiers.validation import recipe_at
    from retraining.surfaces.crops import RandomCrops
    from retraining.surfaces.rendered import render_surfaces
    from station.recipe import load_recipe

    recipe = load_recipe(Path("recipes/servo-motor-housing.yaml"))
    found: dict[str, NDArray[np.uint8]] = {}
    for number, which in enumerate(("seen", "unseen")):
        surfaces = render_surfaces(
            recipe, parts, 71 + number, cache / f"set-{71 + number}", processes=processes,
            report=partial(_rendered_so_far, report, number * parts),
        )  # fmt: skip
        crops, rng = RandomCrops(surfaces, recipe_at(recipe, side).patch), np.random.default_rng(number)
        held: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in crops.classes}
        while min(map(len, held.values())) < pictures:
            batch = crops.cut(crops.draw(rng, 64))
            for picture, label in zip(batch.pixels, batch.labels, strict=True):
                of_class = held[crops.classes[label]]
                if len(of_class) < pictures:
                    of_class.append(picture)
        found |= {f"{which} {name}": np.stack(of_class) for name, of_class in held.items()}
    return found


def _rendered_so_far(report: Callable[[int, str], None], before: int, done: int) -> None:
    report(before + done, "")


def _download(folder: Path, python: str, names: tuple[str, ...]) -> None:
    """Fetch wheels for x86-64 Linux and that Python, with nothing that they need."""
    shutil.rmtree(folder, ignore_errors=True)
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in (34, 28, 27, 17)] + ["manylinux2014_x86_64"]
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
        "--python-version", python, "--implementation", "cp", "--dest", str(folder),
    ]  # fmt: skip
    for platform in platforms:
        command += ["--platform", platform]
    for name in names:
        done = subprocess.run([*command, _pinned(name)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise TrainingError(f"no wheel of {name} for Python {python}: {done.stderr.strip()[-300:]}")


def _pinned(name: str) -> str:
    """A package at the version that is installed here, so that what is tried is what travels."""
    from importlib import metadata

    try:
        return f"{name}=={metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return name


def _cut(folder: Path) -> list[dict[str, str]]:
    """Cut the wheel of a folder into pieces that travel one by one; their names and digests."""
    (wheel,) = folder.glob("*.whl")
    pieces = []
    with wheel.open("rb") as whole:
        for number in range(1000):
            content = whole.read(PIECE_BYTES)
            if not content:
                break
            name = f"{wheel.name}.{number:03d}"
            (folder / name).write_bytes(content)
            pieces.append({"name": name, "sha256": hashlib.sha256(content).hexdigest()})
    wheel.unlink()
    return pieces


def joined_wheel(package: Path, kept: Path) -> Path | None:
    """The wheel of ONNX Runtime for CUDA, once all its pieces have come; ``None`` while some are missing.

    Pieces that lie in the package are copied to ``kept``, which outlasts the call that brought them. Raises
    :class:`TrainingError` for a piece that was damaged.
    """
    pieces: list[dict[str, str]] = json.loads((package / MANIFEST).read_text(encoding="utf-8"))["pieces"]
    if not pieces:
        return None
    kept.mkdir(parents=True, exist_ok=True)
    for piece in pieces:
        here, there = kept / piece["name"], package / PIECES / piece["name"]
        if not here.is_file() and there.is_file():
            if hashlib.sha256(there.read_bytes()).hexdigest() != piece["sha256"]:
                raise TrainingError(f"{there} is damaged; send it again")
            shutil.copyfile(there, here)
    if not all((kept / piece["name"]).is_file() for piece in pieces):
        return None
    wheel = kept / pieces[0]["name"].rpartition(".")[0]
    if not wheel.is_file():
        with wheel.open("wb") as whole:
            for piece in pieces:
                whole.write((kept / piece["name"]).read_bytes())
    return wheel
