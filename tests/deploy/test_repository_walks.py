"""Whatever people do to a repository, in whatever order and with whatever keys: stations can read it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from securesystemslib.signer import SSlibKey
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

from deploy.repository import changes
from deploy.repository.errors import RepositoryError
from deploy.repository.folder import TOP, Repository, new_repository, open_repository, read_repository
from deploy.repository.keys import NAMED, make_keys, read_public, signers

KEYS = ("anna", "ben", "clara", "dora", "online", "spare", "workshop", "erik", "release")
CHANGES = ("root", "online", "targets", "channel", "product", "refresh", "renew", "list", "drop")
STEPS = (*CHANGES, "sign", "sign", "sign")
LONG = [pytest.param(seed, 25, marks=pytest.mark.slow) for seed in range(1, 13)]


class FolderFetcher(FetcherInterface):
    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            yield Path(url).read_bytes()
        except FileNotFoundError:
            raise DownloadHTTPError("not found", 404) from None


@dataclass
class Walk:
    place: Path
    chance: random.Random
    products: int = 0

    def public(self, name: str) -> SSlibKey:
        return read_public(self.place / "keys" / f"{name}.pub")

    def private(self, *names: str) -> list[str]:
        return [str(self.place / "keys" / f"{name}.pem") for name in names]

    def step(self, kind: str) -> None:
        with open_repository(self.place / "repository", datetime.now(UTC)) as opened:
            self.change(opened, kind)
            known = {
                str(key.unrecognized_fields[NAMED])
                for role in (*TOP, *opened.channels)
                for key in opened.keys_of(role)
            }
            chosen = self.chance.sample(sorted(known), self.chance.randint(1, len(known)))
            with signers(self.private(*chosen), lambda token: "") as given:
                opened.finish(given, refresh=kind == "refresh")

    def change(self, opened: Repository, kind: str) -> None:
        any_channel = self.chance.choice(opened.channels or ("targets",))
        if kind in ("root", "online", "targets", "channel"):
            online = self.chance.choice(("snapshot", "timestamp"))
            role = {"online": online, "channel": any_channel}.get(kind, kind)
            there = [str(key.unrecognized_fields[NAMED]) for key in opened.keys_of(role)]
            add = [name for name in self.chance.sample(KEYS, self.chance.randint(0, 2)) if name not in there]
            remove = self.chance.sample(there, self.chance.randint(0, 1))
            threshold = self.chance.choice((None, None, 1, 2))
            changes.replace_keys(opened, role, remove, [self.public(name) for name in add], threshold)
        elif kind == "product":
            stable = self.public(self.chance.choice(("erik", "release")))
            changes.add_product(opened, f"p{self.products}", [self.public("workshop")], [stable], 1)
            self.products += 1
        elif kind == "renew":
            opened.propose(self.chance.choice(("root", "targets", *opened.channels)))
        elif kind == "list":
            opened.propose(any_channel)
        elif kind == "drop":
            opened.drop()

    def read(self, station: str) -> None:
        """A station refreshes and looks into every channel; it must not be refused anything."""
        folder, repository = self.place / station, self.place / "repository"
        folder.mkdir(exist_ok=True)
        root = (repository / "metadata" / "1.root.json").read_bytes()
        client = Updater(
            str(folder), f"{repository}/metadata/", None, None, FolderFetcher(), bootstrap=root
        )  # fmt: skip
        client.refresh()
        for role in read_repository(repository, datetime.now(UTC), pending=False).channels:
            product, _, channel = role.rpartition(".")
            assert client.get_targetinfo(f"{product}/{channel}/{'0' * 64}.bundle") is None


@pytest.mark.parametrize(("seed", "steps"), [(0, 4), *LONG])
def test_no_order_of_changes_shows_a_station_what_it_refuses(tmp_path: Path, seed: int, steps: int) -> None:
    walk = Walk(tmp_path, random.Random(seed))
    make_keys(tmp_path / "keys", KEYS)
    people = [walk.public(name) for name in KEYS[:3]]
    with (
        new_repository(tmp_path / "repository", datetime.now(UTC)) as made,
        signers(walk.private("anna", "ben", "online"), lambda token: "") as keys,
    ):
        changes.begin(made, changes.ENGINES, people, 2, walk.public("online"), people[:2], 1)
        assert not made.finish(keys)
    done = 0
    for number in range(steps):
        try:
            walk.step(walk.chance.choice(STEPS))
        except RepositoryError:
            continue  # it changed nothing, which the station below shows
        finally:
            walk.read("steady")
            walk.read(f"new-{number}")
        done += 1
    assert done
