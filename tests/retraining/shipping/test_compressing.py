"""A compact engine: pruned by structure, taught by the whole one, written only where it is good enough."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from models.classifiers.inception_cnn import COMPACT, Filters, InceptionCNN
from retraining.classifiers.losses import distillation
from retraining.cli import app
from retraining.errors import TrainingError
from retraining.shipping.compressing import Comparison, prune
from station.engines.folder import load_manifest
from station.outcomes import Outcomes

ENGINE = Path("engines/servo-motor-housing")


def network(filters: Filters | None = None, seed: int = 1) -> InceptionCNN:
    torch.manual_seed(seed)
    made = InceptionCNN(3, 1, 128, 0.0, filters)
    for layer in made.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.get_buffer("running_mean"), -0.2, 0.2)
            nn.init.uniform_(layer.get_buffer("running_var"), 0.5, 2.0)
        elif isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.uniform_(layer.bias, -0.05, 0.05)
    return made.eval()


def silence(layer: nn.Conv2d, filters: int) -> None:
    """Leave only so many filters of a convolution, drawn at random, that say anything."""
    quiet = torch.randperm(layer.out_channels)[filters:]
    layer.weight.data[quiet] = 0
    assert layer.bias is not None
    layer.bias.data[quiet] = 0


def test_filters_that_say_nothing_are_pruned_without_a_trace() -> None:
    large, small = network(), network(COMPACT, seed=2)
    for layer, kept in zip(large.features, small.features, strict=True):
        if isinstance(layer, nn.BatchNorm2d):  # a silent filter must stay silent behind it
            nn.init.zeros_(layer.get_buffer("running_mean"))
        for theirs, own in zip(layer.modules(), kept.modules(), strict=True):
            if isinstance(theirs, nn.Conv2d) and isinstance(own, nn.Conv2d):
                silence(theirs, own.out_channels)
    prune(large, small)
    pixels = torch.rand(4, 1, 128, 128)
    assert torch.allclose(small(pixels), large(pixels), atol=1e-4)


def test_a_network_pruned_to_its_own_size_is_the_same() -> None:
    large, same = network(), network(seed=2)
    prune(large, same)
    assert all(torch.equal(same.state_dict()[name], value) for name, value in large.state_dict().items())


def test_more_filters_than_there_are_cannot_be_pruned() -> None:
    with pytest.raises(TrainingError, match="48 filters cannot be pruned from 32"):
        prune(network(), network(replace(Filters(), conv1=48)))


def test_who_says_what_the_teacher_says_has_nothing_to_learn() -> None:
    taught = torch.randn(8, 5)
    own = (taught + 3.0).requires_grad_()  # softmax does not see what all logits share
    assert distillation(own, taught, 3.0).item() == pytest.approx(0, abs=1e-6)
    assert distillation(torch.randn(8, 5), taught, 3.0).item() > 0.01


@pytest.mark.parametrize("temperature", [1.0, 3.0, 10.0])
def test_the_pull_of_a_teacher_keeps_its_size_at_any_temperature(temperature: float) -> None:
    own = torch.zeros(1, 2, requires_grad=True)
    distillation(own, torch.tensor([[0.1, -0.1]]), temperature).backward()  # type: ignore[no-untyped-call]
    assert own.grad is not None
    assert np.abs(own.grad.numpy()).max() == pytest.approx(0.05, rel=0.02)


def outcomes(right: int = 1660, escapes: int = 1) -> Outcomes:
    return Outcomes(1680, 320, 1360, right, escapes, 2, 0, 0)


@pytest.mark.parametrize(
    ("compact", "faster", "problem"),
    [
        (outcomes(), 2.4, None),
        (outcomes(right=1655, escapes=2), 2.0, None),
        (outcomes(right=1654), 2.4, "its accuracy is 0.36 points lower"),
        (outcomes(escapes=3), 2.4, "3 defective parts escape, of the whole engine 1"),
        (outcomes(), 1.99, "only 1.99 times as fast"),
    ],
)
def test_a_compact_engine_that_loses_too_much_is_told_what_it_lacks(
    compact: Outcomes, faster: float, problem: str | None
) -> None:
    found = Comparison(outcomes(), compact, faster).problems
    assert (not found) if problem is None else (problem in found[0] and len(found) == 1)


def test_a_compact_engine_has_a_name_of_its_own(tmp_path: Path) -> None:
    out = tmp_path / "servo-motor-housing"
    result = CliRunner().invoke(app, ["compress", str(ENGINE), "--out", str(out)])
    assert isinstance(result.exception, TrainingError)
    assert "servo-motor-housing-compact" in str(result.exception)


def test_an_engine_of_another_network_is_not_compressed(tmp_path: Path) -> None:
    folder = tmp_path / "engines" / ENGINE.name
    shutil.copytree(ENGINE, folder)
    written = (folder / "engine.yaml").read_text().replace("network: inception-cnn", "network: baseline-cnn")
    (folder / "engine.yaml").write_text(written)
    wanted = ["compress", str(folder), "--out", str(tmp_path / "compact"), "--cache", str(tmp_path / "cache")]
    result = CliRunner().invoke(app, wanted)
    assert isinstance(result.exception, TrainingError)
    assert "holds the network baseline-cnn" in str(result.exception)
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_engine_that_has_learnt_too_little_is_not_written(tmp_path: Path) -> None:
    out = tmp_path / "compact"
    result = CliRunner().invoke(
        app,
        [
            "compress", str(ENGINE), "--out", str(out), "--run", str(tmp_path / "run"), "--cache",
            str(tmp_path / "cache"), "--known", "12", "--fresh", "10", "--steps", "150", "--test-seed", "8",
            "--parts-per-class", "2", "--mixed", "0",
        ],
    )  # fmt: skip
    made = tmp_path / "run" / "compact"
    if result.exit_code == 0:
        assert load_manifest(out).name == "compact"
        assert "Beside the whole engine" in (out / "card.md").read_text()
    else:
        assert not out.exists()
        assert made.is_dir() == ("not written to" in result.output)
