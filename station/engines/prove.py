"""Golden parts: an engine is a claim until it reproduces them on this very device.

fp32, bf16 and fp16 must name the same most probable class for every patch as was recorded, with every
probability within the manifest's tolerance (0.02) of the fp32 one. INT8 is another network: it must be
within its own tolerance of its own recorded scores. Features and novelty, where the engine gives them, must
be near those recorded with the same file.

Of every precision the verdict must be right, and the decision alone says what it is: by the rules that the
engine was proven with it must name what is on the part, and by the rules of the prepared recipe it must be
the verdict on fp32's scores and accept no defective part. Every class is among the golden parts, and
beside one class a known bad part, so that an engine that says *good* to everything fails.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from station.decision import Rules, decide_by
from station.engines.folder import EngineManifest, GoldenSurface, read_golden
from station.engines.interface import Engine, EngineError, EngineInfo, Scores
from station.engines.manifest import Variant
from station.recipe import PatchGrid, Recipe, SurfaceSize


@dataclass(frozen=True, slots=True)
class GoldenReport:
    """The result of the golden parts; ``passed`` only if every part was right."""

    backend: str
    precision: str
    parts: int
    right: int
    largest_difference: float
    """Largest difference of a probability from the recorded one."""
    tolerance: float
    failures: tuple[str, ...]
    """One sentence per part that was not reproduced."""
    median_ms: float
    """Median time of a part, milliseconds."""

    @property
    def passed(self) -> bool:
        """Whether the engine may be trusted."""
        return self.parts > 0 and self.right == self.parts and not self.failures

    @property
    def summary(self) -> str:
        """One line for a table."""
        line = f"{self.right} of {self.parts} reproduced, off by {self.largest_difference:.4f} at most"
        return line if self.passed else f"{line}; {self.failures[0] if self.failures else 'no golden part'}"


def require_fit(manifest: EngineManifest, recipe: Recipe) -> None:
    """Refuse an engine that was proven on patches other than the recipe's, or cannot decide by its rules.

    Raises :class:`EngineError`.
    """
    classes = tuple(entry.name for entry in recipe.classes)
    if manifest.classes != classes:
        raise EngineError(
            f"engine {manifest.name!r} knows the classes {', '.join(manifest.classes)}; recipe "
            f"{recipe.name!r} names {', '.join(classes)}: names and order must be the same"
        )
    if (manifest.surface, manifest.patch) != (recipe.surface, recipe.patch):
        proven_on = describe_grid(manifest.surface, manifest.patch)
        cuts = describe_grid(recipe.surface, recipe.patch)
        raise EngineError(
            f"engine {manifest.name!r} was proven on {proven_on}; recipe {recipe.name!r} cuts {cuts}: write "
            "the engine's `surface` and `patch` into the recipe, or record the engine for this recipe by "
            "`retrain golden --keep`"
        )
    if recipe.decision.unknown == "reject" and manifest.novelty is None:
        raise EngineError(
            f"recipe {recipe.name!r}, line {recipe.line_of('decision.unknown')}: decision.unknown: is "
            f"`reject`, and engine {manifest.name!r} does not say how far a part is from what it was trained "
            "on: add its novelty by `retrain novelty --engine`, or write `unknown: report` and remove "
            "`unknown_bin`"
        )


def prove(
    engine: Engine,
    manifest: EngineManifest,
    recipe: Recipe | None = None,
    golden: Sequence[GoldenSurface] | None = None,
) -> GoldenReport:
    """Run the golden parts (all of them where ``golden`` is None), decided by ``recipe``'s rules too.

    Engine failures are reported, not raised.
    """
    golden = manifest.golden if golden is None else golden
    rules = None if recipe is None else Rules.of(recipe)
    failures: list[str] = []
    times: list[float] = []
    largest = 0.0
    for part in golden:
        try:
            patches = read_golden(manifest, part)
            started = time.perf_counter()
            scores = engine.scores(patches)
            times.append((time.perf_counter() - started) * 1000)
            difference, problem = deviation(scores, part, manifest, engine.info, rules)
        except EngineError as error:
            difference, problem = 1.0, str(error)
        largest = max(largest, difference)
        if problem:
            failures.append(f"{part.name}: {problem}")
    return GoldenReport(
        backend=engine.info.backend,
        precision=engine.info.precision,
        parts=len(golden),
        right=len(golden) - len(failures),
        largest_difference=largest,
        tolerance=_tolerance(manifest, engine.info.precision),
        failures=tuple(failures),
        median_ms=float(np.median(times)) if times else 0.0,
    )


def require_proof(
    engine: Engine,
    manifest: EngineManifest,
    recipe: Recipe | None = None,
    golden: Sequence[GoldenSurface] | None = None,
) -> GoldenReport:
    """The report of an engine that passed. Raises :class:`EngineError` when it did not."""
    report = prove(engine, manifest, recipe, golden)
    if not report.passed:
        raise EngineError(
            f"{report.backend} {report.precision} does not reproduce the golden parts of {manifest.name}: "
            f"{report.summary}; choose another back end or precision (`station engines backends --prove` "
            "shows all)"
        )
    return report


def golden_patches(manifest: EngineManifest, index: int = 0) -> NDArray[np.uint8]:
    """The patches of one golden part, uint8 ``(N, patch, patch, channels)``."""
    return read_golden(manifest, manifest.golden[index])


def deviation(
    scores: Scores,
    part: GoldenSurface,
    manifest: EngineManifest,
    info: EngineInfo,
    recipe_rules: Rules | None,
) -> tuple[float, str]:
    """How far the scores of a golden part are from the recorded ones, and what is wrong, or nothing."""
    difference, problem = _compare(scores, part, manifest, info.precision)
    problem = problem or _misjudged(scores, part, manifest, recipe_rules)
    problem = problem or _other_features(scores, part, manifest, info)
    return difference, problem or novelty_deviation(scores, part, manifest, info)


def _tolerance(manifest: EngineManifest, precision: str) -> float:
    return manifest.int8_tolerance if precision == "int8" else manifest.tolerance


def _compare(
    scores: Scores, part: GoldenSurface, manifest: EngineManifest, precision: str
) -> tuple[float, str]:
    """Largest difference from the recorded scores, and what is wrong (empty when nothing is)."""
    tolerance = _tolerance(manifest, precision)
    found, fp32 = scores.probabilities, part.scores["fp32"]
    recorded = part.scores.get("int8", fp32) if precision == "int8" else fp32
    if found.shape != recorded.shape:
        return 1.0, f"scores have shape {found.shape}, recorded were {recorded.shape}"
    difference = float(np.abs(found - recorded).max())
    if not difference <= tolerance:
        return difference, f"a probability is off by {difference:.4f}, more than {tolerance}"
    other = np.flatnonzero(found.argmax(axis=1) != fp32.argmax(axis=1))
    if precision != "int8" and other.size:
        return difference, f"patch {other[0]} has another most probable class"
    return difference, ""


def _misjudged(
    scores: Scores, part: GoldenSurface, manifest: EngineManifest, recipe_rules: Rules | None
) -> str:
    """What is wrong with the verdict on a golden part; empty when nothing is."""
    named = manifest.own_rules.name_of

    def taken_for(rules: Rules) -> int:
        return decide_by(scores.probabilities, rules, scores.novelty).class_index

    for rules in filter(None, (manifest.own_rules, recipe_rules)):
        fp32 = decide_by(part.scores["fp32"], rules, part.novelty.get("fp32")).class_index
        if taken_for(rules) != fp32:
            return f"taken for {named(taken_for(rules))}, fp32 takes it for {named(fp32)}"
    found = taken_for(manifest.own_rules)
    if named(found) != part.truth:
        return f"taken for {named(found)}, it is {part.truth}"
    if recipe_rules is not None and found and taken_for(recipe_rules) == 0:
        return (
            f"accepted by the recipe although it is {part.truth}; lower `release_below` of {part.truth}, or "
            "choose golden parts with this recipe (`retrain golden`)"
        )
    return ""


def _other_features(scores: Scores, part: GoldenSurface, manifest: EngineManifest, info: EngineInfo) -> str:
    """How a patch's features differ from the recorded ones; empty when they do not, or there are none."""
    if not manifest.features:
        return ""
    if scores.features is None:
        return "the engine gives no features, though engine.yaml says so"
    variant = _variant(manifest, info)
    if variant is None:
        return f"the engine computes {info.digest[:12]}..., which is no file of engine.yaml"
    patch, recorded = part.features[variant]
    distance = float(np.linalg.norm(scores.features[patch] - recorded))
    share = distance / max(float(np.linalg.norm(recorded)), 1e-6)
    if not share <= manifest.features_tolerance:
        limit = f"more than {manifest.features_tolerance:.1%}"
        return f"the features of patch {patch} are off by {share:.1%} of their length, {limit}"
    return ""


