"""``retrain keys``: the keys that sign repositories of engines and orders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retraining.cli.repository_options import KeyOption, RepositoryArgument, ask_pin, now, sign
from station.cli.parameters import FOLDER_MADE

app = typer.Typer(
    name="keys",
    help="Make keys, show who signs what, and replace a key that was lost.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.command("make")
def make(
    folder: Annotated[Path, typer.Argument(help="Folder for the keys."), FOLDER_MADE],
    names: Annotated[
        list[str] | None, typer.Argument(help="Names, one key each: of people, or `online`.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            help="Make one key in a token instead: `pkcs11:token=TOKEN;object=KEY?module-path=LIBRARY`. It "
            "never leaves the token; the PIN is read from PKCS11_PIN, or asked for."
        ),
    ] = None,
) -> None:
    """Make Ed25519 keys: `NAME.pem`, which only you can read, and `NAME.pub`, which you give away.

    Each person makes a key on a machine of their own, and hands over the `.pub` file alone.

    Examples:

        retrain keys make keys anna

        retrain keys make keys anna ben clara online

        retrain keys make keys --token "pkcs11:token=plant;object=anna?module-path=/usr/lib/p11.so"

    """
    from deploy.repository.keys import make_keys, make_token_key
    from deploy.repository.orders import NAME

    if bool(names) == bool(token):
        raise typer.BadParameter("give either names or --token")
    bad = [name for name in names or () if not NAME.fullmatch(name)]
    if bad:
        raise typer.BadParameter(
            f"{', '.join(map(repr, bad))}: a name has letters, digits, and . _ - after the first one"
        )
    made = [make_token_key(folder, token, ask_pin)] if token else make_keys(folder, names or ())
    for key in made:
        print(f"{folder / str(key.unrecognized_fields['x-name'])}.pub  {key.keyid}")


@app.command("list")
def show(
    place: Annotated[Path, typer.Argument(help="A repository, or a folder of keys.")],
) -> None:
    """Show the keys of a folder, or who signs what in a repository.

    Examples:

        retrain keys list keys

        retrain keys list repository

    """
    from deploy.repository.errors import RepositoryError
    from deploy.repository.folder import TOP, read_repository
    from deploy.repository.keys import name_of, read_publics

    if not (place / "metadata").is_dir():
        files = sorted(place.glob("*.pub"))
        if not files:
            raise RepositoryError(f"{place}: is no repository and has no public keys (*.pub): check the path")
        for file, key in zip(files, read_publics(files), strict=True):
            private = file.with_suffix(".pem")
            beside = f"  private: {private}" if private.exists() else ""
            if beside and private.stat().st_mode & 0o077:
                beside += "  CAN BE READ BY OTHERS"
            print(f"{file.stem:20} {key.scheme:20} {key.keyid[:16]}{beside}")
        return
    repository = read_repository(place, now())
    for role in (*TOP, *repository.channels):
        above = repository.root if role in TOP else repository.targets
        names = ", ".join(sorted(name_of(key) for key in repository.keys_of(role)))
        waits = "  (a change waits for signatures)" if role in repository.pending else ""
        print(f"{role:40} {above.get_delegated_role(role).threshold} of {names}{waits}")


@app.command("rotate")
def rotate(
    repository: RepositoryArgument,
    role: Annotated[
        str, typer.Option(help="root, targets, snapshot, timestamp, or a channel such as `housing.canary`.")
    ],
    remove: Annotated[
        list[str] | None, typer.Option(help="Name or first digits of a key to take away; several times.")
    ] = None,
    add: Annotated[list[Path] | None, typer.Option(help="A public key (.pub) to add; several times.")] = None,
    threshold: Annotated[
        int | None, typer.Option(min=1, help="How many of the role's keys must sign. Default: as before.")
    ] = None,
    key: KeyOption = None,
) -> None:
    """Replace the keys of a role: one was lost or stolen, or a person came or left.

    A new root is signed by enough of the old keys and enough of the new ones, so that stations go from one to
    the other by themselves. What a removed key had signed is signed again by the keys that remain. As long as
    enough of the old root keys are there, no station has to be touched.

    Exit code: 0 published, 1 it waits for signatures.

    Examples:

        retrain keys rotate repository --role root --remove clara --add keys/dora.pub
        --key keys/anna.pem --key keys/ben.pem --key keys/dora.pem --key keys/online.pem

        retrain keys rotate repository --role housing.canary --add keys/erik.pub
        --key keys/anna.pem --key keys/ben.pem --key keys/online.pem

    """
    from deploy.repository.changes import replace_keys
    from deploy.repository.folder import open_repository
    from deploy.repository.keys import read_publics

    with open_repository(repository, now()) as opened:
        if not (remove or add or threshold):
            raise typer.BadParameter("nothing is changed: give --remove, --add or --threshold")
        replace_keys(opened, role, remove or [], read_publics(add or []), threshold)
        sign(opened, key)
