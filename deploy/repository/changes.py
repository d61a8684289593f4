"""The changes of a repository, each a proposal of its next metadata; ``Repository.finish`` signs them."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from securesystemslib.signer import SSlibKey
from tuf.api.metadata import DelegatedRole, Delegations, Root, TargetFile, Targets

from deploy.bundle import SUFFIX, read_list
from deploy.repository.errors import RepositoryError
from deploy.repository.folder import TOP, Repository
from deploy.repository.keys import name_of
from deploy.repository.orders import CHANNELS, NAME, EngineEntry, Order, role_of, target_path
from deploy.repository.words import WITHDRAWN
from station.engines.contents import Contents
from station.files import replacing

KIND = "x-kind"
Entry = TypeVar("Entry", EngineEntry, Order)
ENGINES, ORDERS = "engines", "orders"
"""The kinds of repositories: the workshop's, and the plant's, the *director*."""
_WORDS = {ENGINES: "a repository of engines", ORDERS: "a director: a repository of orders"}


def begin(
    repository: Repository,
    kind: str,
    people: Sequence[SSlibKey],
    threshold: int,
    online: SSlibKey,
    listing: Sequence[SSlibKey],
    listing_threshold: int,
) -> None:
    """The first root and targets.

    ``people`` sign the root, ``threshold`` of them; ``listing`` sign the list of products, or of orders.
    ``online`` signs snapshots and timestamps. Raises :class:`RepositoryError`.
    """
    _require_threshold("--threshold", threshold, people)
    _require_threshold("--targets-threshold", listing_threshold, listing)
    root = Root(consistent_snapshot=True)
    for role, keys, needed in (
        ("root", people, threshold),
        ("targets", listing, listing_threshold),
        ("snapshot", [online], 1),
        ("timestamp", [online], 1),
    ):
        for key in keys:
            root.add_key(key, role)
        root.roles[role].threshold = needed
    repository.begin("root", root)
    targets = Targets()
    targets.unrecognized_fields[KIND] = kind
    repository.begin("targets", targets)


def add_product(
    repository: Repository,
    product: str,
    canary: Sequence[SSlibKey],
    stable: Sequence[SSlibKey],
    stable_threshold: int,
) -> None:
    """Let these keys sign for the two channels of a product. Raises :class:`RepositoryError`."""
    _require_kind(repository, ENGINES)
    if not NAME.fullmatch(product):
        raise RepositoryError(
            f"{product!r} cannot be the name of a product: use letters, digits, and . _ - after the first one"
        )
    if role_of(product, CHANNELS[0]) in repository.channels:
        raise RepositoryError(
            f"{repository.folder}: has the product {product!r} already: `retrain keys rotate` changes keys"
        )
    _require_threshold("--stable-threshold", stable_threshold, stable)
    targets: Targets = repository.propose("targets").signed
    if targets.delegations is None:
        targets.delegations = Delegations({}, {})
    roles = targets.delegations.roles
    assert roles is not None, "this software writes no succinct roles"
    for channel, keys, threshold in zip(CHANNELS, (canary, stable), (1, stable_threshold), strict=True):
        role = role_of(product, channel)
        paths = [f"{product}/{channel}/*"]
        roles[role] = DelegatedRole(role, [], threshold, terminating=True, paths=paths)
        for key in keys:
            targets.add_key(key, role)
        repository.begin(role, Targets())


def add_engine(
    repository: Repository, product: str, channel: str, make: Callable[[Path, int], Path], version: int | None
) -> tuple[str, Contents]:
    """Make a bundle and list it in a channel; its target path and contents.

    ``make`` writes the bundle of a version into a folder. ``version`` None is the one after the highest.
    Raises :class:`RepositoryError` and what ``make`` raises; then nothing is listed.
    """
    _require_kind(repository, ENGINES)
    role = _channel(repository, product, channel)
    known = {
        number
        for one in CHANNELS
        for number in (
            *(entry.version for _, entry in engines_in(repository, product, one)),
            *(found for _, found, _ in withdrawn_from(repository, product, one)),
        )
    }
    highest = max(known, default=0)
    if version in known:
        raise RepositoryError(
            f"{repository.folder}: has version {version} of {product} already: leave --version out, and it "
            f"becomes {highest + 1}"
        )
    (repository.folder / "targets").mkdir(exist_ok=True)
    _remove_leftovers(repository, product, channel)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=repository.folder / "targets") as scratch:
        bundle = make(Path(scratch), version or highest + 1)
        contents = read_list(bundle)
        _require_new(repository, product, channel, contents)
        path = target_path(product, channel, contents.digest)
        target = TargetFile.from_file(path, str(bundle))
        entry = EngineEntry(product, contents.version, contents.minimum_station)
        target.unrecognized_fields["custom"] = entry.custom()
        place = repository.target_file(path, target.hashes["sha256"])
        repository.propose(role).signed.targets[path] = target
        with replacing(place) as fresh:
            bundle.rename(fresh)
    return path, contents


def promote(repository: Repository, product: str, version: int | None) -> EngineEntry:
    """List an engine of the canary channel in the stable one too. ``version`` None is the highest.

    Raises :class:`RepositoryError`.
    """
    _require_kind(repository, ENGINES)
    canary, stable = CHANNELS
    target, entry = _engine(repository, product, canary, version)
    role = _channel(repository, product, stable)
    path = target.path.replace(f"/{canary}/", f"/{stable}/", 1)
    if path in repository.listed(role).targets:
        raise RepositoryError(f"{repository.folder}: version {entry.version} of {product} is stable already")
    sha256 = target.hashes["sha256"]
    source, place = repository.target_file(target.path, sha256), repository.target_file(path, sha256)
    try:
        if _digest(source) != sha256:
            raise RepositoryError(f"{source}: was changed: put it back from a copy of the repository")
        with replacing(place) as fresh:
            shutil.copyfile(source, fresh)
    except FileNotFoundError:
        raise RepositoryError(f"{source}: is missing: put it back from a copy of the repository") from None
    if path in {one for one, _, _ in withdrawn_from(repository, product, stable)}:
        raise RepositoryError(
            f"{repository.folder}: version {entry.version} of {product} was withdrawn from {stable}, and "
            "comes back there under a later version only: ship it again"
        )
    copied = TargetFile(target.length, dict(target.hashes), path, {"custom": entry.custom()})
    repository.propose(role).signed.targets[path] = copied
    return entry


def order(
    director: Repository,
    engines: Repository,
    product: str,
    channel: str,
    version: int | None,
    stations: Sequence[str] | None,
    percent: int,
) -> tuple[str, Order]:
    """Let stations have an engine: those named, or ``percent`` of all; the target path and the order.

    An order for the same engine is replaced, those for others of the product stay.
    Raises :class:`RepositoryError`.
    """
    _require_kind(director, ORDERS)
    _require_kind(engines, ENGINES)
    strange = [name for name in stations or () if not NAME.fullmatch(name)]
    if strange:
        raise RepositoryError(f"--stations: {', '.join(map(repr, strange))} cannot be the name of a station")
    target, entry = _engine(engines, product, channel, version)
    given = None if stations is None else tuple(sorted(set(stations)))
    wanted = Order(product, entry.version, given, percent)
    listed = TargetFile(target.length, dict(target.hashes), target.path, {"custom": wanted.custom()})
    director.propose("targets").signed.targets[target.path] = listed
    return target.path, wanted


def halt(director: Repository, product: str, version: int | None) -> list[tuple[str, Order]]:
    """Let no further station install a version that was ordered, from whatever channel.

    ``version`` None is the highest. Returns the target paths and the orders. Raises
    :class:`RepositoryError`.
    """
    found = _orders_of(director, product, version)
    proposed = director.propose("targets").signed.targets
    halted = []
    for target, one in found:
        stopped = replace(one, halted=True)
        proposed[target.path].unrecognized_fields["custom"] = stopped.custom()
        halted.append((target.path, stopped))
    return halted


def advance(director: Repository, target: TargetFile, found: Order, percent: int) -> Order:
    """Let ``percent`` of the stations have what was ordered. Raises :class:`RepositoryError`."""
    wider = replace(found, stations=None, percent=percent)
    proposed = director.propose("targets").signed.targets
    proposed[target.path].unrecognized_fields["custom"] = wider.custom()
    return wider


def order_of(
    director: Repository, product: str, channel: str, version: int | None
) -> tuple[TargetFile, Order]:
    """An order for a product in a channel; ``version`` None is the highest.

    Raises :class:`RepositoryError`.
    """
    _require_kind(director, ORDERS)
    orders = [one for one in orders_in(director) if one[0].path.startswith(f"{product}/{channel}/")]
    return _of_version(orders, f"{director.folder}: has no order for {product} in {channel}", version)


def withdraw(
    repository: Repository, product: str, channel: str, version: int | None, why: str
) -> tuple[str, EngineEntry]:
    """Take an engine out of a channel; its target path and what it was. ``version`` None is the highest.

    It is remembered as withdrawn, so that neither its version nor its path is ever listed there again.
    Raises :class:`RepositoryError`.
    """
    _require_kind(repository, ENGINES)
    target, entry = _engine(repository, product, channel, version)
    listed: Targets = repository.propose(_channel(repository, product, channel)).signed
    del listed.targets[target.path]
    before = listed.unrecognized_fields.get(WITHDRAWN, {})
    listed.unrecognized_fields[WITHDRAWN] = {
        **before, target.path: {"version": entry.version, "why": why}
    }  # fmt: skip
    return target.path, entry


def withdraw_order(director: Repository, product: str, version: int | None) -> list[tuple[str, Order]]:
    """Take every order for a version back; those for other versions count on.

    ``version`` None is the highest. Returns the target paths and the orders. Raises
    :class:`RepositoryError`.
    """
    gone = _orders_of(director, product, version)
    listed: Targets = director.propose("targets").signed
    for target, _ in gone:
        del listed.targets[target.path]
    return [(target.path, found) for target, found in gone]


def _orders_of(director: Repository, product: str, version: int | None) -> list[tuple[TargetFile, Order]]:
    """The orders for one version of a product, the highest without ``version``."""
    _require_kind(director, ORDERS)
    orders = [one for one in orders_in(director) if one[1].product == product]
    _, last = _of_version(orders, f"{director.folder}: has no order for {product}", version)
    return [one for one in orders if one[1].version == last.version]


def replace_keys(
    repository: Repository,
    role: str,
    remove: Sequence[str],
    add: Sequence[SSlibKey],
    threshold: int | None,
) -> None:
    """Take keys from a role, give it others, or change how many must sign.

    ``remove``: names, or the first digits of ids. Raises :class:`RepositoryError`.
    """
    if role not in (*TOP, *repository.channels):
        raise RepositoryError(
            f"{repository.folder}: has no role {role!r}; it has {', '.join((*TOP, *repository.channels))}"
        )
    above: Root | Targets = repository.propose("root" if role in TOP else "targets").signed
    there = {key.keyid: key for key in repository.keys_of(role)}
    gone: set[str] = set()
    problems = []
    for word in remove:
        found = {
            keyid for keyid, key in there.items() if word in (name_of(key).split(" ")[0], keyid[:8], keyid)
        }
        if len(found) != 1:
            names = ", ".join(name_of(key) for key in there.values())
            problems.append(f"--remove: {role} has no single key {word!r}; it has {names}")
        gone |= found
    problems += [f"--add: {role} has {name_of(key)} already" for key in add if key.keyid in there]
    count = len(there) - len(gone) + len(add)
    needed = threshold or above.get_delegated_role(role).threshold
    if not 1 <= needed <= count:
        problems.append(
            f"{role} would have {count} keys, and {needed} must sign: add keys, or say --threshold"
        )
    if problems:
        raise RepositoryError("\n".join(problems))
    for keyid in gone:
        above.revoke_key(keyid, role)
    for key in add:
        above.add_key(key, role)
    above.get_delegated_role(role).threshold = needed


def engines_in(repository: Repository, product: str, channel: str) -> list[tuple[TargetFile, EngineEntry]]:
    """The engines of a channel, the lowest version first. Raises :class:`RepositoryError`."""
    targets = repository.listed(_channel(repository, product, channel)).targets
    found = [(one, EngineEntry.of(_custom(one), path)) for path, one in targets.items()]
    return sorted(found, key=lambda one: one[1].version)


def withdrawn_from(repository: Repository, product: str, channel: str) -> list[tuple[str, int, str]]:
    """What was withdrawn from a channel: target path, version, reason. Raises :class:`RepositoryError`."""
    role = _channel(repository, product, channel)
    found = repository.listed(role).unrecognized_fields.get(WITHDRAWN, {})
    try:
        return [(path, int(one["version"]), str(one["why"])) for path, one in found.items()]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RepositoryError(
            f"{repository.folder}: what was withdrawn from {role} cannot be read ({error!r}): the file was "
            "changed by other software; publish it as it was"
        ) from None


def orders_in(director: Repository) -> list[tuple[TargetFile, Order]]:
    """The orders of a director, by product, the lowest version first. Raises :class:`RepositoryError`."""
    targets = director.targets.targets
    found = [(one, Order.of(_custom(one), path)) for path, one in targets.items()]
    return sorted(found, key=lambda one: (one[1].product, one[1].version))


def kind_of(repository: Repository) -> str:
    """``engines`` or ``orders``."""
    return str(repository.targets.unrecognized_fields.get(KIND))


def products_of(repository: Repository) -> list[str]:
    """The products that a repository of engines has channels for."""
    return sorted({role.rpartition(".")[0] for role in repository.channels})


def _custom(target: TargetFile) -> object:
    """What stands beside a target's length and hash. Raises :class:`RepositoryError` without SHA-256."""
    if not re.fullmatch(r"[0-9a-f]{64}", target.hashes.get("sha256", "")):
        raise RepositoryError(f"{target.path}: is listed without its SHA-256: ship it again")
    return target.unrecognized_fields.get("custom")


