"""OpenVINO with faults: the library that computes the network, in a station that knows nothing of it.

Python runs this file by itself when its folder is in PYTHONPATH. While the switchboard says so, an inference
throws (``engine-throws``), never ends (``engine-hangs``), gives no numbers (``engine-nan``), or says that
every patch is of the first class (``engine-says-good``).
"""

import importlib.abc
import importlib.machinery
import os
import sys
import time
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np


def _on() -> set[str]:
    try:
        with open(os.environ["FAULT_SWITCHES"], encoding="ascii") as file:
            return {line.split()[0] for line in file if line.strip()}
    except (KeyError, OSError):
        return set()


class _Request:
    """An inference request that the switchboard reaches."""

    def __init__(self, request: Any) -> None:
        self._request = request

    def start_async(self, *args: Any, **kwargs: Any) -> None:
        if "engine-throws" in _on():
            raise RuntimeError("simulated: the library failed")
        self._request.start_async(*args, **kwargs)

    def wait(self) -> None:
        self._hang()
        self._request.wait()

    def wait_for(self, timeout_ms: int) -> bool:
        self._hang()
        return bool(self._request.wait_for(timeout_ms))

    def get_tensor(self, output: Any) -> Any:
        on = _on()
        tensor = self._request.get_tensor(output)
        if "engine-nan" in on:
            return _Tensor(np.full_like(tensor.data, np.nan))
        if "engine-says-good" in on and "probabilities" in output.names:
            said = np.zeros_like(tensor.data)
            said[:, 0] = 1
            return _Tensor(said)
        return tensor

    def cancel(self) -> None:
        self._request.cancel()

    def _hang(self) -> None:
        while "engine-hangs" in _on():
            time.sleep(0.02)


class _Tensor:
    def __init__(self, data: Any) -> None:
        self.data = data


class _Loader(importlib.abc.Loader):
    """The real loader, and then the request in its place."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        real = module.CompiledModel.create_infer_request
        module.CompiledModel.create_infer_request = lambda compiled: _Request(real(compiled))


class _Finder(importlib.abc.MetaPathFinder):
    """Finds openvino once, by the finders behind this one."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "openvino":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None:
            spec.loader = _Loader(spec.loader)
        return spec


if "FAULT_SWITCHES" in os.environ:
    import importlib.util

    sys.meta_path.insert(0, _Finder())
