"""Two runs on days on which the machine is not equally fast."""

import json
from pathlib import Path

import pytest

from station.bench.runs import Conditions, Rounds, RunError, compare_runs, read_run

HERE = Conditions("a machine", 2, "housing")
DOCUMENT = {
    "machine": "a machine",
    "threads": 2,
    "recipe": "housing",
    "limit_gmacs_per_s": [500.0, 400.0],
    "paths": [{"name": "openvino int8", "paces": [20.0, 16.0]}, {"name": "gone", "paces": [1.0, 1.0]}],
}


def _file(folder: Path, **changes: object) -> Path:
    path = folder / "other.json"
    path.write_text(json.dumps(DOCUMENT | changes))
    return path


def test_a_slower_day_counts_for_no_path(tmp_path: Path) -> None:
    earlier = read_run(_file(tmp_path), HERE)
    slow = Rounds({"openvino int8": [10.0, 8.0, 9.0], "new": [1.0] * 3}, [250.0, 200.0, 225.0])
    (ratio,) = compare_runs(slow, earlier)
    assert (ratio.name, ratio.here, ratio.there) == ("openvino int8", 9.0, 18.0)
    assert ratio.ratio == pytest.approx(1.0)


def test_a_faster_path_is_seen_on_any_day(tmp_path: Path) -> None:
    earlier = read_run(_file(tmp_path), HERE)
    (ratio,) = compare_runs(Rounds({"openvino int8": [12.5, 10.0]}, [250.0, 200.0]), earlier)
    assert ratio.ratio == pytest.approx(1.25)


def test_without_a_limit_parts_per_second_are_compared_as_they_are(tmp_path: Path) -> None:
    earlier = read_run(_file(tmp_path, limit_gmacs_per_s=[]), HERE)
    (ratio,) = compare_runs(Rounds({"openvino int8": [10.0, 8.0]}, [250.0, 200.0]), earlier)
    assert ratio.ratio == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"machine": "another"}, "other hardware"),
        ({"threads": 4}, "other threads"),
        ({"recipe": "strip"}, "other products"),
        ({"paths": [{"name": "openvino int8", "parts_per_s": 3.0}]}, "of this version"),
        ({"paths": []}, "without parts per second"),
        ({"paths": [{"name": "openvino int8", "paces": [0.0]}], "limit_gmacs_per_s": []}, "without parts"),
        ({"limit_gmacs_per_s": [500.0]}, "one limit for each round"),
    ],
)
def test_a_run_that_says_nothing_of_this_one_is_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(RunError, match=message):
        read_run(_file(tmp_path, **changes), HERE)


def test_a_file_that_is_no_run_a_missing_one_and_one_without_a_common_path_are_refused(
    tmp_path: Path,
) -> None:
    junk = tmp_path / "junk.json"
    junk.write_text("junk")
    with pytest.raises(RunError, match="station bench --json"):
        read_run(junk, HERE)
    with pytest.raises(RunError, match="cannot be read"):
        read_run(tmp_path / "none.json", HERE)
    with pytest.raises(RunError, match="no path was measured in both"):
        compare_runs(Rounds({"other": [1.0]}, [2.0]), read_run(_file(tmp_path), HERE))
