"""One update from beginning to end; the module docstring of ``deploy.updater`` has the order of its steps."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path

from tuf.api.exceptions import DownloadError, ExpiredMetadataError, RepositoryError
from tuf.api.metadata import TargetFile

from deploy.repository.orders import EngineEntry
from deploy.updater import record
from deploy.updater.client import Client, Source, before_it_expires
from deploy.updater.clock import newest_signed
from deploy.updater.errors import UpdateError, explain
from deploy.updater.fetcher import Fetcher, Progress
from deploy.updater.orders import Ordered, choose, read_orders
from deploy.updater.settings import Product, UpdaterSettings
from deploy.updater.stick import FolderFetcher, Stick
from drivers.errors import InspectionError, explain_os_error
from drivers.regular_files import open_regular
from station.engines import store
from station.engines.contents import release

REPOSITORIES = ("images", "director")
COPIES = 3
"""Of a bundle on the disk at one moment: what was fetched, what was verified, what was opened."""
ROOT_BYTES = 512_000
TUF_ERRORS = (RepositoryError, DownloadError)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A person's yes to a timestamp that has expired."""

    by: str
    why: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """A verified bundle, and everything that was verified about it."""

    file: Path
    product: Product
    ordered: Ordered
    versions: dict[str, dict[str, int]]
    """Repository -> role -> version."""
    key_ids: tuple[str, ...]
    """The keys that signed the director's order."""
    engines: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done for one product."""

    product: str
    installed: str
    """The engine's digest; empty where nothing was installed."""
    words: str


Install = Callable[[Arrival], str]
"""Opens a bundle and installs it; gives the digest of the engine. Raises ``InspectionError``, OSError."""


def update(
    settings: UpdaterSettings,
    install: Install,
    *,
    stick: Stick | None = None,
    accepted: Accepted | None = None,
    progress: Progress | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Outcome]:
    """Make one update.

    Raises :class:`UpdateError`, which says all that was refused; the rest was installed.
    """
    with _alone(settings.state):
        log = settings.state / "record.jsonl"
        record.lines(log)
        _remove_leftovers(settings.state)
        outcomes: list[Outcome] = []
        problems: list[str] = []
        try:
            clients = _refreshed(settings, stick, accepted, progress, clock, log)
            orders = read_orders(clients["director"].orders())
            for product in settings.products:
                try:
                    outcomes.append(_one(settings, clients, orders, product, install, log))
                except (InspectionError, OSError) as error:
                    problems.append(f"{product.product}: {_words(error)}")
        except (InspectionError, OSError) as error:
            problems.append(_words(error))
        except Exception as error:  # the command shows the traceback, and the timer's run has failed
            problems.append(f"an error of this software: {error!r}; please report it")
            with suppress(OSError):
                record.append(log, "refused", said="\n".join(problems))
            raise
        if problems:
            said = "\n".join(problems)
            with suppress(OSError):  # of a full disk, which is what is said
                record.append(log, "refused", said=said)
            raise UpdateError(said)
        return outcomes


def _remove_leftovers(state: Path) -> None:
    """What an updater that was killed has left; nobody else works in the folder now. Raises OSError."""
    (state / "bundle").unlink(missing_ok=True)
    for folder in (state / "opened", *state.glob(".opened.*.part")):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Two updaters with one folder would mix what they trust."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise UpdateError(
                f"{state}: another updater is at work (process {lock.read().strip() or 'unknown'}): wait "
                "until it has "
                "ended; `systemctl stop station-updater` ends the one of the timer"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _refreshed(
    settings: UpdaterSettings,
    stick: Stick | None,
    accepted: Accepted | None,
    progress: Progress | None,
    clock: Callable[[], datetime],
    log: Path,
) -> dict[str, Client]:
    """Both repositories with fresh metadata. Raises :class:`UpdateError`, OSError."""
    folders = {name: settings.state / name for name in REPOSITORIES}
    sources = _sources(settings, stick, progress)
    roots = {name: read_root(name, getattr(settings, name).root) for name in REPOSITORIES}

    def newest() -> tuple[datetime | None, datetime]:
        """The newest signed time, and what time it is at least."""
        found, now = newest_signed([*folders.values()]), clock()
        return found, now if found is None else max(now, found)

    while True:
        seen, now = newest()
        clients: dict[str, Client] = {}
        expired: dict[str, ExpiredMetadataError] = {}
        for name in REPOSITORIES:
            try:
                clients[name] = _refresh_one(
                    name, folders[name], sources[name], roots[name], now, accepted, log
                )
            except ExpiredMetadataError as error:
                expired[name] = error
            except TUF_ERRORS as error:
                raise explain(name, error, now, newest()[0]) from error
        after, _ = newest()
        # A root that came just now may have taken back the key that signed a time in the far future.
        if not expired or seen is None or (after is not None and after >= seen):
            break
    seen, now = newest()
    for name in REPOSITORIES:
        try:
            if name in expired:
                raise expired[name]
            clients[name].check_time(now, but="" if accepted is None else "timestamp")
        except TUF_ERRORS as error:
            raise explain(name, error, now, seen) from error
    return clients


