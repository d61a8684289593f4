"""Attacks on an update, each by its name, over a real server on loopback that misbehaves: none is accepted.

Each test says what the attacker holds. The words are those of TUF's specification, of "The Update Framework"
(Samuel et al., 2010) and of Uptane.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner

from deploy.updater.clock import ISSUED, TIME_FORMAT
from tests.deploy.plant_of_updates import Station, station
from tests.deploy.tuf_repository import DIGEST, changed


@pytest.fixture
def here(memory: Path) -> Iterator[Station]:
    with station(memory) as made:
        yield made


def both(test: Callable[..., None]) -> Callable[..., None]:
    return pytest.mark.parametrize("which", ["images", "director"])(test)


def test_without_an_attack_the_engine_is_installed_once(here: Station) -> None:
    assert here.update()[0].installed == DIGEST
    assert here.installed == [b"a bundle"]
    assert "here already" in here.update()[0].words
    assert here.installed == [b"a bundle"]


# ---------------------------------------------------------------- rollback, per role


@both
def test_rollback_of_the_timestamp(here: Station, which: str) -> None:
    """The attacker holds no key and puts an older timestamp back."""
    repository = getattr(here, which)
    old = repository.files["metadata/timestamp.json"]
    repository.publish()
    here.look()
    repository.files["metadata/timestamp.json"] = old
    here.is_refused(f"`{which}` has a wrong version", "New timestamp version 1 must be >=", "old files")


@both
def test_rollback_of_the_snapshot(here: Station, which: str) -> None:
    """The attacker holds the key of the timestamp."""
    repository = getattr(here, which)
    old = copy.deepcopy(repository.timestamp.snapshot_meta)
    repository.publish()
    here.look()
    repository.timestamp.version += 1
    repository.timestamp.snapshot_meta = old
    repository.publish_timestamp()
    here.is_refused(f"`{which}` has a wrong version", "New snapshot version must be >=")


@both
@pytest.mark.parametrize("role", ["targets", "delegated"])
def test_rollback_of_targets_and_of_a_delegated_role(here: Station, which: str, role: str) -> None:
    """The attacker holds the keys of timestamp and snapshot."""
    repository = getattr(here, which)
    if role == "delegated":
        role = "housing.stable"
        if which == "director":
            repository.delegate(role, ["other/*"])
            repository.publish()
    old = copy.deepcopy(repository.snapshot.meta[f"{role}.json"])
    repository.publish()
    here.look()
    repository.snapshot.meta[f"{role}.json"] = old
    repository.snapshot.version += 1
    content = repository.signed(repository.snapshot, repository.signers["snapshot"])
    repository.put("snapshot", repository.snapshot.version, content)
    repository.timestamp.version += 1
    repository.timestamp.snapshot_meta.version = repository.snapshot.version
    repository.publish_timestamp()
    here.is_refused(f"`{which}` has a wrong version", f"{role}.json version")


@both
def test_rollback_of_the_root(here: Station, which: str) -> None:
    """The attacker holds no key and offers the first root as the next one."""
    repository = getattr(here, which)
    repository.publish_root()
    here.look()
    repository.files["metadata/3.root.json"] = repository.first_root
    here.is_refused(f"`{which}` has a wrong version", "Expected root version 3 instead got version 1")


def test_a_root_that_skips_a_version(here: Station) -> None:
    """Keys were changed twice, and the root between was not published."""
    for _ in range(2):
        old = here.images.signers["root"]
        here.images.rotate("root")
        here.images.rotate("timestamp")
        here.images.publish_root(also=old)
    here.images.publish()
    second = here.images.files.pop("metadata/2.root.json")
    here.is_refused(
        "`images` is not signed", "timestamp was signed by 0/1 keys", "every root.json since then"
    )
    here.images.files["metadata/2.root.json"] = here.images.files["metadata/3.root.json"]
    here.is_refused("root was signed by 0/1 keys")
    here.images.files["metadata/2.root.json"] = second
    assert here.update()[0].installed == DIGEST


# ---------------------------------------------------------------- freeze


@both
def test_freeze(here: Station, which: str) -> None:
    """The attacker keeps newer files away: what is there expires."""
    here.look()
    other = here.director if which == "images" else here.images
    here.now = here.images.now + timedelta(days=2)
    other.now = here.now
    other.timestamp.expires = other.in_days(1)
    other.publish()
    here.is_refused(f"`{which}` has expired", "timestamp.json is expired", "keeps newer files")


def test_freeze_of_a_station_whose_clock_stands_in_1970(here: Station) -> None:
    """The newest signed time counts: what had expired by then is refused, whatever the clock says."""
    here.look()
    here.now = here.images.now.replace(year=1970)
    here.director.now += timedelta(days=2)
    here.director.timestamp.expires = here.director.in_days(1)
    here.director.publish()
    here.is_refused("`images` has expired", f"it is {here.director.now:%F}")


# ---------------------------------------------------------------- mix-and-match


@both
@pytest.mark.parametrize("hashes", [False, True])
def test_mix_and_match(here: Station, which: str, hashes: bool) -> None:
    """The attacker holds no key and joins the snapshot of today with the targets of yesterday."""
    repository = getattr(here, which)
    old = repository.files["metadata/1.targets.json"]
    repository.publish(hashes=hashes)
    repository.files["metadata/2.targets.json"] = old
    found = "is not what was signed" if hashes else "Expected targets v2, got v1"
    here.is_refused(f"`{which}`", found)


# ---------------------------------------------------------------- fast-forward


@both
def test_fast_forward_and_recovery(here: Station, which: str) -> None:
    """The attacker held the keys of timestamp and snapshot and signed the highest versions there are."""
    repository = getattr(here, which)
    kept = copy.deepcopy((repository.timestamp, repository.snapshot))
    repository.timestamp.version = repository.snapshot.version = 2**31 - 2
    for name in ("timestamp", "snapshot"):  # and a time in the far future, so that nothing is valid any more
        getattr(repository, name).unrecognized_fields[ISSUED] = repository.in_days(3000).strftime(TIME_FORMAT)
        getattr(repository, name).expires = repository.in_days(4000)
    repository.publish()
    here.is_refused("has expired", "check this device's clock too")
    repository.timestamp, repository.snapshot = kept
    repository.publish()
    here.is_refused("has expired")

    for role in ("timestamp", "snapshot"):
        repository.rotate(role)
    repository.publish_root()
    repository.publish()
    assert here.update()[0].installed == DIGEST
    assert here.trusted(which, "timestamp")["version"] < 10


# ---------------------------------------------------------------- signatures


@both
@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_wrong_signature(here: Station, which: str, role: str) -> None:
    """The attacker signs with a key of his own."""
    repository = getattr(here, which)
    repository.signers[role] = [CryptoSigner.generate_ed25519()]
    if role == "root":
        repository.publish_root()
    repository.publish()
    here.is_refused(f"`{which}` is not signed", f"{role} was signed by 0/1 keys")


def test_wrong_signature_of_a_delegated_role(here: Station) -> None:
    here.images.signers["housing.stable"] = [CryptoSigner.generate_ed25519()]
    here.images.publish()
    here.is_refused("`images` is not signed", "housing.stable was signed by 0/1 keys")


@both
@pytest.mark.parametrize("role", ["timestamp", "1.snapshot", "1.targets"])
def test_signed_metadata_that_was_changed(here: Station, which: str, role: str) -> None:
    """The attacker holds no key and moves the expiry."""
    repository = getattr(here, which)
    name = f"metadata/{role}.json"
    repository.files[name] = changed(repository.files[name], expires="2099-01-01T00:00:00Z")
    here.is_refused(f"`{which}` is not signed", "0/1 keys")


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xfe", b'{"signed": {}, "signatures": []}'])
def test_metadata_that_is_none(here: Station, content: bytes) -> None:
    here.images.files["metadata/timestamp.json"] = content
    here.is_refused("`images` has metadata that cannot be used")


@pytest.mark.parametrize("which", ["images", "director"])
@pytest.mark.parametrize("role", ["root", "targets"])
def test_one_signature_of_two(memory: Path, which: str, role: str) -> None:
    """The attacker holds one key of a role that needs two, and signs with it twice."""
    with station(memory, threshold=2) as here:
        repository = getattr(here, which)
        both_keys = repository.signers[role]
        repository.signers[role] = [both_keys[0], both_keys[0]]
        if role == "root":
            repository.publish_root()
        repository.publish()
        here.is_refused(f"`{which}` is not signed", f"{role} was signed by 1/2 keys")
        repository.signers[role] = both_keys
        if role == "root":
            repository.publish_root(bump=False)
        repository.publish()
        assert here.update()[0].installed == DIGEST


@both
@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_key_compromise_and_rotation(here: Station, which: str, role: str) -> None:
    """The attacker holds the key that was in use until the root took it back."""
    repository = getattr(here, which)
    stolen = repository.signers[role]
    here.look()
    repository.rotate(role)
    repository.publish_root()
    good = repository.signers[role]
    repository.signers[role] = stolen
    repository.publish()
    here.is_refused(f"`{which}` is not signed", f"{role} was signed by 0/1 keys")
    repository.signers[role] = good
    repository.publish()
    assert here.update()[0].installed == DIGEST


@both
def test_compromise_of_the_root_key_ends_with_the_next_root(here: Station, which: str) -> None:
    """A new root counts only with the old keys and the new ones: neither alone is enough."""
    repository = getattr(here, which)
    old = repository.signers["root"]
    repository.rotate("root")
    repository.publish_root()
    here.is_refused(f"`{which}` is not signed", "root was signed by 0/1 keys")
    new, repository.signers["root"] = repository.signers["root"], old
    repository.publish_root(bump=False)
    here.is_refused(f"`{which}` is not signed", "root was signed by 0/1 keys")
    repository.signers["root"] = new
    repository.publish_root(bump=False, also=old)
    assert here.update()[0].installed == DIGEST


def test_key_compromise_of_a_delegated_role(here: Station) -> None:
    """The key of one product signs nothing for another product."""
    path = here.path.replace("housing", "plates")
    here.images.add_target(
        path, b"a bundle", "housing.stable", product="plates", version=2, minimum_version="0.0.1"
    )
    here.director.targets.targets.clear()
    here.director.add_target(path, b"a bundle", product="plates", version=2, percent=100, halted=False)
    here.images.publish()
    here.director.publish()
    here.write(products="[{product: plates}]")
    here.is_refused(f"the director orders {path}, which the image repository does not list")


# ---------------------------------------------------------------- bundles


def bundle_of(station: Station) -> str:
    return next(path for path in station.images.files if path.startswith("targets/"))


def test_arbitrary_bundle(here: Station) -> None:
    """The attacker holds the server, and no key: other bytes of the same length."""
    here.images.files[bundle_of(here)] = b"A BUNDLE"
    here.is_refused("`images` is not what was signed")
    assert list((here.folder / "state" / "parts").iterdir()) == [], "what is wrong is not kept to go on with"
    here.images.files[bundle_of(here)] = b"a bundle"
    assert here.update()[0].installed == DIGEST


def test_bundle_that_is_too_short(here: Station) -> None:
    here.images.files[bundle_of(here)] = b"a bun"
    here.is_refused("`images` is not what was signed")


@pytest.mark.parametrize(
    "what", ["timestamp.json", "snapshot.json", "targets.json", "2.root.json", ".bundle"]
)
def test_endless_data(here: Station, what: str) -> None:
    """The attacker holds the server and never stops to send."""
    sent = [0]

    def endless(handler: Any, _: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(bytes(100_000))
            sent[0] += 100_000

    here.server.misbehave[what] = endless
    here.is_refused("`images` is longer than what was signed", "sends more than the")
    assert sent[0] < 20_000_000, "only as much as TUF allows for such a file, and what sockets hold"


def drip(handler: Any, content: bytes | None) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content or b"")))
    handler.end_headers()
    for one in content or b"":
        handler.wfile.write(bytes([one]))
        time.sleep(0.02)


def drip_headers(handler: Any, _: Any) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        handler.wfile.write(b"X-Slow: 1\r\n")
        time.sleep(0.02)


def say_nothing(*_: Any) -> None:
    time.sleep(20)


@pytest.mark.parametrize("how", [drip, drip_headers, say_nothing], ids=lambda how: how.__name__)
@pytest.mark.parametrize("what", ["timestamp.json", ".bundle"])
def test_slow_retrieval(memory: Path, what: str, how: Callable[..., None]) -> None:
    """The attacker holds the server and sends just enough that no connection times out."""
    with station(memory, bytes(2000)) as here:
        here.write(network="{slowest_bytes_per_s: 2000, slow_for_s: 0.3}")
        here.server.misbehave[what] = how
        began = time.monotonic()
        here.is_refused("comes too slowly", "network.slowest_bytes_per_s")
        assert time.monotonic() - began < 15


@pytest.mark.slow
def test_slow_retrieval_that_is_just_fast_enough_ends_at_the_deadline(memory: Path) -> None:
    with station(memory, bytes(200_000)) as here:

        def just_enough(handler: Any, content: bytes) -> None:
            handler.send_response(200)
            handler.end_headers()
            for start in range(0, len(content), 500):
                handler.wfile.write(content[start : start + 500])
                time.sleep(0.02)

        here.server.misbehave[".bundle"] = just_enough
        here.write(network="{slowest_bytes_per_s: 2000, slow_for_s: 2, deadline_s: 4}")
        here.is_refused("`images` comes too slowly", "not done within 4 s (network.deadline_s)")
        here.server.misbehave.clear()
        assert here.update()[0].installed == DIGEST
        assert here.server.ranges, "what came until the deadline was kept"


# ---------------------------------------------------------------- one repository without the other


def test_the_director_without_the_images(here: Station) -> None:
    """The attacker holds every key of the plant."""
    del here.images.delegated["housing.stable"].targets[here.path]
    here.images.publish()
    here.is_refused("the director orders", "which the image repository does not list")


def test_the_images_without_the_director(here: Station) -> None:
    """The attacker holds every key of the workshop."""
    here.director.targets.targets.clear()
    here.director.publish()
    assert here.update()[0].words == "housing: the plant orders no engine for this station"
    assert here.installed == []


@pytest.mark.parametrize("content", [b"A BUNDLE", b"another bundle"])
def test_both_repositories_list_different_bytes(here: Station, content: bytes) -> None:
    """The attacker holds every key of one of the two."""
    entry = {"product": "housing", "version": 2, "minimum_version": "0.0.1"}
    here.images.add_target(here.path, content, "housing.stable", **entry)
    here.images.publish()
    here.is_refused("list", "with different length or hashes")


@both
def test_one_repository_is_away(here: Station, which: str) -> None:
    """Nothing is installed from one repository alone."""
    getattr(here, which).files.clear()
    here.is_refused(f"`{which}` is not there", "the server answered 404")


@both
def test_one_repository_speaks_for_the_other(here: Station, which: str) -> None:
    """The attacker holds one repository and the way to both: each has a root of its own."""
    other = "director" if which == "images" else "images"
    here.server.repositories[other] = getattr(here, which)
    here.is_refused(f"`{other}` is not signed")
