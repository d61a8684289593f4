"""``python -m deploy.updater``: one update, by the timer or by a person."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from drivers.errors import InspectionError
from station.cli.ending import run as run_to_its_end
from station.cli.parameters import careful

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command()
def updater(
    config: Annotated[Path, typer.Option(help="updater.yaml: the repositories, and this station's name.")],
    from_: Annotated[
        Path | None,
        typer.Option("--from", help="Update from this folder, a stick, and use no network."),
    ] = None,
    accept_expired: Annotated[
        bool,
        typer.Option(
            "--accept-expired", help="With --from: take a stick whose timestamp has expired; it is recorded."
        ),
    ] = False,
    by: Annotated[str | None, typer.Option(help="With --accept-expired: who says yes.")] = None,
    why: Annotated[str | None, typer.Option(help="With --accept-expired: why it is right here.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only read the settings and the roots, and fetch nothing.")
    ] = False,
) -> None:
    """Fetch the engines that the plant orders for this station, and install them.

    An engine is installed when two repositories list it with the same length and hashes: the workshop's
    images and the plant's director. The station proves it before it is used: `station engines prove`.
    docs/updates.md says what each message means. Nothing that is refused changes what is installed.

    Exit code: 0 installed, or nothing to install; 2 something was refused or could not be fetched.

    Examples:

        python -m deploy.updater --config /etc/station/updater.yaml

        python -m deploy.updater --config updater.yaml --from /media/stick

        python -m deploy.updater --config u.yaml --from /media/s --accept-expired --by Ito --why 812

    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from deploy.updater.settings import load_settings

    _only_together(from_, accept_expired, by, why)
    settings = load_settings(config)
    try:
        import tuf  # noqa: F401
    except ModuleNotFoundError as error:
        raise InspectionError(
            f"the updater needs python-tuf ({error}); pip install 'inspection-station[updates]'"
        ) from error
    from deploy.updater.install import install_bundle
    from deploy.updater.stick import find_repositories
    from deploy.updater.update import Accepted, read_root, update

    if check:
        for name in ("images", "director"):
            read_root(name, getattr(settings, name).root)
        names = ", ".join(product.product for product in settings.products)
        typer.echo(f"{config}: keeps {names} up to date for the station {settings.station}")
        return
    stick = None if from_ is None else find_repositories(from_)
    accepted = Accepted(by, why) if by is not None and why is not None else None
    console = Console(stderr=True)
    columns = (TextColumn("fetching"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("fetching", total=None, visible=False)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=True)

        outcomes = update(settings, install_bundle, stick=stick, accepted=accepted, progress=progress)
    for outcome in outcomes:
        typer.echo(outcome.words)


def _only_together(from_: Path | None, accept_expired: bool, by: str | None, why: str | None) -> None:
    """A person's yes needs a name and a reason, and only a stick can be given one."""
    given = [name for name, value in (("--by", by), ("--why", why)) if value is not None]
    if not accept_expired and given:
        raise typer.BadParameter("is used with --accept-expired only", param_hint=" and ".join(given))
    if accept_expired and from_ is None:
        raise typer.BadParameter(
            "is for a stick: name it with --from. Over the network an expired timestamp is never accepted",
            param_hint="--accept-expired",
        )
    if accept_expired and not (by and by.strip() and why and why.strip()):
        raise typer.BadParameter("needs --by NAME and --why REASON", param_hint="--accept-expired")


careful(app)


def main() -> None:
    """Run the command."""
    run_to_its_end("updater", app)


if __name__ == "__main__":
    main()
