"""The updater with good repositories and bad surroundings: networks, sticks, clocks, disks, settings."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tuf.api.exceptions import DownloadError, SlowRetrievalError
from tuf.api.metadata import TargetFile
from typer.testing import CliRunner

from deploy.bundle import bundle_name, write_bundle
from deploy.updater import record
from deploy.updater.__main__ import app
from deploy.updater.errors import UpdateError
from deploy.updater.fetcher import Fetcher, Pace
from deploy.updater.install import install_bundle
from deploy.updater.settings import Network, UpdaterSettings, UpdaterSettingsError, load_settings
from deploy.updater.stick import Stick, find_repositories
from deploy.updater.update import Accepted, update
from station.engines.store import EngineState, Store
from tests.deploy.plant_of_updates import Station, station
from tests.deploy.tuf_repository import DIGEST


@pytest.fixture
def here(memory: Path) -> Iterator[Station]:
    with station(memory) as made:
        yield made


# ---------------------------------------------------------------- network


class BreakingServer:
    """Ends each connection of a bundle after some bytes, as often as it is told."""

    def __init__(self, station: Station, bytes_each: int, times: int) -> None:
        self.station, self.each, self.left = station, bytes_each, times
        station.server.misbehave[".bundle"] = self.answer

    def answer(self, handler: Any, content: bytes) -> None:
        wanted = handler.headers.get("Range", "")
        start = int(wanted.removeprefix("bytes=").rstrip("-") or 0)
        end = len(content) if self.left == 0 else min(start + self.each, len(content))
        self.left -= self.left > 0
        handler.send_response(206 if wanted else 200)
        handler.send_header("Content-Length", str(len(content) - start))
        if wanted:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.end_headers()
        handler.wfile.write(content[start:end])


def test_a_broken_connection_is_taken_up_where_it_ended(memory: Path) -> None:
    content = os.urandom(5000)
    with station(memory, content) as here:
        BreakingServer(here, 1000, 3)
        here.update()
        assert here.installed == [content]
        assert here.server.ranges == ["bytes=1000-", "bytes=2000-", "bytes=3000-"]


def test_the_next_update_goes_on_where_the_last_one_ended(memory: Path) -> None:
    content = os.urandom(5000)
    with station(memory, content) as here:
        server = BreakingServer(here, 1000, 1)
        here.server.misbehave[".bundle"] = lambda handler, content: (
            server.answer(handler, content) if not handler.headers.get("Range") else None
        )
        here.is_refused("`images` cannot be fetched")
        here.server.misbehave.clear()
        here.server.ranges.clear()
        here.update()
        assert here.installed == [content]
        assert here.server.ranges == ["bytes=1000-"]


@pytest.mark.parametrize("content_range", [None, "bytes 7-99/5000"])
def test_a_server_that_cannot_go_on_is_asked_from_the_beginning(
    memory: Path, content_range: str | None
) -> None:
    content = os.urandom(5000)
    with station(memory, content) as here:

        def answer(handler: Any, content: bytes) -> None:
            again = bool(handler.headers.get("Range"))
            handler.send_response(206 if again and content_range else 200)
            handler.send_header("Content-Length", str(len(content)))
            if again and content_range:
                handler.send_header("Content-Range", content_range)
            handler.end_headers()
            first = len([one for one in here.server.asked if ".bundle" in one]) == 1
            handler.wfile.write(content[:1000] if first else content)

        here.server.misbehave[".bundle"] = answer
        here.update()
        assert here.installed == [content]


def test_a_redirect_is_not_followed(here: Station) -> None:
    def elsewhere(handler: Any, _: Any) -> None:
        handler.send_response(302)
        handler.send_header("Location", "http://127.0.0.1:9/")
        handler.end_headers()

    here.server.misbehave["timestamp.json"] = elsewhere
    here.is_refused("answered 302 Found, which the updater does not follow", "into updater.yaml")


def test_a_proxy_is_used_only_where_the_settings_name_one(
    here: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    here.look()  # not through the environment's, where nobody listens
    address, here.server.address = here.server.address, "http://updates.invalid"
    here.write(network=f"{{proxy: '{address}'}}")
    here.server.asked.clear()
    assert here.update()[0].installed == DIGEST
    assert here.server.asked[0].startswith("http://updates.invalid:80/images/metadata/")


def test_nothing_is_fetched_from_a_place_that_was_not_named(tmp_path: Path) -> None:
    fetcher = Fetcher(Network(), ["http://127.0.0.1:9/images/"], tmp_path)
    with pytest.raises(DownloadError, match="the configuration names no repository there"):
        fetcher.download_bytes("http://127.0.0.1:10/images/timestamp.json", 100)


def test_a_server_that_is_away_is_named(here: Station) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        address, here.server.address = here.server.address, f"http://127.0.0.1:{taken.getsockname()[1]}"
        here.write()
        here.is_refused("`images` cannot be fetched", "Connection refused", "docs/updates.md")
    here.server.address = address


def test_the_pace_is_an_average_over_its_window_and_ends_at_the_deadline() -> None:
    now = [0.0]
    network = Network(slowest_bytes_per_s=100, slow_for_s=10, deadline_s=25)
    pace = Pace(network, lambda: now[0])
    assert pace.seconds_left() == 10
    now[0] = 9
    pace.got(1000)
    assert pace.seconds_left() == 1
    now[0] = 10
    assert pace.seconds_left() == 10, "fast enough: the next window"
    pace.got(999)
    now[0] = 20
    with pytest.raises(SlowRetrievalError, match=r"sent 100 bytes/s in the last 10 s|less than 100"):
        pace.seconds_left()
    pace.begin()
    assert pace.seconds_left() == 5, "no longer than until the deadline"
    now[0] = 25
    with pytest.raises(SlowRetrievalError, match=r"not done within 25 s \(network.deadline_s\)"):
        pace.seconds_left()


# ---------------------------------------------------------------- sticks


def stick_of(here: Station, folder: Path) -> Path:
    here.images.write(folder / "images")
    here.director.write(folder / "director")
    return folder


def test_a_stick_needs_no_network(here: Station) -> None:
    stick = find_repositories(stick_of(here, here.folder / "stick"))
    assert here.update(stick=stick)[0].installed == DIGEST
    assert here.installed == [b"a bundle"]
    assert here.server.asked == []


def test_a_folder_of_a_stick_is_found(here: Station) -> None:
    stick_of(here, here.folder / "stick" / "hall-3")
    assert find_repositories(here.folder / "stick").images.parent.name == "hall-3"


def test_a_stick_with_two_plants_is_not_guessed(here: Station) -> None:
    stick_of(here, here.folder / "stick" / "hall-3")
    stick_of(here, here.folder / "stick" / "hall-4")
    with pytest.raises(UpdateError, match=r"hall-3 and in .*hall-4: name the one that is for this station"):
        find_repositories(here.folder / "stick")


def test_a_stick_with_one_repository_is_not_enough(here: Station) -> None:
    here.images.write(here.folder / "stick" / "images")
    with pytest.raises(UpdateError, match="has no repository `director`: copy the folders"):
        find_repositories(here.folder / "stick")
    (here.folder / "empty").mkdir()
    with pytest.raises(UpdateError, match="no repository `images` and no `director`"):
        find_repositories(here.folder / "empty")


def test_a_stick_on_which_a_root_is_missing_says_which(here: Station) -> None:
    for _ in range(3):
        here.images.publish_root()
    del here.images.files["metadata/3.root.json"]
    with pytest.raises(UpdateError, match=r"3\.root\.json is missing between others: copy the whole folder"):
        find_repositories(stick_of(here, here.folder / "stick"))


def test_a_stick_with_a_bundle_of_10_gb_of_zeros_is_read_only_as_far_as_was_signed(here: Station) -> None:
    folder = stick_of(here, here.folder / "stick")
    bundle = next((folder / "images" / "targets").rglob("*.bundle"))
    with bundle.open("r+b") as file:
        file.truncate(10_000_000_000)
    here.is_refused("`images` is longer than what was signed", stick=find_repositories(folder))


def test_a_stick_whose_files_are_pipes_is_refused_and_not_waited_for(here: Station) -> None:
    folder = stick_of(here, here.folder / "stick")
    timestamp = folder / "images" / "metadata" / "timestamp.json"
    stick = find_repositories(folder)
    timestamp.unlink()
    os.mkfifo(timestamp)
    here.is_refused("is a pipe or a device", stick=stick)


def expired(here: Station, days: float = 3) -> Stick:
    here.now = here.images.now + timedelta(days=days)
    return find_repositories(stick_of(here, here.folder / "stick"))


def test_a_stick_whose_timestamp_expired_needs_a_persons_yes_which_is_recorded(here: Station) -> None:
    stick = expired(here)
    here.is_refused("`images` has expired", stick=stick)
    outcome = here.update(stick=stick, accepted=Accepted("M. Ito", "made on Friday"))
    assert outcome[0].installed == DIGEST
    yes = [one for one in here.record() if one["what"] == "expired timestamp accepted"]
    assert [(one["by"], one["why"], one["repository"]) for one in yes] == [
        ("M. Ito", "made on Friday", "images"),
        ("M. Ito", "made on Friday", "director"),
    ]
    assert yes[0]["versions"]["timestamp"] == 1


@pytest.mark.parametrize(("days", "role"), [(3, "snapshot"), (3, "targets"), (366, "root")])
def test_a_yes_is_for_the_timestamp_and_for_nothing_else(here: Station, days: float, role: str) -> None:
    if role != "root":
        getattr(here.images, role).expires = here.images.in_days(2)
        here.images.publish()
    stick = expired(here, days)
    here.is_refused(
        "`images` has expired", f"{role}.json", stick=stick, accepted=Accepted("M. Ito", "why not")
    )


def test_a_yes_does_not_make_an_older_stick_newer(here: Station) -> None:
    stick = expired(here)
    here.images.publish()
    here.now = None
    here.look()
    here.now = here.images.now + timedelta(days=3)
    here.is_refused("wrong version", stick=stick, accepted=Accepted("M. Ito", "why not"))


# ---------------------------------------------------------------- clocks


def test_a_clock_in_1970_is_not_believed(here: Station) -> None:
    here.now = here.images.now.replace(year=1970)
    assert here.update()[0].installed == DIGEST


def test_a_clock_in_2099_is_named_beside_the_newest_signed_time(here: Station) -> None:
    here.look()
    here.now = here.images.now.replace(year=2099)
    here.is_refused("has expired", "it is 2099-", f"newest signed time is {here.images.now:%F}")
    here.now = None
    assert here.update()[0].installed == DIGEST


@pytest.mark.parametrize(
    ("time", "said"), [("tomorrow", "no time such as"), ("2999-01-01T00:00:00Z", "after")]
)
def test_a_signed_time_that_cannot_be_is_refused(here: Station, time: str, said: str) -> None:
    here.images.timestamp.unrecognized_fields["issued"] = time
    here.images.publish()
    here.is_refused("`images` has metadata that cannot be used", said)


def test_a_repository_of_another_software_without_signed_times_is_used(memory: Path) -> None:
    with station(memory, issued=False) as here:
        assert here.update()[0].installed == DIGEST


# ---------------------------------------------------------------- disks and neighbours


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Path]:
    """A disk of so many bytes."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_fills_at_99_percent_is_said_and_nothing_of_the_bundle_stays(memory: Path) -> None:
    content = os.urandom(200_000)
    with station(memory, content) as here, small_disk(memory / "state", 1_000_000) as disk:

        def fill(handler: Any, content: bytes) -> None:
            (disk / "junk").write_bytes(bytes(os.statvfs(disk).f_bavail * 4096 - 60_000))
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(content)

        here.server.misbehave[".bundle"] = fill
        here.is_refused("state/parts/", "No space left on device; free some space on this disk")
        assert list((disk / "parts").iterdir()) == []
        (disk / "junk").unlink()
        here.server.misbehave.clear()
        here.update()
        assert here.installed == [content]


