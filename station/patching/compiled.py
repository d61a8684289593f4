"""Numba's compiler with this project's options, typed at its edge.

Kernels are compiled for fixed argument types when their module is imported, and kept on disk: the first
start takes seconds, later ones milliseconds. They release the GIL.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numba.extending

Function = TypeVar("Function", bound=Callable[..., Any])

_numba: Any = numba
types: Any = numba.types
"""Numba's type names, for signatures."""

logger = logging.getLogger(__name__)


def grey(dimensions: int) -> Any:
    """The type of a C-contiguous uint8 array that is only read; writeable ones are taken too."""
    return types.Array(types.uint8, dimensions, "C", readonly=True)


def compiled(*signature: Any, fastmath: bool = False) -> Callable[[Function], Function]:
    """Compile for one signature: the return type, then the argument types."""
    declared = signature[0](*signature[1:])

    def compile_function(function: Function) -> Function:
        options = {"nogil": True, "fastmath": fastmath, "error_model": "numpy"}
        try:
            kernel: Function = _numba.njit(declared, cache=True, **options)(function)
        except RuntimeError as problem:
            if "cannot cache" not in str(problem):
                raise
            logger.warning(
                "the compiled %s cannot be written to disk, so every start compiles it again; "
                "set NUMBA_CACHE_DIR to a folder that can be written",
                function.__name__,
            )
            kernel = _numba.njit(declared, **options)(function)
        return kernel

    return compile_function


def inlined(function: Function) -> Function:
    """Compile as a part of the kernels that call it."""
    kernel: Function = _numba.njit(inline="always")(function)
    return kernel


def intrinsic(function: Callable[..., Any]) -> Any:
    """A function that writes its own LLVM instructions; kernels call it without its first argument."""
    made: Any = numba.extending.intrinsic
    return made(function)
