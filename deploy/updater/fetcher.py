"""How bytes come over the network: at a minimum rate, within a deadline, resumed, from named places only.

python-tuf's own fetcher waits as long as a server sends one byte per 30 s (python-tuf#1171). Here every byte
that is read, those of headers and of a proxy's answer too, passes through :class:`Pace`. A target goes into a
file of its own; after a broken connection, or in the next update, a Range request asks for the rest. Nothing
that was fetched is believed here: TUF checks length and hashes at the end, and what is wrong is deleted.

No redirect is followed and no proxy taken from the environment: the configuration names every connection.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    SlowRetrievalError,
)
from tuf.ngclient.fetcher import FetcherInterface

from deploy.updater.settings import Network

CHUNK = 1 << 16
FRUITLESS_TRIES = 3
"""Connections in a row that broke without one more byte of a target."""
Progress = Callable[[int, int], None]
"""Called with the bytes of a target that are here, and how many there will be."""


class BrokenConnectionError(DownloadError):
    """A connection ended too early; what came stays, and the rest is asked for again."""


class Pace:
    """How slow a server may be, and until when; ``clock`` in seconds."""

    def __init__(self, network: Network, clock: Callable[[], float] = time.monotonic) -> None:
        self._network, self._clock = network, clock
        self._end = clock() + network.deadline_s
        self.begin()

    def begin(self) -> None:
        """Another file begins: what was slow before counts no more."""
        self._since, self._bytes = self._clock(), 0

    def got(self, count: int) -> None:
        """Bytes arrived."""
        self._bytes += count

    def seconds_left(self) -> float:
        """How long the next byte may take. Raises ``SlowRetrievalError``."""
        now, network = self._clock(), self._network
        if now >= self._end:
            raise SlowRetrievalError(
                f"the update was not done within {network.deadline_s:g} s (network.deadline_s)"
            )
        if now - self._since >= network.slow_for_s:
            rate = self._bytes / (now - self._since)
            if rate < network.slowest_bytes_per_s:
                raise SlowRetrievalError(
                    f"the server sent {rate:.0f} bytes/s in the last {now - self._since:.0f} s, less than "
                    f"{network.slowest_bytes_per_s} (network.slowest_bytes_per_s)"
                )
            self.begin()
        return min(self._end - now, self._since + network.slow_for_s - now)


class Fetcher(FetcherInterface):
    """Fetches from ``bases`` and from nowhere else; parts of targets are kept in the folder ``parts``."""

    def __init__(
        self, network: Network, bases: Sequence[str], parts: Path, progress: Progress | None = None
    ) -> None:
        self._network, self._parts, self._progress = network, parts, progress
        self._origins = {_origin(base) for base in bases}
        self._pace = Pace(network)

    def _fetch(self, url: str) -> Iterator[bytes]:
        self._pace.begin()
        with self._answer(url) as answer:
            yield from _content(url, answer)

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Metadata, into memory. Raises ``DownloadError``."""
        content = bytearray()
        with closing(self._fetch(url)) as chunks:  # type: ignore[type-var]  # it is a generator
            for chunk in chunks:
                content += chunk
                _at_most(url, len(content), max_length)
        return bytes(content)

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """A target, as an open file that goes on where the last try ended.

        The part is deleted when the block is left: it was taken, or it was wrong. Raises ``DownloadError``,
        OSError.
        """
        self._parts.mkdir(parents=True, exist_ok=True)
        part = self._parts / f"{hashlib.sha256(url.encode()).hexdigest()}.part"
        for other in self._parts.glob("*.part"):
            if other != part:  # of a target that nobody orders any more
                other.unlink()
        try:
            self._fetch_part(url, part, max_length)
            with part.open("rb") as file:
                yield file
        except BaseException as error:
            if not isinstance(error, DownloadError | KeyboardInterrupt) or isinstance(
                error, DownloadLengthMismatchError
            ):
                part.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.filename is None:
                error.filename = str(part)
            raise
        part.unlink()

    def _fetch_part(self, url: str, part: Path, length: int) -> None:
        self._pace.begin()
        fruitless = 0
        while fruitless < FRUITLESS_TRIES:
            before = part.stat().st_size if part.exists() else 0
            try:
                self._go_on(url, part, min(before, length), length)
            except BrokenConnectionError as error:
                broken = error
                fruitless = 0 if part.exists() and part.stat().st_size > before else fruitless + 1
            else:
                return
        raise broken

    def _go_on(self, url: str, part: Path, start: int, length: int) -> None:
        """Append to ``part`` from ``start`` on, or begin again where the server cannot go on."""
        if start == length > 0:
            return
        with self._answer(url, start) as answer:
            if start and answer.status != http.client.PARTIAL_CONTENT:
                start = 0
            elif start and not re.match(rf"bytes {start}-", answer.getheader("Content-Range", "")):
                part.unlink()
                raise BrokenConnectionError(f"{url}: the server sent another range than was asked for")
            with part.open("r+b" if part.exists() else "wb") as file:
                file.truncate(start)
                file.seek(start)
                for chunk in _content(url, answer):
                    start += len(chunk)
                    _at_most(url, start, length)
                    file.write(chunk)
                    if self._progress is not None:
                        self._progress(start, length)

    @contextmanager
    def _answer(self, url: str, start: int = 0) -> Iterator[http.client.HTTPResponse]:
        """The server's answer with its content still to come. Raises ``DownloadError``."""
        if _origin(url) not in self._origins:
            raise DownloadError(f"{url}: the configuration names no repository there")
        with closing(self._connection(url)) as connection:
            with _words_of(url):
                connection.putrequest("GET", self._selector(url), skip_accept_encoding=True)
                connection.putheader("Accept-Encoding", "identity")
                connection.putheader("User-Agent", "inspection-station-updater")
                if start:
                    connection.putheader("Range", f"bytes={start}-")
                connection.endheaders()
                answer = connection.getresponse()
            with closing(answer):
                if start and answer.status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                    raise DownloadLengthMismatchError(f"{url}: has fewer bytes than were fetched before")
                if answer.status >= 400:
                    said = f"{url}: the server answered {answer.status} {answer.reason}"
                    raise DownloadHTTPError(said, answer.status)
                if answer.status not in (http.client.OK, http.client.PARTIAL_CONTENT):
                    raise DownloadError(
                        f"{url}: the server answered {answer.status} {answer.reason}, which the updater "
                        "does not "
                        "follow: write the final address into updater.yaml"
                    )
                yield answer

    def _connection(self, url: str) -> http.client.HTTPConnection:
        scheme, host, port = _origin(url)
        network = self._network
        first = (host, port) if network.proxy is None else _origin(network.proxy)[1:]
        made: http.client.HTTPConnection
        if scheme == "https":
            context = ssl.create_default_context(cafile=network.ca_file)
            made = http.client.HTTPSConnection(*first, timeout=network.connect_s, context=context)
            if network.proxy is not None:
                made.set_tunnel(host, port)
        else:
            made = http.client.HTTPConnection(*first, timeout=network.connect_s)
        made.response_class = partial(_PacedAnswer, pace=self._pace)  # type: ignore[assignment]
        return made

    def _selector(self, url: str) -> str:
        """What is asked for: the path, or for a proxy without a tunnel the whole address."""
        scheme, host, port = _origin(url)
        path = quote(url.split("://", 1)[1].partition("/")[2], safe="/%:@!$&'()*+,;=~?")
        if self._network.proxy is not None and scheme == "http":
            return f"http://{f'[{host}]' if ':' in host else host}:{port}/{path}"
        return f"/{path}"


