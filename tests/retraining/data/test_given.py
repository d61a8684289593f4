"""Where photographs and weights lie is said by a person; nothing is looked for beside the product."""

import re
import subprocess
from pathlib import Path

import pytest

from retraining.data.given import find_data
from retraining.errors import DatasetError

ROOT = Path(__file__).parents[3]


def test_a_file_is_found_below_the_folder_that_the_variable_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights").mkdir()
    monkeypatch.setenv("INSPECTION_DATA", str(tmp_path))
    assert find_data("weights") == tmp_path / "weights"
    with pytest.raises(DatasetError, match="set INSPECTION_DATA to the folder that holds pictures"):
        find_data("pictures")
    assert find_data("weights", tmp_path) == tmp_path / "weights"


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable_the_error_says_what_to_set(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INSPECTION_DATA", raising=False)
    if value is not None:
        monkeypatch.setenv("INSPECTION_DATA", value)
    with pytest.raises(DatasetError, match="weights is needed; set INSPECTION_DATA to the folder"):
        find_data("weights")


def test_the_product_names_no_folder_beside_its_own() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False).stdout
    files = [ROOT / name for name in listed.decode().split("\0") if name]
    texts = [file for file in files if file.suffix in {".py", ".md", ".yaml", ".toml", ".service", ""}]
    beside = re.compile(r"\.\./" + "shared|/" + "work/|parents" + r"\[4\]")
    assert [str(f) for f in texts if f.is_file() and beside.search(f.read_text(errors="replace"))] == []
