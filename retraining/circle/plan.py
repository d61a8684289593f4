"""What a circle is run with, and its steps: each is done once, and its time is written down."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retraining.circle.commands import cpu_s
from station.engines.health import GROUP
from station.files import write_json

PRODUCT = "housing"
"""The name of recipe and engine in the circle."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a circle is run with. The numbers of parts are of a whole circle."""

    out: Path
    recipe: Path
    """The product's recipe, with every class that the renderer draws."""
    unknown: str = "pits"
    """The class that the first engine is never taught."""
    known: tuple[str, ...] = ("imprinted", "roll-marks", "scratches")
    """The other kinds of defect."""
    known_parts: int = 320
    """Parts of the first data set; those with the unknown class are left out."""
    known_seed: int = 51
    lot_parts: int = 70
    """Parts of the bad lot."""
    lot_good: float = 0.4
    """Share of them without a defect."""
    same_below: float = 0.04
    """Two kept parts of one class are alike below this distance of their features; 0 keeps both."""
    test_parts: int = 320
    """Unseen parts by which engines are compared."""
    test_seed: int = 52
    frame_margin_px: int = 0
    """Frames are cut so far to both sides of the part; 0: they are the camera's whole frames."""
    line_parts: int = 72
    """Other unseen parts, one defect each at most, which come to the running line again and again."""
    pasted: int = 150
    """Parts with a pasted defect of the unknown class."""
    network: str = "inception-cnn"
    first: Path | None = None
    """The folder of a first engine that `python -m retraining.circle first` made; None: train one."""
    from_first: bool = False
    """Whether later trainings start from the first engine's weights, and not from nothing."""
    batch: int = 32
    steps: int = 300
    """Of each stage of a training."""
    precision: str = "auto"
    """Of trainings, as in `retrain product --precision`; `auto` takes what is faster at that moment."""
    gan_px: int = 64
    """Side of the pictures that the circle's rival, a generator, learns and draws, px of the surface."""
    gan_steps: int = 1500
    """Of its training."""
    threads: int = 0
    """Of a training, and processes that render; 0: all cores, and two of these."""
    rate_hz: float = 4.0
    """Parts per second on the running line."""
    usual_parts: int = 100
    """Parts that the first engine judges there before the new one does, and the least of its trial."""
    shadow_parts: int = GROUP
    """Accepted parts, and rejected ones, that the new engine judges in the shadow before its trial. It
    computes in spare time: where other work takes all cores, they take long."""

    @property
    def processes(self) -> int:
        """That render at once."""
        return self.threads or 2

    @property
    def log(self) -> Path:
        """What every command printed."""
        return self.out / "commands.log"

    @property
    def data(self) -> Path:
        """The folder of data sets."""
        return self.out / "data"

    def recipe_of(self, which: str) -> Path:
        """The recipe of the engine ``first`` (without the unknown class) or ``next``."""
        return self.out / "recipes" / which / f"{PRODUCT}.yaml"

    def engine_of(self, which: str) -> Path:
        """The engine folder that the training ``which`` wrote."""
        return self.out / "runs" / which / "engines" / PRODUCT

    def tuned_of(self, which: str) -> Path:
        """The recipe that the training ``which`` wrote, with its thresholds."""
        return self.out / "runs" / which / f"{PRODUCT}.yaml"


@dataclass(frozen=True, slots=True)
class Done:
    """A step that is done."""

    name: str
    found: Any
    """What it reports, as JSON."""
    wall_s: float
    cpu_s: float
    """Processor time of all its processes."""


class Steps:
    """The steps of one circle; one that was done before is read from its file."""

    def __init__(self, folder: Path, report: Callable[[str], None]) -> None:
        self._folder, self._report = folder, report
        self.done: list[Done] = []

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        """Do a step, or read what it reported when it was done."""
        file = self._folder / f"{name}.json"
        if file.is_file():
            self.done.append(Done(**json.loads(file.read_text(encoding="utf-8"))))
            return self.done[-1].found
        self._report(name)
        began, used = time.monotonic(), cpu_s()
        found = work()
        step = Done(name, found, time.monotonic() - began, cpu_s() - used)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, {"name": name, "found": found, "wall_s": step.wall_s, "cpu_s": step.cpu_s})
        self.done.append(Done(name, json.loads(json.dumps(found)), step.wall_s, step.cpu_s))
        return self.done[-1].found
