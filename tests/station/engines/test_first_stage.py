"""The first stage by our own kernel: the same integers as ONNX Runtime, or another back end."""

import functools
import logging
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from station.engines import available, open_engine, runnable
from station.engines.backends import fused_engine
from station.engines.backends.openvino_engine import core_of_this_process, read_network
from station.engines.choose import open_chosen
from station.engines.first_stage import vnni
from station.engines.first_stage.integers import LARGEST_BIAS, FirstStage
from station.engines.first_stage.recognise import take_out
from station.engines.folder import load_manifest, model_bytes
from station.engines.interface import EngineError, EngineOptions
from station.engines.prove import golden_patches

SHIPPED = Path(__file__).parents[3] / "engines" / "servo-motor-housing"
FUSED = "openvino-fused"
Bytes = NDArray[np.uint8]

needs_vnni = pytest.mark.skipif(not vnni.lanes(), reason=f"no kernel here: {vnni.refusal()}")


def by_numpy(stage: FirstStage, patch: Bytes) -> Bytes:
    """The stage in 64-bit integers, one tap at a time, rounded before the pool."""
    padded = np.pad(patch.astype(np.int64), 2)
    side = stage.side
    sums = np.zeros((stage.channels, side, side), np.int64) + stage.bias[:, None, None]
    for down in range(5):
        for across in range(5):
            taps = stage.weights[:, down, across].astype(np.int64)
            sums += taps[:, None, None] * padded[None, down : down + side, across : across + side]
    assert np.abs(sums).max() < 2**31
    scaled = np.maximum(sums, 0).astype(np.int32).astype(np.float32) * stage.factors[:, None, None]
    rounded = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    pooled = rounded.reshape(stage.channels, side // 2, 2, side // 2, 2).max((2, 4))
    return np.ascontiguousarray(pooled.transpose(1, 2, 0))


def largest_around(given: Bytes) -> Bytes:
    """The largest of 3 x 3 values around each."""
    high, wide, _ = given.shape
    padded = np.pad(given, ((1, 1), (1, 1), (0, 0)))
    moved = [padded[y : y + high, x : x + wide] for y in range(3) for x in range(3)]
    return np.asarray(functools.reduce(np.maximum, moved), np.uint8)


def a_stage(side: int = 64, channels: int = 32, seed: int = 0, **changes: object) -> FirstStage:
    rng = np.random.default_rng(seed)
    numbers = {
        "weights": rng.integers(-128, 128, (channels, 5, 5), np.int8),
        "bias": rng.integers(-200_000, 200_000, channels, np.int32),
        "factors": rng.uniform(1e-4, 2e-3, channels).astype(np.float32),
    }
    given = numbers | changes
    return FirstStage(side=side, scale=np.float32(0.1), pooled_again=True, **given)  # type: ignore[arg-type]


def pictures(side: int) -> dict[str, Bytes]:
    rows, columns = np.indices((side, side))
    frame = (rows == 0) | (columns == 0) | (rows == side - 1) | (columns == side - 1)
    return {
        "noise": np.random.default_rng(side).integers(0, 256, (side, side), np.uint8),
        "black": np.zeros((side, side), np.uint8),
        "white": np.full((side, side), 255, np.uint8),
        "squares": ((rows + columns) % 2 * 255).astype(np.uint8),
        "only the border": (frame * 255).astype(np.uint8),
        "one pixel": ((rows == side - 1) & (columns == 0)).astype(np.uint8) * 255,
    }


def require_same(stage: FirstStage) -> None:
    """Both kernels against numpy, on all pictures one behind the other in the same memory."""
    from station.engines.first_stage.kernel import Kernel, Memory

    kernel, memory = Kernel(stage), Memory(stage)
    first, again = kernel.output(1)[0], kernel.output(1)[0]
    for name, patch in pictures(stage.side).items():
        kernel.run(patch, memory, first)
        np.testing.assert_array_equal(first, by_numpy(stage, patch), name)
        kernel.pool_again(first, memory, again)
        np.testing.assert_array_equal(again, largest_around(first), name)


@needs_vnni
@pytest.mark.parametrize(("side", "channels"), [(4, 32), (8, 64), (64, 32), (100, 96), (256, 32)])
def test_the_kernel_gives_the_integers_of_the_definition_for_any_size(side: int, channels: int) -> None:
    require_same(a_stage(side, channels, seed=side))


@needs_vnni
@pytest.mark.parametrize("seed", range(10))
def test_the_kernel_gives_the_integers_of_the_definition_for_any_numbers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    factors = np.exp(rng.uniform(-25, 3, 32)).astype(np.float32)
    require_same(a_stage(32, 32, seed, factors=factors))


@needs_vnni
@pytest.mark.parametrize("weight", [-128, 127, 0])
@pytest.mark.parametrize("bias", [-LARGEST_BIAS, 0, LARGEST_BIAS])
def test_extreme_weights_and_biases_neither_overflow_nor_saturate(weight: int, bias: int) -> None:
    weights = np.full((32, 5, 5), weight, np.int8)
    factors = np.array([1e-7, 1e-4, 1.0, 1e28] * 8, np.float32)
    require_same(a_stage(32, weights=weights, bias=np.full(32, bias, np.int32), factors=factors))


@needs_vnni
def test_sums_between_two_steps_are_rounded_to_the_even_one() -> None:
    weights = np.zeros((32, 5, 5), np.int8)
    weights[:, 2, 2] = 1
    stage = a_stage(16, weights=weights, bias=np.zeros(32, np.int32), factors=np.full(32, 0.5, np.float32))
    require_same(stage)
    assert by_numpy(stage, np.full((16, 16), 5, np.uint8)).max() == 2  # 2.5


@needs_vnni
@pytest.mark.parametrize("wrong", ["patch", "out", "memory", "pool"])
def test_memory_that_does_not_fit_is_never_written_to(wrong: str) -> None:
    from station.engines.first_stage.kernel import Kernel, Memory

    stage = a_stage(32)
    kernel, memory, out = Kernel(stage), Memory(stage), Kernel(stage).output(1)[0]
    patch, other = np.zeros((32, 32), np.uint8), np.zeros((16, 16, 16), np.uint8)
    calls = {
        "patch": lambda: kernel.run(patch[:16], memory, out),
        "out": lambda: kernel.run(patch, memory, other),
        "memory": lambda: kernel.run(patch, Memory(a_stage(16)), out),
        "pool": lambda: kernel.pool_again(other, memory, other),
    }
    with pytest.raises(ValueError, match="a stage of 32 px and 32 channels cannot go from"):
        calls[wrong]()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"side": 62}, "patches of 62 px are no multiple of 4 px"),
        ({"channels": 48}, "48 channels are no multiple of 32"),
        ({"weights": np.zeros((32, 3, 3), np.int8)}, r"the weights are \(32, 3, 3\), not 5 x 5"),
        ({"factors": np.full(32, -1, np.float32)}, "not every scale is a positive number"),
        ({"factors": np.full(32, np.nan, np.float32)}, "not every scale is a positive number"),
        ({"bias": np.full(32, 2**31 - 1, np.int32)}, "may not fit into 32 bits"),
    ],
)
def test_numbers_that_would_not_be_exact_are_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(EngineError, match=said):
        a_stage(**changes).require_computable()  # type: ignore[arg-type]


