"""Writes an engine folder: ONNX files, golden parts with their recorded scores, and engine.yaml over all.

The scores are recorded with ONNX Runtime on the CPU from the very files that are shipped; afterwards the
folder is read back the way a station reads it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from deploy.quantise import cast_first
from station.engines.interface import EngineError
from station.engines.manifest import FORMAT, INT8_SIGNED
from station.engines.prove import part_class
from station.engines.store import MANIFEST, EngineManifest, cut_surface, load_manifest

MODEL_FILES = {"fp32": "model.onnx", "int8": "model.int8.onnx", INT8_SIGNED: "model.int8-signed.onnx"}
"""File names by variant; those that are in the folder are listed in engine.yaml."""


@dataclass(frozen=True, slots=True)
class EngineDescription:
    """What engine.yaml says beyond files and scores."""

    name: str
    network: str
    description: str
    classes: tuple[str, ...]
    patch_px: int
    channels: int
    figures: Mapping[str, Mapping[str, int]]
    """``fp32`` and ``int8``: parts, good, defective, right, escapes, overkill, faults (whole numbers)."""
    max_accuracy_loss: float = 0.002
    """What INT8 may lose of the accuracy, as a share of the parts."""
    max_escape_gain: float = 0.0025
    """By how much INT8 may let more defects escape, as a share of the defective parts."""
    tolerance: float = 0.02
    int8_tolerance: float = 0.1


def write_engine_folder(
    folder: Path, description: EngineDescription, golden: Sequence[tuple[str, NDArray[np.uint8]]]
) -> EngineManifest:
    """Record ``golden`` and write engine.yaml for the ONNX files that are in ``folder`` already.

    ``golden`` are class names with surfaces uint8 ``(H, W)`` or ``(H, W, C)`` as patching makes them. A
    surface is refused (:class:`EngineError`) when the network takes it for another class than the one
    given, or when a patch of it lies so near between two classes that another device may see it otherwise.
    """
    scorers = {
        variant: _scorer(folder / file) for variant, file in MODEL_FILES.items() if (folder / file).is_file()
    }
    if "fp32" not in scorers:
        raise EngineError(f"{folder} has no {MODEL_FILES['fp32']}; export the network there first")
    _make_readable_by_tensorrt(folder / MODEL_FILES["fp32"])
    scorers["fp32"] = _scorer(folder / MODEL_FILES["fp32"])
    places = folder / "golden"
    places.mkdir(exist_ok=True)
    for old in places.iterdir():
        old.unlink()
    recorded: dict[str, dict[str, list[list[float]]]] = {}
    parts = []
    for number, (truth, surface) in enumerate(golden, start=1):
        path = places / f"{number:02d}-{truth.replace(' ', '-')}.png"
        if not cv2.imwrite(str(path), surface):
            raise EngineError(f"{path} cannot be written; check the disk")
        pixels = surface.reshape(surface.shape[0], surface.shape[1], description.channels)
        patches = cut_surface(pixels, description.patch_px)
        for precision in ("fp32", "int8"):
            scorer = scorers.get(precision)
            if scorer is None:
                continue
            scores = scorer(patches)
            _refuse_doubtful(path.name, truth, precision, scores, description)
            rows = [[round(float(p), 6) for p in row] for row in scores]
            recorded.setdefault(precision, {})[path.name] = rows
        parts.append({"path": f"golden/{path.name}", "sha256": _digest(path), "truth": truth})
    table = places / "scores.json"
    table.write_text(json.dumps(recorded, separators=(",", ":")) + "\n", encoding="utf-8")
    document = {
        "format": FORMAT,
        "name": description.name,
        "description": description.description,
        "network": description.network,
        "classes": list(description.classes),
        "patch_px": description.patch_px,
        "channels": description.channels,
        "files": {
            variant: {"path": MODEL_FILES[variant], "sha256": _digest(folder / MODEL_FILES[variant])}
            for variant in scorers
        },
        "golden": {
            "tolerance": description.tolerance,
            "int8_tolerance": description.int8_tolerance,
            "scores": {"path": "golden/scores.json", "sha256": _digest(table)},
            "parts": parts,
        },
        "figures": {precision: dict(counts) for precision, counts in description.figures.items()},
        "int8_gate": {
            "max_accuracy_loss": description.max_accuracy_loss,
            "max_escape_gain": description.max_escape_gain,
        },
    }
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return load_manifest(folder)


def _refuse_doubtful(
    name: str, truth: str, precision: str, scores: NDArray[np.float32], description: EngineDescription
) -> None:
    found = description.classes[part_class(scores)]
    if found != truth:
        raise EngineError(f"{name}: the {precision} network takes it for {found}; choose another golden part")
    if precision == "fp32":
        ordered = np.sort(scores, axis=1)
        margin = float((ordered[:, -1] - ordered[:, -2]).min())
        if margin < 2 * description.tolerance:
            raise EngineError(
                f"{name}: a patch lies {margin:.3f} between two classes, less than twice the tolerance of "
                f"{description.tolerance}; choose another golden part"
            )


def _make_readable_by_tensorrt(path: Path) -> None:
    import onnx

    model = onnx.load(str(path))
    before = model.SerializeToString()
    if cast_first(model).SerializeToString() != before:
        onnx.save(model, str(path))


def _scorer(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda patches: np.asarray(session.run(["probabilities"], {"patches": patches})[0], np.float32)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
