"""The kinds of experiments: shipped plans fit their code, and tiny ones run from data to report."""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from retraining.cli import app
from retraining.errors import PlanError
from retraining.experiments.gathering import Gathered, gather
from retraining.experiments.kinds import KINDS, load_experiment, size_of, tasks_of
from retraining.experiments.plan import Experiment, SizeName
from retraining.experiments.pools import Pool
from retraining.experiments.run import run
from retraining.experiments.stereo import at_found
from retraining.experiments.tasks import Roots, with_needs

REPOSITORY = Path(__file__).parents[3]
PLANS = sorted((REPOSITORY / "experiments").glob("*.yaml"))


def test_there_is_a_plan_of_every_kind() -> None:
    assert {load_experiment(path).model_dump()["kind"] for path in PLANS} == set(KINDS)
    assert all(load_experiment(path).name == path.stem for path in PLANS)


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
@pytest.mark.parametrize("size", ["reduced", "full"])
def test_every_task_of_a_shipped_plan_fits_its_function(path: Path, size: SizeName) -> None:
    tasks = with_needs(tasks_of(load_experiment(path), size))
    for task in tasks:
        module, _, name = task.function.partition(":")
        function = getattr(importlib.import_module(module), name)
        inspect.signature(function).bind(None, **task.parameters)
    assert len({task.key for task in tasks}) == len(tasks)


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_what_is_trained_has_a_row(path: Path) -> None:
    plan = load_experiment(path)
    rows = {row.name for table in plan.tables for row in table.rows}
    places = rows | {column.name for table in plan.tables for column in table.columns}
    for size in (size_of(plan, "reduced").model_dump(), size_of(plan, "full").model_dump()):
        named = [item["name"] for key in ("rows", "rivals") for item in size.get(key, ())]
        named += [item["system"] for key in ("pairs", "translators") for item in size.get(key, ())]
        named += [f"mapping-{layers}" for layers in size.get("mappings", ())]
        assert set(named) <= rows
        assert set(size.get("networks", ())) <= places


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "system: dcgan,",
            "system: dcgam,",
            "'dcgam' is no system of generator and critic: did you mean",
        ),
        ("kind: neu-cls-64", "kind: neu-cls-46", ":3: kind: is 'neu-cls-46': did you mean `neu-cls-64`?"),
        ("[resnet18, mob", "[resnet19, mob", "'resnet19' is no network: did you mean `resnet18`?"),
        ("data: neu_cls_64", "dato: neu_cls_64", "dato: is not a known key: did you mean `data`?"),
    ],
)
def test_a_mistake_in_a_shipped_plan_names_line_and_remedy(
    old: str, new: str, expected: str, tmp_path: Path
) -> None:
    text = (REPOSITORY / "experiments" / "neu-cls-64.yaml").read_text(encoding="utf-8")
    line = text[: text.index(old)].count("\n") + 1
    path = tmp_path / "wrong.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(PlanError) as error:
        load_experiment(path)
    assert f"{path}:{line}: " in str(error.value)
    assert expected in str(error.value)


def test_the_command_lists_tasks_and_reports_before_anything_has_run(tmp_path: Path) -> None:
    runner = CliRunner()
    where = ["--experiments", str(REPOSITORY / "experiments"), "--out", str(tmp_path)]
    listed = runner.invoke(app, ["experiment", "neu-cls", "--list", *where])
    assert "not run" in listed.stdout
    assert "train/inception-cnn/seed-1" in listed.stdout
    reported = runner.invoke(app, ["report", "smh-versions", *where])
    assert reported.exit_code == 0, reported.output
    page = (tmp_path / "smh-versions" / "report-reduced.html").read_text(encoding="utf-8")
    assert "not run" in page
    assert "95.4" in page


def _picture(label: int, seed: int) -> np.ndarray:
    """Stripes along or across, never twice the same."""
    rng = np.random.default_rng([label, seed])
    wave = 127 + 60 * np.sin(np.arange(64) / (2 + label) + rng.uniform(0, 6))
    picture = np.tile(wave, (64, 1)) + rng.normal(0, 20, (64, 64))
    return np.clip(picture if label else picture.T, 0, 255).astype(np.uint8)


@pytest.fixture
def stripes(tmp_path: Path) -> Path:
    """Two classes of 12 pictures of 64 px below a data root."""
    root = tmp_path / "data"
    for label, name in enumerate(("cr", "gg")):
        (root / "stripes" / name).mkdir(parents=True)
        for number in range(12):
            cv2.imwrite(str(root / "stripes" / name / f"{name}_{number * 100}.png"), _picture(label, number))
    return root


