"""The time of day of a device whose clock may be wrong: never before the newest signed time that was seen.

TUF's metadata says when it expires and not when it was signed. The repositories of a station add the time of
signing as the field ``issued`` (UTC, as ``expires``) to every signed file. The newest ``issued`` of what is
trusted is a floor: a device without a battery, whose clock says 1970 after a power cut, still knows that it
is later than that.

The floor is read from the trusted files and not kept apart, so that it recovers as they do: a time in the far
future, signed with a stolen key, is gone when the root no longer trusts this key.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Signed

ISSUED = "issued"
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
ROLES = ("root", "timestamp", "snapshot", "targets")


def issued_at(signed: Signed) -> datetime | None:
    """When something says that it was signed; None where it does not say so.

    Raises ``RepositoryError`` where the time cannot be: no time, or later than it expires.
    """
    text = signed.unrecognized_fields.get(ISSUED)
    if text is None:
        return None
    try:
        found = datetime.strptime(text, TIME_FORMAT).replace(tzinfo=UTC)
    except (TypeError, ValueError):
        raise RepositoryError(
            f"{signed.type}: `{ISSUED}` is {text!r} and no time such as 2026-11-27T14:00:00Z"
        ) from None
    if found > signed.expires:
        raise RepositoryError(f"{signed.type}: was signed at {text}, after it expires")
    return found


def trusted(folder: Path, role: str) -> Metadata[Any]:
    """A role's file among the trusted metadata of a repository. Raises OSError, ``RepositoryError``."""
    return Metadata[Any].from_bytes((folder / f"{role}.json").read_bytes())


def newest_signed(folders: Iterator[Path] | list[Path]) -> datetime | None:
    """The newest time in the trusted metadata of these folders; None before the first."""
    times = [time for folder in folders for time in _times(folder)]
    return max(times, default=None)


def _times(folder: Path) -> Iterator[datetime]:
    try:
        root = Metadata[Root].from_bytes((folder / "root.json").read_bytes())
    except (OSError, RepositoryError):  # nothing was fetched yet
        return
    for role in ROLES:
        try:
            found = trusted(folder, role)
            root.signed.verify_delegate(role, found.signed_bytes, found.signatures)
            time = issued_at(found.signed)
        except (OSError, RepositoryError, ValueError):  # of keys that are no longer trusted, or damaged
            continue
        if time is not None:
            yield time
