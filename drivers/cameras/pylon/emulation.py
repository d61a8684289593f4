"""Basler's camera emulator: the folder of pictures it plays in place of a camera."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from drivers.cameras.genicam.features import Nodes
from drivers.cameras.genicam.settings import GenicamSettings
from drivers.cameras.interface import CameraConfigError
from drivers.cameras.picture_files import pictures_in, read_image

SettingsT = TypeVar("SettingsT", bound=GenicamSettings)

EMULATOR_CLASS = "BaslerCamEmu"
EMULATOR_SUFFIXES = frozenset((".tif", ".tiff", ".bmp", ".png", ".jpg", ".jpeg"))
"""What the emulator can read; anything else in its folder would be a failed grab."""


class Emulation:
    """The pictures, linked into a temporary folder of their own: the emulator tries every entry it finds."""

    def __init__(self, folder: Path) -> None:
        """Switch the emulator on and link the pictures. Raises :class:`CameraConfigError`."""
        # Read by the runtime whenever it enumerates. Kept when set: "0" unplugs, "2" gives two cameras.
        os.environ.setdefault("PYLON_CAMEMU", "1")
        if not folder.is_dir():
            raise CameraConfigError(
                f"emulation {folder} does not exist or is not a folder; set it to a folder of pictures"
            )
        self._pictures = pictures_in(folder, suffixes=EMULATOR_SUFFIXES)
        if not self._pictures:
            known = " ".join(sorted(EMULATOR_SUFFIXES))
            raise CameraConfigError(f"emulation {folder}: no pictures; the emulator reads {known}")
        self._links = tempfile.TemporaryDirectory(prefix="pylon-emulation-")
        for index, picture in enumerate(self._pictures):
            link = Path(self._links.name) / f"{index:07d}-{picture.stem}{picture.suffix.lower()}"
            link.symlink_to(picture.resolve())

    def fitted(self, settings: SettingsT) -> SettingsT:
        """The settings with the first picture's size where none was set."""
        if settings.width is not None and settings.height is not None:
            return settings
        height, width = read_image(self._pictures[0], sixteen_bit_white=65535).shape[:2]
        return settings.model_copy(
            update={
                "width": settings.width or width - settings.offset_x,
                "height": settings.height or height - settings.offset_y,
            }
        )

    def apply(self, nodes: Nodes) -> None:
        """Have the emulator play the pictures."""
        nodes.set("emulation", "Off", "TestImageSelector")
        nodes.set("emulation", self._links.name, "ImageFilename")
        nodes.set("emulation", "On", "ImageFileMode")

    def source(self, frame_id: int) -> str:
        """The picture that this frame shows; the emulator starts at the first one at every ``arm``."""
        return str(self._pictures[frame_id % len(self._pictures)])

    def close(self) -> None:
        """Remove the links."""
        with suppress(OSError):
            self._links.cleanup()
