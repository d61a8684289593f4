"""Where bundles lie between station and workshop: a folder or stick, an SFTP server, S3, by URL (fsspec).

A file is written as ``NAME.part``, read back from the target and hashed, and only then gets its name. A
target must have been prepared by the workshop (``retrain receive --prepare``), which leaves a file in it:
a stick that is not there is so never taken for the empty folder under it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from drivers.errors import InspectionError
from station.files import sync_folder

MARK = "hand-off-target.json"
CHUNK = 1 << 20
Beat = Callable[[], None]


class TargetError(InspectionError):
    """The target cannot be used now; the message says what to do."""


class Target:
    """One place, opened by URL. Every method raises :class:`TargetError`."""

    def __init__(self, url: str, secrets: Path | None = None, *, beat: Beat = lambda: None) -> None:
        """``secrets``: a JSON file with options of the file system; ``beat``: called between chunks."""
        self.url = url
        self._beat = beat
        protocol = url.partition("://")[0] if "://" in url else "file"
        # fsspec's own sftp is paramiko (LGPL); sshfs, on asyncssh, speaks the same protocol.
        opened = f"ssh{url[len(protocol) :]}" if protocol == "sftp" else url
        options = _secrets(secrets)
        if protocol == "sftp" and not options.get("known_hosts"):
            raise TargetError(
                f"hand-off target {url}: the server's key is not known: write `known_hosts` with the "
                f"path of a "
                "file of known hosts into handoff.secrets"
            )
        if protocol == "s3":  # without it, a lack of credentials is asked for in the network
            os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
        with self._explained():
            try:
                self._fs, self._root = fsspec.core.url_to_fs(
                    opened, use_listings_cache=False, skip_instance_cache=True, **options
                ) if protocol == "s3" else fsspec.core.url_to_fs(
                    opened, skip_instance_cache=True, **options
                )  # fmt: skip
            except ImportError as error:
                raise TargetError(
                    f"hand-off target {url}: {error}: install the extra `inspection-station[{protocol}]`"
                ) from error
        self._local = isinstance(self._fs, LocalFileSystem)
        self._is_object_store = protocol == "s3"

    def prepare(self) -> None:
        """Mark it as a hand-off target; the workshop does this once."""
        with self._explained():
            if self._local and not Path(self._root).is_dir():
                raise TargetError(
                    f"hand-off target {self.url}: is no folder: create it, or plug the stick in"
                )
            if not self._fs.exists(self._path(MARK)):
                self.write_small(MARK, b'{"format": 1}\n')

    def require_there(self) -> None:
        """Refuse a place that no workshop has prepared."""
        with self._explained():
            there = self._fs.exists(self._path(MARK))
        if not there:
            raise TargetError(
                f"hand-off target {self.url}: has no {MARK}: is the stick plugged in, or the share "
                f"mounted? A new "
                "target is prepared once by `retrain receive TARGET --prepare`"
            )

    def names(self, folder: str) -> list[str]:
        """The names of the files and folders in a folder; none where there is no such folder."""
        with self._explained():
            try:
                found = self._fs.ls(self._path(folder), detail=False)
            except FileNotFoundError:
                return []
        return sorted(str(one).rstrip("/").rpartition("/")[2] for one in found)

    @contextmanager
    def reading(self, name: str) -> Iterator[IO[bytes]]:
        """A file, opened to be read."""
        with self._explained(), self._fs.open(self._path(name), "rb") as source:
            yield source

    def read_small(self, name: str, most: int = 1 << 20) -> bytes:
        """The content of a small file."""
        with self.reading(name) as source:
            return source.read(most)

    def write_small(self, name: str, content: bytes) -> None:
        """Write a small file as :meth:`put` does."""
        self._put(name, content, hashlib.sha256(content).hexdigest(), len(content))

    def put(self, name: str, file: Path, sha256: str, kb_s: float = 0.0) -> None:
        """Bring a file there; go on where an earlier try ended. ``kb_s``: at most so fast; 0: no limit."""
        self._put(name, file, sha256, file.stat().st_size, kb_s)

    def remove(self, name: str) -> None:
        """Remove a file, where it is there."""
        with self._explained():
            if self._fs.exists(self._path(name)):
                self._fs.rm_file(self._path(name))

    # ------------------------------------------------------------------ helpers

    def _put(self, name: str, content: bytes | Path, sha256: str, size: int, kb_s: float = 0.0) -> None:
        path, part = self._path(name), self._path(f"{name}.part")
        with self._explained():
            if self._fs.exists(path) and self._hash(path) == sha256:
                return
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            begin = 0
            if not self._is_object_store and self._fs.exists(part):
                there = int(self._fs.size(part))
                begin = there if there <= size else 0
            self._write(part, content, begin, kb_s)
            if self._hash(part) != sha256:
                self._fs.rm_file(part)
                raise TargetError(
                    f"hand-off target {self.url}: did not keep what was written to {name}: it is sent "
                    f"again; if "
                    "this repeats, check the disk, stick or server"
                )
            if self._local:
                os.replace(part, path)
                sync_folder(Path(path).parent)
            else:
                self._fs.mv(part, path)
            if not self._local and self._hash(path) != sha256:  # a copy, where the store cannot rename
                self._fs.rm_file(path)
                raise TargetError(
                    f"hand-off target {self.url}: changed {name} when it got its name; sent again"
                )

    def _write(self, part: str, content: bytes | Path, begin: int, kb_s: float) -> None:
        with self._fs.open(part, "ab" if begin else "wb") as out:
            if isinstance(content, bytes):
                out.write(content[begin:])
            else:
                started, sent = time.monotonic(), 0
                with content.open("rb") as source:
                    source.seek(begin)
                    while chunk := source.read(CHUNK if not kb_s else min(CHUNK, max(int(kb_s * 250), 1024))):
                        out.write(chunk)
                        sent += len(chunk)
                        self._beat()
                        while kb_s and (left := started + sent / (kb_s * 1000) - time.monotonic()) > 0:
                            time.sleep(min(left, 0.5))
                            self._beat()
        if self._local:  # what the system has in its memory only is not on the stick yet
            descriptor = os.open(part, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)

    def _hash(self, path: str) -> str:
        digest = hashlib.sha256()
        with self._fs.open(path, "rb") as source:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                self._beat()
        return digest.hexdigest()

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}" if name else str(self._root)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except InspectionError:
            raise
        except Exception as error:  # every file system has its own errors; the next round tries again
            said = str(error) or type(error).__name__
            raise TargetError(
                f"hand-off target {self.url}: {said}: check that it is there, reachable and not full"
            ) from error


def _secrets(file: Path | None) -> dict[str, Any]:
    """Options of the file system that are in nobody's configuration. Never shown."""
    if file is None:
        return {}
    try:
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise TargetError(f"{file}: can be read by others: `chmod 600 {file}`")
        found = json.loads(file.read_text())
    except OSError as error:
        raise TargetError(
            f"{file}: {error.strerror}: name a file that the station's user can read"
        ) from error
    except ValueError:
        raise TargetError(f'{file}: is no JSON document, such as {{"username": "station"}}') from None
    if not isinstance(found, dict):
        raise TargetError(f'{file}: is no JSON object, such as {{"username": "station"}}')
    return found
