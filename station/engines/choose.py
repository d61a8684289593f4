"""Chooses how an engine runs on this machine: measured, proven, logged, and stored for the next start.

Every back end and precision that can run is timed on a golden part; the fastest one that reproduces all
golden parts is taken. INT8 takes part only when the engine's own figures say that it is accurate enough.
The outcome is kept under a key of everything it depends on (engine, the recipe's decision rules, processor,
back ends and their versions, settings); a remembered choice reproduces one golden part of every class at
every start before it is trusted.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from station.decision import Rules
from station.engines.backends import fused_engine as fused
from station.engines.backends import onnxruntime_engine as onnxruntime
from station.engines.backends import openvino_engine as openvino
from station.engines.backends import tensorrt_engine as tensorrt
from station.engines.folder import EngineManifest, GoldenSurface, load_manifest
from station.engines.interface import BackendStatus, Engine, EngineError, EngineOptions
from station.engines.manifest import INT8_SIGNED
from station.engines.prove import golden_patches, require_fit, require_proof
from station.engines.timing import benchmark
from station.files import write_json
from station.machine import cores, processor, within_cores
from station.recipe import Recipe
from station.supervision import start_takes

BACKENDS = (openvino.NAME, fused.NAME, onnxruntime.CPU, tensorrt.NAME, onnxruntime.TENSORRT, onnxruntime.CUDA)
PRECISIONS = ("int8", "bf16", "fp16", "fp32")
_SLOW_TO_BUILD = (tensorrt.NAME, onnxruntime.TENSORRT)
"""Their plans take minutes: only the best precision of each is tried unless it fails."""
_BUILT_IN_S, _LOADED_IN_S = 1800.0, 120.0
"""How long a plan may be built, or a network be loaded and proven, while systemd waits."""
_TIMED_RUNS = 3
_SCHEME = 2
"""Raised when the stored choice changes its meaning."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Choice:
    """A way to run an engine on this machine, and its measured time."""

    backend: str
    precision: str
    chunk: int
    median_ms: float
    """Time of one golden part, milliseconds."""
    measured_now: bool = False
    """False for a choice remembered from an earlier start."""


def available() -> list[BackendStatus]:
    """Every back end, with the reason for each one that cannot be used here."""
    return [_status(name) for name in BACKENDS]


def runnable(folder: Path) -> list[tuple[str, str]]:
    """Back ends and precisions that can run the engine in ``folder`` here. Raises :class:`EngineError`."""
    manifest = load_manifest(folder)
    return [
        (here.name, precision)
        for here in available()
        for precision in here.precisions
        if not _refusal(manifest, here.name, precision)
    ]


