"""``station engines backends``: what runs on this machine, why not the rest, how fast, and what is proven."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def backends(
    folder: Annotated[Path, typer.Argument(help="The folder of one engine.")] = Path(
        "engines/servo-motor-housing"
    ),
    prove: Annotated[
        bool, typer.Option("--prove", help="Run the golden parts on every back end of this machine.")
    ] = False,
    backend: Annotated[str | None, typer.Option(help="Test only this back end; it must be present.")] = None,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Processor threads.")] = 2,
    seconds: Annotated[
        float, typer.Option(min=0.0, max=3600, help="Seconds to measure per back end; 0 measures nothing.")
    ] = 2.0,
) -> None:
    """List the inference back ends, say why some are absent, and measure the others.

    Exit code: 0 all passed, 1 a back end did not load or did not reproduce the golden parts.

    Examples:
        station engines backends

        station engines backends --prove

        station engines backends --prove --backend tensorrt   # builds and proves the plan on this GPU

    """
    from rich.console import Console
    from rich.table import Table

    from station.cli.text import styled, told
    from station.engines import available, open_engine, runnable
    from station.engines.folder import load_manifest
    from station.engines.interface import EngineError
    from station.engines.prove import describe_grid, golden_patches
    from station.engines.prove import prove as prove_engine
    from station.engines.timing import benchmark
    from station.machine import processor

    console, status = Console(), Console(stderr=True)
    console.print(told(f"machine: {processor()}; {threads} threads"))
    table = Table(title="back ends", title_justify="left")
    for column in ("back end", "here", "version", "why not"):
        table.add_column(column)
    for known in available():
        here = "[green]yes[/]" if known.present else "no"
        table.add_row(known.name, here, known.version, told(known.reason))
    console.print(table)
    if backend is not None:
        match = [known for known in available() if known.name == backend]
        if not match:
            raise EngineError(
                f"no back end is called {backend!r}; known: {', '.join(k.name for k in available())}"
            )
        if not match[0].present:
            raise EngineError(f"back end {backend} is not present: {match[0].reason}")

    manifest = load_manifest(folder)
    patches = golden_patches(manifest)
    features = f"{manifest.features} features of a patch" if manifest.features else "no features"
    novelty = "no novelty"
    if manifest.novelty is not None:
        of = manifest.novelty
        novelty = (
            f"novelty by {of.method} in {of.features} features, {of.good_above:.1%} of "
            f"{of.good_parts} unseen good parts above its threshold"
        )
    proven_on = describe_grid(manifest.surface, manifest.patch)
    console.print(told(f"engine {manifest.name}: proven on {proven_on}; {features}; {novelty}"))
    title = told(f"engine {manifest.name}, one part of {len(patches)} patches")
    table = Table(title=title, title_justify="left")
    for column in ("back end", "precision", "loaded in ms", "median ms", "p99 ms", "parts/s", "golden parts"):
        table.add_column(
            column, justify="left" if column in ("back end", "precision", "golden parts") else "right"
        )
    failed = False
    for name, precision in runnable(folder):
        if backend not in (None, name):
            continue
        with status.status(f"{name} {precision}"):
            try:
                engine = open_engine(folder, backend=name, precision=precision, threads=threads)
            except EngineError as error:
                table.add_row(name, precision, "", "", "", "", styled("[red]{}[/]", error))
                failed = True
                continue
            proof = told("not run (use --prove)")
            if prove:
                report = prove_engine(engine, manifest)
                failed |= not report.passed
                proof = styled("[green]{}[/]" if report.passed else "[red]{}[/]", report.summary)
            row = ["", "", ""]
            if seconds:
                timed = benchmark(engine, patches, seconds)
                row = [f"{timed.p50:.1f}", f"{timed.p99:.1f}", f"{1000 / timed.p50:.1f}"]
            table.add_row(name, precision, f"{engine.info.load_ms:.0f}", *row, proof)
            engine.close()
    console.print(table)
    if failed:
        raise typer.Exit(1)
