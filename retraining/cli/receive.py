"""``retrain receive``: rare parts that stations handed over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from station.cli.parameters import FOLDER_MADE


def receive(
    target: Annotated[str, typer.Argument(help="The stations' hand-off target: a folder or a URL.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the items."), FOLDER_MADE],
    keys: Annotated[
        Path | None, typer.Option("--keys", help="Folder of the stations' public keys (*.pub).")
    ] = None,
    secrets: Annotated[
        Path | None, typer.Option("--secrets", help="JSON file, mode 600, with options of the target.")
    ] = None,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Mark a new target, show the workshop's key, and end.")
    ] = False,
) -> None:
    """Receive the bundles of a hand-off target: check them, import each once, and write signed receipts.

    A bundle that was changed on the way is put into quarantine and removed at the target; its station sends
    it again. The workshop's key is made in keys/ of the output folder when it is first needed.

    Exit code: 0 everything was received, 1 a bundle was not, or one is missing.

    Examples:

        retrain receive /media/stick --out data/received --prepare

        retrain receive sftp://workshop@files/handoff --keys keys/stations --out data/received
        --secrets sftp.json

    """
    from rich.console import Console

    from retraining.errors import DatasetError
    from retraining.receiving import receive as take
    from station.cli.text import one_line, told
    from station.files import write_file
    from station.handoff.targets import Target
    from station.signing import own_key

    if prepare and keys is not None:
        raise DatasetError("--keys is not used with --prepare: leave it out")
    place = Target(target, secrets)
    if not prepare and keys is None:
        raise DatasetError(
            "--keys is missing: name the folder of the stations' public keys (`station keys show`)"
        )
    key = own_key(out / "keys" / "workshop.pem")
    public = out / "keys" / "workshop.pub"
    write_file(public, key.public.pem())
    if prepare or keys is None:
        place.prepare()
        print(f"{target} is a hand-off target now")
        print(f"key {key.public.key_id}: copy {public} into the folder `handoff.workshops` of each station")
        return
    with Console(stderr=True).status("receiving") as status:
        done = take(place, keys, out, key, lambda text: status.update(told(one_line(text))))
    for one in done:
        if one.problem:
            print(f"station {one.station} {one.bundle}: {one_line(one.problem)}")
        elif one.imported:
            print(f"station {one.station} {one.bundle[:8]}: {one.imported} items")
    print(f"{sum(one.imported for one in done)} items received into {out}")
    if any(one.problem for one in done):
        raise typer.Exit(1)
