"""Rare parts on their way to the workshop: none lost, none twice, none let go without a receipt."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer import Typer
from typer.testing import CliRunner

from retraining.cli import app as retrain_app
from retraining.errors import DatasetError
from retraining.receiving import Received, receive, received_items
from station.cli import app as station_app
from station.config import ConfigError, StationConfig, load_config
from station.handoff.bundle import Manifest, read_bundle, write_bundle
from station.handoff.sender import HandOffError, Sender
from station.handoff.targets import Target, TargetError
from station.observers import Observers, ObserverSetup
from station.observers.handoff import make_observer
from station.review import review
from station.sealed_tar import BundleError, Piece
from station.signing import SigningKeyError, own_key
from station.simulated_plant import Plant as SimulatedPlant
from tests.waiting import PATIENCE_S, wait_for

if TYPE_CHECKING:
    from tests.station.rare.conftest import Bench

ROOT = Path(__file__).parents[3]


class Plant:
    """A station with a rare log, a target, and a workshop that know each other's keys."""

    def __init__(self, bench: Bench, folder: Path, **handoff: object) -> None:
        self.bench, self.folder = bench, folder
        self.target, self.out = folder / "target", folder / "received"
        self.workshops, self.stations = folder / "workshops", folder / "stations"
        for one in (self.target, self.workshops, self.stations):
            one.mkdir()
        self.config = self.configured(**handoff)
        self.key = own_key(folder / "workshop.pem")
        (self.workshops / "w.pub").write_text(self.key.public.pem())
        self.station_key = own_key(self.config.paths.key)
        (self.stations / "press-3.pub").write_text(self.station_key.public.pem())
        Target(str(self.target)).prepare()

    def configured(self, **handoff: object) -> StationConfig:
        text = (ROOT / "config" / "demo.yaml").read_text().replace("../var", str(self.folder))
        text = text.replace("../", f"{ROOT}/").replace("name: demo", "name: press-3")
        values = {"target": str(self.target), "workshops": str(self.workshops)} | handoff
        text += "\nhandoff:\n" + "".join(f"  {key}: {value}\n" for key, value in values.items())
        file = self.folder / "station.yaml"
        file.write_text(text)
        return load_config(file)

    def see(self, count: int = 3) -> None:
        """Doubtful parts for the log."""
        log = self.bench.log()
        for _ in range(count):
            log.observe(self.bench.part("scratches", p=0.65))
        log.close()

    def say(self, record: int, class_name: str) -> None:
        """A person's word about a part of the log."""
        review(self.bench.journal, record=record, class_name=class_name, by="J. Novak")
        self.bench.log().close()

    @property
    def sender(self) -> Sender:
        return Sender(self.config)

    def receive(self) -> list[Received]:
        return receive(Target(str(self.target)), self.stations, self.out, self.key)

    @property
    def at_target(self) -> list[Path]:
        return sorted(self.target.rglob("*.bundle"))

    @property
    def arrived(self) -> list[str]:
        return sorted(f"{item.journal_id[:8]}-{item.record_id}" for item, _ in received_items(self.out))


@pytest.fixture
def plant(bench: Bench, tmp_path: Path) -> Plant:
    return Plant(bench, tmp_path)


def test_items_arrive_once_and_leave_the_outbox_only_after_a_receipt(plant: Plant) -> None:
    plant.see(3)
    found = plant.sender.round()
    assert (found.items, len(found.bundles)) == (0, 1)
    assert "no receipt yet" in found.problem
    assert len(plant.sender.round().bundles) == 1, "without a receipt it stays"
    assert sum(one.imported for one in plant.receive()) == 3
    assert sum(one.imported for one in plant.receive()) == 0, "none twice"
    found = plant.sender.round()
    assert (found.bundles, found.problem, found.handed_over) == ((), "", 1)
    assert plant.at_target == [], "the station tidies up"
    originals = {one.item_id: one.picture.read_bytes() for one in plant.bench.store.entries()}
    assert len(plant.arrived) == 3
    for item, picture in received_items(plant.out):
        assert picture.read_bytes() == originals[f"{item.journal_id[:8]}-{item.record_id}"]
    plant.see(2)
    plant.sender.round()
    assert [one.name[:8] for one in plant.at_target] == ["00000002"], "numbers have no gap"


