from __future__ import annotations

from functools import lru_cache

import pytest

from simulation.rendering.parts import RenderedPart, render_part


@lru_cache(maxsize=16)
def _rendered(seed: int, width: int, kind: str | None, level: str | None) -> RenderedPart:
    return render_part(seed, width=width, kind=kind, level=level)


@pytest.fixture(scope="session")
def rendered():
    """Render a part once for all tests that look at it."""

    def make(
        seed: int = 3, width: int = 570, kind: str | None = None, level: str | None = None
    ) -> RenderedPart:
        return _rendered(seed, width, kind, level)

    return make
