"""Picture files as frames: a camera that plays a folder. The file to copy for a new camera family."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from drivers.cameras import FAMILIES
from drivers.cameras.counters import Counters
from drivers.cameras.interface import (
    Camera,
    CameraConfigError,
    CameraError,
    CameraHealth,
    CameraLostError,
    EndOfFramesError,
    Frame,
)
from drivers.cameras.picture_files import (
    MAX_MEGAPIXELS,
    NO_PIXELS,
    PICTURE_SUFFIXES,
    ImageFileError,
    pictures_in,
    read_image,
    shown,
)
from drivers.cameras.settings import CameraSettings
from drivers.settings import FilePath


class FolderSettings(CameraSettings):
    """Picture files as frames."""

    kind: Literal["folder"] = "folder"
    """the camera family"""
    path: FilePath
    """the folder of pictures, or one picture"""
    repeat: bool = False
    """whether the camera starts again after the last picture"""
    recursive: bool = False
    """whether pictures in subfolders are used too"""
    sixteen_bit_white: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """the value of a 16-bit picture that becomes 255 (4095 for 12 bits); without it, such pictures are
    refused"""
    max_megapixels: Annotated[float, Field(gt=0.0)] = MAX_MEGAPIXELS
    """the largest picture, megapixels; larger ones are refused"""

    @property
    def is_simulated(self) -> bool:
        """Always."""
        return True


@FAMILIES.register(FolderSettings)
class FolderCamera(Camera):
    """Runs free through the files of a folder, one per grab; ``trigger`` has nothing to do.

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
        elif self._counters.health().delivered:
            raise self._gone()
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
            raise self._gone()
        self._next += 1
        taken_ns = time.monotonic_ns()  # a file is no exposure: it is taken when it is asked for
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
            source=shown(path),
            exposed_by_ns=taken_ns,
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

    def _gone(self) -> CameraLostError:
        lost = f"folder {self._settings.path} is gone; mount it again, then it is opened by itself"
        self._armed = False
        self._counters.gone(lost)
        return CameraLostError(lost)

    def _require_open(self) -> None:
        if not self._counters.connected:
            raise CameraLostError(f"folder camera {self._settings.path} is not open: open() it first")

    def _require_armed(self) -> None:
        self._require_open()
        if not self._armed:
            raise CameraError(f"folder camera {self._settings.path} is not armed: arm() it first")
