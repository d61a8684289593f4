"""Reads the manifests of a plant, and remembers what it has seen: a witness of every journal from outside.

What is remembered of a station (one JSON file, replaced whole) is its last good manifest, the digests of its
journal's events that it ever named, and an alarm. A manifest that is older than the one remembered is a
replay. A journal whose last event is earlier than before *went back*; one that has another digest for an
event that was named before is *forked*; either is an alarm that stays until a person has looked and lets the
witness begin anew with this station.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm

from drivers.errors import InspectionError, explain_os_error
from drivers.regular_files import open_regular
from station.files import locked, write_json
from station.fleet.manifest import LARGEST_BYTES, SUFFIX, ManifestError, StationManifest, read_manifest
from station.signing import PublicKey, known_key

FORMAT = 1
AHEAD = timedelta(minutes=5)
"""How far a station's clock may be ahead of this one's."""
HEADS_KEPT = 5000
"""Events that are remembered of each station, the latest."""
MANIFESTS = 10_000
"""The most files of a folder that are looked at."""


class FleetError(InspectionError):
    """The stations cannot be looked at; the message says what to do about it."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the witness knows of one station."""

    manifest: dict[str, Any]
    """The last good one."""
    sha256: str
    """Of its text."""
    journal: str
    heads: Mapping[int, str]
    """Event of the journal -> its digest, of every good manifest."""
    alarm: str = ""
    """What was wrong with the journal; stays until a person lets the witness begin anew."""

    @property
    def last(self) -> StationManifest:
        """The last good manifest."""
        return StationManifest.model_validate_json(json.dumps(self.manifest))


@dataclass(frozen=True, slots=True)
class Memory:
    """Everything that the witness knows."""

    stations: Mapping[str, Remembered] = field(default_factory=dict)
    said: tuple[Mapping[str, str], ...] = ()
    """What persons have said: station, who, why, when, and the alarm that it ended."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How one station stands now."""

    station: str
    manifest: StationManifest | None
    """The last good one; None where there never was one."""
    refused: str = ""
    """Why what lies there now does not count; empty where it does."""
    alarm: str = ""
    age_s: float | None = None
    """Of the last good manifest."""
    is_silent: bool = False
    """Whether that is too old to say anything of now."""

    @property
    def trouble(self) -> str:
        """Why nothing that it says may count for a rollout; empty where it may."""
        if self.alarm:
            return f"ALARM: {self.alarm}"
        if self.refused:
            return f"refused: {self.refused}"
        if self.manifest is None:
            return "has never written a manifest"
        return f"silent for {self.age_s or 0:.0f} s" if self.is_silent else ""


def enrolled(folder: Path) -> dict[str, PublicKey]:
    """Station -> its key, of the files ``NAME.pub`` of a folder.

    Raises :class:`FleetError`, naming every file that is no key, and every key that two stations have.
    """
    found: dict[str, PublicKey] = {}
    problems = []
    try:
        files = sorted(folder.glob("*.pub"))
        for file in files:
            try:
                key = known_key(file)
            except (ValueError, UnsupportedAlgorithm):
                problems.append(f"{file}: is no public Ed25519 key: copy the file again, or remove it")
                continue
            same = [name for name, one in found.items() if one == key]
            if same:
                problems.append(f"{file}: is the key of {same[0]} too: each station makes a key of its own")
            found[file.stem] = key
    except OSError as error:
        raise FleetError(explain_os_error(error, folder)) from error
    if not found and not problems:
        problems.append(
            f"{folder}: has no keys: copy the public key of each station there as NAME.pub, after "
            "its station.name (`station keys show`)"
        )
    if problems:
        raise FleetError("\n".join(problems))
    return found


def look(
    folder: Path, keys: dict[str, PublicKey], memory: Memory, now: datetime, max_age_s: float
) -> tuple[list[Seen], Memory]:
    """Every enrolled station, and every other manifest that lies there; and what is remembered from now on.

    Raises :class:`FleetError` where the folder cannot be read.
    """
    try:
        names = [file.name for file in folder.iterdir() if file.name.endswith(SUFFIX)]
    except OSError as error:
        raise FleetError(f"{explain_os_error(error, folder)}: name the folder of the manifests") from error
    if len(names) > MANIFESTS:
        raise FleetError(f"{folder}: has more than {MANIFESTS} manifests: name the folder of one plant")
    seen, stations = [], dict(memory.stations)
    there = sorted(name.removesuffix(SUFFIX) for name in names)
    for name in dict.fromkeys((*sorted(keys), *there)):
        known, refused = stations.get(name), ""
        try:
            content = _content(folder / f"{name}{SUFFIX}", known)
            if content is not None:
                known = stations[name] = _next(known, read_manifest(content, name, keys), now)
        except ManifestError as error:
            refused = str(error)
        last = None if known is None else known.last
        age_s = None if last is None else max(0.0, (now - last.time).total_seconds())
        silent = age_s is not None and age_s > max_age_s
        seen.append(Seen(name, last, refused, known.alarm if known else "", age_s, silent))
    return seen, replace(memory, stations=stations)


