"""The rows of experiments/gpu/rows.yaml, and the units of work that they are made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from retraining.errors import PlanError
from retraining.experiments.plan import Count, Section, Steps
from station.strict_yaml import load_document

ROWS = Path("experiments/gpu/rows.yaml")
ENGINE = Path("engines/servo-motor-housing")
"""The shipped network; also what distances between pictures are measured by, unless a package brings more."""
KINDS = ("imprinted", "pits", "roll-marks", "scratches")
SizeName = Literal["full", "toy"]


class Size(Section):
    """How much of every row."""

    side: Literal[32, 64, 128]
    """side of the pictures, px"""
    pictures: Annotated[int, Field(ge=12, le=100_000)]
    """real pictures per class to learn from; as many unseen ones are compared"""
    patches: Annotated[tuple[Count, ...], Field(min_length=1)]
    """patches per call of an engine; a part has 16"""
    calls: Count
    """timed calls of an engine"""
    batch: Annotated[int, Field(ge=2, le=1024, multiple_of=2)]
    """pictures per step"""
    pair_steps: Steps
    """steps of SDG-GAN and DCGAN"""
    grid_side: Literal[32, 64, 128]
    """side of the pictures of the grid, px"""
    grid_steps: Steps
    """steps of each pair of the grid"""
    latents: Annotated[tuple[Count, ...], Field(min_length=1)]
    """latent numbers of the grid"""
    mappings: Annotated[tuple[Annotated[int, Field(ge=0, le=16)], ...], Field(min_length=1)]
    """mapping layers of the grid"""
    translator_steps: Steps
    """steps of each translator"""
    style_pictures: Count
    """pictures that StyleGAN2's critic sees"""


class Sizes(Section):
    """Both sizes."""

    full: Size
    """the size for a GPU"""
    toy: Size
    """the size at which the rows are tried on a processor"""


@dataclass(frozen=True, slots=True)
class Unit:
    """What is done in one go, and goes on where it was stopped; ``name`` is ``row/column``."""

    name: str
    work: str
    """One of ``engine``, ``onnxruntime``, ``pair``, ``translator``."""
    about: tuple[tuple[str, Any], ...]
    """What the work is called with."""

    @property
    def row(self) -> str:
        """The row of the table."""
        return self.name.partition("/")[0]


def load_sizes(path: Path) -> Sizes:
    """Read the rows; raises :class:`PlanError` that names each mistake."""
    return load_document(path, Sizes, PlanError)


def units(size: Size) -> tuple[Unit, ...]:
    """Every unit, cheap ones first, so that a short lease gives something of most rows."""
    found = [_unit(f"engine/torch-{batch}", "engine", batch=batch) for batch in size.patches]
    found.append(_unit("engine/onnxruntime-cuda", "onnxruntime"))
    for kind in KINDS:
        for system in ("dcgan", "sdg-gan"):
            found.append(
                _unit(f"pairs/{system}-{kind}", "pair", system=system, kind=kind, steps=size.pair_steps)
            )
    for system in ("pe-gan", "pe-gan-free", "star-gan"):
        found.append(_unit(f"translators/{system}", "translator", system=system, steps=size.translator_steps))
    steps = max(1, size.style_pictures // size.batch)
    found.append(_unit("stylegan2/small", "pair", system="stylegan2-small", kind="pits", steps=steps))
    for latent in size.latents:
        for layers in size.mappings:
            found.append(
                _unit(
                    f"grid/latent-{latent}-mapping-{layers}", "pair", system="latent-mapping", kind="pits",
                    steps=size.grid_steps, latent=latent, mapping_layers=layers, side=size.grid_side,
                )
            )  # fmt: skip
    return tuple(found)


def _unit(name: str, work: str, **about: Any) -> Unit:
    return Unit(name, work, tuple(about.items()))
