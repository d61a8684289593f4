"""The command line of the public tuf-conformance suite, on the code that updates a station.

``python -m deploy.conformance``, one of::

    --metadata-dir DIR init ROOT
    --metadata-dir DIR --metadata-url URL refresh
    --metadata-dir DIR --metadata-url URL --target-name N [--target-name M ...]
                       --target-base-url URL --target-dir DIR download

Exit code 0: done. 1: refused, or a wrong command line; stderr says why. Trusted metadata lies in the folder
under names without versions. A target that is there already is not fetched again. Root is what ``init`` was
given: the suite brings it, as a person brings it to a station. docs/updates.md has what the suite may find.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tuf.api.exceptions import DownloadError, RepositoryError

from deploy.updater.client import Client, Source
from deploy.updater.errors import UpdateError
from deploy.updater.fetcher import Fetcher
from deploy.updater.settings import Network


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of the suite; its exit code."""
    try:
        given = _parser().parse_args(arguments)
        _COMMANDS[given.command](given)
    except SystemExit as end:  # of argparse
        return 1 if end.code else 0
    except (RepositoryError, DownloadError, UpdateError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def _init(given: argparse.Namespace) -> None:
    given.metadata_dir.mkdir(parents=True, exist_ok=True)
    Client(given.metadata_dir, _source(given), root=given.root.read_bytes(), now=datetime.now(UTC))


def _refresh(given: argparse.Namespace) -> None:
    _client(given).refresh()


def _download(given: argparse.Namespace) -> None:
    given.target_dir.mkdir(parents=True, exist_ok=True)
    client = _client(given)
    client.refresh()
    for name in given.target_name:
        target = client.find(name)
        if target is None:
            raise UpdateError(f"the repository has no target {name!r}")
        client.download(target)


def _client(given: argparse.Namespace) -> Client:
    return Client(
        given.metadata_dir, _source(given), root=None, now=datetime.now(UTC), targets=given.target_dir
    )


def _source(given: argparse.Namespace) -> Source:
    bases = [url for url in (given.metadata_url, given.target_base_url) if url]
    fetcher = Fetcher(Network(), bases, given.metadata_dir / "parts")
    return Source(given.metadata_url or "", given.target_base_url or "", fetcher)


_COMMANDS = {"init": _init, "refresh": _refresh, "download": _download}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.conformance", description=__doc__.split("\n")[0])
    parser.add_argument("--metadata-dir", type=Path, required=True, help="trusted metadata")
    parser.add_argument("--metadata-url", help="where the repository's metadata is")
    parser.add_argument("--target-name", action="append", default=[], help="a target; may be repeated")
    parser.add_argument("--target-base-url", help="where the repository's targets are")
    parser.add_argument("--target-dir", type=Path, help="where targets are written to")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init", help="trust a root").add_argument("root", type=Path, help="its file")
    commands.add_parser("refresh", help="fetch and verify the top-level metadata")
    commands.add_parser("download", help="fetch and verify targets")
    return parser


if __name__ == "__main__":
    sys.exit(main())
