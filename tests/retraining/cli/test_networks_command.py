"""What `retrain networks` lists."""

from typer.testing import CliRunner

from retraining.cli import app
from retraining.cli.networks import PAPERS, rows


def test_every_network_that_a_paper_counts_has_the_papers_parameters() -> None:
    found = {(kind, name): int(count.replace(",", "")) for kind, name, count in rows(256, 5)}
    for key, words in PAPERS.items():
        number, unit = words.split(" ")[:2]
        if unit != "M":
            assert found[key] == int(number.replace(",", ""))
        else:
            assert abs(found[key] / 1e6 - float(number)) < 0.03, key


def test_translators_and_segmenters_are_listed() -> None:
    found = {(kind, name): count for kind, name, count in rows(128, 10)}
    assert found["translator", "pe-gan"] == "2,304,000"  # its 2,310,272 are for colour
    assert found["translator's critic", "star-gan"] == "44,800,960"
    assert {name for kind, name in found if kind == "translator by masks"} == {"syndgan", "masked-unet"}
    assert all(found["segmenter", name][0].isdigit() for name in ("deeplabv3plus", "pan", "unet"))


def test_a_network_that_takes_no_pictures_of_a_size_says_why() -> None:
    said = {name: count for kind, name, count in rows(64, 9) if kind == "classifier"}
    assert "multiple of 128 px" in said["inception-cnn"]
    assert said["resnet18"].replace(",", "").isdigit()


def test_the_command_prints_them() -> None:
    found = CliRunner().invoke(app, ["networks"])
    assert found.exit_code == 0, found.output
    assert "3,576,453" in found.output
