"""``station journal accept-loss``: a person's word that events are lost, written into the chain."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from station.cli.journal_options import DEFAULT_CONFIG, ConfigOption, JournalOption, errors, journal_path


def accept_loss(
    by: Annotated[str, typer.Option(help="Who says so; it stands in the chain.")],
    why: Annotated[str, typer.Option(help="What happened; it stands in the chain.")],
    journal: JournalOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Acknowledge that a part of the journal is lost for ever, so that the station starts again.

    The station refuses to start when events or files are missing that were surely written, or when another
    program changed the tables. First put the files back from the archive or a backup. If there is none, use
    this command while the station is stopped. It writes an event into the chain: what is missing, who
    acknowledged it, and why. Every later audit shows it. No record is made for the lost parts.

    As root, it is done with the rights of the user who owns the journal's folder.

    Exit code: 0 the loss is acknowledged, 2 nothing is lost or the journal cannot be written.

    Examples:
        station journal accept-loss --by "A. Weber" --why "the disk of the station was replaced"

    """
    from station.cli.service_user import run_as, service_user
    from station.cli.text import printable
    from station.config import load_config
    from station.journal import Journal, JournalError
    from station.journal.loss import Acceptance, station_of

    with errors():
        if not by.strip() or not why.strip():
            raise JournalError("--by and --why must not be empty: the audit shows them")
        path = journal_path(journal, config)
        if not path.parent.is_dir():
            raise JournalError(f"journal {path}: there is no folder {path.parent}: name the right journal")
        user = service_user(path.parent)
        if user is not None:
            named = ["--journal", str(path.resolve())] if journal else ["--config", str(config.resolve())]
            raise typer.Exit(run_as(user, ["journal", "accept-loss", "--by", by, "--why", why, *named]))
        name = load_config(config).station.name if journal is None else station_of(path)
        with Journal(path, station=name, accepted=Acceptance(by.strip(), why.strip())) as opened:
            loss, seq = opened.loss, opened.head.seq
    assert loss is not None
    for problem in loss.problems:
        print(printable(problem), file=sys.stderr)
    said = f"acknowledged in event {seq}: {loss.events} events after event {loss.after_seq} are lost"
    print(said, file=sys.stderr)
