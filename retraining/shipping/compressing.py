"""A smaller engine for small devices: filters pruned by structure, then taught by the network they come from.

:func:`prune` keeps the filters with the largest weights. The network that is left learns from labels and from
what the whole network says of the same patches (:func:`retraining.classifiers.losses.distillation`).
:func:`compared` tries both engines on the same unseen parts; a compact engine that loses too much is not
written.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.classifiers.inception_cnn import InceptionCNN, InceptionModule
from retraining.classifiers.loop import Reporter, TrainingPlan, build_network, save_weights, train
from retraining.errors import TrainingError
from retraining.evaluation.parts import PartResult, evaluate, figures
from retraining.shipping.fine_tuning import mistakes_of, network_of_engine
from retraining.surfaces import Surfaces, join_surfaces
from retraining.surfaces.crops import RandomCrops
from simulation.rendering.parts import RenderedPart
from station.engines import open_engine
from station.engines.folder import EngineManifest, load_manifest
from station.engines.interface import Engine
from station.outcomes import Outcomes
from station.recipe import Recipe

WHOLE, COMPACT = "inception-cnn", "inception-cnn-compact"
COMPRESSING = TrainingPlan(network=COMPACT, steps=1500, batch=16, learning_rate=1e-3, replay_share=0.2)
MOST_LOST = 0.003
"""Share of parts by which the compact engine may be less accurate."""
MORE_ESCAPES = 1
LEAST_FASTER = 2.0
_SCORE_WITHIN_S = 60.0


def prune(large: InceptionCNN, small: InceptionCNN) -> None:
    """Give ``small`` those filters of ``large`` whose weights have the largest sum of magnitudes.

    Each layer then reads the channels that are left of the one before. Source: Li et al., "Pruning Filters
    for Efficient ConvNets", 2017, section 3.1. Raises :class:`TrainingError` where ``small`` has more.
    """
    with torch.no_grad():
        kept = torch.arange(_convolution(large.features[0]).in_channels)
        for source, target in zip(large.features, small.features, strict=True):
            if isinstance(source, nn.Conv2d):
                kept = _prune_convolution(source, _convolution(target), kept)
            elif isinstance(source, InceptionModule) and isinstance(target, InceptionModule):
                kept = _prune_module(source, target, kept)
            elif isinstance(source, nn.BatchNorm2d):
                _keep_statistics(source, target, kept)
        first, *others = (layer for layer in large.classifier if isinstance(layer, nn.Linear))
        to_first, *to_others = (layer for layer in small.classifier if isinstance(layer, nn.Linear))
        channels = large.filters.conv4
        weights = first.weight.reshape(first.out_features, channels, -1)[:, kept]
        to_first.weight.copy_(weights.flatten(1))
        for source, target in zip([first, *others], [to_first, *to_others], strict=True):
            if source is not first:
                target.weight.copy_(source.weight)
            target.bias.copy_(source.bias)


def _convolution(layer: nn.Module) -> nn.Conv2d:
    if not isinstance(layer, nn.Conv2d):
        raise TrainingError(f"a convolution is expected where the network has a {type(layer).__name__}")
    return layer


def _prune_convolution(source: nn.Conv2d, target: nn.Conv2d, inputs: Tensor) -> Tensor:
    """Fill ``target`` from ``source``, of which ``inputs`` are left; the numbers of the filters it keeps."""
    if target.out_channels > source.out_channels:
        raise TrainingError(
            f"{target.out_channels} filters cannot be pruned from {source.out_channels}; choose fewer"
        )
    weights = source.weight[:, inputs]
    kept = weights.abs().sum((1, 2, 3)).topk(target.out_channels).indices.sort().values
    target.weight.copy_(weights[kept])
    if source.bias is not None and target.bias is not None:
        target.bias.copy_(source.bias[kept])
    return kept


def _prune_module(source: InceptionModule, target: InceptionModule, inputs: Tensor) -> Tensor:
    kept: list[Tensor] = []
    before = 0
    for theirs, own in (
        (source.branch1, target.branch1), (source.branch2, target.branch2),
        (source.branch3, target.branch3), (source.branch4, target.branch4),
    ):  # fmt: skip
        left, filters = inputs, 0
        for layer, to_layer in zip(theirs, own, strict=True):
            if isinstance(layer, nn.Conv2d):
                left = _prune_convolution(layer, _convolution(to_layer), left)
                filters = layer.out_channels
        kept.append(left + before)
        before += filters
    return torch.cat(kept)


def _keep_statistics(source: nn.BatchNorm2d, target: nn.Module, kept: Tensor) -> None:
    target.load_state_dict(
        {name: value[kept] if value.dim() else value for name, value in source.state_dict().items()}
    )


def compressible(engine: Path) -> EngineManifest:
    """What the engine's folder says; raises :class:`TrainingError` where it cannot be compressed."""
    manifest = load_manifest(engine)
    if manifest.network != WHOLE:
        raise TrainingError(
            f"{engine} holds the network {manifest.network}; only an engine of {WHOLE} can be compressed"
        )
    return manifest


