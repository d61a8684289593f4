"""A command of root's that writes where a service writes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from station.cli.service_user import leaving_nothing_of_roots, service_user, warnings_of_root

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="it needs root")


def test_the_service_is_whose_folder_it_is_also_where_the_folder_is_still_to_be_made(tmp_path: Path) -> None:
    assert service_user(tmp_path / "var") is None, "root's own"
    (tmp_path / "var").mkdir()
    os.chown(tmp_path / "var", 65534, 65534)
    found = service_user(tmp_path / "var" / "images" / "more")
    assert found is not None
    assert (found.uid, found.gid) == (65534, 65534)


def test_root_is_told_whose_folder_it_works_in(tmp_path: Path) -> None:
    assert warnings_of_root(tmp_path) == []
    os.chown(tmp_path, 65534, 65534)
    (warning,) = warnings_of_root(tmp_path / "var")
    assert "belongs to user nobody" in warning
    assert "sudo -u nobody station run" in warning


def test_what_root_made_in_a_test_is_removed_and_what_was_there_stays(tmp_path: Path) -> None:
    journal, images, cache = tmp_path / "new" / "journal.db", tmp_path / "new" / "images", tmp_path / "cache"
    cache.mkdir()
    (cache / "plan").touch()
    with leaving_nothing_of_roots(journal, [images, cache]):
        images.mkdir(parents=True)
        (images / ".pictures").touch()
        journal.touch()
        (cache / "other").touch()
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["cache", "other", "plan"]
