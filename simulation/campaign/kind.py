"""What a kind of fault is, and how one is entered into the list of all."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from simulation.campaign.plant import Plant

Inject = Callable[[Plant, random.Random], None]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault."""

    name: str
    family: str
    """Where it strikes: wire, cell, camera, engine, disk, station, machine, orders."""
    says: str
    inject: Inject
    quick: bool = False
    """Cheap enough for the tests."""
    times: int = 0
    """Injections, where they are not as many as those of the other kinds."""
    wires: tuple[str, ...] = ()
    """The only wires on which it can happen; empty for all."""
    cameras: tuple[str, ...] = ()
    """The only cameras to which it can happen; empty for all."""

    def fits(self, wire: str, camera: str) -> bool:
        """Whether it can happen to a plant with these."""
        return (not self.wires or wire in self.wires) and (not self.cameras or camera in self.cameras)


KINDS: dict[str, Kind] = {}


def kind(
    name: str,
    family: str,
    says: str,
    *,
    quick: bool = False,
    times: int = 0,
    wires: tuple[str, ...] = (),
    cameras: tuple[str, ...] = (),
) -> Callable[[Inject], Inject]:
    """Enter a function into :data:`KINDS`."""

    def enter(inject: Inject) -> Inject:
        assert name not in KINDS, f"two kinds are called {name}"
        KINDS[name] = Kind(name, family, says, inject, quick, times, wires, cameras)
        return inject

    return enter


@contextmanager
def switched(plant: Plant, **faults: float) -> Iterator[None]:
    """Switches of the switchboard, on inside the block."""
    plant.switches.set({name.replace("_", "-"): value for name, value in faults.items()})
    try:
        yield
    finally:
        plant.switches.set({})


def switch(
    name: str,
    family: str,
    says: str,
    switch: str = "",
    value: float = 1.0,
    least_s: float = 0.15,
    most_s: float = 0.6,
    *,
    quick: bool = False,
    cameras: tuple[str, ...] = (),
) -> None:
    """A kind that is a switch of the switchboard, on for a while."""

    def inject(plant: Plant, rng: random.Random) -> None:
        with switched(plant, **{switch or name: value}):
            time.sleep(rng.uniform(least_s, most_s))

    KINDS[name] = Kind(name, family, says, inject, quick, cameras=cameras)