def compress(
    engine: Path,
    recipe: Recipe,
    known: Surfaces,
    fresh: Surfaces,
    folder: Path,
    *,
    plan: TrainingPlan = COMPRESSING,
    resume: bool = True,
    report: Reporter = lambda step, line: None,
    mined: Callable[[int], None] = lambda done: None,
) -> Path:
    """Train a compact network that ``engine`` teaches, on parts and on the engine's mistakes among them.

    Returns the weights ``folder/best.pt``. The same call continues an interrupted run. Raises
    :class:`TrainingError` and :class:`station.engines.interface.EngineError`.
    """
    manifest = compressible(engine)
    source = RandomCrops(join_surfaces(fresh, known), recipe.patch)
    teacher = network_of_engine(manifest, source, plan).eval()
    small = build_network(plan, source)
    if not isinstance(teacher, InceptionCNN) or not isinstance(small, InceptionCNN):
        raise TrainingError(f"{plan.network} cannot be pruned from {WHOLE}; choose {COMPACT}")
    prune(teacher, small)
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(small.state_dict(), folder / "start.pt")

    def taught(pixels: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = teacher(pixels)
        return logits.float()

    hard = mistakes_of(engine, recipe, fresh, mined)
    return train(
        plan, source, folder, start_from=folder / "start.pt", replay_first=hard, teacher=taught,
        resume=resume, report=report,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Comparison:
    """A whole and a compact engine, both in INT8, on the same unseen parts and in turn on this machine."""

    whole: Outcomes
    compact: Outcomes
    faster: float
    """How many times as many parts per second the compact engine takes."""

    @property
    def problems(self) -> list[str]:
        """Why the compact engine may not stand for the whole one; empty where it may."""
        found = []
        lost = self.whole.accuracy - self.compact.accuracy
        if lost > MOST_LOST:
            found.append(
                f"its accuracy is {100 * lost:.2f} points lower; at most {100 * MOST_LOST:g} are allowed"
            )
        if self.compact.escapes > self.whole.escapes + MORE_ESCAPES:
            found.append(
                f"{self.compact.escapes} defective parts escape, of the whole engine {self.whole.escapes}; "
                f"at most {MORE_ESCAPES} more is allowed"
            )
        if self.faster < LEAST_FASTER:
            found.append(f"it is only {self.faster:.2f} times as fast; {LEAST_FASTER:g} times are asked for")
        return found

    def markdown(self) -> str:
        """A table of both."""
        rows = [
            f"| {name} | {one.parts} | {one.accuracy:.2%} | {one.escapes} of {one.defective} | "
            f"{one.overkill} of {one.good} | {faster:.2f} |"
            for name, one, faster in (("whole", self.whole, 1.0), ("compact", self.compact, self.faster))
        ]
        head = (
            "| engine, INT8 | parts | accuracy | escapes of defective | overkill of good | parts/s, times |"
        )
        return "\n".join([head, "|---|---|---|---|---|---|", *rows])


def compared(
    whole: Path,
    compact: Path,
    recipe: Recipe,
    parts: Iterable[RenderedPart],
    *,
    threads: int = 2,
    report: Callable[[int, str], None] = lambda done, line: None,
    evaluated: Callable[[list[PartResult]], None] = lambda results: None,
) -> Comparison:
    """Judge the same ``parts`` by both engines as the station would, and time both in turn."""
    engines = {
        name: open_engine(folder, precision="int8", threads=threads)
        for name, folder in (("whole", whole), ("compact", compact))
    }
    try:
        scorers = {
            name: lambda patches, engine=engine: engine.probabilities(patches, timeout_s=_SCORE_WITHIN_S)
            for name, engine in engines.items()
        }
        results = evaluate(scorers, recipe, parts, report)
        evaluated(results)
        found = figures(results)
        faster = times_as_fast(engines["whole"], engines["compact"], _any_part(recipe))
    finally:
        for engine in engines.values():
            engine.close()
    return Comparison(found["whole"], found["compact"], faster)


def times_as_fast(one: Engine, other: Engine, patches: NDArray[np.uint8], rounds: int = 30) -> float:
    """How many times as fast as ``one`` ``other`` judges a part, ``(N, patch, patch, C)`` uint8, in turn."""
    ratios = []
    for number in range(rounds + 3):
        took = []
        for engine in (one, other):
            began = time.perf_counter()
            engine.probabilities(patches, timeout_s=_SCORE_WITHIN_S)
            took.append(time.perf_counter() - began)
        if number >= 3:  # the first calls warm up
            ratios.append(took[0] / took[1])
    return statistics.median(ratios)


def _any_part(recipe: Recipe) -> NDArray[np.uint8]:
    side, surface = recipe.patch.size, recipe.surface
    count = (surface.height // side) * (surface.width // side)
    rng = np.random.default_rng(0)
    return rng.integers(60, 180, (max(count, 1), side, side, surface.channels), dtype=np.uint8)