def test_a_bundle_that_does_not_fit_the_disk_is_not_begun(memory: Path) -> None:
    with station(memory, bytes(400_000)) as here, small_disk(memory / "state", 1_000_000):
        here.is_refused("the update needs 1 MB of this disk", "free some space")
        assert not any(".bundle" in one for one in here.server.asked)


def test_two_updaters_do_not_work_at_once(here: Station) -> None:
    (here.folder / "state").mkdir()
    with (here.folder / "state" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711")
        lock.flush()
        with pytest.raises(UpdateError, match=r"another updater is at work \(process 4711\): wait"):
            here.update()
    assert here.update()[0].installed == DIGEST


def test_a_bundle_of_10_gb_is_refused_before_a_byte_is_fetched_whoever_signed_it(here: Station) -> None:
    for repository, role in ((here.images, "housing.stable"), (here.director, "targets")):
        old = repository.role(role).targets[here.path]
        huge = TargetFile(10_000_000_000, old.hashes, here.path, old.unrecognized_fields)
        repository.role(role).targets[here.path] = huge
        repository.publish()
    here.is_refused("has 10000 MB, more than 500 (largest_bundle_mb of updater.yaml)")
    assert not any(".bundle" in one for one in here.server.asked)


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "/etc/passwd", "housing/stable/../../x.bundle", "housing/nightly/0.bundle"]
)
def test_an_order_for_a_path_that_no_bundle_has_is_refused(here: Station, path: str) -> None:
    here.director.add_target(path, b"x", product="housing", version=3, percent=100, halted=False)
    here.director.publish()
    here.is_refused("orders that cannot be read", path, "is no PRODUCT/CHANNEL/DIGEST.bundle")