def _content(file: Path, known: Remembered | None) -> bytes | None:
    """What lies there; None where a station has not written yet. Raises :class:`ManifestError`."""
    try:
        with open_regular(file) as opened:
            return opened.read(LARGEST_BYTES + 1)
    except FileNotFoundError:
        if known is None:
            return None
        raise ManifestError("is gone: somebody has removed it, or the way to here is broken") from None
    except OSError as error:
        raise ManifestError(f"cannot be read: {explain_os_error(error)}") from error


def _next(known: Remembered | None, found: StationManifest, now: datetime) -> Remembered:
    """What is remembered after this manifest. Raises :class:`ManifestError`."""
    if found.time > now + AHEAD or found.number > (now + timedelta(days=1)).timestamp():
        raise ManifestError(
            f"is of the future: number {found.number}, written at {found.at}; here it is "
            f"{now:%Y-%m-%dT%H:%M:%SZ}: set the clocks of both"
        )
    heads = {one.seq: one.digest for one in found.heads}
    plain, sha256 = (
        found.model_dump(mode="json"),
        hashlib.sha256(found.model_dump_json().encode()).hexdigest(),
    )
    if known is None:
        return Remembered(plain, sha256, found.journal, heads)
    last = known.last
    if found.number < last.number:
        raise ManifestError(
            f"is an older one again (number {found.number} of {found.at}; {last.number} of {last.at} was "
            "seen): a copy was put back, or an attack (replay)"
        )
    if found.number == last.number and sha256 != known.sha256:
        raise ManifestError(
            f"is the second one with the number {found.number}: two machines write with this station's key"
        )
    alarm = known.alarm or _alarm(known, found, heads)
    kept = known.heads if alarm else {**known.heads, **heads}
    latest = dict(sorted(kept.items())[-HEADS_KEPT:])
    return Remembered(plain, sha256, known.journal, latest, alarm)


def _alarm(known: Remembered, found: StationManifest, heads: Mapping[int, str]) -> str:
    """How its journal contradicts what was seen before; empty where it does not."""
    if found.journal != known.journal:
        return f"the station has another journal than before ({found.journal}, was {known.journal})"
    for seq, digest in sorted(heads.items()):
        if known.heads.get(seq, digest) != digest:
            return (
                f"the journal is forked: event {seq} was {known.heads[seq][:12]}, and is {digest[:12]} now: "
                "keep the disk as it is, and `station journal audit`"
            )
    highest = max(known.heads)
    if found.head.seq < highest:
        return (
            f"the journal went back from event {highest} to {found.head.seq}: it was put back from a backup, "
            f"or cut; compare: `station journal audit --expect-head {known.heads[highest]}`"
        )
    return ""


def begin_anew(memory: Memory, station: str, by: str, why: str, now: datetime) -> Memory:
    """Forget what is known of a station's journal, by a person; what ended is kept.

    The number of its last manifest is remembered all the same, so that no older one counts.
    Raises :class:`FleetError` for a station without an alarm.
    """
    known = memory.stations.get(station)
    if known is None or not known.alarm:
        raise FleetError(f"{station}: has no alarm: `retrain fleet show` shows which stations have one")
    last = known.last
    said = {"station": station, "by": by, "why": why, "at": now.isoformat(), "alarm": known.alarm}
    fresh = replace(
        known, alarm="", journal=last.journal, heads={one.seq: one.digest for one in last.heads}
    )  # fmt: skip
    return Memory({**memory.stations, station: fresh}, (*memory.said, said))


# ---------------------------------------------------------------------- the file


def read_memory(file: Path) -> Memory:
    """What was remembered; nothing where there is no file. Raises :class:`FleetError`."""
    try:
        with open_regular(file) as opened:
            content = json.loads(opened.read())
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        stations = {
            name: Remembered(**{**one, "heads": {int(seq): digest for seq, digest in one["heads"].items()}})
            for name, one in content["stations"].items()
        }
        for one in stations.values():
            _ = one.last.time
        return Memory(stations, tuple(content["said"]))
    except FileNotFoundError:
        return Memory()
    except OSError as error:
        raise FleetError(explain_os_error(error, file)) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FleetError(
            f"{file}: is no memory of a witness ({type(error).__name__}): put it back from a backup; without "
            "it, nobody can say any more whether a journal went back"
        ) from error


def write_memory(file: Path, memory: Memory) -> None:
    """Replace the file whole. Raises OSError."""
    stations = {
        name: {**asdict(one), "heads": {str(seq): digest for seq, digest in one.heads.items()}}
        for name, one in memory.stations.items()
    }
    write_json(file, {"format": FORMAT, "stations": stations, "said": [dict(one) for one in memory.said]})


def watch(
    folder: Path, keys: dict[str, PublicKey], file: Path, max_age_s: float, now: datetime | None = None
) -> list[Seen]:
    """One look, remembered in ``file``; two at once take turns. Raises :class:`FleetError`, OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with locked(file.parent, FleetError):
        seen, memory = look(folder, keys, read_memory(file), now or datetime.now(UTC), max_age_s)
        write_memory(file, memory)
    return seen
