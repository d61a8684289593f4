"""The plant beside a station that has none: a pool of frames, a robot cell, a camera, and the ground truth.

The only file of the daemon that knows ``simulation/``, but for the simulated camera's section, which
``config.py`` reads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from drivers.cameras import FAMILIES
from drivers.cameras.pylon import PylonSettings
from drivers.cameras.settings import CameraSettings, Mode
from drivers.sorters.serial import SerialSettings
from simulation.camera import SimulatedSettings
from simulation.cell.process import start_cell
from simulation.cell.settings import CellSettings
from simulation.lights import SimulatedLights
from simulation.place import LitLamps
from simulation.rendering.pool import PoolLamp, write_frames
from simulation.truth import PartTruth, SimulationError, TruthBook
from station.config import StationConfig
from station.part import InspectedPart
from station.recipe import Recipe

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Frames rendered, frames in all."""


@dataclass(frozen=True, slots=True)
class Plant:
    """The simulated plant beside a station; empty where everything is real."""

    truths: TruthBook | None = None
    by_part: bool = False
    """Camera and cell share a place, so that part *n* is the pool's picture *n*, whatever its frame shows."""

    @property
    def knows_truth(self) -> bool:
        """Whether there is a ground truth to compare verdicts with."""
        return self.truths is not None

    def identify(self, part: InspectedPart) -> PartTruth | None:
        """What is really on a part; None where it is unknown.

        Where the camera plays its pictures in order, a part is what its frame shows.
        """
        if self.truths is None:
            return None
        if self.by_part:
            return self.truths[(part.part_id - 1) % len(self.truths)]
        frame = part.part.frame
        return None if frame is None else self.truths.lookup(frame.pixels)


@contextmanager
def simulated_plant(
    config: StationConfig, recipe: Recipe, parts: int | None, progress: Progress
) -> Iterator[Plant]:
    """Render the pool if it is missing and start the cell; nothing where the plant is real.

    Raises ``SimulationError``.
    """
    simulation = config.simulation
    if simulation is None:
        yield Plant()
        return
    truths = None
    if simulation.pool is not None:
        pool = simulation.pool
        truths = write_frames(
            pool.folder, pool.frames, pool.seed, good_share=pool.good_share, multi_share=pool.multi_share,
            kinds=pool.kinds, widths=recipe.product.widths_px, lamps=_lamps(config, recipe),
            progress=progress,
        )  # fmt: skip
    with ExitStack() as stack:
        if simulation.lights:
            try:
                stack.enter_context(_lights(config))
            except OSError as error:
                raise SimulationError(
                    f"the simulated light controller cannot listen ({error.strerror}); write another port in "
                    "lights.address"
                ) from error
        if simulation.cell is not None:
            stack.enter_context(start_cell(cell_settings(config, recipe, parts, truths)))
        yield Plant(truths, by_part=_shares_a_place(config))


def cell_settings(
    config: StationConfig, recipe: Recipe, parts: int | None, truths: TruthBook | None = None
) -> CellSettings:
    """The settings of the simulated cell; its port is the station's.

    It knows the sizes of its parts from the pool's ``truths``, as a real cell knows what it has picked.
    """
    assert config.simulation is not None
    assert config.simulation.cell is not None
    assert isinstance(config.sorter, SerialSettings), "the configuration has been checked for a serial line"
    cell, wrong = config.simulation.cell, config.simulation.cell.misbehave
    Path(config.sorter.port).parent.mkdir(parents=True, exist_ok=True)
    return CellSettings(
        link=config.sorter.port,
        place=str(_place(config)),
        parts=parts or cell.parts,
        rate_hz=cell.rate_hz,
        in_flight=cell.in_flight,
        recipe=recipe.name,
        sizes=",".join(str(truth.width) for truth in truths or () if _shows_the_pool(config)),
        good_bin=recipe.classes[0].bin,
        reject_bin=recipe.fault_bin,
        verdict_ms=cell.verdict_ms,
        seed=cell.seed,
        # A first start measures every back end, which may take minutes; the cell ends with its parent.
        give_up_s=0.0,
        log=str(Path(config.sorter.port).with_suffix(".jsonl")),
        late=wrong.late,
        late_ms=wrong.late_ms,
        silent=wrong.silent,
        duplicate=wrong.duplicate,
        garble=wrong.garble,
        wrong_part_id=wrong.wrong_part_id,
        wrong_bin=wrong.wrong_bin,
        unplug_every_s=wrong.unplug_every_s,
        unplug_s=wrong.unplug_s,
    )


