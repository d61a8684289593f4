"""How far a patch is from good ones in the features of a pretrained network (:mod:`models.good_parts`)."""

from __future__ import annotations

import io
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deploy.quantise import quantised
from deploy.scoring import onnx_novelty, onnx_output
from models.classifiers.backbones import SMALLEST_PX
from models.good_parts import GoodFeatures, GoodHead
from retraining.classifiers.pretrained import pretrained_backbone
from retraining.errors import DatasetError, ExportError
from retraining.novelty.leaving_out import Fit, PatchDistance
from retraining.novelty.material import Patches
from retraining.shipping.export import OPSET
from station.engines.manifest import NOVELTY, PATCHES, PROBABILITIES

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
MAPS = "maps"
"""What the features are called between the two pieces of a network."""
OUTPUTS = (PROBABILITIES, NOVELTY)
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


@dataclass(frozen=True, slots=True)
class GoodNetwork:
    """A network of good parts in two pieces: its features as ONNX, and the head that was fitted on them.

    The head is fitted on what the ONNX file computes, so that features in INT8 have centres of their own.
    """

    features: bytes
    head: GoodHead

    def distance(self) -> PatchDistance:
        """A function from patches to their distances ``(N,)``, whatever the threshold."""
        maps_of = onnx_output(self.features, MAPS)

        def of(patches: Patches) -> NDArray[np.float32]:
            with torch.no_grad():
                return np.asarray(self.head.distances(torch.from_numpy(maps_of(patches))).numpy())

        return in_batches(of)

    def write(self, file: Path) -> None:
        """Write both as one ONNX network. Raises :class:`ExportError` where it sees other distances."""
        import onnx

        features = onnx.load_from_string(self.features)
        sample = np.random.default_rng(0).integers(0, 255, _sample_shape(features)).astype(np.uint8)
        maps = onnx_output(self.features, MAPS)(sample)
        head = onnx.load_from_string(_exported(self.head, torch.from_numpy(maps), MAPS, OUTPUTS))
        head = onnx.compose.add_prefix(head, "head.", rename_inputs=False, rename_outputs=False)
        head.ir_version = features.ir_version
        model = onnx.compose.merge_models(features, head, io_map=[(MAPS, MAPS)])
        onnx.checker.check_model(model, full_check=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, str(file))
        with torch.no_grad():
            expected = self.head(torch.from_numpy(maps))[1].numpy()
        _require_same(str(file), onnx_novelty(file)(sample), expected)


def pretrained_fit(file: Path, good: int | None, seed: int, report: Report = _silent) -> Fit:
    """What fits the distance on the patches of class ``good`` alone, or on all where there is none.

    The network is kept as the ONNX file ``file``: where it is there, it is not fitted again.
    """

    def fit(patches: Patches, labels: NDArray[np.int64]) -> PatchDistance:
        if not file.is_file():
            own = patches if good is None else patches[labels == good]
            part = file.with_name(f"{file.name}.part")
            fit_in_batches(own, seed, report).write(part)
            os.replace(part, file)
        return in_batches(onnx_novelty(file))

    return fit


def fit_in_batches(patches: Patches, seed: int, report: Report = _silent) -> GoodNetwork:
    """The network of good patches ``(N, patch, patch, C)``, its threshold 1.

    ``report`` hears how many batches are done. Raises :class:`DatasetError` without patches, and
    :class:`TrainingError` where the pretrained weights are not installed.
    """
    starts = range(0, len(patches), BATCH)
    groups = (patches[at : at + BATCH] for at in starts)
    features = pretrained_features(patches.shape[1], patches.shape[3], BESIDE_PX)
    return GoodNetwork(features, fit_head(features, groups, len(starts), seed, report))


