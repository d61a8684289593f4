"""Extractors: pictures in, features out. A distance between pictures means nothing without the one it used.

An extractor is named by kind and file: ``squeezenet:PATH.onnx``, ``classifier:PATH.onnx``,
``classifier:NETWORK@SIDE:PATH.pt`` or ``inception:PATH.pth``. :attr:`Extractor.name` has the digest of the
weights and stands in every figure. Features are kept by the pictures' digests, so a set that is compared
many times (the real one) goes through the network once. No file is ever fetched.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType

from retraining.errors import MetricsError
from retraining.metrics.features import (
    Extractor,
    digest_of,
)


def _squeezenet(named: str) -> Extractor:
    from retraining.metrics.graphs import open_squeezenet
    from retraining.metrics.lpips import HEADS_FILE, Lpips

    path = Path(named)
    name = f"squeezenet fire9/2.5 {digest_of(path)}"
    heads = path.parent / HEADS_FILE
    return Extractor(name, open_squeezenet(path), Lpips(path, heads) if heads.is_file() else None)


def _classifier(named: str) -> Extractor:
    from retraining.metrics.graphs import open_exported
    from retraining.metrics.trained import open_weights

    if named.endswith(".onnx"):
        name = f"engine {digest_of(Path(named))}"
        return Extractor(name, open_exported(Path(named)))
    match = re.fullmatch(r"([^@:]+)@(\d+):(.+)", named)
    if match is None:
        raise MetricsError(f"name the network and the side of its pictures: classifier:NETWORK@SIDE:{named}")
    network, side, path = match[1], int(match[2]), Path(match[3])
    name = f"{network} {side} px {digest_of(path)}"
    return Extractor(name, open_weights(path, network, side))


def _inception(named: str) -> Extractor:
    from retraining.metrics.inception import open_inception

    digest = digest_of(Path(named))
    layout, network = open_inception(Path(named))
    return Extractor(f"{layout} {digest}", network)


EXTRACTORS = MappingProxyType({"squeezenet": _squeezenet, "classifier": _classifier, "inception": _inception})
"""By the word before the colon."""


def open_extractor(spec: str) -> Extractor:
    """An extractor by ``KIND:PATH``; raises :class:`MetricsError`.

    - ``squeezenet:SqueezeNet_fp16.onnx``: ImageNet features, 512, fit for any picture; with the LPIPS heads
      ``lpips_lin_v0.1_squeeze.pth`` in the same folder, diversity as well;
    - ``classifier:engine.onnx``: an exported engine: sees what matters to the station; its probabilities give
      the Inception Score;
    - ``classifier:resnet18@64:best.pt``: the same of weights that were trained at 64 px;
    - ``inception:FILE``: Inception-V3 in torchvision's layout or that of the FID papers, 2048 features.
    """
    kind, _, named = spec.partition(":")
    if kind not in EXTRACTORS or not named:
        raise MetricsError(
            f"{spec!r} is not an extractor; write KIND:PATH, where KIND is one of {', '.join(EXTRACTORS)}"
        )
    return EXTRACTORS[kind](named)
