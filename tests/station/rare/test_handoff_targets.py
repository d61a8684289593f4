"""The hand-off's targets, each before a real counterpart that is made to fail."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import asyncssh
import pytest

from station.handoff.targets import Target, TargetError
from tests.waiting import PATIENCE_S

CONTENT = os.urandom(3_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "bundle"
    found.write_bytes(CONTENT)
    return found


class Remembering(asyncssh.SSHServer):
    """Ends its connections with the server."""

    def __init__(self, connections: list[asyncssh.SSHServerConnection]) -> None:
        self._connections = connections

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connections.append(conn)


@contextmanager
def sftp_server(folder: Path, root: Path) -> Iterator[tuple[int, Path]]:
    """A server in a thread: its port, and the file of secrets that a client needs."""
    host, user = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    (folder / "id").write_bytes(user.export_private_key())
    (folder / "id").chmod(0o600)
    (folder / "allowed").write_bytes(user.export_public_key())
    connections: list[asyncssh.SSHServerConnection] = []
    loop, ready, port = asyncio.new_event_loop(), threading.Event(), [0]

    async def serve() -> asyncssh.SSHAcceptor:
        server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=lambda: Remembering(connections),
            server_host_keys=[host],
            authorized_client_keys=str(folder / "allowed"),
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(root).encode()),
        )
        port[0] = server.get_port()
        ready.set()
        return server

    def work() -> None:
        server = loop.run_until_complete(serve())
        loop.run_forever()
        server.close()
        for connection in connections:
            connection.abort()
        loop.run_until_complete(asyncio.sleep(0.1))
        loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert ready.wait(PATIENCE_S)
        known = folder / "known_hosts"
        known.write_text(f"[127.0.0.1]:{port[0]} {host.export_public_key().decode()}")
        secrets = folder / "secrets.json"
        secrets.write_text(json.dumps({"known_hosts": str(known), "client_keys": [str(folder / "id")]}))
        secrets.chmod(0o600)
        yield port[0], secrets
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


SFTP_TRIAL = """
import sys
from pathlib import Path
from station.handoff.targets import Target, TargetError

url, secrets, file, digest, root = sys.argv[1:]
target, there = Target(url, Path(secrets)), Path(root) / "handoff"

def refused(attempt):
    try:
        attempt()
    except TargetError as error:
        return str(error)
    return "taken"

