"""The TensorRT back end against a stand-in for its SDK: plan building and caching, memory, deadlines.

The stand-in has the documented calls of TensorRT and cuda-python and computes with ONNX Runtime; the calls
that build a plan are made to a real TensorRT in tests/deploy/test_tensorrt_reads.py. Whether a plan gives the
right scores, `station engines backends --prove --backend tensorrt` finds out on a device.
"""

import ctypes
import enum
import logging
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from station.engines import available, open_engine
from station.engines.backends.tensorrt_engine import plan_path
from station.engines.folder import load_manifest
from station.engines.interface import EngineDeadlineError, EngineError
from station.engines.prove import prove


class _Sdk:
    """What the stand-in remembers and what a test may ask it to do."""

    def __init__(self) -> None:
        self.builds: list[dict] = []
        self.unfinished_queries = 0
        self.live: dict[int, object] = {}


class _Error(enum.IntEnum):
    cudaSuccess = 0  # noqa: N815
    cudaErrorNotReady = 600  # noqa: N815


def _fake_cuda(sdk: _Sdk) -> types.SimpleNamespace:
    def allocate(size: int) -> tuple[_Error, int]:
        memory = (ctypes.c_uint8 * size)()
        sdk.live[ctypes.addressof(memory)] = memory
        return _Error.cudaSuccess, ctypes.addressof(memory)

    def free(address: int) -> tuple[_Error]:
        del sdk.live[address]
        return (_Error.cudaSuccess,)

    def copy(target: int, source: int, size: int, kind: str, stream: int) -> tuple[_Error]:
        ctypes.memmove(target, source, size)
        return (_Error.cudaSuccess,)

    def query(stream: int) -> tuple[_Error]:
        if sdk.unfinished_queries:
            sdk.unfinished_queries -= 1
            return (_Error.cudaErrorNotReady,)
        return (_Error.cudaSuccess,)

    return types.SimpleNamespace(
        cudaError_t=_Error,
        cudaMemcpyKind=types.SimpleNamespace(cudaMemcpyHostToDevice="in", cudaMemcpyDeviceToHost="out"),
        cudaMalloc=allocate,
        cudaMallocHost=allocate,
        cudaFree=free,
        cudaFreeHost=free,
        cudaMemcpyAsync=copy,
        cudaStreamCreate=lambda: (_Error.cudaSuccess, 7),
        cudaStreamDestroy=lambda stream: (_Error.cudaSuccess,),
        cudaStreamSynchronize=lambda stream: (_Error.cudaSuccess,),
        cudaStreamQuery=query,
        cudaGetDeviceProperties=lambda device: (
            _Error.cudaSuccess,
            types.SimpleNamespace(name=b"Stand-in", major=9, minor=0),
        ),
    )