def shipped_stage() -> tuple[FirstStage, object]:
    manifest = load_manifest(SHIPPED)
    core = core_of_this_process()
    return take_out(read_network(core, model_bytes(manifest, "int8"), manifest, 1))


@needs_vnni
def test_the_shipped_engines_first_stage_is_onnx_runtimes_bit_by_bit() -> None:
    import onnx
    import onnxruntime

    from station.engines.first_stage.kernel import Kernel, Memory

    manifest = load_manifest(SHIPPED)
    stage, _ = shipped_stage()
    model = onnx.load(str(manifest.files["int8"]))
    pool = next(node.output[0] for node in model.graph.node if node.op_type == "MaxPool")
    head = onnx.ModelProto()
    head.CopyFrom(model)
    del head.graph.output[:]
    head.graph.output.append(onnx.helper.make_tensor_value_info(pool, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(head.SerializeToString(), providers=["CPUExecutionProvider"])
    kernel, memory = Kernel(stage), Memory(stage)
    out = kernel.output(1)[0]
    for patch in (*golden_patches(manifest)[::5, :, :, 0], *pictures(256).values()):
        (values,) = session.run([pool], {"patches": patch[None, :, :, None]})
        kernel.run(np.ascontiguousarray(patch), memory, out)
        np.testing.assert_array_equal(out.transpose(2, 0, 1), np.rint(values[0] / stage.scale))


def test_what_is_left_of_the_network_computes_integers_and_copies_nothing_at_its_start() -> None:
    _, rest = shipped_stage()
    settings = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core_of_this_process().compile_model(rest, "CPU", settings | {"PERF_COUNT": True})
    request = compiled.create_infer_request()
    request.infer([np.zeros(tuple(given.shape), np.uint8) for given in compiled.inputs])
    ran = [item for item in request.profiling_info if item.status.name == "EXECUTED"]
    assert ran[0].node_type == "Convolution"
    kinds = [item.exec_type for item in ran if item.node_type == "Convolution"]
    assert len(kinds) == 18
    assert all(kind.endswith("I8") for kind in kinds)


def test_a_network_that_begins_otherwise_is_left_to_the_other_back_ends(
    tiny_engine_master: Path, tmp_path: Path
) -> None:
    assert (FUSED, "int8") not in runnable(tiny_engine_master)
    if vnni.lanes():
        with pytest.raises(EngineError, match=rf"{FUSED} int8: the network does not begin as the kernel"):
            open_engine(tiny_engine_master, FUSED, "int8", cache=tmp_path)
    open_engine(tiny_engine_master, cache=tmp_path).close()


def _first(model, kind: str):
    return next(node for node in model.graph.node if node.op_type == kind)


def _store(model, name: str, change) -> None:
    from onnx import numpy_helper

    (item,) = [item for item in model.graph.initializer if item.name == name]
    item.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(item).copy()), name))


