"""``python -m simulation.two_stations``: the paper's cell with both its stations, on one machine.

A robot lays housings on a rotating jig before the first station. What that one accepts goes on to a second
station, for the inner diameter in the paper, with another recipe and a jig of its own. Each station is a
process with a journal of its own; a part keeps its id, so that both records of it are found by one number.

No pictures of bores are to be had, and no network was trained on them: the second station looks at rendered
surfaces of another width with the same engine. What is shown is the plant, not a detection rate.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from simulation.cell.process import CellProcess, start_cell
from simulation.cell.settings import CellSettings
from simulation.rendering.parts import render_part

ROOT = Path(__file__).parents[1]
ENGINE = "servo-motor-housing"
GOOD_BIN, FAULT_BIN = 1, 6
DEFECTIVE = (None, None, "scratches", None, "pits", None, None, "imprinted")
"""Of the pictures, in their order, over and over; the second station sees them from the fourth on."""


@dataclass(frozen=True, slots=True)
class Post:
    """One of the two stations."""

    name: str
    recipe: str
    width_px: int
    diameter_mm: float
    shifted: int
    seed: int


POSTS = (
    Post("outer", "servo-motor-housing", 690, 58.0, 0, 4100),
    Post("bore", "servo-motor-housing-bore", 570, 31.5, 3, 4200),
)


class PlantError(RuntimeError):
    """The plant does not come to work; the message says where to look."""


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0: each accepted part has its one record at the second station; 1: not; 2: no plant."""
    parser = argparse.ArgumentParser(prog="python -m simulation.two_stations", description=__doc__)
    parser.add_argument("--parts", type=int, default=24, help="parts for the first station (default: 24)")
    parser.add_argument("--folder", type=Path, default=Path("var/two-stations"), help="made anew each time")
    options = parser.parse_args(arguments)
    if options.parts < 1:
        parser.error("--parts must be 1 or more")
    console = Console(markup=False, emoji=False)
    try:
        found = run(options.folder, options.parts, console)
    except PlantError as error:
        console.print(str(error))
        return 2
    console.print(_table(found))
    wrong = problems(*found)
    for line in wrong:
        console.print(f"WRONG: {line}")
    accepted = sum(record["outcome"] == "accept" for record in found[0].values())
    both = sum(record["outcome"] == "accept" for record in found[1].values())
    console.print(f"{len(found[0])} parts, {accepted} went on to the second station, {both} are good at both")
    for post in POSTS:
        console.print(f"{post.name}: station journal show 1 --journal {_journal(options.folder, post)}")
    return 1 if wrong else 0


Records = dict[int, dict[str, Any]]


