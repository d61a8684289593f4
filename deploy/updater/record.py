"""What the updater did and refused, and who said yes: one JSON object per line, only ever appended.

Each line names the SHA-256 of the line before it, so that a line that was changed or taken out is found. The
record belongs to the updater's user; the journal's witness is the station's own chain.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploy.updater.errors import UpdateError


def append(file: Path, what: str, **values: Any) -> None:
    """Write one line and bring it to the disk.

    Raises OSError, and :class:`UpdateError` for a damaged record.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    before = lines(file)
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "what": what,
        **values,
        "previous": _digest(before[-1]) if before else "",
    }
    line = json.dumps(entry, ensure_ascii=False) + "\n"
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    try:
        size = os.fstat(descriptor).st_size
        if os.write(descriptor, line.encode()) < len(line.encode()):  # the disk is full: no half a line stays
            os.ftruncate(descriptor, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lines(file: Path) -> list[str]:
    """Every line, after the chain was checked. Raises :class:`UpdateError`, OSError."""
    if not file.exists():
        return []
    found = file.read_text(encoding="utf-8").splitlines()
    previous = ""
    for number, line in enumerate(found, 1):
        try:
            good = json.loads(line)["previous"] == previous
        except (ValueError, KeyError, TypeError):
            good = False
        if not good:
            raise UpdateError(
                f"{file}:{number}: the record was changed here, or cut by a power cut: keep it under "
                "another name for "
                "whoever looks into it; the next update begins a new one"
            )
        previous = _digest(line)
    return found


def _digest(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()
