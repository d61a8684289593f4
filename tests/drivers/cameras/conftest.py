"""A GenTL producer that can be spoiled, compiled once."""

import importlib.util
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import simulation.genicam


@pytest.fixture(scope="session")
def viky() -> Path:
    """The producer that the package ``genicam`` brings: three software cameras that run by themselves."""
    spec = importlib.util.find_spec("genicam")
    if spec is None or spec.origin is None:
        pytest.skip("harvesters is not installed")
    return Path(spec.origin).parent / "viky.cti"


@pytest.fixture(scope="session")
def faulty_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("gentl") / "faulty.cti"
    source, header = Path(__file__).with_name("faulty_gentl.c"), Path(simulation.genicam.__path__[0])
    compile_it = ["cc", "-shared", "-fPIC", "-O1", "-I", header, "-o", made, source, "-ldl"]
    subprocess.run(compile_it, check=True)
    return made


@pytest.fixture
def producer(viky: Path, faulty_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A producer before the real one; :func:`fault` spoils it."""
    monkeypatch.setenv("GENTL_REAL", str(viky))
    monkeypatch.setenv("FAULTY_GENTL_FAULT", str(tmp_path / "fault"))
    return faulty_library


@pytest.fixture
def fault(tmp_path: Path) -> Callable[[str], None]:
    """Sets the fault of the producer; an empty word takes it away."""

    def set_fault(word: str) -> None:
        made = tmp_path / "fault.part"
        made.write_text(word)
        made.rename(tmp_path / "fault")

    return set_fault
