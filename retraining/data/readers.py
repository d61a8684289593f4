"""The readers that make data sets of pictures, by name.

A reader is a small frozen class: its fields are its options, and ``read`` returns the data set with notes on
what it noticed. A new kind of source is one more file with
such a class and one more line in :data:`READERS`; the search for duplicates, the splits, the manifest, the
checks and ``open_reader`` then work for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from retraining.data.boxes import CocoBoxes, LabelMeBoxes, VocBoxes, YoloBoxes
from retraining.data.checks import shortcuts
from retraining.data.duplicates import REACH, group_duplicates
from retraining.data.folders import Folders
from retraining.data.groups import declare_groups
from retraining.data.manifest import Dataset
from retraining.data.masks import Masks
from retraining.data.rendered_parts import Rendered
from retraining.data.synthetic import Synthetic
from retraining.errors import DatasetError
from retraining.surfaces.reading import Reporter, silent


class Reader(Protocol):
    """Reads labelled pictures from one kind of source."""

    def read(self) -> Dataset:
        """The pictures with their labels, who labelled them, and groups where the file names give them.

        Raises :class:`DatasetError` with what to do about it.
        """
        ...


READERS: Mapping[str, Callable[..., Reader]] = MappingProxyType(
    {
        "folders": Folders,
        "voc": VocBoxes,
        "coco": CocoBoxes,
        "yolo": YoloBoxes,
        "labelme": LabelMeBoxes,
        "masks": Masks,
        "rendered": Rendered,
        "synthetic": Synthetic,
    }
)
"""Readers by name; the options of each are its class's fields."""


def open_reader(name: str, **options: Any) -> Reader:
    """A reader by name with its options; raises :class:`DatasetError` for an unknown or missing one."""
    if name not in READERS:
        raise DatasetError(f"no reader is called {name!r}; use {', '.join(READERS)}")
    made = READERS[name]
    known = {field.name: field for field in dataclasses.fields(made)}  # type: ignore[arg-type]
    unknown = set(options) - set(known)
    missing = {n for n, f in known.items() if _needed(f)} - set(options)
    if unknown or missing:
        raise DatasetError(
            f"the reader {name} takes the options {', '.join(known)}"
            + (f", not {', '.join(sorted(unknown))}" if unknown else "")
            + (f"; it needs {', '.join(sorted(missing))}" if missing else "")
        )
    return made(**options)


def build(
    reader: Reader,
    *,
    reach: int = REACH,
    join: str = "all",
    group_by: str = "",
    groups: Path | None = None,
    report: Reporter = silent,
) -> Dataset:
    """The data set that a reader gives, with duplicates in one group and notes on shortcuts.

    ``group_by`` and ``groups`` declare groups (:func:`declare_groups`), which are not joined with one
    another; ``join`` says which duplicates are joined (:func:`group_duplicates`).

    Rendered and synthetic pictures are not searched for duplicates, because each of them was made by itself.
    ``reach`` is how many of the following names are searched for overlaps; 0: none.
    """
    dataset = reader.read()
    if isinstance(reader, Rendered | Synthetic):
        return dataset
    declared = declare_groups(dataset, by=group_by, table=groups)
    grouped = group_duplicates(declared, reach=reach, join=join, report=report)
    return grouped.with_pictures(grouped.pictures, *shortcuts(grouped))


def _needed(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