def _shipped(name: str, changes: dict[str, object], size: dict[str, object]) -> Experiment:
    """A shipped plan, made small."""
    plan = load_experiment(REPOSITORY / "experiments" / f"{name}.yaml")
    own = plan.model_dump(mode="json")
    small = {**own["reduced"], **size}
    return type(plan).model_validate_json(json.dumps({**own, **changes, "reduced": small}), strict=True)


def _run(plan: Experiment, roots: Roots, pool: Pool, folder: Path) -> Gathered:
    tasks = with_needs(tasks_of(plan, "reduced"))
    summary = run(tasks, folder, roots, pool)
    assert [message for _, message in summary.failed] == []
    size, full = size_of(plan, "reduced"), size_of(plan, "full")
    return gather(plan, "reduced", size, full, tasks, folder)


def test_synthetic_pictures_of_every_source_reach_a_classifier(
    stripes: Path, here: Pool, tmp_path: Path
) -> None:
    plan = _shipped(
        "neu-cls-64",
        {"data": "stripes", "classes": ["cr", "gg"], "per_class": 10, "side": 32},
        {
            "networks": ["resnet18"],
            "training": {"steps": 2, "batch": 4, "learning_rate": 0.001},
            "pairs": [{"system": "dcgan", "steps": 2, "batch": 4}],
            "translators": [],
            "synthetic_per_class": 6,
            "compared": 6,
        },
    )
    found = _run(plan, Roots(stripes, tmp_path), here, tmp_path / "out")
    accuracy = found.tables[0].figures
    assert {row for row, _ in accuracy} == {"none", "flips", "dcgan", "crop-paste", "crop-paste-flips"}
    assert found.unplaced == ()
    assert len(found.sheets) == 4
    assert any("too few to compare" in note for note in found.notes)


_VOC = """<annotation><filename>{name}.png</filename><size><width>160</width><height>160</height>
<depth>1</depth></size><object><name>inclusion</name><bndbox><xmin>20</xmin><ymin>20</ymin><xmax>60</xmax>
<ymax>60</ymax></bndbox></object></annotation>"""


def test_rivals_of_the_latent_mapping_gan_reach_a_detector_and_so_does_what_costs_nothing(
    here: Pool, tmp_path: Path
) -> None:
    root = tmp_path / "data" / "boxed"
    for folder in ("images", "boxes"):
        (root / folder / "inclusion").mkdir(parents=True)
    rng = np.random.default_rng(3)
    for number in range(12):
        picture = rng.integers(90, 160, (160, 160)).astype(np.uint8)
        picture[25:55, 25:55] = rng.integers(0, 40)
        cv2.imwrite(str(root / "images" / "inclusion" / f"inclusion_{number}.png"), picture)
        text = _VOC.format(name=f"inclusion_{number}")
        (root / "boxes" / "inclusion" / f"inclusion_{number}.xml").write_text(text, encoding="utf-8")
    plan = _shipped(
        "latent-rivals",
        {"data": "boxed", "kinds": ["inclusion"], "side": 32},
        {
            "seeds": [1],
            "normal": 18,
            "defective": 10,
            "training": {"steps": 2, "batch": 4, "learning_rate": 0.001},
            "pairs": [
                {
                    "system": system,
                    "steps": 2,
                    "batch": 4,
                    "critic_steps": 1,
                    "optimiser": "rmsprop",
                    "latent": 8,
                }
                for system in ("gan", "latent-mapping")
            ],
            "compared": 6,
        },
    )
    found = _run(plan, Roots(tmp_path / "data", tmp_path), here, tmp_path / "out")
    table = next(filled for filled in found.tables if filled.table.name == "detection")
    rows = {"none", "flips", "balanced", "gan", "latent-mapping", "crop-paste", "smote"}
    assert {row for row, _ in table.figures} == rows
    assert found.unplaced == ()
    assert len(found.sheets) == 4


