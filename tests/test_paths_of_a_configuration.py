"""Every path of station.yaml may be wrong in every way: `station check` and `station run` say so and end.

The paths are found in the model, so that a new one is covered by itself.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from drivers.cameras.picture_files import write_image
from station.cli.ending import ExitCode
from station.config import ConfigError, config_model, load_config
from tests.conftest import TINY_RECIPE, tiny_surface
from tests.test_paths import (
    below_a_file,
    dangling,
    device,
    empty_folder,
    ended,
    file,
    loop,
    missing,
    pipe,
    too_long,
)

BROKER = {"kind": "mqtt", "host": "127.0.0.1", "port": 1, "topic": "a/b", "user": "station", "tls": True}
"""A sorter with paths: no broker is there."""
WRONG = (below_a_file, too_long, loop, pipe, device)
"""What is wrong for every path, whatever it is for."""
OTHERS = (missing, dangling, file, empty_folder)
"""What may be right for some path; no command waits for ever, or ends with a traceback."""
KINDS_OF_CAMERA = {"emulation": "pylon", "path": "folder", "producer": "harvesters"}
"""The key of a camera's path -> the kind of camera that has it; the others are the simulated one's."""


def paths_in(model: type[BaseModel], place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The keys of all paths of a model and of the sections below it, of every kind."""
    for name, field in model.model_fields.items():
        if "Path" in str(field.annotation) and not sections(field.annotation):
            yield (*place, name)
        for below in sections(field.annotation):
            yield from paths_in(below, (*place, name))


def sections(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [one for argument in get_args(annotation) for one in sections(argument)]


PATHS = sorted(set(paths_in(config_model())))


@pytest.fixture
def plant(tmp_path: Path, tiny_engine: Path) -> dict[str, Any]:
    """A configuration that is right, but for the cell: nobody answers on its port."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "tiny.yaml").write_text(TINY_RECIPE)
    (tmp_path / "frames").mkdir()
    write_image(tmp_path / "frames" / "1.png", tiny_surface("good", 1))
    return {
        "station": {"name": "test"},
        "recipe": "tiny",
        "paths": {
            "recipes": "recipes",
            "engines": str(tiny_engine.parent),
            "journal": "var/journal.db",
            "images": "var/images",
            "cache": "var/cache",
        },
        "engine": {"backend": "onnxruntime-cpu", "precision": "fp32"},
        "camera": {"kind": "folder", "path": "frames", "mode": "cell"},
        "sorter": {"kind": "serial", "port": "no-cell", "heartbeat_ms": 20, "link_timeout_ms": 50},
    }


def with_path(plant: dict[str, Any], key: tuple[str, ...], path: Path) -> dict[str, Any]:
    changed = copy.deepcopy(plant)
    if key[0] == "camera":
        kind = KINDS_OF_CAMERA.get(key[1], "simulated")
        changed["camera"] = {"kind": kind, "mode": "cell"}
        changed["camera"] |= {"pool": "frames"} if kind == "simulated" else {}
    if key[0] == "sorter":
        changed["sorter"] = dict(BROKER)
        if key[1] in ("cert_file", "key_file"):  # they belong together
            changed["sorter"] |= {"cert_file": "recipes/tiny.yaml", "key_file": "recipes/tiny.yaml"}
    if key[0] == "simulation":
        changed["simulation"] = {"pool": {"frames": 1}}
        changed["camera"] = {"kind": "simulated", "mode": "cell"}
    section = changed
    for name in key[:-1]:
        section = section.setdefault(name, {})
    section[key[-1]] = str(path)
    return changed


@pytest.mark.parametrize("key", PATHS, ids=".".join)
def test_a_path_of_the_configuration_that_cannot_be_used_is_named_and_never_waited_for(
    key: tuple[str, ...],
    plant: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setenv("PYLON_CAMEMU", "1")
    for kind in (*WRONG, *OTHERS):
        here = tmp_path / f"wrong-{kind.__name__}"
        here.mkdir()
        path = kind(here)
        configuration = tmp_path / "station.yaml"
        configuration.write_text(json.dumps(with_path(plant, key, path)))
        code = ended(("station", "check"), ["--config", str(configuration)], monkeypatch)
        said = "".join(capsys.readouterr())
        assert code in (ExitCode.FINDINGS, ExitCode.NOT_DONE), f"{kind.__name__}: {code}\n{said}"
        assert "Traceback" not in said, f"{kind.__name__}\n{said}"
        if kind in WRONG:
            assert path.name in said, f"{kind.__name__}\n{said}"


@pytest.mark.parametrize("text", ['"a\\u0000b"', '"/dev/zero"'])
def test_a_path_that_no_file_can_have_is_refused_with_its_line(
    text: str, plant: dict[str, Any], tmp_path: Path
) -> None:
    plant["paths"]["images"] = "HERE"
    written = json.dumps(plant, indent=1).replace('"HERE"', text)
    (tmp_path / "station.yaml").write_text(written)
    line = next(number for number, one in enumerate(written.splitlines(), 1) if '"images"' in one)
    with pytest.raises(ConfigError, match=rf"station.yaml:{line}: paths.images: "):
        load_config(tmp_path / "station.yaml")
