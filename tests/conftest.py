"""Fixtures that more than one room needs."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from station.quiet import switch_off

switch_off()  # before a test imports a library that sends

# How long an example takes says how busy the machine is. What must be quick is measured by a test of its own.
# Half of hypothesis's own number of examples where a test names none: together they take minutes.
settings.register_profile("on a busy machine", parent=settings(), deadline=None, max_examples=50)
settings.load_profile("on a busy machine")

FIRST = ("test_camera_contract.py", "test_new_product_page.py")
"""Files that come before all others; the rest follows in the order of the tree.

There is one port for GigE cameras on loopback, so that the first would wait for test_camera_aravis.py, its
neighbour in the tree. The second is the longest.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Share the files out so that no process waits for the other."""
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


TINY_CLASSES = ("good", "bright", "dark")
TINY_PATCH = 16
TINY_RECIPE = """
name: tiny
version: 1
product: {background: none, widths_px: [32], height_px: 64, mm_per_px_x: 0.5, mm_per_px_y: 0.25}
surface: {height: 64, width: 32}
patch: {size: 16}
engine: tiny
classes:
  - {name: good, bin: 1}
  - {name: bright, bin: 2}
  - {name: dark, bin: 3}
fault_bin: 9
"""


@pytest.fixture
def given_data() -> Callable[[str], Path]:
    """A file or folder below INSPECTION_DATA; the test is skipped where it is not there."""
    from retraining.data.given import find_data
    from retraining.errors import DatasetError

    def find(name: str) -> Path:
        try:
            return find_data(name)
        except DatasetError as error:
            pytest.skip(str(error))

    return find


def tiny_network() -> "onnx.ModelProto":  # noqa: F821
    """A hand-made classifier of 16-px grey patches by their mean: below 0.3 dark, above 0.6 bright."""
    return _tiny_network(far_from=None)


def tiny_network_with_novelty() -> "onnx.ModelProto":  # noqa: F821
    """The same, and a novelty: the mean's distance from 0.45, in units of 0.25.

    Bright and dark patches of :func:`tiny_surface` have novelties of 1.6 to 1.9, good ones of less than 0.1.
    """
    return _tiny_network(far_from=0.45)


def tiny_network_of_one_class() -> "onnx.ModelProto":  # noqa: F821
    """A network that knows good patches only: probabilities of ones, and the novelty of the one above."""
    import onnx

    model = tiny_network_with_novelty()
    graph = model.graph
    kept = {"planes", "levels", "scaled", "mean", "off", "distance", "novelty"}
    nodes = [node for node in graph.node if node.output[0] in kept]
    nodes.append(onnx.helper.make_node("Unsqueeze", ["novelty", "last_axis"], ["one"]))
    nodes.append(onnx.helper.make_node("Softmax", ["one"], ["probabilities"], axis=1))
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([1], np.int64), "last_axis"))
    graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    onnx.checker.check_model(model, full_check=True)
    return model


def _tiny_network(far_from: float | None) -> "onnx.ModelProto":  # noqa: F821
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(7)
    constants: dict[str, np.ndarray] = {"full": np.float32(255)}

    def layer(name: str, inputs: int, outputs: int, side: int) -> None:
        weights = np.zeros((outputs, inputs, side, side), np.float32)
        for channel in range(outputs):  # every channel passes one input on, with a gain and no shift of place
            weights[channel, channel % inputs, side // 2, side // 2] = 0.5 + 0.5 * rng.random()
        constants[f"{name}.w"] = weights
        constants[f"{name}.b"] = np.zeros(outputs, np.float32)

    layer("first", 1, 4, 3)
    layer("left", 4, 4, 1)
    layer("right", 4, 4, 3)
    layer("last", 8, 8, 3)
    gains = np.zeros(8)
    for channel in range(8):
        before = channel % 8
        branch = constants["left.w"] if before < 4 else constants["right.w"]
        own = before % 4
        gains[channel] = (
            constants["last.w"][channel].sum() * branch[own].sum() * constants["first.w"][own].sum()
        )
    mean = 1 / gains / 8  # sums the eight channels to the mean grey level
    constants["head.w"] = np.stack([0 * mean, 60 * mean, -60 * mean], axis=1).astype(np.float32)
    constants["head.b"] = np.array([0, -36, 18], np.float32)

    def conv(name: str, source: str, side: int) -> list[onnx.NodeProto]:
        return [
            helper.make_node(
                "Conv", [source, f"{name}.w", f"{name}.b"], [f"{name}.sum"], pads=[side // 2] * 4
            ),
            helper.make_node("Relu", [f"{name}.sum"], [name]),
        ]

    nodes = [
        helper.make_node("Transpose", ["patches"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["levels", "full"], ["scaled"]),
        *conv("first", "scaled", 3),
        helper.make_node("MaxPool", ["first"], ["pooled"], kernel_shape=[1, 1]),
        *conv("left", "pooled", 1),
        *conv("right", "pooled", 3),
        helper.make_node("Concat", ["left", "right"], ["joined"], axis=1),
        *conv("last", "joined", 3),
        helper.make_node("GlobalAveragePool", ["last"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("Gemm", ["flat", "head.w", "head.b"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(TINY_CLASSES)])]
    if far_from is not None:
        constants |= {"usual": np.float32(far_from), "unit": np.float32(0.25)}
        nodes += [
            helper.make_node("ReduceMean", ["scaled"], ["mean"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Sub", ["mean", "usual"], ["off"]),
            helper.make_node("Abs", ["off"], ["distance"]),
            helper.make_node("Div", ["distance", "unit"], ["novelty"]),
        ]
        outputs.append(helper.make_tensor_value_info("novelty", TensorProto.FLOAT, ["N"]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("patches", TensorProto.UINT8, ["N", TINY_PATCH, TINY_PATCH, 1])],
        outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def tiny_surface(truth: str, seed: int) -> np.ndarray:
    """A grey surface 64 x 32 (eight patches) with at most one patch that is not good."""
    rng = np.random.default_rng(seed)
    surface = rng.normal(0.45 * 255, 10, (64, 32))
    if truth != "good":
        row, column = rng.integers(0, 4) * 16, rng.integers(0, 2) * 16
        surface[row : row + 16, column : column + 16] += 110 if truth == "bright" else -100
    return np.clip(surface, 0, 255).astype(np.uint8)


def tiny_figures(**changes: int) -> dict[str, int]:
    """Figures of a thousand parts, nearly all right."""
    return {
        "parts": 1000,
        "good": 200,
        "defective": 800,
        "right": 995,
        "escapes": 2,
        "overkill": 1,
        "faults": 0,
    } | changes


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny classifier as an fp32 ONNX file."""
    import onnx

    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    onnx.save(tiny_network(), str(path))
    return path


