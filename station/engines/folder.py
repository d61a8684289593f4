"""An engine folder on disk: a file is used only after its bytes were checked against engine.yaml.

The folder holds ``engine.yaml``, the ONNX files it names, ``golden/`` with one lossless picture of
each part's surface and ``scores.json``, and ``card.md`` for people.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.cameras.picture_files import ImageFileError, decode_image, in_channels
from station.decision import Rules
from station.engines.graph import require_plain
from station.engines.interface import EngineError
from station.engines.manifest import (
    ClassName,
    EngineDocument,
    EngineRules,
    FileEntry,
    Int8Gate,
    Novelty,
    PartFigures,
    UsualParts,
    Variant,
)
from station.patching.geometry import cut_surface
from station.recipe import PatchGrid, SurfaceSize
from station.strict_yaml import DocumentError, Mistake, load_document

MANIFEST = "engine.yaml"
MAX_MODEL_BYTES = 1 << 30
MAX_GOLDEN_BYTES = 64 << 20


class ManifestError(DocumentError, EngineError):
    """engine.yaml or a file it names cannot be used; the message names file, line, key and remedy."""


@dataclass(frozen=True, slots=True)
class GoldenSurface:
    """A golden part: the file of its surface, its true class, its recorded scores."""

    name: str
    truth: ClassName
    file: Path
    sha256: str
    """SHA-256 of the file, hex."""
    scores: Mapping[str, NDArray[np.float32]]
    """Recorded scores (patches, classes) by precision: ``fp32`` and, where there is one, ``int8``."""
    features: Mapping[Variant, tuple[int, NDArray[np.float32]]]
    """Recorded features of one patch by ONNX file: its index and ``(features,)``; empty without any."""
    novelty: Mapping[Variant, NDArray[np.float32]]
    """Recorded novelty (patches,) by ONNX file; empty without any."""


@dataclass(frozen=True, slots=True)
class PretrainedNetwork:
    """The second network of an engine folder, :class:`station.engines.manifest.PretrainedNovelty`."""

    described: Novelty
    """How it was made."""
    file: Path
    digest: str
    """SHA-256 of the file, hex."""
    tolerance: float
    golden: Mapping[str, NDArray[np.float32]]
    """Recorded novelty (patches,) by the name of the golden part."""


@dataclass(frozen=True, slots=True)
class EngineManifest:
    """An engine folder whose files were all checked against engine.yaml."""

    folder: Path
    name: str
    description: str
    network: str
    classes: tuple[str, ...]
    surface: SurfaceSize
    """The surfaces that the engine was proven on."""
    patch: PatchGrid
    """The patches that it was proven on."""
    rules: EngineRules
    """The decision rules that it was proven with, as engine.yaml has them."""
    own_rules: Rules
    """The same, as the decision wants them."""
    features: int
    """Features of a patch; 0: the networks give none."""
    novelty: Novelty | None
    """How the novelty of a patch was made; None: the networks give none."""
    pretrained: PretrainedNetwork | None
    """The second network; None: there is none."""
    files: Mapping[Variant, Path]
    digests: Mapping[Variant, str]
    """SHA-256 of each file, hex."""
    golden: tuple[GoldenSurface, ...]
    tolerance: float
    int8_tolerance: float
    features_tolerance: float
    novelty_tolerance: float
    data: tuple[str, ...]
    """SHA-256 of the manifest of each data set that the networks were trained on; empty where not said."""
    figures: Mapping[Variant, PartFigures]
    usual: UsualParts | None
    """How good parts look and end; None where not said."""
    int8_gate: Int8Gate | None
    digest: str
    """SHA-256 of engine.yaml, which names the digest of everything else, hex."""

    @property
    def patch_px(self) -> int:
        """The side of a patch, px."""
        return self.patch.size

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (BGR)."""
        return self.surface.channels

    def one_of_each_class(self) -> tuple[GoldenSurface, ...]:
        """The first golden part of every class, and the first that is unknown where there is one."""
        truths = dict.fromkeys(part.truth for part in self.golden)
        return tuple(next(part for part in self.golden if part.truth == name) for name in truths)

    def int8_refusal(self, variant: Variant = "int8") -> str:
        """Why an INT8 file is not accurate enough by its own figures, or an empty string."""
        if variant not in self.files:
            return f"the engine has no {variant} file"
        if self.int8_gate is None:
            return "engine.yaml states no int8_gate; state how much accuracy INT8 may lose"
        missing = {"fp32", variant}.difference(self.figures)
        if missing:
            return f"engine.yaml has no figures of {' and '.join(sorted(missing))}; evaluate both"
        fp32, int8 = self.figures["fp32"].outcomes, self.figures[variant].outcomes
        if (fp32.good, fp32.defective) != (int8.good, int8.defective):
            return f"the figures of fp32 and {variant} are not of the same parts; evaluate both on the same"
        loss = fp32.accuracy - int8.accuracy
        if loss > self.int8_gate.max_accuracy_loss + 1e-12:
            allowed = self.int8_gate.max_accuracy_loss
            return f"INT8 loses {loss:.2%} accuracy, more than the {allowed:.2%} allowed"
        gain = int8.escape_rate - fp32.escape_rate
        if gain > self.int8_gate.max_escape_gain + 1e-12:
            allowed = self.int8_gate.max_escape_gain
            return f"INT8 lets {gain:.2%} more defects escape, more than the {allowed:.2%} allowed"
        return ""


