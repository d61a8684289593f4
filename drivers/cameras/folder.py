"""Picture files as frames: a camera that replays a folder, and the one way to read a picture.

Files are decoded from memory, never by path: OpenCV fills the missing rows of a JPEG that was cut short
when it reads the file itself, and refuses the same bytes when they are handed over.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from drivers.cameras.counters import Counters
from drivers.cameras.image_header import claimed_size
from drivers.cameras.interface import (
    Camera,
    CameraConfigError,
    CameraError,
    CameraHealth,
    CameraLostError,
    EndOfFramesError,
    Frame,
)

PICTURE_SUFFIXES = frozenset(
    (
        ".bmp",
        ".dib",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jp2",
        ".png",
        ".webp",
        ".avif",
        ".pbm",
        ".pgm",
        ".ppm",
        ".pnm",
        ".pxm",
        ".pam",
        ".pfm",
        ".tif",
        ".tiff",
        ".gif",
    )
)
"""Endings of the files that a folder camera takes for pictures, in lower case."""
MAX_MEGAPIXELS = 400.0
NO_PIXELS: NDArray[np.uint8] = np.zeros((0, 0), np.uint8)
NO_PIXELS.flags.writeable = False


class ImageFileError(CameraError):
    """A file that is not a picture, is damaged, too large, or of a depth that nobody said how to scale."""


def read_image(
    path: Path | str, *, sixteen_bit_white: int | None = None, max_megapixels: float = MAX_MEGAPIXELS
) -> NDArray[np.uint8]:
    """Read one picture: uint8, ``(H, W)`` when the file is grey, ``(H, W, 3)`` BGR when it is coloured.

    ``sixteen_bit_white``: the grey value of a 16-bit file that becomes 255 (65535 for full scale, 4095 for a
    12-bit camera); without it a 16-bit file is an error, because nobody can know its scale. An alpha channel
    is dropped, the orientation in a photograph's EXIF data is applied, of several pages the first is read.
    Raises :class:`ImageFileError`, whose message starts with the path.
    """
    path = Path(path)
    try:
        if path.stat().st_size > max_megapixels * 1e6 * 8:
            raise ImageFileError(f"{path}: {path.stat().st_size / 1e6:.0f} MB is no picture of this station")
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ImageFileError(f"{path}: cannot be read ({reason}); check path and rights") from None
    if not data:
        raise ImageFileError(f"{path}: the file is empty; copy it again")
    if data.startswith(b"\x59\xa6\x6a\x95"):
        # OpenCV 5.0 reads a grey one without a colour map as black, and calls that a success.
        raise ImageFileError(f"{path}: a Sun raster file; save it as PNG or TIFF")
    _check_size(path, claimed_size(data), max_megapixels)
    pixels = _decode(data)
    if pixels is None:
        raise ImageFileError(f"{path}: not a picture, or damaged; copy it again or save it as PNG or TIFF")
    _check_size(path, (pixels.shape[1], pixels.shape[0]), max_megapixels)
    if pixels.ndim != 2 and pixels.shape[2] != 3:
        raise ImageFileError(f"{path}: {pixels.shape[2]} channels; only grey and colour pictures are read")
    if pixels.dtype == np.uint16:
        if sixteen_bit_white is None:
            raise ImageFileError(
                f"{path}: 16 bits a pixel; set sixteen_bit_white to the value that is white (65535 for full "
                "scale, 4095 for a 12-bit camera)"
            )
        return np.asarray(
            cv2.convertScaleAbs(pixels.astype(np.uint16, copy=False), alpha=255.0 / sixteen_bit_white),
            np.uint8,
        )
    if pixels.dtype != np.uint8:
        raise ImageFileError(f"{path}: pixels of type {pixels.dtype}; save it with 8 or 16 bits a pixel")
    return np.asarray(pixels, np.uint8)


def pictures_in(
    folder: Path, *, recursive: bool = False, suffixes: frozenset[str] = PICTURE_SUFFIXES
) -> list[Path]:
    """The picture files of a folder by name, compared byte by byte (``10`` comes before ``9``)."""
    found = folder.rglob("*") if recursive else folder.iterdir()
    pictures = (path for path in found if path.suffix.lower() in suffixes and not path.name.startswith("."))
    return sorted((path for path in pictures if path.is_file()), key=lambda path: path.as_posix().encode())


@dataclass(frozen=True, slots=True)
class FolderSettings:
    """Which files, and how they are read."""

    path: Path
    """A folder, or one file."""
    repeat: bool = False
    """Start again after the last file; otherwise the camera ends with :class:`EndOfFramesError`."""
    recursive: bool = False
    sixteen_bit_white: int | None = None
    """The value of a 16-bit file that becomes 255; None refuses such files."""
    max_megapixels: float = MAX_MEGAPIXELS

    def __post_init__(self) -> None:
        if self.sixteen_bit_white is not None and not 1 <= self.sixteen_bit_white <= 65535:
            raise CameraConfigError(f"sixteen_bit_white {self.sixteen_bit_white}: must be 1 to 65535")
        if self.max_megapixels <= 0:
            raise CameraConfigError(f"max_megapixels {self.max_megapixels:g}: must be more than 0")


class FolderCamera(Camera):
    """Runs free through the files of a folder, one a grab; ``trigger`` has nothing to do.

    ``open`` lists the folder and starts at the first file. ``arm`` counts frame ids from 0 again but goes
    on with the next file, so that a station that discards late frames does not inspect a file twice.
    """

    def __init__(self, settings: FolderSettings) -> None:
        self._settings = settings
        self._files: list[Path] = []
        self._next = 0
        self._frame_id = 0
        self._armed = False
        self._counters = Counters(f"folder {settings.path}", simulated=True)

    def open(self) -> None:
        """List the files; raises :class:`CameraConfigError` when there is none."""
        path = self._settings.path
        if path.is_dir():
            self._files = pictures_in(path, recursive=self._settings.recursive)
        elif path.is_file():
            self._files = [path]
        else:
            raise CameraConfigError(f"folder camera: {path} does not exist; set it to a folder of pictures")
        if not self._files:
            known = " ".join(sorted(PICTURE_SUFFIXES))
            raise CameraConfigError(f"folder camera: no pictures in {path}; known endings: {known}")
        self._next = 0
        self._armed = False
        self._counters.opened(f"folder {path}", {"files": str(len(self._files))})

    def arm(self) -> None:
        """Frame ids count from here; the next file stays the next file."""
        self._require_open()
        self._frame_id = 0
        self._armed = True

    def trigger(self, timeout_s: float) -> None:
        """Nothing to do: the files are there."""
        self._require_armed()

    def grab(self, timeout_s: float) -> Frame:
        """The next file; a file that cannot be read is an incomplete frame, the end an EndOfFramesError."""
        self._require_armed()
        if self._next >= len(self._files):
            if not self._settings.repeat:
                raise EndOfFramesError(f"folder {self._settings.path}: all {len(self._files)} files are done")
            self._next = 0
        path = self._files[self._next]
        if not path.exists() and not self._settings.path.exists():
            lost = f"folder {self._settings.path} is gone; mount it again, then it is opened by itself"
            self._armed = False
            self._counters.gone(lost)
            raise CameraLostError(lost)
        self._next += 1
        problem = ""
        try:
            pixels = read_image(
                path,
                sixteen_bit_white=self._settings.sixteen_bit_white,
                max_megapixels=self._settings.max_megapixels,
            )
        except ImageFileError as error:
            pixels, problem = NO_PIXELS, str(error)
        frame = Frame(
            pixels=pixels,
            frame_id=self._frame_id,
            lost_before=0,
            complete=not problem,
            arrived_ns=time.monotonic_ns(),
            problem=problem,
            source=str(path),
        )
        self._frame_id += 1
        return self._counters.frame(frame)

    def disarm(self) -> None:
        """Stop; nothing is under way between two grabs."""
        self._armed = False

    def health(self) -> CameraHealth:
        """Counters; ``simulated``, because no part stands before a camera."""
        return self._counters.health()

    def close(self) -> None:
        """Forget the list of files."""
        self._armed = False
        self._files = []
        self._counters.gone()

    def _require_open(self) -> None:
        if not self._counters.connected:
            raise CameraLostError(f"folder camera {self._settings.path} is not open: open() it first")

    def _require_armed(self) -> None:
        self._require_open()
        if not self._armed:
            raise CameraError(f"folder camera {self._settings.path} is not armed: arm() it first")


def _decode(data: bytes) -> NDArray[np.generic] | None:
    # OpenCV writes its own lines to stderr about every damaged file; the caller gets the error instead.
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    except (cv2.error, MemoryError):
        return None
    finally:
        cv2.utils.logging.setLogLevel(level)


def _check_size(path: Path, size: tuple[int, int] | None, max_megapixels: float) -> None:
    if size is not None and size[0] * size[1] > max_megapixels * 1e6:
        raise ImageFileError(
            f"{path}: {size[0]} x {size[1]} px is more than the {max_megapixels:g} megapixels allowed; "
            "cut it up or raise max_megapixels"
        )
