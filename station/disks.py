"""What a path's disk is good for: a network share may lose a journal, a nearly full disk is the journal's."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from station.config import StationConfig

MOUNTS: Final = Path("/proc/self/mountinfo")
PICTURES_RESERVE_MB: Final = 400.0
"""Pictures are not written any more where less is free; a small disk has less, see :func:`require_room`."""
RARE_RESERVE_MB: Final = 200.0
"""The same for rare parts. The journal writes as long as there is room: it is the last to lose anything."""
SHARES: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs", "davfs"}
)
"""File systems whose disk is in another machine, by the names that Linux gives them."""
FUSE_SHARES: Final = frozenset(
    {
        "sshfs",
        "s3fs",
        "rclone",
        "glusterfs",
        "ceph-fuse",
        "davfs2",
        "curlftpfs",
        "gcsfuse",
        "gvfsd-fuse",
        "smbnetfs",
    }
)
"""The same for programs behind FUSE, whose type is ``fuse.NAME``."""


def require_room(folder: Path, size: int, reserve_mb: float) -> None:
    """Refuse to write ``size`` bytes into a folder whose disk is nearly full: the rest is the journal's.

    ``reserve_mb`` must stay free, or on a small disk the same share of it as of 10 GB. Raises OSError (no
    space left).
    """
    disk = shutil.disk_usage(folder)
    reserve = min(reserve_mb * 1e6, disk.total * reserve_mb / 10_000)
    if disk.free < size + reserve:
        raise OSError(
            errno.ENOSPC,
            f"{os.strerror(errno.ENOSPC)} but the last {reserve / 1e6:.1f} MB, which are for the journal",
            str(folder),
        )


def share_of(path: Path, mounts: str | None = None) -> str:
    """The type of the network share that holds ``path``; empty for a disk of this machine.

    ``mounts``: the text of ``/proc/self/mountinfo``, see proc(5).
    """
    if mounts is None:
        try:
            mounts = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:  # not Linux: nothing is known, and nothing depends on it
            return ""
    wanted = os.path.realpath(path)
    longest, kind = -1, ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = _unescaped(before.split(" ")[4])
        below = point == "/" or wanted == point or wanted.startswith(f"{point}/")
        if below and len(point) >= longest:  # of two mounts on one point, the later one is seen
            longest, kind = len(point), after.split(" ")[0]
    return kind if kind in SHARES or kind.removeprefix("fuse.") in FUSE_SHARES else ""


def share_warnings(config: StationConfig) -> list[str]:
    """What a network share under the journal, the pictures or the rare parts can cost, and what to do."""
    costs = {
        "journal": "a power cut or a lost connection can lose records that were reported as written",
        "images": "pictures are lost while the network does not answer",
        "rare": "rare parts are lost while the network does not answer",
    }
    found = (
        (key, cost, share_of(path))
        for key, cost in costs.items()
        if (path := getattr(config.paths, key)) is not None
    )
    return [
        f"paths.{key} is on a network share ({share}): {cost}; name a path on a disk of this machine"
        for key, cost, share in found
        if share
    ]


def _unescaped(text: str) -> str:
    """A path of mountinfo, where blanks and their like are written in octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
