"""The fastest way that is proven is chosen, logged with its time, and remembered."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import yaml

from station.decision import Rules, decide_by
from station.engines import open_engine
from station.engines.choose import open_chosen
from station.engines.folder import load_manifest
from station.engines.interface import EngineError, EngineOptions
from station.engines.prove import golden_patches, prove
from station.engines.timing import benchmark


def _edit(folder: Path, change) -> None:
    path = folder / "engine.yaml"
    document = yaml.safe_load(path.read_text())
    change(document)
    path.write_text(yaml.safe_dump(document, sort_keys=False))


def _record_golden(folder: Path, change) -> None:
    import hashlib

    path = folder / "golden" / "scores.json"
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    _edit(folder, lambda document: document["golden"]["scores"].update(sha256=digest))


def _shift(scores: list[list[float]], by: float) -> list[list[float]]:
    return [[p + by if place == 0 else p for place, p in enumerate(row)] for row in scores]


def test_the_fastest_of_all_measured_ways_is_chosen_and_logged_with_its_time(
    tiny_engine_master: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="station.engines")
    engine, choice = open_chosen(tiny_engine_master, "auto", "auto", EngineOptions(cache=tmp_path))
    engine.close()
    measured = [r.getMessage() for r in caplog.records if ": measured " in r.getMessage()]
    for way in ("openvino int8", "openvino fp32", "onnxruntime-cpu int8", "onnxruntime-cpu fp32"):
        assert any(way in line for line in measured), way
    times = [float(line.split(" ms per part")[0].rpartition(" ")[2]) for line in measured]
    assert choice.measured_now
    assert choice.median_ms == pytest.approx(min(times), abs=0.06)
    chosen = [r.getMessage() for r in caplog.records if ": chose " in r.getMessage()]
    assert len(chosen) == 1
    assert f"{choice.backend} {choice.precision}" in chosen[0]
    assert "all golden parts reproduced" in chosen[0]


def test_the_second_start_measures_nothing_and_proves_a_golden_part(
    tiny_engine_master: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = EngineOptions(cache=tmp_path)
    first, choice = open_chosen(tiny_engine_master, "auto", "auto", options)
    first.close()
    caplog.set_level(logging.INFO, logger="station.engines")
    second, remembered = open_chosen(tiny_engine_master, "auto", "auto", options)
    second.close()
    assert not remembered.measured_now
    assert (remembered.backend, remembered.precision, remembered.chunk) == (
        choice.backend,
        choice.precision,
        choice.chunk,
    )
    lines = [r.getMessage() for r in caplog.records]
    assert any("as measured before" in line for line in lines)
    assert not any("measured openvino" in line for line in lines)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"backend": "openvino"}', '{"backend":"x","precision":"int8","chunk":1,"median_ms":1}'],
)
def test_a_damaged_memory_is_measured_again(tiny_engine_master: Path, tmp_path: Path, content: str) -> None:
    options = EngineOptions(cache=tmp_path)
    open_chosen(tiny_engine_master, "openvino", "fp32", options)[0].close()
    (file,) = (tmp_path / "choices").iterdir()
    file.write_text(content)
    engine, choice = open_chosen(tiny_engine_master, "openvino", "fp32", options)
    engine.close()
    assert choice.measured_now


def test_other_threads_another_engine_or_other_versions_are_measured_anew(
    tiny_engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"

    def measured(threads: int = 2) -> bool:
        options = EngineOptions(threads=threads, cache=cache)
        engine, choice = open_chosen(tiny_engine, "onnxruntime-cpu", "fp32", options)
        engine.close()
        return choice.measured_now

    assert measured()
    assert not measured()
    assert measured(threads=1)
    _edit(tiny_engine, lambda document: document.update(description="another"))
    assert measured()
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "__version__", "99.0")
    assert measured()


def test_a_cache_that_cannot_be_written_is_said_and_the_engine_still_opens(
    tiny_engine_master: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    engine, choice = open_chosen(
        tiny_engine_master, "onnxruntime-cpu", "fp32", EngineOptions(cache=blocked / "cache")
    )
    engine.close()
    assert choice.measured_now
    assert "the next start measures again" in caplog.text


def test_int8_that_fails_its_gate_is_never_chosen_and_refused_when_asked_for(
    tiny_engine: Path, tmp_path: Path
) -> None:
    _edit(tiny_engine, lambda document: document["figures"]["int8"].update(right=900))
    engine = open_engine(tiny_engine, cache=tmp_path / "cache")
    assert engine.info.precision != "int8"
    engine.close()
    with pytest.raises(EngineError, match=r"INT8 loses 9\.50% accuracy"):
        open_engine(tiny_engine, "openvino", "int8", cache=tmp_path / "cache")


def _forge(cache: Path, **claims: object) -> None:
    (file,) = (cache / "choices").iterdir()
    file.write_text(json.dumps(json.loads(file.read_text()) | claims))


def test_a_forged_memory_does_not_bring_int8_past_its_gate(tiny_engine: Path, tmp_path: Path) -> None:
    _edit(tiny_engine, lambda document: document["figures"]["int8"].update(right=900))
    options = EngineOptions(cache=tmp_path / "cache")
    open_chosen(tiny_engine, "auto", "auto", options)[0].close()
    _forge(tmp_path / "cache", backend="onnxruntime-cpu", precision="int8", chunk=0)
    engine, choice = open_chosen(tiny_engine, "auto", "auto", options)
    engine.close()
    assert choice.measured_now
    assert engine.info.precision != "int8"


@pytest.mark.parametrize(
    "claims", [{"backend": "openvino", "chunk": 1}, {"precision": "int8"}, {"chunk": 3}, {"chunk": True}]
)
def test_a_forged_memory_is_not_followed_where_the_configuration_says_otherwise(
    tiny_engine_master: Path, tmp_path: Path, claims: dict
) -> None:
    options = EngineOptions(cache=tmp_path)
    open_chosen(tiny_engine_master, "onnxruntime-cpu", "fp32", options)[0].close()
    _forge(tmp_path, **claims)
    engine, choice = open_chosen(tiny_engine_master, "onnxruntime-cpu", "fp32", options)
    engine.close()
    assert choice.measured_now
    assert (engine.info.backend, engine.info.precision) == ("onnxruntime-cpu", "fp32")


def test_int8_that_judges_a_golden_part_otherwise_than_fp32_is_not_chosen(
    tiny_engine: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def confuse(table: dict) -> None:
        # What fp32 "recorded" for a late golden part is another class than INT8 gives it.
        table["fp32"]["12-dark.png"] = [[0.02, 0.96, 0.02]] * 8

    _record_golden(tiny_engine, confuse)
    with pytest.raises(EngineError, match=r"12-dark\.png: taken for dark, fp32 takes it for bright"):
        open_engine(tiny_engine, "onnxruntime-cpu", "int8", cache=tmp_path / "cache")


def test_an_engine_that_does_not_reproduce_its_golden_parts_does_not_open(
    tiny_engine: Path, tmp_path: Path
) -> None:
    def spoil(table: dict) -> None:
        for precision in table:
            for name in table[precision]:
                table[precision][name] = _shift(table[precision][name], 0.3)

    _record_golden(tiny_engine, spoil)
    for backend, precision in [("auto", "auto"), ("openvino", "fp32"), ("onnxruntime-cpu", "int8")]:
        with pytest.raises(EngineError, match="does not reproduce the golden parts"):
            open_engine(tiny_engine, backend, precision, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.json"))


def test_a_late_golden_part_that_fails_excludes_a_way_although_it_was_the_fastest(
    tiny_engine: Path, tmp_path: Path
) -> None:
    def spoil(table: dict) -> None:
        table["int8"]["11-bright.png"] = _shift(table["int8"]["11-bright.png"], 0.3)

    _record_golden(tiny_engine, spoil)
    engine = open_engine(tiny_engine, cache=tmp_path / "cache")
    assert engine.info.precision != "int8"  # fp32, or bf16 where the processor has it
    engine.close()


def test_a_remembered_choice_that_no_longer_holds_is_measured_again_and_fails_closed(
    tiny_engine: Path, tmp_path: Path
) -> None:
    options = EngineOptions(cache=tmp_path / "cache")
    engine, _ = open_chosen(tiny_engine, "openvino", "fp32", options)
    engine.close()
    manifest = load_manifest(tiny_engine)
    patches = golden_patches(manifest)
    engine, _ = open_chosen(tiny_engine, "openvino", "fp32", options)
    assert prove(engine, manifest).passed
    assert engine.probabilities(patches).shape == (8, 3)
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.probabilities(patches)
    assert not prove(engine, manifest).passed


@pytest.mark.parametrize(("threads", "chunk"), [(0, 0), (-1, 0), (2, -1)])
def test_no_threads_or_a_negative_chunk_is_refused(
    tiny_engine_master: Path, threads: int, chunk: int
) -> None:
    with pytest.raises(EngineError, match="are not possible; write at least 1 thread"):
        open_engine(tiny_engine_master, threads=threads, chunk=chunk)


def test_the_class_of_a_part_is_that_of_its_most_certain_defective_patch() -> None:
    scores = np.array([[0.9, 0.1, 0.0], [0.3, 0.6, 0.1], [0.1, 0.1, 0.8]], np.float32)

    def part_class(scores: np.ndarray) -> int:
        rules = Rules(len(scores), ("good", "bright", "dark"), 1.0, (0.0,) * 3, (0.0,) * 3)
        return decide_by(scores, rules).class_index

    assert part_class(scores) == 2
    assert part_class(scores[:2]) == 1
    assert part_class(scores[:1]) == 0
    assert part_class(np.array([[0.5, 0.5, 0.0]], np.float32)) == 1, "a tie is a defect"


def test_the_benchmark_counts_parts_and_orders_its_percentiles(
    tiny_engine_master: Path, tmp_path: Path
) -> None:
    engine = open_engine(tiny_engine_master, "openvino", "fp32", cache=tmp_path)
    timing = benchmark(engine, golden_patches(load_manifest(tiny_engine_master)), seconds=0.05)
    engine.close()
    assert timing.parts >= 3
    assert 0 < timing.p50 <= timing.p99
    assert timing.parts_per_s == pytest.approx(1000 / timing.p50)
