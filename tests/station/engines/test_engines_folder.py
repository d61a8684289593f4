"""An engine folder is used only when every byte of it is what engine.yaml says."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from station.engines.folder import load_manifest, model_bytes, read_golden
from station.engines.interface import EngineError


def _edit(folder: Path, change) -> None:
    path = folder / "engine.yaml"
    document = yaml.safe_load(path.read_text())
    change(document)
    path.write_text(yaml.safe_dump(document, sort_keys=False))


def test_a_whole_folder_is_read_with_its_files_golden_parts_and_figures(tiny_engine: Path) -> None:
    manifest = load_manifest(tiny_engine)
    assert manifest.name == "tiny"
    assert set(manifest.files) == {"fp32", "int8", "int8-signed"}
    assert len(manifest.golden) == 12
    assert read_golden(manifest, manifest.golden[0]).shape == (8, 16, 16, 1)
    assert manifest.figures["fp32"].outcomes.accuracy == 0.995
    assert not manifest.int8_refusal()


@pytest.mark.parametrize(
    "file", ["model.onnx", "model.int8.onnx", "golden/scores.json", "golden/02-bright.png"]
)
def test_one_changed_byte_in_any_file_is_refused_by_name(tiny_engine: Path, file: str) -> None:
    content = bytearray((tiny_engine / file).read_bytes())
    content[len(content) // 2] ^= 1
    (tiny_engine / file).write_bytes(content)
    with pytest.raises(EngineError, match=rf"engine\.yaml.*sha256.*{file}.*copy the engine's folder again"):
        load_manifest(tiny_engine)


def test_a_file_changed_between_check_and_use_is_refused(tiny_engine: Path) -> None:
    manifest = load_manifest(tiny_engine)
    (tiny_engine / "model.onnx").write_bytes(b"something else")
    with pytest.raises(EngineError, match="sha256"):
        model_bytes(manifest, "fp32")


def test_a_golden_part_changed_between_check_and_use_is_refused(tiny_engine: Path) -> None:
    manifest = load_manifest(tiny_engine)
    (tiny_engine / "golden" / "02-bright.png").write_bytes(manifest.golden[2].file.read_bytes())
    with pytest.raises(EngineError, match=r"golden\.parts.*sha256.*02-bright\.png"):
        read_golden(manifest, manifest.golden[1])


@pytest.mark.parametrize(
    "path",
    ["../model.onnx", "/etc/passwd", "golden/../../x", "..", "a\\..\\x", ".hidden", "", "a/b/c/d", "C:x"],
)
def test_a_path_that_leaves_the_folder_is_refused_with_its_key(tiny_engine: Path, path: str) -> None:
    _edit(tiny_engine, lambda document: document["files"]["fp32"].update(path=path))
    with pytest.raises(EngineError, match=r"engine\.yaml:\d+: files\.fp32"):
        load_manifest(tiny_engine)


def test_a_link_that_leads_out_of_the_folder_is_refused(tiny_engine: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.onnx"
    (tiny_engine / "model.onnx").rename(outside)
    (tiny_engine / "model.onnx").symlink_to(outside)
    with pytest.raises(EngineError, match="leads out of the folder"):
        load_manifest(tiny_engine)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(surprise=1), r"surprise: is not a known key"),
        (lambda d: d.pop("classes"), r"classes: is missing"),
        (lambda d: d["files"].pop("fp32"), r"files: has no fp32"),
        (lambda d: d["files"].pop("int8"), r"int8-signed without int8"),
        (lambda d: d["classes"].append("good"), r"classes: has 'good' twice"),
        (lambda d: d["golden"].update(parts=[]), r"golden\.parts"),
        (lambda d: d["golden"].update(tolerance=0.5), r"golden\.tolerance"),
        (lambda d: d["golden"]["parts"][0].update(truth="odd"), r"unknown truth 'odd'"),
        (lambda d: d["files"]["fp32"].update(sha256="0" * 63), r"files\.fp32\.sha256"),
        (lambda d: d["figures"]["fp32"].update(good=3), r"good"),
        (lambda d: d.update(patch_px=True), r"patch_px"),
        (lambda d: d.update(name="other"), r"name: is 'other', the folder is 'tiny'"),
        (lambda d: d.update(format=3), r"format"),
        (lambda d: d.update(format=1), r"format: is 1, which does not say .* write 2, and in place of"),
        (lambda d: d["patch"].update(overlap_px=5), r"patch: of 16 px with 5 px overlap does not fill 64 px"),
        (lambda d: d["rules"].update(thresholds={"good": 0.2}), r"rules\.thresholds: has 'good'"),
        (lambda d: d["golden"].pop("features"), r"golden\.features: is missing"),
        (
            lambda d: d["golden"].update(parts=[p for p in d["golden"]["parts"] if p["truth"] != "dark"]),
            r"golden\.parts: has no part of class 'dark'",
        ),
    ],
)
def test_a_wrong_manifest_names_its_key(tiny_engine: Path, change, message: str) -> None:
    _edit(tiny_engine, change)
    with pytest.raises(EngineError, match=message):
        load_manifest(tiny_engine)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a list",
        "a: &x [1]\nb: *x",
        "a: !!python/object/apply:os.system ['true']",
        "a: 1\na: 2",
        "{" * 60,
        "a: b\n---\nc: d",
        "name: \x00",
        "x: " + "[" * 5000,
    ],
)
def test_hostile_yaml_is_an_engine_error_that_names_the_file(tiny_engine: Path, text: str) -> None:
    (tiny_engine / "engine.yaml").write_text(text)
    with pytest.raises(EngineError, match=r"engine\.yaml"):
        load_manifest(tiny_engine)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace"))))
def test_any_bytes_for_a_manifest_end_in_an_engine_error(tiny_engine: Path, content: bytes) -> None:
    (tiny_engine / "engine.yaml").write_bytes(content)
    with pytest.raises(EngineError):
        load_manifest(tiny_engine)


@pytest.mark.parametrize(
    "scores",
    [
        "",
        "[]",
        "{}",
        '{"fp32": {}}',
        "[" * 100_000,
        '{"fp32": 1, "int8": 2}',
        "null",
        '{"fp32":{"01-good.png":[[NaN]]}}',
    ],
)
def test_recorded_scores_that_are_not_scores_are_refused(tiny_engine: Path, scores: str) -> None:
    import hashlib

    (tiny_engine / "golden" / "scores.json").write_text(scores)
    digest = hashlib.sha256(scores.encode()).hexdigest()
    _edit(tiny_engine, lambda document: document["golden"]["scores"].update(sha256=digest))
    with pytest.raises(EngineError, match=r"scores\.json.*record the golden parts again"):
        load_manifest(tiny_engine)


def test_golden_scores_of_another_grid_are_refused(tiny_engine: Path) -> None:
    import hashlib

    path = tiny_engine / "golden" / "scores.json"
    table = json.loads(path.read_text())
    table["fp32"]["01-good.png"] = table["fp32"]["01-good.png"][:3]
    path.write_text(json.dumps(table))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    _edit(tiny_engine, lambda document: document["golden"]["scores"].update(sha256=digest))
    manifest = load_manifest(tiny_engine)
    with pytest.raises(EngineError, match=r"fp32 scores have shape \(3, 3\), not \(8, 3\)"):
        read_golden(manifest, manifest.golden[0])


def test_a_missing_folder_names_the_engines_that_are_there(tiny_engine: Path) -> None:
    with pytest.raises(EngineError, match="known engines there: tiny"):
        load_manifest(tiny_engine.parent / "tinny")


@pytest.mark.parametrize(
    ("int8", "refusal"),
    [
        ({"right": 992}, "INT8 loses 0.30% accuracy, more than the 0.20% allowed"),
        ({"escapes": 5}, "INT8 lets 0.38% more defects escape, more than the 0.25% allowed"),
        ({"right": 993, "escapes": 4}, ""),
    ],
)
def test_int8_is_refused_by_its_own_figures(tiny_engine: Path, int8: dict[str, int], refusal: str) -> None:
    _edit(tiny_engine, lambda document: document["figures"]["int8"].update(int8))
    assert load_manifest(tiny_engine).int8_refusal() == refusal


def test_int8_for_tensorrt_is_gated_on_its_own_figures(tiny_engine: Path) -> None:
    assert load_manifest(tiny_engine).int8_refusal("int8-signed") == ""
    _edit(tiny_engine, lambda document: document["figures"]["int8-signed"].update(right=900))
    manifest = load_manifest(tiny_engine)
    assert manifest.int8_refusal("int8-signed").startswith("INT8 loses 9.50% accuracy")
    assert manifest.int8_refusal() == ""
    _edit(tiny_engine, lambda document: document["figures"].pop("int8-signed"))
    assert "no figures of int8-signed" in load_manifest(tiny_engine).int8_refusal("int8-signed")


@pytest.mark.parametrize("key", ["max_accuracy_loss", "max_escape_gain"])
def test_a_manifest_that_opens_its_own_gate_wide_is_refused(tiny_engine: Path, key: str) -> None:
    _edit(tiny_engine, lambda document: document["int8_gate"].update({key: 1.0}))
    with pytest.raises(EngineError, match=rf"engine\.yaml:\d+: int8_gate\.{key}"):
        load_manifest(tiny_engine)


def test_figures_of_other_parts_do_not_pass_the_gate(tiny_engine: Path) -> None:
    easy = {"parts": 1, "good": 1, "defective": 0, "right": 1, "escapes": 0, "overkill": 0, "faults": 0}
    _edit(tiny_engine, lambda document: document["figures"]["int8"].update(easy))
    assert "not of the same parts" in load_manifest(tiny_engine).int8_refusal()


def test_int8_without_figures_or_without_a_gate_is_refused(tiny_engine: Path) -> None:
    _edit(tiny_engine, lambda document: document["figures"].pop("int8"))
    assert "no figures of int8" in load_manifest(tiny_engine).int8_refusal()
    _edit(tiny_engine, lambda document: document.pop("int8_gate"))
    assert "no int8_gate" in load_manifest(tiny_engine).int8_refusal()
