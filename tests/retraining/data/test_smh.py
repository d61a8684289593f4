"""The paper's three versions, from surfaces that are there already and from rendered ones."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

from retraining.data import smh
from retraining.data.dataset import Dataset, load_dataset, save_dataset
from retraining.data.growth import Changes, grow
from retraining.data.manifest import AS_CUT
from retraining.data.outlines import class_mask
from retraining.data.pixels import PictureSet
from retraining.data.readers import open_reader
from retraining.data.rendered_parts import (
    PARTS_A_SEED,
    PartOrder,
    Rendered,
    marked_pixels,
    read_mask,
    render_parts,
    station_patches,
    station_windows,
)
from retraining.data.splits import torn_groups
from retraining.data.synthetic import write_synthetic
from retraining.errors import DatasetError
from retraining.product.parts import read_parts
from retraining.surfaces.rendered import TRAINING_SEEDS, Mixture
from retraining.synthesis.paste_sets import masked_surfaces
from simulation.truth import CLASS_NAMES
from station.recipe import Recipe, load_recipe

_RECIPE = """
name: small
version: 1
product: {{background: none, widths_px: [{width}], height_px: {height}, mm_per_px_x: 0.1, mm_per_px_y: 0.1}}
surface: {{height: 256, width: 64, channels: 1}}
patch: {{size: 32}}
engine: small
classes:
  - {{name: defect-free, bin: 1}}
  - {{name: imprinted, bin: 2}}
  - {{name: pits, bin: 3}}
  - {{name: roll-marks, bin: 4}}
  - {{name: scratches, bin: 5}}
