"""Writes an engine folder: ONNX files, golden parts with their recorded scores, and engine.yaml over all.

The scores are recorded with ONNX Runtime on the CPU from the very files that are shipped; afterwards the
folder is read back the way a station reads it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import yaml
from numpy.typing import NDArray

from deploy.features import name_features
from deploy.golden import DoubtfulPartError, GoldenRule
from deploy.quantise import cast_first
from deploy.rewrites import rewritten
from deploy.scoring import onnx_features, onnx_novelty
from drivers.cameras.picture_files import encode_image
from station.decision import Rules, decide_by
from station.engines.folder import MANIFEST, EngineManifest, load_manifest, read_golden, read_surface
from station.engines.graph import require_plain
from station.engines.interface import EngineError
from station.engines.manifest import (
    FORMAT,
    INT8_SIGNED,
    NOVELTY,
    EngineRules,
    Int8Gate,
    Novelty,
    PartFigures,
    UsualParts,
    Variant,
)
from station.files import write_file
from station.patching.geometry import cut_surface
from station.recipe import UNKNOWN, PatchGrid, Recipe, SurfaceSize

MODEL_FILES: Mapping[Variant, str] = {
    "fp32": "model.onnx",
    "int8": "model.int8.onnx",
    INT8_SIGNED: "model.int8-signed.onnx",
}
"""File names by variant; those that are in the folder are listed in engine.yaml."""
SECOND = "novelty.onnx"
"""The file of the second network, which computes the novelty by pretrained features."""
SECOND_TOLERANCE = 0.05
"""Of its novelty, from one back end to the next in fp32."""

USUAL_GATE = Int8Gate(max_accuracy_loss=0.002, max_escape_gain=0.0025)
"""How much worse than fp32 INT8 may be, as shares of the parts and of the defective parts."""


@dataclass(frozen=True, slots=True)
class EngineDescription:
    """What engine.yaml says beyond files and scores."""

    name: str
    network: str
    description: str
    classes: tuple[str, ...]
    surface: SurfaceSize
    patch: PatchGrid
    rules: EngineRules
    figures: Mapping[Variant, PartFigures]
    int8_gate: Int8Gate | None = USUAL_GATE
    tolerance: float = 0.02
    int8_tolerance: float = 0.1
    features_tolerance: float = 0.1
    novelty: Novelty | None = None
    """How the networks' output ``novelty`` was made; needed where they have it, refused where they do not."""
    novelty_tolerance: float = 0.2
    pretrained: Novelty | None = None
    """How the second network was made, :data:`SECOND` in the folder; None: the folder is to have none."""
    pretrained_tolerance: float = SECOND_TOLERANCE
    data: tuple[str, ...] = ()
    """SHA-256 of the manifest of each data set that the networks were trained on."""
    usual: UsualParts | None = None
    """How good parts look and end (:func:`deploy.usual.usual_parts`)."""

    @classmethod
    def for_recipe(
        cls,
        recipe: Recipe,
        *,
        network: str,
        description: str,
        figures: Mapping[Variant, PartFigures],
        data: tuple[str, ...] = (),
    ) -> Self:
        """An engine for the patches and by the rules of a recipe."""
        return cls(
            name=recipe.engine,
            network=network,
            description=description,
            classes=tuple(entry.name for entry in recipe.classes),
            surface=recipe.surface,
            patch=recipe.patch,
            rules=EngineRules.of(recipe),
            figures=figures,
            data=data,
        )

    @classmethod
    def of(cls, manifest: EngineManifest) -> Self:
        """What an engine.yaml that is there already says."""
        second = manifest.pretrained
        return cls(
            name=manifest.name,
            network=manifest.network,
            description=manifest.description,
            classes=manifest.classes,
            surface=manifest.surface,
            patch=manifest.patch,
            rules=manifest.rules,
            figures=manifest.figures,
            int8_gate=manifest.int8_gate,
            tolerance=manifest.tolerance,
            int8_tolerance=manifest.int8_tolerance,
            features_tolerance=manifest.features_tolerance,
            novelty=manifest.novelty,
            novelty_tolerance=manifest.novelty_tolerance,
            pretrained=second.described if second else None,
            pretrained_tolerance=second.tolerance if second else SECOND_TOLERANCE,
            data=manifest.data,
            usual=manifest.usual,
        )

    def proven_for(self, recipe: Recipe) -> Self:
        """The same engine for the patches and rules of ``recipe``. Raises :class:`EngineError`.

        What the networks themselves take, patch size, channels and classes, must be the recipe's already.
        """
        wanted = (
            tuple(entry.name for entry in recipe.classes),
            recipe.patch.size,
            recipe.surface.channels,
        )
        if (self.classes, self.patch.size, self.surface.channels) != wanted:
            raise EngineError(
                f"engine {self.name} takes patches of {self.patch.size} px with {self.surface.channels} "
                f"channel(s) and knows the classes {', '.join(self.classes)}; recipe {recipe.name} has "
                f"{wanted[1]} px, {wanted[2]} channel(s) and {', '.join(wanted[0])}; name the recipe it was "
                "trained for"
            )
        return replace(self, surface=recipe.surface, patch=recipe.patch, rules=EngineRules.of(recipe))

    def decision_rules(self) -> Rules:
        """What the decision must know of the engine's own rules."""
        return self.rules.for_classes(self.classes, self.surface, self.patch)