def load_manifest(folder: Path, name: str | None = None) -> EngineManifest:
    """Read an engine folder and check every file in it. Raises :class:`EngineError`.

    ``name``: the engine's name, where the folder has another one, as in the store.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        there = sorted(p.name for p in folder.parent.glob("*") if (p / MANIFEST).is_file())
        remedy = f"known engines there: {', '.join(there)}" if there else "copy the engine's folder there"
        raise EngineError(f"{folder} is not an engine folder; {remedy}")
    content = _bytes(path, "", path, 1_000_000)
    document = load_document(path, EngineDocument, ManifestError, content=content)
    wanted = name or folder.resolve().name
    if document.name != wanted:
        what = "the folder is" if name is None else "the station asks for"
        remedy = "rename one of the two" if name is None else f"ship it as an engine of {wanted}"
        raise _mistake(path, "name", f"is {document.name!r}, {what} {wanted!r}", remedy)
    files: dict[Variant, Path] = {}
    for variant, entry in document.files.items():
        files[variant] = folder / entry.path
        require_plain(_checked(path, f"files.{variant}", folder, entry, MAX_MODEL_BYTES), folder / entry.path)
    recorded = _recorded_scores(path, folder, document)
    features = _recorded_features(path, folder, document)
    novelty = _recorded_novelty(path, folder, document)
    golden = []
    for index, part in enumerate(document.golden.parts):
        _checked(path, f"golden.parts[{index}]", folder, part, MAX_GOLDEN_BYTES)
        name = Path(part.path).name
        scores = {precision: table[name] for precision, table in recorded.items()}
        own_features = {variant: table[name] for variant, table in features.items()}
        own_novelty = {variant: values[name] for variant, values in novelty.items()}
        file = folder / part.path
        golden.append(GoldenSurface(name, part.truth, file, part.sha256, scores, own_features, own_novelty))
    return EngineManifest(
        folder=folder,
        name=document.name,
        description=document.description,
        network=document.network,
        classes=document.classes,
        surface=document.surface,
        patch=document.patch,
        rules=document.rules,
        own_rules=document.decision_rules(),
        features=document.features,
        novelty=document.novelty,
        pretrained=_pretrained(path, folder, document),
        files=files,
        digests={variant: entry.sha256 for variant, entry in document.files.items()},
        golden=tuple(golden),
        tolerance=document.golden.tolerance,
        int8_tolerance=document.golden.int8_tolerance,
        features_tolerance=document.golden.features_tolerance,
        novelty_tolerance=document.golden.novelty_tolerance,
        data=document.data,
        figures=document.figures,
        usual=document.usual,
        int8_gate=document.int8_gate,
        digest=hashlib.sha256(content).hexdigest(),
    )


def model_bytes(manifest: EngineManifest, variant: Variant) -> bytes:
    """The bytes of an ONNX file, checked as they are read: a plain network, and the one of engine.yaml.

    A run time is given these bytes and no path. Raises :class:`EngineError`, ``NetworkError``.
    """
    if variant not in manifest.files:
        raise EngineError(
            f"engine {manifest.name} has no {variant} file; it has {', '.join(manifest.files)}: "
            "choose another precision, or export the engine again"
        )
    file, sha256 = manifest.files[variant], manifest.digests[variant]
    content = _checked_again(manifest, f"files.{variant}", file, sha256, MAX_MODEL_BYTES)
    require_plain(content, file)
    return content


def read_surface(manifest: EngineManifest, part: GoldenSurface) -> NDArray[np.uint8]:
    """The surface of a golden part, uint8 ``(H, W, channels)``. Raises :class:`EngineError`.

    The bytes that are decoded are those whose digest was checked.
    """
    content = _checked_again(manifest, "golden.parts", part.file, part.sha256, MAX_GOLDEN_BYTES)
    try:
        pixels = in_channels(decode_image(content, part.file), manifest.channels)
    except ImageFileError as error:
        raise EngineError(f"{error}; copy the engine's folder again") from None
    wanted = manifest.surface
    if pixels.shape != (wanted.height, wanted.width, wanted.channels):
        raise EngineError(
            f"{part.file} has shape {pixels.shape}, the engine's surface {wanted.height} x {wanted.width} px "
            f"x {wanted.channels}; the golden part belongs to another engine"
        )
    return pixels


def read_golden(manifest: EngineManifest, part: GoldenSurface) -> NDArray[np.uint8]:
    """The patches of a golden part, uint8 ``(N, patch, patch, channels)``. Raises :class:`EngineError`."""
    patches = cut_surface(read_surface(manifest, part), manifest.patch)
    for precision, scores in part.scores.items():
        if scores.shape != (len(patches), len(manifest.classes)):
            raise EngineError(
                f"{part.file}: {precision} scores have shape {scores.shape}, not "
                f"({len(patches)}, {len(manifest.classes)}); record them again with this engine"
            )
    return patches


def _recorded_scores(
    path: Path, folder: Path, document: EngineDocument
) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Scores by precision and part; every part has them for every precision that has a file."""
    entry = document.golden.scores
    content = _checked(path, "golden.scores", folder, entry, MAX_GOLDEN_BYTES)
    wanted = ["fp32"] + (["int8"] if "int8" in document.files else [])
    found: dict[str, dict[str, NDArray[np.float32]]] = {}
    try:
        tables = json.loads(content)
        for precision in wanted:
            found[precision] = {}
            for part in document.golden.parts:
                name = Path(part.path).name
                scores = np.array(tables[precision][name], dtype=np.float32)
                if scores.ndim != 2 or scores.shape[1] != len(document.classes):
                    raise ValueError(f"{precision} scores of {name} have shape {scores.shape}")
                if not np.isfinite(scores).all():
                    raise ValueError(f"{precision} scores of {name} are not all numbers")
                found[precision][name] = scores
    except (KeyError, TypeError, ValueError, RecursionError) as problem:
        what = f"lacks {problem}" if isinstance(problem, KeyError) else f"cannot be used ({problem})"
        raise ManifestError(
            folder / entry.path, Mistake(0, "", what, "record the golden parts again with this engine")
        ) from None
    return found


