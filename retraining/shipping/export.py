"""From trained weights to an engine folder that a station can prove and run.

The graph takes ``patches`` uint8 ``(N, patch, patch, C)`` and gives ``probabilities`` float32
``(N, classes)``: scaling and softmax are inside, so that no back end can normalise differently. A network
with a fully connected head also gives ``features`` float32 ``(N, F)``, what its head is given.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from deploy.features import name_features
from deploy.golden import DoubtfulPartError
from deploy.scoring import onnx_scorer
from retraining.classifiers.loop import probabilities
from retraining.errors import ExportError
from retraining.surfaces import Surfaces
from retraining.surfaces.crops import RandomCrops
from retraining.surfaces.rendered import GOLDEN_SEEDS, frames_of
from simulation.rendering.parts import render_part
from station.patching import cut_part, cut_surface
from station.recipe import Recipe

OPSET = 17
PARITY = 1e-4
"""Largest difference of a probability between torch and ONNX Runtime."""
GOLDEN_PARTS = 12


class Deployable(nn.Module):
    """A classifier between uint8 patches and probabilities, as it is exported."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, patches: Tensor) -> Tensor:
        """uint8 ``(N, patch, patch, C)`` -> probabilities ``(N, classes)`` float32."""
        scaled = patches.permute(0, 3, 1, 2).to(torch.float32) / 255.0
        return torch.softmax(self.network(scaled), dim=1)


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """The same network in evaluation mode with batch normalisation folded into the convolution before it.

    That is done in ``network.features``, where it is a sequence of layers; in others the exporter does it.
    """
    network.eval()
    features = getattr(network, "features", None)
    if not isinstance(features, nn.Sequential):
        return network
    layers: list[nn.Module] = []
    for layer in features:
        if isinstance(layer, nn.BatchNorm2d) and layers and isinstance(layers[-1], nn.Conv2d):
            layers[-1] = fuse_conv_bn_eval(layers[-1], layer)
        else:
            layers.append(layer)
    network.features = nn.Sequential(*layers)
    return network


def export_onnx(network: nn.Module, path: Path, patch_px: int, channels: int) -> float:
    """Write ``network`` as ONNX and return its largest deviation from torch; raises :class:`ExportError`."""
    import onnx

    path.parent.mkdir(parents=True, exist_ok=True)
    sample = _sample(patch_px, channels)
    expected = probabilities(network, sample)
    model = as_onnx(fold_batch_norm(network), sample[:2])
    name_features(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    deviation = parity(path, sample, expected)
    if deviation > PARITY:
        raise ExportError(f"{path} differs from torch by {deviation:.2e}, more than {PARITY:.0e}")
    return deviation


def as_onnx(folded: nn.Module, patches: NDArray[np.uint8]) -> Any:
    """An ONNX model of a network in evaluation mode, traced with ``patches``, uint8 ``(N, H, W, C)``."""
    import onnx

    with TemporaryDirectory() as folder, warnings.catch_warnings():
        written = Path(folder) / "model.onnx"
        # The tracing exporter is deprecated, but takes a second where its successor takes twenty, needs no
        # further package, and a network without control flow loses nothing by it.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            Deployable(folded).eval(),
            (torch.from_numpy(patches),),
            str(written),
            dynamo=False,
            opset_version=OPSET,
            input_names=["patches"],
            output_names=["probabilities"],
            dynamic_axes={"patches": {0: "N"}, "probabilities": {0: "N"}},
        )
        model = onnx.load(str(written))
    for node in model.graph.node:  # what the exporter notes there names this machine's files
        node.ClearField("doc_string")
    return model


def _sample(patch_px: int, channels: int) -> NDArray[np.uint8]:
    """Eight patches of faint texture of several brightnesses, half of them with a spot, on which to compare.

    Plain noise would drive every network into certainty, where nothing can differ.
    """
    rng = np.random.default_rng(0)
    patches = rng.normal(0.0, 5.0, (8, patch_px, patch_px, channels))
    patches += np.linspace(60.0, 190.0, 8)[:, None, None, None]
    middle = patch_px // 2
    for number in range(0, 8, 2):
        patches[number, middle : middle + 4 + 2 * number, middle : middle + 9] -= 8.0 * (1 + number)
    return np.clip(patches, 0, 255).astype(np.uint8)


def parity(path: Path, patches: NDArray[np.uint8], expected: NDArray[np.float32]) -> float:
    """Largest difference of a probability between the file under ONNX Runtime and ``expected``."""
    worst = 0.0
    score = onnx_scorer(path)
    for count in (1, len(patches)):
        worst = max(worst, float(np.abs(score(patches[:count]) - expected[:count]).max()))
    return worst


def golden_parts(
    recipe: Recipe,
    record: Callable[[str, NDArray[np.uint8]], object],
    count: int = GOLDEN_PARTS,
    tries: int = 40,
) -> list[tuple[str, NDArray[np.uint8]]]:
    """Class names with surfaces of ``count`` rendered parts, every class in turn, of any level.

    Surfaces are ``(H, W)``, or ``(H, W, 3)`` BGR for a recipe of three channels.
    ``record`` is that of :class:`deploy.golden.GoldenRule`, which refuses a part by raising
    :class:`DoubtfulPartError`; the part after a refused one has another seed, so that the other parts
    stay what they are. Raises :class:`ExportError`.
    """
    chosen: list[tuple[str, NDArray[np.uint8]]] = []
    for number in range(count):
        label = number % len(recipe.classes)
        name = recipe.classes[label].name
        doubts: list[str] = []
        for attempt in range(tries):
            seed = GOLDEN_SEEDS + 1 + number + attempt * count
            part = render_part(seed, kind=name if label else None)
            surface = cut_part(frames_of(part, recipe), recipe).surface.pixels
            try:
                record(name, cut_surface(surface, recipe.patch))
            except DoubtfulPartError as doubt:
                doubts.append(str(doubt))
                continue
            chosen.append((name, surface[:, :, 0] if surface.shape[2] == 1 else surface))
            break
        else:
            raise ExportError(
                f"none of {tries} rendered parts with {name} can be a golden part (the last: {doubts[-1]}); "
                "train further"
            )
    return chosen


def calibration_patches(surfaces: Surfaces, recipe: Recipe, count: int = 240) -> NDArray[np.uint8]:
    """Training patches ``(count, patch, patch, C)`` of every class, for the ranges of INT8."""
    source = RandomCrops(surfaces, recipe.patch)
    return source.cut(source.draw(np.random.default_rng(0), count)).pixels
