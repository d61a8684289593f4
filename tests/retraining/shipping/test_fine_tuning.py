"""Training on from an engine that ships: its weights come back whole, and its mistakes are shown again."""

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from deploy.scoring import onnx_scorer
from models.classifiers import CLASSIFIERS
from retraining.classifiers.loop import TrainingPlan, build_network, load_weights, probabilities
from retraining.cli import app
from retraining.errors import TrainingError
from retraining.product.making import source_of
from retraining.shipping.export import export_onnx
from retraining.shipping.fine_tuning import begin_from_engine, weights_of_engine
from retraining.surfaces import Surfaces
from retraining.surfaces.crops import Source
from station.recipe import load_recipe

FIRST = Path("retraining/circle/first")
"""An engine with its recipe that knows defect-free and imprinted."""


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


def parts_of(*classes: str) -> Source:
    """Grainy surfaces of the size that the engine in FIRST takes, with marks of every class."""
    rng, recipe = np.random.default_rng(4), load_recipe(FIRST / "housing.yaml")
    pixels = rng.integers(60, 200, (4, recipe.surface.height, recipe.surface.width, 1), dtype=np.uint8)
    masks = np.zeros(pixels.shape[:3], np.uint8)
    for label in range(1, len(classes)):
        masks[label, 40:60, 10:40] = label
    return source_of(Surfaces(pixels, masks, classes, ("a", "b", "c", "d")), recipe)


def test_a_training_goes_on_from_an_engine_although_a_class_is_new(tmp_path: Path) -> None:
    engine, plan = FIRST / "engines" / "housing", TrainingPlan(network="sca-cnn")
    source = parts_of("defect-free", "roll-marks", "imprinted")
    network = build_network(plan, source)
    network.load_state_dict(load_weights(begin_from_engine(engine, plan, source, tmp_path)))
    patches = source.cut(source.draw(np.random.default_rng(5), 8)).pixels
    found, known = probabilities(network, patches), onnx_scorer(engine / "model.onnx")(patches)
    of_both = found[:, [0, 2]] / found[:, [0, 2]].sum(1, keepdims=True)
    assert np.abs(of_both - known).max() < 1e-4


def test_a_training_of_another_network_does_not_go_on_from_an_engine(tmp_path: Path) -> None:
    source, plan = parts_of("defect-free", "imprinted"), TrainingPlan(network="simple-fcn")
    with pytest.raises(TrainingError, match=r"is a sca-cnn for 1 channel.*begins as a simple-fcn"):
        begin_from_engine(FIRST / "engines" / "housing", plan, source, tmp_path)


def test_an_engine_folder_of_another_name_is_refused_before_anything_is_rendered(tmp_path: Path) -> None:
    wanted = ["fine-tune", "engines/servo-motor-housing", "--out", str(tmp_path / "better")]
    result = CliRunner().invoke(app, [*wanted, "--cache", str(tmp_path / "cache")])
    assert isinstance(result.exception, TrainingError)
    assert str(tmp_path / "better" / "servo-motor-housing") in str(result.exception)
    assert not (tmp_path / "cache").exists()