class _PacedAnswer(http.client.HTTPResponse):
    """An answer of which every byte is timed, from the first of the first header on."""

    def __init__(self, sock: socket.socket, *arguments: Any, pace: Pace, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_PacedBytes(sock, pace), CHUNK)


class _PacedBytes(io.RawIOBase):
    """The bytes of a socket, or ``SlowRetrievalError``."""

    def __init__(self, sock: socket.socket, pace: Pace) -> None:
        self._sock, self._pace = sock, pace
        self._held = sock.makefile("rb", buffering=0)  # keeps the socket open as long as this reader

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            self._sock.settimeout(max(self._pace.seconds_left(), 0.001))
            with suppress(TimeoutError):
                count = self._sock.recv_into(buffer)
                self._pace.got(count)
                return count

    def close(self) -> None:
        self._held.close()
        super().close()


def _content(url: str, answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        with _words_of(url):
            chunk = answer.read1(CHUNK)
        if not chunk:
            break
        yield chunk
    if answer.length:
        raise BrokenConnectionError(f"{url}: the connection ended {answer.length} bytes too early")


@contextmanager
def _words_of(url: str) -> Iterator[None]:
    """Errors of sockets, TLS and HTTP as ``DownloadError``."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise DownloadError(
            f"{url}: the server's certificate is not trusted: {error.verify_message}"
        ) from error
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BrokenConnectionError(f"{url}: {said}") from error


def _at_most(url: str, found: int, length: int) -> None:
    if found > length:
        raise DownloadLengthMismatchError(f"{url}: sends more than the {length} bytes that it may have")


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
