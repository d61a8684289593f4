"""``python -m deploy.telemetry_sink``: the reference consumer of telemetry."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Annotated

import typer

from station.cli.ending import run as run_to_its_end
from station.cli.parameters import careful

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
CONSUMER = r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}"


@app.command()
def sink(
    topic: Annotated[
        list[str], typer.Option(help="`telemetry.topic` of a station; give it once per station.")
    ],
    host: Annotated[str, typer.Option(help="The broker's name or address.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The broker's port: 1883, or 8883 with TLS.")
    ] = None,
    name: Annotated[
        str, typer.Option(help="The name of this consumer, as in `telemetry.consumers` of the stations.")
    ] = "historian",
    postgres: Annotated[
        str | None,
        typer.Option(help="Write here: `postgresql://user@host/database`; the password from PGPASSWORD."),
    ] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write into this folder, one file per commit.")] = None,
    commit_s: Annotated[
        float | None,
        typer.Option(min=0.05, max=3600, help="Seconds between commits: 0.5, or 10 with --parquet."),
    ] = None,
    user: Annotated[str, typer.Option(help="The user at the broker.")] = "",
    password_file: Annotated[Path | None, typer.Option(help="A file with the user's password.")] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(help="Use TLS; the authority that signed the broker's certificate."),
    ] = None,
    cert_file: Annotated[Path | None, typer.Option(help="The sink's own certificate.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="The key of the sink's own certificate.")] = None,
    messages: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many messages were kept.")
    ] = None,
) -> None:
    """Write the records and events of stations into PostgreSQL or Parquet files.

    Each message is kept once, in the order of its number. What is missing is asked for. The sink sends a
    receipt to the station after the commit, so a sink that is killed loses nothing. docs/mqtt.md describes
    the tables.

    Exit code: 0 a clean end (Ctrl-C, SIGTERM, or --messages), 2 it could not start.

    Examples:

        python -m deploy.telemetry_sink --topic plant/station-4 --parquet records/

        python -m deploy.telemetry_sink --topic plant/station-4 --postgres postgresql://sink@db/plant

    """
    import re

    from pydantic import ValidationError
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn
    from rich.text import Text

    from deploy.telemetry_sink.sink import Sink
    from deploy.telemetry_sink.stores import Parquet, Postgres, Store
    from drivers.mqtt import BrokerSettings

    if (postgres is None) == (parquet is None):
        raise typer.BadParameter("give one of --postgres and --parquet", param_hint="--postgres")
    if not re.fullmatch(CONSUMER, name):
        raise typer.BadParameter("write letters, digits, - and _, at most 32", param_hint="--name")
    for one in topic:
        if any(character in "#+$" for character in one) or "" in one.split("/"):
            raise typer.BadParameter(f"{one!r} names no one station", param_hint="--topic")
    try:
        settings = BrokerSettings(
            host=host,
            port=port,
            user=user,
            password_file=password_file,
            tls=ca_file is not None,
            ca_file=ca_file,
            cert_file=cert_file,
            key_file=key_file,
        )
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, one['loc']))} {one['msg']}".strip() for one in error.errors())
        raise typer.BadParameter(said) from None

    def open_store() -> Store:
        if postgres is not None:
            return Postgres(postgres)
        assert parquet is not None
        return Parquet(parquet)

    pause_s = commit_s or (0.5 if postgres is not None else 10.0)
    made = Sink(settings, topic, name, open_store, commit_s=pause_s)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False))
    told_at = 0.0
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("waiting for the broker")

        def is_over() -> bool:
            nonlocal told_at
            said = told(made)
            progress.update(task, description=said)
            if not console.is_terminal and time.monotonic() > told_at + 10.0:
                told_at = time.monotonic()
                console.print(Text(said))
            return stop.is_set() or (messages is not None and made.counts.kept >= messages)

        made.run(is_over)
    console.print(Text(told(made)))


def told(made: object) -> str:
    """What the sink did so far, in one line."""
    from deploy.telemetry_sink.sink import Sink

    assert isinstance(made, Sink)
    counts = made.counts
    link = "connected" if made.is_connected else "not connected"
    return (
        f"{link}: {counts.kept} kept, {counts.repeats} repeats, asked {counts.gaps} times for others, "
        f"{counts.gone} gone, {counts.unfit} unfit, {counts.store_failures} failures of the store"
    )


careful(app)

if __name__ == "__main__":
    run_to_its_end("telemetry-sink", app)
