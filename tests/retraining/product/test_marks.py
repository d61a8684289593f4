"""Boxes and outlines of labelling tools say where the defects are, so that a product needs no masks."""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from drivers.cameras.picture_files import write_image
from retraining.cli import app as retrain
from retraining.data.manifest import load_dataset
from retraining.errors import DatasetError
from retraining.product import making
from retraining.product.parts import read_parts, split_parts, usable, with_synthetic
from station.engines.folder import load_manifest
from station.recipe import load_recipe

SIDE = 64
RECIPE = """
name: disc
version: 1
product: {background: none, widths_px: [64], height_px: 64, mm_per_px_x: 0.1, mm_per_px_y: 0.1}
surface: {height: 64, width: 64}
patch: {size: 32}
engine: disc
classes:
  - {name: good, bin: 1}
  - {name: spot, bin: 2}
  - {name: scratch, bin: 3}
fault_bin: 9
"""
KINDS = ("good", "spot", "scratch")
QUICK = ["--network", "simple-fcn", "--steps", "60", "--batch", "16", "--learning-rate", "0.003"]
Place = tuple[int, int, int, int]
"""Left, top, right, bottom."""


def places(number: int, kind: str) -> dict[str, Place]:
    """The defects of a part; one spotted part has a scratch, too."""
    rng = np.random.default_rng([number, KINDS.index(kind)])
    left, top = (int(value) for value in rng.integers(2, SIDE - 24, 2))
    found: dict[str, Place] = {}
    if kind == "spot":
        found["spot"] = (left, top, left + 20, top + 20)
    if kind == "scratch":
        found["scratch"] = (left, 2, left + 5, SIDE - 2)
    if kind == "spot" and number == 3:
        found = {"spot": (4, 4, 24, 24), "scratch": (50, 2, 55, SIDE - 2)}
    return found


def mask_of(defects: dict[str, Place]) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for name, (left, top, right, bottom) in defects.items():
        mask[top:bottom, left:right] = KINDS.index(name)
    return mask


PARTS = {f"{kind}-{number:02d}.png": (number, kind) for kind in KINDS for number in range(10)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("marked") / "photos"
    for name, (number, kind) in PARTS.items():
        rng = np.random.default_rng([number, KINDS.index(kind), 1])
        pixels = np.clip(rng.normal(110, 12, (SIDE, SIDE)), 0, 255).astype(np.uint8)
        mask = mask_of(places(number, kind))
        pixels[mask == 1], pixels[mask == 2] = 235, 20
        folder.mkdir(exist_ok=True)
        write_image(folder / name, pixels)
    return folder


@pytest.fixture
def own(photos: Path, tmp_path: Path) -> Path:
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "disc.yaml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def corners(place: Place) -> list[float]:
    left, top, right, bottom = place
    return [left, top, right, top, right, bottom, left, bottom]


def runs(place: Place) -> list[int]:
    left, top, right, bottom = place
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[top:bottom, left:right] = 1
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.T.ravel()])))
    return [int(n) for n in np.diff([0, *edges, SIDE * SIDE])]


def coco_content(form: str) -> dict[str, Any]:
    annotations = []
    for at, (number, kind) in enumerate(PARTS.values()):
        for name, place in places(number, kind).items():
            left, top, right, bottom = place
            one: dict[str, Any] = {"id": len(annotations), "image_id": at, "category_id": KINDS.index(name)}
            if form == "boxes":
                one["bbox"] = [left, top, right - left, bottom - top]
            if form == "polygons":
                one["segmentation"] = [corners(place)]
            if form == "runs":
                one["segmentation"] = {"size": [SIDE, SIDE], "counts": runs(place)}
            annotations.append(one)
    images = [{"id": at, "file_name": n, "width": SIDE, "height": SIDE} for at, n in enumerate(PARTS)]
    categories = [{"id": at, "name": name} for at, name in enumerate(KINDS)]
    return {"images": images, "categories": categories, "annotations": annotations}


def coco(root: Path, form: str) -> list[object]:
    (root / "coco.json").write_text(json.dumps(coco_content(form)))
    return ["from-coco", root / "photos", root / "coco.json", "--trust-unmarked"]


def yolo(root: Path, form: str) -> list[object]:
    (root / "labels").mkdir()
    (root / "names.txt").write_text("\n".join(KINDS))
    for name, (number, kind) in PARTS.items():
        lines = []
        for label, place in places(number, kind).items():
            left, top, right, bottom = place
            box = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
            values = corners(place) if form == "polygons" else box
            lines.append(" ".join(map(str, [KINDS.index(label), *(v / SIDE for v in values)])))
        (root / "labels" / f"{name[:-4]}.txt").write_text("\n".join(lines))
    return ["from-yolo", root / "photos", root / "labels", root / "names.txt"]


