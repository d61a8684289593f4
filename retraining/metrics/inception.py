"""Inception-V3 as an extractor, for figures beside published ones. Needs weights that are not shipped.

Not run by us with real weights, for none are at hand: the layouts are tested with random ones only. Two
layouts are distinguished by their last layer: torchvision's (1,000 classes), and the one of 2015 that
published FIDs use (1,008 classes, as in ``pt_inception-2015-12-05``), whose pooling differs in three kinds of
block (Seitzer, pytorch-fid). Published FIDs also depend on how pictures were enlarged to 299 px; ours are by
linear interpolation in uint8. So even with those weights compare to published figures with caution.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.torchvision_schemas import define_missing_operators
from retraining.errors import MetricsError
from retraining.metrics.features import Network, Pixels

SIDE = 299
FID_CLASSES = 1008
IMAGENET_CLASSES = 1000


def open_inception(path: Path) -> tuple[str, Network]:
    """The layout's name and the network up to its 2,048 pooled features; raises :class:`MetricsError`."""
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        classes = int(state["fc.weight"].shape[0])
    except Exception as error:  # pickle's and torch's own; whatever it is, the file is no use
        raise MetricsError(f"{path} is not a state dict of Inception-V3 ({error})") from error
    if classes not in (IMAGENET_CLASSES, FID_CLASSES):
        raise MetricsError(f"{path} has {classes} classes; Inception-V3 has 1000 (torchvision) or 1008 (FID)")
    network = build(classes)
    own = {key: value for key, value in state.items() if not key.startswith("AuxLogits.")}
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        raise MetricsError(f"{path} does not fit Inception-V3 ({error})") from error
    network.fc = nn.Identity()
    network.eval().requires_grad_(False)

    def run(pixels: Pixels) -> tuple[NDArray[np.float32], None]:
        rgb = torch.from_numpy(np.ascontiguousarray(pixels[..., ::-1].transpose(0, 3, 1, 2)))
        with torch.inference_mode():
            features: Tensor = network(rgb.to(torch.float32) / 127.5 - 1.0)
        return features.numpy(), None

    return "inception-fid" if classes == FID_CLASSES else "inception-torchvision", Network(run, SIDE, 3)


def build(classes: int) -> Any:
    """Inception-V3 with fresh weights, without its second head; of 1008 classes with the pooling of 2015."""
    define_missing_operators()
    from torchvision.models import Inception3

    network = Inception3(num_classes=classes, aux_logits=False, transform_input=False, init_weights=False)
    if classes == FID_CLASSES:
        for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
            _repool(getattr(network, name), _inception_a)
        for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
            _repool(getattr(network, name), _inception_c)
        _repool(network.Mixed_7b, _inception_e_average)
        _repool(network.Mixed_7c, _inception_e_maximum)
    return network


def _repool(block: Any, forward: Any) -> None:
    block._forward = lambda x: forward(block, x)


def _inception_a(block: Any, x: Tensor) -> list[Tensor]:
    double = block.branch3x3dbl_3(block.branch3x3dbl_2(block.branch3x3dbl_1(x)))
    wide = block.branch5x5_2(block.branch5x5_1(x))
    return [block.branch1x1(x), wide, double, block.branch_pool(_average(x))]


def _inception_c(block: Any, x: Tensor) -> list[Tensor]:
    single = block.branch7x7_3(block.branch7x7_2(block.branch7x7_1(x)))
    double = block.branch7x7dbl_3(block.branch7x7dbl_2(block.branch7x7dbl_1(x)))
    double = block.branch7x7dbl_5(block.branch7x7dbl_4(double))
    return [block.branch1x1(x), single, double, block.branch_pool(_average(x))]


def _inception_e_average(block: Any, x: Tensor) -> list[Tensor]:
    return [*_inception_e(block, x), block.branch_pool(_average(x))]


def _inception_e_maximum(block: Any, x: Tensor) -> list[Tensor]:
    return [*_inception_e(block, x), block.branch_pool(functional.max_pool2d(x, 3, stride=1, padding=1))]


def _inception_e(block: Any, x: Tensor) -> list[Tensor]:
    single = block.branch3x3_1(x)
    single = torch.cat([block.branch3x3_2a(single), block.branch3x3_2b(single)], 1)
    double = block.branch3x3dbl_2(block.branch3x3dbl_1(x))
    double = torch.cat([block.branch3x3dbl_3a(double), block.branch3x3dbl_3b(double)], 1)
    return [block.branch1x1(x), single, double]


def _average(x: Tensor) -> Tensor:
    """Average of 3 x 3 that leaves the border out, as the network of 2015 did."""
    return functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
