"""Writes the station's manifest for its plant, see ``station/fleet/manifest.py``."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from station.observers.interface import Observer, ObserverError

if TYPE_CHECKING:
    from station.config import Fleet
    from station.fleet.manifest import JournalHead, ProofSaid, StationManifest
    from station.observers.interface import ObserverSetup
    from station.part import InspectedPart
    from station.running import Station
    from station.signing import PublicKey

BAD, INSTALLED = 20, 50
"""The latest engines that a manifest names."""


class ManifestObserver(Observer):
    """Writes the manifest every ``fleet.every_s``, and once more at the end of the run."""

    name = "fleet"
    outcomes = frozenset()
    spare_time = True

    def __init__(self, settings: Fleet, file: Path, key: Path) -> None:
        self._settings, self._file, self._key = settings, file, key
        self._station: Station | None = None
        self._next = 0.0

    def watch(self, station: Station) -> None:
        """Write of this station from now on."""
        self._station = station

    def observe(self, part: InspectedPart) -> None:
        """Nothing: counts and engine are read when a manifest is written."""

    def idle(self) -> None:
        """Write it when it is time. Raises ``InspectionError``, OSError."""
        if self._station is not None and time.monotonic() >= self._next:
            self._next = time.monotonic() + self._settings.every_s
            self._write(self._station)

    def close(self) -> None:
        """The last one says that the station ends."""
        if self._station is not None:
            self._write(self._station)

    def _write(self, station: Station) -> None:
        from station.files import write_file
        from station.signing import own_key

        key = own_key(self._key)
        before = _own(self._file, station.config.station.name, key.public)
        manifest = manifest_of(station, before)
        write_file(self._file, manifest.to_bytes(key))
        self.note = f"{self._file.name} written at {manifest.at}"


def make_observer(setup: ObserverSetup) -> Observer | None:
    """None where the configuration names no folder for manifests."""
    from station.fleet.manifest import NAME_PATTERN, SUFFIX

    settings, name = setup.config.fleet, setup.config.station.name
    if settings is None:
        return None
    if not re.fullmatch(NAME_PATTERN, name):
        raise ObserverError(
            f"station.name {name!r} cannot be the name of a manifest: use letters, digits, and . _ - after "
            "the first one, or leave the section `fleet` out"
        )
    return ManifestObserver(settings, settings.folder / f"{name}{SUFFIX}", setup.config.paths.key)


def _own(file: Path, name: str, key: PublicKey) -> StationManifest | None:
    """The manifest that this station wrote last; None where there is none, or not one of its own."""
    from station.fleet.manifest import LARGEST_BYTES, ManifestError, read_manifest

    try:
        with file.open("rb") as opened:
            return read_manifest(opened.read(LARGEST_BYTES + 1), name, {name: key})
    except (OSError, ManifestError):
        return None


def manifest_of(station: Station, before: StationManifest | None) -> StationManifest:
    """What is to be said of a station now. Raises ``InspectionError``, OSError.

    ``before``: the one that it wrote last, whose number is exceeded and whose events are named again.
    """
    from station.engines.states import EngineState
    from station.engines.store import FACTORY
    from station.fleet.manifest import BadEngine, Parts, StationManifest, Trial
    from station.journal.values import software_version
    from station.preparing import store_of

    status, prepared, config = station.line.status(), station.line.prepared, station.config
    store = store_of(config, prepared.engine.info.name)
    known = store.engines()
    digest = FACTORY if prepared.installed is None else prepared.installed.digest
    entry = known.entries.get(digest)
    now, run, trial = datetime.now(UTC), status.statistics, station.keeping.trial
    newest = sorted(known.entries.values(), key=lambda one: one.at, reverse=True)
    journal, heads = _heads(station, before)
    return StationManifest(
        station=config.station.name,
        number=max(int(now.timestamp()), 0 if before is None else before.number + 1),
        at=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        software_version=software_version(),
        is_simulated=config.is_simulated,
        state=status.state.value,
        reason=status.reason[:1000],
        recipe=prepared.recipe.name,
        product=store.name,
        engine=digest,
        version=None if entry is None else entry.version,
        engine_state="factory" if entry is None else str(entry.state),
        model=prepared.engine_digest,
        installed=tuple(one.digest for one in newest[:INSTALLED]),
        candidate=known.candidate,
        trial=None if trial is None else Trial(parts=trial.parts, of=trial.of),
        bad=tuple(
            BadEngine(digest=one.digest, version=one.version, why=one.why[:1000])
            for one in [one for one in newest if one.state is EngineState.BAD][:BAD]
        ),
        proof=_proof(store.folder, digest),
        parts=Parts(
            triggers=run.triggers, accepted=run.accepted, rejected=run.rejected, faulted=run.faulted
        ),
        problems=tuple(f"{duty}: {why}"[:1000] for duty, why in station.keeping.problems.items()),
        journal=journal,
        heads=heads,
    )  # fmt: skip


def _heads(station: Station, before: StationManifest | None) -> tuple[str, tuple[JournalHead, ...]]:
    """The journal's identity, its last event, and what it has now where earlier manifests named events."""
    from station.fleet.manifest import HEADS, JournalHead
    from station.journal.reading import JournalReader

    with JournalReader(station.journal.path) as reader:
        head = reader.head()
        earlier = () if before is None or before.journal != head.journal_id else before.heads
        named = [one.seq for one in earlier if one.seq < head.seq and reader.is_there(one.seq)]
        again = [JournalHead(seq=seq, digest=reader.digest(seq)) for seq in named[: HEADS - 1]]
    return head.journal_id, (JournalHead(seq=head.seq, digest=head.digest), *again)


def _proof(store: Path, digest: str) -> ProofSaid | None:
    """What the record of the proof of an engine says; None where there is none."""
    import hashlib
    import json

    from station.engines.proof import proof_file
    from station.fleet.manifest import ProofSaid

    try:
        content = proof_file(store, digest).read_bytes()
        said = json.loads(content)["proof"]
        return ProofSaid(
            at=str(said["at"])[:1000],
            failed=str(said["failed"])[:1000],
            sha256=hashlib.sha256(content).hexdigest(),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
