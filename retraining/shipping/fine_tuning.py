"""Fine-tuning of an engine that ships already: on fresh parts, and above all on the mistakes it makes there.

An engine folder holds its network folded and without an optimiser. :func:`weights_of_engine` turns it into a
network that can be trained again. :func:`fine_tune` looks for the mistakes with the engine itself, which is
many times as fast as torch, and continues the training.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils import vector_to_parameters

from deploy.rewrites import rewritten
from models.classifiers import CLASSIFIERS
from retraining.classifiers.augmentation import as_batch
from retraining.classifiers.hard_patches import hard_windows
from retraining.classifiers.loop import (
    Reporter,
    TrainingError,
    TrainingPlan,
    build_network,
    save_weights,
    train,
)
from retraining.shipping.export import as_onnx, fold_batch_norm
from retraining.surfaces import Surfaces, join_surfaces
from retraining.surfaces.crops import RandomCrops, Source
from station.engines import open_engine
from station.engines.folder import EngineManifest, load_manifest
from station.recipe import Recipe

FINE_TUNING = TrainingPlan(steps=640, batch=16, learning_rate=2.5e-4, replay_share=0.25)
"""A quarter of the learning rate of the first training, a quarter of each batch mistakes."""
_SCORE_WITHIN_S = 60.0
_SAMPLED = 64
"""Patches that a normalisation's statistics are taken from."""
_NUMBERED = 1 << 24
"""So many weights have numbers of their own in fp32."""


