"""``station config``: what may be written in a configuration on this machine."""

from __future__ import annotations

import typer

app = typer.Typer(help="What may be written in station.yaml.", no_args_is_help=True)


@app.command("keys")
def keys() -> None:
    """Print every key with its default and what it is, as Markdown.

    The cameras and sorters are those that are found on this machine, one that was added here too.

    Example:

        station config keys | less
    """
    from station.config import config_model
    from station.config_keys import key_tables

    print(key_tables(config_model()), end="")