def _refresh_one(
    name: str, folder: Path, source: Source, root: bytes, now: datetime, accepted: Accepted | None, log: Path
) -> Client:
    time = now
    if accepted is not None:
        expired = before_it_expires(source.fetcher, f"{source.metadata}timestamp.json", now)
        if expired is not None:
            time, since = expired
    client = Client(folder, source, root=root, now=time)
    client.refresh()
    if accepted is not None and time != now:
        record.append(
            log,
            "expired timestamp accepted",
            by=accepted.by,
            why=accepted.why,
            repository=name,
            expired=since.isoformat(),
            versions=client.versions(),
        )
    return client


def _sources(settings: UpdaterSettings, stick: Stick | None, progress: Progress | None) -> dict[str, Source]:
    if stick is not None:
        return {
            name: Source(f"{folder}/metadata/", f"{folder}/targets/", FolderFetcher(folder))
            for name in REPOSITORIES
            for folder in [getattr(stick, name)]
        }
    bases = {name: getattr(settings, name).url for name in REPOSITORIES}
    fetcher = Fetcher(settings.network, list(bases.values()), settings.state / "parts", progress)
    return {name: Source(f"{base}metadata/", f"{base}targets/", fetcher) for name, base in bases.items()}


def read_root(name: str, file: Path) -> bytes:
    """The root.json that a person brought. Raises :class:`UpdateError`."""
    try:
        with open_regular(file) as opened:
            return opened.read(ROOT_BYTES)
    except OSError as error:
        raise UpdateError(
            f"{name}.root of updater.yaml: {explain_os_error(error, file)}; it is the root.json of the "
            "repository "
            f"`{name}`, which a person brings to every station once"
        ) from error


def _one(
    settings: UpdaterSettings,
    clients: dict[str, Client],
    orders: list[Ordered],
    product: Product,
    install: Install,
    log: Path,
) -> Outcome:
    ordered = choose(orders, settings.station, product.product, product.channel)
    if ordered is None:
        return Outcome(product.product, "", f"{product.product}: the plant orders no engine for this station")
    short = ordered.digest[:12]
    if store.Store(settings.engines, product.product).folder_of(ordered.digest).is_dir():
        return Outcome(product.product, "", f"{product.product}: the engine {short} is here already")
    try:
        target = clients["images"].find(ordered.target.path)
        _both_say_the_same(ordered, target)
        assert target is not None
        _fits(settings, ordered, target)
        file = settings.state / "bundle"
        clients["images"].download(target, file)
    except TUF_ERRORS as error:
        seen, now = newest_signed([client.folder for client in clients.values()]), datetime.now(UTC)
        raise explain("images", error, now if seen is None else max(now, seen), seen) from error
    try:
        arrival = Arrival(
            file,
            product,
            ordered,
            {name: client.versions() for name, client in clients.items()},
            clients["director"].key_ids(),
            settings.engines,
        )
        record.append(  # before: an engine that is there is in the record, wherever the power is cut
            log,
            "verified",
            product=product.product,
            target=ordered.target.path,
            versions=arrival.versions,
            keys=arrival.key_ids,
        )
        digest = install(arrival)
    finally:
        file.unlink(missing_ok=True)
    record.append(log, "installed", product=product.product, engine=digest)
    return Outcome(
        product.product,
        digest,
        f"{product.product}: the engine {short} is installed; the station proves it before it is used",
    )


def _both_say_the_same(ordered: Ordered, target: TargetFile | None) -> None:
    """Uptane's rule: neither repository alone installs anything. Raises :class:`UpdateError`."""
    path = ordered.target.path
    if target is None:
        raise UpdateError(
            f"the director orders {path}, which the image repository does not list: if the workshop "
            "withdrew it, take the order back (`retrain sign withdraw`); else publish it there (`retrain "
            "ship`)"
        )
    if (target.length, target.hashes) != (ordered.target.length, ordered.target.hashes):
        raise UpdateError(
            f"director and image repository list {path} with different length or hashes: one of them is "
            "wrong or "
            "was attacked: compare both before anything is signed again"
        )


def _fits(settings: UpdaterSettings, ordered: Ordered, target: TargetFile) -> None:
    """What can be refused before a byte is fetched. Raises :class:`UpdateError`, ``RepositoryError``."""
    entry = EngineEntry.of(target.unrecognized_fields.get("custom"), target.path)
    if entry.version != ordered.order.version:
        raise UpdateError(
            f"{target.path}: is version {entry.version} for the workshop and {ordered.order.version} for "
            "the plant: "
            "sign the order again (`retrain sign order`)"
        )
    here = installed_version("inspection-station")
    if _numbers(entry.minimum_version) > _numbers(here):
        raise UpdateError(
            f"{target.path}: needs release {entry.minimum_version}, this station has {here}: "
            "`station-service.sh upgrade` first"
        )
    largest = settings.largest_bundle_mb * 1_000_000
    if target.length > largest:
        raise UpdateError(
            f"{target.path}: has {target.length / 1e6:.0f} MB, more than {settings.largest_bundle_mb} "
            "(largest_bundle_mb of updater.yaml); no engine of ours is that large"
        )
    free = shutil.disk_usage(settings.state).free
    if free < COPIES * target.length:
        raise UpdateError(
            f"{settings.state}: the update needs {COPIES * target.length / 1e6:.0f} MB of this disk, and "
            f"{free / 1e6:.0f} MB are free; free some space on this disk"
        )


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return release(text)
    except ValueError as error:
        raise UpdateError(f"{error}: ship the engine again (`retrain ship`)") from None


def _words(error: Exception) -> str:
    return explain_os_error(error) if isinstance(error, OSError) else str(error)
