"""The afternoon's rival judges the same parts, and the processor's limit is what the paths are held to."""

from pathlib import Path

import numpy as np
import pytest

from simulation.rendering.parts import render_part
from station.bench.afternoon import Afternoon, afternoon
from station.bench.ceiling import Limit, chain, macs_of, macs_per_patch
from station.bench.verdicts import Contender, run
from station.engines.backends.openvino_engine import core_of_this_process
from station.engines.folder import load_manifest
from station.engines.interface import EngineError
from station.patching import cut
from station.recipe import Recipe, load_recipe

ROOT = Path(__file__).parents[3]
ENGINE = ROOT / "engines" / "servo-motor-housing"


@pytest.fixture(scope="module")
def housing() -> Recipe:
    return load_recipe(ROOT / "recipes" / "servo-motor-housing.yaml")


@pytest.fixture(scope="module")
def rival(housing: Recipe) -> Afternoon:
    return Afternoon(ENGINE, housing, 1)


def test_the_rival_cuts_nearly_the_same_patches_as_the_station(rival: Afternoon, housing: Recipe) -> None:
    frame = render_part(31, width=935).frame()
    found, ours = rival.patches(frame), cut(frame, housing).pixels
    assert found.shape == ours.shape
    assert np.abs(found.astype(int) - ours.astype(int)).mean() < 4


def test_the_rival_names_the_class_of_good_and_defective_parts(rival: Afternoon) -> None:
    for kind in ("defect-free", "scratches"):
        frame = render_part(77, kind=kind, level=None if kind == "defect-free" else "obvious").frame()
        assert rival.judge(frame) == kind
        assert rival.pace([frame], 0.01) > 0


def test_the_rival_says_what_it_cannot_judge(
    tiny_engine: Path, tiny_recipe: Recipe, housing: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EngineError, match="dark background"):
        afternoon(tiny_engine, tiny_recipe, 1)
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(EngineError, match="needs OpenVINO"):
        afternoon(ENGINE, housing, 1)


def test_rounds_of_all_contenders_are_interleaved_and_the_limit_is_measured_before_each() -> None:
    order: list[str] = []

    def contender(name: str) -> Contender:
        def judge(frame: np.ndarray) -> str:
            order.append(name)
            return "good"

        return Contender(name, judge, lambda frames, seconds: 7.0)

    one, other = run(
        [contender("a"), contender("b")],
        [np.zeros((2, 2), np.uint8)],
        rounds=3,
        seconds=0.0,
        before_round=lambda: order.append("limit"),
    )
    assert order == ["a", "b", *["limit", "a", "b"] * 3]
    assert one.paces == other.paces == (7.0, 7.0, 7.0)


def test_multiplications_are_counted_as_the_paper_counts_them() -> None:
    assert macs_per_patch(load_manifest(ENGINE)) == pytest.approx(1.4635e9, rel=1e-3)
    assert macs_of(chain(16, 8, 3)) % (16 * 16 * 9 * 64) == 0


def test_every_layer_of_the_limit_runs_on_integers() -> None:
    compiled = core_of_this_process().compile_model(chain(32, 8, 3), "CPU", {"PERF_COUNT": True})
    request = compiled.create_infer_request()
    request.infer({0: np.zeros((1, 32, 8, 8), np.float32)})
    kinds = [item.exec_type for item in request.profiling_info if item.node_type == "Convolution"]
    assert kinds
    assert all(kind.endswith("I8") for kind in kinds)


def test_the_limit_is_measured_and_a_share_of_it_named() -> None:
    limit = Limit(ENGINE, 1)
    assert limit.share(10) == "not run"
    limit.measure()
    assert limit.found[0] > 1
    assert limit.share(limit.found[0] / 1.4635 / 2) == "50%"
    assert "multiply-accumulates per second" in limit.said()


def test_without_openvino_the_limit_says_that_it_was_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    limit = Limit(ENGINE, 1)
    limit.measure()
    assert "not run" in limit.said()
    assert limit.share(10) == "not run"
