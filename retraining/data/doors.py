"""The doors through which pictures come into a data set, by name.

A door is a small frozen class: its fields are its options, ``read`` gives the data set with what it noticed.
A new source of pictures (say, the bundles that stations hand off) is one more file with such a class and one
more line in :data:`DOORS`; duplicates, splits, manifests, checks and ``open_door`` then work for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from retraining.data.boxes import VocBoxes
from retraining.data.checks import shortcuts
from retraining.data.duplicates import REACH, Reporter, group_duplicates, silent
from retraining.data.folders import Folders
from retraining.data.manifest import Dataset
from retraining.data.masks import Masks
from retraining.data.rendered_parts import Rendered
from retraining.data.synthetic import Synthetic
from retraining.surfaces import DatasetError


class Door(Protocol):
    """A source of labelled pictures."""

    def read(self) -> Dataset:
        """The pictures with their labels, who gave them, and groups as far as names tell them.

        Raises :class:`DatasetError` with what to do about it.
        """
        ...


DOORS: Mapping[str, Callable[..., Door]] = MappingProxyType(
    {
        "folders": Folders,
        "voc": VocBoxes,
        "masks": Masks,
        "rendered": Rendered,
        "synthetic": Synthetic,
    }
)
"""Door by name; the options of each are its class's fields."""


def open_door(name: str, **options: Any) -> Door:
    """A door by name with its options; raises :class:`DatasetError` for unknown ones."""
    if name not in DOORS:
        raise DatasetError(f"no door is called {name!r}; use {', '.join(DOORS)}")
    made = DOORS[name]
    known = {field.name: field for field in dataclasses.fields(made)}  # type: ignore[arg-type]
    unknown = set(options) - set(known)
    missing = {n for n, f in known.items() if _needed(f)} - set(options)
    if unknown or missing:
        raise DatasetError(
            f"the door {name} knows the options {', '.join(known)}"
            + (f", not {', '.join(sorted(unknown))}" if unknown else "")
            + (f"; it needs {', '.join(sorted(missing))}" if missing else "")
        )
    return made(**options)


def build(door: Door, *, reach: int = REACH, report: Reporter = silent) -> Dataset:
    """What comes through a door, with duplicates in one group and notes on shortcuts.

    Rendered and synthetic pictures are each made anew and not searched for duplicates. ``reach`` is how many
    following names are looked at for overlaps; 0 for none.
    """
    dataset = door.read()
    if isinstance(door, Rendered | Synthetic):
        return dataset
    grouped = group_duplicates(dataset, reach=reach, report=report)
    return grouped.with_pictures(grouped.pictures, *shortcuts(grouped))


def _needed(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
