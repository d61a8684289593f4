"""A part allocates no surface and no patches, and who still looks at an earlier part sees what it was."""

from collections import deque
from dataclasses import replace

import numpy as np

from drivers.cameras.interface import Frame
from drivers.sorters.interface import Outcome
from station.observers import Observer, Observers
from station.part import InspectedPart
from station.patching import Patches
from station.patching.cutting import BUFFERS
from tests.station.conftest import Plant

PARTS = 120


class Keeping(Observer):
    """Keeps the last five parts, as an observer with a queue does, and looks at them again when they go."""

    name = "keeping"
    capacity = PARTS

    def __init__(self) -> None:
        self.held: deque[tuple[Patches, np.ndarray, np.ndarray]] = deque()
        self.looked = self.changed = 0
        self.allocated: list[int] = []

    def observe(self, part: InspectedPart) -> None:
        patches = part.part.patches
        assert patches is not None
        self.held.append((patches, patches.pixels.copy(), patches.surface.pixels.copy()))
        if len(self.held) > 5:
            old, pixels, surface = self.held.popleft()
            self.looked += 1
            self.changed += not np.array_equal(old.pixels, pixels)
            self.changed += not np.array_equal(old.surface.pixels, surface)
        self.allocated.append(BUFFERS.allocated)


def test_no_part_allocates_after_the_first_ones_and_none_is_written_over_while_it_is_looked_at(
    plant: Plant,
) -> None:
    rng = np.random.default_rng(14)

    def another() -> Frame:
        return replace(plant.camera.good(), pixels=rng.integers(80, 120, (32, 16)).astype(np.uint8))

    plant.camera.script = [another] * PARTS
    keeping = Keeping()
    with Observers([keeping]) as observers:
        line = plant.line(observers=observers)
        plant.sorter.ask(*range(1, PARTS + 1))
        line.start(parts=PARTS)
        assert line.wait(60)
        line.stop()
    assert set(plant.outcomes().values()) == {Outcome.ACCEPT}
    assert keeping.looked == PARTS - 5
    assert keeping.changed == 0
    # Not one per part: at most what the queues of the line can hold at a time.
    assert keeping.allocated[-1] - keeping.allocated[20] <= 8
