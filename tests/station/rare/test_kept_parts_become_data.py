"""What stations kept becomes a data set: a person's word is a label, the station's verdict never is one."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from drivers.cameras.picture_files import read_image, write_image
from retraining.cli import app as retrain
from retraining.data.manifest import load_dataset
from retraining.data.pixels import load_pixels
from retraining.errors import DatasetError
from retraining.labels.answers import Answer, AnswerLog, Box
from retraining.labels.from_stations import FromStation, Received
from retraining.labels.page import make_page
from retraining.labels.pictures import open_task
from retraining.product.parts import read_parts
from simulation.rendering.pool import write_frames
from station.rare.index import RareLogError
from station.review import review

if TYPE_CHECKING:
    from retraining.data.manifest import Dataset
    from tests.station.rare.conftest import Bench


def run(*words: object) -> str:
    result = CliRunner().invoke(retrain, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def seen(bench: Bench) -> Bench:
    """Four doubtful parts: the first two reviewed, one of them twice the same part, and a faulted one."""
    log = bench.log()
    for _ in range(3):
        log.observe(bench.part("scratches", p=0.65))
    bench.next_part = 3
    log.observe(bench.part("good", p=0.6))
    log.observe(bench.part(broken="timeout"))
    log.observe(bench.part("scratches", p=0.65))
    review(bench.journal, record=1, class_name="pits", by="J. Novak")
    review(bench.journal, record=2, class_name="good", by="J. Novak")
    log.close()
    bench.log().close()
    return bench


@pytest.fixture
def received(seen: Bench, tmp_path: Path) -> Path:
    """The same parts as `retrain receive` lays them out."""
    folder = tmp_path / "received" / "stations" / ("a" * 32) / f"00000001-{'b' * 64}"
    folder.mkdir(parents=True)
    for entry in seen.store.entries():
        (folder / f"{entry.item_id}.json").write_text(entry.item.to_json())
        shutil.copy(entry.picture, folder / f"{entry.item_id}.png")
    return tmp_path / "received"


def by_record(dataset: Dataset) -> dict[str, tuple[str, str]]:
    return {Path(p.path).name.split("-")[1].split(".")[0]: (p.label, p.labelled_by) for p in dataset.pictures}


def test_a_review_is_a_label_by_a_person_and_a_verdict_is_one_by_the_station(seen: Bench) -> None:
    dataset = FromStation(seen.folder).read()
    found = by_record(dataset)
    assert found["1"] == ("pits", "person")
    assert found["2"] == ("good", "person")
    assert {found[record] for record in ("3", "6")} == {("scratches", "station")}
    assert any("labelled by their station alone" in n and "retrain label page" in n for n in dataset.notes)
    assert dataset.classes == ("good", "scratches", "pits")
    learned = load_pixels(dataset, (64, 32), 1)
    assert len(learned) == 2, "what nobody labelled is not trained on"


def test_all_pictures_of_a_part_are_one_group(seen: Bench) -> None:
    dataset = FromStation(seen.folder).read()
    groups = {p.path: p.group for p in dataset.pictures}
    again = [g for g in groups.values() if g.endswith("part 3")]
    assert len(again) == 2
    assert len(set(groups.values())) == len(groups) - 1


def test_what_was_received_gives_the_same_labels_and_can_be_trained_on_as_it_was_cut(
    received: Path, seen: Bench
) -> None:
    dataset = Received(received).read()
    assert by_record(dataset) == by_record(FromStation(seen.folder).read())
    own = dataset.select(labelled_by=("person",))
    parts = read_parts(own, seen.recipe, whole=True)
    for picture, pixels in zip(own.pictures, parts.surfaces.pixels, strict=True):
        assert (pixels[..., 0] == read_image(own.path_of(picture))).all()


def test_answers_on_the_page_count_beside_reviews_and_a_dispute_leaves_the_part_out(received: Path) -> None:
    task = open_task(received)
    log = AnswerLog(received)
    of = {Path(p.path).stem.split("-")[1]: p for p in task.pictures}
    box = Box("dent", 1, 2, 8, 9)
    log.append("anna", [Answer(of["3"].path, of["3"].digest, "dent", (box,))])
    log.append("anna", [Answer(of["1"].path, of["1"].digest, "scratches")])
    dataset = Received(received).read()
    found = by_record(dataset)
    assert found["3"] == ("dent", "person")
    assert [mark.box for p in dataset.pictures for mark in p.marks] == [(1, 2, 9, 11)]
    assert "1" not in found
    notes = " ".join(dataset.notes)
    assert "two people differ" in notes
    assert "(J. Novak: pits, anna: scratches)" in notes
    assert dataset.classes == ("good", "scratches", "dent")
    log.append("anna", [Answer(of["1"].path, of["1"].digest, "not sure")])
    assert "1" not in by_record(Received(received).read())


def test_a_part_that_the_station_could_not_name_waits_for_a_person(received: Path) -> None:
    record = next(iter(received.rglob("*-6.json")))
    record.write_text(record.read_text().replace('"class_name":"scratches"', '"class_name":"unknown"'))
    dataset = Received(received).read()
    assert "6" not in by_record(dataset)
    assert any("the station named no class" in n and "-6.png (unknown)" in n for n in dataset.notes)
    waiting = next(p for p in open_task(received).pictures if p.path.endswith("-6.png"))
    assert waiting.suggestion == "unknown (by the station)"
    AnswerLog(received).append("anna", [Answer(waiting.path, waiting.digest, "pits")])
    assert by_record(Received(received).read())["6"] == ("pits", "person")


def test_the_page_says_why_each_part_was_kept_and_blind_hides_it(received: Path) -> None:
    def shown(*, blind: bool) -> list[dict[str, str]]:
        app = make_page(open_task(received), AnswerLog(received), "anna", "secret", blind=blind)
        client = TestClient(app, base_url="http://127.0.0.1")
        return list(client.get("/secret/state").json()["pictures"])

    pictures = {Path(str(p["path"])).stem.split("-")[1]: p for p in shown(blind=False)}
    why = pictures["3"]["information"]
    assert "kept because of: low confidence (scratches 0.650)" in why
    assert "The station: reject, scratches 0.65; patch 0: scratches 0.65, " in why
    assert pictures["3"]["suggestion"] == "scratches (by the station)"
    assert pictures["1"]["suggestion"] == "pits (by J. Novak)"
    assert "operator (J. Novak says pits" in pictures["1"]["information"]
    assert "near a fault" in pictures["6"]["information"]
    assert all(p["information"] == p["suggestion"] == "" for p in shown(blind=True))


def test_the_csv_has_the_reasons_and_is_read_again_with_them(received: Path, tmp_path: Path) -> None:
    run("label", "export", received, tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all("kept because of: " in row["information"] for row in rows)
    for row in rows:
        row |= {"class": "pits", "by": "anna"}
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert f"labels of {len(rows)} pictures taken" in run(
        "label", "import", received, tmp_path / "labels.csv"
    )


def test_the_reasons_stay_with_a_set_that_was_made_of_the_parts(received: Path, tmp_path: Path) -> None:
    said = run("data", "from-received", received, "--out", tmp_path / "set")
    assert "labelled by person, station" in said
    task = open_task(tmp_path / "set")
    assert all("kept because of" in picture.information and picture.as_cut for picture in task.pictures)


def test_the_answers_of_received_parts_are_applied_by_their_own_door(received: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="make a set of them by `retrain data from-received`"):
        run("label", "apply", received, "--out", tmp_path / "set")


def test_the_journal_gives_reviews_that_an_older_copy_of_the_log_lacks(seen: Bench, tmp_path: Path) -> None:
    shutil.copytree(seen.folder, tmp_path / "copy")
    review(seen.journal, record=3, class_name="pits", by="J. Novak")
    assert by_record(FromStation(tmp_path / "copy").read())["3"] == ("scratches", "station")
    read = FromStation(tmp_path / "copy", journal=seen.journal.path).read()
    assert by_record(read)["3"] == ("pits", "person")


def test_a_picture_that_changed_in_the_log_is_named(seen: Bench) -> None:
    entry = next(one for one in seen.store.entries() if one.item.record_id == 3)
    write_image(entry.picture, 255 - read_image(entry.picture))
    with pytest.raises(DatasetError, match="is not what the station wrote"):
        FromStation(seen.folder).read()


def test_parts_of_several_recipes_are_told_apart(received: Path) -> None:
    record = next(iter(received.rglob("*-3.json")))
    record.write_text(record.read_text().replace('"recipe":"strip"', '"recipe":"disc"'))
    with pytest.raises(DatasetError, match=r"several recipes: disc \(1 parts\), strip .*--recipe"):
        Received(received).read()
    assert len(Received(received, "disc").read()) == 1
    with pytest.raises(DatasetError, match="holds no part of recipe ring"):
        Received(received, "ring").read()


def test_frames_of_a_simulated_plant_have_their_truth(tmp_path: Path) -> None:
    write_frames(tmp_path / "frames", 2, 3, widths=(385,), good_share=0.5)
    run("data", "from-station", tmp_path / "frames", "--out", tmp_path / "set")
    dataset = load_dataset(tmp_path / "set")
    assert {p.labelled_by for p in dataset.pictures} == {"renderer"}
    assert len({p.group for p in dataset.pictures}) == 2
    with pytest.raises(DatasetError, match="--recipe and --journal are for a rare log"):
        FromStation(tmp_path / "frames", recipe="strip").read()


def test_folders_that_hold_no_parts_are_refused_with_the_right_door(tmp_path: Path) -> None:
    (tmp_path / "drawn").mkdir()
    (tmp_path / "drawn" / ".pictures").write_text("a.jpg 3\n")
    with pytest.raises(DatasetError, match="a network would learn the drawings"):
        FromStation(tmp_path / "drawn").read()
    (tmp_path / "other").mkdir()
    with pytest.raises(DatasetError, match="neither a station's rare log"):
        FromStation(tmp_path / "other").read()
    with pytest.raises(DatasetError, match="no folder of `retrain receive`"):
        Received(tmp_path / "other").read()
    (tmp_path / "other" / "rare.db").write_text("no database, but long enough to be looked at")
    with pytest.raises(RareLogError, match="rare log"):
        FromStation(tmp_path / "other").read()


def test_a_damaged_record_is_named(received: Path) -> None:
    record = next(iter(received.rglob("*-3.json")))
    record.write_text("{}")
    with pytest.raises(DatasetError, match=r"-3\.json: is no record of an item"):
        Received(received).read()