def golden_rule(folder: Path, description: EngineDescription) -> GoldenRule:
    """What decides on golden parts of the ONNX files in ``folder``. Raises :class:`EngineError`."""
    networks, _ = _prepared(_files(folder))
    return _rule(networks, description)


def _rule(networks: Mapping[Variant, bytes], description: EngineDescription) -> GoldenRule:
    return GoldenRule(
        networks,
        description.decision_rules(),
        description.tolerance,
        description.int8_tolerance,
        description.novelty_tolerance if description.novelty is not None else None,
    )


def write_engine_folder(
    folder: Path, description: EngineDescription, golden: Sequence[tuple[str, NDArray[np.uint8]]]
) -> EngineManifest:
    """Record ``golden`` and write engine.yaml for the ONNX files that are in ``folder`` already.

    ``golden`` are class names with surfaces uint8 ``(H, W)`` or ``(H, W, C)`` as patching makes them. A
    surface that :class:`deploy.golden.GoldenRule` refuses is an :class:`EngineError`.
    """
    one_class = len(description.classes) == 1
    needed = (*description.classes, *([UNKNOWN] if one_class else []))
    unproven = [name for name in needed if name not in {truth for truth, _ in golden}]
    files = _files(folder)
    _require_same_novelty(files, description)
    if unproven:
        raise EngineError(
            f"there is no golden part of {', '.join(unproven)}; give one of every class at least"
        )
    networks, features = _prepared(files)
    rule = _rule(networks, description)
    look = {variant: onnx_features(content) for variant, content in networks.items() if features}
    far = {variant: onnx_novelty(content) for variant, content in networks.items() if description.novelty}
    recorded: dict[str, dict[str, list[list[float]]]] = {}
    seen: dict[str, dict[str, dict[str, object]]] = {}
    distances: dict[str, dict[str, list[float]]] = {}
    cut: list[tuple[str, NDArray[np.uint8]]] = []
    for name, (truth, surface) in zip(_names(golden), golden, strict=True):
        pixels = surface.reshape(surface.shape[0], surface.shape[1], description.surface.channels)
        try:
            patches = cut_surface(pixels, description.patch)
            found = rule.record(truth, patches)
        except (DoubtfulPartError, ValueError) as doubt:
            raise EngineError(f"{name}: {doubt}; choose another golden part") from None
        cut.append((name, patches))
        for precision, scores in found.items():
            # Significant digits, not decimals: a temperature makes much of the small probabilities.
            rows = [[float(f"{p:.6g}") for p in row] for row in scores]
            recorded.setdefault(precision, {})[name] = rows
        for variant, novelty_of in far.items():
            values = [float(f"{value:.6g}") for value in novelty_of(patches)]
            distances.setdefault(variant, {})[name] = values
        novelty = np.array(distances["fp32"][name], np.float32) if far else None
        patch = decide_by(found["fp32"], description.decision_rules(), novelty).patch or 0
        for variant, features_of in look.items():
            values = [float(f"{value:.3g}") for value in features_of(patches[patch : patch + 1])[0]]
            seen.setdefault(variant, {})[name] = {"patch": patch, "values": values}
    if description.pretrained is None:
        (folder / SECOND).unlink(missing_ok=True)  # one beside another classifier, fitted on other parts
    for variant, content in networks.items():
        if files[variant].read_bytes() != content:
            write_file(files[variant], content)
    places = folder / "golden"
    places.mkdir(exist_ok=True)
    for old in places.iterdir():
        old.unlink()
    parts = []
    for name, (truth, surface) in zip(_names(golden), golden, strict=True):
        path = places / name
        write_file(path, encode_image(surface, ".png"))
        parts.append({"path": f"golden/{name}", "sha256": _digest(path), "truth": truth})
    tables: dict[str, object] = {"scores": recorded}
    tables |= ({"features": seen} if seen else {}) | ({"novelty": distances} if distances else {})
    for name, values_of in tables.items():
        write_file(places / f"{name}.json", json.dumps(values_of, separators=(",", ":")) + "\n")
    second: dict[str, object] = {}
    if description.pretrained is not None:
        second = _second_network(folder, description.pretrained, description.pretrained_tolerance, cut)
    document = {
        "format": FORMAT,
        "name": description.name,
        "description": description.description,
        "network": description.network,
        "classes": list(description.classes),
        "surface": description.surface.model_dump(),
        "patch": description.patch.model_dump(),
        "rules": description.rules.model_dump(),
        "features": features,
        **({"novelty": description.novelty.model_dump()} if description.novelty is not None else {}),
        **({"pretrained_novelty": second} if second else {}),
        "files": {variant: {"path": path.name, "sha256": _digest(path)} for variant, path in files.items()},
        "golden": {
            "tolerance": description.tolerance,
            "int8_tolerance": description.int8_tolerance,
            "features_tolerance": description.features_tolerance,
            **({"novelty_tolerance": description.novelty_tolerance} if description.novelty else {}),
            **{
                name: {"path": f"golden/{name}.json", "sha256": _digest(places / f"{name}.json")}
                for name in tables
            },
            "parts": parts,
        },
        **({"data": list(description.data)} if description.data else {}),
        "figures": {variant: counts.model_dump() for variant, counts in description.figures.items()},
    }
    if description.usual is not None:
        document["usual"] = description.usual.model_dump()
    if description.int8_gate is not None:
        document["int8_gate"] = description.int8_gate.model_dump()
    _write_manifest(folder, document)
    return load_manifest(folder)


