"""The store of engines: what is installed judges nothing, and whatever happens a proven engine is there."""

from __future__ import annotations

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from station.engines.contents import ContentsError
from station.engines.interface import EngineError
from station.engines.states import FACTORY, STARTS_IN_TRIAL, Engines, EngineState, Provenance
from station.engines.store import STATE, Store, StoreError, install
from tests.station.engines.engine_store import FROM, installed, list_files, opened_bundle

A, B, C = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture
def store(tiny_engine: Path) -> Store:
    return Store(tiny_engine.parent, "tiny")


def trial(known: Engines, digest: str) -> Engines:
    return known.activated(digest, "a test", by="J. Novak", after_record=0, before="")


def home(*digests: str) -> Engines:
    """Proven engines."""
    known = Engines()
    for digest in digests:
        known = known.installed(digest, FROM, version=1, by="updater").proven(digest, "a test", by="station")
    return known


# ---------------------------------------------------------------------- files


def test_a_link_that_cannot_be_renewed_undoes_no_change_and_is_renewed_by_the_next(
    store: Store, tiny_engine: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    digest = installed(tiny_engine.parent, tiny_engine, tmp_path)
    store.change(lambda known: known.proven(digest, "golden parts reproduced", by="station"))
    in_the_way = store.folder / "active"
    in_the_way.unlink()
    (in_the_way / "something").mkdir(parents=True)
    store.change(lambda known: trial(known, digest))
    assert store.active().digest == digest
    assert "its links do not say what state.json says" in caplog.text
    shutil.rmtree(in_the_way)
    store.change(lambda known: known)
    assert os.readlink(in_the_way) == digest


def test_without_a_store_the_factory_engine_judges(store: Store) -> None:
    assert not store.is_there
    assert [one.folder for one in store.in_order()] == [store.factory]
    assert store.active().digest == FACTORY


def test_an_installed_engine_judges_nothing_until_it_is_proven_and_active(
    store: Store, tiny_engine: Path, tmp_path: Path
) -> None:
    digest = installed(tiny_engine.parent, tiny_engine, tmp_path)
    assert store.engines().entry(digest[:8]).state is EngineState.INSTALLED
    assert store.engines().entry(digest).provenance == FROM
    assert store.active().digest == FACTORY
    with pytest.raises(StoreError, match=r"is installed and may not judge parts: `station engines prove"):
        store.change(lambda known: trial(known, digest))
    store.change(lambda known: known.proven(digest, "golden parts reproduced", by="station"))
    store.change(lambda known: trial(known, digest))
    assert [one.digest for one in store.in_order()] == [digest, FACTORY]
    assert os.readlink(store.folder / "active") == digest
    assert (store.folder / "previous" / "engine.yaml").is_file(), "the link leads to the factory engine"


def test_the_same_engine_again_is_no_fault_and_a_bad_one_stays_bad(
    store: Store, tiny_engine: Path, tmp_path: Path
) -> None:
    digest = installed(tiny_engine.parent, tiny_engine, tmp_path)
    store.change(lambda known: known.failed(digest, "too slow", by="station"))
    again = install(tiny_engine.parent, "tiny", tmp_path / "opened-a-new-one", FROM)
    assert again == digest
    assert store.engines().entry(digest).state is EngineState.BAD


@pytest.mark.parametrize("what", ["changed", "added", "missing", "link", "listed outside", "no list"])
def test_an_opened_bundle_that_is_not_what_it_lists_is_refused(
    store: Store, tiny_engine: Path, tmp_path: Path, what: str
) -> None:
    opened = opened_bundle(tiny_engine, tmp_path / "opened")
    if what == "changed":
        (opened / "card.md").write_text("x")
    elif what == "added":
        (opened / "extra.so").write_text("x")
    elif what == "missing":
        (opened / "model.onnx").unlink()
    elif what == "link":
        (opened / "model.onnx").unlink()
        (opened / "model.onnx").symlink_to(tiny_engine / "model.onnx")
    elif what == "listed outside":
        (opened / "bundle.json").write_text('{"files": [{"path": "../../etc", "size": 1, "sha256": "0"}]}')
    else:
        (opened / "bundle.json").write_text("[]")
    with pytest.raises(ContentsError, match=r"install the engine again|remove it"):
        install(tiny_engine.parent, "tiny", opened, FROM)
    assert not store.is_there


def test_a_bundle_of_another_engine_is_refused(store: Store, tiny_engine: Path, tmp_path: Path) -> None:
    opened = opened_bundle(tiny_engine, tmp_path / "opened")
    text = (opened / "engine.yaml").read_text()
    (opened / "engine.yaml").write_text(text.replace("name: tiny", "name: other"))
    list_files(opened)
    with pytest.raises(EngineError, match="the station asks for 'tiny'"):
        install(tiny_engine.parent, "tiny", opened, FROM)
    assert not store.is_there


def test_a_disk_that_fills_leaves_the_store_as_it_was(
    store: Store, tiny_engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = opened_bundle(tiny_engine, tmp_path / "opened")

    def full(source: object, target: object, length: int = 0) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(StoreError, match="No space left on device: make room"):
        install(tiny_engine.parent, "tiny", opened, FROM)
    monkeypatch.undo()
    assert sorted(path.name for path in store.folder.iterdir()) == [".lock"]
    assert install(tiny_engine.parent, "tiny", opened, FROM) in store.engines().entries


def test_old_engines_make_room_and_are_still_known(store: Store, tiny_engine: Path, tmp_path: Path) -> None:
    digests = [installed(tiny_engine.parent, tiny_engine, tmp_path, f"version {n}") for n in range(8)]
    here = [digest for digest in digests if store.folder_of(digest).is_dir()]
    assert here == digests[-5:]
    assert set(store.engines().entries) == set(digests)
    with pytest.raises(StoreError, match="install its bundle again"):
        store.find(digests[0])


def test_a_state_that_cannot_be_read_says_what_to_do(store: Store, tiny_engine: Path, tmp_path: Path) -> None:
    installed(tiny_engine.parent, tiny_engine, tmp_path)
    (store.folder / STATE).write_text('{"format": 1')
    with pytest.raises(StoreError, match=r"put it back from a backup; or move .* away"):
        store.in_order()


# ---------------------------------------------------------------------- rules


def test_three_starts_in_trial_go_back_and_the_engine_is_bad() -> None:
    known = trial(home(A), A)
    for _ in range(STARTS_IN_TRIAL - 1):
        known = known.started()
        assert known.active == A
    known = known.started()
    assert known.active == FACTORY
    assert known.entry(A).state is EngineState.BAD
    assert "3 starts" in known.entry(A).why
    assert known.started() == known


def test_starts_of_a_good_engine_are_not_counted() -> None:
    known = trial(home(A), A).good("300 parts", by="station")
    for _ in range(10):
        known = known.started()
    assert known.active == A


def test_a_bad_predecessor_goes_on_to_factory() -> None:
    known = trial(home(A, B), A).good("300 parts", by="station")
    known = trial(known, B)
    assert (known.active, known.previous) == (B, A)
    known = known.failed(A, "its files were damaged", by="station")
    known = known.rolled_back("too many rejects", by="station")
    assert known.active == FACTORY
    assert {known.entry(one).state for one in (A, B)} == {EngineState.BAD}


def test_what_never_ended_its_trial_is_not_gone_back_to() -> None:
    known = trial(trial(home(A, B), A), B)
    assert (known.active, known.previous) == (B, FACTORY)
    assert known.entry(A).state is EngineState.PROVEN


def test_a_bad_engine_is_active_again_only_after_a_person_let_it_prove_itself() -> None:
    known = trial(home(A), A).rolled_back("too slow", by="station")
    with pytest.raises(StoreError, match=r"is bad \(too slow\)"):
        trial(known, A)
    known = trial(known.proven(A, "again", by="J. Novak"), A)
    assert known.active == A


def test_a_candidate_makes_room_for_the_next_one() -> None:
    known = home(A, B).shadowing(A, "new", by="station").shadowing(B, "newer", by="station")
    assert known.candidate == B
    assert known.entry(A).state is EngineState.PROVEN
    known = trial(known, B)
    assert (known.candidate, known.active) == ("", B)


@given(st.lists(st.tuples(st.integers(0, 7), st.sampled_from((A, B, C))), max_size=40))
def test_whatever_happens_a_proven_engine_is_first_and_every_step_has_a_number(
    things: list[tuple[int, str]],
) -> None:
    known = Engines()
    for what, digest in things:
        changes = (
            lambda k, d: k.installed(d, Provenance("x"), version=1, by="updater"),
            lambda k, d: k.proven(d, "golden parts", by="station"),
            lambda k, d: k.shadowing(d, "new", by="station"),
            trial,
            lambda k, d: k.started(),
            lambda k, d: k.good("parts", by="station") if k.active != FACTORY else k,
            lambda k, d: k.failed(d, "bad", by="station"),
            lambda k, d: k.rolled_back("bad", by="station"),
        )
        try:
            known = changes[what](known, digest)
        except StoreError:
            continue
        order = known.in_order()
        assert order[-1] == FACTORY
        assert all(known.entry(one).state.is_proven for one in order[:-1])
        assert known.active == FACTORY or known.may_judge(known.active)
        assert [step.number for step in known.steps] == list(range(1, len(known.steps) + 1))
        in_trial = [one.digest for one in known.entries.values() if one.state is EngineState.TRIAL]
        assert in_trial in ([], [known.active])
        shadowing = [one.digest for one in known.entries.values() if one.state is EngineState.SHADOWING]
        assert shadowing in ([], [known.candidate])


def test_an_engine_older_than_the_active_one_is_not_installed(
    store: Store, tiny_engine: Path, tmp_path: Path
) -> None:
    opened = opened_bundle(tiny_engine, tmp_path / "new", "new", version=7)
    digest = install(tiny_engine.parent, "tiny", opened, FROM)
    store.change(lambda known: trial(known.proven(digest, "a test", by="station"), digest))
    with pytest.raises(StoreError, match="has the version 6, the active one has 7: to go back"):
        install(tiny_engine.parent, "tiny", opened_bundle(tiny_engine, tmp_path / "old", version=6), FROM)
    assert list(store.engines().entries) == [digest]


def test_what_one_user_of_the_group_installs_the_other_one_may_use_and_remove(
    store: Store, tiny_engine: Path, tmp_path: Path
) -> None:
    before = os.umask(0o077)
    try:
        digest = installed(tiny_engine.parent, tiny_engine, tmp_path)
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode & 0o7777 for path in store.folder.rglob("*") if not path.is_symlink()}
    folders = {store.folder: store.folder.stat().st_mode & 0o7777} | {
        path: mode for path, mode in modes.items() if path.is_dir()
    }
    assert set(folders.values()) == {0o770}
    assert modes[store.folder / STATE] == modes[store.folder / ".lock"] == 0o660
    assert modes[store.folder_of(digest) / "golden" / "scores.json"] == 0o440


def test_two_updaters_at_once_install_everything_once(
    store: Store, tiny_engine: Path, tmp_path: Path
) -> None:
    opened = [opened_bundle(tiny_engine, tmp_path / f"opened-{n}", f"version {n}") for n in range(3)]
    with ThreadPoolExecutor(6) as updaters:
        found = list(
            updaters.map(lambda one: install(tiny_engine.parent, "tiny", one, FROM), [*opened, *opened])
        )
    assert found[:3] == found[3:]
    known = store.engines()
    assert set(known.entries) == set(found)
    assert [step.number for step in known.steps] == [1, 2, 3]
    assert all(store.folder_of(digest).is_dir() for digest in found)
    assert not list(store.folder.glob(".*.part"))
