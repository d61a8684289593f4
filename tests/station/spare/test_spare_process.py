"""A network in a process of its own: the same scores, and the station only hears of what happens to it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from station.decision import decide
from station.engines import open_engine
from station.engines.backends.checked import outputs
from station.engines.interface import EngineDeadlineError, EngineError
from station.recipe import Recipe
from station.spare.engine import ProcessLostError, open_judging
from station.spare.jobs import JudgingEngine
from station.spare.patience import Limits
from tests.conftest import TINY_RECIPE
from tests.waiting import wait_for

AT_ONCE = Limits(gives_way=False)
ROOT = Path(__file__).parents[3]


def children(parent: int) -> list[int]:
    """The processes of this parent that have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, ppid = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if int(ppid) == parent and state != "Z":
                found.append(int(entry.name))
    return found


def is_gone(process: int) -> bool:
    """Whether it has ended, also where nobody has asked for its exit code yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def own_processes() -> set[str]:
    """The processes that this one has begun, those that nobody has waited for among them."""
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has just ended
            found |= set((task / "children").read_text().split())
    return found


@pytest.fixture(autouse=True)
def _leaves_no_process() -> Iterator[None]:
    before = own_processes()
    yield
    assert own_processes() <= before


def job(folder: Path, recipe: Recipe) -> JudgingEngine:
    return JudgingEngine.of(folder, folder.name, recipe, "onnxruntime-cpu", "fp32", None)


@pytest.fixture
def patches(tiny_patches: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return tiny_patches[:8]


@pytest.fixture
def liar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("station.spare.engine.PROCESS", "tests.station.spare.liar")


def test_its_scores_and_verdicts_are_those_of_the_same_engine_here_bit_by_bit(
    tiny_engine: Path, tiny_recipe: Recipe, patches: NDArray[np.uint8], caplog: pytest.LogCaptureFixture
) -> None:
    here = open_engine(tiny_engine, "onnxruntime-cpu", "fp32", threads=1, recipe=tiny_recipe)
    beats: list[int] = []
    with caplog.at_level(logging.INFO):
        engine, recipe = open_judging(job(tiny_engine, tiny_recipe), lambda: beats.append(1), AT_ONCE)
    assert recipe == tiny_recipe
    assert replace(engine.info, load_ms=0) == replace(here.info, load_ms=0)
    for some in (patches, patches[:1], np.concatenate([patches] * 8)):
        said, own = engine.scores(some), [here.scores(some[at : at + 1]) for at in range(len(some))]
        for name in outputs(here.info):
            assert np.array_equal(getattr(said, name), np.concatenate([getattr(one, name) for one in own]))
    assert decide(engine.scores(patches).probabilities, recipe) == decide(
        here.scores(patches).probabilities, tiny_recipe
    )
    assert len(beats) > 3, "whoever waits gives signs of life"
    lines = [one for one in caplog.records if "all golden parts reproduced" in one.getMessage()]
    assert [one.levelno for one in lines] == [logging.INFO]
    assert "engine tiny in spare time: station.engines.choose:" in lines[0].getMessage()
    here.close()

    for signal_to_all in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(engine.process_id, signal_to_all)  # as systemd and a terminal send them to a whole service
    assert len(engine.scores(patches).probabilities) == 8
    os.kill(engine.process_id, signal.SIGKILL)
    with pytest.raises(ProcessLostError, match=r"engine tiny in spare time was ended by SIGKILL .*memory"):
        engine.scores(patches)
    with pytest.raises(ProcessLostError, match="was ended"):
        engine.scores(patches)
    engine.close()


def test_an_engine_that_does_not_prove_itself_is_refused_in_its_own_words(
    tiny_engine: Path, tiny_recipe: Recipe
) -> None:
    (tiny_engine / "model.onnx").write_bytes(b"changed")
    with pytest.raises(EngineError, match=r"engine\.yaml.*files\.fp32") as refused:
        open_judging(job(tiny_engine, tiny_recipe), limits=AT_ONCE)
    assert not isinstance(refused.value, ProcessLostError), "another process would not do better"


@pytest.mark.usefixtures("liar")
@pytest.mark.parametrize(
    ("deadline_s", "lost", "said"),
    [
        (None, ProcessLostError, r"used no processor time for 0\.5 s"),
        (0.3, EngineDeadlineError, "did not answer in time"),
    ],
)
def test_a_stopped_process_is_lost_when_it_uses_no_processor_time_and_a_deadline_ends_the_wait(
    deadline_s: float | None,
    lost: type[EngineError],
    said: str,
    tiny_engine: Path,
    tiny_recipe: Recipe,
    patches: NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LIAR", "works once")
    engine, _ = open_judging(job(tiny_engine, tiny_recipe), limits=replace(AT_ONCE, silent_s=0.5))
    assert len(engine.scores(patches).probabilities) == 8
    os.kill(engine.process_id, signal.SIGSTOP)
    begun = time.monotonic()
    with pytest.raises(lost, match=said):
        engine.scores(patches, deadline_s)
    assert time.monotonic() - begun < 5.0


def test_a_process_that_comes_to_no_end_is_ended_by_the_processor_time_it_has_used(
    tiny_engine: Path, tiny_recipe: Recipe
) -> None:
    with pytest.raises(ProcessLostError, match=r"came to no end within 0\.1 s of processor time"):
        open_judging(job(tiny_engine, tiny_recipe), limits=replace(AT_ONCE, opening_s=0.1))


@pytest.mark.usefixtures("liar")
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("exits", "ended with exit code 3"),
        ("short", "says 61 62 63, which is no answer"),
        ("unknown kind", "which is no answer"),
        ("endless text", "a text of 1125899906842624 bytes"),
        ("no json", "does not say what it has opened"),
        ("wrong types", "patch_px"),
        ("huge patches", "patches of 1099511627776 px"),
        ("other classes", "other classes than the engine's"),
        ("floods the log", "writes more than 500000 bytes into the log"),
        ("deaf", "used no processor time"),
        ("answers twice", "answers question 1 when it is asked question 2"),
        ("not a number", "gives no scores: liar fp32 gave scores that are not probabilities"),
        ("no probabilities", "gave scores that are not probabilities"),
        ("too many", "answers SCORED 5 to 4 patches"),
    ],
)
def test_a_process_that_says_nonsense_is_ended(
    how: str, said: str, tiny_engine: Path, tiny_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIAR", how)
    limits = replace(AT_ONCE, silent_s=0.5 if how == "deaf" else 30.0)

    def opens_and_scores() -> None:
        engine, _ = open_judging(job(tiny_engine, tiny_recipe), limits=limits)
        engine.scores(np.zeros((4, 16, 16, 1), np.uint8))

    with pytest.raises(ProcessLostError) as lost:
        opens_and_scores()
    assert said in str(lost.value)


@pytest.mark.usefixtures("liar")
def test_memory_that_the_station_reads_cannot_be_cut_off(
    tiny_engine: Path, tiny_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIAR", "cuts the memory off")
    with pytest.raises(EngineError, match=r"refused: .*not permitted"):
        open_judging(job(tiny_engine, tiny_recipe), limits=AT_ONCE)


def test_it_gives_way_with_all_its_threads_and_no_thread_of_the_station_does(
    tiny_engine: Path, tiny_recipe: Recipe
) -> None:
    failed: list[BaseException] = []

    def opens() -> None:
        try:
            open_judging(job(tiny_engine, tiny_recipe))
        except ProcessLostError as error:
            failed.append(error)

    before = set(children(os.getpid()))
    thread = threading.Thread(target=opens)
    thread.start()

    def found() -> int:
        new = set(children(os.getpid())) - before
        return next((one for one in new if os.sched_getscheduler(one) == os.SCHED_IDLE), 0)

    wait_for(found)
    process = found()
    wait_for(lambda: Path(f"/proc/{process}/oom_score_adj").read_text().strip() == "1000")
    tasks = [int(one) for one in os.listdir(f"/proc/{process}/task")]
    assert {os.sched_getscheduler(one) for one in tasks} == {os.SCHED_IDLE}
    own = [int(one) for one in os.listdir("/proc/self/task")]
    assert os.SCHED_IDLE not in {os.sched_getscheduler(one) for one in own}
    os.kill(process, signal.SIGKILL)
    thread.join()
    assert "SIGKILL" in str(failed[0])


STATION = """
import sys, time
from pathlib import Path
import station.spare.engine
from station.recipe import load_recipe
from station.spare.engine import open_judging
from station.spare.jobs import JudgingEngine
from station.spare.patience import Limits

station.spare.engine.PROCESS = "tests.station.spare.liar"
folder, recipe = Path(sys.argv[1]), load_recipe(Path(sys.argv[2]))
job = JudgingEngine.of(folder, folder.name, recipe, "onnxruntime-cpu", "fp32", None)
print(open_judging(job, limits=Limits(gives_way=False))[0].process_id, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("is_stopped", [False, True], ids=["at work", "stopped"])
def test_it_ends_with_a_station_that_is_killed(
    is_stopped: bool, tiny_engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIAR", "works once")
    (tmp_path / "tiny.yaml").write_text(TINY_RECIPE)
    command = [sys.executable, "-c", STATION, str(tiny_engine), str(tmp_path / "tiny.yaml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as station:
        assert station.stdout is not None
        process = int(station.stdout.readline())
        assert not is_gone(process)
        if is_stopped:
            os.kill(process, signal.SIGSTOP)
        station.kill()
    wait_for(lambda: is_gone(process))
