"""``python -m simulation.campaign faults|soak|envelope``: attack a plant, watch it, find where it ends."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from simulation.campaign.envelope import SECONDS, Reading, axes, measure, scratch
from simulation.campaign.envelope import table as envelope_table
from simulation.campaign.kinds import KINDS
from simulation.campaign.plant import CAMERAS, WIRES, PlantError, Setup
from simulation.campaign.report import TARGET_S, notes, problems, put_between, slow, table, write_json
from simulation.campaign.run import Injection, run_campaign
from simulation.campaign.soak import chart, run_soak, trends
from simulation.campaign.soak import table as soak_table


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0: all laws held; 1: one was broken; 2: a wrong option, or a plant that does not start."""
    parser = argparse.ArgumentParser(prog="python -m simulation.campaign", description=__doc__)
    commands = parser.add_subparsers(required=True)
    faults = commands.add_parser("faults", help="every kind of fault, at random moments, under load")
    faults.add_argument(
        "--folder", type=Path, default=Path("var/campaign"), help="goes on there where it ended"
    )
    faults.add_argument("--kind", action="append", choices=KINDS, help="only this kind; may be repeated")
    faults.add_argument("--family", action="append", help="only the kinds of this family")
    faults.add_argument("--wire", choices=WIRES, default="serial", help="between cell and station")
    faults.add_argument("--camera", choices=CAMERAS, default="simulated", help="what the station looks with")
    faults.add_argument("--in-flight", type=int, default=3, help="parts at a time (default: 3)")
    faults.add_argument(
        "--rate-hz",
        type=float,
        default=0.0,
        help="parts per second; 0, the default: as fast as the station allows; less on a busy machine",
    )
    faults.add_argument("--quick", action="store_true", help="only the quickest kinds")
    faults.add_argument("--times", type=int, default=20, help="injections of each kind (default: 20)")
    faults.add_argument("--seed", type=int, default=1, help="decides everything that is random (default: 1)")
    faults.add_argument(
        "--page",
        type=Path,
        help="page that gets the table, between its marks <!-- faults -->; with --wire or --camera, "
        "<!-- faults-WIRE --> or <!-- faults-CAMERA -->",
    )
    faults.set_defaults(command=_faults)
    soak = commands.add_parser("soak", help="an hour at the usual pace: what grows?")
    soak.add_argument("--folder", type=Path, default=Path("var/soak"))
    soak.add_argument("--minutes", type=float, default=60.0, help="duration (default: 60)")
    soak.add_argument("--rate-hz", type=float, default=5.8, help="parts per second (default: 5.8)")
    soak.add_argument("--page", type=Path, help="page that gets the table, between <!-- soak --> marks")
    soak.add_argument("--chart", type=Path, help="SVG file that gets the chart")
    soak.set_defaults(command=_soak)
    envelope = commands.add_parser("envelope", help="where it is stable, where it degrades, where it fails")
    envelope.add_argument("--axis", action="append", help="only this quantity; may be repeated")
    envelope.add_argument("--seconds", type=float, default=SECONDS, help=f"per step (default: {SECONDS:g})")
    envelope.add_argument(
        "--page", type=Path, help="page that gets the table, between <!-- envelope --> marks"
    )
    envelope.set_defaults(command=_envelope)
    options = parser.parse_args(arguments)
    found: int = options.command(options)
    return found


def _faults(options: argparse.Namespace) -> int:
    console = Console(markup=False, emoji=False)
    setup = Setup(
        wire=options.wire, family=options.camera, in_flight=options.in_flight, rate_hz=options.rate_hz
    )
    kinds = [
        kind
        for kind in KINDS.values()
        if (not options.kind or kind.name in options.kind)
        and (not options.family or kind.family in options.family)
        and (not options.quick or kind.quick)
        and kind.fits(options.wire, options.camera)
    ]
    total = sum(min(options.times, kind.times or options.times) for kind in kinds)
    console.print(f"{len(kinds)} kinds, {total} injections, seed {options.seed}, in {options.folder}")
    name = TextColumn("{task.description:28}", markup=False)
    columns = (name, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("setting up", total=total)

        def tell(one: Injection) -> None:
            progress.update(bar, advance=1, description=one.kind)
            if one.failure:
                console.print(f"{one.kind} {one.number}: {one.failure}", highlight=False)
            elif not console.is_terminal and one.number == 0:
                console.print(f"{one.kind}: recovered after {one.recovery_s} s", highlight=False)

        try:
            campaign = run_campaign(
                options.folder, kinds, times=options.times, seed=options.seed,
                setup=setup, tell=tell,
            )  # fmt: skip
        except PlantError as error:
            console.print(str(error))
            return 2
    lines, wrong = table(campaign) + notes(campaign), problems(campaign)
    write_json(campaign, options.folder / "campaign.json")
    (options.folder / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if options.page is not None:
        others = [name for name in (options.wire, options.camera) if name not in ("serial", "simulated")]
        put_between(options.page, "-".join(["faults", *others]), lines)
    print("\n".join(lines))
    for line in wrong:
        console.print(f"BROKEN: {line}", highlight=False)
    if late := slow(campaign):
        console.print(f"p95 of the recovery above {TARGET_S:g} s: {', '.join(late)}", highlight=False)
    if wrong:
        console.print(f"repeat one with --kind KIND --seed {options.seed} --folder ANOTHER", highlight=False)
    else:
        console.print("every law held")
    return 1 if wrong else 0


def _soak(options: argparse.Namespace) -> int:
    console = Console(markup=False, emoji=False)
    seconds = options.minutes * 60

    def tell(now: float) -> None:
        if int(now) % 60 < 5:
            console.print(f"{now / 60:.0f} of {options.minutes:g} minutes", highlight=False)

    try:
        samples = run_soak(options.folder, seconds, rate_hz=options.rate_hz, tell=tell)
    except PlantError as error:
        console.print(str(error))
        return 2
    found = trends(samples)
    lines = soak_table(found)
    if options.page is not None:
        put_between(options.page, "soak", lines)
    if options.chart is not None:
        options.chart.write_text(chart(samples), encoding="utf-8")
    print("\n".join(lines))
    outcome = json.loads((options.folder / "soak.json").read_text())
    console.print(f"{outcome}", highlight=False)
    whole = not outcome["violations"] and not outcome["restarts"] and not outcome["exit_code"]
    return 0 if whole and all(one.flat for one in found) else 1


def _envelope(options: argparse.Namespace) -> int:
    console = Console(markup=False, emoji=False)
    chosen = [axis for axis in axes() if not options.axis or axis.name in options.axis]
    if not chosen:
        names = ", ".join(dict.fromkeys(axis.name for axis in axes()))
        console.print(f"no quantity is called {options.axis}; use one of: {names}")
        return 2

    def tell(one: Reading) -> None:
        console.print(f"{one.quantity}, {one.value}: {one.state}", highlight=False)

    with scratch() as folder:
        try:
            readings = measure(Path(folder), chosen, seconds=options.seconds, tell=tell)
        except PlantError as error:
            console.print(str(error))
            return 2
    lines = envelope_table(readings)
    if options.page is not None:
        put_between(options.page, "envelope", lines)
    print("\n".join(lines))
    return 1 if any(one.escapes for one in readings) else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the plant's processes are ended, too
    sys.exit(main())