def pretrained_features(patch_px: int, channels: int, working_px: int = WORKING_PX) -> bytes:
    """The pretrained features as ONNX, from ``patches`` to :data:`MAPS` ``(N, F, H/16, W/16)``.

    Raises :class:`TrainingError` where the weights are not installed, :class:`ExportError` where ONNX
    Runtime computes others than torch.
    """
    whole = max(patch_px, SMALLEST_PX[BACKBONE])  # its head needs it, which is not used here
    network = GoodFeatures(pretrained_backbone(BACKBONE, channels, whole), max(1, patch_px // working_px))
    shape = (3, patch_px, patch_px, channels)
    sample = torch.from_numpy(np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8))
    content = _exported(network.eval(), sample, PATCHES, (MAPS,))
    with torch.no_grad():
        expected = network(sample).flatten(1).norm(dim=1).numpy()
    found = onnx_output(content, MAPS)(sample.numpy()).reshape(len(sample), -1)
    _require_same("the features", np.linalg.norm(found, axis=1), expected)
    return content


def in_int8(features: bytes, patches: Patches) -> bytes:
    """The same features in INT8, their ranges chosen on good ``patches``. Raises :class:`QuantiseError`."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "features.onnx"
        source.write_bytes(features)
        return bytes(quantised(source, patches).SerializeToString())


def fit_head(
    features: bytes,
    groups: Iterable[NDArray[np.uint8]],
    count: int,
    seed: int,
    report: Report = _silent,
    core: int = CORE,
    furthest_share: float = 0.0,
) -> GoodHead:
    """What good patches look like in ``features``, the threshold still 1; ``count`` groups ``(N, p, p, C)``.

    ``furthest_share``: of the places of a patch, those whose mean is its distance; one at least.

    Features of variance 1 are whitened (each axis of their covariance gets variance 1), and k-means chooses
    the centres.
    """
    from sklearn.cluster import MiniBatchKMeans

    rng = np.random.default_rng(seed)
    share = max(1, -(-_FITTED // max(count, 1)))
    maps_of = onnx_output(features, MAPS)
    found, furthest = [], 1
    for number, patches in enumerate(groups, start=1):
        maps = maps_of(patches)
        own = maps.reshape(*maps.shape[:2], -1).transpose(0, 2, 1)
        furthest = max(1, round(furthest_share * own.shape[1]))
        own = own.reshape(-1, own.shape[2])
        found.append(own[rng.permutation(len(own))[:share]])
        report(number, count)
    if not found:
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

    return GoodHead(tensor(mean), tensor(whitening), tensor(centres), furthest=furthest).eval()


def _exported(network: torch.nn.Module, sample: torch.Tensor, given: str, made: Sequence[str]) -> bytes:
    """``network`` as ONNX, for any number of patches."""
    import onnx

    content: Any = io.BytesIO()  # which torch takes, whatever its annotations say
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated, and says so in several ways
        torch.onnx.export(
            network,
            (sample,),
            content,
            dynamo=False,
            opset_version=OPSET,
            input_names=[given],
            output_names=list(made),
            dynamic_axes={name: {0: "N"} for name in (given, *made)},
        )
    model = onnx.load_from_string(content.getvalue())
    for node in model.graph.node:  # what the exporter notes there names this machine's files
        node.ClearField("doc_string")
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _sample_shape(model: Any) -> tuple[int, ...]:
    """Three patches as the network takes them."""
    dimensions = model.graph.input[0].type.tensor_type.shape.dim
    return (3, *(int(one.dim_value) for one in dimensions[1:]))


def _require_same(what: str, found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    moved = float(np.abs(found / expected - 1).max())
    if not moved <= 1e-2:
        raise ExportError(f"{what} differ from torch's by {moved:.1%}; report this with the versions of both")


def in_batches(distance: PatchDistance) -> PatchDistance:
    """The same distance, computed a few patches at a time."""

    def of(patches: Patches) -> NDArray[np.float32]:
        return np.concatenate([distance(patches[at : at + BATCH]) for at in range(0, len(patches), BATCH)])

    return of