def labelme(root: Path, form: str) -> list[object]:
    for name, (number, kind) in PARTS.items():
        shapes = []
        for label, place in places(number, kind).items():
            left, top, right, bottom = place
            shape: dict[str, Any] = {"label": label, "shape_type": "rectangle"}
            shape["points"] = [[left, top], [right, bottom]]
            if form == "polygons":
                flat = corners(place)
                shape |= {"shape_type": "polygon", "points": list(zip(flat[::2], flat[1::2], strict=True))}
            if form == "drawn":
                full = np.full((bottom - top, right - left), 1, np.uint8)
                png = base64.b64encode(cv2.imencode(".png", full)[1].tobytes()).decode()
                points = [[left, top], [right - 1, bottom - 1]]
                shape |= {"shape_type": "mask", "points": points, "mask": png}
            shapes.append(shape)
        content = {"imagePath": name, "imageHeight": SIDE, "imageWidth": SIDE, "shapes": shapes}
        (root / "photos" / f"{name[:-4]}.json").write_text(json.dumps(content))
    return ["from-labelme", root / "photos", root / "photos"]


def voc(root: Path, form: str) -> list[object]:
    """Good parts are known by their folder."""
    for name, (number, kind) in PARTS.items():
        (root / "photos" / kind).mkdir(exist_ok=True)
        (root / "photos" / name).rename(root / "photos" / kind / name)
        if kind == "good":
            continue
        boxes = "".join(
            f"<object><name>{label}</name><bndbox><xmin>{left + 1}</xmin><ymin>{top + 1}</ymin>"
            f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
            for label, (left, top, right, bottom) in places(number, kind).items()
        )
        size = f"<size><width>{SIDE}</width><height>{SIDE}</height></size>"
        file = root / "boxes" / kind / f"{name[:-4]}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"<annotation><filename>{name}</filename>{size}{boxes}</annotation>")
    return ["from-voc", root / "photos", root / "boxes"]


