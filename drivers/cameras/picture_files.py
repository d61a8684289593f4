"""The one way to read and to write a picture file, and which files of a folder are pictures.

Files are decoded from memory, never by path: OpenCV fills the missing rows of a JPEG that was cut short
when it reads the file itself, refuses the same bytes when they are handed over, and ends the process with a
segmentation fault at a name that is not UTF-8. The linter forbids ``cv2.imread``, ``cv2.imdecode`` and
``cv2.imwrite`` everywhere else (``pyproject.toml``).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from drivers.cameras.interface import CameraError
from drivers.cameras.picture_header import claimed_size, is_torn_png, turned_avif, without_exif_prefix
from drivers.errors import os_remedy

# OpenCV writes its own lines to stderr about every damaged file; the caller gets the error instead.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

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

_LEFTOVERS = frozenset(("__MACOSX", "@eaDir"))
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
NO_PIXELS: NDArray[np.uint8] = np.zeros((0, 0), np.uint8)
NO_PIXELS.flags.writeable = False


class ImageFileError(CameraError):
    """A picture file that cannot be read or written; the message begins with the path, made printable."""


def read_image(
    path: Path | str,
    *,
    sixteen_bit_white: int | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
    opaque: bool = False,
) -> NDArray[np.uint8]:
    """Read one picture: uint8, ``(H, W)`` when the file is grey, ``(H, W, 3)`` BGR when it is coloured.

    ``sixteen_bit_white``: the grey value of a 16-bit file that becomes 255 (65535 for full scale, 4095 for a
    12-bit camera); without it a 16-bit file is an error, because nobody can know its scale. An alpha channel
    is dropped, or with ``opaque`` refused where it hides anything. The orientation in a photograph's EXIF
    data is applied; of several pages the first is read. Raises :class:`ImageFileError`, also for what is no
    regular file: nothing is waited for.
    """
    return decode_image(
        read_file(path, max_megapixels),
        path,
        sixteen_bit_white=sixteen_bit_white,
        max_megapixels=max_megapixels,
        opaque=opaque,
    )


def read_file(path: Path | str, max_megapixels: float = MAX_MEGAPIXELS) -> bytes:
    """The bytes of a regular file that may be a picture. Raises :class:`ImageFileError`."""
    name = shown(path)
    try:
        found = Path(path).stat()
        if not stat.S_ISREG(found.st_mode):
            if stat.S_ISDIR(found.st_mode):
                os.listdir(path)  # a folder that may not be opened is listed among the pictures
            kind = _KINDS.get(stat.S_IFMT(found.st_mode), "not a regular file")
            raise ImageFileError(f"{name}: cannot be read, it is {kind}; name a picture file")
        if found.st_size > max_megapixels * 1e6 * 8:
            raise ImageFileError(
                f"{name}: {found.st_size / 1e6:.0f} MB is too large for a picture; name another file"
            )
        return Path(path).read_bytes()
    except OSError as error:
        remedy = os_remedy(error, path)
        raise ImageFileError(f"{name}: cannot be read ({error.strerror or error}); {remedy}") from None
    except ValueError:  # a NUL or a character that no file name has
        raise ImageFileError(
            f"{name}: cannot be read, a file cannot have this name; check the path"
        ) from None


def decode_image(
    data: bytes,
    path: Path | str,
    *,
    sixteen_bit_white: int | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
    opaque: bool = False,
) -> NDArray[np.uint8]:
    """:func:`read_image` of bytes that were read already; ``path`` is what errors name."""
    name = shown(path)
    if not data:
        raise ImageFileError(f"{name}: the file is empty; copy it again")
    if data.startswith(b"\x59\xa6\x6a\x95"):
        # OpenCV 5.0 reads a grey one without a colour map as black, and calls that a success.
        raise ImageFileError(f"{name}: a Sun raster file, which is not supported; save it as PNG or TIFF")
    if turned_avif(data):
        # OpenCV 5.0 does not turn it.
        raise ImageFileError(f"{name}: a turned AVIF picture, which is not supported; save it as PNG or TIFF")
    _check_size(name, claimed_size(data), max_megapixels)
    data = without_exif_prefix(data)
    pixels = None if is_torn_png(data) else _decode(data, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    if pixels is None:
        raise ImageFileError(f"{name}: not a picture, or damaged; copy it again or save it as PNG or TIFF")
    _check_size(name, (pixels.shape[1], pixels.shape[0]), max_megapixels)
    if pixels.ndim != 2 and pixels.shape[2] != 3:
        raise ImageFileError(f"{name}: {pixels.shape[2]} channels; only grey and colour pictures are read")
    if opaque:
        _refuse_transparent(name, data)
    if pixels.dtype == np.uint16:
        if sixteen_bit_white is None:
            raise ImageFileError(
                f"{name}: 16 bits per pixel; set sixteen_bit_white to the value that is white, 65535 or "
                "4095 (12 bits): in the recipe's product, for a folder camera, or by --sixteen-bit-white"
            )
        return np.asarray(
            cv2.convertScaleAbs(pixels.astype(np.uint16, copy=False), alpha=255.0 / sixteen_bit_white),
            np.uint8,
        )
    if pixels.dtype != np.uint8:
        raise ImageFileError(f"{name}: pixels of type {pixels.dtype}; save it with 8 or 16 bits per pixel")
    return np.asarray(pixels, np.uint8)


def by_lamps(paths: Iterable[Path]) -> dict[Path, list[tuple[int, Path]]]:
    """Pictures of parts that were lit lamp by lamp: ``frame-7-output-02.png`` is part ``frame-7``, output 2.

    By the part's path without its ending, in the order given, each picture with the output that lit it; an
    output may come twice (``p-output-2.png``, ``p-output-02.png``). A picture whose name has no output is a
    part of its own, at output 0.
    """
    parts: dict[Path, list[tuple[int, Path]]] = {}
    for path in paths:
        part, lit, output = path.stem.rpartition("-output-")
        if lit and output.isascii() and output.isdecimal():
            parts.setdefault(path.with_name(part), []).append((int(output), path))
        else:
            parts.setdefault(path, []).append((0, path))
    return parts


def is_turned(data: bytes) -> bool:
    """Whether :func:`decode_image` turns or mirrors this picture, as its EXIF data asks."""
    if not any(mark in data for mark in (b"Exif", b"EXIF", b"eXIf")):
        return False
    data = without_exif_prefix(data)
    how = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
    stored = _decode(data, how | cv2.IMREAD_IGNORE_ORIENTATION)
    return stored is not None and not np.array_equal(stored, np.asarray(_decode(data, how)))


def has_more_pages(data: bytes) -> bool:
    """Whether a file holds pictures behind the first, the only one that :func:`decode_image` reads."""
    if not (data.startswith((b"II", b"MM", b"GIF8", b"RIFF")) or b"acTL" in data[:4096]):
        return False
    try:
        found = cv2.imdecodemulti(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR, range=(0, 2))[1]
    except (cv2.error, MemoryError):
        return True
    return len(found) > 1


def in_channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """A picture ``(H, W)`` or ``(H, W, 3)`` BGR as ``(H, W, channels)``: 1 is grey, 3 is BGR."""
    if channels == 1 and pixels.ndim == 3:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), np.uint8)
    elif channels == 3 and pixels.ndim == 2:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR), np.uint8)
    return np.ascontiguousarray(pixels).reshape(*pixels.shape[:2], channels)


def encode_image(pixels: NDArray[np.uint8], suffix: str, how: Sequence[int] = ()) -> bytes:
    """A picture ``(H, W)``, ``(H, W, 1)`` or BGR ``(H, W, 3)`` as the bytes of a file with this ending.

    ``how``: OpenCV's ``IMWRITE_*`` pairs. Raises :class:`ImageFileError`.
    """
    try:
        written, data = cv2.imencode(suffix.lower(), pixels, list(how))
    except cv2.error:
        written = False
    if not written:  # for some shapes, such as a JPEG 2000 of one row, OpenCV raises nothing
        raise ImageFileError(
            f"{pixels.dtype} pixels of shape {pixels.shape} cannot be written as {suffix!r}; "
            "write uint8 as .png, .jpg, .tif or .bmp"
        )
    return bytes(data.tobytes())


def write_image(path: Path, pixels: NDArray[np.uint8], how: Sequence[int] = ()) -> None:
    """Write a picture in the format that the path's ending names; see :func:`encode_image`.

    The folder is made. Raises :class:`ImageFileError`.
    """
    name = shown(path)
    data = encode_image(pixels, path.suffix, how)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        remedy = os_remedy(error, path)
        raise ImageFileError(f"{name}: cannot be written ({error.strerror or error}); {remedy}") from None
    except ValueError:
        raise ImageFileError(f"{name}: cannot be written, a file cannot have this name") from None


def shown(path: Path | str) -> str:
    r"""A path as one line that every screen and file can take.

    Bytes that are not UTF-8 are written as hex, characters that move the cursor or change a terminal as in
    ``\n``, so that a name cannot pass for a line of ours.
    """
    text = str(path)
    try:
        text = os.fsencode(text).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a surrogate pair, which no file system holds
        text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def pictures_in(
    folder: Path, *, recursive: bool = False, suffixes: frozenset[str] = PICTURE_SUFFIXES
) -> list[Path]:
    """The picture files of a folder by name, compared byte by byte (``10`` comes before ``9``).

    Leftovers (:func:`is_leftover`) are no pictures. A link that leads nowhere, a pipe and their like are
    listed when they are named as pictures are, and so is a folder below that cannot be opened: whoever reads
    them gets the error. Links to folders are not followed. Raises OSError when ``folder`` itself cannot be
    read.
    """
    found: list[Path] = []
    closed: list[Path] = []

    def not_opened(error: OSError) -> None:
        if error.filename == str(folder):
            raise error
        closed.append(Path(error.filename))

    for place, folders, files in os.walk(folder, onerror=not_opened):
        folders[:] = [name for name in folders if recursive and not is_leftover(Path(name))]
        found += [Path(place, name) for name in files]
    pictures = [p for p in found if p.suffix.lower() in suffixes and not is_leftover(Path(p.name))]
    return sorted(pictures + closed, key=lambda path: os.fsencode(path.as_posix()))


def is_leftover(path: Path) -> bool:
    """Whether a file below a folder is hidden, lies in a hidden folder, or stems from macOS or a NAS."""
    return any(part.startswith(".") or part in _LEFTOVERS for part in path.parts)


def linked_folders(root: Path) -> list[Path]:
    """The links below ``root`` that lead to folders, which :func:`pictures_in` does not follow."""
    return sorted(path for path in root.rglob("*") if path.is_symlink() and path.is_dir())


def _decode(data: bytes, how: int) -> NDArray[np.generic] | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), how)
    except (cv2.error, MemoryError):
        return None


def _refuse_transparent(name: str, data: bytes) -> None:
    pixels = _decode(data, cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim != 3 or pixels.shape[2] != 4:
        return
    if np.any(pixels[:, :, 3] != (255 if pixels.dtype == np.uint8 else 65_535)):
        raise ImageFileError(
            f"{name}: has transparent pixels, and only colours are read; save it without an alpha channel"
        )


def _check_size(name: str, size: tuple[int, int] | None, max_megapixels: float) -> None:
    if size is not None and size[0] * size[1] > max_megapixels * 1e6:
        raise ImageFileError(
            f"{name}: {size[0]} x {size[1]} px is more than the {max_megapixels:g} megapixels allowed; "
            "cut it into smaller pictures"
        )
