"""``station check``: tries everything that the line needs once, and says what to do where something fails."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from drivers.cameras.interface import Camera
    from station.config import SecondOpinion, StationConfig
    from station.engines.folder import EngineManifest
    from station.lighting import Lighting
    from station.recipe import Recipe
    from station.telemetry.settings import Telemetry

Step = tuple[str, Callable[[], str]]
"""The name of a test, and the function that runs it: it returns what it found, or raises."""

LEAST_FREE_MB = 500
WIRE_PATIENCE_S = 15.0
"""The time to pulse the camera's trigger input by hand, where it has a hardware trigger."""


def check(
    config: Annotated[
        Path,
        typer.Option("--config", "-c", envvar="STATION_CONFIG", help="The configuration of this machine."),
    ] = Path("config/demo.yaml"),
) -> None:
    """Test everything that the line needs: settings, recipe, engine, lights, camera, sorter, journal, disk.

    The command lists the kinds of cameras, sorters and lights on this machine, and what to install where
    something is missing. It runs the engine's golden parts, lights each lamp of the recipe, takes one picture
    or one under each lamp and cuts it into patches, and opens the sorter's line and waits for the cell to
    answer. A camera with a hardware trigger needs one pulse within
    15 s. Stop the station first.

    As root, everything is tested with the rights of the user who owns the journal's folder, so that nothing
    is proven that the service cannot do, and nothing of root's is left behind.

    Exit code: 0 everything passed, 1 something failed, 2 the configuration or the recipe cannot be read.

    Examples:

        station check --config /etc/station/station.yaml
    """
    from rich.console import Console

    from drivers.errors import explain_os_error
    from drivers.settings import accepted_risks
    from station.assembly import load
    from station.cli.service_user import leaving_nothing_of_roots, run_as, service_user
    from station.cli.text import styled, told
    from station.disk_budget import budget_problems, disk_uses
    from station.disks import share_warnings

    console = Console()
    settings, recipe = load(config)
    user = service_user(settings.paths.journal.parent)
    if user is not None:
        console.print(told(f"as user {user.name}, who owns {settings.paths.journal.parent}"))
        raise typer.Exit(run_as(user, ["check", "--config", str(config.resolve())]))
    for line in _found():
        console.print(told(line))
    console.print(styled("[green]passed[/]  configuration: {}", config))
    patches = f"{recipe.patch_count} patches of {recipe.patch.size} px, {len(recipe.classes)} classes"
    found = f"{recipe.name} version {recipe.version}, {patches}"
    console.print(styled("[green]passed[/]  recipe: {}", found))
    for risk in accepted_risks(settings) + accepted_risks(recipe):
        console.print(styled("[bold yellow]RISK[/]    {}", risk), soft_wrap=True)
    warnings = share_warnings(settings) + budget_problems(disk_uses(settings))
    if recipe.product.texture is None:
        warnings.append(
            "the recipe has no product.texture: frozen or repeated lines are not found; learn its limits "
            "from pictures of good parts with `station limits`"
        )
    for warning in warnings:
        console.print(styled("[bold yellow]WARNING[/] {}", warning), soft_wrap=True)
    failed = 0
    folders = [settings.paths.images, settings.paths.cache]
    with leaving_nothing_of_roots(settings.paths.journal, folders), _plant(settings, recipe):
        for name, step in _steps(settings, recipe):
            with console.status(name):
                try:
                    seen, passed = step(), True
                except OSError as error:
                    seen, passed = explain_os_error(error) if error.filename else str(error), False
                except Exception as error:
                    seen, passed = str(error) or repr(error), False
            failed += not passed
            mark = "[green]passed[/]" if passed else "[bold red]FAILED[/]"
            console.print(styled(mark + "  {}: {}", name, seen), soft_wrap=True)
    if failed:
        no_part = "; the station would accept no part in this state"
        console.print(styled("[bold red]{} failed[/]{}", failed, no_part))
        raise typer.Exit(1)
    console.print("[green]everything passed[/]")


def _found() -> Iterator[str]:
    """The kinds of devices there are. Raises ``RegistryError``."""
    from drivers.cameras import FAMILIES
    from drivers.lights import CONTROLLERS
    from drivers.registry import Registry
    from drivers.sorters import PROTOCOLS

    known: tuple[tuple[Registry[Any, Any], str], ...] = (
        (FAMILIES, "camera families"),
        (PROTOCOLS, "sorter protocols"),
        (CONTROLLERS, "light controllers"),
    )
    for registry, what in known:
        yield f"{what} found: {', '.join(map(str, registry.entries().values()))}"
        for problem in registry.broken.values():
            yield f"not read: {problem}; correct or remove the file"