@pytest.fixture(scope="session")
def tiny_patches() -> np.ndarray:
    """Patches of all three classes, uint8 (N, 16, 16, 1)."""
    from station.patching import cut_surface
    from station.recipe import PatchGrid

    surfaces = [tiny_surface(TINY_CLASSES[seed % 3], 900 + seed)[..., None] for seed in range(12)]
    return np.concatenate([cut_surface(surface, PatchGrid(size=TINY_PATCH)) for surface in surfaces])


@pytest.fixture(scope="session")
def tiny_engine_master(
    tmp_path_factory: pytest.TempPathFactory, tiny_onnx: Path, tiny_patches: np.ndarray
) -> Path:
    """An engine folder with everything in it; not to be changed."""
    from deploy.engine_folder import EngineDescription, write_engine_folder
    from deploy.quantise import quantise
    from station.engines.manifest import EngineRules, PartFigures
    from station.recipe import PatchGrid, SurfaceSize

    folder = tmp_path_factory.mktemp("engines") / "tiny"
    folder.mkdir()
    shutil.copy(tiny_onnx, folder / "model.onnx")
    quantise(
        folder / "model.onnx",
        folder / "model.int8.onnx",
        tiny_patches,
        signed_target=folder / "model.int8-signed.onnx",
    )
    description = EngineDescription(
        name="tiny",
        network="tiny",
        description="Grey levels.",
        classes=TINY_CLASSES,
        surface=SurfaceSize(height=64, width=32),
        patch=PatchGrid(size=TINY_PATCH),
        rules=EngineRules(),
        figures={
            "fp32": PartFigures(**tiny_figures()),
            "int8": PartFigures(**tiny_figures(right=994)),
            "int8-signed": PartFigures(**tiny_figures(right=993)),
        },
    )
    golden = [
        (TINY_CLASSES[number % 3], tiny_surface(TINY_CLASSES[number % 3], number)) for number in range(12)
    ]
    write_engine_folder(folder, description, golden)
    return folder


@pytest.fixture
def tiny_recipe(tmp_path: Path) -> "Recipe":  # noqa: F821
    """The recipe that the tiny engine was proven with; half a millimetre across a pixel, a quarter down."""
    from station.recipe import load_recipe

    path = tmp_path / "tiny.yaml"
    path.write_text(TINY_RECIPE)
    return load_recipe(path)


@pytest.fixture
def tiny_engine(tiny_engine_master: Path, tmp_path: Path) -> Path:
    """A copy of the tiny engine's folder that a test may damage."""
    return Path(shutil.copytree(tiny_engine_master, tmp_path / "engines" / "tiny"))


@pytest.fixture
def tiny_engine_with_second_network(tiny_engine: Path) -> Path:
    """The tiny engine, with a second network, to which bright and dark parts are far from training."""
    import onnx

    from deploy.engine_folder import SECOND, write_second_network
    from station.engines.manifest import Novelty

    onnx.save(tiny_network_of_one_class(), str(tiny_engine / SECOND))
    described = Novelty(method="core-set", features="pretrained-net", good_parts=50, good_above=0.02)
    write_second_network(tiny_engine, described)
    return tiny_engine
