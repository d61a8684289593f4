"""The store of one engine name: every version that came home, and which of them judges.

``paths.engines/NAME`` is the *factory* engine, a plain folder that nothing here ever changes. Beside it lies

::

    NAME.store/state.json      states, roles and steps (station/engines/states.py)
    NAME.store/<digest>/       an engine folder with its bundle.json, never changed once it has this name
    NAME.store/active          links to what the roles say, for people and other programs;
    NAME.store/previous        they follow state.json and decide nothing
    NAME.store/candidate
    NAME.store/factory

``state.json`` alone decides, and is replaced whole: so a change of states and roles is one rename, and a kill
at any write leaves the state before or the one after. A folder without an entry, or an entry that is not
proven, is never opened for parts. Writers (station, updater, commands) take turns by a lock, readers need
none.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from station.engines.contents import CONTENTS, require_whole
from station.engines.folder import load_manifest
from station.engines.states import FACTORY, Engines, EngineState, Entry, Provenance, Step, StoreError
from station.files import locked, replacing, sync_folder

__all__ = ["FACTORY", "EngineState", "Engines", "Installed", "Provenance", "Store", "StoreError", "install"]

log = logging.getLogger(__name__)

STATE = "state.json"
FORMAT = 1
SHARED_FOLDER, SHARED_FILE, READ_ONLY_FILE = 0o770, 0o660, 0o440
"""Station and updater are two users of one group: what they write is both's, whatever their masks."""
KEPT = 5
"""Engines without a role whose folders stay, the latest; of older ones only the entry stays."""


@dataclass(frozen=True, slots=True)
class Installed:
    """An engine that may be opened for parts."""

    name: str
    """The engine's name, which its ``engine.yaml`` has."""
    folder: Path
    entry: Entry | None
    """None for the factory engine."""

    @property
    def digest(self) -> str:
        """Of the store, or ``factory``."""
        return FACTORY if self.entry is None else self.entry.digest


