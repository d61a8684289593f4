"""Where nothing can be written, a command says so before it begins, and leaves nothing behind."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner, Result

from station.cli.parameters import FILE_MADE, FOLDER_MADE, careful
from station.files import write_file

app = typer.Typer()


@app.command()
def work(
    file: Annotated[Path | None, typer.Option(), FILE_MADE] = None,
    folder: Annotated[Path | None, typer.Option(), FOLDER_MADE] = None,
) -> None:
    """Do nothing."""
    print("hours of work")


careful(app)


def asked(option: str, path: Path) -> Result:
    return CliRunner(env={"COLUMNS": "1000"}).invoke(app, [option, str(path)])


@contextmanager
def as_a_user_without_rights() -> Iterator[None]:
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if before == 0:
            os.seteuid(before)


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder that may be entered and not changed, and a file in it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "there").touch(mode=0o444)
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)


def changed(**values: int) -> Callable[[object], os.statvfs_result]:
    """The answer of a disk in trouble, as statvfs(2) gives it."""
    real = os.statvfs("/")
    names = [name for name in dir(real) if name.startswith("f_")]
    found = {name: getattr(real, name) for name in names} | {"f_files": 1000, "f_favail": 1000} | values
    order = ("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "favail", "flag", "namemax")
    return lambda path: os.statvfs_result([found[f"f_{name}"] for name in order])


@pytest.mark.parametrize("option", ["--file", "--folder"])
@pytest.mark.parametrize("name", ["new", "new/below/that"])
def test_a_place_without_rights_is_refused(closed: Path, option: str, name: str) -> None:
    with as_a_user_without_rights():
        done = asked(option, closed / name)
    assert done.exit_code == 2
    assert f"{closed / name}: Permission denied; check the rights" in done.output
    assert "hours of work" not in done.output


def test_a_file_that_may_not_be_changed_is_refused(closed: Path) -> None:
    with as_a_user_without_rights():
        assert "Permission denied" in asked("--file", closed / "there").output


@pytest.mark.parametrize(
    ("disk", "says"),
    [
        ({"f_bavail": 0}, "No space left on device; free some space on this disk"),
        ({"f_favail": 0}, "No space left on device; its inodes are used up"),
        ({"f_flag": os.ST_RDONLY}, "Read-only file system; the disk is mounted for reading only"),
    ],
    ids=["full", "no inodes", "read only"],
)
@pytest.mark.parametrize("option", ["--file", "--folder"])
def test_a_disk_in_trouble_is_named_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, disk: dict[str, int], says: str
) -> None:
    monkeypatch.setattr(os, "statvfs", changed(**disk))
    done = asked(option, tmp_path / "new" / "file")
    assert done.exit_code == 2
    assert says in done.output


@pytest.mark.parametrize("option", ["--file", "--folder"])
def test_looking_leaves_nothing_behind(tmp_path: Path, option: str) -> None:
    done = asked(option, tmp_path / "new" / "one")
    assert done.exit_code == 0, done.output
    assert not list(tmp_path.iterdir())


def test_a_device_is_never_replaced_by_a_file() -> None:
    with pytest.raises(FileExistsError, match="not a regular file") as refused:
        write_file(Path("/dev/null"), b"")
    assert refused.value.errno == errno.EEXIST
    assert Path("/dev/null").is_char_device()
