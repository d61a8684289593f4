"""Where what a device has built for itself is kept: a hint, which somebody else must not have written.

A plan is machine code of a network, and no digest of engine.yaml covers it. So it is read only from a folder
that nobody but this user can write to, and whatever is read proves all golden parts before it is used.
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
from pathlib import Path

_log = logging.getLogger(__name__)


def own_folder(path: Path, *, empty: bool = False) -> Path | None:
    """The folder ``path``, made if it is not there; None, and a warning, where others may write to it.

    ``empty``: what was built before is removed.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise PermissionError("others may write to it, or it is not this user's")
        if empty:
            shutil.rmtree(path)
            path.mkdir(mode=0o700)
    except OSError as problem:
        _log.warning(
            "%s is not used (%s): what is built there is built at every start; remove it, or give it to this "
            "user alone (chmod 700)",
            path,
            problem.strerror or problem,
        )
        return None
    return path
