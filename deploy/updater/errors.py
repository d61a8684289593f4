"""Why an update was not made, in words that name the repository and what a person can do."""

from __future__ import annotations

from datetime import datetime

from tuf.api import exceptions

from drivers.errors import InspectionError


class UpdateError(InspectionError):
    """Nothing was installed; the message says why and what to do."""


_WORDS: tuple[tuple[type[Exception], str, str], ...] = (
    # The first that fits: children stand before their parents.
    (
        exceptions.ExpiredMetadataError,
        "has expired",
        "nothing newer was signed, or somebody keeps newer files from this station: ask whoever signs it "
        "(`retrain sign refresh`)",
    ),
    (
        exceptions.EqualVersionNumberError,
        "has a version that was seen before",
        "ask whoever signs it to publish it again",
    ),
    (
        exceptions.BadVersionNumberError,
        "has a wrong version",
        "old files were put back, or files of several states were mixed: publish the newest again; if this "
        "is "
        "an attack, change the keys of the role (`retrain keys rotate`)",
    ),
    (
        exceptions.UnsignedMetadataError,
        "is not signed by the keys that are trusted",
        "sign it with enough of its keys (`retrain sign pending`); if the keys were changed, every "
        "root.json since "
        "then "
        "must be there",
    ),
    (
        exceptions.LengthOrHashMismatchError,
        "is not what was signed",
        "it was changed on the way or is of another state: publish the repository again",
    ),
    (
        exceptions.DownloadLengthMismatchError,
        "is longer than what was signed",
        "the server does not send the signed file: publish the repository again",
    ),
    (
        exceptions.SlowRetrievalError,
        "comes too slowly",
        "look at the network; the next update goes on where this one ended",
    ),
    (
        exceptions.DownloadHTTPError,
        "is not there",
        "check the address in updater.yaml, and that the whole repository was copied",
    ),
    (
        exceptions.DownloadError,
        "cannot be fetched",
        "check address, proxy and network (docs/updates.md)",
    ),
    (
        exceptions.RepositoryError,
        "has metadata that cannot be used",
        "publish the repository again with `retrain sign refresh`",
    ),
)


def explain(repository: str, error: Exception, now: datetime, newest: datetime | None) -> UpdateError:
    """An error of python-tuf in words; ``now`` is the time that was used, ``newest`` the newest signed."""
    what, remedy = next((what, remedy) for kind, what, remedy in _WORDS if isinstance(error, kind))
    if isinstance(error, exceptions.ExpiredMetadataError):
        seen = (
            "no signed time was seen yet" if newest is None else f"the newest signed time is {newest:%F %R}"
        )
        remedy += f"; check this device's clock too: it is {now:%F %R} UTC, and {seen}"
    return UpdateError(f"the repository `{repository}` {what}: {error}: {remedy}")
