"""Switches off what libraries send to their makers: nothing leaves that the configuration does not name.

It must happen before the libraries are imported, so every package of ours that may import one does it first,
in its ``__init__``. What was looked at, and how, stands in docs/privacy.md.
"""

from __future__ import annotations

import os
import sys

SWITCHES = {
    # Without it, importing onnxruntime writes a device id below ~/.cache/Microsoft, and a session keeps a
    # queue of events there and looks up the collector; disable_telemetry_events() comes too late for both.
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",  # timm brings huggingface_hub: weights come from a path, never from the hub
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "DO_NOT_TRACK": "1",
}
"""Environment variables; child processes inherit them."""
REFUSED = ("openvino_telemetry",)
"""Packages that only send. OpenVINO does without this one; with it, ``import openvino`` writes an id below
~/intel and looks up an analytics host. Its other switch, ``CI=true``, would change what test tools do."""


def switch_off() -> None:
    """Switch everything off in this process and in those that it starts."""
    os.environ.update(SWITCHES)
    for name in REFUSED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None: importing it raises ImportError
