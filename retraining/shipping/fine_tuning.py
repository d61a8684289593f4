"""Fine-tuning of an engine that ships already: on fresh parts, and above all on the mistakes it makes there.

An engine folder holds its network folded and without an optimiser. :func:`weights_of_engine` turns it into a
network that can be trained again. :func:`fine_tune` looks for the mistakes with the engine itself, which is
many times as fast as torch, and continues the training.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

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
from retraining.shipping.export import fold_batch_norm
from retraining.surfaces import Surfaces, join_surfaces
from retraining.surfaces.crops import RandomCrops
from station.engines import open_engine
from station.engines.folder import load_manifest
from station.recipe import Recipe

FINE_TUNING = TrainingPlan(steps=640, batch=16, learning_rate=2.5e-4, replay_share=0.25)
"""A quarter of the learning rate of the first training, a quarter of each batch mistakes."""
_SCORE_WITHIN_S = 60.0
_SAMPLED = 64
"""Patches that a normalisation's statistics are taken from."""


def weights_of_engine(model: Path, network: nn.Module, patches: NDArray[np.uint8]) -> None:
    """Give ``network`` the weights of an engine's fp32 ONNX; both then give the same probabilities.

    Its batch normalisation was folded into the convolution before it; here it gets the mean and deviation
    that the folded convolution has on ``patches``, uint8 ``(N, patch, patch, C)``, and undoes them, so that
    it is a normalisation again which training may move. Raises :class:`TrainingError` where the
    architectures differ.
    """
    import onnx
    from onnx import numpy_helper

    held = {
        tensor.name.removeprefix("network."): torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in onnx.load(str(model)).graph.initializer
        if tensor.name.startswith("network.")
    }
    folded = fold_batch_norm(copy.deepcopy(network))
    try:
        folded.load_state_dict(held)
    except RuntimeError as error:
        raise TrainingError(f"{model} holds another network than {type(network).__name__}: {error}") from None
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    sources = [layer for layer in folded.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    for layer, source in zip(layers, sources, strict=True):
        layer.load_state_dict(source.state_dict())
    features = getattr(network, "features", None)
    if isinstance(features, nn.Sequential):
        _unfold(features, patches)
    network.eval()


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
    network = build_network(plan, source)
    sampled = source.cut(source.draw(np.random.default_rng(plan.seed), _SAMPLED)).pixels
    weights_of_engine(manifest.files["fp32"], network, sampled)
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(network.state_dict(), folder / "start.pt")
    loaded = open_engine(engine, precision="fp32")
    try:
        hard = hard_windows(
            fresh, recipe, lambda patches: loaded.probabilities(patches, timeout_s=_SCORE_WITHIN_S), mined
        )
    finally:
        loaded.close()
    return train(
        plan, source, folder, start_from=folder / "start.pt", replay_first=hard, resume=resume, report=report
    )


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
