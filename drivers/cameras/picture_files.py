"""The one way to read a picture file, and which files of a folder are pictures.

Files are decoded from memory, never by path: OpenCV fills the missing rows of a JPEG that was cut short
when it reads the file itself, and refuses the same bytes when they are handed over.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from drivers.cameras.interface import (
    CameraError,
)
from drivers.cameras.picture_header import claimed_size

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