def camera_section(config: StationConfig) -> CameraSettings:
    """The camera's section, with what the simulated plant adds to it.

    A simulated camera takes the plant's pool and place where it names none. Basler's emulator needs pypylon;
    without it the simulated camera shows the same pictures, which is said in the log.
    """
    camera, simulation = config.camera, config.simulation
    if isinstance(camera, SimulatedSettings):
        added: dict[str, Path] = {}
        if camera.pool is None:
            assert simulation is not None
            assert simulation.pool is not None, "the configuration has been checked for a pool"
            added["pool"] = simulation.pool.folder
        with_cell = simulation is not None and simulation.cell is not None
        if camera.place is None and with_cell and camera.mode is Mode.CELL:
            added["place"] = _place(config)
        if camera.lamps is None and simulation is not None and simulation.lights:
            added["lamps"] = _lit(config)
        return camera.model_copy(update=added)
    if isinstance(camera, PylonSettings) and camera.emulation is not None:
        missing = FAMILIES.entry(camera.kind).missing
        if missing:
            log.warning(
                "the simulated camera shows %s instead of Basler's emulator: %s", camera.emulation, missing
            )
            return SimulatedSettings(mode=camera.mode, pool=camera.emulation)
    return camera


def _shows_the_pool(config: StationConfig) -> bool:
    """Whether the camera's pictures are those of the plant's pool, so that their sizes are known."""
    camera, simulation = config.camera, config.simulation
    pool = simulation.pool.folder if simulation is not None and simulation.pool is not None else None
    if isinstance(camera, SimulatedSettings):
        return camera.pool in (None, pool)
    return isinstance(camera, PylonSettings) and camera.emulation == pool


def _shares_a_place(config: StationConfig) -> bool:
    """Whether the simulated cell lays the pool's parts before a simulated camera."""
    camera, simulation = config.camera, config.simulation
    if simulation is None or simulation.cell is None or simulation.pool is None:
        return False
    if not isinstance(camera, SimulatedSettings) or camera.mode is not Mode.CELL:
        return False
    return _shows_the_pool(config) and camera.place in (None, _place(config))


def _lamps(config: StationConfig, recipe: Recipe) -> tuple[PoolLamp, ...]:
    """The lamps under which the pool is rendered; none where the light is the bar's."""
    assert config.simulation is not None
    if recipe.stereo is None or not config.simulation.lights:
        return ()
    return tuple(PoolLamp(one.output, one.slant_deg, one.azimuth_deg) for one in recipe.stereo.lamps)


def _lights(config: StationConfig) -> SimulatedLights:
    """The light controller of the configuration, simulated; the camera sees its lamps."""
    assert config.lights is not None, "the configuration has been checked for a light controller"
    network = config.lights.network
    assert network is not None
    _lit(config).parent.mkdir(parents=True, exist_ok=True)
    kind = str(type(config.lights).model_fields["kind"].default)
    return SimulatedLights(kind, port=network[2], shown=LitLamps(_lit(config)))


def _lit(config: StationConfig) -> Path:
    """Where light controller and camera share which lamps are lit."""
    assert isinstance(config.sorter, SerialSettings), "the configuration has been checked for a serial line"
    return Path(config.sorter.port).with_suffix(".lamps")


def _place(config: StationConfig) -> Path:
    """Where cell and camera share what lies before the camera."""
    assert isinstance(config.sorter, SerialSettings), "the configuration has been checked for a serial line"
    return Path(config.sorter.port).with_suffix(".place")
