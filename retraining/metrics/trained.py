"""Trained classifiers as extractors: features are what the last layer with weights is given."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.classifiers import CLASSIFIERS
from retraining.errors import MetricsError
from retraining.metrics.features import Extractor, Network, Pixels


def of_network(network: nn.Module, side: int, channels: int, name: str = "classifier") -> Extractor:
    """An extractor of a classifier in memory: float 0..1 ``(N, channels, side, side)`` to logits.

    The weights are digested now; the extractor is wrong for a network that is trained on after that.
    """
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode() + np.ascontiguousarray(value.detach().cpu().numpy()).tobytes())
    return Extractor(f"{name} {digest.hexdigest()[:12]}", _behind(network, side, channels))


def open_weights(path: Path, network: str, side: int) -> Network:
    """A state dict of a registered classifier trained at ``side`` px; raises :class:`MetricsError`."""
    if network not in CLASSIFIERS:
        raise MetricsError(f"no network is called {network!r}; choose one of {', '.join(CLASSIFIERS)}")
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        channels = next(v.shape[1] for v in state.values() if v.dim() == 4)
        classes = [v for v in state.values() if v.dim() in (2, 4)][-1].shape[0]
        built = CLASSIFIERS[network](classes, channels, side, 0.0)
        built.load_state_dict(state)
    except Exception as error:  # pickle's, torch's and the network's own; whatever it is, they do not fit
        raise MetricsError(f"{path} does not hold weights of {network} at {side} px ({error})") from error
    return _behind(built, side, channels)


def _behind(network: nn.Module, side: int, channels: int) -> Network:
    device = next(network.parameters()).device
    last = _last_layer(network, torch.zeros(1, channels, side, side, device=device))

    def run(pixels: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        given: list[Tensor] = []
        hook = last.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
        was_training = network.training
        try:
            with torch.inference_mode():
                batch = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).to(device)
                logits = network.eval()(batch.to(torch.float32) / 255.0)
        finally:
            hook.remove()
            network.train(was_training)
        features = given[-1].mean(dim=(2, 3)) if given[-1].dim() == 4 else given[-1]
        probabilities = torch.softmax(logits.float(), dim=1)
        return features.float().flatten(1).cpu().numpy(), probabilities.cpu().numpy()

    return Network(run, side, channels)


def _last_layer(network: nn.Module, blank: Tensor) -> nn.Module:
    """The linear or convolutional layer that runs last."""
    called: list[nn.Module] = []

    def note(layer: nn.Module, inputs: Any) -> None:
        called.append(layer)

    layers = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    was_training = network.training
    try:
        with torch.inference_mode():
            network.eval()(blank)
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    if not called:
        raise MetricsError(f"{type(network).__name__} has no layer with weights to read features from")
    return called[-1]
