"""People label pictures on a page or by CSV; only what they said and agree on enters a data set."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from typer.testing import CliRunner

from drivers.cameras.picture_files import write_image
from retraining.cli import app as retrain
from retraining.data.manifest import load_dataset
from retraining.data.pixels import load_pixels
from retraining.errors import DatasetError
from retraining.labels.agreement import agreement
from retraining.labels.answers import Answer, AnswerLog
from retraining.labels.page import make_page
from retraining.labels.pictures import open_task, read_order

CLASSES = ("good", "pit")
BOX = {"label": "pit", "x": 0, "y": 0, "width": 3, "height": 3}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    rng = np.random.default_rng(2)
    root = tmp_path / "pictures"
    root.mkdir()
    for number in range(6):
        write_image(root / f"{number}.png", rng.integers(0, 255, (40, 60)).astype(np.uint8))
    return root


def page(root: Path, by: str, **options: bool) -> TestClient:
    task = open_task(root, CLASSES)
    client = TestClient(
        make_page(task, AnswerLog(root), by, "secret", **options), base_url="http://127.0.0.1"
    )
    client.base_url = client.base_url.join("/secret/")
    return client


def run(*words: object) -> str:
    result = CliRunner().invoke(retrain, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def say(client: TestClient, label: str, *numbers: int, boxes: object = ()) -> None:
    answer = client.post("answer", json={"pictures": list(numbers), "label": label, "boxes": list(boxes)})
    assert answer.status_code == 200, answer.text


def test_an_answer_on_the_page_is_on_the_disk_and_can_be_undone_in_another_session(pictures: Path) -> None:
    box = {"label": "pit", "x": 3, "y": 4, "width": 10, "height": 8}
    say(page(pictures, "anna"), "pit", 0, boxes=[box])
    say(page(pictures, "anna"), "good", 1, 2, 3)
    later = page(pictures, "anna")
    shown = later.get("state").json()["pictures"]
    assert [one["label"] for one in shown] == ["pit", "good", "good", "good", "", ""]
    assert shown[0]["boxes"] == [box]
    assert [one["label"] for one in later.post("undo", json={}).json()["pictures"]][:3] == ["pit", "", ""]
    assert [one["label"] for one in later.post("redo", json={}).json()["pictures"]][:3] == [
        "pit",
        "good",
        "good",
    ]


def test_two_people_see_only_their_own_answers(pictures: Path) -> None:
    say(page(pictures, "anna"), "pit", 0)
    assert page(pictures, "ben").get("state").json()["pictures"][0]["label"] == ""


def test_the_page_and_its_pictures_are_shown(pictures: Path) -> None:
    client = page(pictures, "anna")
    assert "Label pictures" in client.get("").text
    assert client.get("picture/0").headers["content-type"] == "image/png"
    assert len(client.get("thumb/0").content) > 100
    assert client.get("picture/99").status_code == 404


def test_nobody_without_the_address_reads_or_writes(pictures: Path) -> None:
    client = page(pictures, "anna")
    assert client.get("http://127.0.0.1/state").status_code == 404
    assert client.get("http://127.0.0.1/guess/state").status_code == 404
    assert client.get("state", headers={"host": "evil.example"}).status_code == 400
    form = client.post("answer", content="pictures=0", headers={"content-type": "text/plain"})
    assert form.status_code == 415
    assert AnswerLog(pictures).entries() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"pictures": [0], "label": "scratch"},
        {"pictures": [99], "label": "pit"},
        {"pictures": [], "label": "pit"},
        {
            "pictures": [0, 1],
            "label": "pit",
            "boxes": [{"label": "pit", "x": 0, "y": 0, "width": 3, "height": 3}],
        },
        {
            "pictures": [0],
            "label": "pit",
            "boxes": [{"label": "pit", "x": -1, "y": 0, "width": 3, "height": 3}],
        },
        {"pictures": [0], "label": "pit", "file": "/etc/passwd"},
    ],
)
def test_an_answer_that_cannot_be_is_refused(pictures: Path, wrong: dict[str, object]) -> None:
    assert page(pictures, "anna").post("answer", json=wrong).status_code == 400
    assert AnswerLog(pictures).entries() == []


def test_a_picture_that_changed_on_the_disk_is_not_labelled(pictures: Path) -> None:
    client = page(pictures, "anna")
    write_image(pictures / "0.png", np.zeros((40, 60), np.uint8))
    answer = client.post("answer", json={"pictures": [0], "label": "pit"})
    assert answer.status_code == 409


def test_only_what_people_agree_on_enters_a_data_set(pictures: Path, tmp_path: Path) -> None:
    anna, ben = page(pictures, "anna"), page(pictures, "ben")
    say(anna, "good", 0, 1, 2)
    say(anna, "pit", 3)
    say(anna, "not sure", 4)
    say(ben, "pit", 1, 3)
    out = run("label", "apply", pictures, "--classes", "good,pit", "--out", tmp_path / "set")
    assert "disputed" in out
    found = load_dataset(tmp_path / "set")
    assert {p.path: p.label for p in found.pictures} == {"0.png": "good", "2.png": "good", "3.png": "pit"}
    assert {p.labelled_by for p in found.pictures} == {"person"}
    assert "they differ on: 1.png" in run("label", "agree", pictures)


def test_the_boxes_that_people_drew_are_marks_of_the_data_set(pictures: Path, tmp_path: Path) -> None:
    other = BOX | {"x": 20, "y": 10}
    say(page(pictures, "anna"), "pit", 0, boxes=[BOX])
    say(page(pictures, "ben"), "pit", 0, boxes=[BOX, other])
    say(page(pictures, "anna"), "good", 1)
    run("label", "apply", pictures, "--classes", "good,pit", "--out", tmp_path / "set")
    marks = {p.path: [mark.box for mark in p.marks] for p in load_dataset(tmp_path / "set").pictures}
    assert marks == {"0.png": [(0, 0, 3, 3), (20, 10, 23, 13)], "1.png": []}


def test_a_label_of_the_station_is_a_suggestion_and_never_a_persons(pictures: Path, tmp_path: Path) -> None:
    for name in ("good", "pit"):
        (tmp_path / "sorted" / name).mkdir(parents=True)
    for number in range(6):
        target = tmp_path / "sorted" / ("pit" if number == 5 else "good") / f"{number}.png"
        target.write_bytes((pictures / f"{number}.png").read_bytes())
    run("data", "from-folders", tmp_path / "sorted", "--out", tmp_path / "set", "--labelled-by", "station")
    with pytest.raises(DatasetError, match="no picture is labelled by person"):
        load_pixels(load_dataset(tmp_path / "set"), 32, 1)
    assert "station" in page(tmp_path / "set", "anna").get("state").json()["pictures"][0]["suggestion"]
    blind = page(tmp_path / "set", "anna", blind=True).get("state").json()
    assert {one["suggestion"] for one in blind["pictures"]} == {""}
    say(page(tmp_path / "set", "anna"), "good", 0, 1)
    run("label", "apply", tmp_path / "set", "--out", tmp_path / "labelled")
    assert len(load_dataset(tmp_path / "labelled")) == 2


def test_a_line_that_a_crash_cut_off_costs_only_itself(pictures: Path) -> None:
    log = AnswerLog(pictures)
    log.append("anna", [Answer("0.png", "d0", "good")])
    with log.path.open("ab") as file:
        file.write(b'{"kind":"answer","by":"an')
    assert len(log.entries()) == 1
    log.append("anna", [Answer("1.png", "d1", "pit")])
    with pytest.raises(DatasetError, match="line 2"):
        log.entries()


def test_a_csv_takes_labels_and_boxes_and_gives_them_back(pictures: Path, tmp_path: Path) -> None:
    run("label", "export", pictures, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    rows[0] |= {"class": "good", "by": "anna"}
    rows[1] |= {"class": "pit", "by": "anna", "x": "1", "y": "2", "width": "5", "height": "6"}
    with (tmp_path / "b.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert "labels of 2 pictures taken" in run(
        "label", "import", pictures, tmp_path / "b.csv", "--classes", "good,pit"
    )
    own = AnswerLog(pictures).of("anna")
    assert sorted((one.path, one.label, len(one.boxes)) for one in own.values()) == [
        ("0.png", "good", 0),
        ("1.png", "pit", 1),
    ]


def test_every_wrong_line_of_a_csv_is_named_and_nothing_is_taken(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(
        "picture,digest,class,x,y,width,height,by\n"
        "0.png,,good,,,,,anna\n"
        "9.png,,good,,,,,anna\n"
        "1.png,,scratch,,,,,anna\n"
        "2.png,,good,,,,,\n"
        "3.png,beef,good,,,,,anna\n"
        "0.png,,pit,,,,,anna\n"
        "4.png,,pit,50,0,20,5,anna\n"
    )
    with pytest.raises(DatasetError) as caught:
        run("label", "import", pictures, tmp_path / "x.csv", "--classes", "good,pit")
    message = str(caught.value)
    for line in (3, 4, 5, 6, 7, 8):
        assert f"line {line}:" in message
    assert AnswerLog(pictures).entries() == []


@pytest.mark.parametrize("content", [b"\x80\x81", b"a,b\n1,2\n", b"", b"picture\n\x00\n"])
def test_a_file_that_is_no_such_table_is_refused(pictures: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=r"x\.csv"):
        run("label", "import", pictures, tmp_path / "x.csv", "--classes", "good,pit")
    with pytest.raises(DatasetError, match=r"x\.csv|not in"):
        open_task(pictures, CLASSES, read_order(tmp_path / "x.csv"))


def test_no_cell_of_a_csv_is_a_formula(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    write_image(tmp_path / "p" / "=cmd.png", np.zeros((20, 20), np.uint8))
    run("label", "export", tmp_path / "p", tmp_path / "a.csv")
    with (tmp_path / "a.csv").open() as file:
        assert next(csv.DictReader(file))["picture"] == "'=cmd.png"


def _answers(labels: list[str]) -> dict[str, Answer]:
    return {str(n): Answer(f"{n}.png", str(n), label) for n, label in enumerate(labels)}


def test_kappa_is_that_of_the_textbook() -> None:
    """Cohen's example of 50 grants: 20 both yes, 15 both no, 5 and 10 differ: kappa 0.40."""
    one = ["y"] * 20 + ["y"] * 5 + ["n"] * 10 + ["n"] * 15
    two = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    found = agreement(("a", "b"), _answers(one), _answers(two))
    assert found.kappa == pytest.approx(0.4)
    assert found.low < 0.4 < found.high
    assert len(found.differing) == 15


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=30))
def test_full_agreement_has_kappa_one_or_none(labels: list[str]) -> None:
    found = agreement(("a", "b"), _answers(labels), _answers(labels))
    assert math.isnan(found.kappa) if len(set(labels)) == 1 else found.kappa == pytest.approx(1.0)
