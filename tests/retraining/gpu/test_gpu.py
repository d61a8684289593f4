"""Rows for a lent GPU, at toy size on the processor: units, slices, what comes back, and the table."""

import json
from pathlib import Path

import numpy as np
import pytest

from retraining.errors import PlanError, TrainingError
from retraining.gpu import package, running
from retraining.gpu.package import Pool, joined_wheel, load_pool
from retraining.gpu.plan import KINDS, ROWS, Size, Unit, load_sizes, units
from retraining.gpu.running import STOPPED, Place, do, results, run
from retraining.gpu.table import page

CLASSES = ("defect-free", *KINDS)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    rng = np.random.default_rng(1)
    arrays = {
        f"{which} {name}": rng.integers(60, 180, (12, 32, 32, 1), dtype=np.uint8)
        for name in CLASSES
        for which in ("seen", "unseen")
    }
    made = Place(tmp_path / "package", tmp_path / "state", tmp_path / "work")
    for folder in (made.package, made.state):
        folder.mkdir()
    np.savez_compressed(made.package / "pool.npz", **arrays)  # type: ignore[arg-type]
    (made.package / "package.json").write_text(json.dumps({"pieces": []}))
    return made


@pytest.fixture
def toy() -> Size:
    return load_sizes(ROWS).toy.model_copy(update={"calls": 1, "patches": (1,)})


def unit(size: Size, name: str) -> Unit:
    return next(one for one in units(size) if one.name == name)


def test_the_full_size_has_every_row_that_was_asked_for() -> None:
    names = [one.name for one in units(load_sizes(ROWS).full)]
    assert len(names) == len(set(names))
    assert {"engine/torch-16", "engine/torch-256", "engine/onnxruntime-cuda", "stylegan2/small"} <= set(names)
    assert sum(name.startswith("pairs/") for name in names) == 2 * len(KINDS)
    assert sum(name.startswith("translators/") for name in names) == 3
    assert sum(name.startswith("grid/") for name in names) == 4 * 5


def test_a_size_with_a_wrong_key_is_named(tmp_path: Path) -> None:
    file = tmp_path / "rows.yaml"
    file.write_text(ROWS.read_text().replace("  calls: 3\n", "  cals: 3\n"))
    with pytest.raises(PlanError, match="cals"):
        load_sizes(file)


def test_the_shipped_network_in_bf16_says_what_the_onnx_file_says(place: Place, toy: Size) -> None:
    assert do(unit(toy, "engine/torch-1"), toy, place) == 0
    found = results(place.state)["engine/torch-1"]["figures"]
    assert found["largest difference of a probability"] < 0.05
    assert 0 < found["floor ms"] < found["ms"]


@pytest.mark.parametrize("name", ["pairs/dcgan-pits", "translators/pe-gan"])
def test_what_was_drawn_is_compared_with_pictures_that_were_not_learnt_from(
    place: Place, toy: Size, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = load_pool(place.package)
    small = Pool(pool.classes, pool.extractor, pool.seen, pool.unseen)
    monkeypatch.setattr(running, "load_pool", lambda package: small)
    assert do(unit(toy, name), toy, place) == 0
    assert "KID x 1000" in results(place.state)[name]["figures"]
    assert list(place.state.glob("*.sheet-pits.png"))


def told(
    place: Place, size: Size, wanted: list[Unit], slice_s: float = 240, total_s: float = 500
) -> list[str]:
    lines: list[str] = []
    run(wanted, "toy", ROWS, place, slice_s=slice_s, total_s=total_s, tell=lines.append)
    return lines


def fake_process(codes: list[int], place: Place) -> object:
    """In place of a unit's process: writes a checkpoint, and a result where its code is 0."""

    def process(unit: Unit, *_: object) -> tuple[int, str]:
        folder = place.work / unit.name.replace("/", ".")
        folder.mkdir(parents=True, exist_ok=True)
        step = folder / "step"
        step.write_text(str(int(step.read_text()) + 1 if step.is_file() else 1))
        code = codes.pop(0)
        if code == 0:
            place.result(unit).write_text(
                json.dumps(
                    {
                        "unit": unit.name,
                        "device": "one",
                        "seconds": 1.0,
                        "figures": {"steps": step.read_text()},
                    }
                )
            )
        return code, "its last line"

    return process


def test_a_stopped_unit_goes_on_on_another_machine(
    place: Place, toy: Size, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [unit(toy, "pairs/dcgan-pits")]
    monkeypatch.setattr(running, "_in_a_process", fake_process([STOPPED, 0], place))
    assert "it goes on another time" in told(place, toy, wanted)[0]
    other = Place(place.package, place.state, place.work.with_name("elsewhere"))
    monkeypatch.setattr(running, "_in_a_process", fake_process([0], other))
    assert "done" in told(other, toy, wanted)[0]
    assert results(place.state)["pairs/dcgan-pits"]["figures"]["steps"] == "2"
    assert not list(place.state.glob("*.tar.*"))
    assert told(other, toy, wanted) == []


def test_a_checkpoint_that_is_too_large_to_come_back_stays_and_says_so(
    place: Place, toy: Size, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "PIECE_BYTES", 20)
    monkeypatch.setattr(running, "_in_a_process", fake_process([STOPPED], place))
    assert "stays on this machine" in told(place, toy, [unit(toy, "pairs/dcgan-pits")])[0]
    assert not list(place.state.glob("*.tar.*"))


def test_a_unit_that_failed_stands_in_the_table_with_its_last_line(
    place: Place, toy: Size, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_in_a_process", fake_process([1], place))
    wanted = [unit(toy, "engine/onnxruntime-cuda")]
    assert told(place, toy, wanted) == ["engine/onnxruntime-cuda: failed: its last line"]
    assert "failed: its last line" in page(wanted, results(place.state), toy=False)


def test_what_was_not_done_is_not_run_and_a_toy_names_no_winner(place: Place, toy: Size) -> None:
    shown = page(units(toy), results(place.state), toy=True)
    assert shown.count("not run") == len(units(toy))
    assert "too short" in shown
    assert "too short" not in page(units(toy), {}, toy=False)


@pytest.mark.timeout(240)
def test_a_unit_in_a_process_of_its_own_is_stopped_when_its_slice_is_over(place: Place, toy: Size) -> None:
    assert told(place, toy, [unit(toy, "pairs/sdg-gan-pits")], slice_s=1)[0].startswith(
        "pairs/sdg-gan-pits: stopped after"
    )
    assert results(place.state) == {}


def test_a_wheel_that_travels_in_pieces_is_whole_again_or_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "PIECE_BYTES", 10)
    folder = tmp_path / "package" / "onnxruntime-gpu"
    folder.mkdir(parents=True)
    (folder / "a-1.whl").write_bytes(bytes(range(25)))
    pieces = package._cut(folder)
    (tmp_path / "package" / "package.json").write_text(json.dumps({"pieces": pieces}))
    kept, late = tmp_path / "kept", folder / pieces[1]["name"]
    held = late.read_bytes()
    late.unlink()
    assert joined_wheel(tmp_path / "package", kept) is None
    late.write_bytes(b"x" + held[1:])
    with pytest.raises(TrainingError, match=r"a-1\.whl\.001 is damaged"):
        joined_wheel(tmp_path / "package", kept)
    late.write_bytes(held)
    wheel = joined_wheel(tmp_path / "package", kept)
    assert wheel is not None
    assert (wheel.name, wheel.read_bytes()) == ("a-1.whl", bytes(range(25)))


def test_a_package_without_pictures_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"python -m retraining\.gpu pack"):
        load_pool(tmp_path)
