"""The kinds of experiments by name, and how a YAML file becomes one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ConfigDict, Field

from retraining.errors import PlanError
from retraining.experiments import (
    clean_twins,
    latent_grid,
    latent_rivals,
    neu_cls,
    neu_cls_64,
    rare_class,
    sdg_gan,
    segment_shares,
    smh_networks,
    smh_versions,
    stereo,
)
from retraining.experiments.plan import Experiment, Section, SizeName
from retraining.experiments.tasks import Task
from station.strict_yaml import Mistake, closest, load_document, read_bytes


@dataclass(frozen=True, slots=True)
class Kind:
    """How plans of a kind are read, and which tasks they ask for."""

    plan: type[Experiment]
    tasks: Callable[[Any, Any], tuple[Task, ...]]
    """Given the plan and its size; the leaves of the graph, what they need hangs on them."""


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "neu-cls": Kind(neu_cls.Plan, neu_cls.tasks),
        "neu-cls-64": Kind(neu_cls_64.Plan, neu_cls_64.tasks),
        "latent-grid": Kind(latent_grid.Plan, latent_grid.tasks),
        "latent-rivals": Kind(latent_rivals.Plan, latent_rivals.tasks),
        "smh-versions": Kind(smh_versions.Plan, smh_versions.tasks),
        "segment-shares": Kind(segment_shares.Plan, segment_shares.tasks),
        "smh-networks": Kind(smh_networks.Plan, smh_networks.tasks),
        "rare-class": Kind(rare_class.Plan, rare_class.tasks),
        "sdg-gan": Kind(sdg_gan.Plan, sdg_gan.tasks),
        "stereo": Kind(stereo.Plan, stereo.tasks),
        "clean-twins": Kind(clean_twins.Plan, clean_twins.tasks),
    }
)


class _AnyKind(Section):
    model_config = ConfigDict(extra="ignore")

    kind: str = Field(description="the kind of experiment")


def load_experiment(path: Path) -> Experiment:
    """Read and check a plan. Raises :class:`PlanError` with file, line, key and remedy."""
    content = read_bytes(path, PlanError)
    kind = load_document(path, _AnyKind, PlanError, content=content).kind
    if kind not in KINDS:
        raise PlanError(path, Mistake(_line_of(content), "kind", f"is '{kind}'", closest(kind, list(KINDS))))
    return load_document(path, KINDS[kind].plan, PlanError, content=content)


def size_of(plan: Experiment, name: SizeName) -> Section:
    """The plan's settings at a size."""
    size: Section = getattr(plan, name)
    return size


def tasks_of(plan: Experiment, name: SizeName) -> tuple[Task, ...]:
    """The tasks that a plan asks for at a size."""
    kind = next(kind for kind in KINDS.values() if isinstance(plan, kind.plan))
    return kind.tasks(plan, size_of(plan, name))


def _line_of(content: bytes) -> int:
    lines = content.decode("utf-8-sig").splitlines()
    return next((number for number, line in enumerate(lines, 1) if line.startswith("kind:")), 1)
