"""The fetcher over TLS, directly and through a proxy's tunnel."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tuf.api.exceptions import DownloadError, SlowRetrievalError

from deploy.updater.fetcher import Fetcher
from deploy.updater.settings import Network

CONTENT = b"metadata"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "updates")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    file.write_bytes(made.public_bytes(pem) + private)
    return file


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        for one in CONTENT:
            self.wfile.write(bytes([one]))
            time.sleep(0.5 if "slow" in self.path else 0)

    def do_CONNECT(self) -> None:
        """As a proxy: bytes go to and fro."""
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as there:
            self.send_response(200)
            self.end_headers()
            ways = [
                Thread(target=carry, args=pair)
                for pair in ((self.connection, there), (there, self.connection))
            ]
            for way in ways:
                way.start()
            for way in ways:
                way.join()

    def log_message(self, *_: object) -> None: ...


def carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while some := source.recv(65536):
            target.sendall(some)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def server(certificate: Path | None) -> Iterator[str]:
    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None: ...

    with Quiet(("127.0.0.1", 0), Handler) as made:
        address = f"127.0.0.1:{made.server_address[1]}"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            made.socket = context.wrap_socket(made.socket, server_side=True)
        thread = Thread(target=made.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield address
        made.shutdown()
        thread.join()


def test_https_trusts_the_authority_of_the_settings_and_without_it_the_systems(
    certificate: Path, tmp_path: Path
) -> None:
    with server(certificate) as address:
        base = f"https://{address}/"
        fetcher = Fetcher(Network(ca_file=certificate), [base], tmp_path)
        assert fetcher.download_bytes(f"{base}file", 100) == CONTENT
        stranger = Fetcher(Network(), [base], tmp_path)
        with pytest.raises(DownloadError, match="certificate is not trusted: self-signed certificate"):
            stranger.download_bytes(f"{base}file", 100)


def test_https_goes_through_the_tunnel_of_a_proxy(certificate: Path, tmp_path: Path) -> None:
    with server(certificate) as address, server(None) as proxy:
        base = f"https://{address}/"
        network = Network(ca_file=certificate, proxy=f"http://{proxy}/")
        assert Fetcher(network, [base], tmp_path).download_bytes(f"{base}file", 100) == CONTENT


def test_slow_retrieval_over_https(certificate: Path, tmp_path: Path) -> None:
    with server(certificate) as address:
        base = f"https://{address}/"
        network = Network(ca_file=certificate, slowest_bytes_per_s=2000, slow_for_s=0.3)
        with pytest.raises(SlowRetrievalError):
            Fetcher(network, [base], tmp_path).download_bytes(f"{base}slow", 100)
