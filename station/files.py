"""Write a file completely or not at all: a reader finds the old content or the new one, never a half.

The content is written beside the file under a hidden name, brought to the disk, and renamed over it. After
a power cut one of the two is there.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A name beside ``path`` to write to; it takes the place of ``path`` when the block ends well.

    Folders are made. With an exception, ``path`` stays as it was and nothing is left beside it. ``durable``
    waits for the disk; without it a power cut may bring the old content back. Raises OSError, which names
    ``path`` or a folder above it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():  # a device such as /dev/null would be renamed away
        raise FileExistsError(errno.EEXIST, "exists and is not a regular file", str(path))
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield fresh
        if durable:
            _sync(fresh)
        os.replace(fresh, path)
        if durable:
            sync_folder(path.parent)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename in (None, str(fresh)):
            error.filename = str(path)
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise


def write_file(path: Path, content: bytes | str, *, durable: bool = True) -> None:
    """Write bytes, or text as UTF-8; see :func:`replacing`. Raises OSError."""
    with replacing(path, durable=durable) as fresh:
        fresh.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, content: Any, *, indent: int | None = 1) -> None:
    """Write JSON with a line feed at its end; see :func:`replacing`. Raises OSError."""
    write_file(path, json.dumps(content, indent=indent) + "\n")


def sync_folder(folder: Path) -> None:
    """Bring the names of a folder's files to the disk. Raises OSError."""
    _sync(folder)


LOCK_PATIENCE_S = 30.0
"""How long a writer waits for another one: a bundle of 1 GB may be being copied."""
LOCK_MODE = 0o660


@contextmanager
def locked(folder: Path, too_long: Callable[[str], Exception]) -> Iterator[None]:
    """Be the only process that changes a folder, by a lock on its file ``.lock``, for which it waits.

    A process that ends, however it does, gives the lock back. ``too_long`` makes the error of one that has
    waited for :data:`LOCK_PATIENCE_S`. Raises it, and OSError.
    """
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, LOCK_MODE)
    try:
        with suppress(PermissionError):  # another user of the group made it, who has done so
            os.fchmod(lock, LOCK_MODE)
        until = time.monotonic() + LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise too_long(
                        f"{folder}: another process has been changing it for {LOCK_PATIENCE_S:g} s: wait "
                        "until that updater or command has ended, then try again"
                    ) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(lock)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
