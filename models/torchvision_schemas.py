"""Lets torchvision be imported beside a torch for which its compiled operators were not built.

torchvision's wheel for CUDA does not load its library beside a CPU torch, and then fails on import with
"operator torchvision::nms does not exist". Only the operators' schemas are missing for what we use of it, so
they are declared here; their kernels still do not exist, and calling one fails as it should.
"""

from __future__ import annotations

import importlib
import sys

import torch

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declared: list[torch.library.Library] = []
"""Kept for the process's life: a schema ends with its library object."""


def define_missing_operators() -> None:
    """Import torchvision, declaring the operators it misses where it does not import by itself.

    To be called before anything that imports torchvision (timm, torchmetrics, lpips). Raises
    ``ImportError`` when torchvision is not installed.
    """
    if "torchvision" in sys.modules:
        return
    try:
        importlib.import_module("torchvision")
        return
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)  # type: ignore[no-untyped-call]
    _declared.append(library)
    importlib.import_module("torchvision")