def _fake_tensorrt(sdk: _Sdk) -> types.ModuleType:
    trt = types.ModuleType("tensorrt")
    trt.__version__ = "10.9.0.34"

    class Logger:
        WARNING = 2

        def __init__(self, level: int) -> None: ...

    class Context:
        def __init__(self, content: bytes) -> None:
            self._session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
            self._addresses: dict[str, int] = {}
            self._shape: tuple[int, ...] = ()

        def set_tensor_address(self, name: str, address: int) -> bool:
            self._addresses[name] = address
            return True

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            self._shape = tuple(shape)
            return shape[0] <= 64

        def execute_async_v3(self, stream: int) -> bool:
            size = int(np.prod(self._shape))
            memory = (ctypes.c_uint8 * size).from_address(self._addresses["patches"])
            patches = np.ctypeslib.as_array(memory).reshape(self._shape)
            for output in self._session.get_outputs():
                (values,) = self._session.run([output.name], {"patches": patches})
                ctypes.memmove(self._addresses[output.name], values.ctypes.data, values.nbytes)
            return True

    class Runtime:
        def __init__(self, logger: Logger) -> None: ...

        def deserialize_cuda_engine(self, plan: bytes) -> object | None:
            if not plan.startswith(b"PLAN"):
                return None
            return types.SimpleNamespace(create_execution_context=lambda: Context(plan[4:]))

    class Config:
        def add_optimization_profile(self, profile: object) -> None:
            self.profile = profile

    class Profile:
        def set_shape(self, name: str, least: tuple, usual: tuple, most: tuple) -> None:
            self.shapes = (name, least, usual, most)

    class Builder:
        def __init__(self, logger: Logger) -> None: ...

        def create_network(self, flags: int) -> dict:
            return {"strongly typed": flags == 1 << 3}

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: dict, config: Config) -> bytes:
            sdk.builds.append({"shapes": config.profile.shapes, **network})
            return b"PLAN" + network["content"]

    class OnnxParser:
        num_errors = 1

        def __init__(self, network: dict, logger: Logger) -> None:
            self._network = network

        def parse(self, content: bytes) -> bool:
            self._network["content"] = content
            return True

        def get_error(self, index: int) -> str:
            return "no error"

    trt.Logger, trt.Runtime, trt.Builder, trt.OnnxParser = Logger, Runtime, Builder, OnnxParser
    trt.NetworkDefinitionCreationFlag = types.SimpleNamespace(STRONGLY_TYPED=3)
    return trt


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> _Sdk:
    sdk = _Sdk()
    bindings = types.ModuleType("cuda.bindings")
    bindings.runtime = _fake_cuda(sdk)
    monkeypatch.setitem(sys.modules, "cuda", types.ModuleType("cuda"))
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    monkeypatch.setitem(sys.modules, "tensorrt", _fake_tensorrt(sdk))
    return sdk


@pytest.mark.parametrize(("precision", "file"), [("fp32", "model.onnx"), ("int8", "model.int8-signed.onnx")])
def test_each_precision_is_a_file_of_its_own_strongly_typed_and_proves_itself(
    sdk: _Sdk, tiny_engine_master: Path, tiny_patches: np.ndarray, tmp_path: Path, precision: str, file: str
) -> None:
    engine = open_engine(tiny_engine_master, "tensorrt", precision, cache=tmp_path)
    assert sdk.builds[0]["strongly typed"]
    assert sdk.builds[0]["content"] == (tiny_engine_master / file).read_bytes()
    assert sdk.builds[0]["shapes"] == ("patches", (1, 16, 16, 1), (16, 16, 16, 1), (64, 16, 16, 1))
    assert engine.info.device == "Stand-in sm_90"
    for count in (1, 5, 64, 65, 96):
        assert engine.probabilities(tiny_patches[:count]).shape == (count, 3)
    engine.close()
    engine.close()
    assert not sdk.live


