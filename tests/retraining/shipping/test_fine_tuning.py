"""Training on from an engine that ships: its weights come back whole, and its mistakes are shown again."""

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from deploy.scoring import onnx_scorer
from models.classifiers import CLASSIFIERS
from retraining.classifiers.loop import probabilities
from retraining.cli import app
from retraining.errors import TrainingError
from retraining.shipping.export import export_onnx
from retraining.shipping.fine_tuning import weights_of_engine


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """An exported network whose normalisation has moved, patches, and what it makes of them."""
    torch.manual_seed(1)
    network = CLASSIFIERS["inception-cnn"](3, 1, 128, 0.0)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.2, 0.2)
            layer.running_var.uniform_(0.5, 2.0)
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.uniform_(layer.bias, -0.3, 0.3)
        elif isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.uniform_(layer.bias, -0.05, 0.05)
    patches = np.random.default_rng(2).integers(0, 256, (6, 128, 128, 1), dtype=np.uint8)
    expected = probabilities(network, patches)
    export_onnx(network, tmp_path / "model.onnx", 128, 1)
    return tmp_path / "model.onnx", patches, expected


def test_a_network_with_an_engine_s_weights_gives_the_engine_s_probabilities(
    trained: tuple[Path, np.ndarray, np.ndarray],
) -> None:
    model, patches, expected = trained
    network = CLASSIFIERS["inception-cnn"](3, 1, 128, 0.0)
    weights_of_engine(model, network, patches)
    assert np.abs(probabilities(network, patches) - expected).max() < 1e-4


def test_the_shipped_engine_s_weights_come_back_although_its_convolutions_are_joined() -> None:
    model = Path("engines/servo-motor-housing/model.onnx")
    patches = np.random.default_rng(3).integers(60, 200, (3, 256, 256, 1), dtype=np.uint8)
    network = CLASSIFIERS["inception-cnn"](5, 1, 256, 0.0)
    weights_of_engine(model, network, patches)
    assert np.abs(probabilities(network, patches) - onnx_scorer(model)(patches)).max() < 1e-5


def test_its_normalisation_is_one_again_so_that_training_mode_hardly_differs(
    trained: tuple[Path, np.ndarray, np.ndarray],
) -> None:
    model, patches, expected = trained
    network = CLASSIFIERS["inception-cnn"](3, 1, 128, 0.0)
    weights_of_engine(model, network, patches)
    network.train()
    pixels = torch.from_numpy(patches).permute(0, 3, 1, 2).float() / 255
    found = torch.softmax(network(pixels), 1)
    assert np.abs(found.detach().numpy() - expected).max() < 0.02
    found[:, 0].sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_an_engine_of_another_architecture_is_refused(
    trained: tuple[Path, np.ndarray, np.ndarray],
) -> None:
    model, patches, _ = trained
    with pytest.raises(TrainingError, match="another network than BaselineCNN"):
        weights_of_engine(model, CLASSIFIERS["baseline-cnn"](3, 1, 128, 0.0), patches)


def test_an_engine_folder_of_another_name_is_refused_before_anything_is_rendered(tmp_path: Path) -> None:
    wanted = ["fine-tune", "engines/servo-motor-housing", "--out", str(tmp_path / "better")]
    result = CliRunner().invoke(app, [*wanted, "--cache", str(tmp_path / "cache")])
    assert isinstance(result.exception, TrainingError)
    assert str(tmp_path / "better" / "servo-motor-housing") in str(result.exception)
    assert not (tmp_path / "cache").exists()
