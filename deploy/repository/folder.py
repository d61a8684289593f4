"""A repository on the disk: ``metadata/`` and ``targets/`` for stations, ``pending/`` for what waits.

The layout is that of The Update Framework with consistent snapshots (specification 1.0.33, section 6), so a
static server, S3 or a stick can hold ``metadata/`` and ``targets/`` as they are, and any TUF client reads
them. ``pending/`` never needs to be served.

A change is written to ``pending/`` and stays there until everything that belongs to it has the signatures
that it needs. It is then published in one go: no station ever sees a state that it would refuse. The
timestamp comes last, so whoever reads meanwhile gets the old state or the new one. Killed in the middle, the
next command goes on.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    Targets,
    Timestamp,
)

from deploy.repository.errors import RepositoryError
from deploy.repository.keys import name_of
from deploy.repository.reading import (
    Document,
    pending_files,
    read_document,
    read_pending,
    read_published,
)
from deploy.updater.clock import ISSUED, TIME_FORMAT
from station.files import locked, sync_folder, write_file

TOP = ("root", "targets", "snapshot", "timestamp")
DAYS = {"root": 365, "targets": 365, "snapshot": 30, "timestamp": 7}
"""How long a document counts; that of a channel as long as ``targets``."""


@dataclass
class Repository:
    """A repository that is open, and nobody else's while it is."""

    folder: Path
    now: datetime
    """The time, UTC."""
    published: dict[str, Document] = field(default_factory=dict)
    """By role; empty in a repository whose first root waits for signatures."""
    pending: dict[str, Document] = field(default_factory=dict)
    """By role: the next version of root, targets or of a channel."""
    changed: set[str] = field(default_factory=set)
    """The roles that were changed since it was opened."""

    # ------------------------------------------------------------------ reading

    @property
    def root(self) -> Root:
        """The root, with what is pending."""
        return cast("Root", self.current("root").signed)

    @property
    def targets(self) -> Targets:
        """The list of channels, or of a director's orders, with what is pending."""
        return cast("Targets", self.current("targets").signed)

    @property
    def channels(self) -> tuple[str, ...]:
        """The roles that ``targets`` delegates to."""
        delegations = self.targets.delegations
        return tuple((delegations.roles or {}) if delegations else {})

    def current(self, role: str) -> Document:
        """A document with what is pending. Raises :class:`RepositoryError` for a role that is not there."""
        found = self.pending.get(role) or self.published.get(role)
        there = ", ".join(sorted(self.pending.keys() | self.published.keys()))
        if not there:
            raise RepositoryError(f"{self.folder}: nothing was published yet: people sign it first")
        if found is None:
            raise RepositoryError(f"{self.folder}: has no role {role!r}; it has {there}")
        return found

    def listed(self, role: str) -> Targets:
        """The targets of a channel or of the director, with what is pending."""
        return cast("Targets", self.current(role).signed)

    def keys_of(self, role: str) -> list[Key]:
        """The keys that may sign for a role now."""
        above: Root | Targets = self.root if role in TOP else self.targets
        return [above.get_key(keyid) for keyid in above.get_delegated_role(role).keyids]

    def missing(self, role: str) -> str:
        """Which signatures a document lacks, in words; empty where it has enough."""
        document = self.current(role)
        payload, signatures = document.signed_bytes, document.signatures
        if role == "root":
            before = self.published.get("root")
            previous = cast("Root", before.signed) if before is not None else self.root
            checks = [
                one.get_verification_result("root", payload, signatures)
                for one in ([self.root] if previous is self.root else [previous, self.root])
            ]
        else:
            above: Root | Targets = self.root if role in TOP else self.targets
            checks = [above.get_verification_result(role, payload, signatures)]
        lacking = next((check for check in checks if not check.verified), None)
        if lacking is None:
            return ""
        of = ", ".join(sorted(name_of(key) for key in lacking.unsigned.values()))
        return f"{role}: {lacking.missing} more of the signatures of {of}"

    def expired(self) -> list[str]:
        """Which of root and targets, without which nothing counts, are too old, in words."""
        found = []
        for role in ("root", "targets"):
            document = self.current(role)
            if document.signed.is_expired(self.now):
                found.append(
                    f"{role}: expired on {document.signed.expires:%Y-%m-%d}: sign it again by "
                    f"`retrain sign refresh --role {role}`"
                )
        return found

    def target_file(self, path: str, sha256: str) -> Path:
        """Where a target lies; its name begins with its hash."""
        place, _, name = path.rpartition("/")
        return self.folder / "targets" / place / f"{sha256}.{name}"

    # ------------------------------------------------------------------ changing

    def propose(self, role: str, days: int | None = None) -> Document:
        """The next version of a document, to be changed; it is pending from now on.

        Raises :class:`RepositoryError` where another change of it still waits.
        """
        if role in self.pending:
            raise RepositoryError(
                f"{self.folder}: a change of {role} waits for signatures already: sign it by `retrain sign "
                "pending`, or give it up by `retrain sign drop`"
            )
        document: Document = copy.deepcopy(self.current(role))
        document.signatures.clear()
        document.signed.version += 1
        self._date(document, role, days)
        self.pending[role] = document
        self.changed.add(role)
        return document

    def begin(self, role: str, signed: Root | Targets, days: int | None = None) -> None:
        """The first version of a document."""
        document: Document = Metadata(signed)
        self._date(document, role, days)
        self.pending[role] = document
        self.changed.add(role)

    def finish(self, keys: Sequence[Signer], *, refresh: bool = False, days: int | None = None) -> list[str]:
        """Sign what these keys may sign, and publish what has all its signatures; what is missing, in words.

        A change that waits keeps no other one waiting that does not need it, and never the timestamp.
        ``refresh``: make a new snapshot and timestamp though nothing changed. ``days``: how long the
        timestamp counts. Raises :class:`RepositoryError` for a key that no role has; nothing is changed then.
        """
        self._require_known(keys)
        for role in ("targets", *self.channels):
            if role not in self.pending and self.missing(role):
                self.propose(role)  # a key of it was replaced
        for role, document in self.pending.items():
            allowed = {key.keyid for key in self.keys_of(role)}
            if role == "root" and "root" in self.published:
                allowed |= set(self.published["root"].signed.roles["root"].keyids)
            for signer in keys:
                if signer.public_key.keyid in allowed:
                    document.sign(signer, append=True)
        self._write_pending()
        missing: list[str] = []
        for number, chosen in enumerate(self._candidates(refresh)):
            with self._only(chosen):
                news = self._online(keys, refresh, days)
                problems = [*self._problems(), *self._unsigned(news)]
            if number == 0:
                missing = problems
            if not problems:
                self._publish(chosen, news)
                break
        return missing

    def drop(self) -> list[str]:
        """Give up every change that waits; the roles it was of. Raises :class:`RepositoryError`."""
        if "root" not in self.published:
            raise RepositoryError(
                f"{self.folder}: was never published: remove the folder, and begin again (`retrain sign new`)"
            )
        roles = list(self.pending)
        self.pending.clear()
        self._write_pending()
        return roles

    def take_signatures(self, other: Path) -> int:
        """Take over the signatures that the changes pending here got in a copy of the repository; how many.

        Raises :class:`RepositoryError` where the copy has other changes.
        """
        taken, problems = 0, []
        for role, own in self.pending.items():
            kind = Root if role == "root" else Targets
            files = (
                other / "pending" / f"{role}.json",
                other / "metadata" / f"{own.signed.version}.{role}.json",
            )
            found = [read_document(file, kind) for file in files if file.is_file()]
            same = [one for one in found if one.signed_bytes == own.signed_bytes]
            if found and not same:
                problems.append(f"{other}: has another change of {role} than the one that waits here")
            for theirs in same:
                new = {one: given for one, given in theirs.signatures.items() if one not in own.signatures}
                own.signatures |= new
                taken += len(new)
        if problems:
            raise RepositoryError("\n".join((*problems, "agree on one, and `retrain sign drop` the other")))
        return taken

    # ------------------------------------------------------------------ helpers

    def _date(self, document: Document, role: str, days: int | None) -> None:
        valid = days or DAYS.get(role, DAYS["targets"])
        document.signed.expires = self.now.replace(microsecond=0) + timedelta(days=valid)
        document.signed.unrecognized_fields[ISSUED] = self.now.strftime(TIME_FORMAT)

    def _require_known(self, keys: Sequence[Signer]) -> None:
        known = {key.keyid for role in (*TOP, *self.channels) for key in self.keys_of(role)}
        if "root" in self.published:
            known |= set(self.published["root"].signed.keys)
        strange = [name_of(one.public_key) for one in keys if one.public_key.keyid not in known]
        if strange:
            raise RepositoryError(
                f"{self.folder}: no role has the key {', '.join(strange)}: `retrain keys list {self.folder}` "
                "shows the keys of every role"
            )

    def _candidates(self, refresh: bool) -> list[dict[str, Document]]:
        """What might be published together, the most first."""
        everything = dict(self.pending)
        if "root" not in self.published:
            return [everything]
        signed = {role: one for role, one in everything.items() if not self.missing(role)}
        with self._only({}):
            channels = set(self.channels)
        alone = {}
        for role in channels & everything.keys():
            with self._only({role: everything[role]}):
                if not self.missing(role):
                    alone[role] = everything[role]
        with_root = alone | {role: one for role, one in signed.items() if role == "root"}
        found = [everything, signed, with_root, alone]
        return [one for one in found if one] + ([{}] if refresh or not everything else [])

    @contextmanager
    def _only(self, pending: dict[str, Document]) -> Iterator[None]:
        """As if nothing else were pending."""
        kept, self.pending = self.pending, pending
        try:
            yield
        finally:
            self.pending = kept

    def _problems(self) -> list[str]:
        """Why a station would refuse root, targets or channels, in words."""
        new = [role for role in self.channels if role not in self.pending and role not in self.published]
        found = [f"{role}: was never signed" for role in new]
        strange = self.pending.keys() - {"root", "targets", *self.channels}
        found += [f"{role}: is no role of targets yet" for role in sorted(strange)]
        found += [self.missing(role) for role in ("root", "targets", *self.channels) if role not in new]
        return [*filter(None, found), *self.expired()]

    def _unsigned(self, news: dict[str, Document]) -> list[str]:
        return [one for one in (self._missing_online(*new) for new in news.items()) if one]

    def _online(self, keys: Sequence[Signer], refresh: bool, days: int | None) -> dict[str, Document]:
        """A new snapshot and timestamp, signed by the keys that may; empty where nothing is new."""
        there = self.published | self.pending
        roles = [role for role in ("targets", *self.channels) if role in there]
        wanted = {f"{role}.json": there[role].signed.version for role in roles}
        old = self.published.get("snapshot")
        known = {name: one.version for name, one in old.signed.meta.items()} if old else {}
        wanted = known | wanted  # a client refuses a snapshot from which a name has gone
        online = [self.published[role] for role in ("snapshot", "timestamp") if role in self.published]
        signed = len(online) == 2 and not any(self._missing_online(one.signed.type, one) for one in online)
        if signed and wanted == known and not refresh:
            return {}
        meta = {name: MetaFile(version) for name, version in sorted(wanted.items())}
        snapshot: Document = Metadata(Snapshot(version=old.signed.version + 1 if old else 1, meta=meta))
        before = self.published.get("timestamp")
        timestamp: Document = Metadata(
            Timestamp(
                version=before.signed.version + 1 if before else 1,
                snapshot_meta=MetaFile(snapshot.signed.version),
            )
        )
        for role, document in (("snapshot", snapshot), ("timestamp", timestamp)):
            self._date(document, role, days if role == "timestamp" else max(days or 0, DAYS[role]))
            allowed = {key.keyid for key in self.keys_of(role)}
            for signer in keys:
                if signer.public_key.keyid in allowed:
                    document.sign(signer, append=True)
        return {"snapshot": snapshot, "timestamp": timestamp}

    def _missing_online(self, role: str, document: Document) -> str:
        check = self.root.get_verification_result(role, document.signed_bytes, document.signatures)
        if check.verified:
            return ""
        return f"{role}: the signature of {' or '.join(sorted(name_of(key) for key in self.keys_of(role)))}"

    def _write_pending(self) -> None:
        folder = self.folder / "pending"
        folder.mkdir(parents=True, exist_ok=True)
        for role, document in self.pending.items():
            write_file(folder / f"{role}.json", document.to_bytes())
        for file in pending_files(self.folder):
            if file.name.removesuffix(".json") not in self.pending:
                file.unlink()
        sync_folder(folder)

    def _publish(self, chosen: dict[str, Document], news: dict[str, Document]) -> None:
        metadata = self.folder / "metadata"
        lists = {role: one for role, one in chosen.items() if role != "root"}
        for role, document in (lists | news | chosen).items():
            if role != "timestamp":
                write_file(metadata / f"{document.signed.version}.{role}.json", document.to_bytes())
        if news:
            write_file(metadata / "timestamp.json", news["timestamp"].to_bytes())
        self.published |= chosen | news
        self.pending = {role: one for role, one in self.pending.items() if role not in chosen}
        self._write_pending()


