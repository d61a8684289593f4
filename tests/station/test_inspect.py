"""``station inspect`` says of each patch what the decision said, and where it lies on the product."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from station.cli import app
from station.cli.inspect import parts_in
from station.engines.folder import load_manifest
from station.recipe import Recipe
from tests.station.lamps import OUTPUTS, lit_recipe


def test_labels_and_millimetres_of_the_deciding_patch_are_written_down(
    tiny_engine: Path, tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATION_CACHE", str(tmp_path / "cache"))
    for part in load_manifest(tiny_engine).golden[:2]:
        shutil.copy(part.file, tmp_path / part.name)
    pictures = [str(tmp_path / name) for name in ("01-good.png", "02-bright.png")]
    options = ["-r", str(tmp_path / "tiny.yaml"), "--engines", str(tiny_engine.parent)]
    files = ["--csv", str(tmp_path / "v.csv"), "--json", str(tmp_path / "v.json")]
    only = ["--backend", "onnxruntime-cpu", "--precision", "fp32"]
    done = CliRunner().invoke(app, ["inspect", *pictures, *options, *files, *only])
    assert done.exit_code == 1, done.output
    good, bright = json.loads((tmp_path / "v.json").read_text())["pictures"]
    assert good["patch_labels"] == [0] * 8
    assert [patch for patch, label in enumerate(bright["patch_labels"]) if label] == [bright["patch"]]
    row, column = divmod(bright["patch"], 2)
    assert (bright["x_mm"], bright["y_mm"]) == ((16 * column + 8) * 0.5, (16 * row + 8) * 0.25)
    with (tmp_path / "v.csv").open(newline="") as file:
        assert [line["class_name"] for line in csv.DictReader(file)] == ["good", "bright"]


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (["p-output-01", "p-output-02", "p-output-04"], ["p-output-02", "p-output-01", "p-output-04"]),
        (["p-output-02", "p-output-01", "p-output-03"], ["p-output-02", "p-output-01"]),
        (["p-output-02", "p-output-2", "p-output-01"], ["p-output-02", "p-output-2"]),
        (["p-output-02", "p-output-2", "p-output-01", "p-output-04"],
         ["p-output-02", "p-output-2", "p-output-01", "p-output-04"]),
        (["p-output-02", "p-output-01", "p-output-04", "p-output-03"],
         ["p-output-02", "p-output-01", "p-output-04", "p-output-03"]),
        (["p", "q", "r"], []),
    ],
    ids=["whole", "another lamp's for a missing one", "one twice for a missing one",
         "one twice", "one too many", "no lamp"],
)  # fmt: skip
def test_only_one_picture_of_each_lamp_makes_a_part_that_is_judged(
    names: list[str], taken: list[str], tmp_path: Path
) -> None:
    recipe = lit_recipe(tmp_path)
    files = [tmp_path / f"{name}.png" for name in names]
    frames = next(iter(parts_in(files, recipe).values()))
    assert [file.stem for file in frames] == taken
    outputs = [int(file.stem.rpartition("-output-")[2] or 0) for file in frames if "-output-" in file.stem]
    assert (len(frames) == recipe.frames) == (outputs == list(OUTPUTS)), "by their number they are judged"