def weights_of_engine(model: Path, network: nn.Module, patches: NDArray[np.uint8]) -> None:
    """Give ``network`` the weights of an engine's fp32 ONNX; both then give the same probabilities.

    Its batch normalisation was folded into the convolution before it; here it gets the mean and deviation
    that the folded convolution has on ``patches``, uint8 ``(N, patch, patch, C)``, and undoes them, so that
    it is a normalisation again which training may move. Raises :class:`TrainingError` where the
    architectures differ.
    """
    folded = fold_batch_norm(copy.deepcopy(network))
    _read_weights(model, folded, patches[:1])
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    sources = [layer for layer in folded.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    for layer, source in zip(layers, sources, strict=True):
        layer.load_state_dict(source.state_dict())
    features = getattr(network, "features", None)
    if isinstance(features, nn.Sequential):
        _unfold(features, patches)
    network.eval()


def begin_from_engine(engine: Path, plan: TrainingPlan, source: Source, folder: Path) -> Path:
    """Weights with which a training of ``plan`` goes on from an engine's network, as ``folder/start.pt``.

    ``source`` may have other classes than the engine: what the engine knows of a class is kept by its name,
    and a class that it was never taught begins as in a fresh network. Raises :class:`TrainingError` where
    the engine's network is another one, and :class:`station.engines.interface.EngineError`.
    """
    manifest = load_manifest(engine)
    have = (manifest.network, manifest.surface.channels, (manifest.patch.size, manifest.patch.size))
    want = (plan.network, source.channels, source.size)
    if have != want:
        raise TrainingError(
            f"{engine} is a {have[0]} for {have[1]} channel(s) and patches of {have[2]} px; this training "
            f"begins as a {want[0]} for {want[1]} and {want[2]} px: start from the best.pt of a run like it"
        )
    known = CLASSIFIERS[plan.network](len(manifest.classes), source.channels, source.size, plan.dropout)
    patches = source.cut(source.draw(np.random.default_rng(plan.seed), _SAMPLED)).pixels
    weights_of_engine(manifest.files["fp32"], known, patches)
    network = build_network(plan, source)
    own = network.state_dict()
    head = [name for name, one in known.named_modules() if isinstance(one, nn.Conv2d | nn.Linear)][-1]
    both = [name for name in source.classes if name in manifest.classes]
    for name, value in known.state_dict().items():
        if not name.startswith(f"{head}."):
            own[name] = value
        else:
            for one in both:
                own[name][source.classes.index(one)] = value[manifest.classes.index(one)]
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(own, folder / "start.pt")
    return folder / "start.pt"


def _read_weights(model: Path, folded: nn.Module, patches: NDArray[np.uint8]) -> None:
    """Give a folded network the weights of the ONNX ``model``, wherever rewrites have put them.

    The network itself is exported and rewritten (:mod:`deploy.rewrites`) with a number in the place of each
    weight; what then stands where in the file tells which weight of the engine belongs where.
    """
    import onnx

    count = sum(parameter.numel() for parameter in folded.parameters())
    if count > _NUMBERED:
        raise TrainingError(f"{model}: only networks of up to {_NUMBERED:,} weights are read, not {count:,}")
    numbered = copy.deepcopy(folded)
    vector_to_parameters(torch.arange(count, dtype=torch.float32), numbered.parameters())
    held = _constants(rewritten(onnx.load(str(model))))
    places = _constants(rewritten(as_onnx(numbered, patches)))
    shapes, wanted = ([list(array.shape) for array in arrays] for arrays in (held, places))
    if shapes != wanted:
        both = zip_longest(shapes, wanted)
        number, (found, expected) = next((n, pair) for n, pair in enumerate(both, 1) if pair[0] != pair[1])
        raise TrainingError(
            f"{model} holds another network than {type(folded).__name__}: constant {number} "
            f"has the shape {found}, not {expected}"
        )
    weights = torch.full((count,), torch.nan)
    for value, numbers in zip(held, places, strict=True):
        weights[torch.from_numpy(numbers.astype(np.int64).ravel())] = torch.from_numpy(value.ravel().copy())
    if weights.isnan().any():
        raise TrainingError(f"{model} does not hold every weight of {type(folded).__name__}")
    vector_to_parameters(weights, folded.parameters())


def _constants(model: Any) -> list[NDArray[np.float32]]:
    """The stored constants of an ONNX model in the order in which its probabilities depend on them."""
    from onnx.numpy_helper import to_array

    makers = {name: node for node in model.graph.node for name in node.output}
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    found: dict[str, NDArray[np.float32]] = {}
    seen: set[str] = set()

    def look(name: str) -> None:
        if name in seen:
            return
        seen.add(name)
        if name in stored:
            found[name] = to_array(stored[name])
        elif name in makers:
            for given in makers[name].input:
                look(given)

    look("probabilities")
    return list(found.values())


def fine_tune(
    engine: Path,
    recipe: Recipe,
    known: Surfaces,
    fresh: Surfaces,
    folder: Path,
    *,
    plan: TrainingPlan = FINE_TUNING,
    resume: bool = True,
    report: Reporter = lambda step, line: None,
    mined: Callable[[int], None] = lambda done: None,
) -> Path:
    """Train the engine's network on ``fresh`` and ``known`` parts, its mistakes on the fresh ones repeated.

    Returns the weights ``folder/best.pt``. The same call continues an interrupted run. Raises
    :class:`TrainingError` and :class:`station.engines.interface.EngineError`.
    """
    manifest = load_manifest(engine)
    plan = replace(plan, network=manifest.network)
    source = RandomCrops(join_surfaces(fresh, known), recipe.patch)
    network = network_of_engine(manifest, source, plan)
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(network.state_dict(), folder / "start.pt")
    hard = mistakes_of(engine, recipe, fresh, mined)
    return train(
        plan, source, folder, start_from=folder / "start.pt", replay_first=hard, resume=resume, report=report
    )


def network_of_engine(manifest: EngineManifest, source: RandomCrops, plan: TrainingPlan) -> nn.Module:
    """The engine's network with its weights, for patches of ``source``; see :func:`weights_of_engine`."""
    network = build_network(replace(plan, network=manifest.network), source)
    sampled = source.cut(source.draw(np.random.default_rng(plan.seed), _SAMPLED)).pixels
    weights_of_engine(manifest.files["fp32"], network, sampled)
    return network


def mistakes_of(
    engine: Path, recipe: Recipe, fresh: Surfaces, mined: Callable[[int], None] = lambda done: None
) -> NDArray[np.int64]:
    """The windows ``(n, 4)`` of ``fresh`` parts that an engine mistakes, found by the engine itself."""
    loaded = open_engine(engine, precision="fp32")
    try:
        return hard_windows(
            fresh, recipe, lambda patches: loaded.probabilities(patches, timeout_s=_SCORE_WITHIN_S), mined
        )
    finally:
        loaded.close()


def _unfold(features: nn.Sequential, patches: NDArray[np.uint8]) -> None:
    """Make every normalisation behind a convolution the identity on the convolution's present output."""
    x = as_batch(patches)
    with torch.no_grad():
        for layer in features:
            if isinstance(layer, nn.BatchNorm2d):
                mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
                layer.running_mean, layer.running_var = mean.clone(), variance.clone()
                layer.weight.copy_((variance + layer.eps).sqrt())
                layer.bias.copy_(mean)
            else:
                x = layer(x)