def test_what_a_person_says_after_the_hand_off_goes_as_an_update(plant: Plant) -> None:
    plant.see(2)
    plant.sender.round()
    plant.receive()
    plant.sender.round()
    entry = plant.bench.store.entries()[0]
    plant.say(entry.item.record_id, "pits")
    assert plant.sender.waiting().items == 1
    plant.sender.round()
    assert [one.imported for one in plant.receive()] == [1]
    assert plant.sender.round().problem == ""
    said = {item.record_id: item.said_class for item, _ in received_items(plant.out)}
    assert said == {entry.item.record_id: "pits"} | {k: None for k in said if k != entry.item.record_id}
    plant.say(entry.item.record_id, "pits")
    assert plant.sender.waiting().items == 0, "heard again, it changes nothing"


def test_what_the_workshop_has_makes_room_first(plant: Plant) -> None:
    log = plant.bench.log()
    log.observe(plant.bench.part("scratches", p=0.40))
    log.close()
    plant.sender.round()
    plant.receive()
    plant.sender.round()
    plant.see(2)
    sizes = sorted(one.size for one in plant.bench.store.entries())
    (first,) = plant.bench.store.purge(sum(sizes) - 1)
    assert first.endswith("-1"), "the most doubtful part, which the workshop has"


@pytest.mark.parametrize("place", [0, 200, 700, 3000, -600, -1])
def test_a_bundle_changed_on_the_way_is_quarantined_and_sent_again(plant: Plant, place: int) -> None:
    plant.see(2)
    plant.sender.round()
    (bundle,) = plant.at_target
    content = bytearray(bundle.read_bytes())
    content[place] ^= 1
    bundle.write_bytes(content)
    (found,) = plant.receive()
    assert (found.imported, plant.arrived) == (0, [])
    assert "quarantine" in found.problem
    assert [one.suffix for one in sorted((plant.out / "quarantine").iterdir())] == [".bundle", ".why"]
    plant.sender.round()
    assert [one.imported for one in plant.receive()] == [2]
    assert plant.sender.round().problem == ""


def test_a_station_that_is_not_enrolled_waits_and_is_named(plant: Plant) -> None:
    plant.see(1)
    plant.sender.round()
    (plant.stations / "press-3.pub").write_text(own_key(plant.folder / "other.pem").public.pem())
    (found,) = plant.receive()
    assert "not enrolled" in found.problem
    assert plant.station_key.public.key_id in found.problem
    assert plant.at_target, "it can wait"


@pytest.mark.parametrize("change", ["other bytes", "another workshop", "another bundle"])
def test_a_receipt_that_is_not_the_workshops_lets_nothing_go(plant: Plant, change: str) -> None:
    plant.see(1)
    plant.sender.round()
    if change == "another workshop":
        plant.key = own_key(plant.folder / "stranger.pem")
    plant.receive()
    (receipt,) = plant.target.rglob("receipts/*.json")
    if change == "other bytes":
        receipt.write_text(receipt.read_text().replace('items\\": 1', 'items\\": 2'))
    if change == "another bundle":
        plant.see(1)
        plant.sender.round()
        shutil.copy(receipt, receipt.with_name(f"{plant.sender.bundles()[-1].stem}.json"))
        receipt.unlink()
    before = plant.sender.bundles()
    assert "receipt" in plant.sender.round().problem
    assert plant.sender.bundles() == before


def test_two_stations_of_one_name_stay_apart(plant: Plant, tmp_path: Path) -> None:
    plant.see(2)
    plant.sender.round()
    plant.config.paths.key.unlink()
    shutil.rmtree(plant.config.paths.outbox)
    (plant.stations / "second.pub").write_text(own_key(plant.config.paths.key).public.pem())
    plant.sender.round()
    assert [one.imported for one in plant.receive()] == [2, 2]
    assert len(list((plant.out / "stations").iterdir())) == 2


def test_a_state_put_back_from_a_backup_uses_no_number_twice(plant: Plant) -> None:
    plant.see(1)
    plant.sender.round()
    plant.receive()
    plant.sender.round()
    shutil.rmtree(plant.config.paths.outbox)
    plant.see(1)
    plant.sender.round()
    assert [one.name[:8] for one in plant.at_target] == ["00000002"]


