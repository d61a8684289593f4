"""A real TensorRT reads what is shipped: it parses every graph and builds its plan, which needs no GPU."""

import subprocess
import sys
from pathlib import Path

import pytest

from station.engines.folder import load_manifest

ENGINES = sorted((Path(__file__).parents[2] / "engines").iterdir())

READ = """
import sys
from pathlib import Path

import numpy as np
import tensorrt_rtx

from deploy.quantise import quantised
from station.engines.backends.tensorrt_engine import build_plan
from station.engines.folder import load_manifest, read_golden
from station.engines.interface import EngineError

manifest = load_manifest(Path(sys.argv[1]))
shape = (manifest.patch_px, manifest.patch_px, manifest.channels)
patches = np.concatenate([read_golden(manifest, part)[:1] for part in manifest.golden[::3]])
contents = {variant: path.read_bytes() for variant, path in manifest.files.items()}
contents["signed"] = quantised(manifest.files["fp32"], patches, signed=True).SerializeToString()
for name, content in contents.items():
    try:
        print(name, "built" if len(build_plan(tensorrt_rtx, content, shape)) > 1_000_000 else "is empty")
    except EngineError as refusal:
        print(name, "refused:", str(refusal).replace(chr(10), " "))
"""
"""Run in a process of its own: the library writes to stderr, and speaks of the driver that is not there."""


@pytest.mark.skipif(sys.platform != "linux", reason="TensorRT for RTX is tested on Linux alone")
@pytest.mark.parametrize("engine", ENGINES, ids=lambda folder: folder.name)
def test_every_shipped_graph_is_parsed_and_built_and_int8_in_its_signed_form(engine: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="pip install 'inspection-station[tensorrt-rtx]' (x86-64)")
    done = subprocess.run([sys.executable, "-c", READ, str(engine)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert said["fp32"] == said["signed"] == "built"
    if "int8" in load_manifest(engine).files:  # of a processor: its biases are 32-bit integers
        assert "input has type Int32" in said["int8"]
        assert "its INT8 is the file int8-signed" in said["int8"]