def _look_aside(model) -> None:
    (pads,) = [one for one in _first(model, "Conv").attribute if one.name == "pads"]
    pads.ints[:] = [4, 4, 0, 0]


def _leak(model) -> None:
    _first(model, "Relu").op_type = "LeakyRelu"


def _darken(model) -> None:
    _store(model, _first(model, "Div").input[1], lambda divisor: divisor * 2)


def _move_zero(model) -> None:
    rounding = [node for node in model.graph.node if node.op_type == "QuantizeLinear"][1]
    _store(model, rounding.input[2], lambda zero: zero + np.uint8(3))


def _move_weights(model) -> None:
    _store(model, _weights(model).input[2], lambda zeros: zeros + np.int8(1))


def _shrink_bias(model) -> None:
    makers = {node.output[0]: node for node in model.graph.node}
    bias = makers[_first(model, "Conv").input[2]]
    _store(model, bias.input[1], lambda scales: scales * 2)


def _weights(model):
    makers = {node.output[0]: node for node in model.graph.node}
    return makers[_first(model, "Conv").input[1]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_look_aside, "its first convolution is no 5 x 5 over each pixel"),
        (_leak, "where a Relu is wanted"),
        (_darken, "the picture is not rounded to its own 256 grey levels"),
        (_move_zero, "integers from 0 to 255 whose zero is 0"),
        (_move_weights, "the zero of its weights or bias is not 0"),
        (_shrink_bias, "no integers in steps of their products"),
    ],
)
def test_a_first_stage_with_other_numbers_is_refused_by_what_is_different(change, said: str) -> None:
    import onnx

    manifest = load_manifest(SHIPPED)
    model = onnx.load(str(manifest.files["int8"]))
    change(model)
    network = core_of_this_process().read_model(model.SerializeToString())
    with pytest.raises(
        EngineError, match=f"does not begin as the kernel of the first stage needs it.*{said}"
    ):
        take_out(network)


@needs_vnni
def test_it_gives_the_scores_of_openvino_for_any_number_of_patches_and_chunks() -> None:
    manifest = load_manifest(SHIPPED)
    golden = golden_patches(manifest)[:7]
    whole = open_engine(SHIPPED, "openvino", "int8", threads=1, chunk=1)
    expected = whole.scores(golden)
    whole.close()
    for chunk, threads in ((1, 2), (4, 1)):
        engine = fused_engine.load(manifest, "int8", EngineOptions(threads=threads, chunk=chunk))
        for count in (1, 7):
            found = engine.scores(golden[:count])
            np.testing.assert_allclose(found.probabilities, expected.probabilities[:count], atol=1e-3)
            np.testing.assert_allclose(found.novelty, expected.novelty[:count], atol=1e-3)
        assert (engine.info.backend, engine.info.digest) == (FUSED, manifest.digests["int8"])
        engine.close()
        with pytest.raises(EngineError, match="is closed"):
            engine.scores(golden)


@pytest.mark.parametrize("why", ["processor", "numba"])
def test_without_the_instructions_it_is_absent_by_name_and_another_back_end_serves(
    why: str, monkeypatch: pytest.MonkeyPatch, tiny_engine_master: Path, tmp_path: Path
) -> None:
    if why == "processor":
        monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", lambda: {"avx2": True})
        said = "this processor has no VNNI"
    else:
        monkeypatch.setattr("numba.config.CPU_NAME", "generic")
        said = "NUMBA_CPU_NAME is set"
    (status,) = [status for status in available() if status.name == FUSED]
    assert not status.present
    assert said in status.reason
    assert FUSED not in {name for name, _ in runnable(SHIPPED)}
    with pytest.raises(EngineError, match=f"back end {FUSED} is not present: {said}"):
        open_engine(SHIPPED, FUSED, "int8", cache=tmp_path)
    with pytest.raises(EngineError, match=f"{FUSED}: {said}"):
        fused_engine.load(load_manifest(SHIPPED), "int8", EngineOptions())
    open_engine(tiny_engine_master, cache=tmp_path).close()


@needs_vnni
def test_it_is_measured_beside_the_others_and_only_int8_is_offered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="station.engines")
    engine, choice = open_chosen(SHIPPED, FUSED, "auto", EngineOptions(cache=tmp_path))
    engine.close()
    assert (choice.backend, choice.precision, choice.measured_now) == (FUSED, "int8", True)
    assert f"chose {FUSED} int8" in caplog.text
    with pytest.raises(EngineError, match=f"{FUSED} computes int8, not fp32"):
        open_engine(SHIPPED, FUSED, "fp32", cache=tmp_path)
