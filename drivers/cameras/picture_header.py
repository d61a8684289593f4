"""What a picture file says about itself in its header, read without decoding it: its size, and its turn.

A few hundred bytes of file can claim gigapixels; whoever decodes asks here first. Formats: PNG, JPEG, BMP,
TIFF and BigTIFF, WebP, portable any-map, JPEG 2000, GIF. The turn of most formats is applied by OpenCV; the
two that it overlooks are seen to here, and so are the indices of a PNG with a palette, which it never gives.
"""

from __future__ import annotations

import re
import struct
import zlib

_PNG = b"\x89PNG\r\n\x1a\n"


def claimed_size(data: bytes) -> tuple[int, int] | None:
    """``(width, height)`` in px; None for a format not known here or a header that cannot be followed."""
    for magic, read in _READERS:
        if data.startswith(magic):
            try:
                return read(data)
            except (struct.error, IndexError, ValueError):
                return None
    if data[4:12] == b"jP  \r\n\x87\n":
        return _jpeg2000(data)
    return None


def is_torn_png(data: bytes) -> bool:
    """Whether a PNG file's row of chunks breaks off, or holds no picture.

    OpenCV (5.0) looks for the picture behind the end of such a file, for ever.
    """
    if not data.startswith(_PNG):
        return False
    at, seen = 8, False
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IEND":
            return not seen
        seen = seen or kind == b"IDAT"
        at += 12 + size
    return True


def indexed_as_grey(data: bytes) -> tuple[bytes, int] | None:
    """A PNG with a palette as a grey one, and what its grey values are divided by to give the indices.

    None for every other file. Grey of 1, 2 and 4 bits is decoded to 0..255, so that 4 bits are divided by 17.
    """
    if not data.startswith(_PNG) or len(data) < 33 or data[25] != 3 or is_torn_png(data):
        return None
    depth = data[24]
    header = b"IHDR" + data[16:25] + b"\0" + data[26:29]
    chunks = [struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))]
    at = 33
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind in (b"IDAT", b"eXIf", b"IEND"):
            chunks.append(data[at : at + 12 + size])
        at += 12 + size
    return _PNG + b"".join(chunks), 255 // (2**depth - 1)


def without_exif_prefix(data: bytes) -> bytes:
    """The file with its EXIF block as OpenCV understands it.

    Many programs begin the EXIF block of a WebP file with "Exif" and two zeros, as in JPEG; OpenCV (5.0) then
    overlooks the orientation in it (https://github.com/opencv/opencv/issues/16579).
    """
    if not (data.startswith(b"RIFF") and data[8:12] == b"WEBP"):
        return data
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + size + size % 2
        block = data[at + 8 : at + 8 + size]
        if data[at : at + 4] == b"EXIF" and block.startswith(b"Exif\0\0"):
            block = block[6:]
            chunk = b"EXIF" + struct.pack("<I", len(block)) + block + bytes(len(block) % 2)
            body = data[8:at] + chunk + data[end:]
            return b"RIFF" + struct.pack("<I", len(body)) + body
        at = end
    return data


def turned_avif(data: bytes) -> bool:
    """Whether an AVIF file asks to be turned or mirrored, which OpenCV (5.0) does not do."""
    if data[4:12] != b"ftypavif":
        return False
    head = data[:4096]
    turn = head.find(b"irot")
    return b"imir" in head or (turn >= 0 and bool(head[turn + 4 : turn + 5].strip(b"\0")))


def _png(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _bmp(data: bytes) -> tuple[int, int]:
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    return abs(width), abs(height)  # a negative height means top row first


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while True:
        while data[at] == 0xFF and data[at + 1] == 0xFF:  # fill bytes
            at += 1
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        if marker in (0xD9, 0xDA):
            return None
        at += 2 + (
            0 if marker == 0x01 or 0xD0 <= marker <= 0xD8 else struct.unpack_from(">H", data, at + 2)[0]
        )


def _tiff(data: bytes) -> tuple[int, int] | None:
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    directory = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    count = struct.unpack_from(order + ("Q" if big else "H"), data, directory)[0]
    entry, length = directory + (8 if big else 2), 20 if big else 12
    sizes: dict[int, int] = {}
    for index in range(min(count, 4096)):
        at = entry + index * length
        tag, kind = struct.unpack_from(order + "HH", data, at)
        if tag in (256, 257):
            code = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind, "I")
            sizes[tag] = struct.unpack_from(order + code, data, at + (12 if big else 8))[0]
    return (sizes[256], sizes[257]) if len(sizes) == 2 else None


def _webp(data: bytes) -> tuple[int, int] | None:
    if data[8:12] != b"WEBP":
        return None
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _anymap(data: bytes) -> tuple[int, int] | None:
    head = re.sub(rb"#[^\n]*\n", b" ", data[:4096])
    if head.startswith(b"P7"):
        found = [re.search(key + rb"\s+(\d+)", head) for key in (b"WIDTH", b"HEIGHT")]
        return (int(found[0][1]), int(found[1][1])) if found[0] and found[1] else None
    match = re.match(rb"P[1-6]\s+(\d+)\s+(\d+)", head)
    return (int(match[1]), int(match[2])) if match else None


def _jpeg2000(data: bytes) -> tuple[int, int] | None:
    at = data.find(b"ihdr", 0, 4096)
    if at < 0 or len(data) < at + 12:
        return None
    height, width = struct.unpack_from(">II", data, at + 4)
    return width, height


def _gif(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


_READERS = (
    (_PNG, _png),
    (b"\xff\xd8\xff", _jpeg),
    (b"BM", _bmp),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
    (b"II+\0", _tiff),
    (b"MM\0+", _tiff),
    (b"RIFF", _webp),
    (b"P1", _anymap),
    (b"P2", _anymap),
    (b"P3", _anymap),
    (b"P4", _anymap),
    (b"P5", _anymap),
    (b"P6", _anymap),
    (b"P7", _anymap),
    (b"GIF8", _gif),
)
