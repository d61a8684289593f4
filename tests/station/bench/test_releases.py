"""Two checkouts beside each other."""

from pathlib import Path

import pytest

from station.bench.releases import ReleaseError, compare_releases


def test_a_folder_without_the_software_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="not a checkout of this software"):
        compare_releases(tmp_path, rounds=1, seconds=0.1)


def test_a_checkout_whose_bench_fails_is_named_with_what_it_said(tmp_path: Path) -> None:
    command = tmp_path / "station" / "cli"
    command.mkdir(parents=True)
    (command / "__main__.py").write_text("raise SystemExit('no engine here')\n")
    with pytest.raises(ReleaseError, match=f"failed in {tmp_path}: no engine here"):
        compare_releases(tmp_path, rounds=1, seconds=0.1, first=tmp_path)