@contextmanager
def open_repository(folder: Path, now: datetime) -> Iterator[Repository]:
    """Read a repository and keep others from changing it. Raises :class:`RepositoryError`."""
    _require_repository(folder)
    with locked(folder, RepositoryError):
        yield _load(folder, now)


def read_repository(folder: Path, now: datetime, *, pending: bool = True) -> Repository:
    """A repository that is only read, also where nothing can be written; ``pending``: with what waits.

    Raises :class:`RepositoryError`.
    """
    _require_repository(folder)
    found = _load(folder, now)
    if not pending:
        found.pending.clear()
        found.current("root")
    return found


@contextmanager
def new_repository(folder: Path, now: datetime) -> Iterator[Repository]:
    """A repository that is empty still, in a folder that is empty or not there.

    Raises :class:`RepositoryError`.
    """
    if folder.is_dir() and any(one.name != ".lock" for one in folder.iterdir()):
        raise RepositoryError(f"{folder}: is not empty: name a new folder for the repository")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, RepositoryError):
        for name in ("metadata", "targets", "pending"):
            (folder / name).mkdir()
        yield Repository(folder, now)


def _require_repository(folder: Path) -> None:
    if not (folder / "metadata").is_dir():
        raise RepositoryError(
            f"{folder}: is no repository: name one, or make one by `retrain sign new {folder}`"
        )


def _load(folder: Path, now: datetime) -> Repository:
    published = read_published(folder / "metadata")
    return Repository(folder, now, published, read_pending(folder, published))
