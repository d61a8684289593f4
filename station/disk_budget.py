"""What the station may store on its disks (journal, pictures, rare parts), what it stores, what is free."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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


def disk_uses(config: StationConfig, observers: Iterable[ObserverStatus] = ()) -> list[DiskUse]:
    """Every store of the configuration; ``observers`` of a running station know what theirs take.

    Looks at file names and sizes of the journal only, and never into a folder of pictures.
    """
    stored = {one.name: one.stored_bytes for one in observers}
    keep_mb = config.journal.keep_gb * 1000 or None
    journal = config.paths.journal
    stores = [("journal", journal.parent, _journal_bytes(journal), keep_mb)]
    if config.images.save != "none":
        stores.append(
            ("pictures", config.paths.images, stored.get("pictures"), float(config.images.quota_mb))
        )
    if config.paths.rare is not None:
        stores.append(
            ("rare parts", config.paths.rare, stored.get("rare parts"), float(config.rare.quota_mb))
        )
    return [
        DiskUse(name, str(folder), None if used is None else used / MB, limit, _free_mb(folder))
        for name, folder, used, limit in stores
    ]


def budget_problems(uses: Iterable[DiskUse]) -> list[str]:
    """The disks on which the limits allow more than there is room for, with what to do."""
    by_disk: dict[int, list[DiskUse]] = defaultdict(list)
    for use in uses:
        try:
            by_disk[os.stat(_existing(Path(use.folder))).st_dev].append(use)
        except OSError:
            continue
    problems = []
    for here in by_disk.values():
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


def _journal_bytes(journal: Path) -> int | None:
    try:
        return sum(file.stat().st_size for file in journal.parent.glob(f"{journal.name}*") if file.is_file())
    except OSError:
        return None


def _free_mb(folder: Path) -> float | None:
    try:
        return shutil.disk_usage(_existing(folder)).free / MB
    except OSError:
        return None


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