assert "no hand-off-target" in refused(target.require_there)
target.prepare()
target.require_there()
content = Path(file).read_bytes()
(there / "k").mkdir()
(there / "k" / "b.part").write_bytes(content[:1_000_000])
target.put("k/b", Path(file), digest)
assert (there / "k" / "b").read_bytes() == content
assert target.names("k") == ["b"]
(there / "k" / "c.part").write_bytes(b"?" + content[1:1_000_000])
assert "did not keep" in refused(lambda: target.put("k/c", Path(file), digest))
target.put("k/c", Path(file), digest)
target.remove("k/b")
assert target.names("k") == ["c"]
(Path(secrets).parent / "known_hosts").write_text("")
assert refused(lambda: Target(url, Path(secrets)).require_there()) != "taken"
print("all as promised")
"""


def test_sftp_goes_on_where_it_ended_and_reads_back(tmp_path: Path, file: Path) -> None:
    """In a process of its own: the client's threads and sockets end with it."""
    root = tmp_path / "root"
    root.mkdir()
    with sftp_server(tmp_path, root) as (port, secrets):
        url = f"sftp://station@127.0.0.1:{port}/handoff"
        words = [sys.executable, "-c", SFTP_TRIAL, url, str(secrets), str(file), DIGEST, str(root)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert "all as promised" in done.stdout, done.stderr


class Proxy(ThreadingHTTPServer):
    """Before the S3 server: hands on what it gets, or spoils it and answers 200 all the same."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        self.upstream, self.spoil = port, ""
        self.holds, self.goes_on = threading.Event(), threading.Event()
        """Half of an upload came; the link is closed."""
        super().__init__(("127.0.0.1", 0), ProxyHandler)


class ProxyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def hand_on(self) -> None:
        server = self.server
        assert isinstance(server, Proxy)
        length = int(self.headers.get("Content-Length", 0))
        is_bundle = (
            self.command == "PUT" and "b.part" in self.path and "copy" not in str(self.headers).lower()
        )
        is_cut = server.spoil == "half of the object" or "partNumber=2" in self.path
        if is_bundle and server.spoil.startswith("half") and is_cut:
            self.rfile.read(length // 2)
            server.spoil = ""
            server.holds.set()
            server.goes_on.wait()
            self.close_connection = True
            return
        body = self.rfile.read(length)
        if is_bundle and server.spoil == "changed":
            body = body[:1000] + bytes([body[1000] ^ 1]) + body[1001:]
        link = http.client.HTTPConnection("127.0.0.1", server.upstream)
        if is_bundle and server.spoil == "kept nothing":
            self.send_response(200)
            self.send_header("ETag", '"0"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() != "content-length"}
        link.request(self.command, self.path, body, headers | {"Content-Length": str(len(body))})
        answer = link.getresponse()
        content = answer.read()
        link.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        size = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", size or "0")
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = hand_on  # noqa: N815  # as http.server names them


S3_TRIAL = """
import sys
from pathlib import Path
from station.handoff.targets import Target, TargetError
url, secrets, file, digest = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
target = Target(url, secrets)
target.prepare()
target.require_there()
try:
    target.put("k/b", file, digest)
    with target.reading("k/b") as source:
        print("put", target.names("k"), "whole" if source.read() == file.read_bytes() else "not whole")
except TargetError as error:
    print("refused", target.names("k"), error)
"""


@contextmanager
def s3_server(folder: Path, **options: object) -> Iterator[tuple[Proxy, Path]]:
    """The store behind a proxy, and the file of secrets that a client needs.

    Client and store are in processes of their own: their libraries leave sockets to the collector.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as moto:
        proxy = Proxy(port)
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        try:
            end = time.monotonic() + 30
            while True:
                try:
                    assert ask(port, "PUT", "/bucket")[0] == 200
                    break
                except OSError:
                    assert time.monotonic() < end, "moto did not start"
                    time.sleep(0.1)
            secrets = folder / "secrets.json"
            url = f"http://127.0.0.1:{proxy.server_address[1]}"
            secrets.write_text(json.dumps({"key": "a", "secret": "b", "endpoint_url": url, **options}))
            secrets.chmod(0o600)
            yield proxy, secrets
        finally:
            proxy.goes_on.set()
            proxy.shutdown()
            proxy.server_close()
            thread.join()
            moto.kill()


def ask(port: int, method: str, path: str) -> tuple[int, bytes]:
    """One request to the store itself, past the proxy."""
    link = http.client.HTTPConnection("127.0.0.1", port)
    try:
        link.request(method, path)
        answer = link.getresponse()
        return answer.status, answer.read()
    finally:
        link.close()


def s3_trial(secrets: Path, file: Path) -> list[str]:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return [sys.executable, "-c", S3_TRIAL, "s3://bucket/handoff", str(secrets), str(file), digest]


@pytest.mark.parametrize("spoil", ["kept nothing", "changed", ""])
def test_s3_that_says_200_and_kept_nothing_or_other_bytes_is_found_out(
    tmp_path: Path, file: Path, spoil: str
) -> None:
    with s3_server(tmp_path) as (proxy, secrets):
        trial = s3_trial(secrets, file)
        first = subprocess.run(trial, capture_output=True, text=True, timeout=60, check=False)
        assert first.returncode == 0, first.stderr
        assert first.stdout.startswith("put ['b']")
        proxy.spoil = spoil
        other = tmp_path / "other"
        other.write_bytes(CONTENT[::-1])
        trial = s3_trial(secrets, other)
        second = subprocess.run(trial, capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 0, second.stderr
        assert second.stdout.startswith("refused" if spoil else "put ['b']"), second.stdout


@pytest.mark.parametrize(
    "spoil", ["half of the object", pytest.param("half of its second part", marks=pytest.mark.slow)]
)
def test_an_upload_to_s3_killed_in_the_middle_leaves_no_half_object_and_is_repeated_whole(
    tmp_path: Path, file: Path, spoil: str
) -> None:
    with s3_server(tmp_path, default_block_size=5 << 20) as (proxy, secrets):
        if "part" in spoil:
            file.write_bytes(CONTENT * 4)
        proxy.spoil = spoil
        with subprocess.Popen(s3_trial(secrets, file), stdout=subprocess.PIPE) as killed:
            assert proxy.holds.wait(60), "the upload never came"
            killed.kill()
        proxy.goes_on.set()

        def there() -> list[str]:
            listed = ask(proxy.upstream, "GET", "/bucket?list-type=2")[1]
            return re.findall("<Key>(.*?)</Key>", listed.decode())

        assert there() == ["handoff/hand-off-target.json"], "what was cut is no object"
        proxy.holds.clear()
        proxy.spoil = spoil  # the link is cut once more, and the client tries again
        again = subprocess.run(
            s3_trial(secrets, file), capture_output=True, text=True, timeout=60, check=False
        )
        assert proxy.holds.is_set()
        assert again.stdout == "put ['b'] whole\n", again.stdout + again.stderr
        assert there() == ["handoff/hand-off-target.json", "handoff/k/b"]


def test_a_full_target_is_named_and_the_next_try_goes_on(tmp_path: Path, file: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    stick = tmp_path / "stick"
    stick.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(stick)], check=False).returncode:
        pytest.skip("no mount here")
    try:
        target = Target(str(stick))
        target.prepare()
        with pytest.raises(TargetError, match="not full"):
            target.put("b", file, DIGEST)
        assert target.names("") == ["b.part", "hand-off-target.json"]
        subprocess.run(["mount", "-o", "remount,size=20m", str(stick)], check=True)
        target.put("b", file, DIGEST)
        assert (stick / "b").read_bytes() == CONTENT
    finally:
        subprocess.run(["umount", "-l", str(stick)], check=True)


def test_a_stick_pulled_in_mid_copy_is_named_and_the_next_try_goes_on(tmp_path: Path, file: Path) -> None:
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("a loop-mounted stick needs root and mkfs.ext4")
    image, stick = tmp_path / "stick.img", tmp_path / "stick"
    image.write_bytes(bytes(16_000_000))
    stick.mkdir()
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    mount = ["mount", "-o", "loop", str(image), str(stick)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no loop device here")
    beats = []

    def pulled() -> None:
        beats.append(1)
        if len(beats) == 2:
            subprocess.run(["umount", "-l", str(stick)], check=True)

    try:
        Target(str(stick)).prepare()
        with pytest.raises(TargetError):
            Target(str(stick), beat=pulled).put("b", file, DIGEST)
        assert list(stick.iterdir()) == []
        with pytest.raises(TargetError, match="plugged in"):
            Target(str(stick)).require_there()
        subprocess.run(mount, check=True)
        Target(str(stick)).put("b", file, DIGEST)
        assert (stick / "b").read_bytes() == CONTENT
    finally:
        subprocess.run(["umount", "-l", str(stick)], check=False)


def trial(url: str, secrets: Path, file: Path) -> str:
    """What a process says that puts the file there."""
    words = [sys.executable, "-c", S3_TRIAL, url, str(secrets), str(file), DIGEST]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout or f"error {done.stderr}"


def test_a_link_cut_in_mid_copy_is_named_and_the_next_try_goes_on(tmp_path: Path, file: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with sftp_server(tmp_path, root) as (port, secrets), socket.create_server(("127.0.0.1", 0)) as cut:
        host = (tmp_path / "known_hosts").read_text()
        (tmp_path / "known_hosts").write_text(
            host + "\n" + host.replace(f":{port} ", f":{cut.getsockname()[1]} ")
        )

        def pump(source: socket.socket, sink: socket.socket, most: int) -> None:
            try:
                while most > 0 and (content := source.recv(min(65536, most))):
                    sink.sendall(content)
                    most -= len(content)
            except OSError:
                pass
            for one in (source, sink):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

        def serve() -> None:
            link = cut.accept()[0]
            with link, socket.create_connection(("127.0.0.1", port)) as server:
                back = threading.Thread(target=pump, args=(server, link, 1 << 40))
                back.start()
                pump(link, server, 1_500_000)
                back.join()

        thread = threading.Thread(target=serve)
        thread.start()
        said = [trial(f"sftp://s@127.0.0.1:{cut.getsockname()[1]}/h", secrets, file)]
        thread.join()
        assert 0 < (root / "h" / "k" / "b.part").stat().st_size < len(CONTENT)
        said.append(trial(f"sftp://s@127.0.0.1:{port}/h", secrets, file))
        assert [words.split()[0] for words in said] in (["refused", "put"], ["error", "put"]), said
        assert (root / "h" / "k" / "b").read_bytes() == CONTENT
