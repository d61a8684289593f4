"""Weights and checkpoints of classifiers on the disk, and weights from one network to another."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.classifiers.backbones import Backbone
from retraining.classifiers.plan import TrainingPlan, same_settings
from retraining.classifiers.pretrained import IMAGENET, imagenet_weights
from retraining.errors import TrainingError
from retraining.runs.folder import save_state


def save_weights(weights: dict[str, Tensor], path: Path) -> None:
    """Write a state dict, replacing an older file at once or not at all."""
    save_state(weights, path)


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict, ``.safetensors`` or of torch, without running any of it.

    Raises :class:`TrainingError`.
    """
    if not path.is_file():
        raise TrainingError(f"there are no weights at {path}; train first or name another run's best.pt")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    weights = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(weights, dict) or not all(isinstance(v, Tensor) for v in weights.values()):
        raise TrainingError(
            f"{path} does not hold a plain state dict; name a best.pt or a file of published weights"
        )
    return weights


def begin_with(network: nn.Module, path: Path) -> None:
    """Start a network from a ``best.pt`` of another run, or a backbone from a published weights file
    or, for ``imagenet``, from the weights of an installed package (:mod:`.pretrained`).

    Raises :class:`TrainingError`.
    """
    if str(path) == IMAGENET:
        if not isinstance(network, Backbone):
            raise TrainingError(
                "only tf_efficientnet_lite0, 1 and 2 can start from ImageNet weights; choose one by --network"
            )
        network.adopt(imagenet_weights(network.name))
        return
    weights = load_weights(path)
    if isinstance(network, Backbone) and not any(name.startswith("network.") for name in weights):
        try:
            network.adopt(weights)
        except ValueError as error:
            raise TrainingError(f"{path}: {error}") from None
        return
    carry_weights(weights, network)


def carry_weights(weights: dict[str, Tensor], network: nn.Module) -> None:
    """Load weights into a network for larger patches.

    The convolutions fit any patch. The first fully connected layer, ``(256, C)`` after 128-px patches, is
    repeated over the larger grid and divided by its side: a defect in one cell still speaks, the sound
    cells together do not shout it down.
    """
    own = network.state_dict()
    strangers = sorted(set(weights) ^ set(own))
    if strangers:
        raise TrainingError(f"the weights are of another network: only one of the two has {strangers[0]}")
    for name, value in weights.items():
        target = own[name]
        if value.shape != target.shape:
            cells = target.shape[1] // value.shape[1] if value.dim() == 2 else 0
            if (
                value.dim() != 2
                or target.shape[0] != value.shape[0]
                or cells * value.shape[1] != target.shape[1]
            ):
                raise TrainingError(
                    f"{name} is {tuple(value.shape)} in the weights, {tuple(target.shape)} in the network; "
                    "only the patch size may differ, from 128 px on"
                )
            value = value.repeat_interleave(cells, dim=1) / math.sqrt(cells)
        own[name] = value
    network.load_state_dict(own)


def load_checkpoint(path: Path, plan: TrainingPlan) -> dict[str, Any]:
    """Read a checkpoint of ``plan``; raises :class:`TrainingError` when it belongs to another plan."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state["plan"], dict) or not same_settings(plan, state["plan"]):
        raise TrainingError(
            f"{path} was written with another plan; start again by --no-resume, or use a new folder"
        )
    return state
