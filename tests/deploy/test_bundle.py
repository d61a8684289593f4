"""A bundle brings the whole engine, or an error that names what is wrong and nothing else."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.bundle import open_bundle, read_list, write_bundle
from drivers.errors import InspectionError
from station.engines.contents import CONTENTS, ContentsError, read_contents
from station.engines.folder import load_manifest
from station.engines.manifest import EngineRules
from station.sealed_tar import BundleError, write_members

DATA, LICENCES = ["5" * 64], ["Apache-2.0"]


@pytest.fixture
def engine(tiny_engine: Path) -> Path:
    (tiny_engine / "card.md").write_text("# tiny\n")
    return tiny_engine


@pytest.fixture
def bundle(engine: Path, tmp_path: Path) -> Path:
    return made(engine, tmp_path / "made")


def made(engine: Path, into: Path, **changes: Any) -> Path:
    settings: dict[str, Any] = {"version": 1, "data": DATA, "licences": LICENCES}
    return write_bundle(engine, into, **(settings | changes))


def members(bundle: Path) -> dict[str, bytes]:
    """As any tar reads it."""
    with tarfile.open(bundle) as tar:
        return {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]


def forged(
    bundle: Path,
    files: Mapping[str, bytes | None] = {},
    listed: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """The bundle with other files (None: without this one), its list made again and changed by ``listed``."""
    content = members(bundle)
    contents = json.loads(content.pop(CONTENTS))
    content = {name: one for name, one in (content | dict(files)).items() if one is not None}
    contents["files"] = [
        {"path": name, "sha256": hashlib.sha256(one).hexdigest(), "size": len(one)}
        for name, one in sorted(content.items())
    ]
    if listed:
        listed(contents)
    text = (json.dumps(contents, indent=1, sort_keys=True) + "\n").encode()
    target = bundle.with_name("forged.bundle")
    with target.open("wb") as out:
        write_members(out, [(CONTENTS, text), *sorted(content.items())])
    return target


def with_digests(bundle: Path, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """``files`` and an engine.yaml that fits them: what somebody who can sign would send."""
    text = members(bundle)["engine.yaml"].decode()
    for name, content in files.items():
        before = hashlib.sha256(members(bundle)[name]).hexdigest()
        text = text.replace(before, hashlib.sha256(content).hexdigest())
    return {**files, "engine.yaml": text.encode()}


def refused(bundle: Path, *words: str) -> str:
    into = bundle.parent / "opened"
    with pytest.raises(InspectionError) as error:
        open_bundle(bundle, into)
    assert not into.exists()
    assert not list(bundle.parent.glob(".*")), "something was left behind"
    message = str(error.value)
    assert str(bundle) in message
    for word in words:
        assert word in message, message
    return message


def test_a_bundle_brings_the_whole_engine_and_its_digest_names_it(engine: Path, bundle: Path) -> None:
    opened = open_bundle(bundle, bundle.parent / "store" / "new")
    contents = read_contents(opened)
    assert contents == read_list(bundle)
    assert bundle.name == f"{contents.digest}.bundle"
    assert contents.digest == hashlib.sha256((opened / CONTENTS).read_bytes()).hexdigest()
    for file in engine.rglob("*"):
        if file.is_file():
            assert (opened / file.relative_to(engine)).read_bytes() == file.read_bytes()


def test_the_same_engine_gives_the_same_bytes_in_a_tar_that_any_machine_opens(
    engine: Path, bundle: Path, tmp_path: Path
) -> None:
    for file in engine.rglob("*"):
        os.utime(file, (1, 1))
    assert made(engine, tmp_path / "again").read_bytes() == bundle.read_bytes()
    assert next(iter(members(bundle))) == CONTENTS
    assert members(bundle)["model.onnx"] == (engine / "model.onnx").read_bytes()


def test_a_second_network_and_every_file_that_engine_yaml_names_goes_along(
    tiny_engine_with_second_network: Path, tmp_path: Path
) -> None:
    (tiny_engine_with_second_network / "card.md").write_text("# tiny\n")
    bundle = made(tiny_engine_with_second_network, tmp_path / "made")
    assert {"novelty.onnx", "golden/pretrained.json", "model.int8.onnx"} < members(bundle).keys()


def test_a_bundle_bears_the_thresholds_that_belong_to_its_engine(engine: Path, tmp_path: Path) -> None:
    rules = EngineRules(temperature=1.5, thresholds={"dark": 0.25})
    bundle = made(engine, tmp_path / "made", rules=rules)
    assert read_contents(open_bundle(bundle, tmp_path / "opened")).rules == rules


def test_thresholds_that_let_a_known_bad_part_go_are_not_bundled_and_not_opened(
    engine: Path, bundle: Path
) -> None:
    blind = EngineRules(release_below={"dark": 1.0})
    with pytest.raises(BundleError, match=r"12-dark\.png is dark, and would be accepted"):
        made(engine, bundle.parent, rules=blind)
    sent = forged(bundle, listed=lambda c: c["rules"].update(release_below={"dark": 1.0}))
    refused(sent, "12-dark.png is dark, and would be accepted")


def test_what_is_in_the_folder_but_not_of_the_engine_is_named_all_at_once(engine: Path) -> None:
    (engine / "card.md").unlink()
    (engine / "weights.pkl").write_bytes(pickle.dumps({}))
    (engine / "golden" / "more").mkdir()
    (engine / "golden" / "more" / "run.sh").write_text("")
    with pytest.raises(BundleError) as error:
        made(engine, engine.parent)
    for word in ("weights.pkl", "golden/more/run.sh", "card.md: is missing"):
        assert word in str(error.value)


def test_wrong_words_for_a_bundle_are_named_all_at_once(engine: Path) -> None:
    with pytest.raises(ContentsError) as error:
        made(engine, engine.parent, minimum_station="new", licences=["\n"], data=["x"], version=0)
    for word in ("minimum_station", "licences[0]", "data[0]", "version"):
        assert word in str(error.value)


def test_a_link_in_the_folder_is_not_followed(engine: Path, tmp_path: Path) -> None:
    (engine / "card.md").rename(tmp_path / "elsewhere.md")
    (engine / "card.md").symlink_to(tmp_path / "elsewhere.md")
    with pytest.raises(BundleError, match=r"card\.md: is a link"):
        made(engine, tmp_path / "made")


def test_ten_gigabytes_of_zeros_are_refused_before_they_are_read(bundle: Path) -> None:
    zeros = bundle.with_name("zeros.bundle")
    zeros.touch()
    os.truncate(zeros, 10_000_000_000)
    refused(zeros, "is no bundle")
    os.truncate(bundle, 10_000_000_000)
    refused(bundle, "is 10000000000 bytes long, its list says")


@pytest.mark.parametrize(
    "name",
    ["../../etc", "/etc/passwd", "golden/../../x", "a/b/c/d", "", ".hidden", "x\\y", "x\n", "CON:", "é"],
)
def test_a_name_that_is_no_plain_path_inside_the_folder_is_refused(bundle: Path, name: str) -> None:
    def renamed(contents: dict[str, Any]) -> None:
        contents["files"][0]["path"] = name

    refused(forged(bundle, listed=renamed), "files[0].path")


def set_size(contents: dict[str, Any], size: object) -> None:
    contents["files"][0]["size"] = size


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda c: c["files"].append(c["files"][-1]), "'model.onnx' twice"),
        (lambda c: c["files"].pop(), "bytes long"),
        (lambda c: c["files"].reverse(), "order"),
        (lambda c: c["files"].extend(c["files"] * 40), "files"),
        (lambda c: set_size(c, -1), "files[0].size"),
        (lambda c: set_size(c, 1 << 40), "files[0].size"),
        (lambda c: set_size(c, 1.0), "files[0].size"),
        (lambda c: c.update(format=2), "format"),
        (lambda c: c.update(product="../x"), "product"),
        (lambda c: c.update(version=0), "version"),
        (lambda c: c.update(licences=[]), "licences"),
        (lambda c: c.update(data=["x"]), "data[0]"),
        (lambda c: c.update(more=1), "more"),
        (lambda c: c["rules"].update(temperature=0), "rules.temperature"),
        (lambda c: c["rules"].update(thresholds={"spots": 0.5}), "'spots', which is no defect class"),
        (lambda c: c["rules"].update(unknown="reject"), "no novelty"),
        (lambda c: c.update(minimum_station="9.0.0"), "needs release 9.0.0"),
    ],
)  # fmt: skip
def test_wrong_counts_duplicate_names_and_another_version_are_named(
    bundle: Path, change: Callable[[dict[str, Any]], None], word: str
) -> None:
    refused(forged(bundle, listed=change), word)


def test_a_list_with_several_faults_names_them_all(bundle: Path) -> None:
    refused(
        forged(bundle, listed=lambda c: c.update(version=0, licences=[], data=[])),
        "version",
        "licences",
        "data",
    )


def test_a_network_with_an_operator_of_its_own_is_refused_before_a_run_time_sees_it(bundle: Path) -> None:
    model = onnx.load_from_string(members(bundle)["model.onnx"])
    model.graph.node[0].op_type = "RunShell"
    files = with_digests(bundle, {"model.onnx": model.SerializeToString()})
    refused(forged(bundle, files), "model.onnx", "RunShell", "operator")


def test_a_network_with_weights_elsewhere_is_refused(bundle: Path) -> None:
    model = onnx.load_from_string(members(bundle)["model.onnx"])
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/shadow")
    files = with_digests(bundle, {"model.onnx": model.SerializeToString()})
    refused(forged(bundle, files), "model.onnx", "lies in another file")


def test_a_pickle_is_refused_beside_the_engine_and_in_the_place_of_a_network(bundle: Path) -> None:
    content = pickle.dumps(np.zeros(3))
    refused(forged(bundle, {"weights.pkl": content}), "weights.pkl", "does not name")
    refused(forged(bundle, with_digests(bundle, {"model.onnx": content})), "model.onnx", "is a pickle")


def test_a_link_a_device_or_a_compressed_tar_is_refused(bundle: Path) -> None:
    content = members(bundle)
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE):
        target = bundle.with_name("linked.bundle")
        with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as tar:
            for name, one in content.items():
                info = tarfile.TarInfo(name)
                info.size = len(one)
                if name == "model.onnx":
                    info.type, info.linkname = kind, "/etc/passwd"
                tar.addfile(info, io.BytesIO(one))
        refused(target)
    with tarfile.open(target, "w:gz") as tar:
        tar.add(bundle, "bundle.json")
    refused(target, "is no bundle")


def test_a_golden_picture_that_claims_another_size_is_never_decoded(bundle: Path) -> None:
    picture = bytearray(members(bundle)["golden/01-good.png"])
    picture[16:24] = (60_000).to_bytes(4, "big") * 2
    files = with_digests(bundle, {"golden/01-good.png": bytes(picture)})
    refused(forged(bundle, files), "golden/01-good.png is a picture of 60000 x 60000 px, not of 32 x 64 px")


def test_an_engine_of_another_name_than_the_product_is_refused(bundle: Path) -> None:
    refused(forged(bundle, listed=lambda c: c.update(product="other")), "name", "'tiny'")


def test_a_missing_network_is_named(bundle: Path) -> None:
    refused(forged(bundle, {"model.int8.onnx": None}), "model.int8.onnx is missing")


def test_a_file_that_differs_from_engine_yaml_is_named(bundle: Path) -> None:
    refused(forged(bundle, {"golden/scores.json": b"{}"}), "golden.scores")


def test_what_is_there_is_not_replaced(bundle: Path, engine: Path) -> None:
    with pytest.raises(BundleError, match="is there already"):
        open_bundle(bundle, engine)
    assert load_manifest(engine)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_changed_cut_or_longer_bundle_gives_another_engine(bundle: Path, data: st.DataObject) -> None:
    """What its list says of version, data and licences is bound by nothing here, but by the signature."""
    content = bytearray(bundle.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["changed", "cut", "longer"]))
    if kind == "changed":
        content[at] ^= data.draw(st.integers(1, 255))
    else:
        content = content[:at] if kind == "cut" else content + bytes(at)
        if kind == "longer" and not at:
            return
    bad = bundle.with_name("bad.bundle")
    bad.write_bytes(content)
    opened = bundle.parent / "opened"
    try:
        open_bundle(bad, opened)
    except InspectionError:
        refused(bad)
        return
    found = {str(path.relative_to(opened)): path.read_bytes() for path in opened.rglob("*") if path.is_file()}
    shutil.rmtree(opened)
    assert kind == "changed"
    assert found.pop(CONTENTS) != members(bundle)[CONTENTS]
    assert found == {name: one for name, one in members(bundle).items() if name != CONTENTS}


def test_a_list_that_says_something_else_of_its_data_still_brings_this_engine_alone(bundle: Path) -> None:
    """The signature of the whole file is what finds this; see the attacks on repositories."""
    content = bundle.read_bytes().replace(b"5" * 64, b"4" + b"5" * 63)
    bad = bundle.with_name("bad.bundle")
    bad.write_bytes(content)
    one, other = (load_manifest(open_bundle(b, b.parent / b.stem / "tiny")) for b in (bad, bundle))
    assert one.digest == other.digest


def test_a_disk_that_fills_leaves_nothing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        open_bundle(bundle, bundle.parent / "opened")
    assert sorted(path.name for path in bundle.parent.iterdir()) == [bundle.name]


def test_engine_yaml_is_read_strictly(bundle: Path) -> None:
    document = yaml.safe_load(members(bundle)["engine.yaml"])
    document["run"] = "!!python/object/apply:os.system [id]"
    refused(forged(bundle, {"engine.yaml": yaml.safe_dump(document).encode()}), "engine.yaml", "run")
