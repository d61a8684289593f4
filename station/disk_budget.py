"""What the station may store on its disks (journal, pictures, rare parts), what it stores, what is free."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from station.strict_yaml import Mistake, line_of

if TYPE_CHECKING:
    from station.config import StationConfig
    from station.observers import ObserverStatus

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class DiskUse:
    """What one of the station's stores takes on its disk, MB."""

    name: str
    folder: str
    used_mb: float | None
    """None: not known yet."""
    limit_mb: float | None
    """None: it may grow without limit."""
    free_mb: float | None
    """On the disk of the folder, which stores may share; None where it is unknown."""
    size_mb: float | None = None
    """Of that disk; None where it is unknown."""
    key: str = ""
    """The key of the configuration that sets the limit."""


def disk_uses(config: StationConfig, observers: Iterable[ObserverStatus] | None = None) -> list[DiskUse]:
    """Every store of the configuration; ``observers`` of a running station know what theirs take.

    Without them, pictures and rare parts are looked at in their own lists. No folder of pictures is read.
    """
    if observers is None:
        stored = {"pictures": _pictures_bytes(config), "rare parts": _rare_bytes(config)}
    else:
        stored = {one.name: one.stored_bytes for one in observers}
    keep_mb = config.journal.keep_gb * 1000 or None
    journal = config.paths.journal
    stores = [("journal", journal.parent, _journal_bytes(journal), keep_mb, "journal.keep_gb")]
    if config.images.save != "none":
        used, quota = stored.get("pictures"), float(config.images.quota_mb)
        stores.append(("pictures", config.paths.images, used, quota, "images.quota_mb"))
    if config.paths.rare is not None:
        used, quota = stored.get("rare parts"), float(config.rare.quota_mb)
        stores.append(("rare parts", config.paths.rare, used, quota, "rare.quota_mb"))
    if config.handoff is not None:
        outbox, limit = config.paths.outbox, float(config.handoff.outbox_mb)
        stores.append(("hand-off", outbox, _folder_bytes(outbox), limit, "handoff.outbox_mb"))
    return [
        DiskUse(name, str(folder), None if used is None else used / MB, limit, *_disk_mb(folder), key)
        for name, folder, used, limit, key in stores
    ]


def too_large_for_the_disk(uses: Iterable[DiskUse], text: str) -> list[Mistake]:
    """The limits that together are more than their whole disk, by the lines of the configuration."""
    mistakes = []
    for here in _by_disk(uses):
        limited = sorted((use for use in here if use.limit_mb), key=lambda use: -(use.limit_mb or 0.0))
        allowed, size = sum(use.limit_mb or 0.0 for use in limited), here[0].size_mb
        if size is None or allowed <= size:
            continue
        others = " and ".join(use.key for use in limited[1:])
        mistakes.append(
            Mistake(
                line_of(text, limited[0].key),
                limited[0].key,
                (f"allows, together with {others}, " if others else "allows ")
                + f"{allowed:.0f} MB, and the disk of {limited[0].folder} has {size:.0f} MB",
                "write less, or name a folder on another disk under `paths`",
            )
        )
    return mistakes


def budget_problems(uses: Iterable[DiskUse]) -> list[str]:
    """The disks on which the limits allow more than there is room for, with what to do."""
    problems = []
    for here in _by_disk(uses):
        growth = sum(
            max(use.limit_mb - (use.used_mb or 0.0), 0.0) for use in here if use.limit_mb is not None
        )
        free = here[0].free_mb
        if free is not None and growth > free:
            names = ", ".join(use.name for use in here)
            problems.append(
                f"the limits of {names} allow {growth:.0f} MB more, {free:.0f} MB are free on the disk of "
                f"{here[0].folder}: lower a quota, or free some space"
            )
    return problems


def _by_disk(uses: Iterable[DiskUse]) -> Iterable[list[DiskUse]]:
    by_disk: dict[int, list[DiskUse]] = defaultdict(list)
    for use in uses:
        try:
            by_disk[os.stat(_existing(Path(use.folder))).st_dev].append(use)
        except OSError:
            continue
    return by_disk.values()


def _pictures_bytes(config: StationConfig) -> int:
    from station.pictures.saving import stored_bytes

    return stored_bytes(config.paths.images)


def _rare_bytes(config: StationConfig) -> int | None:
    from station.rare.index import RareLogError
    from station.rare.store import RareStore

    if config.paths.rare is None:
        return None
    try:
        return RareStore(config.paths.rare).usage().used
    except RareLogError:  # there is none yet, or the check of its folder says why it cannot be read
        return None


def _folder_bytes(folder: Path) -> int | None:
    try:
        return sum(file.stat().st_size for file in folder.iterdir()) if folder.is_dir() else 0
    except OSError:
        return None


def _journal_bytes(journal: Path) -> int | None:
    try:
        return sum(file.stat().st_size for file in journal.parent.glob(f"{journal.name}*") if file.is_file())
    except OSError:
        return None


def _disk_mb(folder: Path) -> tuple[float | None, float | None]:
    """What is free on the disk of a folder, and its size."""
    try:
        disk = shutil.disk_usage(_existing(folder))
    except OSError:
        return None, None
    return disk.free / MB, disk.total / MB


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
