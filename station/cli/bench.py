"""``station bench``: the time from frame in memory to verdict, of the station and of its rivals."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer

from station.cli.parameters import FILE_MADE

if TYPE_CHECKING:
    from rich.console import Console

    from station.bench.beside import Cost
    from station.bench.releases import Ratio


def bench(
    recipe: Annotated[
        str, typer.Option("--recipe", "-r", help="The recipe's name, or the path of a recipe file.")
    ] = "servo-motor-housing",
    recipes: Annotated[Path, typer.Option(help="The folder of recipes.")] = Path("recipes"),
    engines: Annotated[Path, typer.Option(help="The folder of engines.")] = Path("engines"),
    threads: Annotated[int, typer.Option(min=1, max=256, help="Processor threads for each engine.")] = 2,
    rounds: Annotated[
        int, typer.Option(min=1, max=1000, help="Interleaved rounds; more rounds give steadier ratios.")
    ] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds per path and round.")] = 3.0,
    with_rare: Annotated[
        bool,
        typer.Option(
            "--with-rare",
            help="Measure the fastest path with the rare-defect log too; 1 of 7 parts is defective and kept.",
        ),
    ] = False,
    with_metrics: Annotated[
        bool,
        typer.Option(
            "--with-metrics", help="Measure the fastest path with metrics too, scraped once per second."
        ),
    ] = False,
    with_telemetry: Annotated[
        bool,
        typer.Option(
            "--with-telemetry",
            help="Measure the fastest path with telemetry too: one record per part to a mosquitto beside it.",
        ),
    ] = False,
    with_shadow: Annotated[
        bool,
        typer.Option(
            "--with-shadow",
            help="Measure the fastest path with a candidate in the shadow too, opened ever anew, and drift.",
        ),
    ] = False,
    beside: Annotated[
        Path | None,
        typer.Option(help="Measure the fastest path with all observers of this configuration too."),
    ] = None,
    pace: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=1000,
            help="Parts per second that come, for what is measured beside the path; else the highest.",
        ),
    ] = None,
    busy: Annotated[
        int,
        typer.Option(
            min=0,
            max=256,
            help="Other processes that keep processors busy while parts are judged with and without them.",
        ),
    ] = 0,
    rivals: Annotated[
        bool, typer.Option(help="Measure an afternoon's work with OpenCV and OpenVINO, and Algorithm 1, too.")
    ] = True,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file."), FILE_MADE
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help="Compare with another checkout, in this folder, or with an earlier run, in this JSON file."
        ),
    ] = None,
) -> None:
    """Measure the time from frame in memory to verdict: background, resize, patches, scores, decision.

    The command first renders simulated housings of all six widths. It then measures every back end and
    precision that this machine has, beside two rivals: what a good engineer writes in an afternoon with
    OpenCV and OpenVINO for the same INT8 file, and, where torch is installed, Algorithm 1 as printed.

    Each round also measures the most that this processor multiplies and adds in INT8. The share of limit is
    what a path reaches of it.

    With --with-rare, --with-metrics, --with-telemetry, --with-shadow or --beside, it also measures the
    fastest path with them and without them in turn.
    The p99 of a slow pace needs many seconds: at 5.8 parts/s, 60 s are 348 parts.

    With --against FOLDER, it measures this checkout and another one in turn, each round in a new process.
    With --against FILE, it compares this run with an earlier one on the same machine, round by round, by the
    share of the limit, so that a day on which the machine is slower does not count.

    Examples:
        station bench

        station bench --rounds 9 --seconds 5 --json bench.json

        station bench --with-rare --no-rivals

        station bench --with-metrics --no-rivals

        station bench --with-telemetry --no-rivals

        station bench --with-shadow --pace 1.5 --busy 2 --seconds 60 --no-rivals

        station bench --beside station.yaml --pace 5.8 --seconds 60 --no-rivals

        git worktree add ../before HEAD~20 && station bench --against ../before

        station bench --rounds 9 --against bench.json

    """
    asked = {"--with-rare": with_rare, "--with-metrics": with_metrics}
    asked |= {"--with-telemetry": with_telemetry, "--with-shadow": with_shadow}
    asked |= {"--beside": beside is not None}
    given = [option for option, is_given in asked.items() if is_given]
    if len(given) > 1:
        raise typer.BadParameter(f"give {' or '.join(given)}, not both", param_hint=given[-1])
    for option, is_set in (("--pace", pace is not None), ("--busy", busy > 0)):
        if is_set and not given:
            raise typer.BadParameter(f"needs {' or '.join(asked)}", param_hint=option)
    if against is not None and given:
        raise typer.BadParameter(f"does not measure {given[0]}", param_hint="--against")
    if against is not None and not against.is_file():
        _compare(against, rounds, seconds, json_file)
        return
    from rich.console import Console
    from rich.table import Table

    from simulation.rendering.parts import render_part
    from simulation.truth import PRODUCT_WIDTHS
    from station.bench import verdicts as benchmark
    from station.bench.afternoon import afternoon
    from station.bench.beside import cost_beside, observers_of, rare_log
    from station.bench.ceiling import Limit
    from station.bench.patching import patching_timings
    from station.bench.runs import Conditions, compare_runs, read_run, rounds_of
    from station.bench.scraped import scraped_metrics
    from station.bench.sent import sent_records
    from station.bench.shadowed import shadowed
    from station.cli.text import told
    from station.config import load_config
    from station.engines import open_engine, runnable
    from station.engines.interface import EngineError
    from station.files import write_json
    from station.machine import processor, within_cores
    from station.recipe import find_recipe, load_recipe

    console, status = Console(), Console(stderr=True)
    make = rare_log if beside is None else observers_of(load_config(beside))
    if with_metrics:
        make = scraped_metrics
    if with_telemetry:
        make = sent_records
    prepared = load_recipe(find_recipe(recipe, recipes))
    if prepared.stereo is not None:
        raise typer.BadParameter(
            f"{prepared.name} lights a part by {prepared.frames} lamps; `python -m station.bench.lamps` "
            "measures what its frames cost"
        )
    folder = engines / prepared.engine
    threads = within_cores(threads)
    conditions = Conditions(str(processor()), threads, prepared.name)
    earlier = None if against is None else read_run(against, conditions)
    choices = runnable(folder)
    console.print(told(f"machine: {processor()}; {threads} threads"))
    with status.status("rendering one housing of each width") as show:
        frames = {width: render_part(900_000 + width, width=width).frame() for width in PRODUCT_WIDTHS}
        show.update("patching")
        cuts = benchmark.cutting(frames, prepared, repeats=40)
        opencv = {timing.width_px: timing.opencv_ms for timing in patching_timings(prepared)}
        opened = []
        refused: list[str] = []
        contenders = []
        for backend, precision in choices:
            show.update(f"loading {backend} {precision}")
            try:
                engine = open_engine(
                    folder, backend=backend, precision=precision, threads=threads, recipe=prepared
                )
            except EngineError as error:
                refused.append(str(error))
                continue
            opened.append(engine)
            contenders.append(benchmark.contender(f"{backend} {precision}", engine, prepared))
        if rivals:
            try:
                contenders.append(afternoon(folder, prepared, threads))
            except EngineError as error:
                refused.append(str(error))
            contenders += benchmark.rivals(prepared)
        show.update("measuring the processor's limit")
        limit = Limit(folder, threads)
        timings = benchmark.run(
            contenders,
            list(frames.values()),
            rounds=rounds,
            seconds=seconds,
            before_round=limit.measure,
            progress=show.update,
        )
        cost, measured_beside = None, ""
        if given and opened:
            reached = {timing.name: timing.parts_per_s for timing in timings}
            fastest = max(zip(opened, contenders, strict=False), key=lambda pair: reached[pair[1].name])
            measured_beside = fastest[1].name
            if with_shadow:
                make = shadowed(folder, prepared, fastest[0].info)
            show.update("rendering a housing with a defect")
            defective = render_part(900_001, defects_per_part=1, level="obvious").frame()
            cost = cost_beside(
                make,
                fastest[0],
                [defective, *frames.values()],
                prepared,
                rounds=rounds,
                seconds=seconds,
                pace=pace,
                others=busy,
                progress=show.update,
            )
    for engine in opened:
        engine.close()

    table = Table(title="patching: find the product, resize, cut into patches", title_justify="left")
    for column in ("product width px", "median ms", "p99 ms", "cv2 INTER_AREA alone, ms"):
        table.add_column(column, justify="right")
    for width, times in cuts.items():
        table.add_row(str(width), f"{times.p50:.2f}", f"{times.p99:.2f}", f"{opencv[width]:.2f}")
    both = median(times.p50 for times in cuts.values()), median(opencv.values())
    table.add_row("median", f"{both[0]:.2f}", "", f"{both[1]:.2f}")
    console.print(table)

    timings.sort(key=lambda timing: -timing.parts_per_s)
    table = Table(title="from frame in memory to verdict", title_justify="left")
    table.add_column("path")
    columns = (
        "parts/s sustained",
        "one part: median ms",
        "p99 ms",
        "fastest path / this path",
        "share of limit",
    )
    for column in columns:
        table.add_column(column, justify="right")
    best = timings[0].parts_per_s
    for timing in timings:
        one = timing.one_part
        table.add_row(
            told(timing.name),
            f"{timing.parts_per_s:.1f}",
            f"{one.p50:.1f}",
            f"{one.p99:.1f}",
            f"{best / timing.parts_per_s:.2f}",
            limit.share(timing.parts_per_s * prepared.patch_count),
        )
    console.print(table)
    console.print(told(limit.said()))
    if earlier is not None:
        ratios = compare_runs(rounds_of(timings, limit.found), earlier)
        _print_ratios(console, f"this run and {against}, round by round", ratios, "this run")
    if cost is not None:
        _print_cost(console, measured_beside, cost)
    for reason in refused:
        console.print(told(f"not measured: {reason}"))
    if json_file is not None:
        document = {
            "machine": str(processor()),
            "threads": threads,
            "recipe": prepared.name,
            "limit_gmacs_per_s": limit.found,
            "patching_ms": {str(width): asdict(times) for width, times in cuts.items()},
            "paths": [asdict(timing) for timing in timings],
            "not_measured": refused,
            "beside": asdict(cost) if cost is not None else None,
        }
        write_json(json_file, document)


def _print_cost(console: Console, name: str, cost: Cost) -> None:
    """Print what the observers cost."""
    from rich.table import Table

    from station.cli.text import told

    came = "as fast as it goes" if cost.pace is None else f"{cost.pace:g} parts/s"
    came += f", {cost.busy} other processes busy" if cost.busy else ""
    rounds = told(f"{name}, {came}: median of the rounds (lowest to highest)")
    table = Table(title=rounds, title_justify="left")
    for column in ("", "parts/s", "verdict: median ms", "p99 ms", "processor ms", "parts"):
        table.add_column(column, justify="left" if not column else "right")
    for what, side in (("without observers", cost.without), ("with observers", cost.beside)):
        times = side.verdict
        table.add_row(
            what,
            str(side.parts_per_s),
            f"{times.p50:.1f}",
            f"{times.p99:.1f}",
            str(side.processor_ms),
            str(times.count),
        )
    table.add_row(
        "with / without", str(cost.pace_ratio), "", str(cost.p99_ratio), str(cost.processor_ratio), ""
    )
    console.print(table)
    for one in cost.observers:
        lost = f", {one.failed} failed" if one.failed else ""
        looked = f"{one.observed} parts looked at, {one.dropped} dropped{lost}"
        console.print(told(f"{one.name}: {looked}; {one.note}"))


def _compare(other: Path, rounds: int, seconds: float, json_file: Path | None) -> None:
    """Print the parts per second of this checkout and of ``other``."""
    from rich.console import Console

    from station.bench.releases import compare_releases
    from station.cli.text import told
    from station.machine import processor

    console, status = Console(), Console(stderr=True)
    console.print(told(f"machine: {processor()}"))
    with status.status("") as show:
        ratios = compare_releases(other.resolve(), rounds=rounds, seconds=seconds, progress=show.update)
    _print_ratios(console, f"parts per second, {rounds} rounds in turn", ratios, "this checkout")
    if json_file is not None:
        from station.files import write_json

        write_json(json_file, {"machine": str(processor()), "ratios": [asdict(ratio) for ratio in ratios]})


def _print_ratios(console: Console, title: str, ratios: list[Ratio], this: str) -> None:
    """Print two runs beside each other."""
    from rich.table import Table

    from station.cli.text import told

    table = Table(title=told(title), title_justify="left")
    for column in ("path", this, "the other", "this / other"):
        table.add_column(column, justify="left" if column == "path" else "right")
    for ratio in ratios:
        table.add_row(told(ratio.name), f"{ratio.here:.1f}", f"{ratio.there:.1f}", f"{ratio.ratio:.3f}")
    console.print(table)
