"""How far a patch is from good ones in the features of a pretrained network (:mod:`models.good_parts`)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from deploy.scoring import onnx_novelty
from models.classifiers.backbones import SMALLEST_PX
from models.good_parts import GoodFeatures, GoodParts
from retraining.classifiers.pretrained import pretrained_backbone
from retraining.errors import DatasetError, ExportError
from retraining.novelty.leaving_out import Fit, PatchDistance
from retraining.novelty.material import Patches
from retraining.shipping.export import OPSET

METHOD = "pretrained"
"""Its name beside the distances in the classifier's own features."""
METHOD_IN_ENGINE = "core-set"
"""How engine.yaml names the distance to the centres."""
BACKBONE = "tf_efficientnet_lite1"
WORKING_PX = 128
"""Larger patches are averaged to this side first: the features lose little and the time falls fourfold."""
BESIDE_PX = 256
"""The same beside a classifier, where no part waits for it: of 128 px, a quarter of the pits is not seen."""
CORE = 1000
_FITTED = 40_000
"""Places drawn from the training parts for mean, whitening and centres."""
_EPSILON = 0.01
"""Added to each variance, of features of variance 1: directions of mere rounding do not count."""
BATCH = 16
"""Patches that are computed at a time."""
Report = Callable[[int, int], None]
"""Takes how much is done, and of how much."""


def _silent(done: int, total: int) -> None:
    return


def pretrained_fit(file: Path, good: int | None, seed: int, report: Report = _silent) -> Fit:
    """What fits the distance on the patches of class ``good`` alone, or on all where there is none.

    The network is kept as the ONNX file ``file``: where it is there, it is not fitted again.
    """

    def fit(patches: Patches, labels: NDArray[np.int64]) -> PatchDistance:
        if not file.is_file():
            own = patches if good is None else patches[labels == good]
            part = file.with_name(f"{file.name}.part")
            export(fit_in_batches(own, seed, report), part, patches.shape[1], patches.shape[3])
            os.replace(part, file)
        return in_batches(onnx_novelty(file))

    return fit


def fit_in_batches(patches: Patches, seed: int, report: Report = _silent) -> GoodParts:
    """The network of good patches ``(N, patch, patch, C)``, its threshold 1.

    ``report`` hears how many batches are done. Raises :class:`DatasetError` without patches, and
    :class:`TrainingError` where the pretrained weights are not installed.
    """
    starts = range(0, len(patches), BATCH)
    groups = (patches[at : at + BATCH] for at in starts)
    return fit_patches(groups, len(starts), seed, report, working_px=BESIDE_PX)


def fit_patches(
    groups: Iterable[NDArray[np.uint8]],
    count: int,
    seed: int,
    report: Report = _silent,
    core: int = CORE,
    working_px: int = WORKING_PX,
    furthest_share: float = 0.0,
) -> GoodParts:
    """The network of good patches, its threshold still 1; ``count`` groups ``(N, patch, patch, C)``.

    ``furthest_share``: of the places of a patch, those whose mean is its distance; one at least.

    Features of variance 1 are whitened (each axis of their covariance gets variance 1), and k-means chooses
    the centres.
    """
    from sklearn.cluster import MiniBatchKMeans

    rng = np.random.default_rng(seed)
    share = max(1, -(-_FITTED // max(count, 1)))
    features: GoodFeatures | None = None
    found = []
    with torch.no_grad():
        for number, patches in enumerate(groups, start=1):
            features = features or _features_for(patches, working_px)
            maps = features(torch.tensor(patches))
            furthest = max(1, round(furthest_share * maps.shape[1]))
            own = maps.flatten(0, 1).numpy()
            found.append(own[rng.permutation(len(own))[:share]])
            report(number, count)
    if features is None:
        raise DatasetError("there are no good patches to fit on; add good parts")
    places = np.concatenate(found).astype(np.float64)
    mean, spread = places.mean(0), places.std(0) + 1e-6
    variances, axes = np.linalg.eigh(np.cov(((places - mean) / spread).T))
    whitening = (axes / np.sqrt(np.maximum(variances, 0.0) + _EPSILON)) / spread[:, None]
    points = (places - mean) @ whitening
    centres = (
        MiniBatchKMeans(min(core, len(points)), random_state=seed, batch_size=4096, n_init=1)
        .fit(points)
        .cluster_centers_
    )

    def tensor(values: NDArray[np.float64]) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32))

    return GoodParts(features, tensor(mean), tensor(whitening), tensor(centres), furthest=furthest).eval()


def _features_for(patches: NDArray[np.uint8], working_px: int) -> GoodFeatures:
    """Pretrained features of patches ``(N, patch, patch, C)`` of this size."""
    side, channels = patches.shape[1], patches.shape[3]
    whole = max(side, SMALLEST_PX[BACKBONE])  # its head needs it, which is not used here
    return GoodFeatures(pretrained_backbone(BACKBONE, channels, whole), max(1, side // working_px)).eval()


def export(network: GoodParts, file: Path, patch_px: int, channels: int) -> None:
    """Write the network as ONNX. Raises :class:`ExportError` where ONNX Runtime sees other distances."""
    import onnx

    file.parent.mkdir(parents=True, exist_ok=True)
    shape = (3, patch_px, patch_px, channels)
    sample = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated, and says so in several ways
        torch.onnx.export(
            network,
            (torch.from_numpy(sample),),
            str(file),
            dynamo=False,
            opset_version=OPSET,
            input_names=["patches"],
            output_names=["probabilities", "novelty"],
            dynamic_axes={name: {0: "N"} for name in ("patches", "probabilities", "novelty")},
        )
    model = onnx.load(str(file))
    for node in model.graph.node:  # what the exporter notes there names this machine's files
        node.ClearField("doc_string")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(file))
    with torch.no_grad():
        expected = network(torch.from_numpy(sample))[1].numpy()
    moved = float(np.abs(onnx_novelty(file)(sample) / expected - 1).max())
    if moved > 1e-2:
        raise ExportError(f"{file} differs from torch by {moved:.1%}; report this with the versions of both")


def in_batches(distance: PatchDistance) -> PatchDistance:
    """The same distance, computed a few patches at a time."""

    def of(patches: Patches) -> NDArray[np.float32]:
        return np.concatenate([distance(patches[at : at + BATCH]) for at in range(0, len(patches), BATCH)])

    return of
