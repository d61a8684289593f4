"""engine.yaml: the description of an engine folder - patches, rules, files, golden parts, figures, gate.

Only the shape of the file is checked here; :mod:`station.engines.folder` checks the folder against it.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from station.decision import Rules
from station.outcomes import Outcomes
from station.recipe import UNKNOWN, PatchGrid, Recipe, SurfaceSize

FORMAT = 2
"""The format of engine.yaml; format 1 did not record the patches and rules that it was proven with."""

INT8_SIGNED: Final = "int8-signed"
"""The variant with signed activations and floating-point biases, the only INT8 that TensorRT reads."""

PATCHES, PROBABILITIES, FEATURES, NOVELTY = "patches", "probabilities", "features", "novelty"
"""The names of a network's input and of its outputs in every ONNX file; the last two are optional."""

OWN: Final = "own"
"""The features of a novelty that the classifier computes from its own ones."""

Variant = Literal["fp32", "int8", "int8-signed"]

_COMPONENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,99}")


def _inside(path: str) -> str:
    """A relative path that stays in the folder, whatever the operating system."""
    parts = PurePosixPath(path).parts
    if not parts or len(parts) > 3 or not all(_COMPONENT.fullmatch(part) for part in parts):
        problem = "is not a plain relative path inside the engine's folder"
        raise _wrong("", problem, "write for example `model.onnx` or `golden/01-scratch.png`")
    return path


def _not_format_1(given: object) -> object:
    if given == 1:
        problem = "is 1, which does not say which patches and decision rules the engine was proven with"
        remedy = (
            "write 2, and in place of `patch_px` and `channels` the `surface`, `patch` and `rules` of its "
            "recipe (docs/engines.md shows them); or train it again"
        )
        raise _wrong("", problem, remedy)
    return given


InnerPath = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_inside)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
ClassName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,31}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
GateLimit = Annotated[float, Field(ge=0.0, le=0.01)]
"""No engine.yaml may open its own gate wider than 1 %: INT8 would then be no copy of fp32."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class FileEntry(_Section):
    """A file of the folder and what it must contain."""

    path: InnerPath
    """the file's path inside the folder, with `/`"""
    sha256: Sha256
    """SHA-256 of the file's bytes, hex"""


class GoldenPart(FileEntry):
    """A surface, losslessly stored, whose scores are recorded."""

    truth: ClassName
    """the class that is on the part; `unknown` for a known bad part that no class of the engine names"""


class EngineRules(_Section):
    """The decision rules that the engine was proven with, as in its recipe; only the recipe has bins."""

    temperature: Annotated[float, Field(ge=0.05, le=20.0)] = 1.0
    """the temperature by which log-probabilities are divided (1 = unchanged)"""
    thresholds: dict[ClassName, Share] = {}
    """by class, the probability from which a patch counts as this class"""
    release_below: dict[ClassName, Share] = {}
    """by class, the sum of defect probabilities below which a patch counts as good"""
    unknown: Literal["report", "reject"] = "report"
    """whether a part that is far from what the engine was trained on is rejected"""

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """The rules of a recipe; what it does not use is left out."""
        return cls(
            temperature=recipe.decision.temperature,
            thresholds={one.name: one.threshold for one in recipe.classes if one.threshold},
            release_below={one.name: one.release_below for one in recipe.classes if one.release_below},
            unknown=recipe.decision.unknown,
        )

    def for_classes(self, classes: tuple[str, ...], surface: SurfaceSize, patch: PatchGrid) -> Rules:
        """The same as the decision wants them."""
        rows, columns = patch.counts(surface.height, surface.width)
        return Rules(
            rows * columns,
            classes,
            self.temperature,
            tuple(self.thresholds.get(name, 0.0) for name in classes),
            tuple(self.release_below.get(name, 0.0) for name in classes),
            self.unknown == "reject",
        )


class Novelty(_Section):
    """How far a patch is from what the engine was trained on: the output `novelty`, 1 = the threshold."""

    method: Name
    """how the distance is computed, for example mahalanobis"""
    features: Name
    """the features in which it is computed: `own` (the classifier's) or the name of a pretrained network"""
    good_parts: Annotated[int, Field(ge=1)]
    """good parts, none of them trained on, by which the threshold was chosen"""
    good_above: Share
    """the share of these good parts of which a patch is above the threshold"""
    description: Annotated[str, StringConstraints(max_length=2000)] = ""
    """a sentence for people: what was fitted on what"""


class PretrainedNovelty(Novelty):
    """A second network, beside the classifier: the novelty of patches by features that need no classifier.

    No verdict is taken by it; the station computes it in spare time.
    """

    file: FileEntry
    """the ONNX file, fp32"""
    tolerance: Annotated[float, Field(gt=0.0, le=0.5)] = 0.05
    """the largest difference of a patch's novelty from the recorded one, as a share of it, or of 1 if less"""
    golden: FileEntry
    """recorded novelty of every patch of the golden parts, JSON: {"01-scratch.png": [0.3, ...], ...}"""


