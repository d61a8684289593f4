"""The root of every error that a user can correct, and the words for those of the operating system."""

from __future__ import annotations

import errno
import os
from pathlib import Path


class InspectionError(Exception):
    """Something could not be done; the message names what and says what to do about it.

    A command line catches this one class: it prints the message and ends with exit code 2. It stands here
    because cameras and sorters, which know nothing of inspection, raise children of it too.
    """


_REMEDIES = {
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a part of the path is a file and not a folder; check the path",
    errno.EINVAL: "name a regular file",
    errno.EISDIR: "this is a folder; name a file",
    errno.EEXIST: "this name is in use; name another one, or remove what is there",
    errno.ENOTEMPTY: "the folder is not empty; name another one, or empty it",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ELOOP: "remove the link, it leads to itself",
    errno.EACCES: "check the rights, also those of the folders above it",
    errno.EPERM: "check the rights, also those of the folders above it",
    errno.EROFS: "the disk is mounted for reading only; name a place on another disk",
    errno.EDQUOT: "free some space, the quota is used up",
    errno.EIO: "check the disk (dmesg, smartctl)",
    errno.ESTALE: "mount the network share again",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine",
    errno.EBUSY: "another program or a mount uses it",
    errno.ETXTBSY: "another program runs it",
    errno.EXDEV: "both must be on one disk",
    errno.EFBIG: "the disk's format does not hold a file of this size",
}


def os_remedy(error: OSError, path: Path | str | None = None) -> str:
    """What a user can do about an error of the operating system.

    ``path`` tells a full disk from one whose inodes are used up.
    """
    if error.errno == errno.ENOSPC:
        if path is not None and not _inodes_left(Path(path)):
            return "its inodes are used up; delete files that are not needed (df -i shows them)"
        return "free some space on this disk"
    return _REMEDIES.get(error.errno or 0, "check the disk")


def explain_os_error(error: OSError, path: Path | str | None = None) -> str:
    """An error of the operating system as one sentence: path, what happened, remedy."""
    named = path if path is not None else error.filename
    name = "a file" if named is None else os.fsencode(named).decode("utf-8", "backslashreplace")
    return f"{name}: {error.strerror or error}; {os_remedy(error, named)}"


def why_not_written(path: Path) -> OSError | None:
    """Why no file can be made or changed at ``path``, found without writing; None when nothing is known."""
    try:
        if path.is_symlink() and not path.exists():
            return FileNotFoundError(errno.ENOENT, "is a link to a place that does not exist")
        place = next((one for one in (path, *path.absolute().parents) if one.exists()), Path("/"))
        folder = place if place.is_dir() else place.parent
        disk = os.statvfs(folder)
        may = os.access(folder, os.W_OK | os.X_OK, effective_ids=True)
        may = may and (place.is_dir() or os.access(place, os.W_OK, effective_ids=True))
    except OSError as error:
        return error
    if disk.f_flag & os.ST_RDONLY:
        return OSError(errno.EROFS, os.strerror(errno.EROFS))
    if not may:
        return PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if disk.f_bavail == 0 or not _inodes_left(folder):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return None


def _inodes_left(path: Path) -> bool:
    """Whether the disk of ``path``, or of the nearest folder that exists, can hold one more file."""
    for place in (path, *path.parents):
        try:
            found = os.statvfs(place)
        except OSError:
            continue
        return found.f_files == 0 or found.f_favail > 0  # some file systems count no inodes
    return True
