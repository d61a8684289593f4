"""A command run as root that writes to where the service writes: done by a child with the service's rights.

What root leaves there, the service cannot write; and what root can write proves nothing about the service.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from drivers.errors import InspectionError

DEVICE_GROUPS = ("dialout", "video", "plugdev")
"""Those of the unit, ``systemd/station.service``."""
UMASK = 0o077
"""As the unit has it."""


class ServiceUserError(InspectionError):
    """The child cannot be started; the message says how to run the command instead."""


@dataclass(frozen=True, slots=True)
class ServiceUser:
    """Whose service it is."""

    name: str
    uid: int
    gid: int
    home: str


def service_user(folder: Path) -> ServiceUser | None:
    """Who owns this folder, or the nearest one above that there is.

    None where this process is not root's, or the folder is.
    """
    if os.geteuid() != 0:
        return None
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    found = folder.stat()
    if found.st_uid == 0:
        return None
    try:
        account = pwd.getpwuid(found.st_uid)
    except KeyError:
        return ServiceUser(str(found.st_uid), found.st_uid, found.st_gid, "/")
    return ServiceUser(account.pw_name, account.pw_uid, account.pw_gid, account.pw_dir)


def warnings_of_root(folder: Path) -> list[str]:
    """What comes of root's working in this folder of another user's, and what to do."""
    user = service_user(folder)
    if user is None:
        return []
    return [
        f"root works in {folder}, which belongs to user {user.name}: a service of this user cannot write "
        f"what root leaves there; stop, and run it as this user (`sudo -u {user.name} station run`)"
    ]


def run_as(user: ServiceUser, words: Iterable[str]) -> int:
    """Run ``station WORDS`` with this user's rights; its exit code. Raises :class:`ServiceUserError`."""
    groups = {user.gid}
    with suppress(KeyError):
        groups |= set(os.getgrouplist(pwd.getpwuid(user.uid).pw_name, user.gid))
    groups |= {one.gr_gid for one in grp.getgrall() if one.gr_name in DEVICE_GROUPS}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "station.cli", *words],
            user=user.uid,
            group=user.gid,
            extra_groups=sorted(groups),
            umask=UMASK,
            env=os.environ | {"HOME": user.home, "USER": user.name, "LOGNAME": user.name},
            check=False,
        )
    except OSError as error:
        raise ServiceUserError(
            f"user {user.name} cannot run {sys.executable} ({error.strerror}): install the software where "
            "this user can read it (deploy/station-service.sh), or run the command as this user"
        ) from error
    return done.returncode if done.returncode >= 0 else 128 - done.returncode


@contextmanager
def leaving_nothing_of_roots(journal: Path, folders: Iterable[Path]) -> Iterator[None]:
    """Remove what the block creates, where root runs it: a service installed later could not write there.

    ``journal``: its file; ``folders``: those that the block may create, with the ones above them.
    """
    if os.geteuid() != 0:
        yield
        return
    had_journal = journal.exists()
    created = [
        one for folder in (journal.parent, *folders) for one in (folder, *folder.parents) if not one.exists()
    ]
    try:
        yield
    finally:
        if not had_journal:
            for file in journal.parent.glob(f"{journal.name}*"):
                file.unlink(missing_ok=True)
        for folder in folders:
            if folder in created:
                shutil.rmtree(folder, ignore_errors=True)
        for one in sorted(set(created), key=lambda path: len(path.parts), reverse=True):
            with suppress(OSError):
                one.rmdir()