def _recorded_features(
    path: Path, folder: Path, document: EngineDocument
) -> dict[Variant, dict[str, tuple[int, NDArray[np.float32]]]]:
    """Features of one patch by ONNX file and part; empty where the engine gives none."""
    entry = document.golden.features
    if entry is None or not document.features:
        return {}
    content = _checked(path, "golden.features", folder, entry, MAX_GOLDEN_BYTES)
    patches = document.decision_rules().patches
    found: dict[Variant, dict[str, tuple[int, NDArray[np.float32]]]] = {}
    try:
        tables = json.loads(content)
        for variant in document.files:
            found[variant] = {}
            for part in document.golden.parts:
                name = Path(part.path).name
                given = tables[variant][name]
                patch, values = int(given["patch"]), np.array(given["values"], dtype=np.float32)
                if not 0 <= patch < patches or values.shape != (document.features,):
                    raise ValueError(f"{variant} features of {name}: patch {patch}, shape {values.shape}")
                if not np.isfinite(values).all():
                    raise ValueError(f"{variant} features of {name} are not all numbers")
                found[variant][name] = patch, values
    except (KeyError, TypeError, ValueError, RecursionError) as problem:
        what = f"lacks {problem}" if isinstance(problem, KeyError) else f"cannot be used ({problem})"
        raise ManifestError(
            folder / entry.path, Mistake(0, "", what, "record the golden parts again with this engine")
        ) from None
    return found