fault_bin: 6
"""


@pytest.fixture
def small(tmp_path: Path) -> Recipe:
    """Sixteen patches of 32 px a part."""
    path = tmp_path / "small.yaml"
    path.write_text(_RECIPE.format(width=385, height=3584), encoding="utf-8")
    return load_recipe(path)


def _draw(order: PartOrder, recipe: Recipe, folder: Path) -> None:
    """A surface that shows its class in five of its patches, and its mask, as rendering would leave them."""
    rng = np.random.default_rng(order.seed)
    surface = rng.integers(100, 140, (256, 64)).astype(np.uint8)
    mask = np.zeros_like(surface)
    for top, left, side, _ in list(station_windows(recipe))[:5] if order.kind != CLASS_NAMES[0] else []:
        mask[top + 8 : top + side - 8, left + 8 : left + side - 8] = CLASS_NAMES.index(order.kind)
    for name, pixels in (("surfaces", surface + 100 * (mask > 0)), ("masks", mask)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name / f"{order.name}.png"), pixels.astype(np.uint8))


@pytest.fixture
def parts(small: Recipe, tmp_path: Path) -> Dataset:
    """All parts of Table 4, drawn in a moment."""
    for order in smh.original_orders():
        _draw(order, small, tmp_path / "parts")
    return smh.render_originals(small, tmp_path / "parts")


def test_the_originals_are_those_of_table_4_without_the_test_of_table_5(parts: Dataset) -> None:
    assert list(parts.count().values()) == [160, 17, 137, 18, 17]
    assert parts.count("train")["defect-free"] == 128
    assert torn_groups(parts) == []
    assert {p.labelled_by for p in parts.pictures} == {"renderer"}


def test_the_original_patches_are_those_of_table_4(parts: Dataset, small: Recipe, tmp_path: Path) -> None:
    patches = smh.original_patches(parts, small)
    assert list(patches.count().values()) == [2560, 49, 240, 61, 48]
    assert torn_groups(patches) == []
    assert patches.count("train") == dict(zip(CLASS_NAMES, (2048, 39, 192, 49, 38), strict=True))
    save_dataset(patches, tmp_path / "set")
    assert load_dataset(tmp_path / "set").pictures == patches.pictures


@pytest.mark.parametrize(
    ("version", "training", "validation", "size"),
    [
        ("O-TA", [80] * 5, [20] * 5, (64, 32)),
        ("P-TA", [512, 50, 50, 50, 50], [128, 13, 13, 13, 13], (32, 32)),
    ],
)
def test_a_version_grows_to_its_counts(
    parts: Dataset,
    small: Recipe,
    version: str,
    training: list[int],
    validation: list[int],
    size: tuple[int, int],
) -> None:
    built = smh.build_version(version, parts, small, side=32, share=0.25)
    assert list(built.training.count().values()) == training
    assert list(built.validation.count().values()) == validation
    assert built.training.pixels.shape[1:] == (*size, 1)
    assert not set(built.training.groups) & set(built.validation.groups)
    assert len(built.originals) < len(built.training)


def test_p_gan_takes_what_is_missing_from_generators(parts: Dataset, small: Recipe, tmp_path: Path) -> None:
    share = 0.05
    originals = smh.original_patches(parts, small, share=share)
    needed = smh.synthetic_needed(originals, share=share)
    made = {}
    for name, count in needed.items():
        pixels = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 1), np.uint8)
        made[name] = write_synthetic(tmp_path / name, {name: pixels}, "test", (name,))
    built = smh.build_version("P-GAN", parts, small, side=32, share=share, synthetic=made)
    assert list(built.training.count().values()) == [103, 40, 40, 40, 40]
    assert list(built.validation.count().values()) == [26, 10, 10, 10, 10]
    synthetic = [n for n in built.training.names + built.validation.names if "surfaces" not in n]
    assert len(synthetic) == len(set(synthetic)) == sum(needed.values())
    assert not any("surfaces" not in name for name in built.original_validation.names)
    short = {**made, "pits": made["pits"].with_pictures(made["pits"].pictures[:-1])}
    with pytest.raises(DatasetError, match=r"pits lacks 1 of .* draw more"):
        smh.build_version("P-GAN", parts, small, side=32, share=share, synthetic=short)
    with pytest.raises(DatasetError, match="made with synthetic"):
        smh.build_version("P-GAN", parts, small, share=share)


def test_the_test_parts_are_those_of_table_5_with_seeds_of_their_own() -> None:
    orders = smh.table_5_orders(3)
    assert [sum(o.kind == name for o in orders) for name in CLASS_NAMES] == [40, 17, 36, 19, 18]
    seeds = {o.seed for o in orders}
    assert len(seeds) == 130
    assert max(seeds) < TRAINING_SEEDS <= min(o.seed for o in smh.original_orders())
    assert {o.defects for o in smh.table_5_orders(3, single=True)} == {(1, 1)}


def test_a_patch_bears_a_name_only_when_it_shows_enough(small: Recipe, tmp_path: Path) -> None:
    order = PartOrder(TRAINING_SEEDS, "scratches")
    _draw(order, small, tmp_path / "parts")
    mask = np.zeros((256, 64), np.uint8)
    mask[40:62, 10:13] = 4  # a scratch within one patch ...
    mask[62:66, 10:13] = 4  # ... whose end peeks into the next
    mask[130:150, 5:25] = 1
    mask[135:145, 10:20] = 2  # two classes in one place
    cv2.imwrite(str(tmp_path / "parts" / "masks" / f"{order.name}.png"), mask)
    patches = station_patches(render_parts([order], small, tmp_path / "parts"), small)
    named = {p.window[:2]: p.label for p in patches.pictures if p.label != "defect-free"}
    assert named == {(32, 0): "scratches"}
    assert len(patches) == 14
    assert "2 of 16 patches" in patches.notes[-1]


def test_a_set_that_lacks_a_kind_still_names_the_others_rightly(small: Recipe, tmp_path: Path) -> None:
    order = PartOrder(TRAINING_SEEDS, "scratches")
    _draw(order, small, tmp_path / "parts")
    mask = np.zeros((256, 64), np.uint8)
    mask[40:62, 10:13] = 4  # a scratch, by the renderer's own numbers
    file = tmp_path / "parts" / "masks" / f"{order.name}.png"
    cv2.imwrite(str(file), mask)
    parts = render_parts([order], small, tmp_path / "parts", without=("pits", "roll-marks"))
    assert parts.classes == ("defect-free", "imprinted", "scratches")
    patches = station_patches(parts, small)
    assert {p.label for p in patches.pictures} == {"defect-free", "scratches"}
    whole = masked_surfaces(parts, 1)
    assert whole.classes[int(whole.masks.max())] == "scratches"
    mask[100:120, 10:13] = 2  # a pit, in a set that has none
    cv2.imwrite(str(file), mask)
    with pytest.raises(DatasetError, match=r"shows pits, but the set's classes are defect-free, imprinted"):
        masked_surfaces(parts, 1)


def test_a_rendered_part_comes_through_its_door_and_is_kept(small: Recipe, tmp_path: Path) -> None:
    reader = open_reader(
        "rendered", folder=tmp_path / "cache", recipe=tmp_path / "small.yaml", parts=1, seed=9, processes=1
    )
    dataset = reader.read()
    assert 14 <= len(dataset) <= 16
    assert len({p.group for p in dataset.pictures}) == 1
    surface = tmp_path / "cache" / dataset.pictures[0].path
    written = surface.stat().st_mtime_ns
    whole = Rendered(tmp_path / "cache", tmp_path / "small.yaml", 1, 9, whole=True).read()
    assert [(p.window, p.source in AS_CUT) for p in whole.pictures] == [(None, True)]
    parts = read_parts(whole, small)
    marked = whole.pictures[0].marks
    mask = read_mask(whole, whole.pictures[0].path)
    assert (parts.surfaces.masks[0] == mask).all(), "its marks are the exact mask, and it is not cut again"
    kind = marked[0].label
    with pytest.raises(DatasetError, match=f"all 1 parts have {kind}"):
        Rendered(tmp_path / "cache", tmp_path / "small.yaml", 1, 9, whole=True, without=(kind,)).read()
    with pytest.raises(DatasetError, match="no kind of defect is called dents"):
        Rendered(tmp_path / "cache", tmp_path / "small.yaml", 1, 9, without=("dents",)).read()
    kinds = Mixture(sound_share=0.0, one_kind=True)
    planned = (PartOrder(TRAINING_SEEDS + n * PARTS_A_SEED, mixture=kinds).planned_kind for n in range(99))
    seed = list(planned).index("pits")
    with pytest.raises(DatasetError, match="all 1 parts have pits"):
        Rendered(tmp_path / "none", tmp_path / "small.yaml", 1, seed, kinds, without=("pits",)).read()
    assert not any((tmp_path / "none" / "surfaces").iterdir()), "its kind is known before it is rendered"
    assert surface.stat().st_mtime_ns == written
    larger = small.model_copy(update={"surface": small.surface.model_copy(update={"height": 512})})
    with pytest.raises(DatasetError, match="another size"):
        render_parts([], larger, tmp_path / "cache")


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=9)).filter(np.any))
def test_marked_pixels_are_the_pixels_that_were_marked(marked: np.ndarray) -> None:
    again = class_mask((marked_pixels("pits", marked),), ("good", "pits"), *marked.shape)
    assert (again == marked).all()


def test_growth_changes_copies_and_keeps_originals() -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(60, 200, (5, 16, 16, 1)).astype(np.uint8)
    few = PictureSet(pixels, np.array([0, 0, 0, 0, 1]), ("a", "b"), tuple("ppqrs"), tuple("12345"))
    grown = grow(few, {"a": 2, "b": 7}, seed=1)
    assert grown.count() == {"a": 2, "b": 7}
    assert grown.names[2:] == ("5", "5~1", "5~2", "5~3", "5~4", "5~5", "5~6")
    assert set(grown.groups[2:]) == {"s"}
    assert (grown.pixels[2] == pixels[4]).all()
    assert all((grown.pixels[k] != pixels[4]).any() for k in range(3, 9))
    again = grow(few, {"a": 2, "b": 7}, seed=1)
    assert (again.pixels == grown.pixels).all()
    flipped = grow(few, {"b": 20}, 1, Changes(brightness=0, contrast=0)).pixels[1:]
    ways = {p.tobytes() for p in flipped}
    assert 1 < len(ways) <= 4
    with pytest.raises(DatasetError, match="because it has none"):
        grow(few.of_class(0), {"b": 2}, 1)
