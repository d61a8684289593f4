from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: an update waits for the disk many times."""
    place = Path("/dev/shm")
    with TemporaryDirectory(dir=place if place.is_dir() else None) as made:
        yield Path(made)