def run(*words: object) -> str:
    result = CliRunner().invoke(retrain, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def whole(root: Path, door: list[object], *more: object) -> Path:
    run("data", *door, "--whole", "--sound", "good", "--join", "none", *more, "--out", root / "data")
    return root / "data"


@pytest.mark.parametrize(
    ("door", "form"),
    [
        (coco, "boxes"), (coco, "polygons"), (coco, "runs"), (yolo, "boxes"), (yolo, "polygons"),
        (labelme, "boxes"), (labelme, "polygons"), (labelme, "drawn"), (voc, "boxes"),
    ],
)  # fmt: skip
def test_every_format_gives_the_class_of_every_pixel(
    own: Path, door: Callable[[Path, str], list[object]], form: str
) -> None:
    recipe = load_recipe(own / "disc.yaml")
    data = whole(own, door(own, form), "--classes", ",".join(KINDS))
    parts = read_parts(split_parts(usable(load_dataset(data), recipe), 1), recipe)
    assert len(parts.pictures) == len(PARTS)
    for picture, mask in zip(parts.pictures, parts.surfaces.masks, strict=True):
        assert np.array_equal(mask, mask_of(places(*PARTS[picture.path.split("/")[-1]]))), picture.path
    both = next(k for k, p in enumerate(parts.pictures) if p.path.endswith("spot-03.png"))
    assert parts.surfaces.part_classes(both) == (1, 2)
    boxed = "are marked with boxes, which mark more than the defect" in "\n".join(load_dataset(data).notes)
    assert boxed == (form == "boxes")


def test_a_box_is_said_to_mark_more_than_the_defect(own: Path) -> None:
    data = whole(own, coco(own, "boxes"), "--classes", ",".join(KINDS))
    out = run("product", data, "-r", own / "disc.yaml", "--until", "reading")
    assert "21 of 21 marks are boxes: a box marks more than the defect" in out


@pytest.mark.slow
def test_a_product_of_several_patches_is_trained_from_outlines_without_masks(own: Path) -> None:
    data = whole(own, coco(own, "boxes"), "--classes", ",".join(KINDS))
    out = run("product", data, "-r", own / "disc.yaml", *QUICK, "--out", own / "run")
    assert "marks are boxes: a box marks more than the defect" in out
    engine = load_manifest(own / "run" / "engines" / "disc")
    assert {part.truth for part in engine.golden} == set(KINDS)
    assert engine.figures["fp32"].outcomes.escapes == 0
    assert "a box marks more than the defect" in (engine.folder / "card.md").read_text(encoding="utf-8")


def test_pasted_parts_are_trained_on_and_nothing_is_tested_or_proven_by_them(own: Path) -> None:
    data = whole(own, coco(own, "polygons"), "--classes", ",".join(KINDS))
    run("data", "split", data, "--train", 0.6, "--validation", 0.2, "--test", 0.2, "--out", own / "split")
    run("paste", own / "split", "--whole", "--class", "spot", "--count", 9, "--out", own / "pasted")
    words = ["product", own / "split", "-r", own / "disc.yaml", "--synthetic", own / "pasted"]
    assert "among the training parts are 9 synthetic ones" in run(*words, "--until", "reading")
    recipe = load_recipe(own / "disc.yaml")
    real = split_parts(usable(load_dataset(own / "split"), recipe), 1)
    parts = read_parts(with_synthetic(real, load_dataset(own / "pasted")), recipe)
    assert len(parts.of("train")) == len(parts.real("train")) + 9
    assert all(p.split == "train" for p in parts.pictures if p.labelled_by == "synthetic")
    pasted = [m for p, m in zip(parts.pictures, parts.surfaces.masks, strict=True) if "pasted" in p.path]
    assert all(set(np.unique(mask)) == {0, 1} for mask in pasted), "good metal with one spot"
    with pytest.raises(DatasetError, match=r"are not synthetic, such as .*retrain paste --whole"):
        run(*words[:-1], own / "split")


def test_a_verdict_that_names_any_class_on_the_part_is_right(own: Path) -> None:
    recipe = load_recipe(own / "disc.yaml")
    data = whole(own, coco(own, "polygons"), "--classes", ",".join(KINDS))
    parts = read_parts(split_parts(usable(load_dataset(data), recipe), 1), recipe)
    scores = np.tile(np.float32([1, 0, 0]), (recipe.patch_count, 1))
    scores[0] = [0, 0, 1]
    groups = [picture.path for picture in parts.pictures]
    found = making.test(parts.surfaces, groups, recipe, lambda patches: scores, "fp32")
    assert (found.counted.right.parts, found.counted.escapes.parts) == (11, 0)


def test_masks_beside_marks_and_defective_pictures_without_a_mark_are_refused(own: Path) -> None:
    recipe = own / "disc.yaml"
    data = whole(own, coco(own, "polygons"))
    (own / "masks").mkdir()
    with pytest.raises(DatasetError, match="have marks of their own"):
        run("product", data, "-r", recipe, "--masks", own / "masks", "--until", "reading")
    manifest = data / "dataset.json"
    document = json.loads(manifest.read_text(encoding="utf-8"))
    for picture in document["pictures"]:
        if picture["path"] in ("spot-01.png", "scratch-02.png"):
            del picture["marks"]
        if picture["path"] == "good-04.png":
            picture["marks"] = [{"label": "spot", "box": [1, 1, 9, 9]}]
    manifest.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(DatasetError, match=r"(?s)scratch-02.png has no mark.*spot-01.png has no mark"):
        run("product", data, "-r", recipe, "--until", "reading")
    for picture in document["pictures"]:
        if picture["label"] != "good" and "marks" not in picture:
            picture["marks"] = [{"label": "spot", "box": [1, 1, 99, 9]}]
    manifest.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(DatasetError) as caught:
        run("product", data, "-r", recipe, "--until", "reading")
    assert "good-04.png is labelled good, but its mask marks a defect" in str(caught.value)
    assert "spot-01.png: the mark spot at x 1 to 99, y 1 to 9 reaches beyond" in str(caught.value)


def test_every_mark_that_cannot_be_right_is_an_error_of_the_door(own: Path) -> None:
    content = coco_content("polygons")
    first, second, third = content["annotations"][:3]
    first["segmentation"] = [[50, 50, 80, 50, 80, 60]]
    second["segmentation"], second["bbox"] = None, [5, 5, 0, 9]
    content["images"][third["image_id"]]["file_name"] = "gone.png"
    content["images"][content["annotations"][3]["image_id"]] |= {"width": 32, "height": 128}
    (own / "coco.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError) as caught:
        whole(own, ["from-coco", own / "photos", own / "coco.json", "--trust-unmarked"])
    message = str(caught.value)
    assert "gone.png marks a picture that is not below" in message
    assert "box 1 (x 50 to 80, y 50 to 60 of 64 x 64) reaches beyond" in message
    assert "is empty" in message
    assert "of 32 x 128) reaches beyond" in message
    assert not (own / "data").exists()


def test_a_folder_that_contradicts_the_marks_is_an_error_until_marks_are_trusted(own: Path) -> None:
    door = voc(own, "boxes")
    (own / "photos" / "scratch" / "scratch-05.png").rename(own / "photos" / "good" / "scratch-05.png")
    (own / "boxes" / "scratch" / "scratch-05.xml").rename(own / "boxes" / "scratch-05.xml")
    with pytest.raises(DatasetError, match="good by its path and marked as scratch"):
        whole(own, door)
    data = load_dataset(whole(own, door, "--trust-boxes"))
    assert {p.label for p in data.pictures if p.path.endswith("scratch-05.png")} == {"scratch"}


def test_options_of_windows_are_refused_with_whole_pictures(own: Path) -> None:
    words = ["data", *coco(own, "boxes"), "--whole", "--side", "32", "--seed", "2", "--out", own / "data"]
    result = CliRunner().invoke(retrain, [str(word) for word in words])
    assert result.exit_code == 2
    assert "--side" in result.output
    assert "--seed" in result.output


def test_marks_survive_a_split_and_leave_with_their_class(own: Path) -> None:
    data = whole(own, coco(own, "polygons"))
    run("data", "split", data, "--train", 0.6, "--validation", 0.2, "--test", 0.2)
    kept = load_dataset(data)
    assert sum(len(p.marks) for p in kept.pictures) == 21
    assert "21 marks on 20 pictures, 0 of them boxes" in run("data", "show", data)
    only = kept.select(classes=["good", "spot"])
    assert "spot-03.png" not in {p.path for p in only.pictures}
    assert len(only) == 19
