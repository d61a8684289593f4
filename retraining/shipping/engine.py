"""From trained weights to the folder that ships: export, INT8, evaluation of both, golden parts, card."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import nn

from deploy.engine_folder import MODEL_FILES, EngineDescription, golden_rule, write_engine_folder
from deploy.quantise import QuantiseReport, quantise
from deploy.scoring import onnx_scorer
from deploy.usual import usual_parts
from retraining.evaluation.parts import (
    PartResult,
    evaluate,
    figures,
    rendered_test_part,
    rendered_test_parts,
)
from retraining.evaluation.report import evaluation_report
from retraining.shipping.export import calibration_patches, export_onnx, golden_parts
from retraining.surfaces import Surfaces
from retraining.surfaces.rendered import frames_of
from station.engines.folder import EngineManifest, load_manifest
from station.engines.manifest import INT8_SIGNED, PartFigures, UsualParts, Variant
from station.machine import cores, processor
from station.patching import PatchingError, cut_part
from station.recipe import Recipe

TEST_SEED = 7
USUAL_PARTS = 30
"""Rendered good parts by which the engine says how such parts look and end."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a network comes from, for its card."""

    network: str
    data: str
    """What it was trained on, with seeds, so that its SHA-256 is that of the data; Markdown."""
    training: Mapping[str, object]
    """Settings that determine the run."""
    command: str


@dataclass(frozen=True, slots=True)
class Shipped:
    """What :func:`ship` wrote and measured."""

    parity: float
    """Largest difference of a probability between torch and the fp32 ONNX."""
    quantised: QuantiseReport
    results: tuple[PartResult, ...]


def export_variants(
    network: nn.Module, calibration: Surfaces, recipe: Recipe, folder: Path, tensorrt_int8: bool = False
) -> tuple[float, QuantiseReport]:
    """Write the fp32 and the INT8 ONNX into ``folder``; returns the parity and INT8's report.

    ``tensorrt_int8``: write INT8 for TensorRT too.
    """
    fp32 = folder / MODEL_FILES["fp32"]
    deviation = export_onnx(network, fp32, recipe.patch.size, recipe.surface.channels)
    patches = calibration_patches(calibration, recipe)
    signed = folder / MODEL_FILES[INT8_SIGNED]
    signed.unlink(missing_ok=True)  # one of another training would be taken for this one's
    target = folder / MODEL_FILES["int8"]
    return deviation, quantise(fp32, target, patches, signed_target=signed if tensorrt_int8 else None)


def ship(
    network: nn.Module,
    calibration: Surfaces,
    recipe: Recipe,
    folder: Path,
    provenance: Provenance,
    *,
    per_class: int = 80,
    mixed: int = 20,
    test_seed: int = TEST_SEED,
    tensorrt_int8: bool = False,
    report: Callable[[int, str], None] = lambda done, line: None,
    evaluated: Callable[[list[PartResult]], None] = lambda results: None,
) -> Shipped:
    """Write a whole engine folder for a rendered product, with figures measured on unseen parts.

    ``evaluated`` gets the figures before golden parts are chosen, because a badly trained network has none.
    ``tensorrt_int8``: with INT8 for TensorRT, evaluated like the others; ONNX Runtime takes seconds per part.
    """
    deviation, quantised = export_variants(network, calibration, recipe, folder, tensorrt_int8)
    variants: tuple[Variant, ...] = ("fp32", "int8", INT8_SIGNED) if tensorrt_int8 else ("fp32", "int8")
    scorers = {str(variant): onnx_scorer(folder / MODEL_FILES[variant]) for variant in variants}
    parts = rendered_test_parts(recipe, per_class, test_seed, mixed)
    results = evaluate(scorers, recipe, parts, report)
    evaluated(results)
    measured = figures(results)
    description = EngineDescription.for_recipe(
        recipe,
        network=provenance.network,
        description=f"{recipe.description} Trained on rendered parts; see card.md.",
        figures={variant: PartFigures(**asdict(measured[variant])) for variant in variants},
        data=(hashlib.sha256(provenance.data.encode()).hexdigest(),),
    )
    description = replace(description, usual=_usual(recipe, folder, test_seed))
    golden = golden_parts(recipe, golden_rule(folder, description).record)
    write_engine_folder(folder, description, golden)
    card = model_card(recipe, provenance, results, deviation, quantised, per_class, mixed, test_seed)
    (folder / "card.md").write_text(card, encoding="utf-8")
    return Shipped(deviation, quantised, tuple(results))


def renew_golden_parts(folder: Path, recipe: Recipe) -> EngineManifest:
    """Choose and record the golden parts of an engine folder again, for the patches and rules of ``recipe``.

    Its networks and figures stay; how good parts look and end is measured again.
    Raises :class:`ExportError` or :class:`EngineError`.
    """
    description = EngineDescription.of(load_manifest(folder)).proven_for(recipe)
    description = replace(description, usual=_usual(recipe, folder, TEST_SEED))
    golden = golden_parts(recipe, golden_rule(folder, description).record)
    return write_engine_folder(folder, description, golden)


def _usual(recipe: Recipe, folder: Path, seed: int) -> UsualParts | None:
    """How the good ones of the rendered test parts look and end."""
    surfaces = []
    for number in range(USUAL_PARTS):
        with suppress(PatchingError):  # such a part has a fault, and no look
            part = rendered_test_part(recipe, USUAL_PARTS, seed, number * len(recipe.classes))
            surfaces.append(cut_part(frames_of(part, recipe), recipe).surface.pixels)
    return usual_parts(surfaces, recipe, folder / MODEL_FILES["fp32"])


def model_card(
    recipe: Recipe,
    provenance: Provenance,
    results: list[PartResult],
    deviation: float,
    quantised: QuantiseReport,
    per_class: int,
    mixed: int,
    test_seed: int,
) -> str:
    """The card in Markdown: what the network is, was trained on, does, and must not be taken for."""
    settings = "\n".join(f"| {name} | {value} |" for name, value in provenance.training.items())
    classes = tuple(c.name for c in recipe.classes)
    return f"""# {recipe.engine}

Classifier of {recipe.patch.size} x {recipe.patch.size} px patches in {len(classes)} classes
({", ".join(classes)}), network `{provenance.network}`,
for the recipe `{recipe.name}`. Input `patches` uint8
(N, {recipe.patch.size}, {recipe.patch.size}, {recipe.surface.channels}),
outputs `probabilities` (N, {len(classes)}) and `features` (N, F), what the fully connected layers are given.
Licence: Apache-2.0.

## Data

{provenance.data}

No photograph was used. The figures below say how the network does on parts from the same simulation; they say
nothing about real housings, on which it has to be trained again (`retrain patches`).

## Training

| setting | value |
|---|---|
{settings}

Reproduce with `{provenance.command}`. Trained on {cores()} cores of {processor().model}.

## Figures

{per_class} parts of each class and {mixed} parts with several kinds of defect, test seed {test_seed},
none of them seen in training; whole frames through the station's own patching and decision
(`retrain evaluate --parts-per-class {per_class} --mixed {mixed} --seed {test_seed}`).

{evaluation_report(results, classes)}

The fp32 file differs from the trained network by at most {deviation:.1e}. INT8 was calibrated on
{quantised.calibration_patches} training patches; {quantised.top1_agreement:.2%} of them keep their class.
"""