def write_second_network(
    folder: Path, described: Novelty, tolerance: float = SECOND_TOLERANCE
) -> EngineManifest:
    """Record what :data:`SECOND` in ``folder`` says of the golden parts, and put it into engine.yaml.

    All else stays as it is, bit by bit. Raises :class:`EngineError`.
    """
    document: dict[str, object] = yaml.safe_load((folder / MANIFEST).read_text(encoding="utf-8"))
    document.pop("pretrained_novelty", None)  # of the file that was there before
    _write_manifest(folder, document)
    manifest = load_manifest(folder)
    golden = [(part.name, read_golden(manifest, part)) for part in manifest.golden]
    section = _second_network(folder, described, tolerance, golden)
    items, at = list(document.items()), list(document).index("files")
    _write_manifest(folder, dict([*items[:at], ("pretrained_novelty", section), *items[at:]]))
    return load_manifest(folder)


def record_again(folder: Path, recipe: Recipe) -> EngineManifest:
    """Record the golden parts that are in ``folder`` for the patches and the decision rules of ``recipe``.

    Networks, figures and the parts themselves stay. Raises :class:`EngineError` where the recipe's surface is
    of another size than the parts, or a part is no golden part by the recipe's rules.
    """
    manifest = load_manifest(folder)
    if manifest.surface != recipe.surface:
        own, wanted = manifest.surface, recipe.surface
        raise EngineError(
            f"the golden parts of {folder} are surfaces of {own.height} x {own.width} px, recipe "
            f"{recipe.name} makes {wanted.height} x {wanted.width}; choose golden parts of that size, or "
            "train the engine again"
        )
    golden = [(part.truth, read_surface(manifest, part)) for part in manifest.golden]
    return write_engine_folder(folder, EngineDescription.of(manifest).proven_for(recipe), golden)