def test_a_stick_that_is_not_there_is_no_empty_folder(plant: Plant) -> None:
    plant.see(1)
    (plant.target / "hand-off-target.json").unlink()
    found = plant.sender.round()
    assert "is the stick plugged in" in found.problem
    assert (found.items, plant.at_target) == (1, [])
    first = plant.sender.round().since
    assert first == found.since, "since when is remembered"
    Target(str(plant.target)).prepare()
    assert len(plant.sender.round().bundles) == 1


def test_an_outbox_of_zero_makes_no_bundle_and_says_so(plant: Plant) -> None:
    plant.config = plant.configured(outbox_mb=0)
    plant.see(1)
    found = plant.sender.round()
    assert (found.items, found.bundles) == (1, ())
    assert "outbox_mb" in found.problem


def test_an_upload_goes_on_where_it_ended(plant: Plant) -> None:
    plant.see(3)
    plant.sender.round()
    (bundle,) = plant.at_target
    content = bundle.read_bytes()
    bundle.unlink()
    part = bundle.with_name(f"{bundle.name}.part")
    part.write_bytes(content[:5000])
    plant.sender.round()
    assert plant.at_target[0].read_bytes() == content
    bundle.unlink()
    part.write_bytes(b"x" + content[1:5000])
    assert "did not keep what was written" in plant.sender.round().problem
    plant.sender.round()
    assert plant.at_target[0].read_bytes() == content


def test_one_process_hands_over_and_one_receives(plant: Plant) -> None:
    with plant.sender._alone(), pytest.raises(HandOffError, match="another process"):
        plant.sender.round()


def test_two_receivers_at_once_in_one_folder_take_everything_once(plant: Plant) -> None:
    """The second one is refused while the first one works, and afterwards has nothing left to do."""
    plant.see(2)
    plant.sender.round()
    plant.see(1)
    plant.sender.round()
    assert len(plant.at_target) == 2
    works, goes_on = threading.Event(), threading.Event()

    def stand_still(_: str) -> None:
        works.set()
        goes_on.wait(30)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(
            receive, Target(str(plant.target)), plant.stations, plant.out, plant.key, stand_still
        )
        assert works.wait(PATIENCE_S)
        words = ["receive", plant.target, "--keys", plant.stations, "--out", plant.out]
        with pytest.raises(DatasetError, match="another `retrain receive` works in this folder: let it end"):
            CliRunner().invoke(retrain_app, [str(word) for word in words], catch_exceptions=False)
        goes_on.set()
        assert sum(one.imported for one in first.result()) == 3
    assert sum(one.imported for one in plant.receive()) == 0
    assert len(plant.arrived) == 3
    assert plant.sender.round().problem == ""


def test_two_workshops_at_once_on_one_target_both_have_everything(plant: Plant) -> None:
    plant.see(3)
    plant.sender.round()
    other = own_key(plant.folder / "other.pem")
    (plant.workshops / "other.pub").write_text(other.public.pem())
    works, goes_on = threading.Event(), threading.Event()

    def stand_still(_: str) -> None:
        works.set()
        goes_on.wait(30)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(
            receive, Target(str(plant.target)), plant.stations, plant.out, plant.key, stand_still
        )
        assert works.wait(PATIENCE_S)
        second = receive(Target(str(plant.target)), plant.stations, plant.folder / "second", other)
        goes_on.set()
        assert [one.imported for one in (*second, *first.result())] == [3, 3]
    for folder in (plant.out, plant.folder / "second"):
        assert len({item.record_id for item, _ in received_items(folder)}) == 3
    found = plant.sender.round()
    assert (found.bundles, found.problem) == ((), ""), "either receipt counts"


def test_a_damaged_picture_is_named_and_the_others_go(plant: Plant) -> None:
    plant.see(2)
    plant.bench.store.entries()[0].picture.write_bytes(b"?")
    found = plant.sender.round()
    assert "not what was written" in found.problem
    assert [one.imported for one in plant.receive()] == [1]


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "k.pem"
    own_key(file)
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o644)
    with pytest.raises(SigningKeyError, match="chmod 600"):
        own_key(file)
    file.chmod(0o600)
    file.write_text("no key")
    with pytest.raises(SigningKeyError, match="no private key"):
        own_key(file)


