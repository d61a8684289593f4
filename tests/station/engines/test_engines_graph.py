"""What stands in an ONNX file beside a plain network is refused before a run time sees it."""

import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from station.engines.folder import load_manifest, model_bytes
from station.engines.graph import NetworkError, require_plain
from station.engines.interface import EngineError

Change = Callable[[onnx.ModelProto], object]


def _changed(source: Path, change: Change) -> bytes:
    model = onnx.load(str(source))
    change(model)
    return model.SerializeToString()


def _refused(content: bytes) -> str:
    with pytest.raises(NetworkError) as caught:
        require_plain(content, Path("model.onnx"))
    return str(caught.value)


def _elsewhere(tensor: TensorProto, file: str = "weights.bin") -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=file)


def _weights(model: onnx.ModelProto, name: str = "head.w") -> TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def _a_tensor() -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "hidden")
    _elsewhere(tensor)
    return tensor


def _add(*nodes: onnx.NodeProto) -> Change:
    return lambda model: model.graph.node.extend(nodes)


def _graph() -> onnx.GraphProto:
    return helper.make_graph([], "inner", [], [], [_a_tensor()])


def _sparse() -> onnx.SparseTensorProto:
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "indices")
    return helper.make_sparse_tensor(_a_tensor(), indices, [4])


def _function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["y"], value=_a_tensor())
    model.functions.append(helper.make_function("own", "f", [], ["y"], [node], model.opset_import))


def _training(model: onnx.ModelProto) -> None:
    model.training_info.add().algorithm.initializer.append(_a_tensor())


