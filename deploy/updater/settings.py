"""updater.yaml: which repositories an updater trusts, what it fetches, and how it may use the network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from drivers.settings import FilePath, Seconds, Section, mistake
from station.config import StationName
from station.engines.manifest import Name
from station.strict_yaml import DocumentError, load_document


class UpdaterSettingsError(DocumentError):
    """updater.yaml cannot be used; the message names file, line, key and remedy."""


def _address(url: str, schemes: tuple[str, ...], example: str) -> str:
    try:
        parts = urlsplit(url)
        found = parts.scheme in schemes and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        found = False
    if not found or parts.username is not None or parts.query or parts.fragment:
        problem = f"is no address of the form {example}: {url!r}"
        remedy = f"write an address such as {example}, without user, password, ? and #"
        raise PydanticCustomError("address", "{problem}", {"problem": problem, "remedy": remedy})
    return url if url.endswith("/") else f"{url}/"


def _repository_address(url: str) -> str:
    return _address(url, ("http", "https"), "https://updates.example/images")


def _proxy_address(url: str) -> str:
    return _address(url, ("http",), "http://10.1.2.9:3128")


RepositoryAddress = Annotated[str, StringConstraints(max_length=500), AfterValidator(_repository_address)]
ProxyAddress = Annotated[str, StringConstraints(max_length=500), AfterValidator(_proxy_address)]


class Repository(Section):
    """A TUF repository: the folders `metadata` and `targets` on any static server."""

    url: RepositoryAddress
    """the address above `metadata` and `targets`, `http://` or `https://`"""
    root: FilePath
    """its root.json as a person brought it: all trust in the repository begins with this file"""


class Product(Section):
    """One engine that is kept up to date."""

    product: Name
    """the engine's name, which recipes give as `engine`; the repositories name it so too"""
    channel: Literal["stable", "canary"] = "stable"
    """the channel: `stable`, or `canary` for what is tried first"""


class Network(Section):
    """What the updater may use of the network."""

    proxy: ProxyAddress | None = None
    """the HTTP proxy; without it none is used, whatever the environment says"""
    ca_file: FilePath | None = None
    """the authority that signed the servers' certificates; without it, those of the system"""
    connect_s: Seconds = 10.0
    """seconds until a connection must be there"""
    slowest_bytes_per_s: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1000
    """a server that sends less, on the average of `slow_for_s`, is given up"""
    slow_for_s: Seconds = 30.0
    """seconds over which `slowest_bytes_per_s` is measured"""
    deadline_s: Annotated[float, Field(gt=0.0, le=86_400.0)] = 3600.0
    """seconds for the whole update; what was fetched until then is kept, and the next update goes on there"""


class UpdaterSettings(Section):
    """What an updater is told."""

    station: StationName
    """the name by which the director knows this station: `station.name` of station.yaml"""
    engines: FilePath
    """the folder of engines: `paths.engines` of station.yaml"""
    state: FilePath
    """the updater's own folder: metadata, what is being fetched, the record"""
    images: Repository
    """the workshop's repository: what engines there are"""
    director: Repository
    """the plant's repository: which engine this station should have"""
    products: Annotated[tuple[Product, ...], Field(min_length=1, max_length=100)]
    """the engines that are kept up to date"""
    largest_bundle_mb: Annotated[int, Field(ge=1, le=100_000)] = 500
    """a larger bundle is refused before it is fetched, whoever signed it"""
    network: Network = Network()
    """how the network is used"""

    @model_validator(mode="after")
    def _nothing_is_named_twice(self) -> Self:
        if self.images.root == self.director.root:
            raise mistake(
                "director.root",
                "is the root of `images` too",
                "name the plant's own root.json: neither key alone may install anything",
            )
        if self.images.url == self.director.url:
            raise mistake("director.url", "is the address of `images` too", "name the plant's own repository")
        names = [product.product for product in self.products]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise mistake("products", f"name {' and '.join(twice)} twice", "keep one channel of each")
        if self.state == self.engines or self.state in self.engines.parents:
            raise mistake("state", "contains the folder of `engines`", "give it a place of its own")
        return self


def load_settings(path: Path) -> UpdaterSettings:
    """Read and check updater.yaml. Raises :class:`UpdaterSettingsError`."""
    return load_document(path, UpdaterSettings, UpdaterSettingsError)
