"""``station keys``: the key that signs what this station hands over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from station.cli.parameters import FILE_MADE

app = typer.Typer(help="Show the station's public key, for the workshop.", no_args_is_help=True)

Configuration = Annotated[
    Path, typer.Option("--config", "-c", envvar="STATION_CONFIG", help="The configuration of this machine.")
]


@app.command("show")
def show(
    config: Configuration = Path("config/demo.yaml"),
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the public key to this file."), FILE_MADE
    ] = None,
) -> None:
    """Show the station's public key; the key is made when there is none yet.

    Copy the text into a file `NAME.pub` in the workshop's folder of station keys.

    Examples:

        station keys show --config /etc/station/station.yaml --out press-3.pub

    """
    from station.cli.service_user import run_as, service_user
    from station.config import load_config
    from station.files import write_file
    from station.signing import own_key

    loaded = load_config(config)
    user = service_user(loaded.paths.journal.parent)
    if user is not None and not loaded.paths.key.exists():
        code = run_as(user, ["keys", "show", "--config", str(config.absolute())])
        if code or out is None:
            raise typer.Exit(code)
    public = own_key(loaded.paths.key).public
    if out is not None:
        write_file(out, public.pem())
    print(f"station {loaded.station.name}, key {public.key_id}")
    print(public.pem(), end="")
