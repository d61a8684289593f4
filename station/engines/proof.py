"""The proof of an engine on this device: gates, each with a name, and a signed record of what was measured.

==================  ====================================================================================
``recipe``          it knows the recipe's classes, cuts its patches, and brings numbers that it may have
``golden parts``    on a back end of this machine it reproduces every golden part of its own
``known-bad parts`` it accepts no defective golden part of the engines that this station trusts already,
                    so that one which forgot a class is found, whatever its own golden parts say
``latency``         99 of 100 parts are scored in half of a part's deadline, while another thread cuts parts
``memory``          a process with it takes at most ``new_engines.memory_mb``, and no more with every part
==================  ====================================================================================

An engine that fails a gate is bad. The record is signed with the station's key, so that whoever reads it
elsewhere knows that this station, and nobody else, says so.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from drivers.errors import InspectionError
from station.decision import Rules, decide_by
from station.engines.adapted import recipe_for
from station.engines.choose import open_chosen
from station.engines.folder import EngineManifest, load_manifest, read_golden, read_surface
from station.engines.interface import Engine, EngineError, EngineOptions
from station.engines.prove import require_fit, require_proof
from station.engines.store import Installed
from station.files import write_json
from station.machine import processor
from station.patching.geometry import cut_surface
from station.recipe import Recipe
from station.signing import PublicKey, SigningKey

PURPOSE = "engine-proof"
"""What a proof's signature is for."""
RUNS = 40
"""Parts whose time is measured."""
SHARE_OF_DEADLINE = 0.5
"""The share of a part's deadline that the scores may take; cutting and writing need the rest."""
GROWTH_MB = 32.0
"""How much memory may grow while the parts are measured, MB; a leak of 1 MB a part is found."""


class ProofError(EngineError):
    """An engine did not pass a gate; the message begins with the gate's name."""

    def __init__(self, gate: str, why: str) -> None:
        super().__init__(f"gate `{gate}`: {why}")
        self.gate = gate


