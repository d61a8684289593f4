"""``deploy.conformance`` in the manner of the public tuf-conformance suite.

The suite is not on the package index. Tests are named as there, where that name is known to us; each runs the
command line as the suite does.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import SuccinctRoles

from deploy.conformance import main
from tests.deploy.tuf_repository import Repository, Server, serving


class SuiteClient:
    """The client as the suite starts it, and what it finds in the folders afterwards."""

    def __init__(self, folder: Path, server: Server, repository: Repository) -> None:
        self.server, self.repository = server, repository
        self.metadata, self.targets = folder / "metadata", folder / "targets"
        self.root = folder / "trusted-root.json"
        self.root.write_bytes(repository.first_root)
        self.metadata.mkdir()

    def _run(self, *words: str) -> int:
        return main(["--metadata-dir", str(self.metadata), *words])

    def init(self) -> int:
        return self._run("init", str(self.root))

    def refresh(self) -> int:
        return self._run("--metadata-url", f"{self.server.address}/suite/metadata/", "refresh")

    def download(self, *names: str) -> int:
        wanted = [word for name in names for word in ("--target-name", name)]
        address = f"{self.server.address}/suite"
        places = ["--metadata-url", f"{address}/metadata/", "--target-base-url", f"{address}/targets/"]
        return self._run(*places, *wanted, "--target-dir", str(self.targets), "download")

    def versions(self) -> dict[str, int]:
        """Unversioned name -> version."""
        found = {}
        for file in sorted(self.metadata.glob("*.json")):
            found[file.name.removesuffix(".json")] = json.loads(file.read_text())["signed"]["version"]
        return found

    def downloaded(self) -> list[bytes]:
        return [file.read_bytes() for file in sorted(self.targets.rglob("*")) if file.is_file()]

    @property
    def asked(self) -> list[str]:
        return [path.removeprefix("/suite/") for path in self.server.asked]


@pytest.fixture(params=[True, False], ids=["consistent_snapshot", "without consistent_snapshot"])
def suite(request: pytest.FixtureRequest, memory: Path) -> Iterator[SuiteClient]:
    repository = Repository(consistent=request.param, issued=False)
    repository.publish(bump=False)
    with serving(suite=repository) as server:
        yield SuiteClient(memory, server, repository)


@pytest.fixture
def client(memory: Path) -> Iterator[SuiteClient]:
    repository = Repository(issued=False)
    repository.publish(bump=False)
    with serving(suite=repository) as server:
        made = SuiteClient(memory, server, repository)
        assert made.init() == 0
        yield made


# ---------------------------------------------------------------- test_basic


def test_basic_init_and_refresh(suite: SuiteClient) -> None:
    assert suite.init() == 0
    assert suite.versions() == {"root": 1}
    assert suite.asked == []
    assert suite.refresh() == 0
    assert suite.versions() == {"root": 1, "snapshot": 1, "targets": 1, "timestamp": 1}
    prefix = "1." if suite.repository.root.consistent_snapshot else ""
    assert suite.asked == [
        "metadata/2.root.json",
        "metadata/timestamp.json",
        f"metadata/{prefix}snapshot.json",
        f"metadata/{prefix}targets.json",
    ]


def test_basic_metadata_hash_support(suite: SuiteClient) -> None:
    suite.init()
    suite.repository.publish(hashes=True)
    assert suite.refresh() == 0
    suite.repository.publish(hashes=True)
    suite.repository.files["metadata/timestamp.json"] += b" "  # outside what is signed
    assert suite.refresh() == 0
    suite.repository.publish(hashes=True)
    for path in suite.repository.files:
        if "snapshot" in path:
            suite.repository.files[path] += b" "
    assert suite.refresh() == 1


def test_a_second_refresh_asks_for_what_is_new_only(client: SuiteClient) -> None:
    client.refresh()
    client.server.asked.clear()
    assert client.refresh() == 0
    assert client.asked == ["metadata/2.root.json", "metadata/timestamp.json"]


@pytest.mark.parametrize("content", [b"", b"{}", b"no json"])
def test_init_with_a_root_that_is_none_is_refused(client: SuiteClient, content: bytes) -> None:
    client.root.write_bytes(content)
    assert client.init() == 1
    client.root.unlink()
    assert client.init() == 1


@pytest.mark.parametrize("words", [(), ("refresh",), ("--metadata-dir", "x", "dance"), ("init", "x")])
def test_a_wrong_command_line_ends_with_1(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 1
    assert "usage:" in capsys.readouterr().err


def test_it_runs_as_a_program(client: SuiteClient) -> None:
    words = [
        "--metadata-dir",
        str(client.metadata),
        "--metadata-url",
        f"{client.server.address}/suite/metadata/",
    ]
    run = [sys.executable, "-m", "deploy.conformance", *words, "refresh"]
    assert subprocess.run(run, check=False, cwd=Path(__file__).parents[2]).returncode == 0
    client.repository.files["metadata/timestamp.json"] = b"{}"
    refused = subprocess.run(run, check=False, capture_output=True, cwd=Path(__file__).parents[2])
    assert (refused.returncode, bool(refused.stderr)) == (1, True)


# ---------------------------------------------------------------- test_expired_metadata


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_expired_metadata(client: SuiteClient, role: str) -> None:
    """What comes before the expired role is kept; the expired one is not."""
    repository = client.repository
    assert client.refresh() == 0
    getattr(repository, role).expires = repository.in_days(-1)
    if role == "root":
        repository.publish_root()
    repository.publish()
    assert client.refresh() == 1
    kept = {"root": {"root": 2}, "timestamp": {"timestamp": 1}, "snapshot": {"timestamp": 2}, "targets": {}}
    found = client.versions()
    assert found.items() >= kept[role].items()
    assert found[role] == (2 if role == "root" else 1)


def test_an_expired_intermediate_root_is_passed(client: SuiteClient) -> None:
    repository = client.repository
    repository.root.expires = repository.in_days(-1)
    repository.publish_root()
    repository.root.expires = repository.in_days(10)
    repository.publish_root()
    assert client.refresh() == 0
    assert client.versions()["root"] == 3


def test_an_expired_local_timestamp_is_replaced(client: SuiteClient) -> None:
    repository = client.repository
    repository.timestamp.expires = repository.in_days(-1)
    repository.publish()
    assert client.refresh() == 1
    repository.timestamp.expires = repository.in_days(1)
    repository.publish()
    assert client.refresh() == 0


# ---------------------------------------------------------------- test_rollback


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_rollback(client: SuiteClient, role: str) -> None:
    """A version lower than the trusted one is not taken, and what was trusted stays."""
    repository = client.repository
    repository.publish()
    assert client.refresh() == 0
    getattr(repository, role).version -= 2
    repository.publish()
    assert client.refresh() == 1
    assert client.versions()[role] == 2


@pytest.mark.parametrize("role", ["timestamp", "snapshot"])
def test_fast_forward_recovery(client: SuiteClient, role: str) -> None:
    repository = client.repository
    getattr(repository, role).version = 99999
    repository.publish()
    assert client.refresh() == 0
    getattr(repository, role).version = 1
    repository.timestamp.version = max(repository.timestamp.version, 1)
    repository.publish()
    assert client.refresh() == 1
    for one in ("timestamp", "snapshot"):
        repository.rotate(one)
    repository.publish_root()
    repository.publish()
    assert client.refresh() == 0
    assert client.versions()[role] < 10


def test_snapshot_that_leaves_a_role_out(client: SuiteClient) -> None:
    repository = client.repository
    repository.delegate("more", ["*"])
    repository.publish()
    assert client.refresh() == 0
    del repository.delegated["more"], repository.snapshot.meta["more.json"]
    repository.publish()
    assert client.refresh() == 1


# ---------------------------------------------------------------- test_keys


KEYS: dict[str, Any] = {
    "ed25519": CryptoSigner.generate_ed25519,
    "rsassa-pss-sha256": lambda: CryptoSigner(rsa.generate_private_key(65537, 2048)),
    "ecdsa-sha2-nistp256": CryptoSigner.generate_ecdsa,
    "ecdsa-sha2-nistp384": lambda: CryptoSigner(ec.generate_private_key(ec.SECP384R1())),
    "ecdsa-sha2-nistp521": lambda: CryptoSigner(ec.generate_private_key(ec.SECP521R1())),
}


@pytest.mark.parametrize("scheme", KEYS)
def test_key_types_and_schemes(client: SuiteClient, scheme: str) -> None:
    repository = client.repository
    signer = KEYS[scheme]()
    repository.rotate("snapshot", signer)
    repository.publish_root()
    repository.publish()
    assert client.refresh() == 0
    assert client.versions()["snapshot"] == 2
    repository.signers["snapshot"] = [KEYS[scheme]()]
    repository.publish()
    assert client.refresh() == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_deprecated_name_of_an_ecdsa_key_is_read(client: SuiteClient) -> None:
    """As the roots of sigstore have it: the key type is the scheme."""
    repository = client.repository
    signer = CryptoSigner.generate_ecdsa()
    key = signer.public_key
    key.keytype = key.scheme
    repository.rotate("timestamp", signer)
    repository.publish_root()
    repository.publish()
    assert client.refresh() == 0


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_duplicate_keys_and_signatures_count_once(client: SuiteClient, role: str) -> None:
    repository = client.repository
    repository.root.roles[role].threshold = 2
    repository.publish_root()
    repository.publish()
    assert client.refresh() == 1


def test_a_root_with_a_key_of_an_unknown_type_is_refused(client: SuiteClient) -> None:
    """The specification would leave the key out; python-tuf reads no such root (docs/updates.md)."""
    repository = client.repository
    key = CryptoSigner.generate_ed25519().public_key
    key.keytype = key.scheme = "from-the-future"
    repository.root.add_key(key, "timestamp")
    repository.publish_root()
    repository.publish()
    assert client.refresh() == 1
    assert client.versions() == {"root": 1}


def test_max_root_rotations(client: SuiteClient) -> None:
    """256 at once, and the next refresh goes on."""
    repository = client.repository
    for _ in range(258):
        repository.publish_root()
    assert client.refresh() == 0
    assert client.versions()["root"] == 257
    assert client.refresh() == 0
    assert client.versions()["root"] == 259


# ---------------------------------------------------------------- test_file_download, test_delegations


def test_client_downloads_expected_file(suite: SuiteClient) -> None:
    suite.init()
    suite.repository.add_target("target/file.txt", b"target file")
    suite.repository.publish()
    assert suite.download("target/file.txt") == 0
    assert suite.downloaded() == [b"target file"]


def test_several_targets_at_once(client: SuiteClient) -> None:
    for number in range(3):
        client.repository.add_target(f"folder/{number}", bytes([65 + number]))
    client.repository.publish()
    assert client.download("folder/0", "folder/2") == 0
    assert client.downloaded() == [b"A", b"C"]
    assert client.download("folder/0", "nowhere") == 1


def test_download_of_a_cached_target_asks_for_no_target(client: SuiteClient) -> None:
    client.repository.add_target("file.txt", b"target file")
    client.repository.publish()
    assert client.download("file.txt") == 0
    client.server.asked.clear()
    assert client.download("file.txt") == 0
    assert [path for path in client.asked if path.startswith("targets/")] == []
    next(client.targets.iterdir()).write_bytes(b"changed here")
    assert client.download("file.txt") == 0
    assert client.downloaded() == [b"target file"]


def test_multiple_changes_to_target(client: SuiteClient) -> None:
    for content in (b"first", b"second", b"third, and longer"):
        client.repository.add_target("file.txt", content)
        client.repository.publish()
        assert client.download("file.txt") == 0
        assert client.downloaded() == [content]


@pytest.mark.parametrize("served", [b"TARGET FILE", b"target file and more", b"target"])
def test_download_with_a_wrong_hash_or_length(client: SuiteClient, served: bytes) -> None:
    client.repository.add_target("file.txt", b"target file")
    client.repository.publish()
    path = next(path for path in client.repository.files if path.startswith("targets/"))
    client.repository.files[path] = served
    assert client.download("file.txt") == 1
    assert client.downloaded() == []


@pytest.mark.parametrize(
    "name", ["with space.txt", "ümläut.txt", "percent%20.txt", "a/b/c/d.txt", "plus+.txt"]
)
def test_unusual_target_name(client: SuiteClient, name: str) -> None:
    client.repository.add_target(name, b"target file")
    client.repository.publish()
    assert client.download(name) == 0
    assert client.downloaded() == [b"target file"]


@pytest.mark.parametrize("role", ["?", "#", "/delegatedrole", "../delegatedrole", "with space"])
def test_unusual_role_name(client: SuiteClient, role: str) -> None:
    repository = client.repository
    repository.delegate(role, ["*"])
    repository.add_target("target.txt", b"target file", role)
    repository.publish()
    assert client.download("target.txt") == 0
    assert f"metadata/2.{quote(role, '')}.json" in client.asked
    assert (client.metadata / f"{quote(role, '')}.json").is_file()


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        ("*.tgz", "targets.tgz", True),
        ("targets/*.tgz", "targets/foo.tgz", True),
        ("targets/*.tgz", "targets/foo.txt", False),
        ("targets/*", "targets/sub/foo.tgz", False),
        ("foo-version-?.tgz", "foo-version-2.tgz", True),
        ("foo-version-?.tgz", "foo-version-alpha.tgz", False),
        ("*", "targets/foo.tgz", False),
        ("*/*", "targets/foo.tgz", True),
    ],
)
def test_targetfile_search_by_path_patterns(
    client: SuiteClient, pattern: str, path: str, found: bool
) -> None:
    client.repository.delegate("role", [pattern])
    client.repository.add_target(path, b"x", "role")
    client.repository.publish()
    assert client.download(path) == (0 if found else 1)


@pytest.mark.parametrize(("terminating", "found"), [(True, False), (False, True)])
def test_a_terminating_delegation_ends_the_search(
    client: SuiteClient, terminating: bool, found: bool
) -> None:
    client.repository.delegate("first", ["*"], terminating=terminating)
    client.repository.delegate("second", ["*"])
    client.repository.add_target("x", b"x", "second")
    client.repository.publish()
    assert client.download("x") == (0 if found else 1)


def test_graph_traversal_of_delegations_in_preorder(client: SuiteClient) -> None:
    repository = client.repository
    for name, parent in (("A", "targets"), ("B", "targets"), ("C", "A"), ("D", "C")):
        repository.delegate(name, ["*"], by=parent, terminating=False)
    repository.add_target("x", b"from B", "B")
    repository.add_target("x", b"from D", "D")
    repository.contents["x"] = b"from D"
    repository.publish()
    assert client.download("x") == 0
    assert [path.split(".")[1] for path in client.asked if path[-6] in "ABCD"] == ["A", "C", "D"]


def test_a_delegation_to_itself_ends(client: SuiteClient) -> None:
    repository = client.repository
    repository.delegate("A", ["*"], terminating=False)
    repository.delegate("A", ["*"], by="A", terminating=False)
    repository.publish()
    assert client.download("x") == 1


def test_targetfile_search_by_hash_prefix(client: SuiteClient) -> None:
    prefix = hashlib.sha256(b"some/target").hexdigest()[:3]
    client.repository.delegate("bin", [], hashes=[prefix])
    client.repository.add_target("some/target", b"x", "bin")
    client.repository.publish()
    assert client.download("some/target") == 0


def test_targetfile_search_in_succinct_hash_bins(client: SuiteClient) -> None:
    repository = client.repository
    repository.delegate("temporary", ["*"])
    key = repository.signers["temporary"][0].public_key
    delegations = repository.targets.delegations
    assert delegations is not None
    roles = SuccinctRoles([key.keyid], 1, 2, "bin")
    delegations.roles, delegations.succinct_roles = None, roles
    bin_name = (
        next(iter(roles.get_roles_for_target("some/target")))[0]
        if hasattr(roles, "get_roles_for_target")
        else roles.get_role_for_target("some/target")
    )
    repository.delegated[bin_name] = repository.delegated.pop("temporary")
    repository.signers[bin_name] = repository.signers["temporary"]
    repository.add_target("some/target", b"x", bin_name)
    repository.publish()
    assert client.download("some/target") == 0
