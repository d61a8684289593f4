"""`retrain next` puts first what an engine knows least, and says honestly whether more labels pay."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from drivers.cameras.picture_files import write_image
from retraining.cli import app as retrain
from retraining.labels.answers import Answer, AnswerLog
from retraining.labels.pictures import open_task, read_order
from retraining.product.next_up import Curve, Looked, curve_in_words, learning_curve, suggest


def looked(
    path: str, margin: float, novelty: float, where: list[float], *, disagrees: bool = False
) -> Looked:
    return Looked(path, "good", margin, novelty, np.float32(where), disagrees)


def test_the_least_known_picture_comes_first_and_its_double_comes_last() -> None:
    found = suggest(
        [
            looked("sure", 0.99, 0.1, [1, 0, 0]),
            looked("far", 0.9, 5.0, [0, 1, 0]),
            looked("far-again", 0.9, 4.9, [0, 1, 0.01]),
            looked("close", 0.02, 0.2, [0, 0, 1]),
        ],
        4,
    )
    assert found[0].path == "far"
    assert found[1].path == "close"
    assert found[-1].path in ("sure", "far-again")
    assert "far from training" in found[0].reason


def test_a_picture_on_which_the_engine_differs_from_a_label_is_worth_most() -> None:
    pictures = [looked(str(n), 0.9, 0.1 * n, [1, n, 0]) for n in range(5)]
    found = suggest([*pictures, looked("differs", 0.99, 0.0, [0, 0, 1], disagrees=True)], 1)
    assert found[0].path == "differs"


def test_few_labels_are_too_few_to_say() -> None:
    known = [looked(str(n), 0.9, 0.1, [n, 0, 0]) for n in range(10)]
    said = curve_in_words(learning_curve(known, ["good"] * 10, [str(n) for n in range(10)]))
    assert "nothing can be said yet" in said


def test_labels_that_follow_the_features_soon_stop_paying() -> None:
    rng = np.random.default_rng(1)
    labels = ["good", "pit"] * 100
    known = [
        looked(str(n), 0.9, 0.1, [float(label == "pit") * 8 + rng.normal(), rng.normal(), 1.0])
        for n, label in enumerate(labels)
    ]
    curve = learning_curve(known, labels, [str(n) for n in range(len(labels))])
    assert isinstance(curve, Curve)
    assert curve.errors[-1] < 0.02
    assert "no longer pay" in curve_in_words(curve)


def test_the_command_leaves_out_what_is_labelled_and_writes_an_order_for_the_page(
    tiny_engine_master: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATION_CACHE", str(tmp_path / "cache"))
    from tests.conftest import TINY_RECIPE

    (tmp_path / "tiny.yaml").write_text(TINY_RECIPE, encoding="utf-8")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(3)
    for number, level in enumerate([110, 115, 190, 40, 155]):
        pixels = np.clip(rng.normal(level, 3, (64, 32)), 0, 255).astype(np.uint8)
        write_image(pictures / f"{number}.png", pixels)
    task = open_task(pictures, ("good", "bright", "dark"))
    first = task.pictures[0]
    AnswerLog(pictures).append("anna", [Answer(first.path, first.digest, "good")])
    words = [
        "next",
        str(pictures),
        "-r",
        str(tmp_path / "tiny.yaml"),
        "--engines",
        str(tiny_engine_master.parent),
    ]
    result = CliRunner().invoke(
        retrain, [*words, "--out", str(tmp_path / "next.csv")], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    order = read_order(tmp_path / "next.csv")
    assert sorted(order) == ["1.png", "2.png", "3.png", "4.png"]
    assert [one.path for one in open_task(pictures, ("good",), order).pictures] == list(order)
    assert "nothing can be said yet" in result.output
