"""engine.yaml: what an engine folder says of itself - its files, golden parts, figures and INT8 gate.

Only the shape of the file is checked here; :mod:`station.engines.folder` checks the folder against it.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from station.outcomes import Outcomes

FORMAT = 1
"""The only format of engine.yaml so far."""

INT8_SIGNED: Final = "int8-signed"
"""The variant with signed activations and floating-point biases, the only INT8 that TensorRT reads."""

PATCHES, PROBABILITIES, FEATURES = "patches", "probabilities", "features"
"""The names of a network's input and of its outputs in every ONNX file; features are optional."""

Variant = Literal["fp32", "int8", "int8-signed"]

_COMPONENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,99}")


def _inside(path: str) -> str:
    """A relative path that stays in the folder, whatever the operating system."""
    parts = PurePosixPath(path).parts
    if not parts or len(parts) > 3 or not all(_COMPONENT.fullmatch(part) for part in parts):
        problem = "is not a plain relative path inside the engine's folder"
        raise _wrong("", problem, "write for example `model.onnx` or `golden/01-scratch.png`")
    return path


InnerPath = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_inside)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
ClassName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,31}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]


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
    """the class that is on the part"""


class Golden(_Section):
    """The parts that an engine must reproduce on every device before it is trusted."""

    tolerance: Annotated[float, Field(gt=0.0, le=0.05)] = 0.02
    """how far a probability may be from the recorded fp32 one, for fp32, bf16 and fp16"""
    int8_tolerance: Annotated[float, Field(gt=0.0, le=0.25)] = 0.1
    """how far a probability of the INT8 network may be from its own recorded one"""
    scores: FileEntry
    """the recorded scores, JSON: {"fp32": {"01-scratch.png": [[p, ...], ...]}, "int8": {...}}"""
    parts: Annotated[tuple[GoldenPart, ...], Field(min_length=1, max_length=100)]
    """the golden parts; twelve are usual"""


class Figures(_Section):
    """What one network did over the test parts, through the station's patching and decision."""

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
    """How much worse than fp32 the INT8 network may be and still be chosen."""

    max_accuracy_loss: Share
    """the share of parts by which INT8 accuracy may lie below that of fp32"""
    max_escape_gain: Share
    """the share of defective parts by which INT8 escapes may lie above those of fp32"""


class EngineDocument(_Section):
    """engine.yaml."""

    format: Literal[1]
    """the format of this file, 1"""
    name: Name
    """the engine's name; the folder's name"""
    description: Annotated[str, StringConstraints(max_length=2000)] = ""
    """a sentence for people"""
    network: Name
    """the network's name, for example inception-cnn"""
    classes: Annotated[tuple[ClassName, ...], Field(min_length=2, max_length=255)]
    """the class names in the order of the outputs; the first is the good one"""
    patch_px: Annotated[int, Field(ge=8, le=2048)]
    """the side of a patch, px"""
    channels: Literal[1, 3]
    """1 (grey) or 3 (BGR)"""
    features: Annotated[int, Field(ge=0, le=65_536)] = 0
    """the number of features that the network gives of a patch beside its probabilities; 0 = none"""
    files: Annotated[dict[Variant, FileEntry], Field(min_length=1, max_length=3)]
    """the ONNX files: fp32, and optionally int8 and int8-signed"""
    golden: Golden
    """the golden parts"""
    figures: dict[Variant, Figures] = {}
    """what each of the ONNX files did over the test parts"""
    int8_gate: Int8Gate | None = None
    """how much worse INT8 may be and still be chosen; without it INT8 is never chosen"""

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
        for part in self.golden.parts:
            if part.truth not in self.classes:
                raise _wrong(
                    "golden.parts", f"has the unknown truth {part.truth!r}", "use a name of `classes`"
                )
        paths = [part.path for part in self.golden.parts]
        if len(set(paths)) != len(paths):
            raise _wrong("golden.parts", "has a file twice", "keep one of the two")
        return self


def _wrong(key: str, problem: str, remedy: str) -> PydanticCustomError:
    context = {"problem": problem, "remedy": remedy} | ({"key": key} if key else {})
    return PydanticCustomError("engine", "{problem}", context)
