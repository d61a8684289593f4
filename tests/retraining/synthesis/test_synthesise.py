"""From labelled pictures to trained generators to a data set, by the two commands."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from retraining.adversarial.loop import AdversarialPlan, train_pair
from retraining.cli import app
from retraining.data.dataset import Dataset, Picture, load_dataset, load_pixels, save_dataset
from retraining.data.manifest import file_digest
from retraining.errors import TrainingError
from retraining.synthesis.gate import KEPT, GateResult
from retraining.synthesis.sampling import find_runs, sample, synthesise

QUICK = ["--size", "32", "--steps", "2", "--batch", "4", "--system", "gan", "--precision", "fp32"]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of fourteen pictures of 40 px in two classes, the first twelve of each for training."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(1)
    listed = []
    for label, level in (("spot", 200), ("line", 90)):
        (root / label).mkdir()
        for number in range(14):
            path = f"{label}/{number}.png"
            cv2.imwrite(str(root / path), rng.normal(level, 30, (40, 40)).clip(0, 255).astype(np.uint8))
            split = "train" if number < 12 else "test"
            listed.append(Picture(path, file_digest(root / path), label, path, "folder", "person", split))
    save_dataset(Dataset(root, ("spot", "line"), tuple(listed)), root)
    return root


@pytest.fixture(scope="module")
def runs(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both classes trained by ``retrain gan``."""
    out = tmp_path_factory.mktemp("runs")
    found = retrain("gan", "--dataset", pictures, "--class", "all", "--out", out, *QUICK)
    assert found.exit_code == 0, found.output
    return out


def retrain(*words: object) -> Result:
    return CliRunner().invoke(app, [str(w) for w in words])


def test_retrain_gan_trains_one_network_a_class_on_the_training_pictures(runs: Path) -> None:
    for label in ("spot", "line"):
        run = json.loads((runs / label / "run.json").read_text())
        assert run["outcome"] == "finished"
        assert run["about"]["class"] == label
        assert run["about"]["real_pictures"] == 12, "those of the test split are left out"
        assert (runs / label / "generator.pt").is_file()


def test_retrain_gan_says_which_classes_there_are(pictures: Path, tmp_path: Path) -> None:
    for words in ([], ["--class", "dent"]):
        found = retrain("gan", "--dataset", pictures, *words, "--out", tmp_path, *QUICK)
        assert isinstance(found.exception, TrainingError)
        assert str(found.exception) == "--class is one of spot, line, or all"


def test_a_class_that_diverges_is_reported_and_the_others_are_trained(pictures: Path, tmp_path: Path) -> None:
    words = ["--class", "all", "--learning-rate", "1e30", "--out", tmp_path]
    found = retrain("gan", "--dataset", pictures, *words, *QUICK)
    assert isinstance(found.exception, TrainingError)
    assert "spot: the losses are" in str(found.exception)
    assert "line: the losses are" in str(found.exception)
    assert json.loads((tmp_path / "line" / "run.json").read_text())["outcome"] == "diverged"


def test_retrain_synthesise_writes_a_data_set_that_names_its_generators(runs: Path, tmp_path: Path) -> None:
    found = retrain("synthesise", runs, "--count", 40, "--out", tmp_path / "set")
    assert found.exit_code == 0, found.output
    made = load_dataset(tmp_path / "set", verify=True)
    assert made.classes == ("spot", "line"), "in the order of the set trained on"
    assert made.count("train") == {"spot": 40, "line": 40}
    digest = file_digest(runs / "spot" / "generator.pt")[:12]
    first = next(p for p in made.pictures if p.label == "spot")
    assert first.path == "spot/000001.png"
    assert first.labelled_by == "synthetic"
    assert first.source == first.group == f"synthetic:{digest}"
    drawn = load_pixels(made, 32, 1, labelled_by=("synthetic",))
    assert len({p.tobytes() for p in drawn.pixels}) == 80, "no two classes share their latent vectors"
    sheet = cv2.imread(str(tmp_path / "set" / "sheets" / "line.png"), cv2.IMREAD_GRAYSCALE)
    assert sheet.shape[1] == 2 * (8 * 34 - 2) + 16
    again = retrain("synthesise", runs, "--count", 40, "--out", tmp_path / "set")
    assert again.exit_code == 0, "the same command over the same folder ends the same"
    other = retrain("synthesise", runs, "--count", 41, "--out", tmp_path / "set")
    assert "holds something else" in str(other.exception)


