"""A training shared by two processes, as `torchrun` starts them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from retraining.runs.distributed import World, gather_rows

_SCRIPT = """
import json, os, sys
from pathlib import Path
import numpy as np, torch
torch.set_num_threads(1)
from retraining.classifiers.augmentation import PLAIN
from retraining.classifiers.loop import TrainingPlan, train
from retraining.data.dataset import PictureSet
from retraining.data.source import PictureSource

rng = np.random.default_rng(0)
labels = np.arange(24) % 2
pixels = rng.integers(0, 100, (24, 32, 32, 1)) + 100 * labels[:, None, None, None]
names = tuple(map(str, range(24)))
source = PictureSource(PictureSet(pixels.astype(np.uint8), labels, ("good", "bad"), names, names), sound=0)
plan = TrainingPlan(
    network="simple-fcn", steps=6, batch=8, precision="fp32", checkpoint_every=1, replay_share=0.5,
    device="cpu", seed=4, validate_every=3,
)
drawn = []
cut = source.cut
source.cut = lambda windows: drawn.append(windows[:, 0].tolist()) or cut(windows)
class Ended(Exception): pass
def stop(step, line):
    if step == 3:
        raise Ended
whole, parts = (Path(sys.argv[1]) / name for name in ("whole", "parts"))
train(plan, source, whole)
(whole / f"drawn-{os.environ['RANK']}.json").write_text(json.dumps(drawn))
try:
    train(plan, source, parts, report=stop)
except Ended:
    pass
train(plan, source, parts)
"""


def together(script: Path, *words: object) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run(
        [*command, str(script), *map(str, words)],
        check=True,
        capture_output=True,
        timeout=200,
        env=surroundings,
    )


def test_two_processes_share_a_batch_and_go_on_exactly_after_a_stop(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    together(script, tmp_path)
    whole, parts = (
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("whole", "parts")
    )
    assert all(torch.equal(value, parts["network"][key]) for key, value in whole["network"].items())
    assert torch.equal(whole["replay"], parts["replay"])
    drawn = [json.loads((tmp_path / "whole" / f"drawn-{rank}.json").read_text()) for rank in (0, 1)]
    assert [len(step) for own in drawn for step in own] == [4] * 12, "each takes half of the batch"
    assert all(first != second for first, second in zip(*drawn, strict=True)), "and a half of its own"
    rows = (tmp_path / "parts" / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "1", "2", "3", "4", "5", "6"]
    assert not (tmp_path / "whole" / "checkpoint.part").exists()


def test_alone_nothing_is_gathered() -> None:
    rows = np.arange(8).reshape(2, 4)
    assert gather_rows(rows, World(), torch.device("cpu")) is rows
