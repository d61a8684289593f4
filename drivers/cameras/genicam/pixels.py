"""The bytes of a buffer as a frame, or what is wrong with them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drivers.buffers import FRAMES
from drivers.cameras.genicam.settings import GenicamSettings
from drivers.cameras.picture_files import NO_PIXELS

MISSING = "lines or packets are missing"
PFNC = {0x01080001: "Mono8", 0x02180014: "RGB8", 0x02180015: "BGR8"}
"""Codes of the Pixel Format Naming Convention -> the formats that become a frame."""


def picture_of(
    data: NDArray[np.uint8],
    pixel_format: int,
    size: tuple[int, int],
    settings: GenicamSettings,
    asked: tuple[int, int],
) -> tuple[str, NDArray[np.uint8]]:
    """What is wrong with a complete buffer, and a copy of its pixels: the library fills the buffer again.

    ``data``: the bytes from the first pixel on; ``pixel_format``: its code; ``size`` and ``asked``: width and
    height as delivered and as the camera was set, px.
    """
    width, height = size
    if size != asked:
        wanted = f"{asked[0]} x {asked[1]} px"
        return f"{width} x {height} px instead of {wanted}: lines are missing or foreign", NO_PIXELS
    found = PFNC.get(pixel_format, f"format 0x{pixel_format:08X}")
    if found != settings.pixel_format:
        return f"pixels of {found} instead of {settings.pixel_format}", NO_PIXELS
    shape = (height, width) if found == "Mono8" else (height, width, 3)
    count = int(np.prod(shape))
    if data.size < count:
        return f"{data.size} of {count} bytes came", NO_PIXELS
    pixels = data[:count].reshape(shape)
    return "", FRAMES.copy(pixels[..., ::-1] if found == "RGB8" else pixels)
