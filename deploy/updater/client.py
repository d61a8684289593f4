"""One TUF repository as a client sees it: python-tuf decides what is trusted, this adds time and fsync."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from tuf.api.exceptions import ExpiredMetadataError, LengthOrHashMismatchError, RepositoryError
from tuf.api.metadata import Metadata, TargetFile, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from deploy.updater.clock import ROLES, issued_at, trusted
from station.files import sync_folder


@dataclass(frozen=True, slots=True)
class Source:
    """Where a repository is read from, with what."""

    metadata: str
    """Address of its metadata, ends in /."""
    targets: str
    fetcher: FetcherInterface


class Client:
    """A repository whose trusted metadata lies in ``folder``, under names without versions.

    ``root``: the root.json that a person brought; None only where ``folder`` holds it already. ``now``: the
    time against which expiry is checked. Raises ``RepositoryError`` where the root is no root, OSError.
    """

    def __init__(
        self, folder: Path, source: Source, *, root: bytes | None, now: datetime, targets: Path | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("tmp*"):  # half a file of an updater that was killed
            left.unlink()
        self.folder, self._source = folder, source
        self._updater = Updater(
            str(folder),
            source.metadata,
            target_dir=None if targets is None else str(targets),
            target_base_url=source.targets,
            fetcher=source.fetcher,
            config=UpdaterConfig(),
            bootstrap=root,
        )
        self._on_disk: dict[Path, int] = {}
        self._set_time(now)

    def refresh(self) -> None:
        """Fetch and verify root, timestamp, snapshot and targets.

        Raises ``RepositoryError``, ``DownloadError``.
        """
        try:
            self._updater.refresh()
        finally:
            self._bring_to_disk()

    def find(self, path: str) -> TargetFile | None:
        """What the repository says of a target; None where it has none. Raises as :meth:`refresh`."""
        found = self._updater.get_targetinfo(path)
        self._bring_to_disk()
        return found

    def orders(self) -> dict[str, TargetFile]:
        """Every target of the top-level role, as trusted since :meth:`refresh`."""
        return cast(Targets, trusted(self.folder, "targets").signed).targets

    def versions(self) -> dict[str, int]:
        """Role -> version of the top-level roles, as trusted since :meth:`refresh`."""
        return {role: signed.version for role, signed in self._signed().items()}

    def key_ids(self) -> tuple[str, ...]:
        """The keys that signed the top-level targets."""
        return tuple(sorted(trusted(self.folder, "targets").signatures))

    def check_time(self, now: datetime, *, but: str = "") -> None:
        """Raise ``ExpiredMetadataError`` where a trusted role except ``but`` has expired at ``now``.

        What :meth:`find` reads from here on is checked against ``now`` too.
        """
        self._set_time(now)
        for role, signed in self._signed().items():
            issued_at(signed)
            if role != but and signed.is_expired(now):
                raise ExpiredMetadataError(f"{role}.json is expired since {signed.expires:%F %R} UTC")

    def download(self, target: TargetFile, file: Path | None = None) -> Path:
        """Fetch a target, unless it is there already, and hash what lies on the disk afterwards.

        ``file``: its place; without one, its quoted name in the folder of targets. Raises
        ``RepositoryError``, ``DownloadError``, OSError.
        """
        name = None if file is None else str(file)
        found = self._updater.find_cached_target(target, name)
        if found is not None:
            return Path(found)
        written = Path(self._updater.download_target(target, name))
        with written.open("rb") as out:
            os.fsync(out.fileno())
            os.posix_fadvise(
                out.fileno(), 0, 0, os.POSIX_FADV_DONTNEED
            )  # what is read now comes from the disk
            try:
                target.verify_length_and_hashes(out)
            except LengthOrHashMismatchError:
                written.unlink()
                raise
        sync_folder(written.parent)
        return written

    def _set_time(self, now: datetime) -> None:
        self._updater._trusted_set.reference_time = now  # ngclient has no public way to say what time it is

    def _signed(self) -> dict[str, Any]:
        return {role: trusted(self.folder, role).signed for role in ROLES}

    def _bring_to_disk(self) -> None:
        """The library renames files and waits for no disk: after a power cut they could be empty."""
        files = {file: file.stat().st_ino for file in self.folder.rglob("*.json") if file.exists()}
        fresh = [file for file, number in files.items() if self._on_disk.get(file) != number]
        for path in (*fresh, *{file.parent for file in fresh}):
            sync_folder(path)
        self._on_disk = files


def before_it_expires(
    fetcher: FetcherInterface, address: str, now: datetime
) -> tuple[datetime, datetime] | None:
    """A time at which an expired timestamp was valid, and when it expired; None where it is valid now.

    Nothing of it is trusted: it only chooses the time for :class:`Client`, which verifies it. Raises
    ``RepositoryError``, ``DownloadError``.
    """
    content = fetcher.download_bytes(address, UpdaterConfig().timestamp_max_length)
    signed = Metadata[Timestamp].from_bytes(content).signed
    if signed.type != "timestamp":
        raise RepositoryError(f"timestamp.json is {signed.type}")
    expires = signed.expires.replace(tzinfo=UTC)
    return None if expires > now else (expires - timedelta(seconds=1), expires)
