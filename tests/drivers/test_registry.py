"""One file is one kind: found by itself, refused twice, and no danger to the others when it is broken."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import drivers.cameras
import drivers.sorters
from drivers.cameras import FAMILIES
from drivers.cameras.folder import FolderCamera, FolderSettings
from drivers.registry import Package, Registry, RegistryError
from drivers.settings import Section

KIND = '''
"""A {kind} thing."""
from typing import Literal
from drivers.settings import Section
from {package} import THINGS

class Settings(Section):
    """A {kind} thing.

    It has no keys.
    """

    kind: Literal["{kind}"] = "{kind}"

@THINGS.register(Settings)
class {kind}Thing:
    def __init__(self, settings, *more):
        self.more = more
'''
Things = Registry[Section, object]
Drop = Callable[[str, str], Path]


@pytest.fixture
def things(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Things, Drop]:
    """A registry over a package of its own, and how to drop a file into it."""
    package = f"things_{tmp_path.name}".replace("-", "_")
    folder = tmp_path / package
    folder.mkdir()
    (folder / "__init__.py").write_text(
        f"from drivers.registry import Registry\nTHINGS = Registry('thing', '{package}')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    module = __import__(package)

    def drop(name: str, text: str) -> Path:
        file = folder / f"{name}.py"
        file.write_text(text.replace("{package}", package))
        return file

    return module.THINGS, drop


def kind(name: str) -> str:
    return KIND.replace("{kind}", name)


def test_a_file_in_the_folder_is_found_and_made(things: tuple[Things, Drop]) -> None:
    registry, drop = things
    drop("red", kind("red"))
    drop("_private", "raise RuntimeError")
    assert list(registry.entries()) == ["red"]
    drop("blue", kind("blue"))
    assert list(registry.entries()) == ["blue", "red"]
    entry = registry.entry("red")
    assert entry.purpose == "A red thing"
    assert (entry.missing, entry.driver.__name__) == ("", "redThing")
    assert registry.make(entry.settings(), 7).more == (7,)  # type: ignore[attr-defined]


def test_a_kind_that_is_registered_twice_is_an_error_that_names_both(things: tuple[Things, Drop]) -> None:
    registry, drop = things
    drop("red", kind("red"))
    drop("scarlet", kind("red"))
    with pytest.raises(RegistryError, match=r"thing 'red' is registered twice, by .*red\.redThing and by .*"):
        registry.entries()
    with pytest.raises(RegistryError, match=r"scarlet\.redThing; give one of them another `kind`"):
        registry.entries()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import math\n\n1 / 0\n", "line 3: ZeroDivisionError"),
        ("def half(:\n", "line 1: SyntaxError"),
        ("import a_package_that_nobody_has\n", "line 1: ModuleNotFoundError"),
        (kind("odd").replace('Literal["odd"]', "str"), "declare `kind: Literal"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_the_others_work(
    things: tuple[Things, Drop], text: str, says: str
) -> None:
    registry, drop = things
    broken = drop("broken", text)
    drop("red", kind("red"))
    assert list(registry.entries()) == ["red"]
    (problem,) = registry.broken.values()
    assert problem.startswith(f"{broken} (")
    assert says in problem
    with pytest.raises(RegistryError, match="did you mean `red`") as caught:
        registry.entry("rad")
    assert str(broken) in str(caught.value)


def test_a_kind_whose_package_is_missing_is_not_made_and_says_what_to_install(
    things: tuple[Things, Drop],
) -> None:
    registry, drop = things
    needs = "Settings, needs=Package('a_package_that_nobody_has', extra='red')"
    text = kind("red").replace("register(Settings", f"register({needs}")
    drop("red", "from drivers.registry import Package\n" + text)
    entry = registry.entry("red")
    assert str(entry).startswith("red (a_package_that_nobody_has is not installed; pip install")
    with pytest.raises(RegistryError, match=r"thing 'red': .* pip install 'inspection-station\[red\]'"):
        registry.make(entry.settings())


def test_an_unknown_kind_is_answered_with_the_nearest_or_with_all() -> None:
    with pytest.raises(RegistryError, match="no camera family 'foldr'; did you mean `folder`"):
        FAMILIES.entry("foldr")
    with pytest.raises(
        RegistryError, match="no camera family 'webcam'; known are: aravis, folder, harvesters, pylon"
    ):
        FAMILIES.entry("webcam")


def test_a_family_is_found_by_its_name() -> None:
    entry = FAMILIES.entry("folder")
    assert (entry.settings, entry.driver) == (FolderSettings, FolderCamera)


def test_every_family_says_whether_it_can_be_used_here(tmp_path: Path) -> None:
    assert FAMILIES.entry("folder").missing == ""
    assert str(FAMILIES.entry("folder")) == "folder"
    numpy = Package("numpy", extra="any")
    assert (numpy.missing, numpy.version.split()[0]) == ("", "numpy")


def test_an_absent_sdk_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    missing = FAMILIES.entry("pylon").missing
    assert missing == "pypylon is not installed; pip install 'inspection-station[pylon]'"


def ran(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_nothing_heavy_is_imported_with_the_package() -> None:
    code = "import sys, drivers.cameras; print([m for m in ('cv2', 'numpy', 'pypylon') if m in sys.modules])"
    assert ran(code) == "[]"


def test_no_sdk_is_imported_before_its_family_is_asked_for() -> None:
    code = (
        "import sys; from station.config import config_model; config_model();"
        "print([m for m in ('pypylon', 'harvesters', 'genicam', 'gi') if m in sys.modules])"
    )
    assert ran(code) == "[]"


def test_every_kind_of_the_product_is_read_without_a_fault() -> None:
    drivers.sorters.PROTOCOLS.entries()
    assert drivers.sorters.PROTOCOLS.broken == {}
    FAMILIES.entries()
    assert FAMILIES.broken == {}


def test_every_family_of_the_product_stands_in_the_document() -> None:
    text = (Path(__file__).parents[2] / "docs" / "cameras.md").read_text(encoding="utf-8")
    FAMILIES.look_in("simulation")
    for entry in FAMILIES.entries().values():
        file = f"{entry.driver.__module__.replace('.', '/')}.py"
        assert f"| `{entry.kind}` | `{file}` | {entry.purpose} |" in text