def run(folder: Path, parts: int, console: Console) -> tuple[Records, Records]:
    """Both stations' records by part id. Raises :class:`PlantError`."""
    shutil.rmtree(folder, ignore_errors=True)
    columns = (TextColumn("{task.description:24}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        drawing = progress.add_task("rendering parts", total=len(POSTS) * len(DEFECTIVE))
        for post in POSTS:
            make(folder / post.name, post, lambda: progress.advance(drawing))
        first, second = POSTS
        one = _start_cell(folder, first, parts=parts)
        two = _start_cell(folder, second, feed=str(one.log_path), feed_bin=GOOD_BIN)
        stations = [_start_station(folder / post.name) for post in POSTS]
        bars = [progress.add_task(f"{post.name} station", total=parts) for post in POSTS]
        try:
            until = time.monotonic() + 120 + 10 * parts
            while not _is_over(one, two):
                for bar, cell in zip(bars, (one, two), strict=True):
                    progress.update(bar, completed=len(cell.parts()))
                for post, station in zip(POSTS, stations, strict=True):
                    if station.poll() is not None:
                        raise PlantError(
                            f"the station {post.name} ended; see {folder / post.name / 'station.log'}"
                        )
                if time.monotonic() > until:
                    raise PlantError(f"the parts do not come through; see the logs in {folder}")
                time.sleep(0.1)
        finally:
            for cell in (one, two):
                if cell.process.poll() is None:
                    cell.stop(20)
            for station in stations:
                station.terminate()
            for station in stations:
                station.wait(60)
            one.close()
            two.close()
    return records(folder, first), records(folder, second)


def make(folder: Path, post: Post, drawn: Callable[[], None] = lambda: None) -> None:
    """Pictures, recipe, engine and configuration of one station."""
    for name in ("pool", "recipes", "engines", "var"):
        (folder / name).mkdir(parents=True)
    kinds = DEFECTIVE[post.shifted :] + DEFECTIVE[: post.shifted]
    for number, kind in enumerate(kinds):
        part = render_part(
            post.seed + number, width=post.width_px, kind=kind, level="clear" if kind is not None else None
        )
        left = max(0, part.truth.region.x - 160)
        np.save(folder / "pool" / f"{number:02d}.npy", part.frame()[:, left : left + post.width_px + 320])
        drawn()
    shutil.copytree(ROOT / "engines" / ENGINE, folder / "engines" / ENGINE)
    lines = (ROOT / "recipes" / f"{ENGINE}.yaml").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.startswith("name:"):
            lines[number] = f"name: {post.recipe}"
        elif line.lstrip().startswith("widths_px:"):
            lines[number] = f"  widths_px: [{post.width_px}]"
    (folder / "recipes" / f"{post.recipe}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "station.yaml").write_text(
        f"""station: {{name: {post.name}}}
recipe: {post.recipe}
paths: {{recipes: recipes, engines: engines, journal: var/journal.db, images: var/images, cache: var/cache}}
camera: {{kind: simulated, pool: pool, place: ./cell.place, preload_mb: 200}}
sorter: {{kind: serial, port: ./cell.pty}}
engine: {{threads: 1}}
limits: {{part_deadline_ms: 4000}}
images: {{save: none}}
""",
        encoding="utf-8",
    )


def _start_cell(folder: Path, post: Post, **more: Any) -> CellProcess:
    own = folder / post.name
    settings = CellSettings(
        link=str(own / "cell.pty"),
        place=str(own / "cell.place"),
        log=str(own / "cell.jsonl"),
        recipe=post.recipe,
        surface_mm_s=400.0,
        diameters=f"{post.diameter_mm:g}",
        load_ms=60.0,
        leave_ms=60.0,
        unload_ms=60.0,
        good_bin=GOOD_BIN,
        reject_bin=FAULT_BIN,
        verdict_ms=6000.0,
        give_up_s=0.0,
        **more,
    )
    try:
        return start_cell(settings)
    except RuntimeError as error:
        raise PlantError(str(error)) from None


def _start_station(folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "station.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "station.cli", "run", "--config", str(folder / "station.yaml"), "--plain"],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _is_over(one: CellProcess, two: CellProcess) -> bool:
    """All parts are sorted by the first cell, and all that went on by the second one."""
    if one.process.poll() is None:
        return False
    went_on = [part for part in one.parts() if part["bin"] == GOOD_BIN]
    return len(two.parts()) >= len(went_on)


def _journal(folder: Path, post: Post) -> Path:
    return folder / post.name / "var" / "journal.db"


def records(folder: Path, post: Post) -> Records:
    """A station's records by part id, as `station journal export` writes them."""
    done = subprocess.run(
        [sys.executable, "-m", "station.cli", "journal", "export", "-", "--format", "jsonl", "--journal",
         str(_journal(folder, post))],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise PlantError(f"the journal of {post.name} cannot be read: {done.stderr}")
    return {line["part_id"]: line for line in map(json.loads, done.stdout.splitlines())}


def problems(first: Records, second: Records) -> list[str]:
    """What is not as it must be: the second station has one record of each accepted part, and no other."""
    accepted = {part for part, record in first.items() if record["outcome"] == "accept"}
    return [
        *(f"part {part} was accepted and has no second record" for part in sorted(accepted - set(second))),
        *(f"part {part} went on without an accept" for part in sorted(set(second) - accepted)),
    ]


def _table(found: tuple[Records, Records]) -> Table:
    table = Table("part", *(f"{post.name} ({post.recipe})" for post in POSTS))
    for part in sorted(found[0]):
        told = [_told(own.get(part)) for own in found]
        table.add_row(str(part), *told)
    return table


def _told(record: dict[str, Any] | None) -> str:
    if record is None:
        return ""
    name = record["class_name"] if record["outcome"] == "reject" else ""
    return " ".join(filter(None, [record["outcome"], name, f"-> bin {record['bin']}"]))


if __name__ == "__main__":
    sys.exit(main())