@pytest.mark.slow
def test_translators_and_pasting_put_each_class_onto_the_same_backgrounds(
    stripes: Path, here: Pool, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    for folder in ("images", "boxes"):
        (stripes / "boxed" / folder / "inclusion").mkdir(parents=True)
    for number in range(4):
        strip = rng.integers(90, 160, (160, 160)).astype(np.uint8)
        cv2.imwrite(str(stripes / "boxed" / "images" / "inclusion" / f"inclusion_{number}.png"), strip)
        text = _VOC.format(name=f"inclusion_{number}")
        (stripes / "boxed" / "boxes" / "inclusion" / f"inclusion_{number}.xml").write_text(text)
    small = {"steps": 1, "batch": 2, "critic_steps": 1}
    plan = _shipped(
        "neu-cls-64",
        {
            "data": "stripes",
            "classes": ["cr", "gg"],
            "per_class": 10,
            "side": 32,
            "backgrounds": {"data": "boxed", "kinds": ["inclusion"], "count": 6},
        },
        {
            "networks": ["resnet18"],
            "training": {"steps": 2, "batch": 4, "learning_rate": 0.001},
            "pairs": [],
            "translators": [
                {"system": "pe-gan", **small},
                {"system": "cycle-gan", "steps": 1, "batch": 1},
            ],
            "synthetic_per_class": 6,
            "compared": 6,
        },
    )
    found = _run(plan, Roots(stripes, tmp_path), here, tmp_path / "out")
    rows = {"none", "flips", "crop-paste", "crop-paste-flips", "background-paste", "pe-gan", "cycle-gan"}
    assert {row for row, _ in found.tables[0].figures} == rows
    assert found.unplaced == ()
    assert any("windows without a box" in note for note in found.notes)


@pytest.mark.slow
def test_segmenters_are_tried_with_pictures_of_every_source(here: Pool, tmp_path: Path) -> None:
    root = tmp_path / "data" / "marked"
    for folder in ("images", "masks"):
        (root / folder / "inclusion").mkdir(parents=True)
    rng = np.random.default_rng(3)
    for number in range(20):
        picture = rng.integers(90, 160, (64, 64)).astype(np.uint8)
        mask = np.zeros((64, 64), np.uint8)
        mask[2 * number : 2 * number + 20, 10:40] = 255
        picture[mask > 0] = rng.integers(0, 40)
        cv2.imwrite(str(root / "images" / "inclusion" / f"{number}.png"), picture)
        cv2.imwrite(str(root / "masks" / "inclusion" / f"{number}.png"), mask)
    sources = ("none", "crop-paste", "self-training", "gan")
    names = ("real-163", "paste-38", "self-38", "share-38")
    plan = _shipped(
        "segment-shares",
        {"data": "marked", "classes": ["inclusion"]},
        {
            "seeds": [1],
            "side": 32,
            "encoder": "mobilenet_v2",
            "steps": 2,
            "batch": 2,
            "train": 8,
            "unlabelled": 4,
            "test": 6,
            "pair": {"system": "dcgan", "steps": 2, "batch": 2},
            "rows": [
                {"name": name, "real": 6, "synthetic": 0 if source == "none" else 3, "source": source,
                 "networks": ["deeplabv3plus"]}
                for name, source in zip(names, sources, strict=True)
            ],
        },
    )  # fmt: skip
    found = _run(plan, Roots(tmp_path / "data", tmp_path), here, tmp_path / "out")
    assert {row for row, _ in found.tables[0].figures} == set(names)
    assert found.unplaced == ()


@pytest.mark.slow
def test_what_is_changed_outside_a_mask_is_measured_against_the_clean_twin(
    here: Pool, tmp_path: Path
) -> None:
    row = {"pretraining": 1, "steps": 2, "batch": 2}
    plan = _shipped(
        "clean-twins",
        {"kinds": ["pits"]},
        {
            "seeds": [1],
            "width": 200,
            "window": 96,
            "side": 32,
            "training_parts": 3,
            "test_parts": 2,
            "more_normals": 2,
            "widest": 8,
            "seen_px": 128,
            "rows": [
                {"name": "syndgan", "system": "syndgan", "lights": 1, **row},
                {"name": "masked-unet-lights", "system": "masked-unet", "lights": 4, **row},
            ],
            "synthetic_per_class": 2,
            "training": {"steps": 1, "batch": 4, "learning_rate": 0.001},
        },
    )
    found = _run(plan, Roots(tmp_path, tmp_path), here, tmp_path / "out")
    tables = {filled.table.name: filled for filled in found.tables}
    names = ("syndgan", "masked-unet-lights")
    drawn = {name + end for name in names for end in ("", "-composited")}
    rows = {"rendered", "paste", "rendered-lights", "paste-lights", *drawn}
    outside = tables["outside"].figures
    assert set(outside) == {(name, column) for name in rows for column in ("ring", "far")}
    for name in names:
        assert outside[f"{name}-composited", "far"].value == 0
        assert outside[name, "far"].value > outside["rendered", "far"].value
    assert {row for row, _ in tables["lights"].figures} == {
        "rendered-lights", "paste-lights", "masked-unet-lights",
    }  # fmt: skip
    assert {row for row, _ in tables["accuracy"].figures} == {"none", "more-normals", "paste", "syndgan"}
    assert found.unplaced == ()
    assert any("too few to compare" in note for note in found.notes)


@pytest.mark.slow
def test_housings_are_trained_on_and_inspected_as_the_station_does(here: Pool, tmp_path: Path) -> None:
    little = {"steps": 2, "batch": 4, "learning_rate": 0.001}
    shipped = load_experiment(REPOSITORY / "experiments" / "smh-versions.yaml").model_dump(mode="json")
    rows = [{**row, "training": little} for row in shipped["reduced"]["rows"]]
    plan = _shipped(
        "smh-versions",
        {},
        {
            "share": 0.02,
            "test_share": 0.05,
            "pair": {"system": "sdg-gan", "steps": 2, "batch": 2},
            "rows": rows,
        },
    )
    found = _run(plan, Roots(tmp_path, REPOSITORY / "recipes"), here, tmp_path / "out")
    figures = found.tables[0].figures
    assert {row for row, _ in figures} == {row["name"] for row in rows}
    assert all(f.counted and f.counted[1] for f in figures.values())


@pytest.mark.slow
def test_rivals_about_a_rare_class_are_measured_on_whole_parts(here: Pool, tmp_path: Path) -> None:
    plan = _shipped(
        "rare-class",
        {},
        {
            "share": 0.02,
            "examples": 4,
            "synthetic": 4,
            "training": {"steps": 2, "batch": 4, "learning_rate": 0.001},
            "pair": {"system": "sdg-gan", "steps": 2, "batch": 2},
            "test_parts": 3,
            "good_parts": 2,
        },
    )
    found = _run(plan, Roots(tmp_path, REPOSITORY / "recipes"), here, tmp_path / "out")
    recall = found.tables[0].figures
    counted = [recall[row.name, "recall"].counted for row in found.tables[0].table.rows]
    assert [n for found in counted if found for _, n in [found]] == [3] * 6


@pytest.mark.slow
def test_networks_are_cross_validated_with_what_grows_a_fold_made_inside_it(
    here: Pool, tmp_path: Path
) -> None:
    changes = {
        "share": 0.02,
        "test_share": 0.05,
        "folds": 2,
        "per_defect": 12,
        "networks": ["sca-cnn"],
        "training": {"steps": 2, "batch": 4, "learning_rate": 0.001},
    }
    for grown_by in ("augmentation", "sdg-gan"):
        pair = {"system": "sdg-gan", "steps": 2, "batch": 2}
        plan = _shipped("smh-networks", {}, {**changes, "grown_by": grown_by, "pair": pair})
        out = tmp_path / grown_by
        found = _run(plan, Roots(tmp_path, REPOSITORY / "recipes"), here, out)
        folds, parts, by_class = found.tables
        assert {column for _, column in folds.figures} == {"fold-1", "fold-2", "mean"}
        assert parts.figures["sca-cnn", "accuracy"].runs == 2
        assert len(by_class.figures) == 5
        assert len(found.sheets) == (8 if grown_by == "sdg-gan" else 0)


def test_every_way_of_looking_misses_the_same_share_of_the_defective_parts() -> None:
    scores = np.array([0.2, 0.9, 0.5, 0.7, 0.6, 0.8, 0.4, 0.95, 0.85, 0.3])
    for share, missed in ((1.0, 0), (0.9, 1), (0.5, 5)):
        assert int((scores < at_found(scores, share)).sum()) == missed
    assert at_found(scores, 0.0) == 0.95


@pytest.mark.slow
def test_grey_and_stereo_are_compared_on_the_same_rendered_parts(here: Pool, tmp_path: Path) -> None:
    plan = _shipped(
        "stereo",
        {"kinds": ["pits"], "found": 0.5},
        {
            "seeds": [1],
            "width": 200,
            "patch": 32,
            "training_parts": 2,
            "test_parts": 2,
            "good_parts": 1,
            "network": "resnet18",
            "training": {"steps": 2, "batch": 4, "learning_rate": 0.001},
        },
    )
    found = _run(plan, Roots(tmp_path, REPOSITORY / "recipes"), here, tmp_path / "out")
    figures = found.tables[0].figures
    assert {row for row, _ in figures} == {"bar", "mean", "stereo", "relief"}
    assert {figures[row, "escapes"].counted for row, _ in figures} == {(1, 2)}
    assert figures["stereo", "overkill-stains"].counted[1] == 1
    assert found.unplaced == ()
