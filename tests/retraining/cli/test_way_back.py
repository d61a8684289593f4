"""Keys, repositories, engines and orders, from the commands that people type to what a TUF client reads."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tuf.api.exceptions import DownloadHTTPError, ExpiredMetadataError
from tuf.api.metadata import Metadata
from tuf.ngclient import FetcherInterface, TargetFile, Updater
from typer.testing import CliRunner

import deploy.repository
from deploy.bundle import open_bundle
from deploy.repository.folder import open_repository
from deploy.repository.keys import signers
from deploy.repository.orders import Order, share_of
from deploy.updater.__main__ import app as updater
from drivers.errors import InspectionError
from retraining.cli import app
from station.engines.contents import read_contents
from station.engines.store import Store

PEOPLE = ("anna", "ben", "clara")


class FolderFetcher(FetcherInterface):
    """Reads a repository as a static server gives it."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            yield Path(url).read_bytes()
        except FileNotFoundError:
            raise DownloadHTTPError("not found", 404) from None


@dataclass
class Plant:
    """A workshop with its repository, and a plant with its director."""

    place: Path

    @property
    def repository(self) -> Path:
        return self.place / "repository"

    @property
    def director(self) -> Path:
        return self.place / "director"

    def key(self, name: str) -> Path:
        return self.place / "keys" / f"{name}.pem"

    def public(self, name: str) -> Path:
        return self.place / "keys" / f"{name}.pub"

    def keys(self, *names: str) -> list[object]:
        return [word for name in names for word in ("--key", self.key(name))]

    def run(self, *words: object) -> tuple[int, str]:
        """Exit code and output; what a person could have done better is code 2 and its words."""
        result = CliRunner().invoke(app, [str(word) for word in words])
        if isinstance(result.exception, InspectionError):
            return 2, str(result.exception)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output

    def done(self, *words: object) -> str:
        code, said = self.run(*words)
        assert code == 0, said
        return said

    def waits(self, *words: object) -> str:
        code, said = self.run(*words)
        assert code == 1, said
        return said

    def refused(self, *words: object) -> str:
        code, said = self.run(*words)
        assert code == 2, said
        return said

    def client(self, repository: Path, name: str = "station") -> Updater:
        """A plain client of python-tuf, that trusts the first root and remembers what it saw."""
        folder = self.place / name / repository.name
        (folder / "files").mkdir(parents=True, exist_ok=True)
        return Updater(
            str(folder), f"{repository}/metadata/", str(folder / "files"), f"{repository}/targets/",
            FolderFetcher(), bootstrap=(repository / "metadata" / "1.root.json").read_bytes(),
        )  # fmt: skip

    def found(self, repository: Path, path: str) -> TargetFile | None:
        return self.client(repository).get_targetinfo(path)


