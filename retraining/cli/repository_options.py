"""What ``retrain keys``, ``ship`` and ``sign`` share: keys, products, and what a change still waits for."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from deploy.repository.folder import Repository


class Channel(StrEnum):
    """The channels of a product (:data:`deploy.repository.orders.CHANNELS`)."""

    CANARY = "canary"
    STABLE = "stable"


RepositoryArgument = Annotated[
    Path, typer.Argument(help="The repository's folder; `retrain sign new` makes one.")
]
KeyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        help="A private key to sign with: a .pem file, or "
        "`pkcs11:token=TOKEN;object=KEY?module-path=LIBRARY`; can be given several times. It signs whatever "
        "it may sign.",
    ),
]
ProductOption = Annotated[
    str, typer.Option("--product", help="The engine's name, which recipes give as `engine`.")
]
EngineVersionOption = Annotated[
    int | None, typer.Option("--version", min=1, help="Version of the engine. Default: the highest.")
]


def now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)


def ask_pin(token: str) -> str:
    """The PIN of a token, typed by a person and not shown."""
    return str(typer.prompt(f"PIN of the token {token}", hide_input=True, err=True))


def sign(
    repository: Repository,
    keys: list[str] | None,
    *,
    everything: bool = False,
    refresh: bool = False,
    days: int | None = None,
) -> None:
    """Sign what is pending by these keys, publish what has its signatures, and say what became of it.

    Ends the command with exit code 1 where its own change still waits; with ``everything``, where any does.
    Raises ``RepositoryError``.
    """
    from deploy.repository.keys import signers

    before = _timestamp(repository)
    with signers(keys or [], ask_pin) as given:
        missing = repository.finish(given, refresh=refresh, days=days)
    if _timestamp(repository) != before:
        timestamp = repository.published["timestamp"].signed
        print(
            f"published: timestamp {timestamp.version} of {repository.folder}, good until {timestamp.expires}"
        )
    elif repository.changed and not repository.changed & repository.pending.keys():
        print(f"published: {', '.join(sorted(repository.changed))} of {repository.folder}")
    if not missing:
        return
    print("what is not published waits for")
    for one in missing:
        print(f"  {one}")
    print(f"sign it by `retrain sign pending {repository.folder} --key KEY`")
    mine = repository.pending.keys() if everything else repository.changed & repository.pending.keys()
    if mine or (refresh and _timestamp(repository) == before):
        raise typer.Exit(1)


def _timestamp(repository: Repository) -> int:
    found = repository.published.get("timestamp")
    return found.signed.version if found else 0