class Golden(_Section):
    """The parts that an engine must reproduce on every device before it is trusted."""

    tolerance: Annotated[float, Field(gt=0.0, le=0.05)] = 0.02
    """the largest difference of a probability from the recorded fp32 one, for fp32, bf16 and fp16"""
    int8_tolerance: Annotated[float, Field(gt=0.0, le=0.25)] = 0.1
    """the largest difference of an INT8 probability from its own recorded one"""
    features_tolerance: Annotated[float, Field(gt=0.0, le=0.5)] = 0.1
    """the largest difference of a patch's features from the recorded ones, as a share of their length"""
    novelty_tolerance: Annotated[float, Field(gt=0.0, le=0.5)] = 0.2
    """the largest difference of a patch's novelty from the recorded one, as a share of it, or of 1 if less"""
    scores: FileEntry
    """the recorded scores, JSON: {"fp32": {"01-scratch.png": [[p, ...], ...]}, "int8": {...}}"""
    features: FileEntry | None = None
    """recorded features, JSON: {"fp32": {"01-scratch.png": {"patch": 3, "values": [...]}}, "int8": ...}"""
    novelty: FileEntry | None = None
    """recorded novelty of every patch, JSON: {"fp32": {"01-scratch.png": [0.3, ...]}, "int8": {...}}"""
    parts: Annotated[tuple[GoldenPart, ...], Field(min_length=1, max_length=100)]
    """the golden parts, at least one of each class; twelve are usual"""


class Spread(_Section):
    """How a value is spread over parts."""

    mean: Annotated[float, Field(ge=0.0)]
    """its mean"""
    spread: Annotated[float, Field(ge=0.0)]
    """its standard deviation"""


class UsualParts(_Section):
    """How good parts of the kind that the engine was trained on look and end: what drift is measured from."""

    parts: Annotated[int, Field(ge=1)]
    """good parts, none of them trained on, that the engine accepts"""
    brightness: Spread
    """the mean grey level of their surfaces, 0 to 255"""
    focus: Spread
    """the sharpness of their surfaces (docs/engines.md)"""
    confidence: Spread
    """the confidence of their verdicts"""


class PartFigures(_Section):
    """The figures of one network on the test parts, by the station's patching and decision."""

    parts: Annotated[int, Field(ge=1)]
    """parts inspected"""
    good: Count
    """parts without a defect"""
    defective: Count
    """parts with a defect"""
    right: Count
    """parts whose verdict names a class that is on them"""
    escapes: Count
    """defective parts that were accepted"""
    overkill: Count
    """good parts that were not accepted"""
    faults: Count
    """parts that could not be inspected"""

    good_faults: Count = 0
    """good parts that could not be inspected; they are counted in `overkill`, too"""

    @property
    def outcomes(self) -> Outcomes:
        """The same counts, with their rates."""
        return Outcomes(**self.model_dump())

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.good + self.defective != self.parts or self.right > self.parts:
            raise _wrong("parts", "is not `good` plus `defective`", "copy the figures of the evaluation")
        if self.escapes > self.defective or not self.good_faults <= self.overkill <= self.good:
            raise _wrong("escapes", "has more than there were parts", "copy the figures of the evaluation")
        return self


class Int8Gate(_Section):
    """The limits of how much worse INT8 may be than fp32; beyond them it is not chosen."""

    max_accuracy_loss: GateLimit
    """the largest loss of accuracy of INT8 against fp32, as a share of the parts"""
    max_escape_gain: GateLimit
    """the most additional escapes of INT8 against fp32, as a share of the defective parts"""