def novelty_deviation(scores: Scores, part: GoldenSurface, manifest: EngineManifest, info: EngineInfo) -> str:
    """How a patch's novelty differs from the recorded one; empty when it does not, or there is none."""
    if manifest.novelty is None:
        return ""
    if scores.novelty is None:
        return "the engine gives no novelty, though engine.yaml says so"
    variant = _variant(manifest, info)
    if variant is None:
        return f"the engine computes {info.digest[:12]}..., which is no file of engine.yaml"
    recorded = part.novelty[variant]
    if scores.novelty.shape != recorded.shape:
        return f"novelty has shape {scores.novelty.shape}, recorded was {recorded.shape}"
    off = np.abs(scores.novelty - recorded) / np.maximum(recorded, 1.0)
    patch = int(np.argmax(off))
    if not off[patch] <= manifest.novelty_tolerance:
        return (
            f"the novelty of patch {patch} is {scores.novelty[patch]:.3f}, recorded was "
            f"{recorded[patch]:.3f}: off by more than {manifest.novelty_tolerance:.1%}"
        )
    return ""


def _variant(manifest: EngineManifest, info: EngineInfo) -> Variant | None:
    """The ONNX file of engine.yaml that an engine computes."""
    return next((name for name, digest in manifest.digests.items() if digest == info.digest), None)


def describe_grid(surface: SurfaceSize, patch: PatchGrid) -> str:
    """The patches of a surface in words."""
    rows, columns = patch.counts(surface.height, surface.width)
    overlap = f" with {patch.overlap_px} px overlap" if patch.overlap_px else ""
    return (
        f"{rows * columns} patches of {patch.size} px{overlap} on surfaces of {surface.height} x "
        f"{surface.width} px, {surface.channels} channel(s)"
    )