def test_orders_that_cannot_be_read_are_named_all_at_once(here: Station) -> None:
    for number, custom in enumerate(({"percent": 5}, {"percent": 101}, {"stations": "hall-3"})):
        path = here.path[: -len("0.bundle")] + f"{number}.bundle"
        here.director.add_target(path, b"x", product="housing", version=3, halted=False)
        here.director.targets.targets[path].unrecognized_fields["custom"] |= custom
    here.director.targets.targets[path].unrecognized_fields["custom"]["halted"] = "no"
    here.director.publish()
    words = here.is_refused("orders that cannot be read")
    assert words.count(".bundle: is no order that can be read") + words.count("is an order for") == 2


def test_another_station_or_share_gets_nothing(here: Station) -> None:
    order = here.director.targets.targets[here.path].unrecognized_fields["custom"]
    del order["percent"]
    order["stations"] = ["hall-4"]
    here.director.publish()
    assert "no engine for this station" in here.update()[0].words
    here.write(station="hall-4")
    assert here.update()[0].installed == DIGEST


def test_one_product_that_is_refused_keeps_no_other_from_its_engine(here: Station) -> None:
    path = here.path.replace("housing", "plates")
    here.director.add_target(path, b"x", product="plates", version=1, percent=100, halted=False)
    here.director.publish()
    here.write(products="[{product: plates}, {product: housing}]")
    with pytest.raises(UpdateError, match=r"^plates: the director orders"):
        here.update()
    assert here.installed == [b"a bundle"]