def _second_network(
    folder: Path, described: Novelty, tolerance: float, golden: Sequence[tuple[str, NDArray[np.uint8]]]
) -> dict[str, object]:
    """Record what :data:`SECOND` says of ``golden``, file names with patches; its section of engine.yaml."""
    file, recorded = folder / SECOND, folder / "golden" / "pretrained.json"
    novelty_of = onnx_novelty(file)
    table = {name: [float(f"{one:.6g}") for one in novelty_of(patches)] for name, patches in golden}
    write_file(recorded, json.dumps(table, separators=(",", ":")) + "\n")
    return {
        **described.model_dump(),
        "file": {"path": file.name, "sha256": _digest(file)},
        "tolerance": tolerance,
        "golden": {"path": f"golden/{recorded.name}", "sha256": _digest(recorded)},
    }


def _write_manifest(folder: Path, document: Mapping[str, object]) -> None:
    text = yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, width=110)
    write_file(folder / MANIFEST, text)


def _files(folder: Path) -> dict[Variant, Path]:
    """The ONNX files that are in ``folder``, by variant."""
    files = {variant: folder / name for variant, name in MODEL_FILES.items() if (folder / name).is_file()}
    if "fp32" not in files:
        raise EngineError(f"{folder} has no {MODEL_FILES['fp32']}; export the network there first")
    for path in files.values():
        require_plain(path.read_bytes(), path)
    return files


def _require_same_novelty(files: Mapping[Variant, Path], description: EngineDescription) -> None:
    """All networks have the output ``novelty`` and the description says how it was made, or neither."""
    import onnx

    for path in files.values():
        outputs = {output.name for output in onnx.load(str(path)).graph.output}
        if (NOVELTY in outputs) != (description.novelty is not None):
            has = "has" if NOVELTY in outputs else "lacks"
            raise EngineError(
                f"{path} {has} the output `{NOVELTY}`, which the engine's description "
                f"{'does not explain' if NOVELTY in outputs else 'promises'}; write the novelty into all "
                "networks again with `retrain novelty --engine`"
            )


def _names(golden: Sequence[tuple[str, NDArray[np.uint8]]]) -> list[str]:
    return [f"{number:02d}-{truth.replace(' ', '-')}.png" for number, (truth, _) in enumerate(golden, 1)]


def _prepared(files: Mapping[Variant, Path]) -> tuple[dict[Variant, bytes], int]:
    """The networks as they are shipped, and the number of features.

    That is rewritten (:mod:`deploy.rewrites`), readable by TensorRT, and with their second output.
    """
    import onnx

    contents: dict[Variant, bytes] = {}
    widths: dict[str, int] = {}
    for variant, path in files.items():
        model = onnx.load(str(path))
        before = model.SerializeToString()
        widths[path.name] = name_features(cast_first(rewritten(model)))
        after = model.SerializeToString()
        contents[variant] = path.read_bytes() if after == before else after
    if len(set(widths.values())) > 1:
        listed = ", ".join(f"{name} {width}" for name, width in widths.items())
        raise EngineError(
            f"the networks give different numbers of features ({listed}); write INT8 again from fp32"
        )
    return contents, next(iter(widths.values()))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