@pytest.fixture(scope="session")
def master(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    """Keys, and a repository of engines that has the product; not to be changed."""
    plant = Plant(tmp_path_factory.mktemp("plant"))
    plant.done("keys", "make", plant.place / "keys", *PEOPLE, "online", "workshop", "shift", "stranger")
    people = [word for name in PEOPLE for word in ("--people", plant.public(name))]
    plant.done(
        "sign", "new", plant.repository, *people, "--online", plant.public("online"),
        *plant.keys("anna", "ben", "online"),
    )  # fmt: skip
    plant.done(
        "sign", "product", plant.repository, "tiny", "--canary", plant.public("workshop"),
        "--stable", plant.public("anna"), *plant.keys("anna", "ben", "workshop", "online"),
    )  # fmt: skip
    return plant


@pytest.fixture
def plant(master: Plant, tmp_path: Path) -> Plant:
    """With keys alone."""
    shutil.copytree(master.place / "keys", tmp_path / "keys")
    return Plant(tmp_path)


@pytest.fixture
def repository(plant: Plant, master: Plant) -> Plant:
    """With a repository of engines that has the product."""
    shutil.copytree(master.repository, plant.repository)
    return plant


@pytest.fixture
def engine(tiny_engine: Path) -> Path:
    (tiny_engine / "card.md").write_text("# tiny\n")
    document = (tiny_engine / "engine.yaml").read_text()
    (tiny_engine / "engine.yaml").write_text(f"{document}data: ['{'5' * 64}']\n")
    return tiny_engine


@pytest.fixture
def shipped(repository: Plant, engine: Path) -> Plant:
    repository.done(*ship(repository, engine))
    return repository


def ship(plant: Plant, engine: Path, *more: object, keys: Any = ("workshop", "online")) -> list[object]:
    return ["ship", engine, plant.repository, "--licence", "Apache-2.0", *plant.keys(*keys), *more]


def path_of(plant: Plant, channel: str) -> str:
    (name,) = (plant.repository / "targets" / "tiny" / channel).iterdir()
    return f"tiny/{channel}/{name.name.partition('.')[2]}"


def test_an_engine_goes_from_keys_to_a_station_by_the_public_doors(shipped: Plant) -> None:
    """Keys, ship to canary, promote to stable, the director's order; a plain client reads both."""
    assert shipped.found(shipped.repository, path_of(shipped, "canary"))
    shipped.done("sign", "promote", shipped.repository, "--product", "tiny", *shipped.keys("anna", "online"))
    shipped.done(
        "sign", "new", shipped.director, "--director", "--people", shipped.public("ben"), "--threshold", 1,
        "--targets", shipped.public("shift"), "--online", shipped.public("shift"),
        *shipped.keys("ben", "shift"),
    )  # fmt: skip
    said = shipped.done(
        "sign", "order", shipped.director, "--repository", shipped.repository, "--product", "tiny",
        "--stations", "line-3,line-4", *shipped.keys("shift"),
    )  # fmt: skip
    assert "for stations line-3, line-4" in said

    path = path_of(shipped, "stable")
    image, order = shipped.found(shipped.repository, path), shipped.found(shipped.director, path)
    assert image is not None
    assert order is not None
    assert (image.length, image.hashes) == (order.length, order.hashes)
    assert image.unrecognized_fields["custom"] == {
        "product": "tiny", "version": 1, "minimum_version": "0.1.0"
    }  # fmt: skip
    assert Order.of(order.unrecognized_fields["custom"], path).takes("line-3")
    assert not Order.of(order.unrecognized_fields["custom"], path).takes("line-5")

    file = shipped.client(shipped.repository).download_target(image)
    opened = open_bundle(Path(file), shipped.place / "opened")
    assert f"{read_contents(opened).digest}.bundle" == path.rpartition("/")[2]
    assert read_contents(opened).data == ["5" * 64]


def test_a_stick_with_both_repositories_brings_the_engine_into_the_store_of_its_stations_alone(
    shipped: Plant, engine: Path
) -> None:
    shipped.done(
        "sign", "new", shipped.director, "--director", "--people", shipped.public("shift"), "--threshold", 1,
        "--online", shipped.public("shift"), *shipped.keys("shift"),
    )  # fmt: skip
    shipped.done(
        "sign", "order", shipped.director, "--repository", shipped.repository, "--product", "tiny",
        "--channel", "canary", "--stations", "line-3", *shipped.keys("shift"),
    )  # fmt: skip
    stick = shipped.place / "stick"
    for name, repository in (("images", shipped.repository), ("director", shipped.director)):
        shutil.copytree(repository, stick / name)
    files = [*stick.glob("*/metadata/*.json")]
    assert all("issued" in json.loads(file.read_bytes())["signed"] for file in files), "no time"
    for station in ("line-3", "line-4"):
        folder = shipped.place / station
        folder.mkdir()
        shutil.copytree(engine, folder / "engines" / "tiny")
        roots = {}
        for name in ("images", "director"):
            root = folder / f"{name}.root.json"
            shutil.copy(stick / name / "metadata" / "1.root.json", root)
            roots[name] = {"url": f"https://updates.example/{name}", "root": root.name}
        settings = {
            "station": station, "engines": "engines", "state": "state", **roots,
            "products": [{"product": "tiny", "channel": "canary"}],
        }  # fmt: skip
        (folder / "updater.yaml").write_text(json.dumps(settings))
        result = CliRunner().invoke(updater, ["--config", str(folder / "updater.yaml"), "--from", str(stick)])
        assert result.exit_code == 0, f"{result.output} {result.exception}"
    digest = path_of(shipped, "canary").rpartition("/")[2].removesuffix(".bundle")
    assert list(Store(shipped.place / "line-3" / "engines", "tiny").engines().entries) == [digest]
    assert not Store(shipped.place / "line-4" / "engines", "tiny").is_there


def test_the_workshops_key_alone_reaches_no_stable_channel_and_no_order(shipped: Plant) -> None:
    said = shipped.waits(
        "sign", "promote", shipped.repository, "--product", "tiny", *shipped.keys("workshop", "online")
    )
    assert "tiny.stable: 1 more of the signatures of anna" in said
    assert shipped.found(shipped.repository, path_of(shipped, "stable")) is None


def test_two_of_three_people_sign_a_root_each_on_a_machine_of_their_own(repository: Plant) -> None:
    rotate = ["keys", "rotate", repository.repository, "--role", "root", "--remove", "clara"]
    said = repository.waits(*rotate, "--add", repository.public("stranger"), *repository.keys("anna"))
    assert "root: 1 more of the signatures of" in said
    assert not (repository.repository / "metadata" / "2.root.json").exists()
    stick = repository.place / "stick" / "repository"
    shutil.copytree(repository.repository, stick)
    assert "root is signed by 2 of anna" in repository.done("sign", "pending", stick, *repository.keys("ben"))
    said = repository.done("sign", "pending", repository.repository, "--from", stick)
    assert "1 signatures taken over" in said
    assert (repository.repository / "metadata" / "2.root.json").exists()
    repository.client(repository.repository).refresh()


def test_two_people_who_sign_the_same_root_at_once_both_count(repository: Plant) -> None:
    repository.waits("sign", "refresh", repository.repository, "--role", "root", *repository.keys("online"))

    def sign(name: str) -> None:
        with (
            open_repository(repository.repository, datetime.now(UTC)) as opened,
            signers([str(repository.key(name))], lambda token: "") as keys,
        ):
            opened.finish(keys)

    both = [threading.Thread(target=sign, args=(name,)) for name in ("anna", "ben")]
    for one in both:
        one.start()
    for one in both:
        one.join(30)
    root = Metadata.from_file(str(repository.repository / "metadata" / "2.root.json"))
    assert len(root.signatures) == 2


def test_a_change_that_waits_keeps_no_other_one_and_no_timestamp_waiting(
    shipped: Plant, engine: Path
) -> None:
    repository, online = shipped.repository, shipped.keys("online")
    shipped.waits("keys", "rotate", repository, "--role", "root", "--remove", "clara", *shipped.keys("anna"))
    shipped.waits("sign", "promote", repository, "--product", "tiny", *online)
    stranger = shipped.public("stranger")
    shipped.waits(
        "sign", "product", repository, "other", "--canary", stranger, "--stable", stranger,
        *shipped.keys("stranger", "online"),
    )  # fmt: skip
    said = shipped.done("sign", "refresh", repository, *online)
    for word in ("published: timestamp 4", "root: 1 more", "tiny.stable: 1 more", "targets: 2 more"):
        assert word in said
    (engine / "card.md").write_text("# better\n")
    said = shipped.done(*ship(shipped, engine))
    assert "published: timestamp 5" in said
    shipped.client(repository).refresh()
    assert (repository / "metadata" / "3.tiny.canary.json").exists()
    assert not (repository / "metadata" / "2.root.json").exists()
    shipped.waits("sign", "pending", repository, *shipped.keys("ben"))
    assert (repository / "metadata" / "2.root.json").exists()
    shipped.done("sign", "pending", repository, *shipped.keys("anna", "online"))
    assert not list((repository / "pending").iterdir())
    assert shipped.found(repository, path_of(shipped, "stable"))
    shipped.client(repository).refresh()


def test_what_a_change_that_was_given_up_has_left_goes_with_the_next_one(
    repository: Plant, engine: Path
) -> None:
    repository.waits(*ship(repository, engine, keys=("online",)))
    (repository.repository / "targets" / ".new-killed").mkdir()
    repository.done("sign", "drop", repository.repository)
    (engine / "card.md").write_text("# better\n")
    repository.done(*ship(repository, engine))
    assert repository.found(repository.repository, path_of(repository, "canary"))
    assert not (repository.repository / "targets" / ".new-killed").exists()


def test_a_change_that_waits_is_not_overwritten_by_another(repository: Plant) -> None:
    rotate = ["keys", "rotate", repository.repository, "--role", "root", "--remove", "clara"]
    repository.waits(*rotate, *repository.keys("anna"))
    assert "waits for signatures already" in repository.refused(*rotate, *repository.keys("ben"))
    assert "given up: root" in repository.done("sign", "drop", repository.repository)
    repository.done(*rotate, *repository.keys("ben", "anna"))


def test_a_lost_online_key_is_replaced_and_stations_follow(repository: Plant, engine: Path) -> None:
    before = repository.client(repository.repository)
    before.refresh()
    for role, keys in (("snapshot", ("online", "stranger")), ("timestamp", ("stranger",))):
        repository.done(
            "keys", "rotate", repository.repository, "--role", role, "--remove", "online", "--add",
            repository.public("stranger"), *repository.keys("anna", "ben", *keys),
        )  # fmt: skip
    assert "no role has the key online" in repository.refused(
        "sign", "refresh", repository.repository, *repository.keys("online")
    )
    repository.done(*ship(repository, engine, keys=("workshop", "stranger")))
    assert repository.found(repository.repository, path_of(repository, "canary"))


def test_a_stolen_channel_key_no_longer_counts(shipped: Plant, engine: Path) -> None:
    said = shipped.waits(
        "keys", "rotate", shipped.repository, "--role", "tiny.canary", "--remove", "workshop", "--add",
        shipped.public("stranger"), *shipped.keys("anna", "ben", "online"),
    )  # fmt: skip
    assert "tiny.canary: 1 more of the signatures of stranger" in said
    shipped.done("sign", "pending", shipped.repository, *shipped.keys("stranger", "online"))
    assert shipped.found(shipped.repository, path_of(shipped, "canary"))
    (engine / "card.md").write_text("# stolen\n")
    assert "no role has the key workshop" in shipped.refused(*ship(shipped, engine))


def test_a_thief_of_the_online_key_lists_nothing(repository: Plant, engine: Path) -> None:
    said = repository.waits(*ship(repository, engine, keys=("online",)))
    assert "tiny.canary: 1 more of the signatures of workshop" in said
    assert repository.found(repository.repository, path_of(repository, "canary")) is None


def test_a_key_that_signs_nothing_here_changes_nothing(shipped: Plant, engine: Path) -> None:
    said = shipped.refused(*ship(shipped, engine, "--channel", "stable", keys=("stranger",)))
    assert "no role has the key stranger" in said
    assert not list((shipped.repository / "pending").iterdir())


def test_a_station_that_was_away_goes_through_every_root(repository: Plant) -> None:
    repository.client(repository.repository).refresh()
    for _ in range(3):
        repository.done(
            "sign", "refresh", repository.repository, "--role", "root",
            *repository.keys("anna", "clara", "online"),
        )  # fmt: skip
    repository.client(repository.repository).refresh()
    trusted = json.loads((repository.place / "station" / "repository" / "root.json").read_text())
    assert trusted["signed"]["version"] == 4


def test_a_root_that_skips_a_version_is_refused(repository: Plant) -> None:
    metadata = repository.repository / "metadata"
    repository.done(
        "sign", "refresh", repository.repository, "--role", "root", *repository.keys("anna", "ben", "online")
    )
    (metadata / "2.root.json").rename(metadata / "3.root.json")
    said = repository.refused("sign", "show", repository.repository)
    assert "2.root.json: is missing, and 3.root.json is there" in said
    (metadata / "3.root.json").rename(metadata / "2.root.json")
    shutil.copy(metadata / "1.root.json", metadata / "3.root.json")
    said = repository.refused("sign", "show", repository.repository)
    assert "3.root.json: says that it is version 1" in said


def test_an_expired_root_stops_releases_until_people_sign_it_again(
    repository: Plant, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = datetime.now(UTC) + timedelta(days=366)
    monkeypatch.setattr("retraining.cli.ship.now", lambda: later)
    monkeypatch.setattr("retraining.cli.sign.now", lambda: later)
    said = repository.waits(*ship(repository, engine))
    assert "root: expired on" in said
    assert "targets: expired on" in said
    for role in ("targets", "root"):
        code, said = repository.run(
            "sign", "refresh", repository.repository, "--role", role,
            *repository.keys("anna", "ben", "online", "workshop"),
        )  # fmt: skip
    assert code == 0, said
    with open_repository(repository.repository, later) as opened:
        assert not opened.expired()
        assert opened.listed("tiny.canary").targets


def test_a_timestamp_that_nobody_refreshes_is_not_trusted_for_ever(
    repository: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retraining.cli.sign.now", lambda: datetime.now(UTC) - timedelta(days=8))
    repository.done("sign", "refresh", repository.repository, *repository.keys("online"))
    assert "EXPIRED" not in repository.done("sign", "show", repository.repository)
    client = repository.client(repository.repository)
    with pytest.raises(ExpiredMetadataError):
        client.refresh()
    repository.done("sign", "refresh", repository.repository, "--days", 30, *repository.keys("online"))
    repository.client(repository.repository).refresh()


@pytest.mark.parametrize("name", ["timestamp.json", "1.root.json", "2.snapshot.json", "2.targets.json"])
def test_metadata_changed_without_the_keys_is_named(repository: Plant, name: str) -> None:
    file = repository.repository / "metadata" / name
    document = json.loads(file.read_bytes())
    document["signed"]["expires"] = "2099-01-01T00:00:00Z"
    file.write_text(json.dumps(document))
    said = repository.refused("sign", "show", repository.repository)
    assert f"{file}" in said
    assert "changed without the keys" in said
    file.write_text("{")
    assert "is no metadata" in repository.refused("sign", "show", repository.repository)


def test_a_folder_that_is_no_repository_is_refused(plant: Plant, engine: Path) -> None:
    assert "is no repository" in plant.refused("ship", engine, plant.place / "nothing", "--licence", "x")
    assert "is no repository" in plant.refused("sign", "show", plant.place / "keys")
    said = plant.refused(
        "sign", "new", plant.place / "keys", "--people", plant.public("anna"), "--threshold", 1, "--online",
        plant.public("online"),
    )  # fmt: skip
    assert "is not empty" in said


def test_a_private_key_that_others_can_read_is_not_used(repository: Plant, engine: Path) -> None:
    repository.key("workshop").chmod(0o644)
    assert "can be read by others (mode 644)" in repository.refused(*ship(repository, engine))
    assert "workshop.pem  CAN BE READ BY OTHERS" in repository.done("keys", "list", repository.place / "keys")
    assert not list((repository.repository / "pending").iterdir())


def test_every_bad_key_file_is_named(plant: Plant) -> None:
    (plant.place / "keys" / "bad.pub").write_text("no key")
    said = plant.refused(
        "sign", "new", plant.repository, "--people", plant.public("bad"), "--people", plant.public("nobody"),
        "--people", plant.public("anna"), "--people", plant.public("anna"),
        "--online", plant.public("online"),
    )  # fmt: skip
    for word in ("bad.pub: is no public key", "nobody.pub", "anna.pub: is the same key as"):
        assert word in said
    assert not plant.repository.exists()


def test_keys_are_never_replaced_and_only_their_owner_reads_them(plant: Plant) -> None:
    assert plant.key("anna").stat().st_mode & 0o777 == 0o600
    assert "anna.pem: is there already" in plant.refused("keys", "make", plant.place / "keys", "new", "anna")
    assert not plant.key("new").exists()
    said = plant.done("keys", "list", plant.place / "keys")
    assert "anna" in said


def test_a_threshold_that_nobody_could_reach_is_refused(repository: Plant) -> None:
    rotate = ["keys", "rotate", repository.repository, "--role", "root"]
    said = repository.refused(*rotate, "--remove", "clara", "--remove", "ben")
    assert "root would have 1 keys, and 2 must sign" in said
    assert "no single key 'dora'" in repository.refused(*rotate, "--remove", "dora")


@pytest.mark.parametrize("name", ["../x", "", "a/b", "a b"])
def test_a_product_or_a_key_has_a_plain_name(repository: Plant, name: str) -> None:
    anna = repository.public("anna")
    said = repository.refused(
        "sign", "product", repository.repository, name, "--canary", anna, "--stable", anna
    )
    assert "cannot be the name of a product" in said
    assert "a name has letters" in repository.refused("keys", "make", repository.place / "keys", name)


def test_the_same_engine_is_not_shipped_twice_and_versions_count_up(shipped: Plant, engine: Path) -> None:
    assert "canary has this engine already, as version 1" in shipped.refused(*ship(shipped, engine))
    (engine / "card.md").write_text("# better\n")
    assert "has version 1 of tiny already" in shipped.refused(*ship(shipped, engine, "--version", 1))
    assert "version 2" in shipped.done(*ship(shipped, engine))
    assert "tiny canary: 1 (" in shipped.done("sign", "show", shipped.repository)


def test_an_engine_without_data_or_licence_is_not_shipped(repository: Plant, engine: Path) -> None:
    code, said = repository.run("ship", engine, repository.repository)
    assert code == 2
    assert "--licence" in said
    document = (engine / "engine.yaml").read_text()
    (engine / "engine.yaml").write_text(document.replace(f"data: ['{'5' * 64}']\n", ""))
    assert "name its data set by --data" in repository.refused(*ship(repository, engine))


def test_the_thresholds_of_a_recipe_go_along(repository: Plant, engine: Path, tiny_recipe: Any) -> None:
    recipe = repository.place / "tuned.yaml"
    text = (repository.place / "tiny.yaml").read_text()
    recipe.write_text(text.replace("{name: dark, bin: 3}", "{name: dark, bin: 3, threshold: 0.25}"))
    repository.done(*ship(repository, engine, "--recipe", recipe))
    target = repository.found(repository.repository, path_of(repository, "canary"))
    assert target is not None
    opened = open_bundle(
        Path(repository.client(repository.repository).download_target(target)), repository.place / "opened"
    )
    assert read_contents(opened).rules.thresholds == {"dark": 0.25}


def test_an_order_needs_a_director_and_an_engine_that_is_there(shipped: Plant) -> None:
    order = ["sign", "order", shipped.repository, "--repository", shipped.repository, "--product", "tiny"]
    said = shipped.refused(*order, "--percent", 10)
    assert "is a repository of engines, and a director" in said
    assert "give either --stations, --percent or --halt" in shipped.refused(*order)
    shipped.done(
        "sign", "new", shipped.director, "--director", "--people", shipped.public("shift"), "--threshold", 1,
        "--online", shipped.public("shift"), *shipped.keys("shift"),
    )  # fmt: skip
    order[2] = shipped.director
    assert "tiny has no engine in stable" in shipped.refused(*order, "--percent", 10)
    assert "has no product 'other'" in shipped.refused(*order[:-1], "other", "--percent", 10)
    said = shipped.refused(*order, "--channel", "canary", "--stations", "line 3;rm")
    assert "'line 3;rm' cannot be the name of a station" in said
    assert "--percent is not used with --halt" in shipped.refused(
        *order[:3], *order[5:], "--halt", "--percent", 1
    )
    assert "has no order for tiny" in shipped.refused(*order[:3], *order[5:], "--halt")


def test_a_rollout_grows_and_is_halted(shipped: Plant) -> None:
    shipped.done(
        "sign", "new", shipped.director, "--director", "--people", shipped.public("shift"), "--threshold", 1,
        "--online", shipped.public("shift"), *shipped.keys("shift"),
    )  # fmt: skip
    order = ["sign", "order", shipped.director, "--product", "tiny"]
    names = [f"line-{number}" for number in range(200)]
    before: set[str] = set()
    for percent in (0, 1, 10, 100):
        shipped.done(
            *order, "--repository", shipped.repository, "--channel", "canary", "--percent", percent,
            *shipped.keys("shift"),
        )  # fmt: skip
        path = path_of(shipped, "canary")
        found = shipped.found(shipped.director, path)
        assert found is not None
        taken = {name for name in names if Order.of(found.unrecognized_fields["custom"], path).takes(name)}
        assert before <= taken
        assert len(taken) == pytest.approx(2 * percent, abs=10)
        before = taken
    shipped.done("sign", "promote", shipped.repository, "--product", "tiny", *shipped.keys("anna", "online"))
    shipped.done(*order, "--repository", shipped.repository, "--stations", "line-3", *shipped.keys("shift"))
    said = shipped.done(*order, "--halt", *shipped.keys("shift"))
    assert "HALTED, was for 100 % of the stations" in said
    assert "HALTED, was for stations line-3" in said
    for path in (path_of(shipped, "canary"), path_of(shipped, "stable")):
        found = shipped.found(shipped.director, path)
        assert found is not None
        assert not any(Order.of(found.unrecognized_fields["custom"], path).takes(name) for name in names)


def test_a_withdrawn_engine_reaches_no_station_and_never_comes_back_under_its_version(
    shipped: Plant, engine: Path
) -> None:
    first = path_of(shipped, "canary")
    (engine / "card.md").write_text("# a later one\n")
    shipped.done(*ship(shipped, engine))
    shipped.done(
        "sign", "new", shipped.director, "--director", "--people", shipped.public("shift"), "--threshold", 1,
        "--online", shipped.public("shift"), *shipped.keys("shift"),
    )  # fmt: skip
    order = [
        "sign", "order", shipped.director, "--repository", shipped.repository, "--product", "tiny",
        "--channel", "canary", "--percent", 100, *shipped.keys("shift"),
    ]  # fmt: skip
    shipped.done(*order, "--version", 1)
    second = shipped.done(*order).split(":")[0]
    withdraw = ["sign", "withdraw", shipped.repository, "--product", "tiny"]
    online = shipped.keys("workshop", "online")
    assert "--channel is missing" in shipped.refused(*withdraw, "--why", "blind", *online)
    assert "--why is missing" in shipped.refused(*withdraw, "--channel", "canary", *online)
    said = shipped.done(*withdraw, "--channel", "canary", "--why", "blind to burrs", *online)
    assert f"{second}: version 2 is withdrawn from canary" in said
    assert shipped.found(shipped.repository, second) is None
    assert shipped.found(shipped.repository, first) is not None
    assert "was withdrawn: blind to burrs" in shipped.done("sign", "show", shipped.repository)
    assert "has version 2 of tiny already" in shipped.refused(*ship(shipped, engine, "--version", 2))
    shipped.done(*ship(shipped, engine))
    assert "canary: 1 (" in (shown := shipped.done("sign", "show", shipped.repository))
    assert "), 3 (" in shown

    taken_back = ["sign", "withdraw", shipped.director, "--product", "tiny", *shipped.keys("shift")]
    assert "--channel is not used for a director" in shipped.refused(*taken_back, "--channel", "canary")
    assert "no longer ordered, was for 100 % of the stations" in shipped.done(*taken_back)
    assert shipped.found(shipped.director, second) is None
    assert shipped.found(shipped.director, first) is not None, "the order for the earlier one counts again"


def test_what_is_withdrawn_from_stable_is_not_promoted_again(shipped: Plant) -> None:
    both = shipped.keys("anna", "online")
    promote = ["sign", "promote", shipped.repository, "--product", "tiny", *both]
    shipped.done(*promote)
    words = ["--product", "tiny", "--channel", "stable", "--why", "a trial failed"]
    shipped.done("sign", "withdraw", shipped.repository, *words, *both)
    assert "was withdrawn from stable" in shipped.refused(*promote)


def test_a_share_is_that_of_the_sha_256_of_the_name() -> None:
    first = int(hashlib.sha256(b"line-3").hexdigest()[:16], 16)
    assert share_of("line-3") == pytest.approx(100 * first / 2**64)


@pytest.mark.parametrize(
    "custom",
    [
        None, {}, {"product": "tiny", "version": 1, "halted": False},
        {"product": "tiny", "version": 1, "percent": 10, "stations": [], "halted": False},
        {"product": "tiny", "version": 1, "percent": 101, "halted": False},
        {"product": "tiny", "version": 1, "percent": True, "halted": False},
        {"product": "tiny", "version": 1, "percent": 10, "halted": "no"},
        {"product": "tiny", "version": "1", "percent": 10, "halted": False},
        {"product": "tiny", "version": 1, "stations": "line-3", "halted": False},
        {"product": "other", "version": 1, "percent": 10, "halted": False},
    ],
)  # fmt: skip
def test_an_order_that_cannot_be_read_takes_nobody(custom: Any) -> None:
    with pytest.raises(InspectionError, match=r"tiny/stable/x\.bundle"):
        Order.of(custom, "tiny/stable/x.bundle")


def test_a_command_killed_while_it_publishes_is_finished_by_the_next(
    repository: Plant, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk ends at each file in turn; a client reads the old state or the new one, never a broken one."""
    rotate = [
        "keys", "rotate", repository.repository, "--role", "targets", "--remove", "clara",
        *repository.keys("anna", "ben", "online"),
    ]  # fmt: skip
    replace, left = os.replace, [0]

    def dying(source: Any, target: Any) -> None:
        if left[0] == 0 and "metadata" in str(target):
            raise OSError(5, "Input/output error", str(target))
        left[0] -= "metadata" in str(target)
        replace(source, target)

    for budget in range(5):
        copy = repository.place / f"copy-{budget}" / "repository"
        shutil.copytree(repository.repository, copy)
        words = [copy if word == repository.repository else word for word in rotate]
        left[0] = budget
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", dying)
            try:
                repository.run(*words)
            except OSError:
                dead = True
            else:
                dead = False
        if dead:
            repository.client(copy, f"station-{budget}").refresh()
            repository.done("sign", "pending", copy, *repository.keys("online", "anna", "ben"))
        assert Metadata.from_file(str(copy / "metadata" / "2.root.json"))
        repository.client(copy, f"station-{budget}").refresh()
        assert not list((copy / "pending").iterdir())
        if not dead:
            break
    else:
        raise AssertionError("it never ended")


def test_without_the_extra_the_error_says_which_one_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tuf", None)
    with pytest.raises(InspectionError, match=r"inspection-station\[updates\]"):
        importlib.reload(deploy.repository)


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A token of softhsm2, and the address of a key in it that is not there yet."""
    module = Path("/usr/lib/softhsm/libsofthsm2.so")
    if not module.exists() or shutil.which("softhsm2-util") is None:
        pytest.skip("softhsm2 is not installed")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path}/tokens\nlog.level = ERROR\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    monkeypatch.setenv("PKCS11_PIN", "1234")
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", "plant", "--pin", "1234", "--so-pin", "5678"],
        check=True, capture_output=True,
    )  # fmt: skip
    return f"pkcs11:token=plant;object=dora?module-path={module}"


def test_a_key_in_a_token_signs_and_never_leaves_it(plant: Plant, token: str) -> None:
    plant.done("keys", "make", plant.place / "keys", "--token", token)
    assert not plant.key("dora").exists()
    assert "is in the token already" in plant.refused("keys", "make", plant.place / "more", "--token", token)
    plant.done(
        "sign", "new", plant.repository, "--people", plant.public("dora"), "--people", plant.public("anna"),
        "--online", plant.public("online"), "--key", token, *plant.keys("anna", "online"),
    )  # fmt: skip
    plant.client(plant.repository).refresh()
    said = plant.refused("sign", "refresh", plant.repository, "--key", token.replace("dora", "nobody"))
    assert "check token, object, PIN and library" in said
    said = plant.refused("sign", "refresh", plant.repository, "--key", "pkcs11:token=plant")
    assert "write `pkcs11:token=TOKEN;object=KEY" in said
