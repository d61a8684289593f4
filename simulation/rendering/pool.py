"""A pool of pre-rendered frames with their truth on disk, so that a plant can feed them at full rate.

The pool is a folder: ``frame-00000.tiff`` ... in order (with lamps ``frame-00000-output-01.tiff`` ..., one
per lamp), ``truth.jsonl`` (one :class:`PartTruth` a line, in the same order), ``pool.json`` (what it was made
from), and where asked for ``masks/frame-00000.npz`` ...
(``mask``: uint8, class index per product pixel; no picture files, or they would be taken for frames). It is
rendered beside its place and moved there when whole, so a half-written pool is never taken for one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from drivers.cameras.picture_files import write_image
from drivers.regular_files import read_text
from simulation.rendering.parts import RENDERER_VERSION, RenderedPart, render_part
from simulation.truth import (
    CLASS_NAMES,
    FRAME_HEIGHT,
    FRAME_WIDTH,
    PRODUCT_WIDTHS,
    PartTruth,
    SimulationError,
    TruthBook,
    fingerprint,
)

FORMATS: dict[str, list[int]] = {
    "tiff": [cv2.IMWRITE_TIFF_COMPRESSION, 1],
    "bmp": [],
    "png": [cv2.IMWRITE_PNG_COMPRESSION, 1],
}
"""Lossless only: a frame is known again by its pixels."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class PoolLamp:
    """A distant lamp, and the output of the light controller at which it is."""

    output: int
    slant_deg: float
    """From the camera's axis."""
    azimuth_deg: float
    """0 along the columns, 90 down the rows."""

    @property
    def direction(self) -> tuple[float, float, float]:
        """The unit vector to the lamp: x along the columns, y down the rows, z to the camera."""
        slant, azimuth = math.radians(self.slant_deg), math.radians(self.azimuth_deg)
        return math.sin(slant) * math.cos(azimuth), math.sin(slant) * math.sin(azimuth), math.cos(slant)


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """Everything that decides a pool's pixels."""

    count: int
    seed: int
    format: str = "tiff"
    masks: bool = False
    good_share: float = 0.7
    """Share of defect-free parts."""
    multi_share: float = 0.15
    """Share of the defective parts that carry two or three kinds or places."""
    widths: tuple[int, ...] = PRODUCT_WIDTHS
    tilt_deg: float = 0.0
    """Parts are tilted by up to this much either way."""
    kinds: tuple[str, ...] = CLASS_NAMES[1:]
    """The kinds of defect that parts with one defect have, in turn."""
    lamps: tuple[PoolLamp, ...] = ()
    """One frame of each part under each of these; without them, one frame under the bar light."""

    def __post_init__(self) -> None:
        """Refuse what cannot be rendered."""
        if self.count < 1:
            raise SimulationError(f"a pool needs at least 1 frame, not {self.count}")
        if self.seed < 0:
            raise SimulationError(f"seed {self.seed} is negative; use 0 or more")
        if self.format not in FORMATS:
            raise SimulationError(f"frames cannot be written as {self.format!r}; use one of {tuple(FORMATS)}")
        if not (0 <= self.good_share <= 1 and 0 <= self.multi_share <= 1):
            raise SimulationError("good_share and multi_share are shares: 0 to 1")
        if not self.widths:
            raise SimulationError("no product width is given")
        strange = [kind for kind in self.kinds if kind not in CLASS_NAMES[1:]]
        if strange or not self.kinds:
            raise SimulationError(
                f"{', '.join(strange) or 'none'}: kinds of defect are {', '.join(CLASS_NAMES[1:])}"
            )
        if not 0 <= self.tilt_deg <= 1:
            raise SimulationError(f"tilt {self.tilt_deg} degrees is outside 0 to 1")
        outputs = [lamp.output for lamp in self.lamps]
        if len(set(outputs)) < len(outputs):
            raise SimulationError(f"lamps share an output ({outputs}); give each its own")

    @property
    def digest(self) -> str:
        """SHA-256 of the plan and the renderer's version."""
        values = asdict(self)
        if not self.lamps:
            del values["lamps"]  # pools of before have none
        text = json.dumps([RENDERER_VERSION, values], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def frames(self) -> int:
        """All frames of the pool."""
        return self.count * max(1, len(self.lamps))

    def file_names(self, index: int) -> list[str]:
        """The part's frames in the order of the lamps; sorted by name is sorted by index."""
        if not self.lamps:
            return [f"frame-{index:05d}.{self.format}"]
        return [f"frame-{index:05d}-output-{lamp.output:02d}.{self.format}" for lamp in self.lamps]


def write_frames(
    folder: Path,
    count: int,
    seed: int,
    *,
    format: str = "tiff",
    masks: bool = False,
    good_share: float = 0.7,
    multi_share: float = 0.15,
    widths: tuple[int, ...] = PRODUCT_WIDTHS,
    tilt_deg: float = 0.0,
    kinds: tuple[str, ...] = CLASS_NAMES[1:],
    lamps: tuple[PoolLamp, ...] = (),
    workers: int = 2,
    max_bytes: int = 1_500_000_000,
    progress: Progress | None = None,
) -> TruthBook:
    """Make the pool in ``folder`` unless exactly that pool is there; returns its truths in frame order.

    ``progress(done, total)`` is called after each frame. Raises :class:`SimulationError` when the plan makes
    no sense, the uncompressed frames would exceed ``max_bytes``, or the folder holds what is not a pool.
    """
    plan = PoolPlan(
        count, seed, format, masks, good_share, multi_share, tuple(widths), tilt_deg, kinds, lamps
    )
    if plan.frames * FRAME_WIDTH * FRAME_HEIGHT > max_bytes:
        most = max_bytes // (FRAME_WIDTH * FRAME_HEIGHT) // max(1, len(lamps))
        each = f" of {count} parts under {len(lamps)} lamps" if lamps else ""
        raise SimulationError(
            f"{plan.frames} frames{each} need more than {max_bytes / 1e9:.2f} GB; ask for {most} or fewer"
        )
    folder = Path(folder).absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        if not _holds(folder, plan):
            _refuse_foreign(folder)
            _make(folder, plan, max(1, min(workers, 2)), progress)
        elif progress:
            progress(count, count)
        return TruthBook.load(folder)


def planned_kinds(plan: PoolPlan) -> list[tuple[str, int]]:
    """For each frame its kind (a class name or ``mixed``) and how many defects; the kinds in turn."""
    rng = np.random.default_rng([plan.seed, 77])
    bad = plan.count - round(plan.good_share * plan.count)
    several = round(plan.multi_share * bad)
    kinds = [(plan.kinds[i % len(plan.kinds)], 1) for i in range(bad - several)]
    kinds += [("mixed", int(rng.integers(2, 4))) for _ in range(several)]
    kinds += [(CLASS_NAMES[0], 0)] * (plan.count - bad)
    return [kinds[i] for i in rng.permutation(plan.count)]


def planned_part(plan: PoolPlan, index: int) -> RenderedPart:
    """Render the pool's part number ``index``, the same each time."""
    kind, count = planned_kinds(plan)[index]
    for attempt in range(8):
        rng = np.random.default_rng([plan.seed, index, attempt])
        seed, width = int(rng.integers(1 << 40, 1 << 41)), int(rng.choice(plan.widths))
        tilt = float(np.round(rng.uniform(-plan.tilt_deg, plan.tilt_deg), 3)) if plan.tilt_deg else 0.0
        try:
            if count == 0:
                return render_part(seed, width=width, tilt_deg=tilt)
            return render_part(seed, width=width, kind=kind, defects_per_part=count, tilt_deg=tilt)
        except SimulationError:
            if attempt == 7:
                raise
    raise AssertionError("unreachable")


def _write_one(task: tuple[PoolPlan, int, str]) -> PartTruth:
    """Render and write one frame (and its mask); runs in a worker."""
    plan, index, folder = task
    part, names = planned_part(plan, index), plan.file_names(index)
    directions = np.array([lamp.direction for lamp in plan.lamps], np.float32)
    frames = part.frames_under(directions) if plan.lamps else [part.frame()]
    for name, frame in zip(names, frames, strict=True):
        write_image(Path(folder) / name, frame, FORMATS[plan.format])
    if plan.masks:
        np.savez_compressed(Path(folder) / "masks" / f"frame-{index:05d}.npz", mask=part.mask)
    return replace(part.truth, fingerprint=fingerprint(frames[0]), file=names[0])


def _make(folder: Path, plan: PoolPlan, workers: int, progress: Progress | None) -> None:
    """Render everything beside the folder, then put it in its place."""
    beside = folder.parent / f".{folder.name}.making"
    shutil.rmtree(beside, ignore_errors=True)
    (beside / "masks" if plan.masks else beside).mkdir(parents=True)
    tasks = [(plan, index, str(beside)) for index in range(plan.count)]
    lines: list[str] = []
    try:
        with _mapped(workers if plan.count > 3 else 1, tasks) as truths:
            for truth in truths:
                lines.append(json.dumps(truth.to_json()))
                if progress:
                    progress(len(lines), plan.count)
        (beside / "truth.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        names = [name for index in range(plan.count) for name in plan.file_names(index)]
        sizes = {name: (beside / name).stat().st_size for name in names}
        record = {"digest": plan.digest, "renderer": RENDERER_VERSION, "plan": asdict(plan), "sizes": sizes}
        (beside / "pool.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(beside, folder)
    except OSError as error:
        raise SimulationError(
            f"the pool {folder} cannot be written ({error}); check disk space and permissions"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def _mapped(workers: int, tasks: list[tuple[PoolPlan, int, str]]) -> Iterator[Iterator[PartTruth]]:
    """The tasks' results in order, from this process or from a few others."""
    if workers == 1:
        yield map(_write_one, tasks)
        return
    with multiprocessing.get_context("spawn").Pool(workers, _one_thread) as processes:
        yield processes.imap(_write_one, tasks)


def _one_thread() -> None:
    """Two processes on two cores: OpenCV's own threads would only get in each other's way."""
    cv2.setNumThreads(1)


def _holds(folder: Path, plan: PoolPlan) -> bool:
    """Whether the folder holds exactly the pool of this plan, whole."""
    try:
        record = json.loads(read_text(folder / "pool.json"))
        whole = all((folder / name).stat().st_size == size for name, size in record["sizes"].items())
        return bool(record["digest"] == plan.digest and whole and len(record["sizes"]) == plan.frames)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _refuse_foreign(folder: Path) -> None:
    """Never delete what is not a pool."""
    if folder.exists() and not folder.is_dir():
        raise SimulationError(f"{folder} is a file; name a folder")
    if folder.exists() and any(folder.iterdir()) and not (folder / "pool.json").exists():
        raise SimulationError(f"{folder} contains other files; name an empty or a new folder")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One maker at a time; the second waits and finds the pool made."""
    path = folder.parent / f".{folder.name}.lock"
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
