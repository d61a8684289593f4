"""A file is written whole or not at all."""

import json
from pathlib import Path

import pytest

from station.files import replacing, write_file, write_json


def test_a_new_file_and_its_folders_are_made(tmp_path: Path) -> None:
    write_json(tmp_path / "deep" / "er" / "a.json", {"x": [1, 2]})
    assert json.loads((tmp_path / "deep" / "er" / "a.json").read_text()) == {"x": [1, 2]}


def test_an_interrupted_write_leaves_the_old_content_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_file(path, b"old")

    def interrupted() -> None:
        with replacing(path) as fresh:
            fresh.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, "old")

    def onto_a_full_disk() -> None:
        with replacing(path) as fresh:
            fresh.symlink_to("/dev/full")
            fresh.write_bytes(b"new")

    with pytest.raises(OSError, match="No space left") as full:
        onto_a_full_disk()
    assert str(full.value).endswith(f"No space left on device: '{path}'"), "not the hidden name beside it"
    assert json.loads(path.read_text()) == "old"


def test_text_is_written_as_utf_8(tmp_path: Path) -> None:
    write_file(tmp_path / "a.txt", "0.1 µm")
    assert (tmp_path / "a.txt").read_bytes() == "0.1 µm".encode()
