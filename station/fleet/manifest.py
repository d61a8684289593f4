"""A station's manifest: the signed word of what it runs, and a witness of its journal outside of it.

A manifest is one JSON file, ``NAME.manifest``, replaced whole each time. Its content is a text of JSON, and
the signature is over exactly this text, so nothing is ever written anew to be checked. Whoever reads it
trusts nothing before the signature: size, file name and form are looked at first.

``heads`` are the last event of the journal now, and those that earlier manifests named, with the digests that
the journal has for them *now*. A journal that was put back to an earlier state, or whose history is another
one, then contradicts what the plant has seen: :mod:`deploy.fleet.witness` compares.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from drivers.errors import InspectionError
from station.signing import PublicKey, SigningKey

PURPOSE = "station manifest 1"
SUFFIX = ".manifest"
LARGEST_BYTES = 65_536
HEADS = 16
"""The events that a manifest names, at most."""
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$"
"""Of a station that is to have a manifest: its name is the name of a file."""

StationFileName = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Words = Annotated[str, StringConstraints(max_length=1000)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
StoreDigest = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64}|factory)$")]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Moment = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


class ManifestError(InspectionError):
    """A manifest does not count; the message says why and what to do."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Trial(_Part):
    """How far the trial of the engine is."""

    parts: Count
    of: Count


class BadEngine(_Part):
    """An engine that failed here."""

    digest: Digest
    version: Count
    why: Words


class ProofSaid(_Part):
    """The proof of the engine on this station: the file is there, signed by the same key."""

    at: Words
    failed: Words
    sha256: Digest
    """Of the file."""


class Parts(_Part):
    """Since the start of the station."""

    triggers: Count
    accepted: Count
    rejected: Count
    faulted: Count


class JournalHead(_Part):
    """An event of the journal, by its number and the digest of its chain."""

    seq: Count
    digest: Digest


class StationManifest(_Part):
    """What a station says of itself."""

    format: Annotated[int, Field(ge=1, le=1)] = 1
    station: StationFileName
    number: Count
    """Higher in each manifest: the Unix time in seconds, or one more than before where that is higher."""
    at: Moment
    """UTC."""
    software_version: Words
    is_simulated: bool
    state: Words
    reason: Words
    """Why it is not ready; empty while it is."""
    recipe: Words
    product: Words
    """The name of the prepared engine."""
    engine: StoreDigest
    """Which engine of this name judges: the digest of its bundle, or ``factory``."""
    version: Count | None
    """None of the factory engine."""
    engine_state: Words
    """``trial``, ``good`` ...; ``factory``."""
    model: Words
    """SHA-256 of the network that judges."""
    installed: Annotated[tuple[StoreDigest, ...], Field(max_length=50)]
    """Every engine of this name that came here, the newest first."""
    candidate: Words
    """What shadows; empty where nothing does."""
    trial: Trial | None
    bad: Annotated[tuple[BadEngine, ...], Field(max_length=20)]
    """The latest."""
    proof: ProofSaid | None
    """None of the factory engine, and of one that was not proven here."""
    parts: Parts
    problems: Annotated[tuple[Words, ...], Field(max_length=20)]
    journal: Words
    """The identity of the journal."""
    heads: Annotated[tuple[JournalHead, ...], Field(min_length=1, max_length=HEADS)]
    """The last event first, then those of earlier manifests that the journal still has."""

    @property
    def time(self) -> datetime:
        """When it was written, UTC. Raises ValueError for what is no time."""
        return datetime.strptime(self.at, TIME_FORMAT).replace(tzinfo=UTC)

    @property
    def head(self) -> JournalHead:
        """The last event."""
        return self.heads[0]

    def to_bytes(self, key: SigningKey) -> bytes:
        """Its file, signed."""
        text = self.model_dump_json()
        signature = key.sign(PURPOSE, text.encode()).hex()
        document = {"manifest": text, "key_id": key.public.key_id, "signature": signature}
        return (json.dumps(document, indent=1) + "\n").encode()


def read_manifest(content: bytes, station: str, keys: dict[str, PublicKey]) -> StationManifest:
    """The manifest of ``station``, signed by the key that is enrolled for it.

    ``keys``: station -> key. Raises :class:`ManifestError`, which says what is wrong.
    """
    if len(content) > LARGEST_BYTES:
        raise ManifestError(f"is larger than {LARGEST_BYTES} bytes: no station writes such a manifest")
    key = keys.get(station)
    if key is None:
        raise ManifestError("no key is enrolled for this station: copy its public key to the others")
    try:
        document: dict[str, Any] = json.loads(content)
        text, signature = document["manifest"], bytes.fromhex(document["signature"])
        signed = str(text).encode()
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ManifestError(f"is no manifest ({type(error).__name__}); the station writes it again") from None
    if not key.has_signed(PURPOSE, signed, signature):
        others = [name for name, one in keys.items() if one.has_signed(PURPOSE, signed, signature)]
        if others:
            raise ManifestError(f"is of another station: {others[0]} signed it; do not rename manifests")
        raise ManifestError(
            f"is forged, or was changed on the way: the key enrolled for {station} did not sign it; "
            "if the station has a new key, enrol that one"
        )
    try:
        found = StationManifest.model_validate_json(signed)
        _ = found.time
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise ManifestError(
            f"is signed, and cannot be used: {where}: {first['msg']}; a station of another release wrote it"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"is signed, and cannot be used: {error}") from None
    if found.station != station:
        raise ManifestError(
            f"is of another station: it says {found.station!r}; give each station a key of its own"
        )
    return found