def test_a_target_is_a_url_without_a_password(plant: Plant) -> None:
    for target, words in (
        ("stick", "absolute folder"),
        ("sftp://a:secret@host/x", "password"),
        ("ftp://x/y", "unknown scheme"),
    ):
        with pytest.raises(ConfigError, match=words) as refused:
            plant.configured(target=target)
        assert "secret" not in str(refused.value).replace("secrets", "")
    with pytest.raises(TargetError, match="known_hosts"):
        Target("sftp://user@localhost/x")
    file = plant.folder / "secrets.json"
    file.write_text(json.dumps({"password": "hush"}))
    with pytest.raises(TargetError, match="chmod 600"):
        Target(str(plant.target), file)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/b", "", ".", "..", "a\nb"])
def test_a_name_outside_the_folder_is_refused_although_it_is_signed(tmp_path: Path, name: str) -> None:
    key = own_key(tmp_path / "k.pem")
    manifest = Manifest(key.public.key_id, "s", 1, "j", 0, "", (), (), (Piece(name, 1, "0" * 64),))
    file = write_bundle(tmp_path, manifest, {name: b"x"}, key)
    with file.open("rb") as source, pytest.raises(BundleError, match="name"):
        read_bundle(source, lambda _: key.public, lambda *_: pytest.fail("nothing may be unpacked"))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_flipped_bit_and_no_cut_of_a_bundle_is_taken(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("bundle")
    key = own_key(folder / "k.pem")
    pieces = (Piece("a.json", 3, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"),)
    manifest = Manifest(key.public.key_id, "s", 1, "j", 0, "", (), (), pieces)
    file = write_bundle(folder, manifest, {"a.json": b"abc"}, key)
    content = bytearray(file.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    with file.open("rb") as source, pytest.raises(BundleError):
        read_bundle(source, lambda _: key.public, lambda _, chunks: [None for _ in chunks].clear())


def test_the_same_items_make_the_same_bytes(tmp_path: Path) -> None:
    key = own_key(tmp_path / "k.pem")
    manifest = Manifest(key.public.key_id, "s", 1, "j", 0, "", (), (), ())
    one = write_bundle(tmp_path / "one", manifest, {}, key)
    assert one.name == write_bundle(tmp_path / "two", manifest, {}, key).name
    assert re.fullmatch(r"00000001-[0-9a-f]{64}\.bundle", one.name)
    assert os.listdir(tmp_path / "one") == [one.name]


def test_the_running_station_hands_over_by_itself_and_its_stop_waits_for_no_target(plant: Plant) -> None:
    plant.see(2)
    plant.config = plant.configured(interval_s=1)
    setup = ObserverSetup(plant.config, SimulatedPlant(), plant.bench.journal)
    observer = make_observer(setup)
    assert observer is not None
    with Observers([observer]) as observers:
        wait_for(lambda: len(plant.at_target) == 1)
        plant.receive()
        wait_for(lambda: "everything is handed over" in observers.status()[0].note)
        assert observers.status()[0].stored_bytes == 0


def test_without_a_section_nothing_is_opened(plant: Plant) -> None:
    config = plant.config.model_copy(update={"handoff": None})
    assert make_observer(ObserverSetup(config, SimulatedPlant(), plant.bench.journal)) is None
    with pytest.raises(HandOffError, match="no section `handoff`"):
        Sender(config)


def test_the_commands_of_both_sides_hand_over_and_show_what_waits(plant: Plant) -> None:
    plant.see(2)
    config = ["--config", str(plant.folder / "station.yaml")]

    def run(app: Typer, *words: object) -> tuple[int, str]:
        done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        return done.exit_code, done.output

    code, text = run(station_app, "handoff", *config)
    assert (code, "2 items" in text, "none yet" in text) == (1, True, True)
    code, text = run(station_app, "handoff", "--now", "--json", *config)
    assert (code, len(json.loads(text)["bundles"])) == (1, 1)
    out = plant.folder / "workshop"
    code, text = run(retrain_app, "receive", plant.target, "--out", out, "--prepare")
    assert code == 0
    shutil.copy(out / "keys" / "workshop.pub", plant.workshops / "second.pub")
    code, text = run(retrain_app, "receive", plant.target, "--out", out, "--keys", plant.stations)
    assert (code, "2 items received" in text) == (0, True)
    code, text = run(station_app, "handoff", "--now", *config)
    assert (code, "bundle 1" in text) == (0, True)
    code, text = run(station_app, "keys", "show", "--out", plant.folder / "again.pub", *config)
    assert plant.station_key.public.key_id in text
    assert (plant.folder / "again.pub").read_text() == plant.station_key.public.pem()
