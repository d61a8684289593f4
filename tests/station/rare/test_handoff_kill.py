"""The hand-off is whole wherever either side was killed."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from retraining.receiving import receive, received_items
from station.config import load_config
from station.handoff.sender import Sender
from station.handoff.targets import Target
from station.signing import own_key

if TYPE_CHECKING:
    from tests.station.rare.conftest import Bench

ROOT = Path(__file__).parents[3]
SIDE = """
import sys
from pathlib import Path
from retraining.receiving import receive
from station.config import load_config
from station.handoff.sender import Sender
from station.handoff.targets import Target
from station.signing import own_key
folder = Path(sys.argv[1])
target = Target(str(folder / "target"))
config = load_config(folder / "station.yaml")
print("ready", flush=True)
sys.stdin.readline()
if sys.argv[2] == "station":
    Sender(config).round()
else:
    receive(target, folder / "keys", folder / "received", own_key(folder / "workshop.pem"))
"""


def killed(folder: Path, side: str, after_s: float) -> bool:
    """One round of a side, killed after so long; whether it was killed before its end."""
    words = [sys.executable, "-c", SIDE, str(folder), side]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.stdin.write(b"go\n")
        process.stdin.flush()
        time.sleep(after_s)
        ended = process.poll()
        process.kill()
    assert ended in (None, 0)
    return ended is None


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_killed_on_either_side_no_item_is_lost_none_comes_twice_none_goes_without_a_receipt(
    bench: Bench, tmp_path: Path, kills: int
) -> None:
    for name in ("target", "keys", "workshops"):
        (tmp_path / name).mkdir()
    text = (ROOT / "config" / "demo.yaml").read_text().replace("../var", str(tmp_path))
    text += f"\nhandoff:\n  target: {tmp_path}/target\n  workshops: {tmp_path}/workshops\n"
    (tmp_path / "station.yaml").write_text(text.replace("../", f"{ROOT}/"))
    config = load_config(tmp_path / "station.yaml")
    workshop = own_key(tmp_path / "workshop.pem")
    (tmp_path / "workshops" / "w.pub").write_text(workshop.public.pem())
    station = own_key(config.paths.key).public
    (tmp_path / "keys" / "s.pub").write_text(station.pem())
    target = Target(str(tmp_path / "target"))
    target.prepare()
    rng = random.Random(7)
    count = dict.fromkeys(("station", "workshop"), 0)
    tries = 0
    while min(count.values()) < kills:
        tries += 1
        assert tries < 12 * kills, f"killed only {count}"
        log = bench.log(quota_mb=50.0)
        log.observe(bench.part("scratches", p=0.65))
        log.close()
        for side in count:
            count[side] += killed(tmp_path, side, rng.uniform(0.0, 0.04))
        here = {one.item.record_id for one in bench.store.not_handed_over()}
        there = {item.record_id for item, _ in received_items(tmp_path / "received")}
        everything = {one.item.record_id for one in bench.store.entries()}
        assert everything - here <= there, "let go before the workshop had it"
    sender = Sender(config)
    sender.round()
    receive(target, tmp_path / "keys", tmp_path / "received", workshop)
    found = sender.round()
    assert (found.items, found.bundles, found.problem) == (0, (), "")
    arrived = [
        (item.record_id, picture.read_bytes()) for item, picture in received_items(tmp_path / "received")
    ]
    assert sorted(arrived) == sorted(
        (one.item.record_id, one.picture.read_bytes()) for one in bench.store.entries()
    ), "none lost, none changed"
    folders = sorted((tmp_path / "received" / "stations" / station.key_id).iterdir())
    records = [file.stem for folder in folders for file in folder.glob("*.json")]
    assert len(records) == len(set(records)), "none twice"
    assert [int(one.name[:8]) for one in folders] == list(range(1, len(folders) + 1)), "no gap"