ATTACKS: list[tuple[str, Change, str]] = [
    ("weights elsewhere", lambda m: _elsewhere(_weights(m)), r"tensor 'head\.w': lies in another file"),
    ("only marked", lambda m: setattr(_weights(m), "data_location", 1), r"tensor 'head\.w': lies in another"),
    (
        "only named",
        lambda m: _weights(m).external_data.add(key="location", value="*/_ORT_MEM_ADDR_/*"),
        r"tensor 'head\.w': lies in another file",
    ),
    (
        "in a constant",
        _add(helper.make_node("Constant", [], ["y"], "odd", value=_a_tensor())),
        r"node 'odd' \(Constant\): tensor 'hidden': lies in another file",
    ),
    (
        "in a list of tensors",
        _add(helper.make_node("Constant", [], ["y"], "odd", values=[_a_tensor(), _a_tensor()])),
        r"node 'odd' \(Constant\): tensor 'hidden': lies in another file",
    ),
    (
        "in a graph of a node",
        _add(helper.make_node("If", ["x"], ["y"], "odd", then_branch=_graph(), else_branch=_graph())),
        r"node 'odd' \(If\): has a graph of its own",
    ),
    (
        "in graphs of an allowed operator",
        _add(helper.make_node("Relu", ["x"], ["y"], "odd", branches=[_graph()])),
        r"node 'odd' \(Relu\): has graphs of its own",
    ),
    ("sparse weights", lambda m: m.graph.sparse_initializer.append(_sparse()), "graph: has sparse"),
    (
        "a sparse attribute",
        _add(helper.make_node("Constant", [], ["y"], "odd", sparse_value=_sparse())),
        r"node 'odd' \(Constant\): has a sparse tensor",
    ),
    ("a function", _function, "the file: has functions of its own"),
    ("training", _training, "the file: has training information"),
    (
        "an unknown operator",
        _add(helper.make_node("Bernoulli", ["x"], ["y"], "odd")),
        r"node 'odd' \(Bernoulli\): is of an operator that an engine may not use: export the network without",
    ),
    (
        "a node of another domain",
        _add(helper.make_node("Relu", ["x"], ["y"], "odd", domain="com.microsoft")),
        r"node 'odd' \(Relu\): is of the domain 'com\.microsoft'",
    ),
    (
        "a plan of another program",
        _add(helper.make_node("EPContext", ["x"], ["y"], "odd", domain="com.microsoft")),
        r"node 'odd' \(EPContext\): is of the domain",
    ),
    (
        "an import of another domain",
        lambda m: m.opset_import.append(helper.make_opsetid("own", 1)),
        "the file: is of the domain 'own'",
    ),
    (
        "more numbers than there are",
        lambda m: _weights(m).dims.__setitem__(0, 2**40),
        r"tensor 'head\.w': says that it has \d+ numbers, but has 96 bytes",
    ),
    ("a negative side", lambda m: _weights(m).dims.__setitem__(0, -8), r"tensor 'head\.w': says that it has"),
    ("many sides", lambda m: _weights(m).dims.extend([1] * 1000), r"has more than 8 dimensions"),
    ("texts", lambda m: _weights(m).string_data.append(b"x"), r"tensor 'head\.w': has texts"),
    ("a strange type", lambda m: setattr(_weights(m), "data_type", 99), r"has numbers of type 99"),
    ("no graph", lambda m: m.ClearField("graph"), "is not an ONNX file: it has no graph"),
    ("another format", lambda m: setattr(m, "producer_name", "ORTM" + "x" * 99), "ONNX Runtime's own format"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"), [attack[1:] for attack in ATTACKS], ids=[a[0] for a in ATTACKS]
)
def test_what_is_no_plain_network_is_refused_with_file_node_and_remedy(
    tiny_onnx: Path, change: Change, message: str
) -> None:
    problem = _refused(_changed(tiny_onnx, change))
    assert problem.startswith("model.onnx: ")
    assert re.search(message, problem), problem


def test_all_faults_of_a_file_are_named_at_once(tiny_onnx: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        _elsewhere(_weights(model))
        _add(helper.make_node("Loop", ["x"], ["y"], "odd"))(model)
        _function(model)

    assert len(_refused(_changed(tiny_onnx, change)).splitlines()) == 3


def test_a_field_that_may_stand_once_is_refused_twice(tiny_onnx: Path) -> None:
    """A reader that takes the first graph and a run time that merges both would see two networks."""
    content = tiny_onnx.read_bytes()
    assert "field 7 of a ModelProto twice" in _refused(content + content[2:])


@pytest.mark.parametrize("content", [b"", b"x", b"<?xml version='1.0'?><net/>", b"\x08", b"\xff" * 40])
def test_what_is_no_onnx_file_is_refused(content: bytes) -> None:
    assert "ONNX file" in _refused(content)


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes, as protobuf writes it."""
    key, size, text = number << 3 | 2, len(content), b""
    for value in (key, size):
        while value > 127:
            text, value = text + bytes([value & 127 | 128]), value >> 7
        text += bytes([value])
    return text + content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_field(7, _field(5, _field(1, b"\x01" * 5_000_000) + b"\x10\x01")), "has more than 8 dimensions"),
        (_field(7, _field(1, b"\x0a\x00" * 1_000_000)), "has more than 200000 fields"),
        (_field(7, b"\x0a\x00" * 1_000), "has more mistakes, which are not shown"),
        (_field(7, _field(1, _field(4, b"x" * 5_000_000))), "(xxxxx"),
    ],
)
def test_a_file_made_to_take_time_or_memory_is_refused_at_once(content: bytes, message: str) -> None:
    begun = time.process_time()
    problem = _refused(content)
    assert message in problem
    assert len(problem) < 10_000
    assert time.process_time() - begun < 5


def test_a_field_of_a_later_onnx_is_refused(tiny_onnx: Path) -> None:
    assert "field 99 in a ModelProto" in _refused(tiny_onnx.read_bytes() + b"\x98\x06\x01")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_refused_or_still_plain_and_never_anything_else(
    tiny_onnx: Path, data: st.DataObject
) -> None:
    content = bytearray(tiny_onnx.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    try:
        require_plain(bytes(content), Path("model.onnx"))
    except NetworkError:
        return
    model = onnx.load_from_string(bytes(content))
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert not model.functions


def _put(folder: Path, content: bytes) -> None:
    """The attacker's own network, with its digest in engine.yaml."""
    (folder / "model.onnx").write_bytes(content)
    document = yaml.safe_load((folder / "engine.yaml").read_text())
    document["files"]["fp32"]["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "engine.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


def test_weights_in_the_current_folder_are_never_loaded_and_no_run_time_is_started(tiny_engine: Path) -> None:
    """Both run times read `weights.bin` from the current folder when they are given these bytes."""
    model = onnx.load(str(tiny_engine / "model.onnx"))
    (tiny_engine / "weights.bin").write_bytes(_weights(model).raw_data)
    _put(tiny_engine, _changed(tiny_engine / "model.onnx", lambda model: _elsewhere(_weights(model))))
    program = (
        "import sys; from pathlib import Path; from station.engines import open_engine\n"
        "from station.engines.interface import EngineError\n"
        "try: open_engine(Path(sys.argv[1]))\n"
        "except EngineError as problem: print(problem)\n"
        "assert not {'onnxruntime', 'openvino'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tiny_engine)],
        capture_output=True,
        text=True,
        cwd=tiny_engine,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert "model.onnx: tensor 'head.w': lies in another file" in done.stdout


def test_a_network_that_became_another_after_the_check_is_refused_by_what_is_loaded(
    tiny_engine: Path,
) -> None:
    manifest = load_manifest(tiny_engine)
    _put(tiny_engine, _changed(tiny_engine / "model.onnx", lambda model: _elsewhere(_weights(model))))
    with pytest.raises(EngineError, match="sha256"):
        model_bytes(manifest, "fp32")


def test_the_shipped_networks_are_plain() -> None:
    for folder in Path(__file__).parents[3].glob("engines/*"):
        for variant in load_manifest(folder).files:
            model_bytes(load_manifest(folder), variant)