@contextmanager
def _plant(config: StationConfig, recipe: Recipe) -> Iterator[None]:
    """The simulated plant, where the configuration has one."""
    from rich.console import Console
    from rich.progress import Progress

    from station.simulated_plant import simulated_plant

    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("rendering the simulated frames", visible=False, total=None)

        def show(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total, visible=done < total)

        with simulated_plant(config, recipe, None, show):
            progress.stop()
            yield


def _steps(config: StationConfig, recipe: Recipe) -> list[Step]:
    steps: list[Step] = [
        ("engine", lambda: _engine(config, recipe)),
        *([("lights", lambda: _lights(config, recipe))] if recipe.stereo is not None else []),
        ("camera", lambda: _camera(config, recipe)),
        ("sorter", lambda: _sorter(config, recipe)),
        ("journal", lambda: _journal(config)),
        ("pictures", lambda: _pictures(config)),
        ("cache", lambda: _cache(config.paths.cache)),
    ]
    if (rare := config.paths.rare) is not None:
        steps.append(("rare log", lambda: _disk(rare)))
    if (telemetry := config.telemetry) is not None:
        steps.append(("telemetry", lambda: _telemetry(telemetry)))
    if (second := config.rare.second_opinion) is not None:
        steps.append(("second opinion", lambda: _second_opinion(config, second, recipe)))
    return steps


def _engine(config: StationConfig, recipe: Recipe) -> str:
    from station.engines.folder import load_manifest
    from station.engines.prove import require_proof
    from station.preparing import first_that_judges

    found = first_that_judges(config, recipe)
    prepared, engine = found.prepared, found.prepared.engine
    try:
        manifest = load_manifest(prepared.folder_of_engine(config.paths.engines), engine.info.name)
        report = require_proof(engine, manifest, prepared.recipe)
        info = engine.info
        loaded = f"{info.name} {info.digest[:12]} on {info.backend} {info.precision}"
        refused = "".join(f"; NOT {one.engine.digest[:12]}: {one.why}" for one in found.refused)
        return f"{loaded}; golden parts: {report.summary}{_second_network(config, manifest)}{refused}"
    finally:
        engine.close()


def _second_network(config: StationConfig, manifest: EngineManifest) -> str:
    """The engine's second network, proven; empty where it has none, or nobody asks it."""
    from station.engines.pretrained import open_pretrained

    if manifest.pretrained is None or config.paths.rare is None or not config.rare.pretrained_share:
        return ""
    network = open_pretrained(manifest)
    network.close()
    return f"; second network on {network.info.backend}: reproduced"


def _second_opinion(config: StationConfig, wanted: SecondOpinion, recipe: Recipe) -> str:
    from station.engines.adapted import recipe_for
    from station.observers.second_opinion import job_of
    from station.preparing import store_of

    active = store_of(config, recipe.engine).active()
    job = job_of(config, wanted, active.folder, active.name, recipe_for(recipe, active))
    engine = job.open().engine
    try:
        info = engine.info
        return f"{info.name} on {info.backend} {info.precision}, {wanted.share:.1%} of the parts"
    finally:
        engine.close()


def _lights(config: StationConfig, recipe: Recipe) -> str:
    """Every output off, then each lamp of the recipe alone, as at the exposures of a part."""
    from station.assembly import make_lighting

    lighting = make_lighting(config)
    assert lighting is not None, "the configuration has been checked for a light controller"
    assert recipe.stereo is not None
    try:
        lighting.open()
        started = time.perf_counter()
        for lamp in recipe.stereo.lamps:
            lighting.only(lamp, recipe.stereo)
        each_ms = (time.perf_counter() - started) * 1000 / recipe.frames
        return f"{lighting.description}; {recipe.frames} lamps lit one by one, {each_ms:.1f} ms each"
    finally:
        lighting.close()


def _camera(config: StationConfig, recipe: Recipe) -> str:
    from station.assembly import make_camera, make_lighting
    from station.patching import PatchingError, cut_part

    camera = make_camera(config)
    lighting = make_lighting(config) if recipe.stereo is not None else None
    try:
        camera.open()
        camera.arm()
        patience_s = WIRE_PATIENCE_S if camera.triggered_by_wire else config.limits.grab_timeout_ms / 1000
        frames = list(_frames(camera, lighting, recipe, patience_s))
        height, width = frames[0].shape[:2]
        health = camera.health()
        seen = f"{health.description}, {width} x {height} px, {health.counted}"
        if health.details:
            details = health.details | {name: str(count) for name, count in health.transport.items()}
            seen += f" ({', '.join(f'{name}: {value}' for name, value in details.items())})"
        try:
            region = cut_part(frames, recipe).surface.region
        except PatchingError as error:
            return f"{seen}; the picture shows no part now ({error})"
        return f"{seen}; a product of {region.width} x {region.height} px at {region.x}, {region.y}"
    finally:
        camera.close()
        if lighting is not None:
            lighting.close()