class Store:
    """The store beside ``engines/name``; there is none until the first engine comes home."""

    def __init__(self, engines: Path, name: str) -> None:
        self.name = name
        self.factory = engines / name
        self.folder = engines / f"{name}.store"

    @property
    def is_there(self) -> bool:
        """Whether an engine ever came home."""
        return (self.folder / STATE).is_file()

    def engines(self) -> Engines:
        """What the store knows now. Raises :class:`StoreError`."""
        path = self.folder / STATE
        try:
            return _from_json(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return Engines()
        except OSError as error:
            raise _unusable(path, error) from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StoreError(
                f"{path}: cannot be read ({error!r}): put it back from a backup; or move {self.folder} away, "
                "and the factory engine judges until an engine is installed again"
            ) from error

    def folder_of(self, digest: str) -> Path:
        """Where an engine lies, or would lie; ``factory`` is the plain folder."""
        return self.factory if digest == FACTORY else self.folder / digest

    def in_order(self) -> tuple[Installed, ...]:
        """The engines that may judge, the first choice first: active, previous, factory.

        All of them are proven and lie on the disk. Raises :class:`StoreError`.
        """
        known = self.engines()
        wanted = [self._installed(digest, known) for digest in known.in_order()]
        return tuple(one for one in wanted if one.entry is None or one.folder.is_dir())

    def active(self) -> Installed:
        """What judges now, or would at a start. Raises :class:`StoreError`."""
        return self.in_order()[0]

    def candidate(self) -> Installed | None:
        """What shadows; None where nothing does. Raises :class:`StoreError`."""
        known = self.engines()
        if not known.may_judge(known.candidate) or not self.folder_of(known.candidate).is_dir():
            return None
        return self._installed(known.candidate, known)

    def find(self, digest: str) -> Installed:
        """An engine by the first digits of its digest, or ``factory``. Raises :class:`StoreError`."""
        known = self.engines()
        found = self._installed(FACTORY if digest == FACTORY else known.entry(digest).digest, known)
        if not found.folder.is_dir():
            raise StoreError(
                f"engine {found.digest[:12]}: its files are not here any more: install its bundle again"
            )
        return found

    def change(self, what: Callable[[Engines], Engines]) -> Engines:
        """Replace what the store knows by ``what`` of it, whole or not at all, and let the links follow.

        Raises :class:`StoreError`, and what ``what`` raises; then nothing is changed.
        """
        with self._locked():
            return self._change(what)

    def _change(self, what: Callable[[Engines], Engines]) -> Engines:
        known = self.engines()
        changed = what(known)
        try:
            if changed != known:
                with replacing(self.folder / STATE) as fresh:
                    fresh.write_text(json.dumps(_to_json(changed), indent=1) + "\n", encoding="utf-8")
                    fresh.chmod(SHARED_FILE)
        except OSError as error:
            raise _unusable(self.folder, error) from error
        try:
            self._link(changed)
        except (
            OSError
        ) as error:  # they decide nothing: what is changed stands, and the next change tries again
            log.warning("%s: its links do not say what state.json says: %s", self.folder, error)
        return changed

    def _installed(self, digest: str, known: Engines) -> Installed:
        return Installed(self.name, self.folder_of(digest), known.entries.get(digest))

    def _link(self, known: Engines) -> None:
        """Let the links say what the roles say. Raises OSError."""
        roles = {"active": known.active, "previous": known.previous, "candidate": known.candidate}
        for role, digest in (*roles.items(), ("factory", FACTORY)):
            link, leads_to = self.folder / role, f"../{self.name}" if digest == FACTORY else digest
            if not digest:
                link.unlink(missing_ok=True)
            elif not link.is_symlink() or os.readlink(link) != leads_to:
                fresh = self.folder / f".{role}.{secrets.token_hex(4)}.part"
                fresh.symlink_to(leads_to)
                os.replace(fresh, link)
        sync_folder(self.folder)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Be the only one who changes the store. Raises :class:`StoreError`."""
        with ExitStack() as held:
            try:
                if not self.folder.is_dir():
                    self.folder.mkdir(parents=True, exist_ok=True)
                    self.folder.chmod(SHARED_FOLDER)
                held.enter_context(locked(self.folder, StoreError))
            except OSError as error:
                raise _unusable(self.folder, error) from error
            yield

    def add(self, opened: Path, provenance: Provenance, by: str) -> str:
        """See :func:`install`."""
        contents = require_whole(opened)
        digest = contents.digest
        load_manifest(opened, self.name)
        with self._locked():
            self._remove_leftovers()
            known = self.engines()
            if digest in known.entries and self.folder_of(digest).is_dir():
                return digest
            known.installed(digest, provenance, version=contents.version, by=by)
            fresh = self.folder / f".{digest}.{secrets.token_hex(4)}.part"
            try:
                _copy(opened, fresh, (CONTENTS, *(one.path for one in contents.files)))
                require_whole(fresh)  # what is on the disk now, not what was meant
                if not self.folder_of(digest).is_dir():
                    os.rename(fresh, self.folder_of(digest))
                    sync_folder(self.folder)
            except OSError as error:
                raise _unusable(self.folder, error) from error
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
            changed = self._change(
                lambda one: one.installed(digest, provenance, version=contents.version, by=by)
            )
            self._make_room(changed)
        return digest

    def _remove_leftovers(self) -> None:
        """What a writer that was killed has left; nobody else writes now."""
        for left in self.folder.glob(".*.part"):
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                with suppress(OSError):
                    left.unlink()

    def _make_room(self, known: Engines) -> None:
        """Delete the folders of old engines that have no role; their entries stay, so that bad stays bad."""
        roles = (known.active, known.previous, known.candidate)
        idle = sorted(
            (one for one in known.entries.values() if one.digest not in roles), key=lambda one: one.at
        )
        for entry in idle[:-KEPT]:
            folder = self.folder_of(entry.digest)
            if folder.is_dir():
                gone = self.folder / f".{entry.digest}.{secrets.token_hex(4)}.part"
                with suppress(OSError):
                    os.rename(folder, gone)
                shutil.rmtree(gone, ignore_errors=True)


def install(engines: Path, name: str, opened: Path, provenance: Provenance, by: str = "updater") -> str:
    """Copy an opened bundle into the store of ``engines/name``; its digest, 64 hex digits.

    ``opened``: a folder as ``deploy.bundle.open_bundle`` leaves it. It must be what its ``bundle.json`` lists
    and an engine folder of this name; what was written is read and hashed again. The engine is *installed*
    and nothing more: it judges no part before it is proven. The same engine again is no fault. Raises
    :class:`StoreError` and ``EngineError``; then nothing is changed.
    """
    return Store(engines, name).add(opened, provenance, by)


# ---------------------------------------------------------------------- files


def _copy(opened: Path, fresh: Path, files: tuple[str, ...]) -> None:
    """Copy files and bring them, and the names of their folders, to the disk. Raises OSError."""
    folders = {
        fresh,
        *(parent for path in files for parent in (fresh / path).parents if fresh in parent.parents),
    }
    for folder in sorted(folders):
        folder.mkdir()
        folder.chmod(SHARED_FOLDER)
    for path in files:
        file = fresh / path
        with (opened / path).open("rb") as source, file.open("xb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
            target.flush()
            os.fchmod(target.fileno(), READ_ONLY_FILE)
            os.fsync(target.fileno())
    for folder in folders:
        sync_folder(folder)


def _unusable(path: Path, error: OSError) -> StoreError:
    where, what = error.filename or path, error.strerror or error
    return StoreError(f"{where}: {what}: make room, or let the station's user write to {path}")


# ---------------------------------------------------------------------- state.json


def _to_json(known: Engines) -> dict[str, Any]:
    content = asdict(known)
    return {"format": FORMAT, **content, "entries": list(content["entries"].values())}


def _from_json(content: dict[str, Any]) -> Engines:
    """The same again. Raises KeyError, TypeError or ValueError for what is no state of a store."""
    if content["format"] != FORMAT:
        raise ValueError(f"format {content['format']!r}")
    entries = {}
    for one in content["entries"]:
        provenance = Provenance(**{**one["provenance"], "key_ids": tuple(one["provenance"]["key_ids"])})
        entry = Entry(**{**one, "state": EngineState(one["state"]), "provenance": provenance})
        entries[entry.digest] = entry
    steps = tuple(Step(**one) for one in content["steps"])
    return Engines(
        entries=entries,
        active=str(content["active"]),
        previous=str(content["previous"]),
        candidate=str(content["candidate"]),
        steps=steps,
        in_journal=int(content["in_journal"]),
    )
