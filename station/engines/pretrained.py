"""The second network of an engine folder: how far a part is from training, by pretrained features.

It is an engine of one class beside the classifier, computed by the same back ends on the processor, one patch
at a time on one thread, in fp32. Like the classifier, it is a claim until it has reproduced on this device
what was recorded of all golden parts.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from station.engines.backends import onnxruntime_engine as onnxruntime
from station.engines.backends import openvino_engine as openvino
from station.engines.folder import EngineManifest, read_golden
from station.engines.interface import Engine, EngineError, EngineOptions
from station.engines.manifest import EngineRules
from station.engines.prove import novelty_deviation


def open_pretrained(manifest: EngineManifest) -> Engine:
    """The second network, proven. Raises :class:`EngineError`, also where there is none."""
    alone = _as_engine(manifest)
    options = EngineOptions(threads=1, chunk=1)
    if openvino.status().present:
        engine: Engine = openvino.load(alone, "fp32", options)
    else:
        engine = onnxruntime.load(onnxruntime.CPU, alone, "fp32", options)
    try:
        _require_proof(engine, alone)
    except EngineError:
        engine.close()
        raise
    return engine


def _as_engine(manifest: EngineManifest) -> EngineManifest:
    """The second network as an engine folder of its own would describe it."""
    second = manifest.pretrained
    if second is None:
        raise EngineError(
            f"engine {manifest.name} has no network of pretrained features; add it by "
            "`retrain novelty --engine FOLDER --pretrained`"
        )
    good = manifest.classes[:1]
    golden = [
        replace(
            part,
            scores={"fp32": np.ones((len(second.golden[part.name]), 1), np.float32)},
            features={},
            novelty={"fp32": second.golden[part.name]},
        )
        for part in manifest.golden
    ]
    return replace(
        manifest,
        classes=good,
        rules=EngineRules(unknown="reject"),
        own_rules=EngineRules(unknown="reject").for_classes(good, manifest.surface, manifest.patch),
        features=0,
        novelty=second.described,
        pretrained=None,
        files={"fp32": second.file},
        digests={"fp32": second.digest},
        golden=tuple(golden),
        novelty_tolerance=second.tolerance,
        figures={},
        int8_gate=None,
    )


def _require_proof(engine: Engine, manifest: EngineManifest) -> None:
    """Refuse a network that does not give every golden part the novelty that was recorded of it."""
    for part in manifest.golden:
        patches = read_golden(manifest, part)
        if problem := novelty_deviation(engine.scores(patches), part, manifest, engine.info):
            raise EngineError(
                f"{manifest.files['fp32']} does not reproduce the golden parts on {engine.info.backend}: "
                f"{part.name}: {problem}; copy the engine's folder again, or write the network again by "
                "`retrain novelty --engine FOLDER --pretrained`"
            )