def test_with_real_pictures_at_hand_the_gate_is_asked_and_the_figures_are_printed(
    runs: Path, pictures: Path, tmp_path: Path, tiny_onnx: Path
) -> None:
    words = ["--against", pictures, "--extractor", f"classifier:{tiny_onnx}", "--out", tmp_path / "set"]
    found = retrain("synthesise", runs / "spot", "--count", 12, "--no-gate", *words)
    assert found.exit_code == 0, found.output
    assert "KID" in found.output
    assert (tmp_path / "set" / "figures.md").read_text().startswith("| ")
    gated = retrain("synthesise", runs / "spot", "--count", 12, *words[:-1], tmp_path / "gated")
    told = gated.output + str(gated.exception)
    assert "drawn by gan; refused: " in told


def test_the_figures_are_those_of_what_was_drawn_with_what_the_gate_left_beside_it(
    runs: Path, pictures: Path, tmp_path: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def every_second(real, drawn, *args, rules, **options) -> GateResult:
        assert rules.mirrored, "the pair saw mirror images"
        reasons = tuple(KEPT if n % 2 == 0 else "outlier" for n in range(len(drawn)))
        return GateResult(np.arange(0, len(drawn), 2), reasons, "none")

    monkeypatch.setattr("retraining.synthesis.gate.gate", every_second)
    words = ["--against", pictures, "--extractor", f"classifier:{tiny_onnx}", "--out"]
    found = retrain("synthesise", runs / "spot", "--count", 12, *words, tmp_path / "gated")
    assert found.exit_code == 0, found.output
    plain = retrain("synthesise", runs / "spot", "--count", 12, "--no-gate", *words, tmp_path / "plain")
    assert plain.exit_code == 0, plain.output
    gated_rows = (tmp_path / "gated" / "figures.md").read_text().splitlines()
    plain_rows = (tmp_path / "plain" / "figures.md").read_text().splitlines()
    assert [row.split("|")[1].strip() for row in gated_rows[2:5]] == [
        "spot", "spot, after the gate", "real, half against half"
    ]  # fmt: skip
    assert gated_rows[2] == plain_rows[2], "what was drawn does not depend on the gate"


def test_a_gate_is_shown_more_pictures_until_enough_have_passed(runs: Path, tmp_path: Path) -> None:
    shown: list[int] = []

    def every_third(drawn: np.ndarray, label: str) -> GateResult:
        shown.append(len(drawn))
        reasons = tuple(KEPT if n % 3 == 0 else "outlier" for n in range(len(drawn)))
        return GateResult(np.arange(0, len(drawn), 3), reasons, "none")

    made = synthesise(find_runs([runs / "spot"]), 40, tmp_path / "set", 1, gate=every_third)
    assert shown == [64, 96, 160]
    assert len(made) == 40
    assert made.notes == ("spot: 40 kept of 160 drawn by gan; refused: 106 outlier",)


def test_pictures_of_which_none_pass_become_no_data_set(runs: Path, tmp_path: Path) -> None:
    def nothing(drawn: np.ndarray, label: str) -> GateResult:
        return GateResult(np.array([], np.int64), ("copy",) * len(drawn), "none")

    with pytest.raises(TrainingError, match=r"0 kept of 160 .* 160 copy; train the generator longer"):
        synthesise(find_runs([runs / "spot"]), 40, tmp_path / "set", 1, gate=nothing)
    assert not (tmp_path / "set" / "dataset.json").exists()


def test_only_finished_runs_one_a_class_are_drawn_from(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="there is no run folder"):
        find_runs([tmp_path])
    shutil.copytree(runs, tmp_path / "runs")
    with pytest.raises(TrainingError, match="more than one run draws line"):
        find_runs([tmp_path / "runs", runs / "line"])
    run = json.loads((tmp_path / "runs" / "line" / "run.json").read_text())
    run |= {"outcome": "collapsed", "figures": {"why": "try another seed"}}
    (tmp_path / "runs" / "line" / "run.json").write_text(json.dumps(run))
    with pytest.raises(TrainingError, match="its run is collapsed; try another seed"):
        find_runs([tmp_path / "runs"])


def test_samples_depend_on_the_seed_and_not_on_how_many_are_drawn(tmp_path: Path) -> None:
    plan = AdversarialPlan(system="dcgan", size=32, steps=1, batch=4, precision="fp32")
    real = np.random.default_rng(2).integers(0, 256, (4, 32, 32, 1), np.uint8)
    weights = train_pair(plan, real, tmp_path)
    few, many = sample(plan, weights, 5, seed=7), sample(plan, weights, 40, seed=7)
    assert np.array_equal(few, many[:5])
    assert not np.array_equal(few, sample(plan, weights, 5, seed=8))
    with pytest.raises(TrainingError, match="draws 32 px x 1 by dcgan"):
        sample(AdversarialPlan(system="gan", size=32), weights, 5, seed=7)
    with pytest.raises(TrainingError, match="no trained generator"):
        sample(plan, tmp_path / "none.pt", 5, seed=7)