def _frames(
    camera: Camera, lighting: Lighting | None, recipe: Recipe, patience_s: float
) -> Iterator[NDArray[np.uint8]]:
    """One picture, or one under each lamp of the recipe. Raises ``CameraError``, ``LightError``."""
    from drivers.cameras.interface import CameraError

    if lighting is not None:
        lighting.open()
    for number in range(recipe.frames):
        if lighting is not None and recipe.stereo is not None:
            lighting.only(recipe.stereo.lamps[number], recipe.stereo)
        camera.trigger(patience_s)
        frame = camera.grab(patience_s)
        if not frame.complete:
            raise CameraError(f"frame {number + 1} is incomplete: {frame.problem}")
        yield frame.pixels


def _sorter(config: StationConfig, recipe: Recipe) -> str:
    from drivers.sorters.interface import SorterError
    from station.assembly import make_camera, make_sorter

    sorter = make_sorter(config)
    camera = make_camera(config) if config.sorter.uses_camera_lines else None
    try:
        if camera is not None:
            camera.open()
            sorter.use(camera)
        sorter.prepare(recipe.name)
        sorter.open()
        until = time.monotonic() + 3 * config.sorter.link_timeout_ms / 1000
        while not sorter.health().connected and time.monotonic() < until:
            time.sleep(0.05)
        health = sorter.health()
        if not health.connected:
            raise SorterError(
                f"{health.description}: the cell does not answer; check that it is switched on, then check "
                f"the way to it. {health.last_error}"
            )
        answers = "" if camera is not None else "; the cell answers"
        return f"{health.description}{answers}; {health.counted}"
    finally:
        sorter.close()
        if camera is not None:
            camera.close()


def _telemetry(settings: Telemetry) -> str:
    """Connect to the broker under another name, and send nothing."""
    from drivers.mqtt import Attempt, BrokerError, abandon

    attempt = Attempt(settings, "station-check", lambda: None, will=None, longest=1024)
    until = time.monotonic() + settings.connect_timeout_s + 5.0
    while not attempt.is_over and time.monotonic() < until:
        time.sleep(0.05)
    where = f"MQTT {settings.host}:{settings.port_used}"
    if attempt.client is None:
        raise BrokerError(f"{where} {attempt.problem or 'does not answer; check host and port'}")
    abandon(attempt.client)
    held = ", ".join(settings.consumers) or "the broker"
    also = "" if (own := settings.sparkplug) is None else f"; Sparkplug B as {own.group}/{own.node}"
    return f"{where} answers; {settings.topic}; delivered when {held} has confirmed{also}"


def _journal(config: StationConfig) -> str:
    from station.journal import Journal

    config.paths.journal.parent.mkdir(parents=True, exist_ok=True)
    with Journal(config.paths.journal, station=config.station.name) as journal:
        counts = journal.counts()
    disk = _disk(config.paths.journal.parent)
    return f"{counts.triggers} records, {counts.open} in doubt; {disk}"


def _pictures(config: StationConfig) -> str:
    from station.pictures.saving import PictureSaver

    if config.images.save != "none":
        PictureSaver(config.paths.images, quota_mb=config.images.quota_mb).probe()
    return _disk(config.paths.images)


def _cache(folder: Path) -> str:
    said = _disk(folder)
    for one in folder.rglob("*"):
        if not one.is_symlink() and not os.access(one, os.W_OK):
            raise OSError(f"{one} belongs to another user: remove it, or give it to the user of the service")
    return said


def _disk(folder: Path) -> str:
    """Write, fsync and remove a file; raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".station-check-{os.getpid()}"
    started = time.perf_counter()
    try:
        with probe.open("wb") as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    finally:
        probe.unlink(missing_ok=True)
    milliseconds = (time.perf_counter() - started) * 1000
    free_mb = shutil.disk_usage(folder).free / 1e6
    if free_mb < LEAST_FREE_MB:
        raise OSError(f"only {free_mb:.0f} MB are free in {folder}; free at least {LEAST_FREE_MB} MB")
    return f"{folder} writes durably in {milliseconds:.1f} ms, {free_mb / 1000:.1f} GB free"
