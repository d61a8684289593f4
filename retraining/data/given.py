"""Where photographs and weights lie on this machine.

The product comes with none, fetches none, and looks for none beside itself: a person names their folder.
"""

from __future__ import annotations

import os
from pathlib import Path

from retraining.errors import DatasetError

VARIABLE = "INSPECTION_DATA"
"""The environment variable that names the folder of data sets and weights."""


def find_data(name: str, root: Path | None = None) -> Path:
    """The file or folder ``name`` below ``root``, or below the folder that ``INSPECTION_DATA`` names.

    Raises :class:`DatasetError` that says what to set.
    """
    folder = root or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if folder is None:
        raise DatasetError(
            f"{name} is needed; set {VARIABLE} to the folder that holds it (docs/data-sets.md)"
        )
    found = folder.resolve() / name
    if not found.exists():
        raise DatasetError(f"{found} does not exist; set {VARIABLE} to the folder that holds {name}")
    return found
