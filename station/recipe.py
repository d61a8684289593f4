"""recipes/*.yaml: one product - how it lies in the frame, its patches, engine, classes, bins, thresholds.

Every key is described in docs/recipes.md. A recipe is read once, checked as a whole and never changed;
its digest stands in every record of a part that was decided with it.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from drivers.settings import RiskySection, Section, mistake
from station.stereo.rig import Stereo
from station.strict_yaml import DocumentError, Mistake, closest, line_of, load_document, read_bytes

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Variant = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(@[0-9]{1,5})?$")]
"""A recipe's name, with the width of its product behind an ``@`` where that is known."""
CLASS_NAME = r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,31}$"
ClassName = Annotated[str, StringConstraints(pattern=CLASS_NAME)]
Pixels = Annotated[int, Field(ge=1, le=65_535)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Bin = Annotated[int, Field(ge=0, le=255)]


SMALLEST_ON_DARK = 192
"""The smallest side of a product that is searched on a dark background, px."""


TEXTURE_STRIP_PX, TEXTURE_BAND = 64, 384
"""The width of a strip and the lines of a band in which a product's texture is looked at, px."""
SMALLEST_FOR_TEXTURE = TEXTURE_STRIP_PX + 8, TEXTURE_BAND + 9
"""The smallest width and height of a product whose texture can be looked at, px."""

MOST_BLIND, MOST_BLIND_PATCH = 0.5, 0.9
"""The fractions of a product and of a patch that may be black or saturated without ``accept_risk``."""

LOOSE, TOO_LOOSE = 0.05, 0.25
"""A tolerance above these fractions of a size needs ``accept_risk``, and is refused; 6 and 12 px never.

Within the tolerance, a part of the product that is missing or black is not noticed.
"""

SURE, TOO_SURE = 0.98, 0.99
"""Defect probabilities: to let a patch pass above these needs ``accept_risk``, and is refused."""

CALM, FLAT = 0.25, 4.0
"""Temperatures outside these turn sure probabilities into unsure ones, or the other way round."""


UNKNOWN = "unknown"
"""The class name of a part that is far from what the engine was trained on; no class may have it."""


class RecipeError(DocumentError):
    """A recipe cannot be used; the message names file, line, key and remedy."""


class ProductLimits(RiskySection):
    """The limits beyond which a picture is too bright or too dark to be inspected."""

    min_contrast: Annotated[int, Field(ge=1, le=255)] = 8
    """the least difference between product and background, grey levels"""
    min_level: Annotated[int, Field(ge=0, le=255)] = 24
    """the lowest median grey level of a product that can be inspected"""
    saturated_level: Annotated[int, Field(ge=1, le=255)] = 250
    """the grey level at or above which a pixel counts as saturated"""
    max_saturated: Fraction = 0.25
    """the fraction of the product's pixels that may be saturated"""
    max_saturated_patch: Fraction = 0.75
    """the fraction of a single patch that may be saturated"""
    black_level: Annotated[int, Field(ge=0, le=254)] = 8
    """the grey level at or below which a pixel counts as black"""
    max_black: Fraction = 0.25
    """the fraction of the product's pixels that may be black"""
    max_black_patch: Fraction = 0.75
    """the fraction of a single patch that may be black"""
    max_beside: Annotated[float, Field(gt=0.0, le=64.0)] = 8.0
    """the most grey levels by which the 12 px beside the product's edges may exceed the background"""
    max_outside: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1
    """the most that is bright beside the product, as a fraction of the product's size"""

    def check(self) -> None:
        """Levels that contradict each other."""
        if self.black_level >= self.saturated_level:
            problem = f"is {self.black_level}, not below saturated_level {self.saturated_level}"
            raise mistake("black_level", problem, "write a level below saturated_level")
        if self.min_level >= self.saturated_level:
            problem = f"is {self.min_level}, not below saturated_level {self.saturated_level}"
            raise mistake("min_level", problem, "write a level below saturated_level")

    def risks(self) -> Iterator[tuple[str, str]]:
        """Limits that no longer see a blind camera, a lamp that is out or a picture that is burnt out."""
        if self.min_contrast < 4:
            yield "min_contrast", "below 4 takes noise for a product"
        if self.min_level <= self.black_level:
            yield "min_level", "at or below black_level takes a product in the dark for an inspected one"
        for key, most in (
            ("max_saturated", MOST_BLIND),
            ("max_saturated_patch", MOST_BLIND_PATCH),
            ("max_black", MOST_BLIND),
            ("max_black_patch", MOST_BLIND_PATCH),
        ):
            if getattr(self, key) > most:
                yield key, f"above {most:g} lets a surface pass on which nothing can be seen"
        if self.max_beside > 24:
            yield "max_beside", "above 24 lets a dark strip of the product be cut away"
        if self.max_outside > 0.25:
            yield "max_outside", "above 0.25 lets a piece of the product lie beside the region"


class Texture(Section):
    """The least that the lines of a picture must show to be metal; `station limits` learns it."""

    min_change: Annotated[float, Field(gt=0.0, le=64.0)]
    """the least mean difference between neighbouring lines, in each of four strips, grey levels"""
    min_grain: Annotated[float, Field(gt=0.0, le=64.0)]
    """the least mean difference between neighbouring pixels of a strip, in each 384 lines, grey levels"""
    min_texture: Annotated[float, Field(gt=0.0, le=64.0)]
    """the least mean change of a strip's level from line to line, in each 384 lines, grey levels"""
    max_repeated_lines: Annotated[int, Field(ge=0, le=16)] = 0
    """the most lines that are equal to another line of the product"""


class Product(RiskySection):
    """How the product lies in the frame."""

    background: Literal["dark", "none"]
    """`dark` (the product is cut out of a dark background) or `none` (the whole picture is the product)"""
    widths_px: Annotated[tuple[Pixels, ...], Field(min_length=1, max_length=64)]
    """the widths that products of this recipe have in the frame, px"""
    height_px: Pixels
    """the height that products of this recipe have in the frame, px"""
    width_tolerance_px: Annotated[int, Field(ge=0, le=4096)] = 6
    """the largest difference between a measured width and the nearest of `widths_px`, px"""
    height_tolerance_px: Annotated[int, Field(ge=0, le=4096)] = 6
    """the largest difference between a measured height and `height_px`, px"""
    max_tilt_deg: Annotated[float, Field(ge=0.0, le=3.0)] = 1.5
    """the largest tilt that is straightened, degrees"""
    mm_per_px_x: Annotated[float, Field(gt=0.0, le=100.0)]
    """the size of a frame pixel across, mm"""
    mm_per_px_y: Annotated[float, Field(gt=0.0, le=100.0)]
    """the size of a frame pixel down (along the turn), mm"""
    surface_speed_mm_s: Annotated[float, Field(gt=0.0, le=100_000.0)] | None = None
    """the speed of the surface under a line-scan camera, mm/s: the camera's line rate is set to this speed \
divided by `mm_per_px_y`; without it, the camera keeps its own line rate"""
    turn_overlap_px: Annotated[int, Field(ge=16, le=4096)] | None = None
    """the lines that a picture has at least beyond one turn (`height_px` and its tolerance): the overlap is \
found by correlation and cut away where no defect lies; without it, pictures show the product once"""
    sixteen_bit_white: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """the grey value of white in 16-bit picture files (65535, or 4095 from a 12-bit camera); without it, \
such files are refused"""
    limits: ProductLimits = ProductLimits()
    """brightness limits"""
    texture: Texture | None = None
    """what the lines of a picture must show to be metal; without it, frozen lines are not found"""

    def check(self) -> None:
        """Widths that are not told apart, tolerances that hold any product."""
        widths = sorted(self.widths_px)
        if len(set(widths)) != len(widths):
            raise mistake("widths_px", "has a width twice", "keep one of the two")
        if min(widths) <= self.width_tolerance_px:
            raise mistake("width_tolerance_px", "is as large as the product", "write a few pixels")
        if self.background == "dark" and min(widths[0], self.height_px) < SMALLEST_ON_DARK:
            key = "widths_px" if widths[0] < SMALLEST_ON_DARK else "height_px"
            problem = f"is less than {SMALLEST_ON_DARK} px, too small to be found on a background"
            raise mistake(key, problem, "magnify, or crop in the camera and use `background: none`")
        if self.height_px <= self.height_tolerance_px:
            raise mistake("height_tolerance_px", "is as large as the product", "write a few pixels")
        narrow, low = SMALLEST_FOR_TEXTURE
        if self.texture is not None and (widths[0] < narrow or self.height_px < low):
            problem = f"needs a product of {narrow} x {low} px or more"
            raise mistake("texture", problem, "leave it out")
        for key, tolerance, size in self._tolerances():
            if tolerance > max(12, TOO_LOOSE * size):
                problem = f"is {tolerance} of {size} px; a product that is cut by a quarter is another one"
                raise mistake(key, problem, "write a few pixels")
        for narrow, wide in itertools.pairwise(widths):
            if 2 * self.width_tolerance_px >= wide - narrow:
                problem = f"is {self.width_tolerance_px}, and {narrow} and {wide} px are not told apart"
                raise mistake("width_tolerance_px", problem, "write less than half of their difference")

    @property
    def line_rate_hz(self) -> float | None:
        """Lines per second with which a pixel is as long as ``mm_per_px_y``; None for the camera's own."""
        speed = self.surface_speed_mm_s
        return None if speed is None else speed / self.mm_per_px_y

    def risks(self) -> Iterator[tuple[str, str]]:
        """Tolerances in which a missing piece of the product would not be noticed."""
        for key, tolerance, size in self._tolerances():
            if tolerance > max(6, LOOSE * size):
                yield key, f"above {LOOSE:.0%} of {size} px lets a product pass of which a strip is missing"

    def _tolerances(self) -> tuple[tuple[str, int, int], ...]:
        """The tolerances by their keys, and the sizes that they are to be measured against."""
        return (
            ("width_tolerance_px", self.width_tolerance_px, min(self.widths_px)),
            ("height_tolerance_px", self.height_tolerance_px, self.height_px),
        )


class SurfaceSize(Section):
    """The size to which every product's surface is resized, px."""

    height: Pixels
    """the height of the surface, px (2048 for servo-motor housings)"""
    width: Pixels
    """the width of the surface, px (512 for servo-motor housings)"""
    channels: Literal[1, 3] = 1
    """1 (grey) or 3 (BGR)"""


class PatchGrid(Section):
    """The squares into which the surface is cut."""

    size: Annotated[int, Field(ge=16, le=2048)]
    """the side of a patch, px of the surface"""
    overlap_px: Annotated[int, Field(ge=0, le=2047)] = 0
    """the overlap of neighbouring patches, px of the surface"""

    @model_validator(mode="after")
    def _patches_advance(self) -> Self:
        if self.overlap_px >= self.size:
            raise mistake(
                "overlap_px", f"must be less than the patch size {self.size}", "write a smaller overlap"
            )
        return self

    @property
    def stride(self) -> int:
        """Distance from one patch to the next, px of the surface."""
        return self.size - self.overlap_px

    def counts(self, height: int, width: int) -> tuple[int, int]:
        """Whole patches down and across a surface of ``height`` x ``width`` px; at least 0."""
        down, across = ((side - self.size) // self.stride + 1 for side in (height, width))
        return max(down, 0), max(across, 0)

    def fills(self, side: int) -> bool:
        """Whether the patches reach exactly from one end of a side of the surface, px, to the other."""
        return side >= self.size and (side - self.size) % self.stride == 0


class ProductClass(RiskySection):
    """One class of the engine, in the engine's order; the first is the good one."""

    name: ClassName
    """the class's name as the engine has it"""
    bin: Bin
    """the bin, 0..255, to which a part of this class goes"""
    threshold: Fraction = 0.0
    """the probability from which a patch counts as this class, even if another is likelier; 0 = not used"""
    release_below: Annotated[float, Field(ge=0.0, le=TOO_SURE)] = 0.0
    """the sum of defect probabilities below which a patch of this class counts as good; 0 = never"""

    def risks(self) -> Iterator[tuple[str, str]]:
        """A defect of which the network is sure, let pass."""
        if self.release_below > SURE:
            yield "release_below", f"above {SURE:g} lets defects pass of which the network is sure"


class DecisionRules(RiskySection):
    """Rules of the decision in addition to Algorithm 1."""

    temperature: Annotated[float, Field(ge=0.05, le=20.0)] = 1.0
    """the number by which log-probabilities are divided (1 = unchanged)"""

    unknown: Literal["report", "reject"] = "report"
    """`report` (a part that is far from what the engine was trained on keeps its verdict) or `reject`"""
    unknown_bin: Bin | None = None
    """the bin, 0..255, for parts rejected as `unknown`; needed with `unknown: reject`, refused without"""

    known_bad_first: ClassName | None = None
    """the class of a known-bad part: after each start and changeover, every part that would be accepted is \
a fault until one was rejected as this class; without it, nothing is asked for"""

    def check(self) -> None:
        """Unknown parts without a bin, or a bin without them."""
        if self.unknown == "reject" and self.unknown_bin is None:
            remedy = "write the bin for unknown parts, 0..255, on the reject side"
            raise mistake("unknown_bin", "is missing, and `unknown: reject` needs it", remedy)
        if self.unknown == "report" and self.unknown_bin is not None:
            problem = "is not used: with `unknown: report` no part is rejected as unknown"
            raise mistake("unknown_bin", problem, "write `unknown: reject`, or remove the key")

    def risks(self) -> Iterator[tuple[str, str]]:
        """A temperature that no calibration gives."""
        if not CALM <= self.temperature <= FLAT:
            yield "temperature", f"outside {CALM:g} to {FLAT:g} moves probabilities past any threshold"


class Recipe(Section):
    """One product, complete."""

    name: Name
    """the recipe's name: letters, digits, `.`, `_`, `-`; the file's name without `.yaml`"""
    version: Annotated[int, Field(ge=1)]
    """the recipe's version, a whole number; raise it with every change"""
    description: Annotated[str, StringConstraints(max_length=500)] = ""
    """a sentence for people"""
    product: Product
    """how the product lies in the frame"""
    stereo: Stereo | None = None
    """the lamps that light a part one after another, one frame each; without it, a part is one frame"""
    surface: SurfaceSize
    """the size to which the surface is resized, px"""
    patch: PatchGrid
    """the patches of the surface"""
    engine: Name
    """the name of the engine's folder below the engines directory"""
    classes: Annotated[tuple[ProductClass, ...], Field(min_length=1, max_length=254)]
    """the engine's classes in its order; the first one is the good one"""
    decision: DecisionRules = DecisionRules()
    """rules of the decision in addition to Algorithm 1"""
    fault_bin: Bin
    """the bin, 0..255, for parts that could not be inspected; on the reject side"""
    text: str = Field(default="", repr=False)
    """the file's text, which the journal keeps once per digest (computed)"""
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the file's bytes, hex"""

    @property
    def frames(self) -> int:
        """Frames of one part."""
        return 1 if self.stereo is None else len(self.stereo.lamps)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across."""
        return self.patch.counts(self.surface.height, self.surface.width)

    @property
    def patch_count(self) -> int:
        """Patches of one part."""
        rows, columns = self.grid
        return rows * columns

    def line_of(self, key: str) -> int:
        """The line of a dotted key in the recipe's file, from 1; 0 where it is not in the file."""
        return line_of(self.text, key)

    @property
    def _rejectable(self) -> tuple[str, ...]:
        """What a part can be rejected as."""
        defects = tuple(entry.name for entry in self.classes[1:])
        return (*defects, UNKNOWN) if self.decision.unknown == "reject" else defects

    @model_validator(mode="after")
    def _grid_fits(self) -> Self:
        for axis, length in (("height", self.surface.height), ("width", self.surface.width)):
            size, stride = self.patch.size, self.patch.stride
            if not self.patch.fills(length):
                below = size + max(0, (length - size) // stride) * stride
                fitting = f"{below} or {below + stride}" if below < length else f"{below}"
                overlap = self.patch.overlap_px
                raise mistake(
                    f"surface.{axis}",
                    f"is {length}, which patches of {size} with {overlap} px overlap do not fill exactly",
                    f"write {fitting}, or change the patch",
                )
        if self.patch_count > 4096:
            problem = f"makes {self.patch_count} patches per part, more than 4096"
            raise mistake("patch.size", problem, "write larger patches or less overlap")
        return self

    @model_validator(mode="after")
    def _lamps_fit(self) -> Self:
        if self.stereo is None:
            return self
        if self.surface.channels != 3:
            problem = "is 1, and the pictures of the lamps become three channels"
            raise mistake("surface.channels", problem, "write 3, or remove `stereo`")
        if self.product.turn_overlap_px is not None:
            problem = "cannot be used with `stereo`: each frame would be cut at another place of the turn"
            raise mistake("product.turn_overlap_px", problem, "let each frame show one turn, from one start")
        return self

    @model_validator(mode="after")
    def _no_defect_reaches_the_good_bin(self) -> Self:
        good = self.classes[0]
        for index, entry in enumerate(self.classes):
            if entry.name in (other.name for other in self.classes[:index]):
                raise mistake("classes", f"has the name '{entry.name}' twice", "give each class its own name")
            if index and entry.bin == good.bin:
                problem = f"sends '{entry.name}' to bin {good.bin}, the bin of good parts"
                raise mistake("classes", problem, "give the defect another bin")
            if entry.name == UNKNOWN:
                problem = f"has the name '{UNKNOWN}', which is for parts far from what the engine knows"
                raise mistake("classes", problem, "give the class another name")
        if len(self.classes) == 1 and self.decision.unknown != "reject":
            problem = f"has only '{good.name}', so that nothing would ever be rejected"
            remedy = "add the defect classes, or write `unknown: reject` and `unknown_bin` below `decision`"
            raise mistake("classes", problem, remedy)
        if good.threshold or good.release_below:
            problem = f"gives the good class '{good.name}' a threshold"
            raise mistake(
                "classes", problem, "set thresholds on defect classes: they decide what is rejected"
            )
        first = self.decision.known_bad_first
        if first is not None and first not in self._rejectable:
            known = ", ".join(self._rejectable)
            problem = f"is {first!r}, as which no part is ever rejected"
            raise mistake("decision.known_bad_first", problem, f"write one of {known}")
        if self.decision.unknown_bin == good.bin:
            problem = f"is {good.bin}, the bin of good parts"
            raise mistake("decision.unknown_bin", problem, "write a bin on the reject side")
        if self.fault_bin == good.bin:
            raise mistake(
                "fault_bin", f"is {good.bin}, the bin of good parts", "write a bin on the reject side"
            )
        return self


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe. Raises :class:`RecipeError`."""
    return check_recipe(path, read_bytes(path, RecipeError))


def check_recipe(path: Path, content: bytes) -> Recipe:
    """The recipe that stands, or is to be written, in a file. Raises :class:`RecipeError`, which names it."""
    computed = {
        "digest": hashlib.sha256(content).hexdigest(),
        # What is not UTF-8 is refused by load_document, with its line.
        "text": content.decode("utf-8", "replace"),
    }
    return load_document(path, Recipe, RecipeError, computed=computed, content=content)


def split_size(name: str) -> tuple[str, int | None]:
    """``recipe@1065`` as the recipe's name and the width of its product, px; None where it names no width."""
    found = re.fullmatch(r"(.*)@([0-9]{1,5})", name)
    return (found[1], int(found[2])) if found else (name, None)


def recipe_and_width(name_or_path: str, directory: Path) -> tuple[Recipe, int | None]:
    """The recipe ``NAME`` or ``NAME@WIDTH``, and the width, px; None where none is given.

    Raises :class:`RecipeError`, also for a width that the recipe does not have.
    """
    name, width = split_size(name_or_path)
    path = find_recipe(name, directory)
    recipe = load_recipe(path)
    if width is not None and width not in recipe.product.widths_px:
        known = ", ".join(map(str, recipe.product.widths_px))
        problem = f"has no width {width}"
        raise RecipeError(path, Mistake(0, "product.widths_px", problem, f"write one of {known}"))
    return recipe, width


def prepared_recipe(name_or_path: str, directory: Path) -> Recipe:
    """The recipe that a line is to work with, under the name that it says. Raises :class:`RecipeError`.

    A file that gives itself another recipe's name would be announced to the cell, and recorded, as that one.
    """
    path = find_recipe(split_size(name_or_path)[0], directory)
    recipe, _ = recipe_and_width(name_or_path, directory)
    if recipe.name != path.stem:
        problem = f"is '{recipe.name}', not the file's name '{path.stem}'"
        raise RecipeError(path, Mistake(0, "name", problem, f"write `name: {path.stem}`, or rename the file"))
    return recipe


def find_recipe(name_or_path: str, directory: Path) -> Path:
    """The file of a recipe given by its name in ``directory`` or by a path. Raises :class:`RecipeError`."""
    given = Path(name_or_path)
    if given.suffix in (".yaml", ".yml") or len(given.parts) > 1:
        if given.is_file():
            return given
        raise RecipeError(given, Mistake(0, "", "does not exist", "name a recipe's file or its name"))
    for suffix in (".yaml", ".yml"):
        file = directory / f"{name_or_path}{suffix}"
        if file.is_file():
            return file
    names = sorted({file.stem for file in directory.glob("*.y*ml")}) if directory.is_dir() else []
    remedy = closest(name_or_path, names) if names else "the folder holds no recipe; check `paths.recipes`"
    raise RecipeError(directory, Mistake(0, "", f"has no recipe '{name_or_path}'", remedy))