@dataclass(frozen=True, slots=True)
class Proof:
    """What was measured; ``failed`` is empty where all gates were passed."""

    station: str
    engine: str
    digest: str
    at: str
    """UTC, ISO 8601."""
    machine: str
    software_version: str
    recipe: str
    recipe_digest: str = ""
    """Of the recipe with the engine's numbers."""
    model_digest: str = ""
    backend: str = ""
    precision: str = ""
    golden_parts: int = 0
    known_bad_parts: int = 0
    """Defective golden parts of other engines."""
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    limit_ms: float = 0.0
    memory_mb: float = 0.0
    """Resident memory of the process that proves it, with everything that a process needs."""
    failed: str = ""
    """The gate that it did not pass, and why."""

    @property
    def summary(self) -> str:
        """One line."""
        if self.failed:
            return self.failed
        return (
            f"{self.golden_parts} golden and {self.known_bad_parts} known-bad parts right on {self.backend} "
            f"{self.precision}, 99 of 100 parts in {self.p99_ms:.1f} ms (at most {self.limit_ms:.0f}), "
            f"{self.memory_mb:.0f} MB"
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """What an engine may take on this station."""

    deadline_ms: float
    memory_mb: float


def prove_engine(
    engine: Installed,
    trusted: Sequence[Installed],
    recipe: Recipe,
    options: EngineOptions,
    limits: Limits,
    begun: Proof,
    *,
    backend: str = "auto",
    precision: str = "auto",
) -> Proof:
    """Let an engine prove itself; the first gate that it fails ends the proof, and stands in it.

    ``recipe``: as it is written. ``trusted``: the engines whose known-bad parts count. ``begun``: who proves
    what. Raises only what is no fault of the engine.
    """
    proof = begun
    try:
        with _gate("recipe"):
            manifest = load_manifest(engine.folder, engine.name)
            judged_by = recipe_for(recipe, engine)
            require_fit(manifest, judged_by)
        proof = replace(proof, recipe_digest=judged_by.digest)
        with _gate("golden parts"):
            opened, _ = open_chosen(manifest, backend, precision, options, judged_by)
        try:
            with _gate("golden parts"):
                golden = require_proof(opened, manifest, judged_by)
            info = opened.info
            proof = replace(
                proof, model_digest=info.digest, backend=info.backend, precision=info.precision,
                golden_parts=golden.parts,
            )  # fmt: skip
            with _gate("known-bad parts"):
                proof = replace(proof, known_bad_parts=_known_bad(opened, engine, trusted, judged_by))
            proof = _measured(proof, opened, manifest, limits)
        finally:
            opened.close()
    except ProofError as error:
        return replace(proof, failed=str(error))
    return proof


def _known_bad(engine: Engine, own: Installed, trusted: Sequence[Installed], recipe: Recipe) -> int:
    """How many defective parts of other engines were judged, all of them rejected. Raises EngineError."""
    rules, judged, accepted = Rules.of(recipe), 0, []
    for other in trusted:
        manifest = load_manifest(other.folder, other.name)
        same = (manifest.surface, manifest.patch) == (recipe.surface, recipe.patch)
        if other.digest == own.digest or not same:
            continue
        for part in manifest.golden:
            if part.truth == manifest.classes[0]:
                continue
            scores = engine.scores(read_golden(manifest, part))
            judged += 1
            if decide_by(scores.probabilities, rules, scores.novelty).class_index == 0:
                accepted.append(f"{part.name} of engine {other.digest[:12]} ({part.truth})")
    if accepted:
        raise EngineError(
            f"it accepts {', '.join(accepted)}: train it with parts of these classes, and look at them again"
        )
    return judged


def _measured(proof: Proof, engine: Engine, manifest: EngineManifest, limits: Limits) -> Proof:
    """The proof with times and memory. Raises :class:`ProofError`."""
    surface = read_surface(manifest, manifest.golden[0])
    patches = cut_surface(surface, manifest.patch)
    limit_ms = limits.deadline_ms * SHARE_OF_DEADLINE
    times: list[float] = []
    with _load(surface, manifest):
        engine.scores(patches)
        settled_mb = _memory_mb()
        until = time.monotonic() + 10 * limits.deadline_ms / 1000
        while len(times) < RUNS and (len(times) < 3 or time.monotonic() < until):
            started = time.perf_counter()
            with _gate("latency"):
                engine.scores(patches)
            times.append((time.perf_counter() - started) * 1000)
    after_mb = _memory_mb()
    p50, p99 = np.percentile(times, (50, 99))
    proof = replace(
        proof,
        p50_ms=round(float(p50), 2),
        p99_ms=round(float(p99), 2),
        limit_ms=limit_ms,
        memory_mb=round(after_mb, 1),
    )
    if p99 > limit_ms:
        raise ProofError(
            "latency",
            f"99 of 100 parts take up to {p99:.0f} ms, more than {limit_ms:.0f} ms, half of "
            "limits.part_deadline_ms: ship a smaller or INT8 network",
        )
    if proof.memory_mb > limits.memory_mb:
        raise ProofError(
            "memory",
            f"it takes {proof.memory_mb:.0f} MB, more than new_engines.memory_mb {limits.memory_mb:g}",
        )
    if after_mb - settled_mb > GROWTH_MB:
        raise ProofError(
            "memory",
            f"it grew by {after_mb - settled_mb:.0f} MB in {len(times)} parts: choose another back end",
        )
    return proof


@contextmanager
def _gate(name: str) -> Iterator[None]:
    """What goes wrong in here fails the gate."""
    try:
        yield
    except ProofError:
        raise
    except InspectionError as error:
        raise ProofError(name, str(error)) from error


@contextmanager
def _load(surface: NDArray[np.uint8], manifest: EngineManifest) -> Iterator[None]:
    """Meanwhile, another thread cuts parts, as the line does beside the engine."""
    ended = threading.Event()

    def cut() -> None:
        while not ended.wait(0.001):
            cut_surface(surface, manifest.patch)

    thread = threading.Thread(target=cut, name="load of a proof", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _memory_mb() -> float:
    return float(psutil.Process().memory_info().rss) / 1e6


# ---------------------------------------------------------------------- its record


def begun_proof(station: str, engine: Installed, recipe: Recipe, software_version: str) -> Proof:
    """A proof of which nothing is measured yet."""
    return Proof(
        station=station,
        engine=engine.name,
        digest=engine.digest,
        at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        machine=str(processor()),
        software_version=software_version,
        recipe=recipe.name,
    )


def proof_file(store: Path, digest: str) -> Path:
    """Where the last proof of an engine lies, in the folder of its store."""
    return store / "proofs" / f"{digest}.json"


def write_proof(store: Path, proof: Proof, key: SigningKey) -> Path:
    """Write a proof and its signature, whole or not at all. Raises OSError."""
    file, content = proof_file(store, proof.digest), asdict(proof)
    signature = key.sign(PURPOSE, _signed(content)).hex()
    write_json(file, {"proof": content, "key_id": key.public.key_id, "signature": signature})
    return file


def read_proof(file: Path, key: PublicKey) -> Proof:
    """A proof that ``key`` has signed. Raises :class:`EngineError`."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        content: dict[str, Any] = document["proof"]
        signature = bytes.fromhex(document["signature"])
        proof = Proof(**content)
    except OSError as error:
        raise EngineError(
            f"{file}: {error.strerror}: let the engine prove itself (`station engines prove`)"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(f"{file}: is no proof ({error!r}): let the engine prove itself again") from error
    if not key.has_signed(PURPOSE, _signed(content), signature):
        raise EngineError(f"{file}: is not signed by this station: let the engine prove itself again")
    return proof


def _signed(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True).encode()
