"""Networks that turn pictures into features."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from models.classifiers import CLASSIFIERS
from retraining.errors import MetricsError
from retraining.metrics import Extractor, compare, open_extractor
from retraining.metrics.degradation import degrade
from retraining.metrics.inception import build
from retraining.metrics.lpips import Lpips
from retraining.metrics.trained import of_network

Draw = Callable[..., np.ndarray]


def test_features_are_computed_once_for_each_picture(engine_file: Path, real: np.ndarray) -> None:
    extractor = open_extractor(f"classifier:{engine_file}")
    compare(real, real[:20], extractor)
    compare(real, real[20:40], extractor, seed=1)
    assert extractor.computed == len(real)


def test_remembered_features_are_those_computed(engine_file: Path, real: np.ndarray) -> None:
    extractor = open_extractor(f"classifier:{engine_file}")
    first = extractor(real)
    assert first.shape == (60, extractor.dims) == (60, 24)
    assert np.array_equal(extractor(real[::-1])[::-1], first)
    assert np.allclose(open_extractor(f"classifier:{engine_file}")(real[7:8]), first[7:8], atol=1e-6)


def test_an_engine_gives_what_its_last_layer_is_given(
    engine_file: Path, extractor: Extractor, real: np.ndarray
) -> None:
    import onnx
    from onnx import numpy_helper

    weights = {t.name: numpy_helper.to_array(t) for t in onnx.load(str(engine_file)).graph.initializer}
    logits = extractor(real) @ weights["w3"]
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert extractor.classes == 3
    assert np.allclose(extractor.probabilities(real), expected, atol=1e-5)


def test_the_name_changes_with_the_weights(extractor: Extractor, other_engine: Extractor) -> None:
    assert extractor.name.split()[0] == other_engine.name.split()[0]
    assert extractor.name != other_engine.name


def test_colour_and_size_are_brought_to_what_the_network_takes(extractor: Extractor, draw: Draw) -> None:
    grey = draw(4, 1)
    coloured = np.repeat(grey, 3, axis=3)
    assert np.allclose(extractor(coloured), extractor(grey), atol=1e-5)
    large = np.stack([cv2.resize(p, (64, 64), interpolation=cv2.INTER_NEAREST) for p in grey])[..., None]
    assert np.allclose(extractor(large), extractor(grey), atol=1e-5)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("vgg:weights.onnx", "KIND is one of squeezenet, classifier, inception"),
        ("squeezenet", "write KIND:PATH"),
        ("squeezenet:nowhere.onnx", "no weights at nowhere.onnx"),
        ("inception:nowhere.pth", "no weights at nowhere.pth"),
        ("classifier:best.pt", "NETWORK@SIDE:best.pt"),
        ("classifier:lenet@32:{text}", "no network is called 'lenet'"),
        ("classifier:resnet18@64:{text}", "not hold weights of resnet18"),
        ("classifier:{text}.onnx", "not an ONNX file"),
        ("inception:{text}", "not a state dict"),
        ("squeezenet:{engine}", "no tensor fire9"),
        ("classifier:{squeezenet}", "not an exported classifier"),
    ],
)
def test_what_cannot_be_opened_is_refused_with_a_remedy(
    spec: str, message: str, tmp_path: Path, engine_file: Path, squeezenet_file: Path
) -> None:
    for name in ("text", "text.onnx"):
        (tmp_path / name).write_text("no network", encoding="utf-8")
    places = {"text": tmp_path / "text", "engine": engine_file, "squeezenet": squeezenet_file}
    with pytest.raises(MetricsError, match=message):
        open_extractor(spec.format(**places))


def test_squeezenet_is_read_from_a_half_precision_file_of_one_picture(
    squeezenet_file: Path, draw: Draw
) -> None:
    extractor = open_extractor(f"squeezenet:{squeezenet_file}")
    assert extractor.dims == 12
    assert extractor.classes == 0
    pictures = draw(40, 2)
    alone = np.concatenate([open_extractor(f"squeezenet:{squeezenet_file}")(p[None]) for p in pictures[:2]])
    assert np.allclose(extractor(pictures)[:2], alone, rtol=1e-4, atol=1e-4)
    with pytest.raises(MetricsError, match="no class probabilities"):
        extractor.probabilities(pictures)


def test_lpips_is_nothing_for_equal_pictures_and_rises_with_distortion(
    squeezenet_file: Path, draw: Draw
) -> None:
    lpips = Lpips(squeezenet_file, squeezenet_file.parent / "lpips_lin_v0.1_squeeze.pth")
    pictures = draw(8, 3)
    assert np.allclose(lpips(pictures, pictures), 0.0)
    found = [lpips(pictures, degrade(pictures, "noise", grade)).mean() for grade in (2.0, 8.0, 32.0)]
    assert 0 < found[0] < found[1] < found[2]
    assert np.allclose(lpips(pictures, pictures[::-1]), lpips(pictures[::-1], pictures))


def test_lpips_diversity_falls_when_a_generator_repeats_itself(squeezenet_file: Path, draw: Draw) -> None:
    extractor = open_extractor(f"squeezenet:{squeezenet_file}")
    figures = compare(draw(24, 4), np.repeat(draw(3, 5), 8, axis=0), extractor)
    assert figures.lpips is not None
    assert figures.lpips_real is not None
    assert figures.lpips < 0.9 * figures.lpips_real


def test_without_heads_beside_the_network_lpips_is_not_measured(
    squeezenet_file: Path, tmp_path: Path, draw: Draw
) -> None:
    (tmp_path / "dwarf.onnx").write_bytes(squeezenet_file.read_bytes())
    figures = compare(draw(12, 1), draw(12, 2), open_extractor(f"squeezenet:{tmp_path / 'dwarf.onnx'}"))
    assert figures.lpips is None
    assert figures.inception_score is None


def test_lpips_refuses_heads_of_something_else_and_pictures_too_small(
    squeezenet_file: Path, draw: Draw
) -> None:
    heads = squeezenet_file.parent / "lpips_lin_v0.1_squeeze.pth"
    with pytest.raises(MetricsError, match="heads"):
        Lpips(squeezenet_file, squeezenet_file)
    small = draw(2, 1)[:, :16, :16]
    with pytest.raises(MetricsError, match="32 px"):
        Lpips(squeezenet_file, heads)(small, small)


@pytest.mark.parametrize("name", ["baseline-cnn", "inception-cnn"])
def test_trained_weights_and_the_network_in_memory_give_the_same_features(
    name: str, tmp_path: Path, draw: Draw
) -> None:
    torch.manual_seed(0)
    network = CLASSIFIERS[name](4, 1, 128, 0.5).train()
    torch.save(network.state_dict(), tmp_path / "best.pt")
    pictures = draw(3, 1)
    stored = open_extractor(f"classifier:{name}@128:{tmp_path / 'best.pt'}")
    held = of_network(network, 128, 1)
    assert stored.classes == held.classes == 4
    assert np.allclose(stored(pictures), held(pictures), atol=1e-5)
    assert np.allclose(stored.probabilities(pictures).sum(axis=1), 1.0, atol=1e-5)


def test_a_network_in_memory_keeps_its_mode_and_its_hooks() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 2),
    )
    network.train()
    extractor = of_network(network, 32, 1, "tiny")
    before = network[1].running_mean.clone()
    pictures = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 1)).astype(np.uint8)
    features = extractor(pictures)
    assert features.shape == (5, 6)
    assert network.training
    assert torch.equal(before, network[1].running_mean)
    assert not any(len(m._forward_pre_hooks) for m in network.modules())


def test_a_network_that_ends_in_a_convolution_is_averaged_over_the_picture() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    assert of_network(network, 32, 3).dims == 5


@pytest.mark.parametrize(("classes", "layout"), [(1000, "inception-torchvision"), (1008, "inception-fid")])
def test_inception_weights_are_told_apart_by_their_classes(
    classes: int, layout: str, tmp_path: Path, draw: Draw
) -> None:
    torch.manual_seed(0)
    torch.save(build(classes).state_dict(), tmp_path / "inception.pth")
    extractor = open_extractor(f"inception:{tmp_path / 'inception.pth'}")
    assert extractor.name.startswith(layout)
    assert extractor.dims == 2048
    assert np.isfinite(extractor(draw(1, 1))).all()


def test_the_pooling_of_2015_leaves_the_border_out() -> None:
    torch.manual_seed(0)
    ours, theirs = build(1008).eval(), build(1000).eval()
    theirs.load_state_dict({**ours.state_dict(), "fc.weight": theirs.fc.weight, "fc.bias": theirs.fc.bias})
    x = torch.rand(1, 192, 9, 9)
    with torch.inference_mode():
        a, b = ours.Mixed_5b(x), theirs.Mixed_5b(x)
    assert torch.allclose(a[:, :-32], b[:, :-32], atol=1e-5)
    assert torch.allclose(a[:, -32:, 1:-1, 1:-1], b[:, -32:, 1:-1, 1:-1], atol=1e-5)
    assert not torch.allclose(a[:, -32:], b[:, -32:], atol=1e-3)


def test_the_real_squeezenet_tells_textures_apart_and_sees_distortion(
    draw: Draw, given_data: Callable[[str], Path]
) -> None:
    file = given_data("weights/SqueezeNet_fp16.onnx")
    extractor = open_extractor(f"squeezenet:{file}")
    assert extractor.dims == 512
    real, same, other = draw(24, 1), draw(24, 2), draw(24, 3, grain=4.0)
    near, far = compare(real, same, extractor), compare(real, other, extractor)
    assert abs(near.kid) < 3 * near.kid_std < far.kid
    noisy = [compare(real, degrade(same, "noise", g), extractor).kid for g in (8.0, 32.0)]
    assert near.kid < noisy[0] < noisy[1]
    if (heads := file.with_name("lpips_lin_v0.1_squeeze.pth")).is_file():
        lpips = Lpips(file, heads)
        found = [lpips(real, degrade(real, "blur", grade)).mean() for grade in (0.5, 1.0, 2.0)]
        assert 0 < found[0] < found[1] < found[2] < 1