# ---------------------------------------------------------------- the whole way


def test_an_engine_goes_from_its_bundle_into_the_store_and_is_installed_and_no_more(
    memory: Path, tiny_engine: Path
) -> None:
    (tiny_engine / "card.md").write_text("# tiny\n")
    bundle = write_bundle(
        tiny_engine, memory, version=2, data=["0" * 64], licences=["Apache-2.0"], minimum_station="0.0.1"
    )
    digest = bundle.name.partition(".")[0]
    with station(memory) as here:
        path = f"tiny/stable/{bundle_name(digest)}"
        here.images.delegate("tiny.stable", ["tiny/stable/*"])
        entry = {"product": "tiny", "version": 2, "minimum_version": "0.0.1"}
        here.images.add_target(path, bundle.read_bytes(), "tiny.stable", **entry)
        order = {"product": "tiny", "version": 2, "percent": 100, "halted": False}
        here.director.add_target(path, bundle.read_bytes(), **order)
        here.images.publish()
        here.director.publish()
        here.write(products="[{product: tiny}]", engines=str(tiny_engine.parent))
        assert update(here.settings, install_bundle)[0].installed == digest
        known = Store(tiny_engine.parent, "tiny").engines()
        entry_of_it = known.entries[digest]
        assert entry_of_it.state is EngineState.INSTALLED
        assert entry_of_it.provenance.target == path
        assert (entry_of_it.provenance.image_version, entry_of_it.provenance.director_version) == (2, 2)
        assert entry_of_it.provenance.key_ids == (here.director.signers["targets"][0].public_key.keyid,)
        assert "is here already" in update(here.settings, install_bundle)[0].words
        assert not (here.folder / "state" / "opened").exists()


def test_a_signed_bundle_of_zeros_ends_at_the_opening(memory: Path) -> None:
    with station(memory, bytes(100_000)) as here:
        with pytest.raises(UpdateError, match="bundle"):
            update(here.settings, install_bundle)
        assert not list((here.folder / "state").glob("*opened*"))
        assert not Store(here.folder / "engines", "housing").is_there


# ---------------------------------------------------------------- record and settings


def test_a_record_that_was_changed_stops_the_updater(here: Station) -> None:
    here.update()
    log = here.folder / "state" / "record.jsonl"
    record.append(log, "a second line")
    log.write_text(log.read_text().replace("housing", "Housing"))
    with pytest.raises(UpdateError, match=r"record\.jsonl:2: the record was changed here"):
        here.update()


