"""``station config``: the keys of a configuration on this machine."""

from __future__ import annotations

import typer

app = typer.Typer(help="Show the keys of station.yaml.", no_args_is_help=True)


@app.command("keys")
def keys() -> None:
    """Print every key with its default and its meaning, as Markdown.

    The list has the keys of every camera and sorter on this machine, also of those that were added here.

    Examples:

        station config keys | less
    """
    from station.config import config_model
    from station.config_keys import key_tables

    print(key_tables(config_model()), end="")