class EngineDocument(_Section):
    """engine.yaml."""

    format: Annotated[Literal[2], BeforeValidator(_not_format_1)]
    """the format of this file, 2"""
    name: Name
    """the engine's name; the folder's name"""
    description: Annotated[str, StringConstraints(max_length=2000)] = ""
    """a sentence for people"""
    network: Name
    """the network's name, for example inception-cnn"""
    classes: Annotated[tuple[ClassName, ...], Field(min_length=1, max_length=254)]
    """the class names in the order of the outputs; the first is the good one; one only needs `novelty`"""
    surface: SurfaceSize
    """the size of the surfaces that the engine was proven on, px, and their channels"""
    patch: PatchGrid
    """the patches that the engine was proven on"""
    rules: EngineRules
    """the decision rules that the engine was proven with"""
    features: Annotated[int, Field(ge=0, le=65_536)] = 0
    """the number of features per patch beside the probabilities; 0 = none"""
    novelty: Novelty | None = None
    """how the output `novelty` was made; without it, the engine gives none"""
    pretrained_novelty: PretrainedNovelty | None = None
    """a second network, which says beside the line how far a part is from training"""
    files: Annotated[dict[Variant, FileEntry], Field(min_length=1, max_length=3)]
    """the ONNX files: fp32, and optionally int8 and int8-signed"""
    golden: Golden
    """the golden parts"""
    data: Annotated[tuple[Sha256, ...], Field(max_length=100)] = ()
    """SHA-256 of the manifest (`dataset.json`) of each data set that the networks were trained on"""
    figures: dict[Variant, PartFigures] = {}
    """the figures of each ONNX file on the test parts"""
    usual: UsualParts | None = None
    """how good parts look and end; without it, drift compares with golden parts and with the first shift"""
    int8_gate: Int8Gate | None = None
    """the limits of how much worse INT8 may be than fp32; without them, INT8 is never chosen"""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if "fp32" not in self.files:
            raise _wrong("files", "has no fp32", "add the fp32 ONNX file: all else is measured against it")
        if "int8-signed" in self.files and "int8" not in self.files:
            raise _wrong(
                "files", "has int8-signed without int8", "add the int8 file: its scores are recorded"
            )
        for index, name in enumerate(self.classes):
            if name in self.classes[:index]:
                raise _wrong("classes", f"has {name!r} twice", "give each class its own name")
        if UNKNOWN in self.classes:
            problem = f"has {UNKNOWN!r}, which is for parts far from what the engine knows"
            raise _wrong("classes", problem, "give the class another name")
        self._check_novelty()
        for part in self.golden.parts:
            if part.truth not in self.golden_truths:
                remedy = "use a name of `classes`"
                if part.truth == UNKNOWN:
                    remedy += "; `unknown` needs `rules.unknown: reject`"
                raise _wrong("golden.parts", f"has the unknown truth {part.truth!r}", remedy)
        for side in (self.surface.height, self.surface.width):
            if not self.patch.fills(side):
                problem = (
                    f"of {self.patch.size} px with {self.patch.overlap_px} px overlap does not fill {side} px"
                )
                raise _wrong("patch", problem, "copy `surface` and `patch` of the recipe")
        for key, by_class in (
            ("thresholds", self.rules.thresholds),
            ("release_below", self.rules.release_below),
        ):
            strange = [name for name in by_class if name not in self.classes[1:]]
            if strange:
                problem = f"has {strange[0]!r}, which is no defect class of the engine"
                raise _wrong(f"rules.{key}", problem, f"use one of {', '.join(self.classes[1:])}")
        # Beside one class a known bad part is needed: an engine that says good to everything must fail.
        needed = self.classes if len(self.classes) > 1 else self.golden_truths
        unproven = [name for name in needed if name not in {part.truth for part in self.golden.parts}]
        if unproven:
            problem = f"has no part of class {unproven[0]!r}: an engine that never says it would pass"
            raise _wrong("golden.parts", problem, "record golden parts of every class")
        if self.features and self.golden.features is None:
            raise _wrong(
                "golden.features", "is missing", "record the golden parts again, or write `features: 0`"
            )
        paths = [part.path for part in self.golden.parts]
        if len(set(paths)) != len(paths):
            raise _wrong("golden.parts", "has a file twice", "keep one of the two")
        return self

    def _check_novelty(self) -> None:
        """One class or `reject` without novelty, novelty without what proves it."""
        if self.novelty is None and (self.rules.unknown == "reject" or self.golden.novelty is not None):
            problem = "is missing, though `rules` or `golden` speak of it"
            raise _wrong("novelty", problem, "record the golden parts again with this engine")
        if self.novelty is not None and self.golden.novelty is None:
            raise _wrong("golden.novelty", "is missing", "record the golden parts again with this engine")
        if len(self.classes) == 1 and self.rules.unknown != "reject":
            problem = f"is only {self.classes[0]!r}, so that nothing would ever be rejected"
            raise _wrong("classes", problem, "write `unknown: reject` below `rules`, or train defect classes")
        self._check_pretrained_novelty()

    def _check_pretrained_novelty(self) -> None:
        pretrained = self.pretrained_novelty
        if pretrained is None:
            return
        if len(self.classes) == 1:
            problem = f"is there, though the engine itself has the novelty of {self.classes[0]!r} parts alone"
            raise _wrong("pretrained_novelty", problem, "remove the section")
        if pretrained.features == OWN:
            problem = "is `own`, and a second network has no features of the classifier"
            raise _wrong("pretrained_novelty.features", problem, "name the pretrained network")
        if pretrained.file.path in {entry.path for entry in self.files.values()}:
            problem = f"is {pretrained.file.path!r}, the classifier"
            raise _wrong("pretrained_novelty.file.path", problem, "name the second network's file")

    @property
    def golden_truths(self) -> tuple[str, ...]:
        """What a golden part may be: a class, and `unknown` where the engine rejects unknown parts."""
        return (*self.classes, UNKNOWN) if self.rules.unknown == "reject" else self.classes

    def decision_rules(self) -> Rules:
        """What the decision must know of the engine's own rules."""
        return self.rules.for_classes(self.classes, self.surface, self.patch)


def _wrong(key: str, problem: str, remedy: str) -> PydanticCustomError:
    context = {"problem": problem, "remedy": remedy} | ({"key": key} if key else {})
    return PydanticCustomError("engine", "{problem}", context)