def _recorded_novelty(
    path: Path, folder: Path, document: EngineDocument
) -> dict[Variant, dict[str, NDArray[np.float32]]]:
    """Novelty of every patch by ONNX file and part; empty where the engine gives none."""
    entry = document.golden.novelty
    if entry is None:
        return {}
    content = _checked(path, "golden.novelty", folder, entry, MAX_GOLDEN_BYTES)
    try:
        tables = json.loads(content)
        return {variant: _novelty_of(tables[variant], f"{variant} ", document) for variant in document.files}
    except (KeyError, TypeError, ValueError, RecursionError) as problem:
        what = f"lacks {problem}" if isinstance(problem, KeyError) else f"cannot be used ({problem})"
        raise ManifestError(
            folder / entry.path, Mistake(0, "", what, "record the golden parts again with this engine")
        ) from None


def _pretrained(path: Path, folder: Path, document: EngineDocument) -> PretrainedNetwork | None:
    """The second network, its file and its recorded novelty checked."""
    described = document.pretrained_novelty
    if described is None:
        return None
    file = folder / described.file.path
    require_plain(_checked(path, "pretrained_novelty.file", folder, described.file, MAX_MODEL_BYTES), file)
    entry = described.golden
    content = _checked(path, "pretrained_novelty.golden", folder, entry, MAX_GOLDEN_BYTES)
    try:
        golden = _novelty_of(json.loads(content), "", document)
    except (KeyError, TypeError, ValueError, RecursionError) as problem:
        what = f"lacks {problem}" if isinstance(problem, KeyError) else f"cannot be used ({problem})"
        remedy = "write the second network again by `retrain novelty --engine FOLDER --pretrained`"
        raise ManifestError(folder / entry.path, Mistake(0, "", what, remedy)) from None
    made = Novelty(**described.model_dump(include=set(Novelty.model_fields)))
    return PretrainedNetwork(made, file, described.file.sha256, described.tolerance, golden)


def _novelty_of(table: Any, which: str, document: EngineDocument) -> dict[str, NDArray[np.float32]]:
    """Recorded novelty by part. Raises KeyError, TypeError or ValueError for what cannot be used."""
    patches = document.decision_rules().patches
    found: dict[str, NDArray[np.float32]] = {}
    for part in document.golden.parts:
        name = Path(part.path).name
        values = np.array(table[name], dtype=np.float32)
        if values.shape != (patches,):
            raise ValueError(f"{which}novelty of {name} has shape {values.shape}")
        if not (np.isfinite(values).all() and (values >= 0).all()):
            raise ValueError(f"{which}novelty of {name} is not all numbers from 0 on")
        found[name] = values
    return found


def _checked_again(manifest: EngineManifest, key: str, file: Path, sha256: str, limit: int) -> bytes:
    """The bytes of a file that was checked before, checked as they are read now."""
    entry = FileEntry(path=file.relative_to(manifest.folder).as_posix(), sha256=sha256)
    return _checked(manifest.folder / MANIFEST, key, manifest.folder, entry, limit)


def _checked(manifest: Path, key: str, folder: Path, entry: FileEntry, limit: int) -> bytes:
    """The bytes of a file in the folder, once their digest is right."""
    file = folder / entry.path
    if not file.resolve().is_relative_to(folder.resolve()):
        raise _mistake(manifest, f"{key}.path", f"{entry.path!r} leads out of the folder", "remove the link")
    content = _bytes(file, f"{key}.path", manifest, limit)
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry.sha256:
        raise _mistake(
            manifest,
            f"{key}.sha256",
            f"is {entry.sha256[:12]}…, but {entry.path} has {digest[:12]}…",
            "the file was changed or damaged; copy the engine's folder again",
        )
    return content


def _bytes(file: Path, key: str, manifest: Path, limit: int) -> bytes:
    try:
        if not file.is_file():
            raise _mistake(manifest, key, f"{file.name} is missing", "copy the engine's folder again")
        with file.open("rb") as stream:
            content = stream.read(limit + 1)
    except OSError as problem:
        raise _mistake(
            manifest,
            key,
            f"{file.name} cannot be read ({problem.strerror})",
            "check the disk and permissions",
        ) from None
    if len(content) > limit:
        raise _mistake(manifest, key, f"{file.name} is larger than {limit} bytes", "copy the folder again")
    return content


def _mistake(path: Path, key: str, problem: str, remedy: str) -> ManifestError:
    return ManifestError(path, Mistake(0, key, problem, remedy))
