"""Pictures of parts on the disk, written beside the decision path and within a quota.

The saver is an observer: parts wait for it in a queue that sheds them when it is full. Whatever happens
here - a full disk, a folder taken away - costs pictures and never a part. The oldest pictures make room for
new ones; only files that this class wrote, and noted in ``.pictures`` in the folder, are ever deleted.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from drivers.cameras.picture_files import ImageFileError, decode_image, encode_image, in_channels
from drivers.errors import InspectionError
from drivers.sorters.interface import Outcome
from station.disks import PICTURES_RESERVE_MB, require_room
from station.files import write_file
from station.observers.interface import Observer
from station.pictures.drawing import (
    PartView,
    Picture,
    draw_picture,
    draw_sheet,
    draw_tile,
    view_of_frame,
    view_of_surface,
    view_of_uncut_frame,
)

if TYPE_CHECKING:
    from station.decision import Verdict
    from station.part import InspectedPart
    from station.patching import Patches
    from station.recipe import Recipe

FAULT_ENDING = "-fault"
"""How the name of a fault's picture ends, before the dot."""
INDEX = ".pictures"
"""What this class wrote into the folder: one ``name size`` per line, oldest first."""
FAULT_SHARE = 0.25
"""The share of the quota that pictures of faults may take: a night without light must not delete rejects."""
PROBE = ".probe"
"""Written and removed again, to see whether a picture could be."""
PROBE_BYTES = 4096
"""Its size before the first picture."""
SHEET_TILES = 60
"""Parts on the contact sheet of a run: the latest ones."""


class PictureError(InspectionError):
    """A picture cannot be written; the message says what to do about it."""


@dataclass(frozen=True, slots=True)
class PictureStatus:
    """A snapshot of the pictures that were written; its queue counts what was dropped or failed."""

    saved: int
    deleted: int
    """Old ones that made room."""
    bytes_used: int


