"""TUF repositories in memory, made with python-tuf's own metadata: an attack is a few lines of a test."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from deploy.updater.clock import ISSUED, TIME_FORMAT

DIGEST = hashlib.sha256(b"bundle.json of the engine").hexdigest()
TOP = ("root", "timestamp", "snapshot", "targets")


class Repository:
    """Metadata that can be signed, broken and published at will; one key per role unless told."""

    def __init__(
        self, *, now: datetime | None = None, threshold: int = 1, consistent: bool = True, issued: bool = True
    ) -> None:
        self.now = now or datetime.now(UTC).replace(microsecond=0)
        self.issued = issued
        self.signers: dict[str, list[Any]] = {role: [CryptoSigner.generate_ed25519()] for role in TOP}
        self.files: dict[str, bytes] = {}
        """Path below the repository -> content, as a static server has it."""
        self.contents: dict[str, bytes] = {}
        self.root = Root(expires=self.in_days(365), consistent_snapshot=consistent)
        self.timestamp = Timestamp(expires=self.in_days(1))
        self.snapshot = Snapshot(expires=self.in_days(7))
        self.targets = Targets(expires=self.in_days(90))
        self.delegated: dict[str, Targets] = {}
        if threshold > 1:
            self.signers["root"] += [CryptoSigner.generate_ed25519() for _ in range(threshold - 1)]
            self.signers["targets"] += [CryptoSigner.generate_ed25519() for _ in range(threshold - 1)]
        for role in TOP:
            for signer in self.signers[role]:
                self.root.add_key(signer.public_key, role)
            self.root.roles[role].threshold = len(self.signers[role])
        self.publish_root(bump=False)

    def in_days(self, days: float) -> datetime:
        return self.now + timedelta(days=days)

    # ------------------------------------------------------------ changes

    def add_target(self, path: str, content: bytes, role: str = "targets", **custom: Any) -> TargetFile:
        found = TargetFile.from_data(path, content, ["sha256"])
        if custom:
            found.unrecognized_fields["custom"] = custom
        self.role(role).targets[path] = found
        self.contents[path] = content
        return found

    def role(self, name: str) -> Targets:
        return self.targets if name == "targets" else self.delegated[name]

    def delegate(self, name: str, paths: list[str], by: str = "targets", **options: Any) -> None:
        parent = self.role(by)
        parent.delegations = parent.delegations or Delegations({}, {})
        if parent.delegations.roles is None:
            parent.delegations.roles = {}
        hashes = options.pop("hashes", None)
        parent.delegations.roles[name] = DelegatedRole(
            name, [], 1, options.pop("terminating", True), None if hashes else paths, hashes
        )
        signer = CryptoSigner.generate_ed25519()
        parent.add_key(signer.public_key, name)
        self.signers[name] = [signer]
        self.delegated[name] = Targets(expires=self.in_days(90))

    def rotate(self, role: str, signer: Any = None) -> None:
        """Another key for a role; the root is published once more by the caller."""
        old = self.signers[role]
        for one in old:
            self.root.revoke_key(one.public_key.keyid, role)
        self.signers[role] = [signer or CryptoSigner.generate_ed25519() for _ in old]
        for one in self.signers[role]:
            self.root.add_key(one.public_key, role)

    # ------------------------------------------------------------ publishing

    def signed(self, content: Any, signers: list[Any]) -> bytes:
        if self.issued and ISSUED not in content.unrecognized_fields:
            content = copy.deepcopy(content)
            content.unrecognized_fields[ISSUED] = self.now.strftime(TIME_FORMAT)
        made = Metadata(content)
        for signer in signers:
            made.sign(signer, append=True)
        return bytes(made.to_bytes())

    def publish_root(self, *, bump: bool = True, also: list[Any] | None = None) -> None:
        """``also``: signers of the root before, after its keys were changed."""
        if bump:
            self.root.version += 1
        signers = [*self.signers["root"], *(also or [])]
        self.files[f"metadata/{self.root.version}.root.json"] = self.signed(self.root, signers)

    def publish(self, *, bump: bool = True, hashes: bool = False) -> None:
        """All roles below the root, each a version higher."""
        roles: dict[str, Targets] = {"targets": self.targets, **self.delegated}
        if bump:
            for one in (*roles.values(), self.snapshot, self.timestamp):
                one.version += 1
        for name, targets in roles.items():
            content = self.signed(targets, self.signers[name])
            self.snapshot.meta[f"{name}.json"] = self._meta(targets.version, content, hashes)
            self.put(name, targets.version, content)
        snapshot = self.signed(self.snapshot, self.signers["snapshot"])
        self.timestamp.snapshot_meta = self._meta(self.snapshot.version, snapshot, hashes)
        self.put("snapshot", self.snapshot.version, snapshot)
        self.publish_timestamp()
        for path, content in self.contents.items():
            folder, _, name = path.rpartition("/")
            prefix = f"{hashlib.sha256(content).hexdigest()}." if self.root.consistent_snapshot else ""
            self.files[f"targets/{folder}{'/' if folder else ''}{prefix}{name}"] = content

    def publish_timestamp(self) -> None:
        self.files["metadata/timestamp.json"] = self.signed(self.timestamp, self.signers["timestamp"])

    def put(self, role: str, version: int, content: bytes) -> None:
        prefix = f"{version}." if self.root.consistent_snapshot else ""
        self.files[f"metadata/{prefix}{quote(role, '')}.json"] = content

    @property
    def first_root(self) -> bytes:
        return self.files["metadata/1.root.json"]

    def write(self, folder: Path) -> None:
        for path, content in self.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)

    @staticmethod
    def _meta(version: int, content: bytes, hashes: bool) -> MetaFile:
        if not hashes:
            return MetaFile(version)
        return MetaFile(version, len(content), {"sha256": hashlib.sha256(content).hexdigest()})


@dataclass
class Server:
    """A static server on loopback that misbehaves on demand."""

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    misbehave: dict[str, Any] = field(default_factory=dict)
    """Part of a path -> a function of the handler and the content, which answers instead."""

    def find(self, path: str) -> bytes | None:
        if not path.startswith("/"):  # as a proxy is asked
            path = urlsplit(path).path
        name, _, rest = path.lstrip("/").partition("/")
        repository = self.repositories.get(name)
        files = {} if repository is None else repository.files
        return files.get(rest, files.get(unquote(rest)))


@contextmanager
def serving(**repositories: Repository) -> Iterator[Server]:
    here = Server(repositories=repositories)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.close_connection = True
            here.asked.append(self.path)
            wanted = self.headers.get("Range", "")
            here.ranges += [wanted] if wanted else []
            content = here.find(self.path)
            for part, answer in here.misbehave.items():
                if part in self.path:
                    with suppress(BrokenPipeError, ConnectionResetError):
                        answer(self, content)
                    return
            if content is None:
                self.send_error(404)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            self.send_response(206 if wanted else 200)
            if wanted:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start:])

        def log_message(self, *_: Any) -> None: ...

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None: ...  # a client that gave up is no error here

    with Quiet(("127.0.0.1", 0), Handler) as server:
        here.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield here
        server.shutdown()
        thread.join()


def plant(content: bytes = b"a bundle", **options: Any) -> tuple[Repository, Repository, str]:
    """The two repositories with one engine for every station, and the path of its target."""
    path = f"housing/stable/{DIGEST}.bundle"
    images, director = Repository(**options), Repository(**options)
    images.delegate("housing.stable", ["housing/stable/*"])
    images.add_target(path, content, "housing.stable", product="housing", version=2, minimum_version="0.0.1")
    director.add_target(path, content, product="housing", version=2, percent=100, halted=False)
    director.contents.clear()
    for one in (images, director):
        one.publish(bump=False)
    return images, director, path


def changed(content: bytes, **fields: Any) -> bytes:
    """Signed metadata with some fields of its signed part changed, and its signatures as they were."""
    values = json.loads(content)
    values["signed"].update(fields)
    return json.dumps(values).encode()