def default_cache() -> Path:
    """The user's cache folder for what is measured and built on this machine; STATION_CACHE overrides it."""
    named = os.environ.get("STATION_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(base) / "inspection-station"


def open_chosen(
    given: Path | EngineManifest,
    backend: str,
    precision: str,
    options: EngineOptions,
    recipe: Recipe | None = None,
) -> tuple[Engine, Choice]:
    """An engine, proven, and how it was chosen; ``auto`` leaves back end or precision open.

    ``given`` is its folder, or what was read from it. With ``recipe`` it must fit that recipe and is proven
    with its decision rules too. Raises :class:`EngineError`.
    """
    if options.threads < 1 or options.chunk < 0:
        raise EngineError(
            f"{options.threads} threads with chunks of {options.chunk} patches are not possible; "
            "write at least 1 thread and 0 (chosen automatically) or more patches"
        )
    options = replace(options, threads=within_cores(options.threads))
    manifest = given if isinstance(given, EngineManifest) else load_manifest(given)
    if recipe is not None:
        require_fit(manifest, recipe)
    here = _wanted(backend, precision)
    key = _key(manifest, recipe, here, backend, precision, options)
    remembered = _remembered(options.cache, key)
    if remembered is not None and not _allowed(remembered, manifest, here, precision, options):
        _log.warning(
            "engine %s: %s is remembered, which is not allowed; measuring again",
            manifest.name,
            _sentence(remembered),
        )
    elif remembered is not None:
        try:
            engine = _open(manifest, remembered, options)
            # No digest covers a plan that was built before: it proves everything again.
            built_before = remembered.backend in _SLOW_TO_BUILD
            _proven(engine, manifest, recipe, None if built_before else manifest.one_of_each_class())
        except EngineError as problem:
            _log.warning(
                "engine %s: the remembered choice failed (%s); measuring again", manifest.name, problem
            )
        else:
            _log.info("engine %s: %s, as measured before", manifest.name, _sentence(remembered))
            return engine, remembered
    try:
        engine, choice = _choose(manifest, recipe, here, backend, precision, options)
    except EngineError as problem:
        if options.cache is None or not any(status.name in _SLOW_TO_BUILD for status in here):
            raise
        _log.warning("engine %s: %s; what was built before is built again", manifest.name, problem)
        engine, choice = _choose(manifest, recipe, here, backend, precision, replace(options, rebuild=True))
    _remember(options.cache, key, choice)
    return engine, choice


def _choose(
    manifest: EngineManifest,
    recipe: Recipe | None,
    here: list[BackendStatus],
    backend: str,
    precision: str,
    options: EngineOptions,
) -> tuple[Engine, Choice]:
    """Time all candidates, then prove them from the fastest on until one passes."""
    failures: list[str] = []
    measured: list[Choice] = []
    built: set[str] = set()
    for candidate in _candidates(manifest, here, precision, options, failures):
        if backend == "auto" and candidate.backend in built:
            continue
        try:
            timed = _time(manifest, candidate, options)
        except EngineError as problem:
            _log.warning(
                "engine %s: %s %s is not used: %s",
                manifest.name,
                candidate.backend,
                candidate.precision,
                problem,
            )
            failures.append(f"{candidate.backend} {candidate.precision}: {problem}")
            continue
        _log.info("engine %s: measured %s", manifest.name, _sentence(timed))
        measured.append(timed)
        if candidate.backend in _SLOW_TO_BUILD:
            built.add(candidate.backend)
    for choice in sorted(measured, key=lambda timed: timed.median_ms):
        try:
            engine = _open(manifest, choice, options)
            _proven(engine, manifest, recipe)
        except EngineError as problem:
            _log.warning("engine %s: %s is not used: %s", manifest.name, _sentence(choice), problem)
            failures.append(f"{choice.backend} {choice.precision}: {problem}")
            continue
        _log.info("engine %s: chose %s; all golden parts reproduced", manifest.name, _sentence(choice))
        return engine, choice
    reasons = "\n  ".join(failures) or "this machine has no back end (`station engines backends` says why)"
    raise EngineError(
        f"no back end can run engine {manifest.name} as asked ({backend}, {precision}):\n  {reasons}"
    )


def _candidates(
    manifest: EngineManifest,
    here: list[BackendStatus],
    precision: str,
    options: EngineOptions,
    failures: list[str],
) -> Iterator[Choice]:
    for status, offered in _offers(here, precision):
        refusal = _refusal(manifest, status.name, offered)
        if refusal:
            _log.warning(
                "engine %s: %s %s is not considered: %s", manifest.name, status.name, offered, refusal
            )
            failures.append(f"{status.name} {offered}: {refusal}")
            continue
        for chunk in _chunks(status.name, options):
            yield Choice(status.name, offered, chunk, 0.0)


def _allowed(
    choice: Choice,
    manifest: EngineManifest,
    here: list[BackendStatus],
    precision: str,
    options: EngineOptions,
) -> bool:
    """Whether a remembered choice may be made today: the cache is a hint, and anyone may have written it."""
    return any(
        (status.name, offered) == (choice.backend, choice.precision)
        and choice.chunk in _chunks(status.name, options)
        and not _refusal(manifest, status.name, offered)
        for status, offered in _offers(here, precision)
    )


def _offers(here: list[BackendStatus], precision: str) -> Iterator[tuple[BackendStatus, str]]:
    for status in here:
        for offered in status.precisions if precision == "auto" else (precision,):
            yield status, offered


def _chunks(backend: str, options: EngineOptions) -> tuple[int, ...]:
    worth_timing = {openvino.NAME: openvino.CHUNKS, fused.NAME: fused.CHUNKS}
    return (options.chunk,) if options.chunk else worth_timing.get(backend, (0,))


def _refusal(manifest: EngineManifest, backend: str, precision: str) -> str:
    """Why a precision of this engine may not be used, by its files alone; empty when it may."""
    if precision != "int8":
        return ""
    if backend not in (tensorrt.NAME, onnxruntime.TENSORRT):
        refusal = manifest.int8_refusal()
        return fused.refusal(manifest) if backend == fused.NAME and not refusal else refusal
    if INT8_SIGNED not in manifest.files:
        return "the engine has no int8-signed file, the only INT8 that TensorRT reads"
    return manifest.int8_refusal(INT8_SIGNED)


def _wanted(backend: str, precision: str) -> list[BackendStatus]:
    """The back ends to choose from, all present. Raises :class:`EngineError`."""
    if backend not in ("auto", *BACKENDS):
        raise EngineError(f"no back end is called {backend!r}; known: auto, {', '.join(BACKENDS)}")
    if precision not in ("auto", *PRECISIONS):
        raise EngineError(f"no precision is called {precision!r}; known: auto, {', '.join(PRECISIONS)}")
    if backend == "auto":
        # An asked-for precision that the processor emulates slowly is no reason to skip a back end,
        # one that the back end does not know is.
        present = [status for status in available() if status.present]
        if precision == "auto":
            return present
        return [
            status for status in present if precision in status.precisions or _knows(status.name, precision)
        ]
    status = _status(backend)
    if not status.present:
        raise EngineError(f"back end {backend} is not present: {status.reason}")
    return [status]


def _knows(backend: str, precision: str) -> bool:
    return backend == openvino.NAME and precision == "bf16"


def _time(manifest: EngineManifest, candidate: Choice, options: EngineOptions) -> Choice:
    engine = _open(manifest, candidate, options)
    try:
        require_proof(engine, manifest, golden=manifest.golden[:1])
        timing = benchmark(engine, golden_patches(manifest), seconds=0.0, least=_TIMED_RUNS)
    finally:
        engine.close()
    return replace(candidate, median_ms=round(timing.p50, 2), measured_now=True)


def _proven(
    engine: Engine,
    manifest: EngineManifest,
    recipe: Recipe | None,
    golden: Sequence[GoldenSurface] | None = None,
) -> None:
    try:
        require_proof(engine, manifest, recipe, golden)
    except EngineError:
        engine.close()
        raise


def _open(manifest: EngineManifest, choice: Choice, options: EngineOptions) -> Engine:
    at_most_s = _BUILT_IN_S if choice.backend in _SLOW_TO_BUILD else _LOADED_IN_S
    start_takes(f"starting: {choice.backend} {choice.precision} loads {manifest.name}", at_most_s)
    settings = replace(options, chunk=choice.chunk)
    if choice.backend == openvino.NAME:
        return openvino.load(manifest, choice.precision, settings)
    if choice.backend == fused.NAME:
        return fused.load(manifest, choice.precision, settings)
    if choice.backend == tensorrt.NAME:
        return tensorrt.load(manifest, choice.precision, settings)
    return onnxruntime.load(choice.backend, manifest, choice.precision, settings)


def _status(name: str) -> BackendStatus:
    if name == openvino.NAME:
        return openvino.status()
    if name == fused.NAME:
        return fused.status()
    return tensorrt.status() if name == tensorrt.NAME else onnxruntime.status(name)


def _sentence(choice: Choice) -> str:
    chunk = f" in chunks of {choice.chunk}" if choice.chunk else ""
    return f"{choice.backend} {choice.precision}{chunk}, {choice.median_ms:.1f} ms per part"


def _key(
    manifest: EngineManifest,
    recipe: Recipe | None,
    here: list[BackendStatus],
    backend: str,
    precision: str,
    options: EngineOptions,
) -> str:
    facts = (
        _SCHEME,
        manifest.digest,
        manifest.folder.name,
        asdict(manifest.own_rules if recipe is None else Rules.of(recipe)),
        [processor().model, sorted(processor().flags), cores()],
        [asdict(status) for status in here],
        (backend, precision, options.threads, options.chunk),
    )
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _remembered(cache: Path | None, key: str) -> Choice | None:
    if cache is None:
        return None
    try:
        found = json.loads((cache / "choices" / f"{key}.json").read_text(encoding="utf-8"))
        choice = Choice(
            str(found["backend"]), str(found["precision"]), int(found["chunk"]), float(found["median_ms"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    known = choice.backend in BACKENDS and choice.precision in PRECISIONS and 0 <= choice.chunk <= 4096
    return choice if known else None


def _remember(cache: Path | None, key: str, choice: Choice) -> None:
    if cache is None:
        return
    found = asdict(choice)
    del found["measured_now"]
    folder = cache / "choices"
    try:
        write_json(folder / f"{key}.json", found)
    except OSError as problem:
        _log.warning(
            "the choice of the back end cannot be written to %s (%s); the next start measures again",
            folder,
            problem,
        )