class PictureSaver(Observer):
    """Saves pictures of the parts that it is shown."""

    name = "pictures"
    keeps = "pictures"

    def __init__(
        self,
        folder: Path,
        *,
        quota_mb: float,
        capacity: int = 8,
        outcomes: frozenset[Outcome] = frozenset({Outcome.REJECT}),
        suffix: str = ".jpg",
        on_saved: Callable[[int, Path, str], None] | None = None,
    ) -> None:
        """Save into ``folder``: JPEG (20 times quicker to make), or PNG with ``suffix=".png"``.

        The quota is over everything that was ever saved into this folder. ``on_saved`` is called with the
        part's record id, the picture's path and the SHA-256 of its bytes, hexadecimal. Never
        raises: a folder that cannot be used costs pictures.
        """
        self.folder = folder
        self.capacity = capacity
        self.outcomes = outcomes
        self.uncut_frames = Outcome.FAULT in outcomes
        self._quota = int(quota_mb * 1e6)
        self._suffix = suffix
        self._on_saved = on_saved
        self._tiles: deque[bytes] = deque(maxlen=SHEET_TILES)
        self._lock = threading.Lock()
        self._saved = self._deleted = 0
        self._size = PROBE_BYTES
        """Bytes of the latest picture."""
        self._written = _read_index(folder)
        self._of_before = frozenset(self._written)
        self.stored_bytes = sum(self._written.values())

    def observe(self, part: InspectedPart) -> None:
        """Draw and write the part's picture; a part without a frame has none.

        Raises :class:`PictureError`.
        """
        view = self._view(part)
        if view is not None:
            with self._writing():
                self._save(part, view)
        status = self.status()
        self.stored_bytes = status.bytes_used
        self.note = (
            f"{status.saved} saved, {status.deleted} old ones deleted, {status.bytes_used / 1e6:.1f} MB"
        )

    def probe(self) -> None:
        """Write and remove a file as large as the latest picture. Raises :class:`PictureError`."""
        self._require_quota(self._size)
        file = self.folder / PROBE
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / INDEX).open("a", encoding="utf-8"):
                pass
            try:
                require_room(self.folder, self._size, PICTURES_RESERVE_MB)
                file.write_bytes(bytes(self._size))
            finally:
                file.unlink(missing_ok=True)

    def status(self) -> PictureStatus:
        """Counts, without waiting."""
        with self._lock:
            return PictureStatus(self._saved, self._deleted, sum(self._written.values()))

    def saved(self) -> list[Path]:
        """The pictures saved since the start and not deleted since, oldest first."""
        with self._lock:
            return [self.folder / name for name in self._written if name not in self._of_before]

    def write_contact_sheet(self, target: Path, title: str = "") -> Path | None:
        """Put the latest parts saved on one picture; None when there were none. Raises :class:`PictureError`.

        What still waits in the queue is not on it: close the observers first.
        """
        with self._lock:
            tiles, count = list(self._tiles), self._saved
        if not tiles:
            return None
        shown = f"{count} parts" if count == len(tiles) else f"the latest {len(tiles)} of {count} parts"
        pictures = [_decode(tile) for tile in tiles]
        write_contact_sheet(pictures, target, f"{title}: {shown}" if title else shown)
        return target

    def _view(self, inspected: InspectedPart) -> PartView | None:
        part, verdict, name = inspected.part, inspected.verdict, f"part {inspected.part_id}"
        if part.patches is not None:
            classes = [entry.name for entry in part.prepared.recipe.classes]
            scores = None if part.scores is None else part.scores.probabilities
            return view_of_surface(name, verdict, part.patches, scores, classes)
        seen = [one.pixels for one in part.frames if one.pixels.size]
        return view_of_uncut_frame(name, verdict, side_by_side(seen)) if seen else None

    def _save(self, inspected: InspectedPart, view: PartView) -> None:
        part, verdict = inspected.part, inspected.verdict
        sent = datetime.now(UTC) - timedelta(microseconds=(time.monotonic_ns() - inspected.sent_ns) / 1000)
        stamp = sent.strftime("%Y%m%dT%H%M%S.%f")[:-3]
        kind = verdict.class_name.replace(" ", "-")
        path = self.folder / f"{stamp}Z-part-{inspected.part_id}-{kind}{self._suffix}"
        content = _encode(draw_picture(view), self._suffix)
        tile = _encode(draw_tile(view), ".jpg")
        self._size = len(content)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._make_room(len(content), fault=verdict.outcome is Outcome.FAULT)
        require_room(self.folder, len(content), PICTURES_RESERVE_MB)
        # Noted before it is there: a kill in between leaves a line without a file, not a file for ever.
        with (self.folder / INDEX).open("a", encoding="utf-8") as index:
            index.write(f"{path.name} {len(content)}\n")
        # Not durable: an fsync for each picture would compete with the journal's.
        write_file(path, content, durable=False)
        with self._lock:
            self._written[path.name] = len(content)
            self._tiles.append(tile)
            self._saved += 1
        if self._on_saved is not None:
            self._on_saved(part.record_id, path, hashlib.sha256(content).hexdigest())

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Name the folder in what the disk says. Raises :class:`PictureError`."""
        try:
            yield
        except OSError as error:
            raise PictureError(f"{self.folder} cannot be written: {error.strerror or error}") from error

    def _require_quota(self, size: int) -> None:
        if size > self._quota:
            raise PictureError(
                f"one picture takes {size} bytes, the quota is {self._quota}: raise images.quota_mb"
            )

    def _make_room(self, size: int, *, fault: bool) -> None:
        """Delete the oldest pictures until ``size`` more bytes fit; faults beyond their share go first."""
        self._require_quota(size)
        doomed: list[str] = []
        too_much = sum(self._written.values()) + size - self._quota
        if fault:
            faults = [name for name in self._written if Path(name).stem.endswith(FAULT_ENDING)]
            too_many = sum(self._written[name] for name in faults) + size - self._quota * FAULT_SHARE
            doomed = _oldest(faults, self._written, too_many)
            too_much -= sum(self._written[name] for name in doomed)
        doomed += _oldest([name for name in self._written if name not in doomed], self._written, too_much)
        for name in doomed:
            (self.folder / name).unlink(missing_ok=True)
            with self._lock:
                del self._written[name]
                self._deleted += 1
        removed = bool(doomed)
        if removed:
            lines = "".join(f"{name} {length}\n" for name, length in self._written.items())
            write_file(self.folder / INDEX, lines, durable=False)


def write_overlay(
    path: Path,
    frame: NDArray[np.uint8],
    patches: Patches,
    scores: NDArray[np.float32] | None,
    verdict: Verdict,
    recipe: Recipe,
) -> None:
    """Write one inspected picture with its verdict drawn in; the ending of ``path`` says the format.

    ``frame``: uint8 ``(H, W)`` or ``(H, W, C)``, the picture that ``patches`` were cut from. Raises
    :class:`PictureError`.
    """
    classes = [entry.name for entry in recipe.classes]
    view = view_of_frame(
        path.stem.removesuffix(f".{verdict.outcome}"), verdict, frame, patches, scores, classes
    )
    write_drawn(path, draw_picture(view))


def write_contact_sheet(
    parts: Sequence[PartView | Picture], target: Path, title: str, *, columns: int = 4
) -> None:
    """Put parts (or tiles drawn already) on one picture. Raises :class:`PictureError`."""
    tiles = [draw_tile(part) if isinstance(part, PartView) else part for part in parts]
    if not tiles:
        raise PictureError(f"{target}: there are no parts to show")
    write_drawn(target, draw_sheet(tiles, title, columns=columns))


def side_by_side(frames: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The frames of one part in one picture; several are reduced, so that together they are as large as one.

    ``frames``: uint8 ``(H, W)`` or ``(H, W, 3)``, one or more.
    """
    if len(frames) == 1:
        return frames[0]
    step = len(frames)
    small = [in_channels(one[::step, ::step], 3) for one in frames]
    height = max(one.shape[0] for one in small)
    return np.hstack([np.pad(one, ((0, height - len(one)), (0, 0), (0, 0))) for one in small])


