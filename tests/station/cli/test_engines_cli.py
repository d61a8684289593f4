"""`station engines`: what a person sees and does while no station runs; the next start goes on from there."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner

from station.cli import app
from station.engines.contents import CONTENTS, contents_from
from station.engines.interface import EngineError
from station.engines.manifest import EngineRules
from station.engines.proof import proof_file, read_proof
from station.engines.states import FACTORY, EngineState, StoreError
from station.engines.store import Store, install
from station.signing import own_key
from tests.conftest import TINY_RECIPE
from tests.station.engines.engine_store import FROM, installed, opened_bundle

CONFIG = """
station: {name: test}
recipe: tiny
paths: {recipes: recipes, engines: engines, journal: var/journal.db, images: var/images, cache: var/cache}
camera: {kind: folder, path: frames}
sorter: {kind: serial, port: ./cell.pty, ack_timeout_ms: 1000}
engine: {backend: onnxruntime-cpu, precision: fp32, threads: 1}
new_engines: {memory_mb: 16000}   # the proof runs in the process of the tests
"""


@pytest.fixture
def folder(tiny_engine: Path, tmp_path: Path) -> Path:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "tiny.yaml").write_text(TINY_RECIPE)
    (tmp_path / "station.yaml").write_text(CONFIG)
    return tmp_path


def run(folder: Path, *words: str) -> str:
    done = CliRunner().invoke(
        app, ["engines", *words, "--config", str(folder / "station.yaml")], env={"COLUMNS": "220"}
    )
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return f"{done.exit_code} {done.output}"


def test_a_person_proves_activates_and_rolls_back_an_engine_without_a_station(folder: Path) -> None:
    store = Store(folder / "engines", "tiny")
    digest = installed(folder / "engines", folder / "engines" / "tiny", folder)
    assert run(folder, "list").count("installed") == 1
    with pytest.raises(StoreError, match="is installed and may not judge parts"):
        run(folder, "activate", digest[:8])
    proven = run(folder, "prove", digest[:8], "--by", "J. Novak")
    assert proven.startswith("0 ")
    assert "12 golden and 8 known-bad parts right on onnxruntime-cpu fp32" in proven
    proof = read_proof(
        proof_file(store.folder, digest), own_key(folder / "var" / "keys" / "station.pem").public
    )
    assert (proof.station, proof.digest, proof.failed) == ("test", digest, "")
    assert "begins its trial" in run(
        folder, "activate", digest[:8], "--why", "knows more", "--by", "J. Novak"
    )
    assert store.engines().active == digest
    assert "active" in run(folder, "list")
    assert "description" in run(folder, "diff", "factory", digest[:8])
    assert "they differ in nothing" in run(folder, "diff", digest[:8], digest[:8])
    assert "the next start of the station uses it" in run(folder, "rollback", "--by", "A. Ito")
    assert store.engines().active == FACTORY
    history = run(folder, "history")
    assert history.count("J. Novak") == 2
    assert "bad" in history
    assert "(not in the journal yet)" in history


def test_an_engine_that_fails_its_proof_is_bad_and_the_command_says_which_gate(folder: Path) -> None:
    store = Store(folder / "engines", "tiny")
    digest = installed(folder / "engines", folder / "engines" / "tiny", folder)
    config = folder / "station.yaml"
    config.write_text(config.read_text().replace("memory_mb: 16000", "memory_mb: 1"))
    failed = run(folder, "prove", digest[:8])
    assert failed.startswith("1 ")
    assert "NOT proven: gate `memory`" in failed
    assert store.engines().entry(digest).state is EngineState.BAD


def test_an_engine_that_is_not_there_is_named_with_what_is(folder: Path) -> None:
    assert "no engine of tiny has come home yet" in run(folder, "history")
    with pytest.raises(EngineError, match="no engine of the store begins with 'abcdef'"):
        run(folder, "prove", "abcdef")


def test_pictures_are_inspected_with_the_active_engine_and_its_numbers(folder: Path) -> None:
    """A temperature of the new engine that makes it unsure shows in the confidence."""
    store = Store(folder / "engines", "tiny")
    picture = next((folder / "engines" / "tiny" / "golden").glob("*bright*.png"))

    def confidence() -> float:
        words = ["inspect", str(picture), "--recipe", "tiny", "--recipes", str(folder / "recipes")]
        out = folder / "verdicts.csv"
        where = ["--engines", str(folder / "engines"), "--backend", "onnxruntime-cpu", "--precision", "fp32"]
        done = CliRunner().invoke(app, [*words, *where, "--csv", str(out)])
        assert done.exit_code == 1, done.output
        with out.open() as file:
            (row,) = csv.DictReader(file)
        return float(row["confidence"])

    before = confidence()
    opened = opened_bundle(folder / "engines" / "tiny", folder / "opened")
    contents = contents_from((opened / CONTENTS).read_bytes())
    softer = contents.model_copy(update={"rules": EngineRules(temperature=3.0)})
    (opened / CONTENTS).write_bytes(softer.to_json())
    digest = install(folder / "engines", "tiny", opened, FROM)
    assert confidence() == before
    store.change(lambda known: known.proven(digest, "a test", by="x"))
    store.change(lambda known: known.activated(digest, "a test", by="x", after_record=0, before=""))
    assert confidence() < before - 0.001