def _engine(
    repository: Repository, product: str, channel: str, version: int | None
) -> tuple[TargetFile, EngineEntry]:
    engines = engines_in(repository, product, channel)
    return _of_version(engines, f"{repository.folder}: {product} has no engine in {channel}", version)


def _of_version(
    found: list[tuple[TargetFile, Entry]], none: str, version: int | None
) -> tuple[TargetFile, Entry]:
    """The one of this version, or the last. Raises :class:`RepositoryError`."""
    if not found:
        raise RepositoryError(none)
    chosen = [one for one in found if version is None or one[1].version == version]
    if not chosen:
        there = ", ".join(str(entry.version) for _, entry in found)
        raise RepositoryError(f"{none} of version {version}; it has {there}")
    return chosen[-1]


def _channel(repository: Repository, product: str, channel: str) -> str:
    role = role_of(product, channel)
    if role not in repository.channels:
        there = ", ".join(products_of(repository)) or "none"
        raise RepositoryError(
            f"{repository.folder}: has no product {product!r}; it has {there}: people add one by "
            "`retrain sign product`"
        )
    return role


def _require_kind(repository: Repository, kind: str) -> None:
    found = kind_of(repository)
    if found != kind:
        raise RepositoryError(
            f"{repository.folder}: is {_WORDS.get(found, 'a repository of another software')}, and "
            f"{_WORDS[kind]} is needed"
        )