def stored_bytes(folder: Path) -> int:
    """What the pictures take that were saved into a folder; by its own list."""
    return sum(_read_index(folder).values())


def _oldest(names: Sequence[str], sizes: Mapping[str, int], too_much: float) -> list[str]:
    """The first of ``names`` that together free ``too_much`` bytes."""
    found = []
    for name in names:
        if too_much <= 0:
            break
        found.append(name)
        too_much -= sizes[name]
    return found


def write_drawn(path: Path, picture: Picture) -> None:
    """Write a drawn picture; the ending of ``path`` says the format. Raises :class:`PictureError`."""
    try:
        write_file(path, _encode(picture, path.suffix))
    except OSError as error:
        raise PictureError(
            f"{path} cannot be written: {error.strerror or error}: choose another folder"
        ) from error


def _encode(picture: Picture, suffix: str) -> bytes:
    how = [cv2.IMWRITE_PNG_COMPRESSION, 1] if suffix.lower() == ".png" else [cv2.IMWRITE_JPEG_QUALITY, 93]
    try:
        return encode_image(picture, suffix, how)
    except ImageFileError:
        raise PictureError(f"pictures cannot be written as {suffix!r}: name .png or .jpg") from None


def _decode(content: bytes) -> Picture:
    return in_channels(decode_image(content, "a stored picture"), 3)


def _read_index(folder: Path) -> dict[str, int]:
    """Name -> bytes of the pictures written here before and still there; unreadable lines are not ours."""
    try:
        lines = (folder / INDEX).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    written: dict[str, int] = {}
    for line in lines:
        name, _, size = line.rpartition(" ")
        if name and size.isdigit() and Path(name).name == name and (folder / name).is_file():
            written[name] = int(size)
    return written
