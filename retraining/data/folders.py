"""The reader of folders of pictures: the class is in the path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from retraining.data.listing import CLASS_FOLDERS, class_order, list_named, make_dataset
from retraining.data.manifest import Dataset
from retraining.surfaces.reading import Reporter, silent


@dataclass(frozen=True, slots=True)
class Folders:
    """Pictures below ``root`` whose path names their class, by default through one sub-folder per class."""

    root: Path
    pattern: str = CLASS_FOLDERS
    """Regular expression for the path below the root, with groups ``label`` and perhaps ``group``."""
    classes: tuple[str, ...] = ()
    """Their order, the good one first; others are left out. Empty: all, by name."""
    rename: Mapping[str, str] = field(default_factory=dict)
    """From the names' labels to class names."""
    labelled_by: str = "person"
    sixteen_bit_white: int | None = None
    """The value that is white in 16-bit files; without it such files are refused."""
    report: Reporter = silent

    def read(self) -> Dataset:
        """See :class:`retraining.data.readers.Reader`."""
        found, notes = list_named(self.root, self.pattern, self.rename)
        classes = class_order((n.label for n in found), tuple(self.classes))
        if self.pattern == CLASS_FOLDERS and all(n.path.count("/") > 1 for n in found):
            notes.append(
                f"all pictures lie in folders below those of the classes {', '.join(classes)}; if the deeper "
                "folders are the classes, add --pattern '[^/]+/(?P<label>[^/]+)/'"
            )
        entries = [(named, None) for named in found]
        return make_dataset(
            self.root,
            classes,
            entries,
            source="folder",
            labelled_by=self.labelled_by,
            notes=notes,
            sixteen_bit_white=self.sixteen_bit_white,
            report=self.report,
        )