def test_a_plan_is_built_once_and_read_afterwards(
    sdk: _Sdk, tiny_engine_master: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        open_engine(tiny_engine_master, "tensorrt", "fp32", cache=tmp_path).close()
    assert len(sdk.builds) == 1
    open_engine(tiny_engine_master, "tensorrt", "int8", cache=tmp_path).close()
    assert len(sdk.builds) == 2


def test_a_plan_that_cannot_be_read_is_built_anew_and_said(
    sdk: _Sdk, tiny_engine_master: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_engine(tiny_engine_master, "tensorrt", "fp32", cache=tmp_path).close()
    (plan,) = (tmp_path / "tensorrt").glob("*.plan")
    plan.write_bytes(b"from another GPU")
    caplog.set_level(logging.WARNING)
    open_engine(tiny_engine_master, "tensorrt", "fp32", cache=tmp_path).close()
    assert len(sdk.builds) == 2
    assert "cannot be read by this TensorRT" in caplog.text
    assert plan.read_bytes().startswith(b"PLAN")


def _forged(model: Path) -> bytes:
    """The plan of a network that takes everything bright for good."""
    import onnx

    forged = onnx.load(str(model))
    bias = next(tensor for tensor in forged.graph.initializer if tensor.name == "head.b")
    bias.raw_data = np.array([0, -60, 18], np.float32).tobytes()
    return b"PLAN" + forged.SerializeToString()


@pytest.mark.parametrize("remembered", [True, False])
def test_a_forged_plan_is_no_authority_it_is_built_again(
    sdk: _Sdk, tiny_engine_master: Path, tmp_path: Path, remembered: bool
) -> None:
    open_engine(tiny_engine_master, "tensorrt", "fp32", cache=tmp_path).close()
    (plan,) = (tmp_path / "tensorrt").glob("*.plan")
    plan.write_bytes(_forged(tiny_engine_master / "model.onnx"))
    if not remembered:
        shutil.rmtree(tmp_path / "choices")
    engine = open_engine(tiny_engine_master, "tensorrt", "fp32", cache=tmp_path)
    assert prove(engine, load_manifest(tiny_engine_master)).passed
    assert len(sdk.builds) > 1
    assert plan.read_bytes() != _forged(tiny_engine_master / "model.onnx")


def test_a_plan_in_a_folder_that_others_may_write_to_is_not_read(
    sdk: _Sdk, tiny_engine_master: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_engine(tiny_engine_master, "tensorrt", "fp32", cache=tmp_path).close()
    (tmp_path / "tensorrt").chmod(0o777)
    open_engine(tiny_engine_master, "tensorrt", "fp32", cache=tmp_path).close()
    assert len(sdk.builds) == 2
    assert "others may write to it" in caplog.text


def test_a_late_gpu_is_a_missed_deadline_and_a_hung_one_breaks_the_engine(
    sdk: _Sdk, tiny_engine_master: Path, tiny_patches: np.ndarray, tmp_path: Path
) -> None:
    engine = open_engine(tiny_engine_master, "tensorrt", "fp32", cache=tmp_path)
    sdk.unfinished_queries = 200
    with pytest.raises(EngineDeadlineError, match="did not score"):
        engine.probabilities(tiny_patches[:4], timeout_s=0.001)
    sdk.unfinished_queries = 0
    assert engine.probabilities(tiny_patches[:4], timeout_s=5).shape == (4, 3)
    sdk.unfinished_queries = sys.maxsize
    with pytest.raises(EngineDeadlineError):
        engine.probabilities(tiny_patches[:4], timeout_s=0.001)
    with pytest.raises(EngineError, match="hangs since a missed deadline; restart the station"):
        engine.probabilities(tiny_patches[:4])


@pytest.mark.parametrize("version", ["10.9.0.34", "11.4.0.5"])
def test_tensorrt_10_and_11_are_used_alike(
    sdk: _Sdk, tiny_engine_master: Path, tmp_path: Path, version: str
) -> None:
    sys.modules["tensorrt"].__version__ = version
    open_engine(tiny_engine_master, "tensorrt", "int8", cache=tmp_path).close()
    (status,) = [status for status in available() if status.name == "tensorrt"]
    assert (status.present, status.version) == (True, version)


def test_tensorrt_for_rtx_is_used_where_there_is_no_other(
    sdk: _Sdk, tiny_engine_master: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rtx = _fake_tensorrt(sdk)
    rtx.__name__, rtx.__version__ = "tensorrt_rtx", "1.7.1.116"
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", rtx)
    open_engine(tiny_engine_master, "tensorrt", "fp32", cache=tmp_path).close()
    (status,) = [status for status in available() if status.name == "tensorrt"]
    assert status.version == "RTX 1.7.1.116"


def test_a_tensorrt_before_10_is_refused_with_the_version_to_install(sdk: _Sdk) -> None:
    sys.modules["tensorrt"].__version__ = "8.6.1"
    (status,) = [status for status in available() if status.name == "tensorrt"]
    assert not status.present
    assert "pip install 'tensorrt>=10'" in status.reason


def test_a_plan_is_kept_apart_by_gpu_version_network_and_precision(tmp_path: Path) -> None:
    facts = ["Orin sm_87", "10.3.0", "a" * 64, "int8"]
    first = plan_path(tmp_path, *facts)
    others = {plan_path(tmp_path, *facts[:i], facts[i] + "x", *facts[i + 1 :]) for i in range(4)}
    assert len(others | {first}) == 5
    assert first == plan_path(tmp_path, *facts)