def _require_threshold(option: str, threshold: int, keys: Sequence[SSlibKey]) -> None:
    if not 1 <= threshold <= len(keys):
        raise RepositoryError(f"{option}: is {threshold}, and there are {len(keys)} keys to sign")


def _require_new(repository: Repository, product: str, channel: str, contents: Contents) -> None:
    """Refuse what is in the channel already, under another version."""
    for target, entry in engines_in(repository, product, channel):
        file = repository.target_file(target.path, target.hashes["sha256"])
        if not file.is_file():
            continue
        same = read_list(file).model_copy(update={"version": contents.version})
        if same == contents:
            raise RepositoryError(
                f"{repository.folder}: {channel} has this engine already, as version {entry.version}"
            )


def _remove_leftovers(repository: Repository, product: str, channel: str) -> None:
    """Delete what a command that was killed or given up has left: no station can ask for it."""
    for scratch in (repository.folder / "targets").glob(".new-*"):
        shutil.rmtree(scratch, ignore_errors=True)
    role = role_of(product, channel)
    documents = [one[role].signed for one in (repository.published, repository.pending) if role in one]
    listed = {
        repository.target_file(path, target.hashes["sha256"])
        for document in documents
        for path, target in document.targets.items()
    }
    for file in (repository.folder / "targets" / product / channel).glob(f"*{SUFFIX}"):
        if file not in listed:
            file.unlink()


def _digest(file: Path) -> str:
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
