"""Checks that every classifier passes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.classifiers import CLASSIFIERS
from models.classifiers.layers import count_parameters, l2_penalty
from retraining.classifier import probabilities
from retraining.export import export_onnx, onnx_scorer

PARAMETERS = {"inception-cnn": 3_576_453, "baseline-cnn": 5_117_317}
every_network = pytest.mark.parametrize("name", sorted(CLASSIFIERS))


@every_network
def test_the_parameter_count_is_the_papers(name: str) -> None:
    assert count_parameters(CLASSIFIERS[name](5, 1, 256)) == PARAMETERS[name]


@every_network
@pytest.mark.parametrize(("classes", "channels", "patch"), [(5, 1, 128), (2, 3, 128), (5, 1, 256)])
def test_logits_have_a_row_a_patch_and_a_column_a_class(
    name: str, classes: int, channels: int, patch: int
) -> None:
    network = CLASSIFIERS[name](classes, channels, patch)
    assert network(torch.rand(2, channels, patch, patch)).shape == (2, classes)


@every_network
@pytest.mark.parametrize("patch", [0, -128, 100, 200])
def test_a_patch_that_seven_pools_do_not_halve_is_refused(name: str, patch: int) -> None:
    with pytest.raises(ValueError, match="multiple of 128"):
        CLASSIFIERS[name](5, 1, patch)


@every_network
def test_every_parameter_receives_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    network = CLASSIFIERS[name](5, 1, 128, dropout=0.0)
    loss = torch.nn.functional.cross_entropy(network(torch.rand(6, 1, 128, 128)), torch.arange(6) % 5)
    (loss + 1e-4 * l2_penalty(network)).backward()
    for parameter, value in network.named_parameters():
        assert value.grad is not None, parameter
        assert torch.isfinite(value.grad).all(), parameter
    assert network.classifier[1].weight.grad.abs().sum() > 0


@every_network
def test_brightness_alone_moves_no_filter_of_a_fresh_network(name: str) -> None:
    network = CLASSIFIERS[name](5, 1, 128)
    first = next(m for m in network.modules() if isinstance(m, torch.nn.Conv2d))
    assert first.weight.sum(dim=(1, 2, 3)).abs().max() < 1e-5


@every_network
def test_the_l2_penalty_counts_convolution_weights_only(name: str) -> None:
    network = CLASSIFIERS[name](5, 1, 128)
    expected = sum(
        float(p.detach().square().sum())
        for k, p in network.named_parameters()
        if p.dim() == 4 and "weight" in k
    )
    assert float(l2_penalty(network).detach()) == pytest.approx(expected, rel=1e-5)


@every_network
def test_dropout_is_silent_in_evaluation(name: str) -> None:
    network = CLASSIFIERS[name](5, 1, 128).eval()
    patches = torch.rand(2, 1, 128, 128)
    with torch.inference_mode():
        assert torch.equal(network(patches), network(patches))


@every_network
def test_the_exported_graph_scores_as_the_network_does(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = CLASSIFIERS[name](5, 1, 128)
    network(torch.rand(8, 1, 128, 128))  # running statistics that are not the initial ones
    patches = np.random.default_rng(2).integers(0, 256, (3, 128, 128, 1), np.uint8)
    expected = probabilities(network, patches)
    assert export_onnx(network, tmp_path / "model.onnx", 128, 1) <= 1e-4
    for count in (1, 2, 3):
        found = onnx_scorer(tmp_path / "model.onnx")(patches[:count])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected[:count], atol=1e-4)


def test_the_exported_file_does_not_say_where_it_was_made(tmp_path: Path) -> None:
    export_onnx(CLASSIFIERS["inception-cnn"](2, 1, 128), tmp_path / "model.onnx", 128, 1)
    content = (tmp_path / "model.onnx").read_bytes()
    assert str(Path(__file__).parents[2]).encode() not in content
    assert b"stack_trace" not in content