def test_each_line_of_the_record_names_the_one_before(tmp_path: Path) -> None:
    log = tmp_path / "record.jsonl"
    for number in range(3):
        record.append(log, "line", number=number)
    assert [json.loads(line)["number"] for line in record.lines(log)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"images": "{url: 'ftp://x/', root: images.root.json}"}, "images.url: is no address of the form"),
        ({"images": "{url: 'http://me:pw@x/', root: images.root.json}"}, "without user, password"),
        ({"images": "{url: 'http://x/?a', root: images.root.json}"}, "images.url: is no address"),
        (
            {"images": "{url: 'http://x/', root: director.root.json}"},
            "director.root: is the root of `images`",
        ),
        ({"products": "[]"}, "products: "),
        ({"products": "[{product: a}, {product: a, channel: canary}]"}, "products: name a twice"),
        ({"products": "[{product: a, channel: nightly}]"}, "channel"),
        ({"products": "[{product: ../../etc}]"}, "products[0].product"),
        ({"state": "."}, "state: contains the folder of `engines`"),
        ({"network": "{slowest: 5}"}, "network.slowest: is not a known key"),
        ({"network": "{proxy: 'socks5://x:1'}"}, "network.proxy: is no address"),
        ({"network": "{deadline_s: 0}"}, "network.deadline_s"),
        ({"largest_bundle_mb": "0"}, "largest_bundle_mb"),
        ({"stick": "yes"}, "stick: is not a known key"),
    ],
)
def test_settings_name_line_and_key_of_each_mistake(
    here: Station, changed: dict[str, str], said: str
) -> None:
    here.write(**changed)
    with pytest.raises(UpdaterSettingsError) as refused:
        load_settings(here.folder / "updater.yaml")
    assert said in str(refused.value)
    assert "updater.yaml:" in str(refused.value)


def test_a_root_that_nobody_brought_is_asked_for(here: Station) -> None:
    (here.folder / "images.root.json").unlink()
    here.is_refused("images.root of updater.yaml", "which a person brings to every station once")
    (here.folder / "images.root.json").write_bytes(b"{}")
    here.is_refused("`images` has metadata that cannot be used")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--accept-expired", "--by", "A", "--why", "b"), "name it with --from"),
        (("--from", "{folder}", "--accept-expired"), "needs --by NAME and --why REASON"),
        (("--from", "{folder}", "--accept-expired", "--by", "A", "--why", " "), "needs --by NAME"),
        (("--by", "A"), "is used with --accept-expired only"),
    ],
)
def test_a_yes_needs_a_stick_a_name_and_a_reason(here: Station, words: tuple[str, ...], said: str) -> None:
    given = [word.format(folder=here.folder) for word in words]
    ended = CliRunner().invoke(
        app, ["--config", str(here.folder / "updater.yaml"), *given], env={"COLUMNS": "200", "TERM": "dumb"}
    )
    assert ended.exit_code == 2
    assert said in ended.output


def test_the_command_says_what_was_done(here: Station) -> None:
    here.look()
    order = here.director.targets.targets[here.path].unrecognized_fields["custom"]
    order["halted"] = True
    here.director.publish()
    ended = CliRunner().invoke(app, ["--config", str(here.folder / "updater.yaml")])
    assert (ended.exit_code, ended.output) == (0, "housing: the plant orders no engine for this station\n")
    ended = CliRunner().invoke(app, ["--config", str(here.folder / "updater.yaml"), "--check"])
    assert "keeps housing up to date for the station hall-3" in ended.output


def test_the_document_has_every_key_of_the_settings() -> None:
    text = (Path(__file__).parents[2] / "docs" / "updates.md").read_text()
    keys = [f"network.{name}" for name in Network.model_fields]
    sections = {"images", "director", "products", "network"}
    keys += [name for name in UpdaterSettings.model_fields if name not in sections]
    keys += ["images.url", "director.root", "products[].product", "products[].channel"]
    assert [key for key in keys if f"`{key}`" not in text] == []


def test_an_error_that_nobody_foresaw_installs_nothing_and_is_in_the_record(here: Station) -> None:
    def install(arrival: Any) -> str:
        raise KeyError("golden")

    with pytest.raises(KeyError):
        update(here.settings, install)
    assert "an error of this software: KeyError('golden')" in here.record()[-1]["said"]
    assert here.update()[0].installed == DIGEST
