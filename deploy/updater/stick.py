"""Repositories in a folder: a stick, a mounted share, a disc."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient.fetcher import FetcherInterface

from deploy.updater.errors import UpdateError
from drivers.errors import explain_os_error
from drivers.regular_files import open_regular

CHUNK = 1 << 20
NAMES = ("images", "director")


@dataclass(frozen=True, slots=True)
class Stick:
    """The two repositories of a plant, side by side."""

    images: Path
    director: Path


def find_repositories(folder: Path) -> Stick:
    """``images`` and ``director`` in the folder, or in the one folder of it that has them.

    Raises :class:`UpdateError`, which names what is missing or there twice.
    """
    if not folder.is_dir():
        raise UpdateError(f"{folder}: is no folder: name the folder with `images` and `director`, mounted")
    try:
        found = [place for place in (folder, *sorted(folder.iterdir())) if _repositories_in(place)]
    except OSError as error:
        raise UpdateError(explain_os_error(error, folder)) from error
    if len(found) > 1:
        raise UpdateError(
            f"{folder}: holds repositories in {' and in '.join(map(str, found))}: name the one that is for "
            "this "
            "station with --from"
        )
    missing = [name for name in NAMES if not found or name not in _repositories_in(found[0])]
    if missing:
        raise UpdateError(
            f"{found[0] if found else folder}: has no repository `{'` and no `'.join(missing)}`: copy the "
            "folders "
            "`images` and `director` onto the stick, each with `metadata`, and `images` with `targets`"
        )
    stick = Stick(*(found[0] / name for name in NAMES))
    _no_root_is_skipped(stick.images)
    _no_root_is_skipped(stick.director)
    return stick


def _repositories_in(folder: Path) -> list[str]:
    return [name for name in NAMES if (folder / name / "metadata" / "timestamp.json").is_file()]


def _no_root_is_skipped(repository: Path) -> None:
    """Each root.json is signed with the keys of the one before: without it nothing leads to the next."""
    metadata = repository / "metadata"
    versions = sorted(
        int(number)
        for file in metadata.glob("*.root.json")
        if (number := file.name.split(".")[0]).isdecimal()
    )
    gaps = [str(after - 1) for before, after in pairwise(versions) if after > before + 1]
    if gaps:
        raise UpdateError(
            f"{metadata}: {', '.join(f'{gap}.root.json' for gap in gaps)} is missing between others: copy "
            "the whole "
            "folder again, because each root is trusted through the one before it"
        )


class FolderFetcher(FetcherInterface):
    """Reads files below ``folder``; names are those of a static server, whose addresses are quoted once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = Path(unquote(url))
        if ".." in path.parts or self._folder not in path.parents:
            raise DownloadError(f"{url}: lies outside {self._folder}")
        try:
            with open_regular(path) as file:
                while chunk := file.read(CHUNK):
                    yield chunk
        except FileNotFoundError as error:
            raise DownloadHTTPError(f"{path}: is not there", 404) from error
        except OSError as error:
            raise DownloadError(explain_os_error(error, path)) from error
